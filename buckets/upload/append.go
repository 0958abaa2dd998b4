package upload

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// AppendOptions are the options of Append.
type AppendOptions struct {
	// Length is the length of the whole upload, if LengthKnown. It may be told
	// once, and then again, but never changed.
	Length      int64
	LengthKnown bool
	// Size is how many bytes r has, so that too many are refused at once; 0 says
	// nothing.
	Size int64

	// Progress is called when all bytes up to offset are durable.
	Progress func(offset int64)

	// Interrupt is called, perhaps more than once, when another request wants to
	// go on with the upload. The reader must then end soon, with any error.
	Interrupt func()

	// Verify is called when the reader has ended well. If it fails, or the
	// reader does, nothing of what came is kept.
	Verify func() error
}

// Append adds what r gives to the upload. offset must be the upload's own, else
// the error is ErrOffset. When r fails, Append keeps what came before and returns
// the error of r. The Upload that it returns, if not nil, has the new offset, also
// beside an error; beside ErrComplete that of a committed upload has its File, as
// Commit returns it. A second Append ends the one under way.
func (b *Bucket) Append(ctx context.Context, id string, offset int64, r io.Reader, opts *AppendOptions) (*Upload, error) {
	if opts == nil {
		opts = &AppendOptions{}
	}
	row, err := b.findUpload(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(row.Joins) > 0 {
		return b.describeRow(row), buckets.ErrComplete // its content is that of its parts
	}
	return b.appendContent(ctx, id, offset, r, opts)
}

func (b *Bucket) appendContent(ctx context.Context, id string, offset int64, r io.Reader, opts *AppendOptions) (*Upload, error) {
	b = b.pinned()
	in := &interruptible{r: r, interrupt: opts.Interrupt}
	row, release, err := b.holdUpload(ctx, id, in.stop)
	if err != nil {
		return nil, err
	}
	defer release()
	if row.Listed {
		return nil, buckets.ErrNoUpload // for this way of sending
	}
	if row.Manifest != "" {
		if offset != row.Offset { // the request was sent twice, and the other one has ended the upload
			return b.describeRow(row), &buckets.OffsetError{Stands: row.Offset, Given: offset}
		}
		out := b.describeRow(row)
		if out.File, err = b.describeFile(ctx, row); err != nil {
			return out, err
		}
		return out, buckets.ErrComplete
	}
	if err := b.mayAppend(ctx, row); err != nil {
		return b.describeRow(row), err
	}
	if err := b.in.CheckWritable(ctx); err != nil {
		return b.describeRow(row), err
	}
	if offset != row.Offset {
		return b.describeRow(row), &buckets.OffsetError{Stands: row.Offset, Given: offset}
	}
	if err := b.checkLengths(row, opts); err != nil {
		return b.describeRow(row), err
	}
	if err := b.in.CheckLeftovers(ctx, row); err != nil {
		return b.describeRow(row), err
	}
	err = b.appendParts(context.WithoutCancel(ctx), row, in, opts) // what has arrived is kept
	return b.describeRow(row), b.in.WrapSpace(err)
}

// checkLengths checks the sizes that a request states, and sets the length of the
// upload if the request is the first to state it.
func (b *Bucket) checkLengths(row *manifest.Upload, opts *AppendOptions) error {
	length := opts.Length
	switch {
	case !opts.LengthKnown:
	case row.Length >= 0 && length != row.Length:
		return fmt.Errorf("length %d, it was %d: %w", length, row.Length, buckets.ErrLength)
	case length < row.Offset:
		return fmt.Errorf("length %d, %d bytes have arrived: %w", length, row.Offset, buckets.ErrLength)
	default:
		if err := b.in.CheckSize(length); err != nil {
			return err
		}
		row.Length = length
	}
	if row.Length >= 0 && opts.Size > row.Length-row.Offset {
		return fmt.Errorf("%d bytes at %d of %d: %w", opts.Size, row.Offset, row.Length, buckets.ErrOverrun)
	}
	return nil
}

// appendParts stores what r gives, a part at a time; or all or nothing, if opts
// have it verified.
func (b *Bucket) appendParts(ctx context.Context, row *manifest.Upload, r io.Reader, opts *AppendOptions) error {
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return err
	}
	rest, err := b.in.Meta().UploadRest(ctx, row.ID)
	if err != nil {
		return err
	}
	sums, err := wholeSums(row)
	if err != nil {
		return err
	}
	if r, err = b.limitBody(ctx, row, r); err != nil {
		return err
	}
	in := &partCutter{b: b, r: r, s: s, rest: rest, sums: sums}
	if opts.Verify != nil {
		return b.appendVerified(ctx, row, in, opts.Verify)
	}
	var before *flushingPart
	for {
		// Each part is a writer's of its own: what was kept before is safe, since
		// parts are roots, and collection need not wait for the end of the stream.
		w, err := b.in.BeginWriter(ctx)
		if err != nil {
			return errors.Join(before.wait(), err)
		}
		part, more, rerr := in.cutPart(ctx, w, before)
		err = before.wait()
		if err == nil && more && in.late+part.Size == row.Length-row.Offset {
			more, rerr = false, expectEnd(in.r)
		}
		if err != nil || part == nil || errors.Is(rerr, buckets.ErrOverrun) { // what came with too much is not kept
			if part != nil {
				b.in.LeaveBehind(ctx, w, part.Size)
				part.Close()
			}
			w.End(ctx)
			return errors.Join(err, rerr)
		}
		if before != nil && opts.Progress != nil {
			opts.Progress(row.Offset)
		}
		size, rest := in.countPart(part, more)
		before = b.startKeeping(ctx, w, row, part, size, rest)
		if !more {
			return errors.Join(before.wait(), rerr)
		}
	}
}

