package linear_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
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

func open(t *testing.T) linear.Bucket {
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
	return func() *buckets.Bucket { return b }
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
	linear.Bucket
	mu   sync.Mutex
	last map[string]linear.Version
}

func (s *stale) Get(ctx context.Context, path string) (linear.Version, error) {
	v, err := s.Bucket.Get(ctx, path)
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
type losing struct{ linear.Bucket }

func (s losing) Put(ctx context.Context, path, content, match string) (linear.Version, error) {
	if match != "" {
		v, err := s.Get(ctx, path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && v.Root != match {
			return v, linear.ErrRefused
		}
		time.Sleep(time.Millisecond)
	}
	return s.Bucket.Put(ctx, path, content, "")
}

// The check finds what it is for.
func TestFaultsAreFound(t *testing.T) {
	for name, s := range map[string]linear.Store{
		"a stale read":  &stale{Bucket: open(t), last: make(map[string]linear.Version)},
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
