package manifest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// randomRefs returns references with random digests.
func randomRefs(r *rand.Rand, n int) []cas.Ref {
	refs := make([]cas.Ref, n)
	for i := range refs {
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(refs[i].Digest[j:], r.Uint64())
		}
		refs[i].Length = 1 + uint32(r.IntN(cas.MaxChunk))
	}
	return refs
}

// collect returns the references of c.
func collect(t *testing.T, c *manifest.Content, s manifest.SegmentGetter) (refs []cas.Ref) {
	t.Helper()
	err := c.Refs(t.Context(), s, func(r cas.Ref) error {
		refs = append(refs, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestListHoldsItsReferences(t *testing.T) {
	rnd := seeded(t)
	for _, n := range []int{0, 1, manifest.InlineChunks, manifest.InlineChunks + 1, manifest.NodeMin, manifest.NodeMax + 1, 5000} {
		refs := randomRefs(rnd, n)
		s := newSegments()
		c := s.list(t, refs)
		if got := collect(t, c, s); !slices.Equal(got, refs) {
			t.Errorf("a list of %d references came back with %d", n, len(got))
		}
		if c.Chunks != int64(n) || c.Size != sizeOf(refs) {
			t.Errorf("sums of %d references of %d bytes are %d and %d", n, sizeOf(refs), c.Chunks, c.Size)
		}
		if inline := n <= manifest.InlineChunks; inline != c.Top.IsZero() || inline != (len(s.m) == 0) {
			t.Errorf("a list of %d references has the top %s and keeps %d segments", n, c.Top, len(s.m))
		}
		seen := 0
		err := c.Walk(t.Context(), s, func(g manifest.Segment) error {
			if string(s.m[g.Digest]) != string(g.Data) {
				t.Errorf("%d bytes are said to be segment %s", len(g.Data), g.Digest)
			}
			return nil
		}, func(rs []cas.Ref) error {
			seen += len(rs)
			return nil
		})
		if err != nil || seen != n {
			t.Errorf("a walk over %d references met %d, %v", n, seen, err)
		}
	}
}

// Where segments end is part of what makes equal contents have equal roots.
func TestSegmentEnds(t *testing.T) {
	just := func(at int) func(int) uint16 {
		return func(i int) uint16 {
			if i == at {
				return 511
			}
			return 512
		}
	}
	tests := []struct {
		name string
		ends func(i int) uint16 // of the digest of reference i
		n    int
		want []int
	}{
		{"no end in sight", func(int) uint16 { return 512 }, 1100, []int{512, 512, 76}},
		{"an end everywhere", func(int) uint16 { return 0 }, 200, []int{64, 64, 64, 8}},
		{"just under the bound", just(99), 150, []int{100, 50}},
		{"early as can be", just(63), 150, []int{64, 86}},
		{"too early", just(62), 150, []int{150}},
		{"at the end of the list", just(149), 150, []int{150}},
		{"one too many to stand in the row", func(int) uint16 { return 0 }, 33, []int{33}},
	}
	for _, tt := range tests {
		refs := fixedRefs(tt.n)
		for i := range refs {
			refs[i] = withEnd(refs[i], tt.ends(i))
		}
		s := newSegments()
		c := s.list(t, refs)
		var got []int
		err := c.Walk(t.Context(), s, func(manifest.Segment) error { return nil }, func(rs []cas.Ref) error {
			got = append(got, len(rs))
			return nil
		})
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: segments of %d, want %d, %v", tt.name, got, tt.want, err)
		}
	}
}

// A new version of a huge file shares all but the path to what changed.
func TestEditRewritesFewSegments(t *testing.T) {
	race.LeaveOut(t)
	rnd := seeded(t)
	const n = 100_000
	edits := []struct {
		name string
		edit func([]cas.Ref, int) []cas.Ref
		at   int // always, unless negative
	}{
		{"replace", func(refs []cas.Ref, i int) []cas.Ref { refs[i] = randomRefs(rnd, 1)[0]; return refs }, -1},
		{"insert", func(refs []cas.Ref, i int) []cas.Ref { return slices.Insert(refs, i, randomRefs(rnd, 1)...) }, -1},
		{"delete", func(refs []cas.Ref, i int) []cas.Ref { return slices.Delete(refs, i, i+1) }, -1},
		{"prepend", func(refs []cas.Ref, i int) []cas.Ref { return slices.Insert(refs, i, randomRefs(rnd, 1)...) }, 0},
		{"append", func(refs []cas.Ref, i int) []cas.Ref { return slices.Insert(refs, i, randomRefs(rnd, 10)...) }, n},
	}
	refs := randomRefs(rnd, n)
	s := newSegments()
	before := s.list(t, refs)
	for _, e := range edits {
		kept := len(s.m)
		const times = 20
		for range times {
			at := e.at
			if at < 0 {
				at = rnd.IntN(n - 1)
			}
			if after := s.list(t, e.edit(slices.Clone(refs), at)); after.Root() == before.Root() {
				t.Errorf("%s: the root stays the same", e.name)
			}
		}
		// A node of every level, and a little more where an end moves and the
		// ends after it take some nodes to meet again.
		if made := len(s.m) - kept; made > 4*(before.Height+1)*times {
			t.Errorf("%s: %d edits of one chunk write %d segments", e.name, times, made)
		}
	}
}

func TestRootTellsListsApart(t *testing.T) {
	rnd := seeded(t)
	for _, n := range []int{2, manifest.InlineChunks, 1000} {
		refs := randomRefs(rnd, n)
		root := newSegments().list(t, refs).Root()
		if again := newSegments().list(t, refs).Root(); again != root {
			t.Errorf("%d chunks: the same list has two roots", n)
		}
		swapped := slices.Clone(refs)
		swapped[0], swapped[1] = swapped[1], swapped[0]
		longer := slices.Clone(refs)
		longer[n-1].Length = longer[n-1].Length%cas.MaxChunk + 1
		for name, other := range map[string][]cas.Ref{"swapped": swapped, "another length": longer, "shorter": refs[:n-1]} {
			if newSegments().list(t, other).Root() == root {
				t.Errorf("%d chunks: a list that is %s has the same root", n, name)
			}
		}
	}
}

// A segment that is not what its parent says must not be taken for it.
func TestWrongSegments(t *testing.T) {
	s := newSegments()
	c := s.list(t, fixedRefs(1000))
	leaf := lastLeaf(t, s, c)
	for _, d := range []cas.Digest{c.Top, leaf} {
		good := s.m[d]
		changed := slices.Clone(good)
		changed[20] ^= 1
		other := good
		for od, p := range s.m {
			if od != d {
				other = p
			}
		}
		tests := []struct {
			name string
			p    []byte
			want error
		}{
			{"missing", nil, fs.ErrNotExist},
			{"empty", []byte{}, manifest.ErrFormat},
			{"cut short", good[:len(good)-1], manifest.ErrFormat},
			{"a bit changed", changed, manifest.ErrFormat},
			{"another one", other, manifest.ErrFormat},
			{"of a later version", append([]byte{'S', 2}, good[2:]...), manifest.ErrUnknown},
		}
		for _, tt := range tests {
			if s.m[d] = tt.p; tt.p == nil {
				delete(s.m, d)
			}
			if err := c.Refs(t.Context(), s, func(cas.Ref) error { return nil }); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			err := c.Walk(t.Context(), s, func(manifest.Segment) error { return nil }, func([]cas.Ref) error { return nil })
			if !errors.Is(err, tt.want) {
				t.Errorf("%s, walked: %v, want %v", tt.name, err, tt.want)
			}
		}
		s.m[d] = good
	}
	for name, wrong := range map[string]func(*manifest.Content){
		"size":        func(c *manifest.Content) { c.Size++ },
		"chunks":      func(c *manifest.Content) { c.Chunks++ },
		"too high":    func(c *manifest.Content) { c.Height++ },
		"not so high": func(c *manifest.Content) { c.Height-- },
		"a leaf":      func(c *manifest.Content) { c.Top = leaf },
	} {
		bad := *c
		wrong(&bad)
		if err := bad.Refs(t.Context(), s, func(cas.Ref) error { return nil }); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefsStopsAtAnError(t *testing.T) {
	stop := errors.New("stop")
	for _, n := range []int{manifest.InlineChunks, 600} {
		s := newSegments()
		calls := 0
		err := s.list(t, fixedRefs(n)).Refs(context.Background(), s, func(cas.Ref) error {
			if calls++; calls == 5 {
				return stop
			}
			return nil
		})
		if err != stop || calls != 5 {
			t.Errorf("%d chunks: %v after %d calls", n, err, calls)
		}
	}
}

// nodeOf is the encoding of a node with a body.
func nodeOf(level byte, body ...[]byte) []byte {
	b := slices.Concat(append([][]byte{{level}}, body...)...)
	return append(binary.AppendUvarint([]byte{'S', 1}, uint64(len(b))), b...)
}

// entryOf is an entry of a digest and numbers.
func entryOf(end uint16, n int, numbers ...uint64) []byte {
	d := make([]byte, 32)
	binary.BigEndian.PutUint32(d, uint32(n))
	binary.LittleEndian.PutUint16(d[30:], end)
	for _, n := range numbers {
		d = binary.AppendUvarint(d, n)
	}
	return d
}

func TestDecodeSegmentRefuses(t *testing.T) {
	list := func(level byte, n int, end uint16, numbers ...uint64) []byte {
		var body [][]byte
		for i := range n {
			body = append(body, entryOf(end, i, numbers...))
		}
		return nodeOf(level, body...)
	}
	for name, p := range map[string][]byte{
		"one reference":      nodeOf(0, entryOf(0, 1, 5, 1)),
		"the longest chunk":  nodeOf(0, entryOf(0, 1, cas.MaxChunk, 1)),
		"a long run":         nodeOf(0, entryOf(0, 1, 1, 1<<62)),
		"as long as can be":  list(0, 512, 512, 5, 1),
		"ended by a digest":  list(0, 64, 0, 5, 1),
		"one child":          nodeOf(1, entryOf(0, 1, 70, 100, 1)),
		"the highest level":  nodeOf(10, entryOf(0, 1, 70, 100, 9)),
		"the largest sums":   nodeOf(1, entryOf(0, 1, 1, 1, 1<<63-1)),
		"children in a run":  nodeOf(1, entryOf(0, 1, 70, 100, 3), entryOf(0, 2, 70, 100, 3)),
		"chunks of all 4 MB": nodeOf(1, entryOf(0, 1, 70, 70*cas.MaxChunk, 3)),
	} {
		if again, err := manifest.CheckNode(p); err != nil || string(again) != string(p) {
			t.Errorf("%s: %x, %v", name, again, err)
		}
	}
	one := nodeOf(0, entryOf(0, 1, 5, 1))
	for name, tt := range map[string]struct {
		p    []byte
		want error
	}{
		"nothing":                {nil, manifest.ErrFormat},
		"a tag alone":            {one[:1], manifest.ErrFormat},
		"no length":              {one[:2], manifest.ErrFormat},
		"another tag":            {append([]byte{'T'}, one[1:]...), manifest.ErrUnknown},
		"another version":        {append([]byte{'S', 2}, one[2:]...), manifest.ErrUnknown},
		"no level":               {[]byte{'S', 1, 0}, manifest.ErrFormat},
		"no entry":               {nodeOf(0), manifest.ErrFormat},
		"level eleven":           {nodeOf(11, entryOf(0, 1, 70, 100, 1)), manifest.ErrFormat},
		"cut short":              {one[:len(one)-1], manifest.ErrFormat},
		"a byte too many":        {append(slices.Clone(one), 0), manifest.ErrFormat},
		"length not shortest":    {slices.Concat([]byte{'S', 1, 0x80 | one[2], 0}, one[3:]), manifest.ErrFormat},
		"half a digest":          {nodeOf(0, entryOf(0, 1)[:20]), manifest.ErrFormat},
		"no size":                {nodeOf(0, entryOf(0, 1)), manifest.ErrFormat},
		"no count":               {nodeOf(0, entryOf(0, 1, 5)), manifest.ErrFormat},
		"size zero":              {nodeOf(0, entryOf(0, 1, 0, 1)), manifest.ErrFormat},
		"count zero":             {nodeOf(0, entryOf(0, 1, 5, 0)), manifest.ErrFormat},
		"size over 4 MiB":        {nodeOf(0, entryOf(0, 1, cas.MaxChunk+1, 1)), manifest.ErrFormat},
		"size not shortest":      {nodeOf(0, entryOf(0, 1), []byte{0x85, 0, 1}), manifest.ErrFormat},
		"count over 63 bits":     {nodeOf(0, entryOf(0, 1, 1, 1<<63)), manifest.ErrFormat},
		"sum over 63 bits":       {nodeOf(0, entryOf(0, 1, 2, 1<<62)), manifest.ErrFormat},
		"sums over 63 bits":      {nodeOf(0, entryOf(0, 1, 1, 1<<62), entryOf(0, 2, 1, 1<<62)), manifest.ErrFormat},
		"a run in two":           {nodeOf(0, entryOf(0, 1, 5, 1), entryOf(0, 1, 5, 1)), manifest.ErrFormat},
		"children in two":        {nodeOf(1, entryOf(0, 1, 70, 100, 1), entryOf(0, 1, 70, 100, 1)), manifest.ErrFormat},
		"no chunks":              {nodeOf(1, entryOf(0, 1, 0, 100, 1)), manifest.ErrFormat},
		"more chunks than bytes": {nodeOf(1, entryOf(0, 1, 101, 100, 1)), manifest.ErrFormat},
		"more than chunks hold":  {nodeOf(1, entryOf(0, 1, 70, 70*cas.MaxChunk+1, 1)), manifest.ErrFormat},
		"513 entries":            {list(0, 513, 512, 5, 1), manifest.ErrFormat},
		"beyond its end":         {list(0, 65, 0, 5, 1), manifest.ErrFormat},
		"children beyond it":     {list(1, 65, 0, 70, 100, 1), manifest.ErrFormat},
	} {
		if _, err := manifest.CheckNode(tt.p); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
