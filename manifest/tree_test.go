package manifest_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// naive makes the tree of a whole list as FORMAT.md describes it, level by
// level.
type naive struct {
	top    cas.Digest
	height int
	nodes  map[cas.Digest][]byte
}

type naiveEntry struct {
	digest              cas.Digest
	chunks, size, count uint64
}

func (n *naive) build(refs []cas.Ref) {
	n.nodes = make(map[cas.Digest][]byte)
	var level []naiveEntry
	for _, r := range refs {
		level = naiveAdd(level, naiveEntry{r.Digest, 1, uint64(r.Length), 1})
	}
	for n.height = 0; ; n.height++ {
		var above []naiveEntry
		nodes := 0
		for len(level) > 0 {
			k := 1
			for k < len(level) && k < 512 && (k < 64 || binary.LittleEndian.Uint16(level[k-1].digest[30:]) >= 512) {
				k++
			}
			body := []byte{byte(n.height)}
			parent := naiveEntry{count: 1}
			for _, e := range level[:k] {
				body = append(body, e.digest[:]...)
				if n.height > 0 {
					body = binary.AppendUvarint(body, e.chunks)
				}
				body = binary.AppendUvarint(binary.AppendUvarint(body, e.size), e.count)
				parent.chunks += e.chunks * e.count
				parent.size += e.size * e.count
			}
			p := append(binary.AppendUvarint([]byte("S\x01"), uint64(len(body))), body...)
			parent.digest = cas.SumSegment(p)
			n.nodes[parent.digest] = p
			above, level, nodes = naiveAdd(above, parent), level[k:], nodes+1
		}
		if level = above; nodes == 1 {
			n.top = level[0].digest
			return
		}
	}
}

func naiveAdd(es []naiveEntry, e naiveEntry) []naiveEntry {
	if k := len(es); k > 0 && es[k-1].digest == e.digest && es[k-1].size == e.size {
		es[k-1].count += e.count
		return es
	}
	return append(es, e)
}

// withEnd is r with other last bytes of its digest.
func withEnd(r cas.Ref, end uint16) cas.Ref {
	binary.LittleEndian.PutUint16(r.Digest[30:], end)
	return r
}

// shapes are lists of every kind.
func shapes(r *rand.Rand) map[string][]cas.Ref {
	poisoned := func(n int, end func() uint16) []cas.Ref {
		refs := randomRefs(r, n)
		for i := range refs {
			refs[i] = withEnd(refs[i], end())
		}
		return refs
	}
	var runs, few []cas.Ref
	for range 300 {
		runs = append(runs, slices.Repeat(randomRefs(r, 1), 1+r.IntN(1+r.IntN(200)))...)
	}
	two := randomRefs(r, 2)
	for range 5000 {
		few = append(few, two[r.IntN(2)])
	}
	many := poisoned(30_000, func() uint16 { return uint16(r.IntN(512)) })
	period := randomRefs(r, 700)
	for i := range period {
		period[i] = withEnd(period[i], 1000)
	}
	period[99], period[299] = withEnd(period[99], 3), withEnd(period[299], 4)
	return map[string][]cas.Ref{
		"random":              randomRefs(r, 40_000),
		"one node":            randomRefs(r, 60),
		"33":                  randomRefs(r, 33),
		"runs":                runs,
		"a run alone":         slices.Repeat(two[:1], 100_000),
		"a run at the end":    slices.Concat(randomRefs(r, 3000), slices.Repeat(two[:1], 3000)),
		"a run at first":      slices.Concat(slices.Repeat(two[:1], 3000), randomRefs(r, 3000)),
		"two chunks":          few,
		"each ends a node":    many,
		"none ends a node":    poisoned(40_000, func() uint16 { return 512 + uint16(r.IntN(65024)) }),
		"none but one":        append(poisoned(99, func() uint16 { return 512 }), poisoned(1, func() uint16 { return 511 })...),
		"periodic":            slices.Repeat(period, 40),
		"periodic and cut":    append(slices.Repeat(period, 10), period[:100]...),
		"equal nodes alone":   slices.Repeat(period[:100], 50),
		"equal nodes, random": slices.Concat(slices.Repeat(period[:100], 50), randomRefs(r, 20_000), slices.Repeat(period[:100], 20)),
	}
}

