package manifest_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

func openStore(t testing.TB) *cas.Store {
	t.Helper()
	s, err := cas.Open(t.Context(), membackend.New(&membackend.Options{Referee: t}), castest.NewMemIndex(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// write stores p in chunks of n bytes.
func write(t testing.TB, dst *cas.Store, segs *segments, p []byte, n int) *manifest.Content {
	t.Helper()
	c, _, err := manifest.Write(t.Context(), dst, bytes.NewReader(p), chunker.Fixed(n), &manifest.WriteOptions{Segments: segs})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents are bytes and chunk lengths that give lists of every shape.
func contents(r *rand.Rand) map[string]struct {
	p     []byte
	chunk int
} {
	return map[string]struct {
		p     []byte
		chunk int
	}{
		"empty":         {nil, 100},
		"one byte":      {noise(r, 1), 100},
		"in the row":    {noise(r, 3000), 100},
		"one segment":   {noise(r, 3301), 100},
		"many segments": {noise(r, 700001), 100},
		"large chunks":  {noise(r, 5<<20+7), 64 << 10},
		"huge chunks":   {noise(r, 9<<20), 4 << 20},
	}
}

func TestReaderGivesBackWhatWasWritten(t *testing.T) {
	r := seeded(t)
	store, segs := openStore(t), newSegments()
	for name, w := range contents(r) {
		t.Run(name, func(t *testing.T) {
			c := write(t, store, segs, w.p, w.chunk)
			rd := manifest.NewReader(t.Context(), store, segs, c)
			defer rd.Close()
			if rd.Size() != int64(len(w.p)) || c.Chunker != chunker.Fixed(w.chunk).String() {
				t.Errorf("%d bytes by %s", rd.Size(), c.Chunker)
			}
			if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, w.p) {
				t.Errorf("read: %d bytes, %v", len(got), err)
			}
			rd.Seek(0, io.SeekStart)
			var b bytes.Buffer
			if n, err := rd.WriteTo(&b); err != nil || n != int64(len(w.p)) || !bytes.Equal(b.Bytes(), w.p) {
				t.Errorf("write to: %d bytes, %v", n, err)
			}
			for range 50 {
				readAround(t, r, rd, w.p)
			}
		})
	}
}

// readAround reads somewhere by ReadAt and by Seek and Read.
func readAround(t *testing.T, r *rand.Rand, rd *manifest.Reader, p []byte) {
	t.Helper()
	off, n := r.IntN(len(p)+1), r.IntN(1+r.IntN(1+min(len(p)+10, 1<<18)))
	want := p[off:min(off+n, len(p))]
	buf := make([]byte, n)
	got, err := rd.ReadAt(buf, int64(off))
	if !bytes.Equal(buf[:got], want) || (err == io.EOF) != (got < n) || err != nil && err != io.EOF {
		t.Errorf("%d bytes at %d of %d: %d bytes, %v", n, off, len(p), got, err)
	}
	seeks := []struct {
		offset int64
		whence int
	}{{int64(off), io.SeekStart}, {int64(off - len(p)), io.SeekEnd}}
	s := seeks[r.IntN(2)]
	if pos, err := rd.Seek(s.offset, s.whence); err != nil || pos != int64(off) {
		t.Fatalf("seek to %d: %d, %v", off, pos, err)
	}
	got, err = io.ReadFull(rd, buf)
	if !bytes.Equal(buf[:got], want) || (err == nil) != (got == n) {
		t.Errorf("%d bytes read after seek to %d of %d: %d bytes, %v", n, off, len(p), got, err)
	}
}

func TestReaderKeepsTheContractOfIO(t *testing.T) {
	r := seeded(t)
	store, segs := openStore(t), newSegments()
	p := noise(r, 20000)
	rd := manifest.NewReader(t.Context(), store, segs, write(t, store, segs, p, 100))
	defer rd.Close()
	if err := iotest.TestReader(rd, p); err != nil {
		t.Error(err)
	}
}

func TestSeekRefuses(t *testing.T) {
	store, segs := openStore(t), newSegments()
	rd := manifest.NewReader(t.Context(), store, segs, write(t, store, segs, []byte("hello"), 100))
	defer rd.Close()
	rd.Seek(2, io.SeekStart)
	for _, s := range []struct {
		offset int64
		whence int
	}{{-1, io.SeekStart}, {-3, io.SeekCurrent}, {-6, io.SeekEnd}, {0, 3}, {0, -1}} {
		if _, err := rd.Seek(s.offset, s.whence); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("seek %d from %d: %v", s.offset, s.whence, err)
		}
	}
	if _, err := rd.ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("read at -1: %v", err)
	}
	if got, err := io.ReadAll(rd); err != nil || string(got) != "llo" {
		t.Errorf("after seeks that failed: %q, %v", got, err)
	}
	if pos, err := rd.Seek(100, io.SeekStart); err != nil || pos != 100 {
		t.Errorf("seek beyond the end: %d, %v", pos, err)
	}
	if n, err := rd.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read beyond the end: %d, %v", n, err)
	}
	if n, err := rd.ReadAt(make([]byte, 1), 100); n != 0 || err != io.EOF {
		t.Errorf("read at 100 of 5: %d, %v", n, err)
	}
}

