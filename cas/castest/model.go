package castest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// contents are all that an index holds.
type contents struct {
	chunks          []cas.ChunkEntry
	frames          []cas.FrameEntry
	packs           []cas.PackEntry
	inPacks         [256][]cas.FrameEntry // by the first byte of the pack's ID
	dependants      [256][]cas.FrameID    // by the number of the digest
	removals, epoch uint64
}

func (s *suite) readContents(t *testing.T) *contents {
	t.Helper()
	ctx := t.Context()
	c := &contents{chunks: collectAll(t, s.AllChunks(ctx)), frames: collectAll(t, s.AllFrames(ctx)), packs: collectAll(t, s.AllPacks(ctx)),
		removals: s.removals(t), epoch: s.epoch(t)}
	for n := range numbers {
		c.inPacks[n] = collectAll(t, s.PackFrames(ctx, cas.PackID{byte(n)}))
		c.dependants[n] = s.findDependants(t, byte(n))
	}
	return c
}

// numbers is how many numbers of packs and of digests the tests use.
const numbers = 40

// sameFrames is equalFrames that compares what is live too.
func sameFrames(a, b []cas.FrameEntry) bool { return slices.EqualFunc(a, b, sameFrame) }

func sameFrame(a, b cas.FrameEntry) bool {
	return a.Equal(&b) && a.Live == b.Live && a.LiveBytes == b.LiveBytes
}

// firstDiff describes the first entries of a and b that differ.
func firstDiff[E any](a, b []E, equal func(a, b E) bool) string {
	i := 0
	for i < min(len(a), len(b)) && equal(a[i], b[i]) {
		i++
	}
	return fmt.Sprintf("from %d to %d entries, from\n%+v\nto\n%+v", len(a), len(b), a[i:min(i+1, len(a))], b[i:min(i+1, len(b))])
}

// diffFrom describes the first difference between c and d, or returns "".
func (c *contents) diffFrom(d *contents) string {
	switch {
	case !slices.Equal(c.chunks, d.chunks):
		return "chunks " + firstDiff(c.chunks, d.chunks, func(a, b cas.ChunkEntry) bool { return a == b })
	case !sameFrames(c.frames, d.frames):
		return "frames " + firstDiff(c.frames, d.frames, sameFrame)
	case !slices.Equal(c.packs, d.packs):
		return "packs " + firstDiff(c.packs, d.packs, func(a, b cas.PackEntry) bool { return a == b })
	case c.removals != d.removals || c.epoch != d.epoch:
		return fmt.Sprintf("removals from %d to %d, epoch from %d to %d", c.removals, d.removals, c.epoch, d.epoch)
	}
	for n := range numbers {
		if !sameFrames(c.inPacks[n], d.inPacks[n]) {
			return fmt.Sprintf("frames of pack %d from\n%+v\nto\n%+v", n, c.inPacks[n], d.inPacks[n])
		}
		if !slices.Equal(c.dependants[n], d.dependants[n]) {
			return fmt.Sprintf("dependants of %d from %v to %v", n, c.dependants[n], d.dependants[n])
		}
	}
	return ""
}

// testModel makes random changes to the index and to a MemIndex, and compares.
func testModel(t *testing.T, s *suite) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &random{rand.New(rand.NewPCG(seed, 0))}
	mem := NewMemIndex()
	want := &suite{Index: mem}
	for n := range 400 {
		if r.IntN(10) == 0 {
			s.m.NextEpoch(t, s.Index)
			mem.NextEpoch()
		}
		c := r.nextChange(mem)
		r.collect(t, s, mem, c)
		got, err := s.Apply(t.Context(), c), want.Apply(t.Context(), c)
		if (got == nil) != (err == nil) || got != nil && !isRefusal(got) {
			t.Fatalf("change %d: %v, want %v: %+v", n, got, err, c)
		}
		since, ns := r.Uint64N(1+mem.epoch), []byte{byte(r.IntN(numbers)), byte(r.IntN(numbers))}
		if got, hit := s.hitChunks(t, since, ns...), want.hitChunks(t, since, ns...); !slices.Equal(got, hit) {
			t.Fatalf("change %d: a hit since %d finds %+v, want %+v", n, since, got, hit)
		}
		if n%100 == 99 && s.m.Reopen != nil {
			s.Index = s.m.Reopen(t, s.Index)
		}
		if n%20 == 19 {
			if diff := want.readContents(t).diffFrom(s.readContents(t)); diff != "" {
				t.Fatalf("change %d: the model differs in %s\n%+v", n, diff, c)
			}
		}
	}
	if reflect.DeepEqual(want.readContents(t), &contents{}) {
		t.Error("the random changes left nothing")
	}
}

// isRefusal reports whether a change has changed nothing.
func isRefusal(err error) bool {
	return errors.Is(err, cas.ErrSource) || errors.Is(err, cas.ErrDoomed) || errors.Is(err, cas.ErrFenced)
}