// expectEnd reads on where r has given all that it may. It returns nil if r ends
// there.
func expectEnd(r io.Reader) error {
	var one [1]byte
	if _, err := r.Read(one[:]); err != io.EOF {
		return err
	}
	return nil
}

// partCutter cuts the bytes that arrive of an upload.
type partCutter struct {
	b    *Bucket
	r    io.Reader
	s    chunker.Splitter
	rest []byte
	late int64 // bytes of rest that are not in any part's size yet
	sums *manifest.Sums
}

// cutPart reads for a while and cuts what it reads, for w. more tells that r has
// not ended.
func (p *partCutter) cutPart(ctx context.Context, w *buckets.Writer, before *flushingPart) (part *manifest.OpenPart, more bool, err error) {
	var after *manifest.OpenPart
	if before != nil {
		after = before.part
	}
	piece := &partReader{r: p.r, left: partSize, until: time.Now().Add(partTime)}
	opts := p.b.in.WriteOptions(w, p.s.String())
	opts.Sums = p.sums
	part, err = manifest.BeginPart(ctx, p.b.in.Chunks(), after, p.rest, piece, p.s, opts)
	if part != nil {
		p.rest = part.Rest
	}
	return part, err == nil && piece.more, err
}

// countPart returns by how much a part moves the upload's offset, and the rest to
// keep with it. If more bytes follow, and the rest is small beside the part, the
// rest is neither kept nor counted: it comes with the next part.
func (p *partCutter) countPart(part *manifest.OpenPart, more bool) (size int64, rest []byte) {
	size, p.late = p.late+part.Size, 0
	if n := int64(len(part.Rest)); more && n <= size/8 {
		p.late = n
		return size - n, nil
	}
	return size, part.Rest
}

// A flushingPart is a part that becomes durable while the next one arrives.
type flushingPart struct {
	part *manifest.OpenPart
	done chan struct{}
	err  error
}

