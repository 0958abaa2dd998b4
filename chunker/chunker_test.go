package chunker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cairn-store/cairn/internal/race"
)

// chunks reads r to its end and returns the lengths and the joined bytes.
func chunks(t testing.TB, c *Chunker) (lengths []int, joined []byte) {
	t.Helper()
	for {
		p, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(p))
		joined = append(joined, p...)
	}
	if _, err := c.Next(); err != io.EOF {
		t.Fatalf("Next after the end: %v, want io.EOF", err)
	}
	return lengths, joined
}

// oddReader reads a random number of bytes at a time, sometimes none.
type oddReader struct {
	r   io.Reader
	rnd *rand.Rand
}

func (o oddReader) Read(p []byte) (int, error) {
	return o.r.Read(p[:min(len(p), o.rnd.IntN(3000))])
}

func TestSameCutsHoweverFed(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	splitters := []Splitter{
		profile(t, "fine"), profile(t, "balanced"), newGear(64, 80, 2000, 9, 2), Fixed(1), Fixed(1000), Fixed(100 << 10),
	}
	for _, s := range splitters {
		for _, size := range []int{0, 1, 63, 64, 65, 1000, 64 << 10, 64<<10 + 1, 300 << 10} {
			p := sparse("fed", size)
			want := cuts(s, p)
			for name, r := range map[string]io.Reader{
				"whole":           bytes.NewReader(p),
				"byte by byte":    iotest.OneByteReader(bytes.NewReader(p)),
				"odd":             oddReader{bytes.NewReader(p), rand.New(rand.NewPCG(1, 2))},
				"data with error": iotest.DataErrReader(bytes.NewReader(p)),
			} {
				got, joined := chunks(t, New(r, s))
				if !slices.Equal(got, want) {
					t.Errorf("%s, %d bytes fed %s: cuts %v, want %v", s, size, name, got, want)
				}
				if !bytes.Equal(joined, p) {
					t.Errorf("%s, %d bytes fed %s: pieces do not join to the input", s, size, name)
				}
			}
		}
	}
}

func TestBufferIsBoundedAndReused(t *testing.T) {
	t.Parallel()
	s := profile(t, "fine")
	c := New(bytes.NewReader(stream("buffer", 5<<20)), s)
	want, _ := chunks(t, c)
	if limit := s.Max() + minSlack; len(c.buf) > limit {
		t.Errorf("buffer of %d bytes, want at most %d", len(c.buf), limit)
	}
	buf := &c.buf[0]
	c.Reset(bytes.NewReader(stream("buffer", 5<<20)))
	if got, _ := chunks(t, c); !slices.Equal(got, want) || &c.buf[0] != buf {
		t.Error("after Reset: other cuts, or another buffer")
	}
	small := New(strings.NewReader("a few bytes"), profile(t, "media"))
	chunks(t, small)
	if len(small.buf) > firstBuffer {
		t.Errorf("buffer of %d bytes for a few", len(small.buf))
	}
}

func TestReadErrorSurfaces(t *testing.T) {
	t.Parallel()
	broken := errors.New("line dropped")
	s := profile(t, "fine")
	for _, size := range []int{0, 1, 10 << 10, 64 << 10, 500 << 10} {
		p := stream("broken", 1<<20)
		want := cuts(s, p)
		c := New(io.MultiReader(bytes.NewReader(p[:size]), iotest.ErrReader(broken)), s)
		var got []int
		var err error
		for err == nil {
			var chunk []byte
			if chunk, err = c.Next(); err == nil {
				got = append(got, len(chunk))
			}
		}
		if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "chunker: ") {
			t.Errorf("broken after %d: error %v", size, err)
		}
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Errorf("broken after %d: chunks %v that the whole does not have", size, got)
		}
		if _, err := c.Next(); !errors.Is(err, broken) {
			t.Errorf("broken after %d: the error went away: %v", size, err)
		}
		c.Reset(bytes.NewReader(p))
		if again, _ := chunks(t, c); !slices.Equal(again, want) {
			t.Errorf("broken after %d: other cuts after Reset", size)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestBadReaders(t *testing.T) {
	t.Parallel()
	stuck := New(readerFunc(func([]byte) (int, error) { return 0, nil }), Fixed(10))
	if _, err := stuck.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("reader without progress: %v, want io.ErrNoProgress", err)
	}
	for _, n := range []int{-1, 1 << 30} {
		wild := New(readerFunc(func([]byte) (int, error) { return n, nil }), Fixed(10))
		if _, err := wild.Next(); err == nil {
			t.Errorf("reader returning %d: no error", n)
		}
	}
}