// collect makes some changes those of a collector, some of which is no longer the
// newest, and dooms some packs that nothing lies in.
func (r *random) collect(t *testing.T, s *suite, mem *MemIndex, c *cas.Change) {
	if r.IntN(8) == 0 {
		if got, want := s.m.TakeLease(t, s.Index), mem.TakeLease(); got != want {
			t.Fatalf("lease %d, want %d", got, want)
		}
	}
	if r.IntN(3) == 0 {
		c.Collector = r.Uint64N(1 + mem.lease)
	}
	id := r.packID()
	if p := mem.packs[id]; !p.Sealed || p.LastCommit > 0 || r.IntN(2) == 0 {
		return
	}
	for _, f := range mem.frames {
		if f.Pack == id {
			return
		}
	}
	s.m.DoomPack(t, s.Index, id, mem.packs[id].Size)
	mem.DoomPack(id)
}

// A random makes changes over few digests, frames and packs.
type random struct{ *rand.Rand }

func (r *random) digest() cas.Digest   { return digestOf(byte(r.IntN(numbers))) }
func (r *random) frameID() cas.FrameID { return cas.FrameID{byte(1 + r.IntN(12))} }
func (r *random) packID() cas.PackID   { return cas.PackID{byte(1 + r.IntN(6))} }

// few returns how many of something a change has: mostly none.
func (r *random) few() int { return max(0, r.IntN(6)-3) }

// nextChange returns a change that keeps the rules of cas.Change: chunks lie in
// frames of the index or of the change.
func (r *random) nextChange(mem *MemIndex) *cas.Change {
	c := &cas.Change{}
	for range r.few() {
		c.DropPacks = append(c.DropPacks, r.packID())
	}
	for range r.few() {
		c.Bad = append(c.Bad, r.knownChunk(mem))
		if r.IntN(2) == 0 {
			c.BadIn = r.packID()
		}
	}
	for range 2 * r.few() {
		c.Drop = append(c.Drop, r.knownChunk(mem))
	}
	for range r.few() {
		c.Stamp = append(c.Stamp, r.digest())
	}
	for range r.few() {
		c.Packs = append(c.Packs, cas.PackEntry{ID: r.packID(), Size: r.Int64(), Sealed: r.IntN(2) == 0,
			Writer: [16]byte{byte(r.IntN(3))}, Serial: 1 + r.Uint64N(1<<62), LastCommit: uint64(r.few()), Records: r.Int64()})
	}
	ids := slices.Collect(maps.Keys(mem.frames))
	for range r.few() {
		f := r.frameEntry()
		if slices.ContainsFunc(c.Frames, func(other cas.FrameEntry) bool { return other.ID == f.ID }) {
			continue // a change has each frame once
		}
		c.Frames, ids = append(c.Frames, f), append(ids, f.ID)
	}
	slices.SortFunc(ids, compareFrames) // so that a seed repeats
	if len(ids) == 0 {
		return c
	}
	for range 2 * r.few() {
		c.Chunks = append(c.Chunks, r.chunkIn(ids, r.digest()))
	}
	for range r.few() {
		f := mem.frames[ids[r.IntN(len(ids))]]
		m := cas.MovedFrame{FrameEntry: f, From: f.Pack}
		if m.Pack, m.Offset = r.packID(), r.Int64(); r.IntN(4) == 0 {
			m.From = r.packID()
		}
		c.Moved = append(c.Moved, m)
	}
	for range r.few() {
		from := r.knownChunk(mem)
		if slices.ContainsFunc(c.Relocated, func(other cas.RelocatedChunk) bool { return other.From.Digest == from.Digest }) {
			continue // a change has each chunk once
		}
		c.Relocated = append(c.Relocated, cas.RelocatedChunk{From: from, To: r.chunkIn(ids, from.Digest)})
	}
	return c
}

func (r *random) chunkIn(ids []cas.FrameID, d cas.Digest) cas.ChunkEntry {
	return cas.ChunkEntry{Digest: d, Frame: ids[r.IntN(len(ids))], Slot: r.Uint32N(2), Offset: r.Uint32(), Length: r.Uint32N(1 << 20)}
}

// knownChunk returns the entry of some digest, sometimes a stale one.
func (r *random) knownChunk(mem *MemIndex) cas.ChunkEntry {
	e := mem.chunks[r.digest()]
	switch r.IntN(8) {
	case 0:
		e.Slot++
	case 1:
		e.Stamp--
	}
	return e
}

func (r *random) frameEntry() cas.FrameEntry {
	f := cas.FrameEntry{ID: r.frameID(), Pack: r.packID(), Offset: r.Int64(), HeaderLen: r.Uint32N(1 << 20), StoredLen: r.Uint32N(1 << 24),
		PlainLen: 1 + r.Uint32N(1<<24), Slots: r.Uint32(), Kind: cas.KindData, Codec: cas.Codec(r.IntN(3))}
	if r.IntN(3) == 0 {
		f.Key = r.Uint64()
	}
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(2) {
			f.Sources = append(f.Sources, cas.Source{Digest: r.digest(), Offset: r.Uint32(), Length: r.Uint32()})
		}
	}
	return f
}