func TestReadAtFromManyGoroutines(t *testing.T) {
	r := seeded(t)
	store, segs := openStore(t), newSegments()
	p := noise(r, 300000)
	rd := manifest.NewReader(t.Context(), store, segs, write(t, store, segs, p, 100))
	defer rd.Close()
	var wg sync.WaitGroup
	for range 4 {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		wg.Go(func() {
			for range 50 {
				off := r.IntN(len(p) - 1000)
				buf := make([]byte, 1000)
				if _, err := rd.ReadAt(buf, int64(off)); err != nil || !bytes.Equal(buf, p[off:off+1000]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCancelledReader(t *testing.T) {
	store, segs := openStore(t), newSegments()
	c := write(t, store, segs, noise(seeded(t), 5000), 100)
	ctx, cancel := context.WithCancel(t.Context())
	rd := manifest.NewReader(ctx, store, segs, c)
	defer rd.Close()
	cancel()
	if _, err := rd.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if _, err := rd.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read at: %v", err)
	}
	if _, err := rd.WriteTo(io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("write to: %v", err)
	}
}

func TestClosedReader(t *testing.T) {
	store, segs := openStore(t), newSegments()
	rd := manifest.NewReader(t.Context(), store, segs, write(t, store, segs, noise(seeded(t), 5000), 100))
	if _, err := rd.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := rd.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if n, err := rd.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read after close: %d, %v", n, err)
	}
	if n, err := rd.ReadAt(make([]byte, 10), 0); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read at after close: %d, %v", n, err)
	}
}

// A damaged source damages what is read from one chunk.
type damagedSource struct {
	manifest.Source
	bad cas.Digest
}

func (s damagedSource) Read(ctx context.Context, refs []cas.Ref, dst []byte) error {
	for _, r := range refs {
		if r.Digest == s.bad {
			return &cas.CorruptError{Digest: r.Digest, Err: errors.New("digest does not match")}
		}
	}
	return s.Source.Read(ctx, refs, dst)
}

// What lies before damage can be read, the damage is named, and what lies
// behind it can be reached.
func TestReadOfDamage(t *testing.T) {
	store, segs := openStore(t), newSegments()
	p := noise(seeded(t), 500000)
	c := write(t, store, segs, p, 100)
	const at = 300000
	bad := cas.Sum(p[at : at+100])
	rd := manifest.NewReader(t.Context(), damagedSource{store, bad}, segs, c)
	defer rd.Close()
	var b bytes.Buffer
	_, err := rd.WriteTo(&b)
	var corrupt *cas.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Digest != bad || !strings.Contains(err.Error(), bad.String()) {
		t.Errorf("damage of %s is reported as %v", bad, err)
	}
	if !bytes.HasPrefix(p[:at], b.Bytes()) {
		t.Errorf("%d bytes before the damage differ", b.Len())
	}
	if n, err := rd.Read(make([]byte, 10)); n != 0 || !errors.As(err, &corrupt) {
		t.Errorf("second try: %d bytes, %v", n, err)
	}
	buf := make([]byte, 200)
	if n, err := rd.ReadAt(buf, at-100); !errors.As(err, &corrupt) || !bytes.Equal(buf[:n], p[at-100:at-100+n]) {
		t.Errorf("read at across the damage: %d, %v", n, err)
	}
	if _, err := rd.ReadAt(buf, at+100); err != nil || !bytes.Equal(buf, p[at+100:at+300]) {
		t.Errorf("read at behind the damage: %v", err)
	}
	rd.Seek(-1000, io.SeekEnd)
	if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, p[len(p)-1000:]) {
		t.Errorf("read behind the damage: %d bytes, %v", len(got), err)
	}
}

func TestReadOfLostSegment(t *testing.T) {
	store, segs := openStore(t), newSegments()
	p := noise(seeded(t), 500000)
	c := write(t, store, segs, p, 100)
	delete(segs.m, lastLeaf(t, segs, c))
	rd := manifest.NewReader(t.Context(), store, segs, c)
	defer rd.Close()
	if n, err := io.Copy(io.Discard, rd); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%d bytes, %v", n, err)
	}
	buf := make([]byte, 1000)
	if _, err := rd.ReadAt(buf, 0); err != nil || !bytes.Equal(buf, p[:1000]) {
		t.Errorf("read at the beginning: %v", err)
	}
}

func TestDigests(t *testing.T) {
	store := openStore(t)
	p := noise(seeded(t), 3<<20)
	c, _, err := manifest.Write(t.Context(), store, bytes.NewReader(p), chunker.Fixed(64<<10),
		&manifest.WriteOptions{Digests: []string{"sha256", "blake3", "md5"}})
	if err != nil {
		t.Fatal(err)
	}
	sha, md, blake := sha256.Sum256(p), md5.Sum(p), cas.Sum(p)
	for name, want := range map[string][]byte{"sha256": sha[:], "md5": md[:], "blake3": blake[:]} {
		if !bytes.Equal(c.Digests[name], want) {
			t.Errorf("%s is %x, want %x", name, c.Digests[name], want)
		}
	}
	if _, _, err := manifest.Write(t.Context(), store, bytes.NewReader(p), chunker.Fixed(64<<10),
		&manifest.WriteOptions{Digests: []string{"crc"}}); err == nil {
		t.Error("a digest called crc is computed")
	}
}

func TestWriteFails(t *testing.T) {
	store := openStore(t)
	broken := errors.New("broken stream")
	r := io.MultiReader(bytes.NewReader(noise(seeded(t), 100000)), iotest.ErrReader(broken))
	if c, _, err := manifest.Write(t.Context(), store, r, chunker.Fixed(100), nil); !errors.Is(err, broken) || c != nil {
		t.Errorf("broken stream: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, _, err := manifest.Write(ctx, store, bytes.NewReader(make([]byte, 100)), chunker.Fixed(10), nil); !errors.Is(err, context.Canceled) || c != nil {
		t.Errorf("cancelled: %v", err)
	}
}

func TestProgressAndPool(t *testing.T) {
	store := openStore(t)
	r := seeded(t)
	var pool sync.Pool
	for range 3 {
		p := noise(r, 10000)
		var seen int64
		opts := &manifest.WriteOptions{Chunkers: &pool, Progress: func(n int64) {
			if n <= seen {
				t.Errorf("progress goes from %d to %d", seen, n)
			}
			seen = n
		}}
		c, _, err := manifest.Write(t.Context(), store, bytes.NewReader(p), chunker.Fixed(1000), opts)
		if err != nil || seen != int64(len(p)) {
			t.Fatalf("progress ends at %d of %d, %v", seen, len(p), err)
		}
		rd := manifest.NewReader(t.Context(), store, nil, c)
		if got, err := io.ReadAll(rd); err != nil || !bytes.Equal(got, p) {
			t.Errorf("a chunker from the pool mixes contents up: %v", err)
		}
		rd.Close()
	}
}