type badSplitter struct{ n int }

func (b badSplitter) Split([]byte) int { return b.n }
func (b badSplitter) Min() int         { return 1 }
func (b badSplitter) Max() int         { return 10 }
func (b badSplitter) String() string   { return "bad" }

func TestBadSplitters(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, 11} {
		if _, err := New(strings.NewReader("twenty bytes of data"), badSplitter{n}).Next(); err == nil {
			t.Errorf("a splitter that cuts %d bytes: no error", n)
		}
	}
}

func TestProfileNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"fine":     "gear1-4096-16384-65536-13-11",
		"balanced": "gear1-16384-65536-262144-15-13",
		"default":  "gear1-16384-65536-262144-15-13",
		"bulk":     "gear1-65536-262144-1048576-17-15",
		"media":    "gear1-262144-1048576-4194304-19-17",
		"whole":    "fixed-4194304",
	} {
		s := profile(t, name)
		if s.String() != want {
			t.Errorf("profile %s is %s, want %s", name, s, want)
		}
		parsed, err := Parse(want)
		if err != nil {
			t.Errorf("Parse(%q): %v", want, err)
			continue
		}
		if a, b := fmt.Sprintf("%+v", parsed), fmt.Sprintf("%+v", s); a != b || parsed.String() != want || parsed.Max() != s.Max() {
			t.Errorf("Parse(%q) = %v, want %v", want, a, b)
		}
	}
	_, err := Profile("medium")
	if err == nil || !strings.Contains(err.Error(), `"medium"`) || !strings.Contains(err.Error(), "fine, balanced, bulk, media, whole, default") {
		t.Errorf("unknown profile: error %v does not name it and the valid ones", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "fixed", "fixed-", "fixed-0", "fixed--1", "fixed-+1", "fixed-01", "fixed-1 ", "fixed-1-2", "fixed-16777217", "fixed-99999999999999999999",
		"gear2-64-64-64-1-1", "gear1-63-64-64-1-1", "gear1-64-63-64-1-1", "gear1-64-65-64-1-1", "gear1-64-64-16777217-1-1",
		"gear1-64-64-64-1-0", "gear1-64-64-64-1-2", "gear1-64-64-64-33-1", "gear1-64-64-64-1", "gear1-64-64-64-1-1-1", "gear1-064-64-64-1-1",
		"balanced", "gear1", "gear1-64-64-64-1-1\n",
	} {
		if s, err := Parse(name); err == nil || !strings.HasPrefix(err.Error(), "chunker: ") {
			t.Errorf("Parse(%q) = %v, %v, want an error", name, s, err)
		}
	}
	for _, name := range []string{"fixed-1", "fixed-16777216", "gear1-64-64-64-1-1", "gear1-64-64-16777216-32-32"} {
		if _, err := Parse(name); err != nil {
			t.Error(err)
		}
	}
}

