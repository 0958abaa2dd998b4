package manifest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
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
	for _, n := range []int{0, 1, manifest.InlineChunks, manifest.InlineChunks + 1, manifest.SegmentMin, 5000} {
		refs := randomRefs(rnd, n)
		s := newSegments()
		c := s.list(t, refs)
		if got := collect(t, c, s); !slices.Equal(got, refs) {
			t.Errorf("a list of %d references came back with %d", n, len(got))
		}
		var size int64
		for _, r := range refs {
			size += int64(r.Length)
		}
		if c.Chunks != int64(n) || c.Size != size {
			t.Errorf("sums of %d references of %d bytes are %d and %d", n, size, c.Chunks, c.Size)
		}
		if inline := n <= manifest.InlineChunks; inline != (len(c.Segments) == 0) || inline != (len(s.m) == 0) {
			t.Errorf("a list of %d references has %d segments and keeps %d", n, len(c.Segments), len(s.m))
		}
	}
}

// segment ends are part of what makes equal contents have equal roots.
func TestSegmentEnds(t *testing.T) {
	ref := func(end uint16) cas.Ref {
		r := cas.Ref{Length: 1}
		binary.LittleEndian.PutUint16(r.Digest[30:], end)
		return r
	}
	tests := []struct {
		name string
		ends func(i int) uint16 // of the digest of reference i
		n    int
		want []uint32
	}{
		{"no end in sight", func(int) uint16 { return 171 }, 5000, []uint32{2048, 2048, 904}},
		{"an end everywhere", func(int) uint16 { return 0 }, 400, []uint32{128, 128, 128, 16}},
		{"just under the bound", func(i int) uint16 { return 170 + uint16(min(1, abs(i-199))) }, 300, []uint32{200, 100}},
		{"too early", func(i int) uint16 { return 170 + uint16(min(1, abs(i-126))) }, 300, []uint32{300}},
		{"at the end of the list", func(i int) uint16 { return 170 + uint16(min(1, abs(i-299))) }, 300, []uint32{300}},
		{"one too many to stand in the row", func(int) uint16 { return 0 }, 33, []uint32{33}},
	}
	for _, tt := range tests {
		var refs []cas.Ref
		for i := range tt.n {
			refs = append(refs, ref(tt.ends(i)))
		}
		var got []uint32
		for _, s := range newSegments().list(t, refs).Segments {
			got = append(got, s.Chunks)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: segments of %d, want %d", tt.name, got, tt.want)
		}
	}
}

func abs(n int) int { return max(n, -n) }

func TestSegmentsStayWithinBounds(t *testing.T) {
	s := newSegments()
	c := s.list(t, randomRefs(seeded(t), 100000))
	for i, g := range c.Segments {
		last := i == len(c.Segments)-1
		if g.Chunks > manifest.SegmentMax || g.Chunks < manifest.SegmentMin && !last {
			t.Errorf("segment %d of %d holds %d references", i, len(c.Segments), g.Chunks)
		}
	}
	// The mean is 128 + 65536/171 = 511, less what the maximum cuts off; its
	// deviation over some 200 segments is under 30.
	if mean := 100000 / len(c.Segments); mean < 350 || mean > 670 {
		t.Errorf("segments hold %d references in the mean", mean)
	}
}

// A new version of a huge file writes only the segments around its changes.
func TestEditRewritesFewSegments(t *testing.T) {
	rnd := seeded(t)
	const n = 100000
	edits := []struct {
		name string
		edit func([]cas.Ref, int) []cas.Ref
	}{
		{"replace", func(refs []cas.Ref, i int) []cas.Ref { refs[i] = randomRefs(rnd, 1)[0]; return refs }},
		{"insert", func(refs []cas.Ref, i int) []cas.Ref { return slices.Insert(refs, i, randomRefs(rnd, 1)...) }},
		{"delete", func(refs []cas.Ref, i int) []cas.Ref { return slices.Delete(refs, i, i+1) }},
	}
	refs := randomRefs(rnd, n)
	s := newSegments()
	before := s.list(t, refs)
	for _, e := range edits {
		rewritten := 0
		const times = 20
		for range times {
			kept := len(s.m)
			after := s.list(t, e.edit(slices.Clone(refs), rnd.IntN(n-1)))
			rewritten += len(s.m) - kept
			if after.Root == before.Root {
				t.Errorf("%s: the root stays the same", e.name)
			}
		}
		// One on average, and a little more when an end moves and the ends
		// after it take some segments to meet again.
		if rewritten > 6*times {
			t.Errorf("%s: %d edits of one chunk write %d segments", e.name, times, rewritten)
		}
	}
	// Adding to a list leaves all but the end as it is.
	kept := len(s.m)
	s.list(t, append(slices.Clone(refs), randomRefs(rnd, 10)...))
	if added := len(s.m) - kept; added > 2 {
		t.Errorf("appending 10 chunks writes %d segments", added)
	}
}

