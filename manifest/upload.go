package manifest

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// An Upload is the row of an upload, whose content comes in pieces. Stored
// beside the row are its parts, which hold the references to its chunks, and its
// rest, the bytes after the last whole chunk. An upload is under way until it
// becomes a version or expires.
type Upload struct {
	ID       UploadID
	Bucket   string
	Who      string // the principal
	Domain   string // the domain of its chunks
	Header   string // state of the upload protocol
	Name     string
	Folder   string
	Target   FileID // the file that gets the new version; "" for a new file
	MIMEType string // declared
	Metadata []byte // a JSON object, "" for none
	Tags     []string

	CacheControl string

	OnConflict    string
	SkipUnchanged bool
	IfMatch       string
	OnceKey       string            // idempotency key, "" for none
	OnceRequest   string            // the request that used the key
	Digests       []string          // names of digests to compute of the whole
	Sums          map[string][]byte // states of the digests after the last whole chunk
	Expect        map[string][]byte // digests that the whole must have
	Chunker       string

	Length  int64 // bytes of the whole; -1 while unknown
	Offset  int64 // bytes received in order
	Held    int64 // bytes counted against the principal while it is under way
	Parts   uint64
	Partial bool       // it becomes no file but a part of another upload
	Joins   []UploadID // the partial uploads that it joins, in order
	// Its parts are a list of chunks, which are sent separately. They keep no
	// chunk alive, but those from SentParts on do.
	Listed      bool
	Bases       []string // files, versions and uploads whose chunks need not be sent
	Chunks      int64    // chunks in the list
	LastChunk   uint32   // bytes of the last chunk in the list
	NewBytes    int64    // of chunks that were not stored before
	StoredBytes int64    // bytes stored for those chunks
	Received    int64    // bytes of chunks that the uploader had to send
	Sent        uint64   // parts from SentParts on
	SentRefs    int64    // references in them

	Manifest  VersionID // the version that it has become
	Answer    []byte    // what its user was told of that version, as its writer encodes it
	Expired   bool      // expired; only the row is left
	Evicted   bool      // expired early to free space for other uploads of the principal
	Invalid   bool      // ended early because it could not become right any more
	CreatedAt time.Time
	ExpiresAt time.Time
}

// SentParts is the number of the first part that holds chunks as they were sent
// for an upload by chunk list. Those parts are its roots; its other parts, the
// list, are none, since anybody may list any digest.
const SentParts = 1 << 62

// UnderWay reports whether the upload has neither become a version nor expired.
func (u *Upload) UnderWay() bool { return u.Manifest == "" && !u.Expired }

// A Holding sums up the uploads under way of one principal in a bucket.
type Holding struct {
	Uploads int
	Bytes   int64 // sum of Upload.Held
}

// Uploads are the read methods for uploads, of a Store and of a Tx.
type Uploads interface {
	// Upload returns an upload of a bucket, or fs.ErrNotExist.
	Upload(ctx context.Context, bucket string, id UploadID) (*Upload, error)

	// UploadParts yields the parts of an upload in order, starting with part
	// from. The first part is 0. An upload without parts yields nothing. Parts
	// from SentParts on are not yielded.
	UploadParts(ctx context.Context, id UploadID, from uint64) iter.Seq2[[]cas.Ref, error]

	// UploadRest returns the rest of an upload, nil if there is none.
	UploadRest(ctx context.Context, id UploadID) ([]byte, error)

	// UploadsUnderWay yields the uploads under way in a bucket, in order of IDs.
	UploadsUnderWay(ctx context.Context, bucket string) iter.Seq2[*Upload, error]

	// UploadsHeld sums up the uploads under way of a principal.
	UploadsHeld(ctx context.Context, bucket, who string) (Holding, error)

	// HeldBytes sums up what all uploads under way of a bucket hold.
	HeldBytes(ctx context.Context, bucket string) (int64, error)

	// UploadsOf returns at most limit uploads under way of a principal that hold
	// bytes, ordered by the time when they expire.
	UploadsOf(ctx context.Context, bucket, who string, limit int) ([]*Upload, error)

	// UploadsWaiting returns at most limit uploads under way that join the
	// partial upload part, in order of IDs, starting behind the ID after.
	UploadsWaiting(ctx context.Context, bucket string, part, after UploadID, limit int) ([]*Upload, error)

	// UploadsOver returns at most limit uploads that are not yet marked as
	// expired and whose time ended before a moment, ordered by that time.
	UploadsOver(ctx context.Context, bucket string, before time.Time, limit int) ([]*Upload, error)
}

// UploadChanges are the write methods for uploads, of a Tx.
type UploadChanges interface {
	// PutUpload writes the row of an upload. If the upload is not under way, it
	// drops the rest. DropParts drops the parts.
	PutUpload(ctx context.Context, u *Upload) error

	// DropParts drops at most limit parts of an upload, those from SentParts on
	// among them, and reports whether more may be left.
	DropParts(ctx context.Context, id UploadID, limit int) (more bool, err error)

	// PutPart writes part n of an upload.
	PutPart(ctx context.Context, id UploadID, n uint64, refs []cas.Ref) error

	// PutRest writes the rest of an upload; an empty one is none.
	PutRest(ctx context.Context, id UploadID, rest []byte) error

	// DropUpload removes the row of an upload and its rest. Its parts must have
	// been dropped before. An upload that does not exist is not an error.
	DropUpload(ctx context.Context, bucket string, id UploadID) error

	// SweepUploads removes expired uploads of a bucket whose time ended before a
	// moment, and what is left of their parts, at most limit of each. It returns
	// how many uploads or parts. While that is limit, more may be left.
	SweepUploads(ctx context.Context, bucket string, before time.Time, limit int) (int, error)
}

// AppendBinary appends the canonical encoding of the row.
func (u *Upload) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagUpload, "upload", u) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (u *Upload) UnmarshalBinary(p []byte) error {
	*u = Upload{}
	return parseRow(p, tagUpload, "upload", 43, u)
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
	c.flag(37, &u.Invalid)
	c.bytes(38, &u.Answer)
	c.text(39, &u.OnceKey)
	c.text(40, &u.OnceRequest)
	c.text(41, &u.CacheControl)
	c.number(42, &u.Sent)
	c.size(43, &u.SentRefs)
	c.must(u.ID != "")
}
