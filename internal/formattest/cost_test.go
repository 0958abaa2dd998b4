package formattest

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
)

// TestCost counts what packs take beside what lies in them: headers of packs and frames, and footers, for every chunk
// of data that cannot be compressed and is cut as "balanced" does. The chunk list is what it is in the database too:
// 36 bytes and a little for the nodes.
func TestCost(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, &local.Options{PackSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{'c'}).Read(content)
	f, err := b.Put(t.Context(), "noise", bytes.NewReader(content), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "gear1-16384-65536-262144-15-13"; f.Chunker != want {
		t.Fatalf("chunks are cut by %s", f.Chunker)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := readDomain(filepath.Join(dir, "packs"))
	if err != nil {
		t.Fatal(err)
	}
	var chunks, beside, all, lists int
	for _, p := range d.packs {
		for _, f := range p.frames {
			if f.kind == kindSegments {
				lists += f.payloadLen
			}
			if f.kind == kindData {
				all += len(f.slots)
			}
		}
		if !p.sealed {
			continue
		}
		beside += p.size
		for _, f := range p.frames {
			beside -= f.payloadLen
			if f.kind == kindData {
				chunks += len(f.slots)
			}
		}
	}
	if chunks < 1000 {
		t.Fatalf("only %d chunks in sealed packs", chunks)
	}
	each, list := float64(beside)/float64(chunks), float64(lists)/float64(all)
	t.Logf("%d chunks: %.1f bytes each in packs, and %.1f in the chunk list", chunks, each, list)
	if each > 80 || list > 37 {
		t.Errorf("a chunk costs %.1f bytes in packs, and %.1f in the chunk list", each, list)
	}
}
