package blake3

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/blake3"
	luke "lukechampine.com/blake3"
	"lukechampine.com/blake3/guts"
)

const testContext = "cairn-store/cairn 2026 test of derived keys"

var testKey = [32]byte([]byte("whats the Elvish word for friend"))

// A mode is a way to hash, by each package.
type mode struct {
	name  string
	zeebo summer
	tree  summer
}

func modes(t testing.TB) []mode {
	t.Helper()
	keyed, err := blake3.NewKeyed(testKey[:])
	if err != nil {
		t.Fatal(err)
	}
	keyedTree := &tree{flags: guts.FlagKeyedHash}
	for i := range keyedTree.key {
		keyedTree.key[i] = binary.LittleEndian.Uint32(testKey[4*i:])
	}
	return []mode{
		{"plain", streamSummer{blake3.New()}, newTree()},
		{"keyed", streamSummer{keyed}, keyedTree},
		{"derived", streamSummer{blake3.NewDeriveKey(testContext)}, newDerivedTree(testContext)},
	}
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{15}).Read(p)
	return p
}

// TestPackagesAgree compares the packages with each other, whichever of them
// this processor would be served by, on lengths around all that either does in
// steps. Each summer is used again and again, as stores do.
func TestPackagesAgree(t *testing.T) {
	t.Parallel()
	lengths := []int{0, 1, 2, 31, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 3 << 10}
	for n := 4 << 10; n <= 4<<20; n *= 2 {
		lengths = append(lengths, n-1, n, n+1, n+groupSize-1, n+groupSize, n+groupSize+1)
	}
	for groups := range 20 {
		lengths = append(lengths, groups*groupSize+1, (groups+1)*groupSize)
	}
	r := rand.New(rand.NewPCG(15, 6))
	for range 200 {
		lengths = append(lengths, r.IntN(300<<10))
	}
	all := randomBytes(5 << 20)
	for _, m := range modes(t) {
		for _, n := range lengths {
			from := r.IntN(len(all) - n + 1) // so that alignment does not matter either
			p := all[from:][:n:n]
			if got, want := m.tree.sum(p), m.zeebo.sum(p); got != want {
				t.Fatalf("%s digest of %d bytes by guts: got %x, want zeebo's %x", m.name, n, got, want)
			}
		}
	}
}

// TestChosen checks what the package hands out against the official vector.
func TestChosen(t *testing.T) {
	t.Parallel()
	const want = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" // of no bytes
	d := Sum(nil)
	if got := hex.EncodeToString(d[:]); got != want {
		t.Errorf("digest of no bytes: got %s, want %s", got, want)
	}
	p := randomBytes(100_000)
	h := New()
	h.Write(p)
	if got, want := Sum(p), [32]byte(h.Sum(nil)); got != want {
		t.Errorf("digest of %d bytes: got %x, want %x as of a stream", len(p), got, want)
	}
	h = NewDerived(testContext)
	h.Write(p)
	if got, want := Derive(testContext).Sum(p), [32]byte(h.Sum(nil)); got != want {
		t.Errorf("derived digest of %d bytes: got %x, want %x as of a stream", len(p), got, want)
	}
}

// TestExtendedOutput compares the extendable output, which tables of cuts and
// golden files come from.
func TestExtendedOutput(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 45, 1025, 20_000} {
		seed := randomBytes(n)
		z, l := blake3.New(), luke.New(32, nil)
		z.Write(seed)
		l.Write(seed)
		got, want := make([]byte, 10_000), make([]byte, 10_000)
		if _, err := io.ReadFull(l.XOF(), got); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(z.Digest(), want); err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("extended output for %d bytes differs: got %x…, want %x…", n, got[:32], want[:32])
		}
	}
}

func TestSumAllocates(t *testing.T) {
	p := randomBytes(200_000)
	for _, m := range modes(t) {
		for name, h := range map[string]summer{"zeebo": m.zeebo, "guts": m.tree} {
			if got := testing.AllocsPerRun(10, func() { h.sum(p) }); got != 0 {
				t.Errorf("%s digest by %s: got %v allocations, want none", m.name, name, got)
			}
		}
	}
}

func FuzzPackagesAgree(f *testing.F) {
	for _, n := range []int{0, 1, 64, 1024, 1025, 8 << 10} {
		f.Add(randomBytes(n), uint16(0))
	}
	f.Add([]byte("repeated"), uint16(3000))
	f.Fuzz(func(t *testing.T, p []byte, repeat uint16) {
		if len(p) > 4<<10 {
			repeat = 0
		}
		whole := p
		for range repeat {
			if whole = append(whole, p...); len(whole) > 1<<20 {
				break
			}
		}
		for _, m := range modes(t) {
			if got, want := m.tree.sum(whole), m.zeebo.sum(whole); got != want {
				t.Fatalf("%s digest of %d bytes by guts: got %x, want zeebo's %x", m.name, len(whole), got, want)
			}
		}
	})
}

// BenchmarkSum has both packages side by side on the lengths of chunks.
func BenchmarkSum(b *testing.B) {
	for _, n := range []int{4 << 10, 16 << 10, 64 << 10, 66313, 256 << 10, 1 << 20} {
		p := randomBytes(n)
		for _, h := range []struct {
			name string
			summer
		}{{"zeebo", streamSummer{blake3.New()}}, {"guts", newTree()}} {
			b.Run(fmt.Sprintf("%d/%s", n, h.name), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					h.sum(p)
				}
			})
		}
	}
}