func TestRootTellsListsApart(t *testing.T) {
	rnd := seeded(t)
	for _, n := range []int{2, manifest.InlineChunks, 1000} {
		refs := randomRefs(rnd, n)
		root := newSegments().list(t, refs).Root
		if again := newSegments().list(t, refs).Root; again != root {
			t.Errorf("%d chunks: the same list has two roots", n)
		}
		swapped := slices.Clone(refs)
		swapped[0], swapped[1] = swapped[1], swapped[0]
		longer := slices.Clone(refs)
		longer[n-1].Length = longer[n-1].Length%cas.MaxChunk + 1
		for name, other := range map[string][]cas.Ref{"swapped": swapped, "another length": longer, "shorter": refs[:n-1]} {
			if newSegments().list(t, other).Root == root {
				t.Errorf("%d chunks: a list that is %s has the same root", n, name)
			}
		}
	}
}

// A segment that is not what the manifest says must not be taken for it.
func TestWrongSegments(t *testing.T) {
	s := newSegments()
	c := s.list(t, fixedRefs(600))
	d := c.Segments[0].Digest
	good := s.m[d]
	other, err := manifest.DecodeSegment(good)
	if err != nil {
		t.Fatal(err)
	}
	other[0].Length = other[0].Length%cas.MaxChunk + 1
	tests := []struct {
		name string
		p    []byte
		want error
	}{
		{"missing", nil, fs.ErrNotExist},
		{"empty", []byte{}, manifest.ErrFormat},
		{"cut short", good[:len(good)-1], manifest.ErrFormat},
		{"another length", manifest.EncodeSegment(other), manifest.ErrFormat},
		{"one reference less", manifest.EncodeSegment(other[1:]), manifest.ErrFormat},
	}
	for _, tt := range tests {
		if s.m[d] = tt.p; tt.p == nil {
			delete(s.m, d)
		}
		err := c.Refs(t.Context(), s, func(cas.Ref) error { return nil })
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
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

func TestDecodeSegmentRefuses(t *testing.T) {
	ref := manifest.EncodeSegment(fixedRefs(1))
	digest := ref[1:33]
	long := []byte{1}
	for range manifest.SegmentMax + 1 {
		long = append(long, ref[1:]...)
	}
	with := func(tail ...byte) []byte { return append(append([]byte{1}, digest...), tail...) }
	tests := map[string][]byte{
		"nothing":             {},
		"no reference":        {1},
		"another version":     append([]byte{2}, ref[1:]...),
		"half a digest":       ref[:17],
		"no length":           ref[:33],
		"length zero":         with(0),
		"length over 4 MiB":   with(0x81, 0x80, 0x80, 0x02),
		"length not shortest": with(0x85, 0x00),
		"length over 64 bits": with(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
		"a byte too many":     append(slices.Clone(ref), 0),
		"too many references": long,
	}
	for name, p := range tests {
		if refs, err := manifest.DecodeSegment(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %d references, %v", name, len(refs), err)
		}
	}
	longest := manifest.EncodeSegment(fixedRefs(manifest.SegmentMax))
	if refs, err := manifest.DecodeSegment(longest); err != nil || !reflect.DeepEqual(refs, fixedRefs(manifest.SegmentMax)) {
		t.Errorf("the longest segment: %v", err)
	}
}
