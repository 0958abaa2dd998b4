package buckets

import (
	"io"
	"time"
)

// A File describes one version of a file as its users see it: the current
// version, unless it was asked for by manifest ID or version number.
type File struct {
	ID         string // f_…, stable over versions
	ManifestID string // m_…, this version for ever
	Bucket     string
	Name       string
	Folder     string // "" or elements joined by '/', no slash at either end
	Size       int64  // bytes

	MIMEType         string // found in the content
	DeclaredMIMEType string // said by the uploader, "" if nothing was said

	Chunker   string            // how this version is cut, see chunker.Parse
	Checksums map[string]string // "root" always; "sha256", "blake3", "md5" by choice; lower-case hex

	Version       uint64
	VersionsCount int
	State         State
	Owner         string            // the creator's ID, "" when unknown
	Access        map[string]string // operation → rule that replaces the bucket's
	Metadata      map[string]any
	Tags          []string
	CacheControl  string // of its content over HTTP, "" for the bucket's
	Refs          int    // confirmed links of records, if they were counted

	CreatedAt time.Time // of the file
	UpdatedAt time.Time // of its last change
	DeletedAt time.Time // zero unless trashed

	// VersionCreatedAt is when this version's content was committed.
	VersionCreatedAt time.Time

	// ModifiedAt is, of the current version, when its content became the
	// file's: when it was committed, or when a newer one was removed. It never
	// goes back, and differs by a second at least between contents, since HTTP
	// tells no less: after changes in one second it runs ahead of the clock. Of
	// an older version it is VersionCreatedAt.
	ModifiedAt time.Time

	// Physical sizes of the upload that made this value; zero elsewhere.
	// They tell what others hold, so only operators may see them.
	NewBytes    int64 // plain bytes of chunks that were not stored before
	StoredBytes int64 // what those take in packs

	// Replayed says that an earlier upload with the same Once made the file,
	// and nothing was stored now.
	Replayed bool

	// Unchanged says that a Put found the current version to have the same
	// content and made no new one.
	Unchanged bool
}

// Path is the folder and name of the file, joined by '/'.
func (f *File) Path() string {
	if f.Folder == "" {
		return f.Name
	}
	return f.Folder + "/" + f.Name
}

// State says whether a file can be used.
type State string

const (
	Active      State = "active"
	Trashed     State = "trashed"
	Quarantined State = "quarantined"
	Purged      State = "purged" // gone for good
)

// OnConflict says what a Put does when its bucket and folder already hold an
// active file of the same name.
type OnConflict string

const (
	// ConflictVersion makes the upload a new version of that file.
	ConflictVersion OnConflict = "version"
	// ConflictNew makes a new file under a free name: "report (2).pdf".
	ConflictNew OnConflict = "new"
	// ConflictFail fails with ErrExist.
	ConflictFail OnConflict = "fail"
)

// PutOptions are what an upload may say besides its name and bytes.
type PutOptions struct {
	Folder    string
	MIMEType  string // declared by the uploader
	Size      int64  // declared length if SizeKnown; a body of another length is ErrSize
	SizeKnown bool
	Metadata  map[string]any // nil keeps a predecessor's
	Tags      []string       // nil keeps a predecessor's
	// CacheControl is of the content over HTTP, see schema.ParseCacheControl. ""
	// keeps a predecessor's.
	CacheControl string
	OnConflict   OnConflict // zero means ConflictVersion

	// SkipUnchanged makes no version when the content equals the current one.
	SkipUnchanged bool

	// IfMatch, when not empty, is the root (lower-case hex) that the current
	// version must have; "*" means that any version must exist. Otherwise the
	// upload fails with ErrPrecondition.
	IfMatch string

	// ID, Owner, CreatedAt and UpdatedAt are those of a file that comes from
	// another system, and makes a new file of a Put: a name that is taken is
	// ErrExist, unless OnConflict is ConflictNew. Only trusted callers may give them. The
	// ID is a UUID in its canonical form of lower case, or f_…: that of a file is
	// ErrExist, and that of one which was purged ErrPurged, while the store remembers it.
	// UpdatedAt is the time of the version too; it lies between CreatedAt and now. The
	// store chooses what is zero.
	ID        string
	Owner     string
	CreatedAt time.Time
	UpdatedAt time.Time

	// Digests names the whole-file digests to compute ("sha256", "blake3",
	// "md5") in place of the bucket's; an empty non-nil slice means none.
	Digests []string

	// Once, if set, makes the upload happen once, however often it is sent.
	Once *Once

	// Amend, if set, is called when the content of a Put or Replace has come, by
	// those who learn only then what it is to be. Unless opts is nil, the file
	// gets that name and those options, and all is asked again.
	Amend func() (name string, opts *PutOptions)

	// Progress, if set, is told how many bytes of content have been taken
	// in so far. It is called from one goroutine at a time.
	Progress func(n int64)
}

