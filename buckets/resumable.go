package buckets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// An Upload is content on its way that is sent in pieces. What Offset counts
// is durable: it never moves back.
type Upload struct {
	ID        string // u_…
	Bucket    string
	Name      string
	Folder    string
	Header    string // what the protocol wants kept
	Length    int64  // of the whole, -1 while unknown
	Offset    int64  // bytes that have arrived
	CreatedAt time.Time
	ExpiresAt time.Time
	Waiting   bool  // for the parts that Join makes it of
	Partial   bool  // it becomes no file, but a part of one, by Concat
	Listed    *List // of an upload by chunk list, which Offset counts the bytes of
	File      *File // that it has become, nil before its commit
}

// UploadOptions are what a new Upload may be told.
type UploadOptions struct {
	PutOptions        // Size is the length of the whole, if SizeKnown
	Replace    string // file (f_…) that it becomes a version of
	Header     string // kept for the protocol
	Partial    bool   // only a part of a file, for Concat; its name is nothing

	// Listed makes an upload whose chunks are listed first and then sent
	// where they are missing, see AppendList. Bases are files (f_…), versions
	// (m_…) and own uploads (u_…) whose chunks need not be sent.
	Listed bool
	Bases  []string

	// Expect are digests (sha256, sha512) that the content of the whole must
	// have: if it has not, the upload fails for good with ErrDigest.
	Expect map[string][]byte

	joins []string // of Concat
}

