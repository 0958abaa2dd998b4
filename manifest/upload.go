package manifest

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// An Upload is content on its way that comes in pieces. The references to its
// chunks are parts beside it, and so are the bytes after the last whole chunk,
// its rest. It is under way until it has become a version or has expired.
type Upload struct {
	ID       UploadID
	Bucket   string
	Who      string // whose it is
	Domain   string // where its content lies
	Header   string // what the protocol wants kept
	Name     string
	Folder   string
	Target   FileID // that it becomes a version of, "" for a new file
	MIMEType string // declared
	Metadata []byte // a JSON object, "" for none
	Tags     []string

	OnConflict    string
	SkipUnchanged bool
	IfMatch       string
	Digests       []string          // of the whole, to be computed
	Sums          map[string][]byte // their states after what has arrived, but for the rest
	Expect        map[string][]byte // digests that the whole must have
	Chunker       string

	Length      int64 // of the whole, -1 while unknown
	Offset      int64 // bytes that have arrived
	Held        int64 // bytes that count against its principal while it is under way
	Parts       uint64
	Partial     bool       // it becomes no file, but a part of one
	Joins       []UploadID // partial uploads that it is made of, in order
	Listed      bool       // its parts are a list of chunks that are sent by themselves: they keep nothing alive
	Bases       []string   // files, versions and uploads whose chunks need not be sent
	Chunks      int64      // listed
	LastChunk   uint32     // bytes of the last one listed
	NewBytes    int64      // of chunks that were not stored before
	StoredBytes int64      // what they take
	Received    int64      // bytes of chunks that were new to the uploader

	Manifest  VersionID // that it has become
	Expired   bool      // only remembered
	Evicted   bool      // expired before its time, for others of its principal
	CreatedAt time.Time
	ExpiresAt time.Time
}

// UnderWay reports whether the upload has neither ended nor expired.
func (u *Upload) UnderWay() bool { return u.Manifest == "" && !u.Expired }

// A Holding sums up the uploads under way of a principal in a bucket.
type Holding struct {
	Uploads int
	Bytes   int64 // of Upload.Held
}

// Uploads are the ways to find uploads, of a Store and of a Tx.
type Uploads interface {
	// Upload returns an upload of a bucket, or fs.ErrNotExist.
	Upload(ctx context.Context, bucket string, id UploadID) (*Upload, error)

	// UploadParts yields the parts of an upload, from a number on, in order.
	// Numbers begin with 0. An upload without parts has none to yield.
	UploadParts(ctx context.Context, id UploadID, from uint64) iter.Seq2[[]cas.Ref, error]

	// UploadRest returns the rest of an upload, nil if there is none.
	UploadRest(ctx context.Context, id UploadID) ([]byte, error)

	// UploadsUnderWay yields the uploads under way in a bucket, in order of IDs.
	UploadsUnderWay(ctx context.Context, bucket string) iter.Seq2[*Upload, error]

	// UploadsHeld sums up the uploads under way of a principal.
	UploadsHeld(ctx context.Context, bucket, who string) (Holding, error)

	// UploadsOf returns the uploads under way of a principal that hold bytes,
	// those that expire first first, at most limit.
	UploadsOf(ctx context.Context, bucket, who string, limit int) ([]*Upload, error)

	// UploadsWaiting returns the uploads under way that are to be joined of a
	// partial one, among others, in order of IDs, at most limit, from the one
	// after an ID on.
	UploadsWaiting(ctx context.Context, bucket string, part, after UploadID, limit int) ([]*Upload, error)

	// UploadsOver returns the uploads that have not expired and whose time was
	// over before a moment, in order of that time, at most limit.
	UploadsOver(ctx context.Context, bucket string, before time.Time, limit int) ([]*Upload, error)
}

// UploadChanges are what a Tx does to uploads.
type UploadChanges interface {
	// PutUpload writes the row of an upload. One that is not under way loses
	// its rest; DropParts drops its parts.
	PutUpload(ctx context.Context, u *Upload) error

	// DropParts drops parts of an upload, at most limit, and reports whether
	// more may be left.
	DropParts(ctx context.Context, id UploadID, limit int) (more bool, err error)

	// PutPart writes part n of an upload.
	PutPart(ctx context.Context, id UploadID, n uint64, refs []cas.Ref) error

	// PutRest writes the rest of an upload; an empty one is none.
	PutRest(ctx context.Context, id UploadID, rest []byte) error

	// DropUpload removes the row of an upload and its rest. Its parts must have
	// been dropped before. An upload that does not exist is not an error.
	DropUpload(ctx context.Context, bucket string, id UploadID) error

	// SweepUploads removes the expired uploads of a bucket whose time was over
	// before a moment, and what is left of their parts: at most limit of each.
	// While it returns limit, more may be left.
	SweepUploads(ctx context.Context, bucket string, before time.Time, limit int) (int, error)
}

// AppendBinary appends the canonical encoding of the row.
func (u *Upload) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagUpload, "upload", u) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (u *Upload) UnmarshalBinary(p []byte) error {
	*u = Upload{}
	return parseRow(p, tagUpload, "upload", 36, u)
}

func (u *Upload) codeFields(c *codec) {
	c.uploadID(1, &u.ID)
	c.text(2, &u.Bucket)
	c.text(3, &u.Who)
	c.text(4, &u.Domain)
	c.text(5, &u.Header)
	c.text(6, &u.Name)
	c.text(7, &u.Folder)
	c.fileID(8, &u.Target)
	c.text(9, &u.MIMEType)
	c.bytes(10, &u.Metadata)
	c.list(11, &u.Tags)
	c.text(12, &u.OnConflict)
	c.flag(13, &u.SkipUnchanged)
	c.text(14, &u.IfMatch)
	c.list(15, &u.Digests)
	mapField(c, 16, &u.Sums)
	mapField(c, 17, &u.Expect)
	c.text(18, &u.Chunker)
	c.sizeOrUnknown(19, &u.Length)
	c.size(20, &u.Offset)
	c.size(21, &u.Held)
	c.number(22, &u.Parts)
	c.flag(23, &u.Partial)
	c.uploadIDs(24, &u.Joins)
	c.flag(25, &u.Listed)
	c.list(26, &u.Bases)
	c.size(27, &u.Chunks)
	c.uint32(28, &u.LastChunk)
	c.size(29, &u.NewBytes)
	c.size(30, &u.StoredBytes)
	c.size(31, &u.Received)
	c.versionID(32, &u.Manifest)
	c.flag(33, &u.Expired)
	c.flag(34, &u.Evicted)
	c.time(35, &u.CreatedAt)
	c.time(36, &u.ExpiresAt)
	c.must(u.ID != "")
}
