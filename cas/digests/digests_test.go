package digests

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// randomDigest makes the n-th digest of a set: equal for equal n, in no order.
func randomDigest(n uint64) (d cas.Digest) {
	x := n
	for i := 0; i < len(d); i += 8 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(d[i:], z^z>>31)
	}
	return d
}

// TestLog compares a log with a map for each way to fold values: in memory, from
// runs, and from runs that were merged.
func TestLog(t *testing.T) {
	for name, fold := range map[string]Fold{"lowest": Lowest, "sum": Sum, "all": nil} {
		for _, most := range []int{1 << 20, 500, 16} {
			t.Run(fmt.Sprint(name, most), func(t *testing.T) { testLog(t, fold, most) })
		}
	}
}

func testLog(t *testing.T, fold Fold, most int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	l := NewLog(t.TempDir(), fold)
	l.most = most
	want := make(map[cas.Digest][]uint64)
	for range 8000 {
		d, v := randomDigest(rnd.Uint64N(3000)), rnd.Uint64N(4)
		switch old := want[d]; {
		case len(old) == 0 || fold == nil && !slices.Contains(old, v):
			want[d] = append(old, v)
		case fold != nil:
			old[0] = fold(old[0], v)
		}
		must(t, l.Add(KeyOf(d), v))
	}
	if most == 16 && l.Runs() > maxRuns {
		t.Fatalf("%d runs", l.Runs())
	}
	values := make(map[Key][]uint64)
	for d, vs := range want {
		slices.Sort(vs)
		values[KeyOf(d)] = vs
	}
	for range 2 { // it can be read again
		got, last := make(map[Key][]uint64), Key{}
		for e, err := range l.All() {
			must(t, err)
			if e.Compare(last) < 0 {
				t.Fatal("entries are not in order")
			}
			last = e.Key
			got[e.Key] = append(got[e.Key], e.Value)
		}
		for k := range values {
			if !slices.Equal(got[k], values[k]) {
				t.Fatalf("values %d, want %d", got[k], values[k])
			}
		}
		if len(got) != len(values) {
			t.Fatalf("%d keys, want %d", len(got), len(values))
		}
	}
	for j, err := range JoinChunks(sortedEntries(want), l) {
		must(t, err)
		vs, ok := want[j.Entry.Digest]
		if j.Found != (ok && j.Entry.Length == 1) || j.Found && j.Value != vs[0] {
			t.Fatalf("%s has %v %d, want %d", j.Entry.Digest, j.Found, j.Value, vs)
		}
	}
	for n := uint64(0); n < 3100; n += 13 { // each is searched for in each run
		d := randomDigest(n)
		got, ok, err := l.Find(KeyOf(d))
		must(t, err)
		if vs := want[d]; ok != (len(vs) > 0) || ok && !slices.Contains(vs, got) {
			t.Fatalf("digest %d: %d, %v, want %d", n, got, ok, vs)
		}
	}
	must(t, l.Close())
	if left, err := os.ReadDir(l.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// sortedEntries yields an entry for each digest of a map, and as many others, which
// have length 2.
func sortedEntries(in map[cas.Digest][]uint64) iter.Seq2[cas.ChunkEntry, error] {
	var out []cas.ChunkEntry
	for d := range in {
		out = append(out, cas.ChunkEntry{Digest: d, Length: 1})
	}
	for i := range len(in) {
		out = append(out, cas.ChunkEntry{Digest: randomDigest(1<<40 + uint64(i)), Length: 2})
	}
	slices.SortFunc(out, func(a, b cas.ChunkEntry) int { return slices.Compare(a.Digest[:], b.Digest[:]) })
	return func(yield func(cas.ChunkEntry, error) bool) {
		for _, e := range out {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestSet(t *testing.T) {
	s := NewSet(1000)
	for n := range uint64(1000) {
		d := randomDigest(n)
		if s.Has(d) || !s.Add(d) || s.Add(d) || !s.Has(d) {
			t.Fatalf("digest %d was there before, or is not now", n)
		}
	}
	// A full set takes no more and still knows what it has.
	for range 2 {
		if !s.Add(randomDigest(2000)) || s.Add(randomDigest(1)) || s.Len() != 1000 || s.Has(randomDigest(2000)) {
			t.Fatal("a full set has changed")
		}
	}
}

func TestSpool(t *testing.T) {
	s := NewSpool(t.TempDir())
	line := make([]byte, 1000)
	const lines = spoolMemory/1000*2 + 100
	for i := range lines {
		binary.LittleEndian.PutUint64(line, uint64(i))
		must(t, s.Append(line))
	}
	for _, i := range []int{0, 1, lines / 2, lines - 1} {
		must(t, s.SetByte(int64(i)*1000+8, 7))
	}
	// A read may begin in the file and end in memory.
	b := make([]byte, 10*1000)
	for at := 0; at < lines; at += 10 {
		n, err := s.ReadAt(b, int64(at)*1000)
		must(t, err)
		for i := 0; i < n; i += 1000 {
			line := at + i/1000
			if got := binary.LittleEndian.Uint64(b[i:]); got != uint64(line) {
				t.Fatalf("line %d is %d", line, got)
			}
			if set := line == 0 || line == 1 || line == lines/2 || line == lines-1; set != (b[i+8] == 7) {
				t.Fatalf("line %d has the byte %d", line, b[i+8])
			}
		}
	}
	must(t, s.Close())
}