func checkTree(t *testing.T, what string, c *manifest.Content, kept map[cas.Digest][]byte, refs []cas.Ref) {
	t.Helper()
	var n naive
	n.build(refs)
	if len(refs) <= manifest.InlineChunks {
		if !slices.Equal(c.Inline, refs) || !c.Top.IsZero() || c.Height != 0 {
			t.Errorf("%s: %d references stand in the row as %d, top %s", what, len(refs), len(c.Inline), c.Top)
		}
		return
	}
	if c.Top != n.top || c.Height != n.height || len(c.Inline) > 0 {
		t.Errorf("%s: top %s, height %d, want %s, %d", what, c.Top, c.Height, n.top, n.height)
	}
	for d, p := range n.nodes {
		if string(kept[d]) != string(p) {
			t.Errorf("%s: a node of level %d is missing", what, p[4])
		}
	}
}

// A tree built as references come is the one of the whole list.
func TestTreeIsThatOfTheList(t *testing.T) {
	race.LeaveOut(t)
	for name, refs := range shapes(seeded(t)) {
		s := newSegments()
		c := s.list(t, refs)
		checkTree(t, name, c, s.m, refs)
		var n naive
		if n.build(refs); len(n.nodes) != len(s.m) {
			t.Errorf("%s: %d nodes, want %d", name, len(s.m), len(n.nodes))
		}
		if got := collect(t, c, s); !slices.Equal(got, refs) {
			t.Errorf("%s: %d references came back as %d", name, len(refs), len(got))
		}
	}
}

// parts are runs of lists whose references make a new one.
func parts(r *rand.Rand, of []*manifest.Content, lists [][]cas.Ref) (runs []manifest.Run, refs []cas.Ref) {
	for range 1 + r.IntN(4) {
		k := r.IntN(len(lists))
		l := lists[k]
		from, to := 0, len(l)
		switch r.IntN(4) {
		case 0:
			from = r.IntN(len(l))
		case 1:
			to = 1 + r.IntN(len(l))
		case 2:
			from = r.IntN(len(l))
			to = from + 1 + r.IntN(len(l)-from)
		}
		runs = append(runs, manifest.Run{Of: of[k], From: sizeOf(l[:from]), To: sizeOf(l[:to])})
		refs = append(refs, l[from:to]...)
	}
	return runs, refs
}

func sizeOf(refs []cas.Ref) (n int64) {
	for _, r := range refs {
		n += int64(r.Length)
	}
	return n
}

// Whatever a list is grafted from, its tree is that of its references.
func TestGraftedTreeIsThatOfTheList(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	s := newSegments()
	var of []*manifest.Content
	var lists [][]cas.Ref
	var names []string
	all := shapes(r)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		refs := all[name]
		of, lists, names = append(of, s.list(t, refs)), append(lists, refs), append(names, name)
	}
	graft := func(what string, runs []manifest.Run, refs []cas.Ref) {
		t.Helper()
		c, err := manifest.Graft(t.Context(), s, runs, s.put)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		checkTree(t, what, c, s.m, refs)
		if c.Size != sizeOf(refs) || c.Chunks != int64(len(refs)) {
			t.Errorf("%s: %d chunks of %d bytes", what, c.Chunks, c.Size)
		}
	}
	for i, l := range lists {
		graft(names[i]+" as it is", []manifest.Run{{Of: of[i], To: of[i].Size}}, l)
		graft(names[i]+" twice", []manifest.Run{{Of: of[i], To: of[i].Size}, {Of: of[i], To: of[i].Size}}, append(slices.Clone(l), l...))
	}
	for i := range 40 {
		runs, refs := parts(r, of, lists)
		graft(fmt.Sprint("mixture ", i), runs, refs)
	}
	// Near the ends of nodes, where the same nodes may or may not follow.
	for i, l := range lists {
		for range 4 {
			k := min(len(l), 1+64*r.IntN(4)+r.IntN(70))
			at := len(l) - k
			graft(names[i]+" without its end", []manifest.Run{{Of: of[i], To: sizeOf(l[:at])}, {Of: of[i], To: of[i].Size}}, append(slices.Clone(l[:at]), l...))
		}
	}
}

