package pebblestore_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chunkIn is a chunk in a frame of a pack.
func chunkIn(n byte) *cas.Change {
	f := cas.FrameEntry{ID: cas.FrameID{n}, Pack: cas.PackID{n}, HeaderLen: 1, StoredLen: 2, PlainLen: 3, Slots: 1}
	return &cas.Change{Packs: []cas.PackEntry{{ID: f.Pack, Sealed: true, Serial: uint64(n), Writer: [16]byte{1}}},
		Frames: []cas.FrameEntry{f}, Chunks: []cas.ChunkEntry{{Digest: cas.Sum([]byte{n}), Frame: f.ID, Length: 3}}}
}

// What a collector relies on outlives a crash: after each call the power is cut,
// and the database has all that was answered.
func TestCollectionSurvivesCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d, err := pebblestore.Open("meta", &pebblestore.Options{FS: mem})
	must(t, err)
	defer func() { must(t, d.Close()) }()
	ctx := t.Context()
	crash := func(check func(d *pebblestore.DB)) {
		t.Helper()
		after, err := pebblestore.Open("meta", &pebblestore.Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
		must(t, err)
		check(after)
		must(t, after.Close())
	}
	number := func(name string, want uint64, fn func() (uint64, error)) {
		t.Helper()
		if got, err := fn(); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}

	must(t, d.Index("x").Apply(ctx, chunkIn(1)))
	_, err = d.NextEpoch(ctx, "x")
	must(t, err)
	crash(func(d *pebblestore.DB) {
		number("epoch", 1, func() (uint64, error) { return d.Epoch(ctx, "x") })
	})
	lease, err := d.TakeLease(ctx, "x", time.Hour)
	must(t, err)
	crash(func(d *pebblestore.DB) { // the lease ended with its process, the token is not given again
		l, err := d.TakeLease(ctx, "x", time.Hour)
		number("token", lease.Token+1, func() (uint64, error) { return l.Token, err })
	})
	must(t, d.RaiseFloor(ctx, lease, 1))
	crash(func(d *pebblestore.DB) { number("floor", 1, func() (uint64, error) { return d.Floor(ctx, "x") }) })
	must(t, d.SetCheckpoint(ctx, "x", 7))
	crash(func(d *pebblestore.DB) {
		number("checkpoint", 7, func() (uint64, error) { return d.Checkpoint(ctx, "x") })
	})

	// A stamp is durable with the commit that relies on it.
	out := make([]cas.ChunkEntry, 1)
	must(t, d.Index("x").Hit(ctx, 1, []cas.Digest{cas.Sum([]byte{1})}, out))
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "f"}
	_, err = d.Update(ctx, "x", func(tx manifest.Tx) error { return tx.PutFile(ctx, f) })
	must(t, err)
	crash(func(d *pebblestore.DB) {
		must(t, d.Index("x").Chunks(ctx, []cas.Digest{cas.Sum([]byte{1})}, out))
		number("stamp", 1, func() (uint64, error) { return out[0].Stamp, nil })
	})

	// A drop is durable with the doom that relies on it.
	must(t, d.Index("x").Apply(ctx, &cas.Change{Collector: lease.Token, Drop: out}))
	_, err = d.Update(ctx, "x", func(tx manifest.Tx) error { return tx.DoomPack(ctx, cas.PackID{1}, 1, nil) })
	must(t, err)
	crash(func(d *pebblestore.DB) {
		n := uint64(0)
		for range d.Index("x").AllChunks(ctx) {
			n++
		}
		for p, err := range d.Index("x").AllPacks(ctx) {
			if err != nil || !p.Doomed || p.Live != 0 {
				t.Errorf("%+v, %v", p, err)
			}
		}
		number("chunks", 0, func() (uint64, error) { return n, nil })
		cs, err := d.Dead(ctx, "x")
		if err != nil || len(cs) != 1 || !cs[0].Has(1) {
			t.Errorf("dead serials %+v, %v", cs, err)
		}
	})
	must(t, d.AddFreed(ctx, "x", []manifest.Freed{{Domain: "x"}}, nil))
	crash(func(d *pebblestore.DB) {
		n := uint64(0)
		for range d.Ledger(ctx) {
			n++
		}
		number("entries of the ledger", 1, func() (uint64, error) { return n, nil })
	})
}

// A hit that has nothing to stamp does not wait for those who change rows, and
// neither does a writer that begins.
func TestHitsDoNotWait(t *testing.T) {
	d, ctx := newDBs(t).db, t.Context()
	must(t, d.Index("x").Apply(ctx, chunkIn(1)))
	_, err := d.Update(ctx, "", func(manifest.Tx) error {
		out := make([]cas.ChunkEntry, 1)
		must(t, d.Index("x").Hit(ctx, 0, []cas.Digest{cas.Sum([]byte{1})}, out))
		w, err := d.Register(ctx, "x")
		must(t, err)
		return d.Unregister(ctx, "x", w.ID)
	})
	must(t, err)
}

// A chunk may be dropped between the look-up of a hit and its stamp: here both
// wait for the same transaction, the drop before the hit. A hit that stamped what
// it had read would bring the entry back.
func TestHitOfWhatIsDropped(t *testing.T) {
	d, ctx := newDBs(t).db, t.Context()
	ix, ds := d.Index("x"), []cas.Digest{cas.Sum([]byte{1})}
	must(t, ix.Apply(ctx, chunkIn(1)))
	_, err := d.NextEpoch(ctx, "x")
	must(t, err)
	old, out := make([]cas.ChunkEntry, 1), make([]cas.ChunkEntry, 1)
	must(t, ix.Chunks(ctx, ds, old))
	var wg sync.WaitGroup
	_, err = d.Update(ctx, "", func(manifest.Tx) error {
		for _, change := range []func() error{
			func() error { return ix.Apply(ctx, &cas.Change{Drop: old}) },
			func() error { return ix.Hit(ctx, 1, ds, out) },
		} {
			wg.Go(func() {
				if err := change(); err != nil {
					t.Error(err)
				}
			})
			for range 10_000 {
				runtime.Gosched() // most often it waits then
			}
		}
		return nil
	})
	must(t, err)
	wg.Wait()
	must(t, ix.Chunks(ctx, ds, old))
	if old[0] != out[0] || old[0].Usable() && old[0].Stamp < 1 {
		t.Errorf("the hit found %+v, the index has %+v", out[0], old[0])
	}
	for f, err := range ix.AllFrames(ctx) {
		if err != nil || !old[0].Usable() || f.Live != 1 {
			t.Errorf("%+v, %v", f, err)
		}
	}
}

// Nobody else can have the database open, so writers end with their process.
func TestWritersEndWithTheProcess(t *testing.T) {
	d := newDBs(t)
	_, err := d.db.Register(t.Context(), "x")
	must(t, err)
	if ws, err := d.reopen(t).Writers(t.Context(), "x"); err != nil || len(ws) != 0 {
		t.Errorf("writers %+v, %v", ws, err)
	}
}
