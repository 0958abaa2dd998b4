package manifest_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// Digests are right with a memory that others share, whatever contents have
// in common, and whole or in parts; what is the same is not seen again.
func TestSumMemory(t *testing.T) {
	race.LeaveOut(t)
	src := seeded(t)
	s, err := chunker.Profile("balanced")
	if err != nil {
		t.Fatal(err)
	}
	a, b := noise(src, 6<<20), noise(src, 3<<20)
	contents := [][]byte{a, slices.Concat(a, b), slices.Concat(b, a), slices.Concat(a[:4<<20], b), a[:100<<10], slices.Concat(a, a), nil}
	m := &manifest.SumMemory{}
	check := func(p []byte, c *manifest.Content) {
		t.Helper()
		want, want5 := sha256.Sum256(p), md5.Sum(p)
		h := blake3.New()
		h.Write(p)
		if !bytes.Equal(c.Digests["sha256"], want[:]) || !bytes.Equal(c.Digests["md5"], want5[:]) || !bytes.Equal(c.Digests["blake3"], h.Sum(nil)) {
			t.Errorf("%d bytes: wrong digests", len(p))
		}
	}
	names := []string{"sha256", "md5", "blake3"}
	round := func() {
		var all sync.WaitGroup
		for i, p := range contents {
			r := rand.New(rand.NewPCG(src.Uint64(), uint64(i)))
			all.Go(func() {
				dst := openStore(t)
				opts := &manifest.WriteOptions{Segments: newSegments(), Digests: names, Memory: m}
				c, _, err := manifest.Write(t.Context(), dst, bytes.NewReader(p), s, opts)
				if err != nil {
					t.Error(err)
					return
				}
				check(p, c)
				inParts(t, dst, p, r.IntN(len(p)+1), s, opts, check)
			})
		}
		all.Wait()
	}
	round()
	if n := manifest.Remembered(m); n == 0 {
		t.Error("nothing is remembered")
	}
	dst, opts := openStore(t), &manifest.WriteOptions{Segments: newSegments(), Digests: names, Memory: m}
	before := manifest.Remembered(m)
	c, _, err := manifest.Write(t.Context(), dst, bytes.NewReader(contents[1]), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	check(contents[1], c)
	if n := manifest.Remembered(m); n != before {
		t.Errorf("%d more steps are remembered of what had been seen", n-before)
	}
	round()
}

// inParts writes p in two parts that meet at cut, and checks its digests.
func inParts(t *testing.T, dst *cas.Store, p []byte, cut int, s chunker.Splitter, opts *manifest.WriteOptions, check func([]byte, *manifest.Content)) {
	var refs []cas.Ref
	var rest []byte
	var state map[string][]byte
	for _, piece := range [][]byte{p[:cut], p[cut:]} {
		o := *opts
		var err error
		if o.Sums, err = manifest.ResumeSums([]string{"sha256", "md5"}, state); err != nil {
			t.Error(err)
			return
		}
		part, _, err := manifest.WritePart(t.Context(), dst, rest, bytes.NewReader(piece), s, &o)
		if err != nil {
			t.Error(err)
			return
		}
		refs, rest, state = append(refs, part.Refs...), part.Rest, part.Sums
	}
	o := *opts
	var err error
	if o.Sums, err = manifest.ResumeSums([]string{"sha256", "md5"}, state); err != nil {
		t.Error(err)
		return
	}
	c, _, err := manifest.Assemble(t.Context(), dst, func(yield func(cas.Ref) error) error {
		for _, r := range refs {
			if err := yield(r); err != nil {
				return err
			}
		}
		return nil
	}, rest, s, &o)
	if err != nil {
		t.Error(err)
		return
	}
	check(p, c)
}
