package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

const (
	maxConcat = 10_000 // uploads joined
	joinPage  = 16     // rows that are listed at a time: each may name maxConcat others
)

// Concat makes an upload of partial ones, in their order, and of it a file
// when they have all arrived: now, or when Join finds them whole. The parts
// stay, and may be joined again. Their bytes are cut anew, so that the file is
// what it would be sent in one piece; what is stored already is not stored
// again.
func (b *Bucket) Concat(ctx context.Context, name string, ids []string, opts *Options) (*Upload, error) {
	if len(ids) == 0 || len(ids) > maxConcat {
		return nil, fmt.Errorf("%d uploads to join: want 1 to %d: %w", len(ids), maxConcat, buckets.ErrPart)
	}
	o := Options{}
	if opts != nil {
		o = *opts
	}
	o.joins = ids
	length, whole, err := b.sumParts(ctx, ids)
	if err != nil {
		return nil, err
	}
	if o.Size, o.SizeKnown = max(length, 0), length >= 0; !o.SizeKnown && !whole {
		o.Size = 0
	}
	up, err := b.Begin(ctx, name, &o)
	if err != nil || !whole {
		return up, err
	}
	done, err := b.Join(ctx, up.ID)
	if err != nil {
		return nil, errors.Join(err, b.Cancel(context.WithoutCancel(ctx), up.ID))
	}
	return done, nil
}

// sumParts sums up the lengths of partial uploads, -1 if one is not known, and
// reports whether they have all arrived. A part that is named again adds to what
// one request makes of what was sent before.
func (b *Bucket) sumParts(ctx context.Context, ids []string) (length int64, whole bool, err error) {
	whole = true
	sent, named := int64(0), make(map[string]bool)
	for _, id := range ids {
		row, err := b.findUpload(ctx, id)
		if err != nil {
			return 0, false, err
		}
		if !row.Partial || row.Domain != b.in.Domain() {
			return 0, false, fmt.Errorf("upload %s: %w", id, buckets.ErrPart)
		}
		whole = whole && row.Length >= 0 && row.Offset == row.Length
		if !named[id] {
			named[id], sent = true, sent+max(row.Length, 0)
		}
		if row.Length > math.MaxInt64-max(length, 0) {
			return 0, false, fmt.Errorf("all parts together: %w", buckets.ErrTooLarge)
		}
		if length >= 0 && row.Length >= 0 {
			length += row.Length
		} else {
			length = -1
		}
	}
	l := b.limits()
	return length, whole, l.CheckComposed(length, sent)
}

// Join makes a file of an upload that waits for its parts, if they are whole,
// and describes it.
func (b *Bucket) Join(ctx context.Context, id string) (*Upload, error) {
	row, err := b.findUpload(ctx, id)
	if err != nil {
		return nil, err
	}
	if row.Manifest != "" || len(row.Joins) == 0 {
		return b.Find(ctx, id)
	}
	ids := make([]string, len(row.Joins))
	for i, part := range row.Joins {
		ids[i] = string(part)
	}
	length, whole, err := b.sumParts(ctx, ids)
	if err != nil || !whole {
		out := b.describeRow(row)
		out.Length = length
		return out, err
	}
	w, err := b.in.BeginWriter(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End(ctx)
	all := &joined{open: func(id string) (buckets.Content, error) { return b.openContent(ctx, w, id) }, ids: ids}
	defer all.close()
	if _, err := io.CopyN(io.Discard, all, row.Offset); err != nil { // an earlier try came so far
		return nil, err
	}
	_, err = b.appendContent(ctx, id, row.Offset, all, &AppendOptions{Length: length, LengthKnown: true})
	joined := errors.Is(err, buckets.ErrOffset) || errors.Is(err, buckets.ErrComplete) // by another request
	if err != nil && !joined {
		return nil, err
	}
	if _, err := b.Commit(ctx, id); err != nil {
		return nil, err
	}
	return b.Find(ctx, id)
}

// JoinAll makes files of the uploads that wait for a part, if it was the last.
// Those that fail stay, and say why when they are joined themselves.
func (b *Bucket) JoinAll(ctx context.Context, part string) error {
	row, err := b.findUpload(ctx, part)
	if err != nil {
		return err
	}
	after := manifest.UploadID("")
	for n := joinPage; n == joinPage; {
		waiting, err := b.in.Meta().UploadsWaiting(ctx, b.Name(), row.ID, after, joinPage)
		if err != nil {
			return err
		}
		for _, u := range waiting {
			after = u.ID
			if _, err := b.Join(ctx, string(u.ID)); err != nil {
				b.in.Log().Info("uploads could not be joined", "upload", u.ID, "error", err)
			}
		}
		n = len(waiting)
	}
	return nil
}

// joined reads uploads one after another, one open at a time.
type joined struct {
	open func(id string) (buckets.Content, error)
	ids  []string
	r    buckets.Content
}

func (j *joined) close() {
	if j.r != nil {
		j.r.Close() // of a reader
	}
}

func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.r == nil {
			if len(j.ids) == 0 {
				return 0, io.EOF
			}
			r, err := j.open(j.ids[0])
			if err != nil {
				return 0, err
			}
			j.r, j.ids = r, j.ids[1:]
		}
		n, err := j.r.Read(p)
		if err == io.EOF {
			err = j.r.Close()
			j.r = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// openContent reads what has arrived of an upload. While w has not ended, the
// segments that it needs for that stay.
func (b *Bucket) openContent(ctx context.Context, w *buckets.Writer, id string) (buckets.Content, error) {
	row, err := b.findUpload(ctx, id)
	if err != nil {
		return nil, err
	}
	rest, err := b.in.Meta().UploadRest(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return nil, err
	}
	c, _, err := b.assembleContent(ctx, w, row, rest, s, nil)
	if err != nil {
		return nil, err
	}
	return manifest.NewReader(ctx, b.in.Chunks(), b.in.Segments(), c), nil
}