// startKeeping starts a goroutine that makes a part of w durable, with size and
// rest as counted, moves the offset of row, and ends w. The caller must not touch
// row before wait has returned.
func (b *Bucket) startKeeping(ctx context.Context, w *buckets.Writer, row *manifest.Upload, open *manifest.OpenPart, size int64, rest []byte) *flushingPart {
	k := &flushingPart{part: open, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		defer w.End(ctx)
		part, _, err := open.Flush()
		if err == nil {
			part.Size, part.Rest = size, rest
			err = b.keepPart(ctx, w, row, part)
		}
		if k.err = err; err != nil {
			b.in.LeaveBehind(ctx, w, size)
		}
	}()
	return k
}

func (k *flushingPart) wait() error {
	if k == nil {
		return nil
	}
	<-k.done
	return k.err
}

// appendVerified stores all that in gives, or nothing if verify or the reader
// fails.
func (b *Bucket) appendVerified(ctx context.Context, row *manifest.Upload, in *partCutter, verify func() error) (err error) {
	w, err := b.in.BeginWriter(ctx) // of all: no part is kept before the last
	if err != nil {
		return err
	}
	defer w.End(ctx)
	var held manifest.Part
	defer func() {
		if err != nil {
			b.in.LeaveBehind(ctx, w, held.Size)
		}
	}()
	for {
		open, more, rerr := in.cutPart(ctx, w, nil)
		if open == nil {
			return rerr
		}
		held.Size += open.Size
		part, _, err := open.Flush()
		if err = errors.Join(err, rerr); err != nil {
			return err
		}
		held.Refs, held.Rest, held.Sums = append(held.Refs, part.Refs...), part.Rest, part.Sums
		held.Stats.NewBytes, held.Stats.StoredBytes = held.Stats.NewBytes+part.Stats.NewBytes, held.Stats.StoredBytes+part.Stats.StoredBytes
		if held.Size > maxVerified {
			return fmt.Errorf("%d bytes to be verified at once, at most %d are: %w", held.Size, maxVerified, buckets.ErrTooLarge)
		}
		if more {
			continue
		}
		if err := verify(); err != nil {
			return err
		}
		return b.keepPart(ctx, w, row, &held)
	}
}

// wholeSums returns the digests of the whole after the bytes that have arrived,
// nil where the commit computes them.
func wholeSums(row *manifest.Upload) (*manifest.Sums, error) {
	if row.Partial || row.Listed || row.Offset > 0 && row.Sums == nil {
		return nil, nil
	}
	return manifest.ResumeSums(row.Digests, row.Sums)
}

// A partReader ends after left bytes, or at until.
type partReader struct {
	r     io.Reader
	left  int64
	until time.Time
	more  bool // it ended before r did
}

func (p *partReader) Read(buf []byte) (int, error) {
	if p.left == 0 || time.Now().After(p.until) {
		p.more = true
		return 0, io.EOF
	}
	n, err := p.r.Read(buf[:min(int64(len(buf)), p.left)])
	p.left -= int64(n)
	return n, err
}

// limitBody bounds r by what the upload may still take. At the beginning of the
// content it checks the type.
func (b *Bucket) limitBody(ctx context.Context, row *manifest.Upload, r io.Reader) (io.Reader, error) {
	room, err := b.in.FindRoom(ctx, row)
	if err != nil {
		return nil, err
	}
	if l := b.limits().MaxFileSize; l > 0 {
		room.Narrow(l, fmt.Errorf("more than %d bytes: %w", l, buckets.ErrTooLarge))
	}
	if row.Length >= 0 {
		room = buckets.NewRoom(row.Length, fmt.Errorf("more than the %d bytes declared: %w", row.Length, buckets.ErrOverrun))
	}
	most, over := room.Limit()
	r = &stoppingReader{r: r, left: max(most-row.Offset, 0), over: over}
	if row.Offset > 0 || row.Partial {
		return r, nil
	}
	buffered := bufio.NewReaderSize(r, mediatype.FirstLook)
	head, err := buffered.Peek(mediatype.FirstLook)
	whole := int64(len(head)) == row.Length
	if err != nil && err != io.EOF { // Peek has consumed the error: readers must get it too
		r = io.MultiReader(bytes.NewReader(slices.Clone(head)), failedReader{err})
	} else {
		r = buffered
	}
	if !whole && err != nil {
		return r, nil
	}
	check := func(head []byte, whole bool) (settled bool, err error) {
		return b.limits().CheckHead(b.in.Types(), row.Name, row.MIMEType, head, whole)
	}
	if settled, err := check(head, whole); settled {
		return r, err
	}
	return &headChecker{r: r, length: row.Length, check: check}, nil
}

