package check

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/manifest"
)

// doom drops what the index has in packs and dooms them, as a collection does
// that has written a checkpoint before.
func (f *fixture) doom(ids ...cas.PackID) {
	f.t.Helper()
	f.doomWith(f.commit, ids)
}

// doomUnrecorded is doom, but that no record of it reaches the packs.
func (f *fixture) doomUnrecorded(ids ...cas.PackID) {
	f.t.Helper()
	f.doomWith(func(fn func(tx manifest.Tx) error) {
		c, err := f.db.Update(f.t.Context(), "x", fn)
		must(f.t, err)
		must(f.t, f.db.Written(f.t.Context(), c.Seq))
	}, ids)
}

func (f *fixture) doomWith(commit func(fn func(tx manifest.Tx) error), ids []cas.PackID) {
	f.t.Helper()
	ctx := f.t.Context()
	ix := f.db.Index("x")
	base, err := f.db.Checkpoint(ctx, "x")
	must(f.t, err)
	if base == 0 { // one that is not in the packs
		base, err = f.db.LastCommit(ctx)
		must(f.t, err)
		must(f.t, f.db.SetCheckpoint(ctx, "x", base))
	}
	for _, id := range ids {
		gone := make(map[cas.FrameID]bool)
		for e, err := range ix.PackFrames(ctx, id) {
			must(f.t, err)
			gone[e.ID] = true
		}
		change := &cas.Change{}
		for e, err := range ix.AllChunks(ctx) {
			must(f.t, err)
			if gone[e.Frame] {
				change.Drop = append(change.Drop, e)
			}
		}
		for p, err := range ix.AllPacks(ctx) {
			must(f.t, err)
			if p.ID == id {
				p.Sealed = true
				change.Packs = append(change.Packs, p)
			}
		}
		must(f.t, ix.Apply(ctx, change))
		commit(func(tx manifest.Tx) error { return tx.DoomPack(ctx, id, 1, nil) })
	}
}

// commit makes a transaction and brings its records to the packs.
func (f *fixture) commit(fn func(tx manifest.Tx) error) {
	f.t.Helper()
	c, err := f.db.Update(f.t.Context(), "x", fn)
	must(f.t, err)
	must(f.t, f.chunks.AppendRecords(f.t.Context(), &cas.Records{Commit: c.Seq, Slots: c.Slots}))
	must(f.t, f.db.Written(f.t.Context(), c.Seq))
}

// entryOf returns what the index has of a pack; a zero entry is nothing.
func (f *fixture) entryOf(id cas.PackID) cas.PackEntry {
	f.t.Helper()
	for p, err := range f.db.Index("x").AllPacks(f.t.Context()) {
		must(f.t, err)
		if p.ID == id {
			return p
		}
	}
	return cas.PackEntry{}
}

// checkSurvey fails if a survey finds anything but packs that are as they should
// be.
func (f *fixture) checkSurvey(what string) {
	f.t.Helper()
	s := f.store()
	must(f.t, s.Survey(f.t.Context()))
	if v := s.Domains[0].survey; len(v.Missing)+len(v.Short)+len(v.Unknown)+len(v.Lost) > 0 || s.Stale() != nil {
		f.t.Errorf("%s: the survey finds %d packs missing, %d short, %d unknown, %d lost; %v", what, len(v.Missing), len(v.Short),
			len(v.Unknown), len(v.Lost), s.Stale())
	}
}

// A pack whose deletion has begun is nobody's problem, be it there, damaged, or
// gone; a rebuild indexes nothing of it, and leaves it to the next collection.
func TestDoomedPacks(t *testing.T) {
	for _, how := range []string{"there", "damaged", "gone", "confirmed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 8000}
			files := make(map[string][]byte)
			f.change(func(b *buckets.Bucket) { // one opening, so one writer
				for i, name := range []string{"a", "b", "c", "d"} {
					files[name] = noise(uint64(i), 9000)
					_, err := b.Put(t.Context(), name, bytes.NewReader(files[name]), nil)
					must(t, err)
				}
			})
			f.change(func(b *buckets.Bucket) {
				gone, err := b.StatPath(t.Context(), "b")
				must(t, err)
				must(t, b.Purge(t.Context(), gone.ID, nil))
			})
			g := f.open()
			id := g.packOf(files["b"])
			delete(files, "b")
			g.writeCheckpoint(1, true, "a", "c", "d")
			base, err := g.db.LastCommit(t.Context())
			must(t, err)
			g.doom(id)
			doomed := g.entryOf(id)
			if how == "damaged" {
				f.rewritePack(id, func(text []byte) []byte { clear(text[200:]); return text })
			}
			if how == "gone" || how == "confirmed" {
				must(t, f.b.Delete(t.Context(), id.Key()))
			}
			if how == "confirmed" {
				must(t, g.chunks.Apply(t.Context(), &cas.Change{DropPacks: []cas.PackID{id}}))
			}
			g.checkSurvey("live")
			if r := g.verify(files); !r.OK {
				t.Errorf("live: check finds %+v", r)
			}

			g = newFixture(t, f.b, t.TempDir())
			must(t, g.store().Rebuild(t.Context()))
			g.checkSurvey("rebuilt")
			e := g.entryOf(id)
			if _, err := f.b.Stat(t.Context(), id.Key()); errors.Is(err, fs.ErrNotExist) {
				if e.ID == id {
					t.Errorf("rebuilt: the index has a pack that is gone: %+v", e)
				}
			} else if !e.Doomed || !e.Sealed || e.Live > 0 {
				t.Errorf("rebuilt: the index has the pack as %+v", e)
			}
			for frame, err := range g.db.Index("x").PackFrames(t.Context(), id) {
				t.Errorf("rebuilt: a frame of the pack is indexed: %+v, %v", frame, err)
			}
			dead, err := g.db.Dead(t.Context(), "x")
			if err != nil || len(dead) != 1 || dead[0].Writer != doomed.Writer || !dead[0].Has(doomed.Serial) {
				t.Errorf("rebuilt: dead are %+v, %v", dead, err)
			}
			if got, err := g.db.Checkpoint(t.Context(), "x"); err != nil || got == 0 || got > base {
				t.Errorf("rebuilt: the checkpoint is of base %d, want at most %d, %v", got, base, err)
			}
			if r := g.verify(files); !r.OK {
				t.Errorf("rebuilt: check finds %+v", r)
			}
		})
	}
}

