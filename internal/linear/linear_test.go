package linear_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/linear"
)

const patience = time.Minute // for a check, which takes milliseconds

func soak(n int) int {
	if f, err := strconv.Atoi(os.Getenv("CAIRN_SOAK")); err == nil && f > 0 {
		return n * f
	}
	return n
}

// A bucket is a linear.Store in this process.
type bucket struct{ *buckets.Bucket }

func open(t *testing.T) bucket {
	t.Helper()
	s, err := local.Open(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	return bucket{b}
}

func version(f *buckets.File, err error) (linear.Version, error) {
	switch {
	case errors.Is(err, buckets.ErrPrecondition), errors.Is(err, buckets.ErrNotTrashed):
		return linear.Version{}, linear.ErrRefused
	case err != nil:
		return linear.Version{}, err
	}
	return linear.Version{ID: f.ID, Path: f.Path(), N: f.Version, Root: f.Checksums["root"]}, nil
}

func (b bucket) Put(ctx context.Context, path, content, match string) (linear.Version, error) {
	folder, name := linear.SplitPath(path)
	return version(b.Bucket.Put(ctx, name, strings.NewReader(content), &buckets.PutOptions{Folder: folder, IfMatch: match}))
}

func (b bucket) read(ctx context.Context, id string, opts *buckets.GetOptions) (linear.Version, error) {
	o, err := b.Bucket.Open(ctx, id, opts)
	if err != nil {
		return linear.Version{}, err
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		return linear.Version{}, fmt.Errorf("read: %v", err) // what is there can be read: this is not absence
	}
	v, err := version(&o.File, nil)
	v.Content = string(p)
	return v, err
}

func (b bucket) Get(ctx context.Context, path string) (linear.Version, error) {
	return b.read(ctx, path, &buckets.GetOptions{ByPath: true})
}

func (b bucket) Version(ctx context.Context, id string, n uint64) (linear.Version, error) {
	return b.read(ctx, id, &buckets.GetOptions{Version: n})
}

func (b bucket) List(ctx context.Context, folder string) (out []linear.Version, err error) {
	for f, err := range b.Bucket.List(ctx, &buckets.ListOptions{Folder: &folder}) {
		if err != nil {
			return nil, err
		}
		v, _ := version(f, nil)
		out = append(out, v)
	}
	return out, nil
}

func (b bucket) Copy(ctx context.Context, id string, n uint64, path string) (linear.Version, error) {
	folder, name := linear.SplitPath(path)
	return version(b.Bucket.Copy(ctx, id, b.Bucket, &buckets.CopyOptions{Version: n, Folder: &folder, Name: name, OnConflict: buckets.ConflictVersion}))
}

func (b bucket) Restore(ctx context.Context, id string, n uint64) (linear.Version, error) {
	return version(b.RestoreVersion(ctx, id, n))
}

func (b bucket) Delete(ctx context.Context, id string) error {
	_, err := b.Bucket.Delete(ctx, id, nil)
	return err
}

func (b bucket) Undelete(ctx context.Context, id string) (linear.Version, error) {
	return version(b.Bucket.Undelete(ctx, id))
}

func (b bucket) Purge(ctx context.Context, id string) error {
	return b.Bucket.Purge(ctx, id, nil)
}

func TestStore(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b, h := open(t), linear.NewHistory()
	for i := range soak(4) {
		linear.Run(t.Context(), h, b, seed+uint64(i), 5, 40, fmt.Sprintf("round-%d", i))
	}
	if err := linear.Check(h, patience); err != nil {
		t.Error(err)
	}
	n, lost := h.Calls()
	t.Logf("%d calls, %d without an answer", n, lost)
	if lost > 0 {
		t.Error("calls failed")
	}
}

// A stale store tells what was current a while ago.
type stale struct {
	bucket
	mu   sync.Mutex
	last map[string]linear.Version
}

func (s *stale) Get(ctx context.Context, path string) (linear.Version, error) {
	v, err := s.bucket.Get(ctx, path)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.last[path]
	if err == nil {
		s.last[path] = v
	}
	if ok && rand.IntN(4) == 0 {
		return old, nil
	}
	return v, err
}

// A losing store looks at the condition of a Put, and then forgets it.
type losing struct{ bucket }

func (s losing) Put(ctx context.Context, path, content, match string) (linear.Version, error) {
	if match != "" {
		v, err := s.Get(ctx, path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && v.Root != match {
			return v, linear.ErrRefused
		}
		time.Sleep(time.Millisecond)
	}
	return s.bucket.Put(ctx, path, content, "")
}

// The check finds what it is for.
func TestFaultsAreFound(t *testing.T) {
	for name, s := range map[string]linear.Store{
		"a stale read":  &stale{bucket: open(t), last: make(map[string]linear.Version)},
		"a lost update": losing{open(t)},
	} {
		h := linear.NewHistory()
		found := error(nil)
		for i := range 50 {
			linear.Run(t.Context(), h, s, rand.Uint64(), 5, 40, fmt.Sprintf("round-%d", i))
			if found = linear.Check(h, patience); found != nil {
				t.Logf("%s: found in round %d", name, i)
				break
			}
		}
		if found == nil {
			t.Errorf("%s: not found", name)
		}
	}
}