func TestFixedPanicsOutOfBounds(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, maxChunk + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Fixed(%d) did not panic", n)
				}
			}()
			Fixed(n)
		}()
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("some text, some text, some text"), uint16(3), "gear1-64-80-200-6-2")
	f.Add(prose("fuzz", 3000), uint16(1000), "gear1-64-100-500-14-12")
	f.Add(sparse("fuzz", 3000), uint16(0), "fixed-100")
	f.Add(make([]byte, 500), uint16(499), "gear1-64-64-64-1-1")
	ref := newReference()
	f.Fuzz(func(t *testing.T, p []byte, at uint16, name string) {
		s, err := Parse(name)
		if err != nil {
			t.Skip()
		}
		if s.String() != name {
			t.Fatalf("Parse(%q) gave %s", name, s)
		}
		if p = p[:min(len(p), 1<<16)]; len(p) > 100*s.Max() {
			t.Skip() // many tiny chunks: slow, and nothing new
		}
		want := cuts(s, p)
		got, joined := chunks(t, New(bytes.NewReader(p), s))
		if !slices.Equal(got, want) || !bytes.Equal(joined, p) {
			t.Fatalf("%s: from a stream cut into %v, want %v", s, got, want)
		}
		g, ok := s.(*gear)
		if !ok {
			return
		}
		for q := p; len(q) > 0; {
			n, steps := g.firstCut(q)
			if r := ref.split(g, q); n != r || steps > n {
				t.Fatalf("%s: cut %d in %d steps, reference %d", s, n, steps, r)
			}
			if loop, loopSteps := inGo(g).firstCut(q); loop != n || loopSteps != steps {
				t.Fatalf("%s: cut %d in %d steps, in Go %d in %d", s, n, steps, loop, loopSteps)
			}
			q = q[n:]
		}
		// Behind an insertion, a cut that both streams have is one from
		// which all later cuts agree.
		i := min(int(at), len(p))
		edited := slices.Concat(p[:i], []byte("inserted"), p[i:])
		meet(t, s, p, edited, i)
	})
}

// meet checks that the cuts of p and edited, which has 8 bytes more at i, agree
// up to the one before the edit, and for ever once they met behind it.
func meet(t *testing.T, s Splitter, p, edited []byte, i int) {
	a, b := ends(s, p), ends(s, edited)
	k := 0
	for k < len(a) && a[k] <= i && a[k] < len(p) {
		if b[k] != a[k] {
			t.Fatalf("%s: an edit at %d moved the cut at %d to %d", s, i, a[k], b[k])
		}
		k++
	}
	met := false
	for ; k < len(a); k++ {
		_, both := slices.BinarySearch(b, a[k]+8)
		if met && !both {
			t.Fatalf("%s: cuts met behind an edit at %d and parted at %d", s, i, a[k])
		}
		met = met || both && a[k] > i
	}
}

// ends returns the places of all cuts of p.
func ends(s Splitter, p []byte) (ends []int) {
	at := 0
	for _, n := range cuts(s, p) {
		at += n
		ends = append(ends, at)
	}
	return ends
}

// Cuts are the same in buffers that are swapped, and chunks stay where they
// were read as long as the buffer has room for the longest one behind them.
func TestSwap(t *testing.T) {
	t.Parallel()
	s := profile(t, "fine")
	p := stream("swap", 3<<20)
	want := cuts(s, p)
	r := rand.New(rand.NewPCG(3, 4))
	c := New(oddReader{bytes.NewReader(p), r}, s)
	var got []int
	var buf []byte // that c has been given
	var joined []byte
	at := 0 // where the next chunk is to lie in buf
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, len(chunk))
		joined = append(joined, chunk...)
		if buf != nil && &chunk[0] != &buf[at] {
			t.Fatalf("chunk %d does not lie behind the one before", len(got))
		}
		if at += len(chunk); buf != nil && at+c.Max() <= len(buf) && r.IntN(10) > 0 {
			continue
		}
		rest := bytes.Clone(c.Rest())
		next := make([]byte, len(rest)+c.Max()+r.IntN(300<<10))
		if old := c.Swap(next); buf != nil && &old[0] != &buf[0] {
			t.Fatal("Swap returned another buffer than it was given")
		}
		if !bytes.Equal(c.Rest(), rest) {
			t.Fatal("Swap changed what is left")
		}
		buf, at = next, 0
	}
	if !slices.Equal(got, want) || !bytes.Equal(joined, p) {
		t.Errorf("%d chunks of %d bytes, want %d of %d, the same", len(got), len(joined), len(want), len(p))
	}
}
