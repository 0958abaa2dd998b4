// Package manifest describes files: their versions, the chunk list of each
// version, and the rows and records that store them. FORMAT.md describes the
// bytes.
//
// Start with this file: File, Manifest and Content. store.go has Store, the
// interface of the metadata store, which packages pebblestore and pgstore
// implement.
//
// A write: Write (write.go) cuts a stream into chunks and puts them into a
// cas.Batch. The batch returns references, of which treeBuilder (tree.go) makes
// the chunk list, a tree of segments (segment.go). The caller then commits the
// Content with Store.Update, which encodes the records of the change as slots
// (record.go, slot.go) for the packs. Part and Assemble (part.go) do the same
// for a stream that comes in parts, Compose (compose.go) for ranges of stored
// contents.
//
// A read: Reader (reader.go) finds references with a chunkList (chunklist.go),
// which fetches segments from the store, and reads their chunks from a Source, a
// cas.Store.
//
// A rebuild: Replayer (replay.go) restores rows from the records in packs.
package manifest

import (
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Manifest is the row of one immutable version of a file: "manifest" and
// "version" mean the same.
type Manifest struct {
	ID      VersionID
	File    FileID
	Version uint64 // from 1; never used twice in a file

	Content
	MIMEType         string // detected in the content
	DeclaredMIMEType string // declared by the uploader
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

// A Content describes the bytes of a version: their chunk list and digests.
// Write makes it.
type Content struct {
	Size    int64
	Chunker string // name of the splitter, see chunker.Parse
	Chunks  int64  // references to chunks

	// The chunk list: Inline if it has at most inlineChunks references, else
	// Top, the top of a tree of segments, which is Height levels above the
	// leaves.
	Inline []cas.Ref
	Top    cas.Digest
	Height int

	// Digests of the whole content, by name: "sha256", "blake3", "md5".
	Digests map[string][]byte
}

// A File is the row of a file: what all its versions share.
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

	CacheControl string // of its content over HTTP, "" for the bucket's

	Current     VersionID
	LastVersion uint64 // highest number of a version so far
	Versions    uint64 // how many versions exist
	TotalSize   int64  // of all versions, bytes
	TotalChunks int64  // references in all versions

	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero unless trashed
	Cascaded  bool      // it is in the trash since its last link ended

	// ContentAt is when the content of Current became the file's. It is later,
	// by whole seconds, than that of any content before. Zero stands for
	// Current's CreatedAt.
	ContentAt time.Time

	// Held are the versions in quarantine: "" of one that waits to be scanned, else what
	// was found in it. None is Current, unless the file is Quarantined and has no other.
	Held map[VersionID]string
}

// IsHeld reports whether a version is in quarantine.
func (f *File) IsHeld(id VersionID) bool {
	_, held := f.Held[id]
	return held
}

// DescribedBytes is how many bytes users have written about the file.
func (f *File) DescribedBytes() int64 {
	n := len(f.Metadata)
	for _, t := range f.Tags {
		n += len(t)
	}
	for op, rule := range f.Access {
		n += len(op) + len(rule)
	}
	return int64(n)
}

// Charged is how many bytes the file counts for in quotas.
func (f *File) Charged() int64 { return f.TotalSize + f.DescribedBytes() }

// AppendBinary appends the canonical encoding of the row.
func (f *File) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagFile, "file row", f) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (f *File) UnmarshalBinary(p []byte) error {
	*f = File{}
	return parseRow(p, tagFile, "file row", 22, f)
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
	c.time(19, &f.ContentAt)
	c.text(20, &f.CacheControl)
	c.flag(21, &f.Cascaded)
	mapField(c, 22, &f.Held)
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