// copyFrames copies the frames of data in a pack to a new pack, with their IDs or
// with new ones, and tells the index, as a collection does.
func (f *fixture) copyFrames(from cas.PackID, newIDs bool) {
	f.t.Helper()
	ctx := f.t.Context()
	store, err := f.db.StoreID(ctx)
	must(f.t, err)
	domain, err := f.db.DomainID(ctx, "x")
	must(f.t, err)
	size, err := f.b.Stat(ctx, from.Key())
	must(f.t, err)
	old := make([]byte, size.Size)
	must(f.t, f.b.ReadAt(ctx, from.Key(), old, 0))
	id := cas.PackID(pack.NewID())
	text := pack.AppendHeader(nil, &pack.Header{Pack: id, Store: store, Domain: domain, Writer: [16]byte{9}, Serial: 1})
	var lines pack.Lines
	change := &cas.Change{}
	must(f.t, pack.WalkFrames(ctx, bytesReader(old), from, size.Size, nil, func(w *pack.Found) error {
		if w.Frame == nil || !w.Frame.Kind.Indexed() {
			return nil
		}
		h := *w.Frame
		payload := old[w.Offset+w.Length-int64(h.StoredLen):][:h.StoredLen]
		if h.Pack, h.Offset = id, int64(len(text)); newIDs {
			h.ID = pack.NewID()
		}
		head := pack.AppendFrame(nil, &h)
		lines.Add(&h, head)
		text = append(append(text, head...), payload...)
		return nil
	}))
	text = pack.AppendFooter(text, id, &lines)
	w, err := f.b.Create(ctx, id.Key())
	must(f.t, err)
	_, err = w.Write(text)
	must(f.t, err)
	must(f.t, w.Commit())
	info, err := f.chunks.Inspect(ctx, cas.PackEntry{ID: id, Size: int64(len(text))})
	must(f.t, err)
	change.Packs = []cas.PackEntry{info.PackEntry}
	for _, frame := range info.Frames {
		if !newIDs {
			change.Moved = append(change.Moved, cas.MovedFrame{FrameEntry: frame.Entry, From: from})
			continue
		}
		change.Frames = append(change.Frames, frame.Entry)
		was := make([]cas.ChunkEntry, 1)
		for _, e := range frame.Chunks {
			must(f.t, f.chunks.Index().Chunks(ctx, []cas.Digest{e.Digest}, was))
			change.Relocated = append(change.Relocated, cas.RelocatedChunk{From: was[0], To: e})
		}
	}
	must(f.t, f.chunks.Apply(ctx, change))
}

// A database from before chunks were copied and their pack was deleted finds them
// where they are now.
func TestCatchUpAfterCopy(t *testing.T) {
	for _, newIDs := range []bool{false, true} {
		for _, gone := range []bool{false, true} {
			f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
			files := map[string][]byte{"a": noise(1, 300_000), "b": noise(2, 9000)}
			f.put("a", files["a"])
			f.put("b", files["b"])
			f.put("c", nil)
			before := f.copyDir()
			g := f.open()
			id := g.packOf(files["b"])
			g.copyFrames(id, newIDs)
			// Its records are needed, as the database would not know of a checkpoint.
			g.appendRecordsOf(id)
			g.doom(id)
			if gone {
				must(t, f.b.Delete(t.Context(), id.Key()))
			}
			g.close()
			files["c"] = []byte{}
			g = newFixture(t, f.b, before)
			s := g.store()
			must(t, s.Survey(t.Context()))
			must(t, s.CatchUp(t.Context()))
			if e := g.entryOf(id); gone && e.ID == id || !gone && !e.Doomed {
				t.Errorf("new IDs %v, gone %v: the index has the old pack as %+v", newIDs, gone, e)
			}
			if r := g.verify(files); !r.OK {
				t.Errorf("new IDs %v, gone %v: check finds %+v", newIDs, gone, r)
			}
			g = newFixture(t, f.b, t.TempDir())
			must(t, g.store().Rebuild(t.Context()))
			if r := g.verify(files); !r.OK {
				t.Errorf("new IDs %v, gone %v, rebuilt: check finds %+v", newIDs, gone, r)
			}
		}
	}
}

// appendRecordsOf appends the records of a pack to the packs again.
func (f *fixture) appendRecordsOf(id cas.PackID) {
	f.t.Helper()
	info, err := f.chunks.Inspect(f.t.Context(), f.entryOf(id))
	must(f.t, err)
	for _, frame := range info.Frames {
		if frame.Entry.Kind != cas.KindRecord {
			continue
		}
		_, slots, err := f.chunks.Verify(f.t.Context(), frame)
		must(f.t, err)
		for _, p := range slots {
			s, err := manifest.DecodeSlot(p)
			must(f.t, err)
			must(f.t, f.chunks.AppendRecords(f.t.Context(), &cas.Records{Commit: s.Commit, Slots: [][]byte{p}}))
		}
	}
}
