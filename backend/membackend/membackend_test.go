package membackend_test

import (
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return membackend.New(nil) })
}

func TestWholeOnly(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return membackend.New(&membackend.Options{WholeOnly: true})
	})
}

// A scorer takes the place of a testing.TB.
type scorer struct{ errors int }

func (s *scorer) Errorf(string, ...any) { s.errors++ }
func (s *scorer) Helper()               {}

func TestReferee(t *testing.T) {
	put := func(t *testing.T, b backend.Backend, key string) {
		w, err := b.Create(t.Context(), key)
		if err == nil {
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		want int
		opts membackend.Options
		play func(t *testing.T, b backend.Backend)
	}{
		{"fair play", 0, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			b.ReadAt(t.Context(), "missing", nil, 0)
			put(t, b, "a")
			b.ReadAt(t.Context(), "a", nil, 0)
			b.Delete(t.Context(), "a")
			b.Delete(t.Context(), "a")
		}},
		{"create of what exists", 1, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			put(t, b, "a")
			b.Create(t.Context(), "a")
		}},
		{"create of what existed", 1, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			put(t, b, "a")
			b.Delete(t.Context(), "a")
			put(t, b, "a")
		}},
		{"read of what existed", 1, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			put(t, b, "a")
			b.Delete(t.Context(), "a")
			b.ReadAt(t.Context(), "a", nil, 0)
		}},
		{"late read", 0, membackend.Options{LateReads: true}, func(t *testing.T, b backend.Backend) {
			put(t, b, "a")
			b.Delete(t.Context(), "a")
			b.ReadAt(t.Context(), "a", nil, 0)
		}},
		{"two Writers", 1, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			w, _ := b.Create(t.Context(), "a")
			w.Sync()
			b.Append(t.Context(), "a")
		}},
		{"write of what was deleted", 1, membackend.Options{}, func(t *testing.T, b backend.Backend) {
			w, _ := b.Create(t.Context(), "a")
			w.Sync()
			b.Delete(t.Context(), "a")
			if err := w.Commit(); err == nil {
				t.Error("Commit: got no error")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s scorer
			c.opts.Referee = &s
			b := membackend.New(&c.opts)
			c.play(t, b)
			if got := b.Violations(); len(got) != c.want || s.errors != c.want {
				t.Errorf("got violations %q, %d reported, want %d", got, s.errors, c.want)
			}
		})
	}
}
