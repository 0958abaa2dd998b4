package buckets

import (
	"cmp"
	"context"
	"errors"
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

// An uploadRow is an Upload as it is kept.
type uploadRow struct{ manifest.Upload }

const (
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
	d, err := b.beginDraft(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	row := &uploadRow{manifest.Upload{ID: manifest.NewUploadID(), Bucket: b.b.name, Who: b.whoKey(), Header: opts.Header,
		Name: d.name, Folder: d.folder, Target: d.target, MIMEType: d.opts.MIMEType, Metadata: d.metadata, Tags: d.opts.Tags,
		OnConflict: string(d.opts.OnConflict), IfMatch: d.opts.IfMatch, Digests: d.opts.Digests, Expect: opts.Expect,
		Partial: opts.Partial, Chunker: d.splitter.String(), Length: -1, CreatedAt: b.s.now()}}
	for _, id := range opts.joins {
		row.Joins = append(row.Joins, manifest.UploadID(id))
	}
	if d.opts.SizeKnown {
		row.Length = d.opts.Size
	}
	if row.Listed, row.SkipUnchanged = opts.Listed, d.opts.SkipUnchanged; row.Listed {
		if row.Bases, err = b.chooseBases(ctx, d, opts.Bases); err != nil {
			return nil, err
		}
	}
	row.ExpiresAt = row.CreatedAt.Add(b.b.UploadExpiry)
	err = b.s.keepValues(ctx, func(tx manifest.Tx) error {
		row.Domain = b.domain()
		return b.putUpload(ctx, tx, row)
	})
	if err != nil {
		return nil, err
	}
	return b.upload(row), nil
}

// beginDraft begins the draft that an upload in pieces will become, so that what
// cannot succeed fails at once.
func (b *Bucket) beginDraft(ctx context.Context, name string, opts *UploadOptions) (*draft, error) {
	if opts.Partial {
		return b.draftOfPart(ctx, &opts.PutOptions)
	}
	if opts.Replace != "" {
		return b.draftOfVersion(ctx, opts.Replace, &opts.PutOptions)
	}
	return b.draftByName(ctx, name, &opts.PutOptions)
}

// draftOfPart begins an upload that will have no name of its own.
func (b *Bucket) draftOfPart(ctx context.Context, opts *PutOptions) (*draft, error) {
	r, err := b.newRequest(opts)
	if err != nil {
		return nil, err
	}
	r.name, r.partial, r.opts.OnConflict = partName, true, ConflictNew
	d := b.newDraft(r)
	if err := d.mayCreate(ctx); err != nil {
		return nil, err
	}
	return d, d.begin(ctx, nil)
}

// partName is what rules see as the name of a part.
const partName = "upload"

// upload describes a row.
func (b *Bucket) upload(row *uploadRow) *Upload {
	up := &Upload{ID: string(row.ID), Bucket: b.b.name, Name: row.Name, Folder: row.Folder, Header: row.Header, Length: row.Length,
		Offset: row.Offset, Partial: row.Partial, Waiting: len(row.Joins) > 0 && row.Manifest == "", CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt}
	if row.Listed {
		up.Listed = &List{Chunker: row.Chunker, Chunks: row.Chunks, Received: row.Received}
	}
	return up
}

func (b *Bucket) uploadKey(id string) string { return b.b.name + "/" + id }

func (b *Bucket) putUpload(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	row.Held = row.held()
	return tx.PutUpload(ctx, &row.Upload)
}

// getUpload returns the row of an upload, or ErrNoUpload.
func (b *Bucket) getUpload(ctx context.Context, in manifest.Uploads, id manifest.UploadID) (*uploadRow, error) {
	u, err := in.Upload(ctx, b.b.name, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoUpload
	}
	if err != nil {
		return nil, err
	}
	return &uploadRow{*u}, nil
}

// findUpload returns the row of an upload of the bucket's principal.
func (b *Bucket) findUpload(ctx context.Context, id string) (*uploadRow, error) {
	uid, ok := manifest.ParseUploadID(id)
	if !ok {
		return nil, ErrNoUpload
	}
	row, err := b.getUpload(ctx, b.s.meta, uid)
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
	m, err := b.s.meta.Manifest(ctx, row.Manifest)
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
	return b.describeFile(f, m), nil
}

// Cancel gives an upload up. A file that it has become stays.
func (b *Bucket) Cancel(ctx context.Context, id string) error {
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return err
	}
	defer release()
	return b.dropUpload(ctx, row.ID)
}

// expireUpload ends an upload whose time is over, and drops its parts.
func (b *Bucket) expireUpload(ctx context.Context, id manifest.UploadID) error {
	return b.s.keepAll(ctx, func(tx manifest.Tx) (more bool, err error) {
		row, err := b.getUpload(ctx, tx, id)
		if err != nil {
			return false, ignoreGone(err)
		}
		if row.Expired {
			return tx.DropParts(ctx, id, maxSwept)
		}
		if !b.s.removalTime().After(row.ExpiresAt) {
			return false, nil // it went on meanwhile
		}
		n, err := b.endUpload(ctx, tx, row, maxEnded)
		return n == maxEnded || row.Parts > maxSwept, err
	})
}

// dropUpload ends an upload and forgets it.
func (b *Bucket) dropUpload(ctx context.Context, id manifest.UploadID) error {
	return b.s.keepAll(ctx, func(tx manifest.Tx) (more bool, err error) {
		row, err := b.getUpload(ctx, tx, id)
		if err != nil {
			return false, ignoreGone(err)
		}
		if row.Partial && !row.Expired {
			n, err := b.endWaiting(ctx, tx, id, maxEnded)
			if err != nil || n == maxEnded {
				return true, err
			}
		}
		if more, err = tx.DropParts(ctx, id, maxSwept); err != nil || !more {
			return false, cmp.Or(err, tx.DropUpload(ctx, b.b.name, id))
		}
		row.Expired = true // it lacks parts from now on
		return true, b.putUpload(ctx, tx, row)
	})
}

// sweepUploads gives up the bucket's uploads whose time is over, and forgets
// them when as much time has passed again.
func (b *Bucket) sweepUploads(ctx context.Context, done *Swept) error {
	before := b.s.removalTime().Add(-b.b.UploadExpiry)
	err := b.s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) {
		return tx.SweepUploads(ctx, b.b.name, before, limit)
	})
	if err != nil {
		return err
	}
	for n := maxEnded; n == maxEnded; {
		over, err := b.s.meta.UploadsOver(ctx, b.b.name, b.s.removalTime(), maxEnded)
		if err != nil {
			return err
		}
		for _, u := range over {
			done.Uploads++
			if err := b.expireUpload(ctx, u.ID); err != nil {
				return err
			}
		}
		n = len(over)
	}
	return nil
}
