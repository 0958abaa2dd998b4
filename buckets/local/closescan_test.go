package local_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
)

// A scan may end at any call of database or packs: what was not judged waits, and is scanned when
// the store is opened again.
func TestCloseDuringScan(t *testing.T) {
	stride := 4 + rand.Int64N(8)
	if soak(0) > 0 {
		stride = 1
	}
	for k, calls := stride, stride; k <= calls; k += stride {
		f, h := crashfs.New(), &hooks{}
		opts := func(h *hooks) *local.Options {
			o := onFS(f, h)
			o.Scanner = wordScanner{}
			return o
		}
		s, err := local.Open(t.Context(), "store", opts(h))
		must(t, err)
		b := bucket(t, s, "a")
		put := func(name, p string) *buckets.File {
			f, err := b.Put(t.Context(), name, bytes.NewReader([]byte(p)), nil)
			must(t, err)
			return f
		}
		one := put("f", "one")
		must(t, errorOf(s.ScanQuarantine(t.Context())))
		two, bad := put("f", "two"), put("g", "virus")
		closed := make(chan error, 1)
		h.fn = func() {
			go func() { closed <- s.Close() }()
			awaitClosing(s)
		}
		h.calls.Store(0)
		h.at.Store(k)
		_, err = s.ScanQuarantine(t.Context())
		if calls = h.calls.Load(); k <= calls {
			must(t, <-closed)
		}
		if err != nil && !errors.Is(err, buckets.ErrClosed) {
			t.Errorf("closed at call %d of %d: %v", k, calls, err)
		}
		must(t, s.Close())
		report, err := local.Check(t.Context(), "store", &local.CheckOptions{Options: *opts(nil)})
		if err != nil || !report.OK {
			t.Errorf("check: %v, %+v", err, report)
		}
		s, err = local.Open(t.Context(), "store", opts(nil))
		must(t, err)
		b = bucket(t, s, "a")
		must(t, errorOf(s.ScanQuarantine(t.Context())))
		if g, err := b.Stat(t.Context(), one.ID, nil); err != nil || g.ManifestID != two.ManifestID {
			t.Errorf("closed at call %d of %d: current is %+v, %v", k, calls, g, err)
		}
		for g, err := range s.Quarantine(t.Context()) {
			if must(t, err); g.ManifestID != bad.ManifestID || g.Found == "" {
				t.Errorf("in quarantine: %+v", g)
			}
		}
		must(t, s.Close())
	}
}
