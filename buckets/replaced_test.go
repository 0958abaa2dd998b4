package buckets_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

// A file that is replaced between two look-ups of a call was there all the time, also
// where its versions are not kept: no call finds that it is absent. One that is
// purged meanwhile keeps nobody from putting another at its path.
func TestReplacedMeanwhile(t *testing.T) {
	race.LeaveOut(t)
	const content = "what a call sends"
	type call struct {
		name string
		do   func(ctx context.Context, b *buckets.Bucket, id string) error
	}
	reader := func() io.Reader { return strings.NewReader(content) }
	whole := func(id string) []buckets.Piece { return []buckets.Piece{{File: id, Length: -1}} }
	second := func(_ *buckets.File, err error) error { return err }
	send := func(ctx context.Context, b *buckets.Bucket, o *upload.Options) error {
		up, err := uploads(b).Begin(ctx, "f", o)
		if err != nil {
			return err
		}
		if _, err := uploads(b).Append(ctx, up.ID, 0, reader(), nil); err != nil {
			return err
		}
		_, err = commitUpload(uploads(b), ctx, up.ID)
		return err
	}
	byPath := []call{
		{"put", func(ctx context.Context, b *buckets.Bucket, _ string) error {
			return second(b.Put(ctx, "f", reader(), nil))
		}},
		{"upload", func(ctx context.Context, b *buckets.Bucket, _ string) error { return send(ctx, b, nil) }},
		{"compose", func(ctx context.Context, b *buckets.Bucket, _ string) error {
			return second(b.Compose(ctx, "f", []buckets.Piece{{Data: []byte(content)}}, nil))
		}},
	}
	byID := []call{
		{"replace", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Replace(ctx, id, reader(), nil))
		}},
		{"upload of a version", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return send(ctx, b, &upload.Options{Replace: id})
		}},
		{"stat", func(ctx context.Context, b *buckets.Bucket, id string) error { return second(b.Stat(ctx, id, nil)) }},
		{"stat by path", func(ctx context.Context, b *buckets.Bucket, _ string) error { return second(b.StatPath(ctx, "f")) }},
		{"open", func(ctx context.Context, b *buckets.Bucket, id string) error {
			o, err := b.Open(ctx, id, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, o)
				err = errors.Join(err, o.Close())
			}
			return err
		}},
		{"open by path", func(ctx context.Context, b *buckets.Bucket, _ string) error {
			o, err := b.Open(ctx, "f", &buckets.GetOptions{ByPath: true})
			if err == nil {
				err = o.Close()
			}
			return err
		}},
		{"update", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Update(ctx, id, &buckets.Patch{Metadata: map[string]any{"a": 1}}))
		}},
		{"copy", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Copy(ctx, id, b, &buckets.CopyOptions{Name: "copy"}))
		}},
		{"compose of it", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Compose(ctx, "composed", whole(id), nil))
		}},
		{"edit", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Edit(ctx, id, whole(id), nil))
		}},
		{"extend", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Extend(ctx, id, reader(), int64(len(content)), nil))
		}},
		{"truncate", func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Truncate(ctx, id, 1, nil))
		}},
		{"chunks", func(ctx context.Context, b *buckets.Bucket, id string) error {
			for _, err := range b.Chunks(ctx, id, 0, nil) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"versions", func(ctx context.Context, b *buckets.Bucket, id string) error {
			for _, err := range b.Versions(ctx, id) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"trash", func(ctx context.Context, b *buckets.Bucket, id string) error { return second(b.Delete(ctx, id, nil)) }},
		{"purge", func(ctx context.Context, b *buckets.Bucket, id string) error { return b.Purge(ctx, id, nil) }},
	}
	for _, event := range []struct {
		name  string
		calls []call
		do    func(ctx context.Context, b *buckets.Bucket, id string) error
	}{
		{"replaced", append(byPath, byID...), func(ctx context.Context, b *buckets.Bucket, id string) error {
			return second(b.Replace(ctx, id, strings.NewReader("another"), nil))
		}},
		{"purged", byPath, func(ctx context.Context, b *buckets.Bucket, id string) error { return b.Purge(ctx, id, nil) }},
	} {
		for _, c := range event.calls {
			for skip := 0; ; skip++ {
				p := newPassing(t, `buckets: {b: {backend: one, versioning: {keep: 1}}}`)
				id := put(t, p.b, "f", "begin", nil).ID
				ctx := context.WithoutCancel(t.Context())
				m := &movingStore{Store: p.meta.Store, skip: skip, happen: func() { must(t, event.do(ctx, p.b, id)) }}
				p.meta.Store = m
				err := c.do(ctx, p.b, id)
				if m.happen != nil {
					break
				}
				if err != nil {
					t.Errorf("%s, %s before look-up %d: %v", c.name, event.name, skip, err)
				}
			}
		}
	}
}
