package cas_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// A readCounter counts the requests that read, and their bytes.
type readCounter struct {
	backend.Backend
	requests, bytes atomic.Int64
}

func (c *readCounter) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	c.requests.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.Backend.ReadAt(ctx, key, p, off)
}

// A forecast is what reads then cost: near and far, of frames that are compressed and
// of those that are not, in the order in which they lie and in another, and with a
// cache that does not hold them all.
func TestForecast(t *testing.T) {
	race.LeaveOut(t)
	for _, c := range []struct {
		name   string
		remote bool
		cache  int64
		most   int // references of a read
		random bool
	}{
		{"near", false, 0, 60, false}, {"far", true, 0, 60, false}, {"mixed", false, 0, 40, true}, {"mixed far", true, 0, 40, true},
		{"small cache", false, 3 << 20, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r := newWorld(t), seeded(t)
			counter := &readCounter{Backend: w.b}
			w.b = counter
			opts := &cas.Options{PackSize: 3 << 20, CacheBytes: c.cache, Remote: c.remote}
			s := w.open(t, opts)
			var refs []cas.Ref
			for i := range 10 {
				var chunks [][]byte
				for i := range 30 {
					n := 20000 + int(r.Uint64()%60000)
					if c.cache > 0 { // frames that all take as much of the cache
						n = 600_000 + int(r.Uint64()%100_000)
					}
					if c.cache > 0 && i == 4 {
						break
					}
					chunks = append(chunks, slices.Concat(noise(r, n/2), prose(r, n/2)))
				}
				added, _ := put(t, s, []cas.Codec{cas.Zstd, cas.Raw}[i%2], chunks...)
				refs = append(refs, added...)
			}
			closeStore(t, s)
			s = w.store(t, opts) // its caches are empty
			if c.random {
				rand.New(r).Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
			}
			forecast, all := s.NewForecast(), cas.ReadCost{}
			for len(refs) > 0 {
				n := 1 + int(r.Uint64()%uint64(min(c.most, len(refs))))
				size := 0
				for _, ref := range refs[:n] {
					size += int(ref.Length)
				}
				cost, err := forecast.Read(t.Context(), refs[:n])
				if err != nil {
					t.Fatal(err)
				}
				requests, bytes := counter.requests.Load(), counter.bytes.Load()
				if err := s.Read(t.Context(), refs[:n], make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				if got, read := counter.requests.Load()-requests, counter.bytes.Load()-bytes; got != cost.Requests || read != cost.Bytes {
					t.Fatalf("%d requests of %d bytes, the forecast was %+v", got, read, cost)
				}
				all.Add(cost)
				refs = refs[n:]
			}
			if n := int64(len(w.packs(t))); !c.random && all.Ranges != n || c.random && all.Ranges <= n {
				t.Errorf("the whole costs %+v", all)
			}
		})
	}
	s := newWorld(t).store(t, nil)
	if _, err := s.NewForecast().Read(t.Context(), refsOf([]byte("absent"))); !errors.Is(err, cas.ErrMissing) {
		t.Errorf("of an absent chunk: %v", err)
	}
}