// A headChecker fails as soon as the type of what it reads is told and is not
// one that is taken.
type headChecker struct {
	r      io.Reader
	length int64 // of the content, -1 if unknown
	check  func(head []byte, whole bool) (settled bool, err error)
	head   []byte
}

func (h *headChecker) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.check == nil {
		return n, err
	}
	h.head = append(h.head, p[:min(n, mediatype.HeadBytes-len(h.head))]...)
	whole := int64(len(h.head)) == h.length
	if !whole && len(h.head) < mediatype.HeadBytes {
		return n, err
	}
	_, refused := h.check(h.head, whole)
	h.check, h.head = nil, nil
	if refused != nil {
		return 0, refused
	}
	return n, err
}

// A failedReader fails.
type failedReader struct{ err error }

func (f failedReader) Read([]byte) (int, error) { return 0, f.err }

// An interruptible is a reader that can be made to end early. Once it has ended,
// stop does nothing, so that a request is never broken off after its body.
type interruptible struct {
	r         io.Reader
	interrupt func()

	mu    sync.Mutex
	ended bool // mu
}

func (i *interruptible) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.ended = true
	}
	return n, err
}

func (i *interruptible) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.ended && i.interrupt != nil {
		i.interrupt()
	}
}

// A stoppingReader gives left bytes, and fails with over if there are more.
type stoppingReader struct {
	r    io.Reader
	left int64
	over error
}

func (s *stoppingReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		var one [1]byte
		n, err := io.ReadAtLeast(s.r, one[:], 1)
		if n > 0 {
			return 0, s.over
		}
		return 0, err
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

// keepPart makes a part of the upload, whose chunks w has stored, durable, and
// moves its offset.
func (b *Bucket) keepPart(ctx context.Context, w *buckets.Writer, row *manifest.Upload, part *manifest.Part) error {
	next := *row
	next.Offset += part.Size
	next.ExpiresAt = b.in.Now().Add(b.Policy().UploadExpiry)
	next.Sums = part.Sums
	next.NewBytes, next.StoredBytes = row.NewBytes+part.Stats.NewBytes, row.StoredBytes+part.Stats.StoredBytes
	if len(part.Refs) > 0 {
		next.Parts++
	}
	err := b.in.KeepChunks(ctx, w, part.Refs, func(tx manifest.Tx) (more bool, err error) {
		now, err := b.in.Upload(ctx, tx, row.ID)
		if err != nil {
			return false, err // ErrNoUpload if it was cancelled meanwhile
		}
		if b.in.Moved() { // the part lies in the domain that the bucket has left
			return false, buckets.ErrMoved
		}
		if now.Expired { // meanwhile: its earlier parts are gone
			return false, buckets.GoneError(now)
		}
		// Requests that reach the store by another Uploads, as from another
		// process, are not ended by handover. Only the row tells of them.
		if now.Manifest != "" {
			return false, buckets.ErrComplete
		}
		if now.Offset != row.Offset || now.Parts != row.Parts {
			return false, &buckets.OffsetError{Stands: now.Offset, Given: row.Offset}
		}
		if more, err := b.in.MakeRoom(ctx, tx, &next); err != nil || more {
			return more, err
		}
		if len(part.Refs) > 0 {
			if err := tx.PutPart(ctx, row.ID, row.Parts, part.Refs); err != nil {
				return false, err
			}
		}
		if err := tx.PutRest(ctx, row.ID, part.Rest); err != nil {
			return false, err
		}
		return false, b.in.PutUpload(ctx, tx, &next)
	})
	if err == nil {
		*row = next
	}
	return err
}
