package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// fastNoise is noise for when there is much of it.
func fastNoise(r *rand.Rand, n int) []byte {
	var key [32]byte
	copy(key[:], noise(r, len(key)))
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// An editor makes contents of one another, and knows their bytes.
type editor struct {
	t     *testing.T
	s     *cas.Store
	opts  *manifest.WriteOptions
	cut   chunker.Splitter
	plain map[string][]byte
	made  map[string]*manifest.Content
}

func newEditor(t *testing.T, profile string) *editor {
	t.Helper()
	s, err := chunker.Profile(profile)
	if profile == "tiny" { // soon has many chunks
		s, err = chunker.Parse("gear1-64-256-1024-7-5")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &editor{t: t, s: openStore(t), cut: s, plain: make(map[string][]byte), made: make(map[string]*manifest.Content),
		opts: &manifest.WriteOptions{Segments: newSegments(), Digests: []string{"sha256"}, Compression: cas.Compression{Codec: cas.Zstd}}}
}

func (e *editor) open(_ context.Context, name string) (*manifest.Content, error) {
	c, ok := e.made[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return c, nil
}

func (e *editor) write(name string, p []byte, s chunker.Splitter) {
	e.t.Helper()
	c, _, err := manifest.Write(e.t.Context(), e.s, bytes.NewReader(p), s, e.opts)
	if err != nil {
		e.t.Fatal(err)
	}
	e.plain[name], e.made[name] = p, c
}

// compose makes a content of pieces and checks that it is what its bytes,
// written, would be, in a store of their own and in this one.
func (e *editor) compose(name string, pieces []manifest.Piece) cas.BatchStats {
	e.t.Helper()
	var want []byte
	for i, p := range pieces {
		if p.From != "" {
			want = append(want, e.plain[p.From][p.Off:p.Off+p.Len]...)
			continue
		}
		data, err := io.ReadAll(p.Data)
		if err != nil {
			e.t.Fatal(err)
		}
		want = append(want, data...)
		if pieces[i].Data = bytes.NewReader(data); i%3 == 0 && len(data) < 5000 {
			pieces[i].Data = iotest.DataErrReader(iotest.OneByteReader(bytes.NewReader(data)))
		}
	}
	got, stats, err := manifest.Compose(e.t.Context(), e.s, pieces, e.open, e.cut, e.opts)
	if err != nil {
		e.t.Fatalf("compose: %v", err)
	}
	fresh, after, err := manifest.Write(e.t.Context(), e.s, bytes.NewReader(want), e.cut, e.opts)
	if err != nil {
		e.t.Fatal(err)
	}
	if got.Root() != fresh.Root() || got.Size != fresh.Size || got.Chunks != fresh.Chunks || got.Chunker != fresh.Chunker ||
		!slices.Equal(got.Inline, fresh.Inline) || got.Top != fresh.Top || got.Height != fresh.Height || !bytes.Equal(got.Digests["sha256"], fresh.Digests["sha256"]) {
		e.t.Fatalf("%d bytes of %d pieces: %d chunks, height %d, root %s, want %d, %d, %s", len(want), len(pieces),
			got.Chunks, got.Height, got.Root(), fresh.Chunks, fresh.Height, fresh.Root())
	}
	if after.NewBytes != 0 {
		e.t.Fatalf("%d bytes were not stored", after.NewBytes)
	}
	e.plain[name], e.made[name] = want, got
	return stats
}

func data(p []byte) manifest.Piece { return manifest.Piece{Data: bytes.NewReader(p)} }

func of(name string, off, n int) manifest.Piece {
	return manifest.Piece{From: name, Off: int64(off), Len: int64(n)}
}

// random is a piece of what there is, or of new bytes.
func (e *editor) random(r *rand.Rand) manifest.Piece {
	name := fmt.Sprint(r.IntN(len(e.made)))
	size := len(e.plain[name])
	off, n := 0, size
	switch r.IntN(6) {
	case 0:
		return data(fastNoise(r, r.IntN(300)))
	case 1:
		return data(slices.Repeat([]byte{'x'}, r.IntN(300_000)))
	case 2:
		off = r.IntN(size + 1)
		n = r.IntN(size - off + 1)
	case 3: // a few bytes
		off = r.IntN(size + 1)
		n = min(r.IntN(100), size-off)
	case 4: // from or up to an end
		off = r.IntN(size + 1)
		if n = size - off; r.IntN(2) == 0 {
			off, n = 0, off
		}
	}
	return of(name, off, n)
}

// Whatever is composed of whatever, it is what an upload of its bytes makes.
func TestComposedIsWritten(t *testing.T) {
	race.LeaveOut(t)
	for _, profile := range []string{"fine", "balanced", "whole"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := seeded(t)
			e := newEditor(t, profile)
			other, err := chunker.Profile("bulk")
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range []int{0, 1, 5_000, 70_000, 900_000, 8_000_000} {
				p := fastNoise(r, n)
				copy(p[n/2:], p[:n/3]) // some of it twice
				e.write(fmt.Sprint(i), p, e.cut)
			}
			e.write("6", slices.Repeat([]byte("0"), 3_000_000), e.cut)
			e.write("7", fastNoise(r, 2_000_000), other)
			e.write("8", fastNoise(r, 2*e.cut.Max()), chunker.Fixed(e.cut.Max())) // as long as can be
			for range 25 {
				pieces := make([]manifest.Piece, 1+r.IntN(5))
				size := int64(0)
				for i := range pieces {
					pieces[i] = e.random(r)
					size += pieces[i].Len
				}
				if size > 20_000_000 {
					continue
				}
				e.compose(fmt.Sprint(len(e.made)), pieces)
			}
		})
	}
}

// Where a content is cut does not depend on what it was cut for.
func TestComposeAtSeams(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	e := newEditor(t, "tiny")
	e.write("f", fastNoise(r, 400_000), e.cut)
	e.write("small", fastNoise(r, 3_000), e.cut)
	var ends []int
	off := 0
	err := e.made["f"].Refs(t.Context(), e.opts.Segments.(*segments), func(ref cas.Ref) error {
		off += int(ref.Length)
		ends = append(ends, off)
		return nil
	})
	if err != nil || e.made["f"].Height < 1 {
		t.Fatalf("height %d, %v", e.made["f"].Height, err)
	}
	first := int(manifest.FirstLeaf(t.Context(), e.opts.Segments.(*segments), e.made["f"]))
	size := len(e.plain["f"])
	for _, at := range []int{0, 1, ends[0] - 1, ends[0], ends[0] + 1, ends[40], first - 1, first, first + 1, ends[len(ends)-2], ends[len(ends)-2] + 1, size - 1, size} {
		e.compose("x", []manifest.Piece{of("f", 0, at)})
		e.compose("x", []manifest.Piece{of("f", at, size-at)})
		e.compose("x", []manifest.Piece{of("f", 0, at), of("f", at, size-at)})
		e.compose("x", []manifest.Piece{of("f", 0, at), data(nil), of("small", 0, 0), of("f", at, size-at)})
		e.compose("x", []manifest.Piece{of("f", 0, at), data([]byte("inserted")), of("f", at, size-at)})
		e.compose("x", []manifest.Piece{of("f", at, size-at), of("f", 0, at)})
		e.compose("x", []manifest.Piece{data([]byte("before")), of("small", 0, 3_000), of("f", at, size-at), of("small", 0, 3_000)})
	}
}

// An edit reads and stores what is around it, however large the content.
func TestComposeIsCheap(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	e := newEditor(t, "balanced")
	e.opts.Digests = nil
	const size = 24 << 20
	e.write("f", fastNoise(r, size), e.cut)
	for what, c := range map[string]struct {
		pieces []manifest.Piece
		most   int64
	}{
		"a MiB overwritten":   {[]manifest.Piece{of("f", 0, 10<<20), data(fastNoise(r, 1<<20)), of("f", 11<<20, 13<<20)}, 2 << 20},
		"100 bytes inserted":  {[]manifest.Piece{of("f", 0, 1000), data(fastNoise(r, 100)), of("f", 1000, size-1000)}, 1 << 20},
		"100 bytes appended":  {[]manifest.Piece{of("f", 0, size), data(fastNoise(r, 100))}, 1 << 20},
		"half cut off":        {[]manifest.Piece{of("f", 0, size/2+77)}, 1 << 20},
		"the beginning gone":  {[]manifest.Piece{of("f", 12345, size-12345)}, 1 << 20},
		"twice":               {[]manifest.Piece{of("f", 0, size), of("f", 0, size)}, 1 << 20},
		"a part in its midst": {[]manifest.Piece{of("f", 0, 9<<20), of("f", 20<<20, 2<<20), of("f", 9<<20, 15<<20)}, 2 << 20},
	} {
		if stats := e.compose("x", c.pieces); stats.NewBytes > c.most || stats.Chunks > 150 {
			t.Errorf("%s: %d new bytes, %d chunks cut, want at most %d", what, stats.NewBytes, stats.Chunks, c.most)
		}
	}
	// What is around the seams is all that is read.
	e = newEditor(t, "tiny")
	e.opts.Digests = nil
	e.write("f", fastNoise(r, 4<<20), e.cut)
	segs := e.opts.Segments.(*segments)
	all := 20 * len(segs.m)
	_, stats, err := manifest.Compose(t.Context(), e.s, slices.Repeat([]manifest.Piece{of("f", 0, 4<<20)}, 20), e.open, e.cut, e.opts)
	if err != nil || segs.asked > all/4 {
		t.Errorf("%d segments were read of %d, %+v, %v", segs.asked, all, stats, err)
	}
}

func TestComposeFails(t *testing.T) {
	e := newEditor(t, "fine")
	e.write("f", bytes.Repeat([]byte("0123456789"), 100_000), e.cut)
	for what, c := range map[string]struct {
		piece manifest.Piece
		want  error
	}{
		"no such content":     {of("g", 0, 0), fs.ErrNotExist},
		"beyond the end":      {of("f", 1, 1_000_000), fs.ErrInvalid},
		"an offset too large": {of("f", 1<<40, 1), fs.ErrInvalid},
		"a sum that is":       {manifest.Piece{From: "f", Off: 1, Len: 1<<63 - 1}, fs.ErrInvalid},
		"bytes that break":    {manifest.Piece{Data: cut{bytes.NewReader(make([]byte, 100_000))}}, errCut},
		"an end too early":    {manifest.Piece{Data: io.MultiReader(bytes.NewReader(make([]byte, 100_000)), iotest.ErrReader(io.ErrUnexpectedEOF))}, io.ErrUnexpectedEOF},
	} {
		if c.want == fs.ErrNotExist {
			c.piece.Len = 1
		}
		_, _, err := manifest.Compose(t.Context(), e.s, []manifest.Piece{of("f", 0, 500_000), c.piece, of("f", 7, 5)}, e.open, e.cut, e.opts)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
