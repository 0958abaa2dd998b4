package scrub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

// A failing index fails some calls.
type failingIndex struct {
	*castest.MemIndex
	fail func(what string) error // nil fails none
}

func (x *failingIndex) failure(what string) error {
	if x.fail == nil {
		return nil
	}
	return x.fail(what)
}

func (x *failingIndex) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	if err := x.failure("frames " + id.String()); err != nil {
		return func(yield func(cas.FrameEntry, error) bool) { yield(cas.FrameEntry{}, err) }
	}
	return x.MemIndex.PackFrames(ctx, id)
}

func (x *failingIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	if err := x.failure("chunks"); err != nil {
		return err
	}
	return x.MemIndex.Chunks(ctx, ds, out)
}

func (x *failingIndex) Apply(ctx context.Context, c *cas.Change) error {
	if err := x.failure("apply"); err != nil {
		return err
	}
	return x.MemIndex.Apply(ctx, c)
}

// An error about the bytes of a pack is a result of that pack. Any other ends the
// scrub, and is noted of no pack: those of the database at once, those of a backend
// that does not serve when the other packs have been read.
func TestErrorsOfScrub(t *testing.T) {
	broken, disk := errors.New("the database is gone"), errors.New("input/output error")
	w := newWorld(t, 6)
	ids := w.packs()
	inDatabase := func(call string) func(string, cas.PackID) error {
		return func(what string, _ cas.PackID) error {
			if what == call {
				return broken
			}
			return nil
		}
	}
	inReads := func(err error, of ...cas.PackID) func(string, cas.PackID) error {
		return func(what string, id cas.PackID) error {
			for _, o := range of {
				if what == "read" && id == o {
					return fmt.Errorf("read: %w", err)
				}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		fail                  func(what string, id cas.PackID) error
		flip                  bool // a chunk, so that it is marked
		err                   error
		read, failed, results int
	}{
		"nothing":                           {fail: inReads(nil)},
		"a bad sector":                      {fail: inReads(disk, ids[1]), read: 5, failed: 1, results: 6},
		"every sector":                      {fail: inReads(disk, ids...), failed: 6, results: 6},
		"the index":                         {fail: inDatabase("frames " + ids[2].String()), err: broken, read: 2, results: 2},
		"the index while damage is found":   {fail: inDatabase("chunks"), flip: true, err: broken, read: 1, results: 1},
		"the index while damage is marked":  {fail: inDatabase("apply"), flip: true, err: broken, read: 1, results: 1},
		"a pack that is not served":         {fail: inReads(backend.ErrUnavailable, ids[0]), err: backend.ErrUnavailable, read: 5, results: 5},
		"packs that are not served, by far": {fail: inReads(backend.ErrUnavailable, ids[0], ids[2], ids[4]), err: backend.ErrUnavailable, read: 3, results: 3},
		"a backend that does not serve":     {fail: inReads(backend.ErrUnavailable, ids...), err: backend.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			if c.err == nil && c.failed == 0 {
				c.read, c.results = 6, 6
			}
			clear(w.results)
			if w.b.flip = (cas.PackID{}); c.flip {
				w.flipChunk(ids[1])
			}
			tried := make(map[cas.PackID]bool)
			w.b.fail = func(id cas.PackID) error { tried[id] = true; return c.fail("read", id) }
			w.failing.fail = func(what string) error { return c.fail(what, cas.PackID{}) }
			r, err := scrub.Run(t.Context(), w.store(), &scrub.Options{All: true})
			w.b.fail, w.failing.fail = nil, nil
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("it ends with %v, want %v", err, c.err)
			}
			d := &r.Domains[0]
			if int(d.Packs) != c.read || int(d.FailedPacks) != c.failed || len(w.results) != c.results {
				t.Errorf("%d packs read, %d failed, %d noted; want %+v", d.Packs, d.FailedPacks, len(w.results), c)
			}
			for _, s := range w.results {
				if c.failed == 0 && s.Failed != "" {
					t.Errorf("noted of a pack: %+v", s)
				}
			}
			if name == "a backend that does not serve" && len(tried) > 3 {
				t.Errorf("%d packs were asked for", len(tried))
			}
		})
	}
}
