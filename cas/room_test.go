package cas_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// Batches that are broken off anywhere leave no room taken.
func TestAbortsLeaveRoom(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	s := w.store(t, nil)
	data := noise(seeded(t), 8<<20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	errBroken := errors.New("broken")
	var all sync.WaitGroup
	for i := range 200 {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if r.IntN(3) == 0 {
				stop := time.AfterFunc(time.Duration(r.IntN(50))*time.Millisecond, cancel)
				defer stop.Stop()
			}
			emitted, fails := 0, r.IntN(60)
			b := s.NewBatch(ctx, &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Zstd}, Tap: func([]byte, []cas.Digest) {}, Emit: func(cas.Ref) error {
				if emitted++; emitted == fails {
					return errBroken
				}
				return nil
			}})
			defer b.Close()
			for range r.IntN(40) {
				at := r.IntN(len(data) - 64<<10)
				if b.Put(data[at:at+64<<10]) != nil {
					return
				}
			}
			if r.IntN(2) == 0 {
				b.Flush() // which may fail; Close is what matters
			}
		})
	}
	all.Wait()
	if units, frames := cas.RoomTaken(s); units+frames > 0 {
		t.Errorf("room is taken for %d units and %d frames", units, frames)
	}
	put(t, s, cas.Zstd, data[:64<<10])
}
