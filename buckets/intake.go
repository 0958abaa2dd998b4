package buckets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// An Intake is a bucket as seen by a package that takes content in by a way of
// its own, such as buckets/upload. It gives access to rows and chunks, and
// leaves it to that package to ask whether its user may.
type Intake struct{ b *Bucket }

// Intake returns b without checks of access, for packages below this one.
func (b *Bucket) Intake(internal.Pass) *Intake { return &Intake{b} }

// Pinned returns a copy of in whose domain is fixed to the present one: what is
// stored through it is found again through it.
func (in *Intake) Pinned() *Intake { return &Intake{in.b.pinned()} }

// Moved reports whether the bucket has left the domain that in is pinned to.
func (in *Intake) Moved() bool { return in.b.hasLeft(in.b.domain()) }

// Domain is where the bucket's files lie.
func (in *Intake) Domain() string { return in.b.domain() }

// Chunks holds the content of the bucket's files.
func (in *Intake) Chunks() *cas.Store { return in.b.chunks() }

// Segments finds the segments of the bucket's files.
func (in *Intake) Segments() manifest.SegmentGetter { return in.b.segmentGetter() }

// Meta holds the rows of all buckets.
func (in *Intake) Meta() manifest.Store { return in.b.s.meta }

// KeepAll runs transactions that change no files and versions, until fn reports
// that nothing is left to do.
func (in *Intake) KeepAll(ctx context.Context, fn func(tx manifest.Tx) (more bool, err error)) error {
	return in.b.s.updateUntilDone(ctx, fn)
}

// KeepChunks is KeepAll for transactions that make pointers of w to refs durable.
// If w has been passed by, all of refs are looked up again first: ErrChunksGone if
// some are not stored any more.
func (in *Intake) KeepChunks(ctx context.Context, w *Writer, refs []cas.Ref, fn func(tx manifest.Tx) (more bool, err error)) error {
	for range commitTries {
		err := in.b.s.updateUntilDone(ctx, func(tx manifest.Tx) (more bool, err error) {
			if err := w.passBarrier(ctx, tx); err != nil {
				return false, err
			}
			return fn(tx)
		})
		if !errors.Is(err, errPassedBy) {
			return err
		}
		if err := w.renew(ctx); err != nil {
			return err
		}
		if err := w.lookUpRefs(ctx, refs); err != nil {
			return err
		}
	}
	return fmt.Errorf("chunks were removed %d times before they were kept; send them again: %w", commitTries, ErrChunksGone)
}

// LeaveBehind notes that w has stored n bytes that belong to no upload and become
// no file.
func (in *Intake) LeaveBehind(ctx context.Context, w *Writer, n int64) {
	in.b.leaveBehind(ctx, w, n)
}

// AwaitDurable returns when all changes made so far are as durable as the
// bucket's policy says.
func (in *Intake) AwaitDurable(ctx context.Context) error { return in.b.awaitDurable(ctx) }

// CheckWritable is nil if the store takes changes now, and else why not.
func (in *Intake) CheckWritable(ctx context.Context) error { return in.b.s.checkWritable(ctx) }

// Now is the time that rows are stamped with.
func (in *Intake) Now() time.Time { return in.b.s.now() }

// Types finds what kind of content is sent.
func (in *Intake) Types() *mediatype.Detector { return in.b.s.types }

// Log returns the store's.
func (in *Intake) Log() *slog.Logger { return in.b.s.log }

// IsTrusted reports whether the bucket's user may see what is others'.
func (in *Intake) IsTrusted() bool { return in.b.who == nil || in.b.who.Operator }

// IsInside reports whether the bucket is used by this process itself, for
// nobody.
func (in *Intake) IsInside() bool { return in.b.who == nil }

// IsNameless reports whether nothing tells the bucket's principal from others
// but where its requests come from.
func (in *Intake) IsNameless() bool {
	return in.b.who != nil && in.b.who.ID == "" && in.b.who.Grant == nil
}

// PrincipalID is the ID of the bucket's principal, "" for none.
func (in *Intake) PrincipalID() string { return in.b.whoID() }

// PrincipalKey names the bucket's principal among those who use it.
func (in *Intake) PrincipalKey() string { return in.b.whoKey() }

