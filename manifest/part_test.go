package manifest_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

var errCut = errors.New("connection lost")

// A cut gives content and then fails.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = errCut
	}
	return n, err
}

// However a stream is parted, it becomes the same content, and adds the same
// chunks to the store.
func TestPartsAreTheWhole(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	for _, n := range []int{0, 1, 1000, 70_000, 300_000, 5_000_000, 20_000_000} {
		p := noise(r, n)
		copy(p[n/2:], p[:n/3]) // some of it twice
		for _, profile := range []string{"fine", "balanced", "whole"} {
			s, err := chunker.Profile(profile)
			if err != nil {
				t.Fatal(err)
			}
			opts := &manifest.WriteOptions{Segments: newSegments(), Digests: []string{"sha256"}, Compression: cas.Compression{Codec: cas.Zstd}}
			want, _, err := manifest.Write(t.Context(), openStore(t), bytes.NewReader(p), s, opts)
			if err != nil {
				t.Fatal(err)
			}
			dst := openStore(t)
			var refs []cas.Ref
			var rest []byte
			for off := 0; off < n; {
				k := min(r.IntN(n)+1, n-off)
				if r.IntN(3) == 0 {
					k = min(r.IntN(100), n-off)
				}
				var in io.Reader = bytes.NewReader(p[off : off+k])
				failing := r.IntN(2) == 0
				if failing {
					in = cut{in}
				}
				part, _, err := manifest.WritePart(t.Context(), dst, rest, in, s, opts)
				if failing != errors.Is(err, errCut) || !failing && err != nil || part.Size != int64(k) {
					t.Fatalf("part of %d: %v, %v", k, part, err)
				}
				refs, rest = append(refs, part.Refs...), part.Rest
				off += k
				if len(rest) >= s.Max() {
					t.Fatalf("%d bytes are left over, %d make a chunk", len(rest), s.Max())
				}
			}
			got, _, err := manifest.Assemble(t.Context(), dst, func(yield func(cas.Ref) error) error {
				for _, r := range refs {
					if err := yield(r); err != nil {
						return err
					}
				}
				return nil
			}, rest, s, opts)
			if err != nil || got.Root() != want.Root() || got.Size != want.Size || got.Chunks != want.Chunks || !bytes.Equal(got.Digests["sha256"], want.Digests["sha256"]) {
				t.Errorf("%d bytes, %s: %+v, %v, want %+v", n, profile, got, err, want)
			}
			again, err := manifest.ParseRefs(manifest.AppendRefs(nil, refs))
			if err != nil || len(again) != len(refs) {
				t.Errorf("%d references read back as %d, %v", len(refs), len(again), err)
			}
		}
	}
}
