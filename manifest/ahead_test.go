package manifest_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A roomySource gives zeros, and room for windows as far as it has some.
type roomySource struct {
	mu                sync.Mutex
	most, taken, read int64
}

func (s *roomySource) Read(_ context.Context, _ []cas.Ref, dst []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read += int64(len(dst))
	return nil
}

func (s *roomySource) TakeAhead(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken+n > s.most {
		return false
	}
	s.taken += n
	return true
}

func (s *roomySource) GiveAheadBack(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken -= n
}

// Whatever many readers keep ahead of what they are asked for is bounded by the
// room that they share, and one small window of each. Who reads slowly gives room
// back.
func TestReadersShareRoom(t *testing.T) {
	const small, large = 128 << 10, 2 << 20
	store, segs := openStore(t), newSegments()
	c := write(t, store, segs, noise(seeded(t), 24<<20), 16<<10)
	for what, test := range map[string]struct {
		room   int64         // of the source
		pause  time.Duration // after each 64 KiB of the second half
		least  int64         // room taken after the first half
		most   int64         // room taken near the end
		beyond int64         // bytes read that nobody has asked for
	}{
		"no room":      {0, 0, 0, 0, small},
		"a little":     {small + 1, 0, 0, small + 1, 2 * small},
		"enough":       {1 << 30, 0, 3 * large, 4 * large, 4 * large},
		"read slowly":  {1 << 30, 2 * time.Second, 3 * large, 4 * small, 4 * small},
		"a bit slowly": {1 << 30, 10 * time.Millisecond, 3 * large, 4 * large, 4 * large},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &roomySource{most: test.room}
				r := manifest.NewReader(t.Context(), src, segs, c)
				total := int64(0)
				read := func(n int64) {
					k, err := io.CopyN(io.Discard, struct{ io.Reader }{r}, n)
					if total += k; err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				read(12 << 20)
				if src.taken < test.least {
					t.Errorf("%d bytes of room are taken in the middle, want %d", src.taken, test.least)
				}
				for total < 23<<20 {
					time.Sleep(test.pause)
					read(64 << 10)
				}
				if src.taken > test.most {
					t.Errorf("%d bytes of room are taken near the end, want at most %d", src.taken, test.most)
				}
				if ahead := src.read - total; ahead > test.beyond {
					t.Errorf("%d bytes are read ahead, want at most %d", ahead, test.beyond)
				}
				if err := r.Close(); err != nil || src.taken != 0 {
					t.Errorf("after close: %d bytes of room are taken, %v", src.taken, err)
				}
			})
		})
	}
}