// GetOptions choose what Stat and Open return.
type GetOptions struct {
	Version uint64 // zero means current, or the version that a manifest ID names
	Trashed bool   // also find files in the trash
	ByPath  bool   // in place of an ID stands the path of an active file: folder and name joined by '/'

	// Uncounted leaves it to the caller of Open to call CountUse, before any of
	// the content is handed out.
	Uncounted bool
}

// An Object is an open file: its description and its content. The content
// is verified as it is read; damage is a *cas.CorruptError. It must be closed.
type Object struct {
	File
	Content
	// Public says that everybody may read it, by a rule that looks at nothing.
	Public bool
}

// Content reads the bytes of one version. WriteTo is its fastest way out.
type Content interface {
	io.ReadSeekCloser
	io.ReaderAt
	io.WriterTo
	// Expect hints that the next n bytes will be read in order, and nothing
	// more for now: less is then read ahead in vain.
	Expect(n int64)
}

// A Patch changes what is known about a file; nil fields stay as they are.
type Patch struct {
	Name     *string
	Folder   *string
	Metadata map[string]any // merged by RFC 7396: a nil value removes its key
	Tags     *[]string
	// CacheControl "" leaves it to the bucket.
	CacheControl *string
	Access       *map[string]string
	IfMatch      string
}

// DeleteOptions are conditions on a deletion.
type DeleteOptions struct {
	IfMatch string
}

// CopyOptions name the copy; zero values take the original's.
type CopyOptions struct {
	Version    uint64
	Name       string
	Folder     *string
	OnConflict OnConflict // zero means ConflictNew
	Once       *Once      // as in PutOptions
}

// A Usage sums a bucket up. Bytes are logical: what users stored, not what
// it takes on disk.
type Usage struct {
	Bucket       string
	Files        int64 // active
	Versions     int64 // of active files and, if they are counted, trashed ones
	Bytes        int64 // of all versions of active files
	TrashedFiles int64 // 0 for those who may not see the trash, as TrashedBytes
	TrashedBytes int64 // of all versions of trashed files
}

// A DedupReport compares what users stored with what it takes.
type DedupReport struct {
	LogicalBytes int64   `json:"logical_bytes"` // sizes of all versions of all files
	UniqueBytes  int64   `json:"unique_bytes"`  // plain bytes of the distinct chunks stored
	StoredBytes  int64   `json:"stored_bytes"`  // bytes of packs
	Files        int64   `json:"files"`         // trashed ones too
	Manifests    int64   `json:"manifests"`     // versions
	Chunks       int64   `json:"chunks"`        // references to chunks, repeats included
	UniqueChunks int64   `json:"unique_chunks"` // distinct chunks stored
	DedupRatio   float64 `json:"dedup_ratio"`   // LogicalBytes / StoredBytes
	IndexBytes   int64   `json:"index_bytes"`   // bytes of the metadata database on disk
}
