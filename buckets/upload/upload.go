package upload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest"
)

// An Upload is content on its way that is sent in pieces. What Offset counts
// survives a crash of this machine: it never moves back. Only Commit makes it as
// durable as the bucket's policy says.
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
	Waiting   bool          // for the parts that Join makes it of
	Partial   bool          // it becomes no file, but a part of one, by Concat
	Listed    *List         // of an upload by chunk list, which Offset counts the bytes of
	File      *buckets.File // that it has become, nil before its commit
}

// Options are what a new Upload may be told.
type Options struct {
	buckets.PutOptions        // Size is the length of the whole, if SizeKnown
	Replace            string // file (f_…) that it becomes a version of
	Header             string // kept for the protocol
	Partial            bool   // only a part of a file, for Concat; its name is nothing

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

const (
	// What has arrived is made durable after so many bytes, or so much time.
	partSize = 16 << 20
	partTime = 200 * time.Millisecond

	maxVerified = 1 << 30 // bytes of one Append that is verified: their references wait in memory
)

// Begin begins an upload that is sent in pieces by Append and becomes a file by
// Commit. Only its own principal finds it again. If the options' Once has made a
// file already, it returns an upload without an ID that is that file.
func (b *Bucket) Begin(ctx context.Context, name string, opts *Options) (*Upload, error) {
	if opts == nil {
		opts = &Options{}
	}
	if err := checkExpect(opts.Expect); err != nil {
		return nil, err
	}
	if err := b.checkCount(ctx); err != nil {
		return nil, err
	}
	d, err := b.beginDraft(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	if f := d.Earlier(); f != nil {
		return &Upload{Bucket: b.Name(), Name: f.Name, Folder: f.Folder, Header: opts.Header, Length: f.Size, Offset: f.Size, File: f}, nil
	}
	row := d.Row()
	row.Header, row.Expect, row.Listed, row.CreatedAt = opts.Header, opts.Expect, opts.Listed, b.in.Now()
	row.ExpiresAt = row.CreatedAt.Add(b.Policy().UploadExpiry)
	for _, id := range opts.joins {
		row.Joins = append(row.Joins, manifest.UploadID(id))
	}
	if row.Listed {
		if row.Bases, err = b.chooseBases(ctx, d.Replaces(), opts.Bases); err != nil {
			return nil, err
		}
	}
	err = b.in.KeepAll(ctx, func(tx manifest.Tx) (more bool, err error) {
		if more, err = b.in.MakeRoom(ctx, tx, row); err != nil || more {
			return more, err
		}
		row.Domain = b.in.Domain()
		return false, b.in.PutUpload(ctx, tx, row)
	})
	if err != nil {
		return nil, err
	}
	return b.describeRow(row), nil
}

// beginDraft begins the draft that the upload will become, so that what cannot
// succeed fails at once.
func (b *Bucket) beginDraft(ctx context.Context, name string, opts *Options) (*buckets.Draft, error) {
	if opts.Partial {
		return b.in.DraftOfPart(ctx, &opts.PutOptions)
	}
	if opts.Replace != "" {
		return b.in.DraftOfVersion(ctx, opts.Replace, &opts.PutOptions)
	}
	return b.in.Draft(ctx, name, &opts.PutOptions)
}

// checkCount refuses an upload to those who have too many. Uploads that begin at
// the same time may pass together.
func (b *Bucket) checkCount(ctx context.Context) error {
	if b.in.IsInside() {
		return nil
	}
	h, err := b.in.Meta().UploadsHeld(ctx, b.Name(), b.in.PrincipalKey())
	if err == nil && h.Uploads >= b.Policy().MaxUploads {
		err = fmt.Errorf("%d in bucket %q: %w", h.Uploads, b.Name(), ErrTooMany)
	}
	return err
}

// describeRow returns what users see of a row.
func (b *Bucket) describeRow(row *manifest.Upload) *Upload {
	up := &Upload{ID: string(row.ID), Bucket: b.Name(), Name: row.Name, Folder: row.Folder, Header: row.Header, Length: row.Length,
		Offset: row.Offset, Partial: row.Partial, Waiting: len(row.Joins) > 0 && row.Manifest == "", CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt}
	if row.Listed {
		up.Listed = &List{Chunker: row.Chunker, Chunks: row.Chunks, Received: row.Received}
	}
	return up
}

// findUpload returns the row of an upload of the bucket's principal.
func (b *Bucket) findUpload(ctx context.Context, id string) (*manifest.Upload, error) {
	uid, ok := manifest.ParseUploadID(id)
	if !ok {
		return nil, buckets.ErrNoUpload
	}
	row, err := b.in.Upload(ctx, b.in.Meta(), uid)
	if err != nil {
		return nil, err
	}
	if mine := b.in.IsTrusted() || row.Who == b.in.PrincipalKey(); !mine {
		return nil, buckets.ErrNoUpload
	}
	if row.Expired || b.in.Now().After(row.ExpiresAt) {
		return nil, buckets.GoneError(row)
	}
	return row, nil
}

// Find describes an upload of the bucket's principal.
func (b *Bucket) Find(ctx context.Context, id string) (*Upload, error) {
	row, err := b.findUpload(ctx, id)
	if err != nil {
		return nil, err
	}
	out := b.describeRow(row)
	if row.Manifest == "" {
		return out, nil
	}
	out.File, err = b.describeFile(ctx, row)
	return out, err
}

// mayAppend asks again whether the upload may go on.
func (b *Bucket) mayAppend(ctx context.Context, row *manifest.Upload) error {
	d, err := b.in.ResumeDraft(row, row.Length)
	if err != nil {
		return err
	}
	if row.Domain != b.in.Domain() {
		return buckets.ErrMoved
	}
	return d.Authorize(ctx)
}

// holdUpload finds an upload, interrupts the request that works on it and waits
// until that has ended. The caller holds the upload until it calls the function
// that is returned.
func (b *Bucket) holdUpload(ctx context.Context, id string, interrupt func()) (*manifest.Upload, func(), error) {
	if _, err := b.findUpload(ctx, id); err != nil {
		return nil, nil, err // before anything is interrupted: it may be another principal's
	}
	release, err := b.uploads.active.acquire(ctx, b.Name()+"/"+id, interrupt)
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

// Settle ends the request that works on an upload, and then describes the upload:
// its offset is where the next Append begins.
func (b *Bucket) Settle(ctx context.Context, id string) (*Upload, error) {
	_, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	return b.Find(ctx, id)
}

// describeFile describes the file that an upload has become, as it was then.
func (b *Bucket) describeFile(ctx context.Context, row *manifest.Upload) (*buckets.File, error) {
	f, err := b.in.RecallAnswer(ctx, row)
	if errors.Is(err, buckets.ErrNoFile) {
		return nil, buckets.ErrNoUpload // purged since
	}
	if err != nil {
		return nil, err
	}
	// Whoever learns of the file takes the upload for done.
	return f, b.in.AwaitDurable(ctx)
}

// Invalidate ends an upload that cannot become right any more. Who asks for it
// learns that there was one.
func (b *Bucket) Invalidate(ctx context.Context, id string) error {
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return err
	}
	defer release()
	return b.in.InvalidateUpload(ctx, row.ID)
}

// Cancel gives an upload up. A file that it has become stays.
func (b *Bucket) Cancel(ctx context.Context, id string) error {
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return err
	}
	defer release()
	return b.in.DropUpload(ctx, row.ID)
}
