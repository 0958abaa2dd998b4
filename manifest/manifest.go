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