// An uploadRow is an Upload as it is kept. Its chunk references are in parts
// beside it, as are the bytes after the last whole chunk.
type uploadRow struct {
	ID          string            `json:"id"`
	Who         string            `json:"who"`
	Header      string            `json:"header,omitempty"`
	Name        string            `json:"name"`
	Folder      string            `json:"folder,omitempty"`
	Target      string            `json:"target,omitempty"`
	MIMEType    string            `json:"mime_type,omitempty"` // declared
	Metadata    map[string]any    `json:"metadata,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	OnConflict  OnConflict        `json:"on_conflict"`
	Skip        bool              `json:"skip_unchanged,omitempty"`
	IfMatch     string            `json:"if_match,omitempty"`
	Digests     []string          `json:"digests"`
	Sums        map[string][]byte `json:"sums,omitempty"` // of what has arrived, but for the rest
	Expect      map[string][]byte `json:"expect,omitempty"`
	Chunker     string            `json:"chunker"`
	Domain      string            `json:"domain"`
	Length      int64             `json:"length"`
	Offset      int64             `json:"offset"`
	Parts       int               `json:"parts"`
	Partial     bool              `json:"partial,omitempty"`
	Joins       []string          `json:"joins,omitempty"`  // the parts that it is made of
	Listed      bool              `json:"listed,omitempty"` // the parts are a list of chunks that are sent by themselves
	Bases       []string          `json:"bases,omitempty"`
	Chunks      int64             `json:"chunks,omitempty"`       // listed
	LastChunk   uint32            `json:"last_chunk,omitempty"`   // bytes of the last one listed
	NewBytes    int64             `json:"new_bytes,omitempty"`    // of chunks that were not stored before
	StoredBytes int64             `json:"stored_bytes,omitempty"` // what they take
	Received    int64             `json:"received,omitempty"`     // bytes of chunks that were new to the uploader
	Manifest    string            `json:"manifest,omitempty"`     // that it has become
	Expired     bool              `json:"expired,omitempty"`      // only remembered
	Evicted     bool              `json:"evicted,omitempty"`      // before its time, for others of its principal
	CreatedAt   time.Time         `json:"created_at"`
	ExpiresAt   time.Time         `json:"expires_at"`
}

const (
	kindUpload = "upload"
	kindPart   = "uploadpart"
	kindRest   = "uploadrest"

	// What has arrived is made durable after so many bytes, or so much time.
	partSize = 16 << 20
	partTime = 200 * time.Millisecond

	maxVerified = 1 << 30 // bytes of one Append that is verified: their references wait in memory
)

// NewUpload begins an upload that is sent in pieces by Append and becomes a
// file by Commit. Only its own principal finds it again.
func (b *Bucket) NewUpload(ctx context.Context, name string, opts *UploadOptions) (*Upload, error) {
	if opts == nil {
		opts = &UploadOptions{}
	}
	if err := checkExpect(opts.Expect); err != nil {
		return nil, err
	}
	if err := b.roomForUpload(ctx); err != nil {
		return nil, err
	}
	u, err := b.newPieces(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	row := &uploadRow{ID: string(manifest.NewUploadID()), Who: b.whoKey(), Header: opts.Header, Name: u.name, Folder: u.folder,
		Target: string(u.target), MIMEType: u.opts.MIMEType, Metadata: u.opts.Metadata, Tags: u.opts.Tags, OnConflict: u.opts.OnConflict,
		IfMatch: u.opts.IfMatch, Digests: u.opts.Digests, Expect: opts.Expect, Joins: opts.joins, Partial: opts.Partial, Chunker: u.splitter.String(), Length: -1, CreatedAt: b.s.now()}
	if u.opts.SizeKnown {
		row.Length = u.opts.Size
	}
	if row.Listed, row.Skip = opts.Listed, u.opts.SkipUnchanged; row.Listed {
		if row.Bases, err = b.chooseBases(ctx, u, opts.Bases); err != nil {
			return nil, err
		}
	}
	row.ExpiresAt = row.CreatedAt.Add(b.b.UploadExpiry)
	err = b.s.keep(ctx, func(tx manifest.Tx) error {
		row.Domain = b.domain()
		return b.beginUpload(ctx, tx, row)
	})
	if err != nil {
		return nil, err
	}
	return b.upload(row), nil
}

func (b *Bucket) newPieces(ctx context.Context, name string, opts *UploadOptions) (*upload, error) {
	if opts.Partial {
		return b.newPart(ctx, &opts.PutOptions)
	}
	if opts.Replace != "" {
		return b.newReplacement(ctx, opts.Replace, &opts.PutOptions)
	}
	return b.newNamedUpload(ctx, name, &opts.PutOptions)
}

// newPart begins an upload that will have no name of its own.
func (b *Bucket) newPart(ctx context.Context, opts *PutOptions) (*upload, error) {
	u, err := b.newUpload(opts)
	if err != nil {
		return nil, err
	}
	u.name, u.part, u.opts.OnConflict = partName, true, ConflictNew
	if err := u.mayCreate(ctx); err != nil {
		return nil, err
	}
	return u, u.begin(ctx, nil)
}

// partName is what rules see as the name of a part.
const partName = "upload"

// upload describes a row.
func (b *Bucket) upload(row *uploadRow) *Upload {
	up := &Upload{ID: row.ID, Bucket: b.b.name, Name: row.Name, Folder: row.Folder, Header: row.Header, Length: row.Length,
		Offset: row.Offset, Partial: row.Partial, Waiting: len(row.Joins) > 0 && row.Manifest == "", CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt}
	if row.Listed {
		up.Listed = &List{Chunker: row.Chunker, Chunks: row.Chunks, Received: row.Received}
	}
	return up
}

func (b *Bucket) uploadKey(id string) string { return b.b.name + "/" + id }

func (b *Bucket) partKey(id string, n int) string { return fmt.Sprintf("%s/%s/%08x", b.b.name, id, n) }

func (b *Bucket) putUpload(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	v, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return tx.PutValue(ctx, kindUpload, b.uploadKey(row.ID), v)
}

// findUpload returns the row of an upload of the bucket's principal.
func (b *Bucket) findUpload(ctx context.Context, id string) (*uploadRow, error) {
	if _, ok := manifest.ParseUploadID(id); !ok {
		return nil, ErrNoUpload
	}
	v, err := b.s.meta.Value(ctx, kindUpload, b.uploadKey(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoUpload
	}
	if err != nil {
		return nil, err
	}
	row, err := parseUpload(id, v)
	if err != nil {
		return nil, err
	}
	if mine := b.who == nil || b.who.Operator || row.Who == b.whoKey(); !mine {
		return nil, ErrNoUpload
	}
	if row.Expired || b.s.now().After(row.ExpiresAt) {
		return nil, row.gone()
	}
	return row, nil
}

// Upload describes an upload of the bucket's principal.
func (b *Bucket) Upload(ctx context.Context, id string) (*Upload, error) {
	row, err := b.findUpload(ctx, id)
	if err != nil {
		return nil, err
	}
	out := b.upload(row)
	if row.Manifest == "" {
		return out, nil
	}
	out.File, err = b.made(ctx, row)
	return out, err
}

// holdUpload finds an upload and waits until nobody else works on it: who
// does is asked to stop. What it returns gives the upload free.
func (b *Bucket) holdUpload(ctx context.Context, id string, interrupt func()) (*uploadRow, func(), error) {
	if _, err := b.findUpload(ctx, id); err != nil {
		return nil, nil, err // nobody's work ends because of those whose it is not
	}
	release, err := b.s.takeOver(ctx, b.uploadKey(id), interrupt)
	if err != nil {
		return nil, nil, err
	}
	row, err := b.findUpload(ctx, id)
	if err != nil {
		release()
		return nil, nil, err
	}
	return row, release, nil
}

// Settle ends what is under way on an upload and then describes it, so that
// the offset it tells is where the next Append is to begin.
func (b *Bucket) Settle(ctx context.Context, id string) (*Upload, error) {
	_, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	return b.Upload(ctx, id)
}

// made describes the file that an upload has become.
func (b *Bucket) made(ctx context.Context, row *uploadRow) (*File, error) {
	m, err := b.s.meta.Manifest(ctx, manifest.VersionID(row.Manifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoUpload // removed since
	}
	if err != nil {
		return nil, err
	}
	f, err := b.s.meta.File(ctx, m.File)
	if err != nil {
		return nil, err
	}
	return b.file(f, m), nil
}

// Cancel gives an upload up. A file that it has become stays.
func (b *Bucket) Cancel(ctx context.Context, id string) error {
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return err
	}
	defer release()
	return b.dropUpload(ctx, row)
}

// expireUpload ends an upload whose time is over.
func (b *Bucket) expireUpload(ctx context.Context, row *uploadRow) error {
	return b.s.keep(ctx, func(tx manifest.Tx) error {
		v, err := tx.Value(ctx, kindUpload, b.uploadKey(row.ID))
		if err != nil {
			return notGone(err)
		}
		row, err := parseUpload(row.ID, v)
		if err != nil || !b.s.removalTime().After(row.ExpiresAt) { // it went on meanwhile
			return err
		}
		return b.expireNow(ctx, tx, row)
	})
}

func (b *Bucket) dropUpload(ctx context.Context, row *uploadRow) error {
	return b.s.keep(ctx, func(tx manifest.Tx) error {
		v, err := tx.Value(ctx, kindUpload, b.uploadKey(row.ID))
		if err != nil {
			return notGone(err)
		}
		row, err := parseUpload(row.ID, v) // its list may have grown
		if err != nil {
			return err
		}
		if err := b.endUpload(ctx, tx, row); err != nil {
			return err
		}
		return tx.DropValue(ctx, kindUpload, b.uploadKey(row.ID))
	})
}

// sweepUploads gives up the bucket's uploads whose time is over, and forgets
// them when as much time has passed again.
func (b *Bucket) sweepUploads(ctx context.Context, done *Swept) error {
	for v, err := range b.s.meta.Values(ctx, kindUpload, b.b.name+"/") {
		row := new(uploadRow)
		if err == nil {
			err = json.Unmarshal(v.Value, row)
		}
		if err != nil {
			return err
		}
		switch over := b.s.removalTime().Sub(row.ExpiresAt); {
		case over <= 0, row.Expired && over <= b.b.UploadExpiry:
		case row.Expired:
			err = b.dropUpload(ctx, row)
		default:
			done.Uploads++
			err = b.expireUpload(ctx, row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
