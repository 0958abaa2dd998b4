package buckets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

const maxConcat = 10_000 // uploads joined

// Concat makes an upload of whole partial ones, in their order, and of it a
// file. The parts stay, and may be joined again. Their bytes are cut anew, so
// that the file is what it would be sent in one piece; what is stored already
// is not stored again.
func (b *Bucket) Concat(ctx context.Context, name string, ids []string, opts *UploadOptions) (*Upload, error) {
	if len(ids) == 0 || len(ids) > maxConcat {
		return nil, fmt.Errorf("%d uploads to join: want 1 to %d: %w", len(ids), maxConcat, ErrPart)
	}
	o := *opts
	o.Size, o.SizeKnown = 0, true
	rows := make([]*uploadRow, len(ids))
	for i, id := range ids {
		row, err := b.findUpload(ctx, id)
		if err != nil {
			return nil, err
		}
		if !row.Partial || row.Length < 0 || row.Offset < row.Length || row.Domain != b.b.Domain {
			return nil, fmt.Errorf("upload %s: %w", id, ErrPart)
		}
		rows[i] = row
		o.Size += row.Length
	}
	up, err := b.NewUpload(ctx, name, &o)
	if err != nil {
		return nil, err
	}
	whole := &joined{open: func(row *uploadRow) (Content, error) { return b.content(ctx, row) }, rows: rows}
	_, err = b.Append(ctx, up.ID, 0, whole, nil)
	if whole.r != nil {
		whole.r.Close()
	}
	if err == nil {
		up.File, err = b.Commit(ctx, up.ID)
	}
	if err != nil {
		return nil, errors.Join(err, b.Cancel(context.WithoutCancel(ctx), up.ID))
	}
	up.Offset = up.Length
	return up, nil
}

// joined reads uploads one after another, one open at a time.
type joined struct {
	open func(*uploadRow) (Content, error)
	rows []*uploadRow
	r    Content
}

func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.r == nil {
			if len(j.rows) == 0 {
				return 0, io.EOF
			}
			r, err := j.open(j.rows[0])
			if err != nil {
				return 0, err
			}
			j.r, j.rows = r, j.rows[1:]
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

// content reads what has arrived of an upload.
func (b *Bucket) content(ctx context.Context, row *uploadRow) (Content, error) {
	rest, err := b.s.meta.Value(ctx, kindRest, b.uploadKey(row.ID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return nil, err
	}
	c, _, err := b.assembled(ctx, row, rest, s, nil)
	if err != nil {
		return nil, err
	}
	return manifest.NewReader(ctx, b.chunks, b.segments(), c), nil
}