// FindReadable returns the rows of the file or version id, if the principal may
// read it in full.
func (in *Intake) FindReadable(ctx context.Context, id string) (*manifest.File, *manifest.Manifest, error) {
	f, m, err := in.b.findRows(ctx, id, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, op := range []access.Op{access.OpRead, access.OpDownload} {
		if err := in.b.checkFile(ctx, op, f, m); err != nil {
			return nil, nil, err
		}
	}
	return f, m, nil
}

// RecallAnswer returns what was told of the file that an upload has become, or
// ErrNoFile if that was purged.
func (in *Intake) RecallAnswer(ctx context.Context, row *manifest.Upload) (*File, error) {
	return recallAnswer(ctx, in.b.s.meta, row.Answer)
}

// CheckSize checks the size that an upload will have.
func (in *Intake) CheckSize(size int64) error {
	if g := in.b.grant(); g != nil && g.MaxSize > 0 && size > g.MaxSize {
		return overSigned(g)
	}
	return in.b.b.Limits.CheckSize(size)
}

// FindRoom returns how many bytes the content of row may have in all.
func (in *Intake) FindRoom(ctx context.Context, row *manifest.Upload) (Room, error) {
	room, err := in.b.findRoom(ctx, row)
	if g := in.b.grant(); g != nil && g.MaxSize > 0 {
		room.Narrow(g.MaxSize, overSigned(g))
	}
	return room, err
}

// WrapSpace is WrapSpace for content that was not taken: a collection is asked for,
// which may make room for the next.
func (in *Intake) WrapSpace(err error) error { return in.b.s.wrapSpace(err) }

// CheckLeftovers fails if nothing more may come for row beside what ended uploads
// of the principal have left: with ErrUncollected, or as files leave no room.
func (in *Intake) CheckLeftovers(ctx context.Context, row *manifest.Upload) error {
	return in.b.checkLeftovers(ctx, row)
}

// BeginWriter begins a writer in the domain that in is pinned to. The caller ends
// it after its last commit.
func (in *Intake) BeginWriter(ctx context.Context) (*Writer, error) {
	return in.b.s.beginWriter(ctx, in.b.domain())
}

// WriteOptions are those of content that w stores and a splitter cuts, given by
// its name.
func (in *Intake) WriteOptions(w *Writer, splitter string) *manifest.WriteOptions {
	return in.b.writeOptions(w, splitter)
}

func (b *Bucket) writeOptions(w *Writer, splitter string) *manifest.WriteOptions {
	return &manifest.WriteOptions{Since: w.Since(), Chunkers: b.chunkerPool(splitter), Compression: b.b.Compression,
		Segments: b.segmentStore(), Memory: b.s.sums[b.domain()]}
}

// chunkerPool holds chunkers of a splitter, nil if it is not the bucket's own.
func (b *Bucket) chunkerPool(splitter string) *sync.Pool {
	if splitter != b.Chunker() {
		return nil
	}
	return &b.b.chunkers
}

// segmentStore puts segments into the metadata store, and finds them there or
// in the packs.
func (b *Bucket) segmentStore() segmentStore {
	return segmentStore{b.s.meta.Segments(b.domain()), b.segmentGetter()}
}

type segmentStore struct {
	manifest.SegmentPutter
	manifest.SegmentGetter
}

// Draft begins a draft that becomes a file called name, or a version of the one
// that has the name.
func (in *Intake) Draft(ctx context.Context, name string, opts *PutOptions) (*Draft, error) {
	if opts != nil && opts.hasOrigin() {
		return nil, errOrigin // the row of an upload does not keep it
	}
	return in.b.draftByName(ctx, name, opts)
}

// DraftOfVersion begins a draft that becomes a version of the file id (f_…).
func (in *Intake) DraftOfVersion(ctx context.Context, id string, opts *PutOptions) (*Draft, error) {
	return in.b.draftOfVersion(ctx, id, opts)
}

// DraftOfPart begins a draft that becomes no file, but a part of one.
func (in *Intake) DraftOfPart(ctx context.Context, opts *PutOptions) (*Draft, error) {
	return in.b.draftOfPart(ctx, opts)
}

// ResumeDraft returns a draft of length bytes, -1 if unknown, by the row of its
// upload. It has not begun.
func (in *Intake) ResumeDraft(row *manifest.Upload, length int64) (*Draft, error) {
	return in.b.resumeDraft(row, length)
}

// Upload returns the row of an upload, or ErrNoUpload.
func (in *Intake) Upload(ctx context.Context, rows manifest.Uploads, id manifest.UploadID) (*manifest.Upload, error) {
	return in.b.uploadRow(ctx, rows, id)
}

// PutUpload writes the row of an upload.
func (in *Intake) PutUpload(ctx context.Context, tx manifest.Tx, row *manifest.Upload) error {
	return putUpload(ctx, tx, row)
}

// EndUpload writes the row of an upload that has become a file, with what its
// user is told of that, and drops its parts: what is more than one transaction
// drops is left to the sweep.
func (in *Intake) EndUpload(ctx context.Context, tx manifest.Tx, row *manifest.Upload, answer *File) error {
	var err error
	if row.Answer, err = json.Marshal(answer); err != nil {
		return err
	}
	row.Manifest = manifest.VersionID(answer.ManifestID)
	if _, err := tx.DropParts(ctx, row.ID, maxSwept); err != nil {
		return err
	}
	return putUpload(ctx, tx, row)
}

// MakeRoom ends other uploads of the principal as far as row leaves them no
// room. It reports whether another transaction must go on with that before row
// is written.
func (in *Intake) MakeRoom(ctx context.Context, tx manifest.Tx, row *manifest.Upload) (more bool, err error) {
	return in.b.makeRoom(ctx, tx, row)
}

// InvalidateUpload ends an upload that is not valid any more. Its row stays for
// a while and says so.
func (in *Intake) InvalidateUpload(ctx context.Context, id manifest.UploadID) error {
	return in.b.invalidateUpload(ctx, id)
}

// DropUpload ends an upload and forgets it.
func (in *Intake) DropUpload(ctx context.Context, id manifest.UploadID) error {
	return in.b.dropUpload(ctx, id)
}

// CheckUnderWay fails if an upload has ended, with what it was given up for.
func (in *Intake) CheckUnderWay(ctx context.Context, id manifest.UploadID) error {
	return in.b.checkUnderWay(ctx, id)
}

// EachPart calls fn with the chunks of an upload, a part at a time from one on.
func (in *Intake) EachPart(ctx context.Context, row *manifest.Upload, from uint64, fn func([]cas.Ref) error) error {
	return in.b.eachPart(ctx, row, from, fn)
}
