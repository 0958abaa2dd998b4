package manifest

import (
	"context"
	"iter"
	"math"
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

// Tags of an upload.
const (
	uID = 1 + iota
	uBucket
	uWho
	uDomain
	uHeader
	uName
	uFolder
	uTarget
	uMIME
	uMetadata
	uTags
	uOnConflict
	uSkipUnchanged
	uIfMatch
	uDigests
	uSums
	uExpect
	uChunker
	uLength
	uOffset
	uHeld
	uParts
	uPartial
	uJoins
	uListed
	uBases
	uChunks
	uLastChunk
	uNewBytes
	uStoredBytes
	uReceived
	uManifest
	uExpired
	uEvicted
	uCreatedAt
	uExpiresAt

	uLast = uExpiresAt
)

// AppendBinary appends the row's canonical encoding. A length is kept one
// higher, so that the one that is not known is left out.
func (u *Upload) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: u.ID == "" || u.Length < -1 || u.Length == math.MaxInt64}
	e.id(uID, string(u.ID), uploadPrefix)
	e.str(uBucket, u.Bucket)
	e.str(uWho, u.Who)
	e.str(uDomain, u.Domain)
	e.str(uHeader, u.Header)
	e.str(uName, u.Name)
	e.str(uFolder, u.Folder)
	e.id(uTarget, string(u.Target), filePrefix)
	e.str(uMIME, u.MIMEType)
	e.bytes(uMetadata, u.Metadata)
	e.list(uTags, u.Tags)
	e.str(uOnConflict, u.OnConflict)
	e.flag(uSkipUnchanged, u.SkipUnchanged)
	e.str(uIfMatch, u.IfMatch)
	e.list(uDigests, u.Digests)
	e.pairs(uSums, digestPairs(u.Sums))
	e.pairs(uExpect, digestPairs(u.Expect))
	e.str(uChunker, u.Chunker)
	e.size(uLength, u.Length+1)
	e.size(uOffset, u.Offset)
	e.size(uHeld, u.Held)
	e.num(uParts, u.Parts)
	e.flag(uPartial, u.Partial)
	e.uploadIDs(uJoins, u.Joins)
	e.flag(uListed, u.Listed)
	e.list(uBases, u.Bases)
	e.size(uChunks, u.Chunks)
	e.num(uLastChunk, uint64(u.LastChunk))
	e.size(uNewBytes, u.NewBytes)
	e.size(uStoredBytes, u.StoredBytes)
	e.size(uReceived, u.Received)
	e.id(uManifest, string(u.Manifest), versionPrefix)
	e.flag(uExpired, u.Expired)
	e.flag(uEvicted, u.Evicted)
	e.time(uCreatedAt, u.CreatedAt)
	e.time(uExpiresAt, u.ExpiresAt)
	return e.end(b, tagUpload, "upload")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (u *Upload) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagUpload, "upload", uLast)
	*u = Upload{}
	u.ID = UploadID(d.id(uID, uploadPrefix))
	u.Bucket = d.str(uBucket)
	u.Who = d.str(uWho)
	u.Domain = d.str(uDomain)
	u.Header = d.str(uHeader)
	u.Name = d.str(uName)
	u.Folder = d.str(uFolder)
	u.Target = FileID(d.id(uTarget, filePrefix))
	u.MIMEType = d.str(uMIME)
	u.Metadata = d.bytes(uMetadata)
	u.Tags = d.list(uTags)
	u.OnConflict = d.str(uOnConflict)
	u.SkipUnchanged = d.flag(uSkipUnchanged)
	u.IfMatch = d.str(uIfMatch)
	u.Digests = d.list(uDigests)
	u.Sums = d.digests(uSums)
	u.Expect = d.digests(uExpect)
	u.Chunker = d.str(uChunker)
	u.Length = d.size(uLength) - 1
	u.Offset = d.size(uOffset)
	u.Held = d.size(uHeld)
	u.Parts = d.num(uParts)
	u.Partial = d.flag(uPartial)
	u.Joins = d.uploadIDs(uJoins)
	u.Listed = d.flag(uListed)
	u.Bases = d.list(uBases)
	u.Chunks = d.size(uChunks)
	last := d.num(uLastChunk)
	u.LastChunk = uint32(last)
	u.NewBytes = d.size(uNewBytes)
	u.StoredBytes = d.size(uStoredBytes)
	u.Received = d.size(uReceived)
	u.Manifest = VersionID(d.id(uManifest, versionPrefix))
	u.Expired = d.flag(uExpired)
	u.Evicted = d.flag(uEvicted)
	u.CreatedAt = d.time(uCreatedAt)
	u.ExpiresAt = d.time(uExpiresAt)
	if u.ID == "" || last > math.MaxUint32 {
		d.fail()
	}
	return d.end()
}
