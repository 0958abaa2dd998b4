package pebblestore_test

import (
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// The way of an upload to its commit: ask for the count of removals, look the
// chunk up, and in the transaction find the count unchanged. The chunk is
// usable then, whatever is marked meanwhile.
func TestUnchangedRemovalsProveChunks(t *testing.T) {
	const rounds = 300
	db := newDBs(t).db
	ctx := t.Context()
	ix := db.Index("x")
	e := cas.ChunkEntry{Digest: cas.Sum([]byte("x")), Frame: cas.FrameID{1}, Length: 1}
	done := make(chan struct{})
	var wg sync.WaitGroup
	usable := func() bool {
		out := make([]cas.ChunkEntry, 1)
		if err := ix.Chunks(ctx, []cas.Digest{e.Digest}, out); err != nil {
			t.Error(err)
		}
		return out[0].Usable()
	}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before, err := db.Removals(ctx, "x")
				if err != nil {
					t.Error(err)
					return
				}
				if !usable() {
					continue
				}
				_, err = db.Update(ctx, "x", func(tx manifest.Tx) error {
					at, err := tx.Barrier(ctx, "x")
					if err == nil && at.Removals == before && !usable() {
						t.Error("a commit passes whose chunk is marked")
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range rounds {
		for _, c := range []*cas.Change{{Frames: []cas.FrameEntry{{ID: e.Frame}}, Chunks: []cas.ChunkEntry{e}}, {Bad: []cas.ChunkEntry{e}}} {
			if err := ix.Apply(ctx, c); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	wg.Wait()
}
