package local_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// Bits that are flipped anywhere in packs, headers and footers among it, are
// found or change nothing, whatever file is hurt is named by its path, and what
// is whole reads on.
func TestFlippedBits(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	ctx, dir, opts := t.Context(), t.TempDir(), &local.Options{PackSize: 200 << 10}
	s := openAt(t, dir, opts)
	files := make(map[string][]byte)
	for i := range 8 {
		p := noise(uint64(i), 60<<10)
		f, err := bucket(t, s, "demo").Put(ctx, string(rune('a'+i)), bytes.NewReader(p), nil)
		must(t, err)
		files[f.ID] = p
	}
	must(t, s.Close())
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	must(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	for range soak(25) {
		at := filepath.Join(t.TempDir(), "x")
		must(t, os.CopyFS(at, os.DirFS(dir)))
		rel, err := filepath.Rel(dir, packs[r.IntN(len(packs))])
		must(t, err)
		p, err := os.ReadFile(filepath.Join(at, rel))
		must(t, err)
		off := r.IntN(len(p))
		switch r.IntN(3) {
		case 0:
			off = r.IntN(400) // of headers
		case 1:
			off = len(p) - 1 - r.IntN(min(len(p), 400)) // of the footer
		}
		p[off] ^= 1 << r.IntN(8)
		must(t, os.WriteFile(filepath.Join(at, rel), p, 0o600))
		report, err := local.Check(ctx, at, &local.CheckOptions{Options: *opts})
		must(t, err)
		hurt := make(map[string]bool)
		for _, d := range report.Damaged {
			if hurt[d.FileID] = true; !strings.HasPrefix(d.Path, "demo/") {
				t.Errorf("a damaged file at %q", d.Path)
			}
		}
		if report.OK {
			t.Errorf("bit at %d of %s: all agrees", off, rel)
		}
		s := openAt(t, at, opts)
		for id, want := range files {
			got, err := content(bucket(t, s, "demo"), id)
			if ok := err == nil && bytes.Equal(got, want); ok == hurt[id] {
				t.Errorf("bit at %d of %s: file %s reads well: %v, told as damaged: %v, %v", off, rel, id, ok, hurt[id], err)
			}
		}
		must(t, s.Close())
	}
}
