package cas_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

var errLost = errors.New("connection lost")

// A lossy reader fails where its stream ends, and gives little at a time.
type lossy struct {
	r    io.Reader
	rnd  *rand.Rand
	fail error
}

func (l lossy) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), 1+l.rnd.IntN(200<<10))])
	if err == io.EOF && l.fail != nil {
		err = l.fail
	}
	return n, err
}

// Streams are stored as chunks that are put one by one are, whatever of them
// is new, and what they break off in is left.
func TestPutAll(t *testing.T) {
	src := seeded(t)
	r := rand.New(src)
	for _, profile := range []string{"fine", "balanced", "bulk", "whole"} {
		splitter, err := chunker.Profile(profile)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		s := w.store(t, nil)
		known := noise(src, 5<<20)
		var all sync.WaitGroup
		for i := range 6 {
			r := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
			data := noise(src, r.IntN(12<<20))
			switch i {
			case 0:
				data = data[:min(len(data), r.IntN(100<<10))]
			case 1, 2: // the same side by side, with what is stored and what repeats
				data = slices.Concat(known, known[:3<<20], prose(src, 3<<20))
			case 3:
				data = slices.Concat(data, data)
			}
			all.Go(func() {
				in := lossy{bytes.NewReader(data), r, nil}
				if i%2 == 1 {
					in.fail = errLost
				}
				putStream(t, s, splitter, in, data)
			})
		}
		all.Wait()
		if units, frames := cas.RoomTaken(s); units+frames > 0 {
			t.Errorf("%s: room is taken for %d units and %d frames", profile, units, frames)
		}
	}
}

func putStream(t *testing.T, s *cas.Store, splitter chunker.Splitter, in lossy, data []byte) {
	var refs []cas.Ref
	var seen bytes.Buffer
	var tapped []cas.Digest
	b := s.NewBatch(t.Context(), &cas.BatchOptions{
		Compression: cas.Compression{Codec: cas.Zstd},
		Emit:        func(r cas.Ref) error { refs = append(refs, r); return nil },
		Tap: func(p []byte, ds []cas.Digest) {
			seen.Write(p)
			tapped = append(tapped, ds...)
		},
	})
	defer b.Close()
	c := chunker.New(in, splitter)
	var told int64
	err := b.PutAll(c, func(n int64) { told = n })
	if !errors.Is(err, in.fail) {
		t.Errorf("put: %v, want %v", err, in.fail)
	}
	rest := bytes.Clone(c.Rest())
	c.Reset(bytes.NewReader(noise(rand.NewChaCha8([32]byte{}), 1<<20))) // c's memory is its own again
	c.Next()
	if err := b.Flush(); err != nil {
		t.Error(err)
		return
	}
	whole := data[:len(data)-len(rest)]
	if !bytes.Equal(rest, data[len(whole):]) || in.fail == nil && len(rest) > 0 {
		t.Errorf("%d bytes are left, not those at the end", len(rest))
	}
	if !bytes.Equal(seen.Bytes(), whole) || told != int64(len(whole)) {
		t.Errorf("the tap saw %d bytes, Progress %d, want %d", seen.Len(), told, len(whole))
	}
	var want [][]byte
	for p := data; len(p) > len(rest); {
		n := splitter.Split(p[:min(len(p), splitter.Max())])
		want = append(want, p[:n])
		p = p[n:]
	}
	checkRefs(t, refs, want)
	if !slices.EqualFunc(tapped, refs, func(d cas.Digest, r cas.Ref) bool { return d == r.Digest }) {
		t.Errorf("the tap was told %d digests, not those of the %d chunks", len(tapped), len(refs))
	}
	checkStored(t, s, want...)
}

// New bytes that come in order are written from where they were read: frames
// are units, and as many as the bytes need.
func TestUnitsBecomeFrames(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	data := noise(seeded(t), 8<<20)
	splitter, _ := chunker.Profile("balanced")
	b := s.NewBatch(t.Context(), nil)
	defer b.Close()
	if err := errors.Join(b.PutAll(chunker.New(bytes.NewReader(data), splitter), nil), b.Flush()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range w.packs(t) {
		fs, _ := frames(t, s, p)
		n += len(fs)
	}
	if n < 8 || n > 10 {
		t.Errorf("%d frames for 8 MiB", n)
	}
	if st := b.Stats(); st.NewBytes != int64(len(data)) || st.StoredBytes < st.NewBytes {
		t.Errorf("%+v for %d bytes", st, len(data))
	}
}

// Who assembles a content of references alone stores segments before the first
// chunk, as many as it takes.
func TestSegmentsBeforeChunks(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, nil)
	defer closeStore(t, s)
	src := seeded(t)
	b := s.NewBatch(t.Context(), nil)
	defer b.Close()
	var segments [][]byte
	var ds []cas.Digest
	for range 200 {
		p := noise(src, 20_000)
		d, err := b.PutSegment(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		segments, ds = append(segments, p), append(ds, d)
	}
	chunk := noise(src, 50_000)
	if err := errors.Join(b.Put(chunk), b.Flush()); err != nil {
		t.Fatal(err)
	}
	for i, d := range ds {
		got, err := s.Get(t.Context(), d, nil)
		if err != nil || !bytes.Equal(got, segments[i]) {
			t.Fatalf("segment %d: %d bytes, error %v, want %d", i, len(got), err, len(segments[i]))
		}
	}
	if got, err := s.Get(t.Context(), cas.Sum(chunk), nil); err != nil || !bytes.Equal(got, chunk) {
		t.Errorf("chunk: %d bytes, error %v, want %d", len(got), err, len(chunk))
	}
}
