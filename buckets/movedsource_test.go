package buckets_test

import (
	"context"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// A movingStore lets something happen once before it tells of a file or a version.
type movingStore struct {
	manifest.Store
	skip   int // calls before
	happen func()
}

func (s *movingStore) wait() {
	if s.skip--; s.skip < 0 && s.happen != nil {
		happen := s.happen
		s.happen = nil
		happen()
	}
}

func (s *movingStore) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	s.wait()
	return s.Store.File(ctx, id)
}

func (s *movingStore) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	s.wait()
	return s.Store.Manifest(ctx, id)
}

func (s *movingStore) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	s.wait()
	return s.Store.FileByPath(ctx, bucket, path)
}

// The source of a copy or an edit may be moved away, and be collected where it was,
// while that is under way. Its row is still there then, but keeps nothing in the
// domain that chunks are taken in.
func TestSourceIsMovedAway(t *testing.T) {
	race.LeaveOut(t)
	ctx := t.Context()
	content := string(noise(1, 70_000))
	for name, do := range map[string]func(p *passing, src, f *buckets.File, dst *buckets.Bucket) (*buckets.File, error){
		"copy": func(p *passing, src, _ *buckets.File, dst *buckets.Bucket) (*buckets.File, error) {
			return p.b.Copy(ctx, src.ID, dst, nil)
		},
		"edit": func(p *passing, src, f *buckets.File, dst *buckets.Bucket) (*buckets.File, error) {
			return dst.Edit(ctx, f.ID, []buckets.Piece{{File: src.ID, Bucket: p.b, Length: -1}}, nil)
		},
	} {
		for skip := 0; ; skip++ {
			p := newPassing(t, passingSchema)
			dst := bucket(t, p.s, "other")
			src, f := put(t, p.b, "src", content, nil), put(t, dst, "f", "begin", nil)
			m := &movingStore{Store: p.meta.Store, skip: skip, happen: func() {
				_, err := p.s.Migrate(context.WithoutCancel(ctx), "b", "two", nil)
				must(t, err)
				_, err = p.s.Collect(context.WithoutCancel(ctx), nil)
				must(t, err)
			}}
			p.meta.Store = m
			f, err := do(p, src, f, dst)
			if m.happen != nil {
				if skip < 2 {
					t.Errorf("%s: it looks for files %d times only", name, skip)
				}
				break
			}
			if err != nil {
				wantErr(t, name, err, buckets.ErrChunksGone)
			} else if got := read(t, dst, f.ID, nil); got != content {
				t.Errorf("%s: what was made has %d bytes, not those of its source", name, len(got))
			}
		}
	}
}
