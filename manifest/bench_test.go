package manifest_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// contentsOf are contents to be written, and read again.
func contentsOf(b *testing.B) map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	return map[string][]byte{"1KiB": noise(r, 1<<10), "64MiB": noise(r, 64<<20)}
}

func BenchmarkWrite(b *testing.B) {
	for name, p := range contentsOf(b) {
		for _, profile := range []string{"fine", "balanced"} {
			b.Run(name+"/"+profile, func(b *testing.B) {
				cut, err := chunker.Profile(profile)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(p)))
				dst := openStore(b)
				for b.Loop() { // nothing is new after the first time
					if _, _, err := manifest.Write(b.Context(), dst, bytes.NewReader(p), cut, &manifest.WriteOptions{Segments: newSegments()}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for name, p := range contentsOf(b) {
		for _, profile := range []string{"fine", "balanced"} {
			b.Run(name+"/"+profile, func(b *testing.B) {
				cut, err := chunker.Profile(profile)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(p)))
				src, segs := openStore(b), newSegments()
				c, _, err := manifest.Write(b.Context(), src, bytes.NewReader(p), cut, &manifest.WriteOptions{Segments: segs})
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					r := manifest.NewReader(b.Context(), src, segs, c)
					if _, err := io.Copy(io.Discard, r); err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
			})
		}
	}
}

func BenchmarkList(b *testing.B) {
	refs := randomRefs(rand.New(rand.NewPCG(1, 2)), 100_000)
	for b.Loop() {
		if _, err := manifest.BuildList(refs, func(p []byte) (cas.Digest, error) { return cas.SumSegment(p), nil }); err != nil {
			b.Fatal(err)
		}
	}
}