// A graft of a long list reads and makes few nodes, however long it is.
func TestGraftIsCheap(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	s := newSegments()
	refs := slices.Concat(randomRefs(r, 150_000), slices.Repeat(randomRefs(r, 1), 1_000_000), randomRefs(r, 150_000))
	for i := range refs {
		refs[i].Length = 1 << 16
	}
	c := s.list(t, refs)
	one := newSegments()
	new := one.list(t, randomRefs(r, 1))
	for what, runs := range map[string][]manifest.Run{
		"append":    {{Of: c, To: c.Size - 1<<16}, {Of: new, To: new.Size}},
		"prepend":   {{Of: new, To: new.Size}, {Of: c, To: c.Size}},
		"insert":    {{Of: c, To: 1000 << 16}, {Of: new, To: new.Size}, {Of: c, From: 1000 << 16, To: c.Size}},
		"in a run":  {{Of: c, To: 700_000 << 16}, {Of: new, To: new.Size}, {Of: c, From: 700_000 << 16, To: c.Size}},
		"truncate":  {{Of: c, To: 1_200_000 << 16}},
		"cut off":   {{Of: c, From: 77_777 << 16, To: c.Size}},
		"a range":   {{Of: c, From: 77_777 << 16, To: 1_200_000 << 16}},
		"all again": {{Of: c, To: c.Size}, {Of: c, To: c.Size}},
	} {
		s.asked, s.bytes = 0, 0
		had := len(s.m)
		if _, err := manifest.Graft(t.Context(), s, runs, s.put); err != nil {
			t.Fatal(err)
		}
		made := len(s.m) - had
		if made > 25 || s.asked > 60 || s.bytes > 250<<10 {
			t.Errorf("%s: %d new nodes of %d bytes, %d were looked at", what, made, s.bytes, s.asked)
		}
		t.Logf("%s: %d new nodes of %d bytes, %d were looked at", what, made, s.bytes, s.asked)
	}
}

// A reader of a part looks at the path to it.
func TestListFindsItsPlace(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	s := newSegments()
	refs := slices.Concat(randomRefs(r, 60_000), slices.Repeat(randomRefs(r, 1), 1_000_000), randomRefs(r, 20_000))
	c := s.list(t, refs)
	for range 50 {
		n := r.IntN(len(refs))
		s.asked = 0
		var got []cas.Ref
		err := c.RefsFrom(t.Context(), s, int64(n), func(ref cas.Ref) error {
			if got = append(got, ref); len(got) == 100 {
				return errCut
			}
			return nil
		})
		want := refs[n:min(n+100, len(refs))]
		if err != nil && err != errCut || !slices.Equal(got, want) {
			t.Fatalf("%d references from %d on, %v, want %d", len(got), n, err, len(want))
		}
		if s.asked > 6 {
			t.Errorf("%d segments were looked at for 100 references from %d on", s.asked, n)
		}
	}
	for _, n := range []int64{c.Chunks, c.Chunks + 1} {
		if err := c.RefsFrom(t.Context(), s, n, func(cas.Ref) error { return errCut }); err != nil {
			t.Errorf("from %d on: %v", n, err)
		}
	}
	s.asked, s.calls = 0, 0
	if got := collect(t, c, s); len(got) != len(refs) {
		t.Errorf("%d references", len(got))
	}
	if s.calls > s.asked/4 {
		t.Errorf("%d segments are got in %d calls", s.asked, s.calls)
	}
}
