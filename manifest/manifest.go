// Package manifest describes files: their versions, each a list of chunks,
// and what is known about them. FORMAT.md describes the bytes.
//
// A version's chunk list is a tree of segments, cut by content, so that a new
// version of a huge file writes only the path to what changed. Write makes a
// version's content from a stream, Reader gives it back, Store holds the rows.
package manifest

import (
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Manifest is one immutable version of a file: a row of _alyx_files,
// together with the File that it belongs to.
type Manifest struct {
	ID      VersionID
	File    FileID
	Version uint64 // from 1; never used twice in a file

	Content
	MIMEType         string // found in the content
	DeclaredMIMEType string // said by the uploader
	CreatedAt        time.Time
	CreatedBy        string // ID of who uploaded it, "" if unknown
}

// AppendBinary appends the canonical encoding of the row.
func (m *Manifest) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagManifest, "manifest row", m)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (m *Manifest) UnmarshalBinary(p []byte) error {
	*m = Manifest{}
	return parseRow(p, tagManifest, "manifest row", 14, m)
}

func (m *Manifest) codeFields(c *codec) {
	c.versionID(1, &m.ID)
	c.fileID(2, &m.File)
	c.number(3, &m.Version)
	c.size(4, &m.Size)
	// Tag 5 was the root, which follows from the list.
	c.text(6, &m.Chunker)
	c.size(7, &m.Chunks)
	c.inlineRefs(8, &m.Inline)
	c.treeTop(9, &m.Content)
	mapField(c, 10, &m.Digests)
	c.text(11, &m.MIMEType)
	c.text(12, &m.DeclaredMIMEType)
	c.time(13, &m.CreatedAt)
	c.text(14, &m.CreatedBy)
	c.must(m.Content.isConsistent())
}

// A Content is what Write makes of a stream.
type Content struct {
	Size    int64
	Chunker string // name of the splitter, see chunker.Parse
	Chunks  int64  // references to chunks

	// The chunk list: whole if it is at most inlineChunks long, else the top
	// of the tree of its segments, which lies so many levels above the leaves.
	Inline []cas.Ref
	Top    cas.Digest
	Height int

	// Digests of the whole content, by name: "sha256", "blake3", "md5".
	Digests map[string][]byte
}

// A File is what the versions of a file have in common.
type File struct {
	ID       FileID
	Revision uint64 // raised by every change of the row
	Bucket   string
	Folder   string // elements joined by '/', "" for none
	Name     string
	State    State
	Owner    string
	Access   map[string]string // operation → rule
	Metadata []byte            // a JSON object, "" for none
	Tags     []string

	Current     VersionID
	LastVersion uint64 // highest number given so far
	Versions    uint64 // how many there are
	TotalSize   int64  // of all versions, bytes
	TotalChunks int64  // references in all versions

	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero unless trashed
}

// AppendBinary appends the canonical encoding of the row.
func (f *File) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagFile, "file row", f) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (f *File) UnmarshalBinary(p []byte) error {
	*f = File{}
	return parseRow(p, tagFile, "file row", 18, f)
}

func (f *File) codeFields(c *codec) {
	c.fileID(1, &f.ID)
	c.number(2, &f.Revision)
	c.text(3, &f.Bucket)
	c.text(4, &f.Folder)
	c.text(5, &f.Name)
	c.state(6, &f.State)
	c.text(7, &f.Owner)
	mapField(c, 8, &f.Access)
	c.bytes(9, &f.Metadata)
	c.list(10, &f.Tags)
	c.versionID(11, &f.Current)
	c.number(12, &f.LastVersion)
	c.number(13, &f.Versions)
	c.size(14, &f.TotalSize)
	c.size(15, &f.TotalChunks)
	c.time(16, &f.CreatedAt)
	c.time(17, &f.UpdatedAt)
	c.time(18, &f.DeletedAt)
}

// Path is the folder and name, joined by '/'.
func (f *File) Path() string {
	if f.Folder == "" {
		return f.Name
	}
	return f.Folder + "/" + f.Name
}

// A State says whether a file can be used. Its values are part of the format.
type State uint8

const (
	Active      State = 0
	Trashed     State = 1
	Quarantined State = 2
)

// String is the state as users see it.
func (s State) String() string {
	switch s {
	case Trashed:
		return "trashed"
	case Quarantined:
		return "quarantined"
	}
	return "active"
}
