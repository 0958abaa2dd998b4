package collect

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// randomDigest makes the n-th digest of a set: equal for equal n, in no order.
func randomDigest(n uint64) (d cas.Digest) {
	x := n
	for i := 0; i < len(d); i += 8 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(d[i:], z^z>>31)
	}
	return d
}

// TestMarkMemory marks as many chunks as CAIRN_MARKS says, or 300,000, in
// segments of 128, and merges them with as many entries. It measures the memory
// that this takes beside the entries.
func TestMarkMemory(t *testing.T) {
	chunks := uint64(300_000)
	if s := os.Getenv("CAIRN_MARKS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		chunks = n
	}
	started, peak := time.Now(), peakMemory()
	m := newMarks(t.TempDir())
	d := &cycle{opts: &Options{Progress: func(Progress) {}}}
	w := &marker{marks: m, ctx: context.Background(), pace: d.newPace("mark"), visited: digests.NewSet(maxVisited)}
	for n := range chunks {
		if n%128 == 0 {
			if visit, err := w.visitSegment(randomDigest(1<<50 + n)); err != nil || !visit {
				t.Fatalf("segment %d: %v, %v", n/128, visit, err)
			}
		}
		must(t, w.markChunk(cas.Ref{Digest: randomDigest(n), Length: 1}))
	}
	marked := time.Since(started)
	live := uint64(0)
	for _, err := range m.log.All() {
		must(t, err)
		live++
	}
	if want := chunks + (chunks+127)/128; live != want {
		t.Fatalf("%d marks, want %d", live, want)
	}
	most := peak() >> 20
	t.Logf("%d chunks: marked in %s, merged in %s, at most %d MiB, %d runs", chunks, marked.Round(time.Second),
		(time.Since(started) - marked).Round(time.Second), most, m.log.Runs())
	limit := uint64(400)
	if chunks > 100_000_000 {
		limit = 2 << 10
	} else if chunks > 10_000_000 {
		limit = 1 << 10
	}
	if most > limit {
		t.Errorf("%d MiB, want at most %d", most, limit)
	}
	must(t, m.close())
}

// Packs are copied in groups of a bounded number of bytes and packs, and of chunks,
// whose headers tell how many there are.
func TestGroups(t *testing.T) {
	packs := make([]weighed, 200)
	for i := range packs {
		packs[i].copied = int64(i) << 20
		packs[i].headers = int64(len(packs)-i) << 12
	}
	for len(packs) > 0 {
		n, bytes, headers := groupSize(packs, groupPacks), int64(0), int64(0)
		for i := range packs[:n] {
			bytes += packs[i].copied
			headers += packs[i].headers
		}
		if n == 0 || n > groupPacks || n > 1 && (bytes > groupBytes || headers > groupHeaders) {
			t.Fatalf("%d packs of %d bytes, %d of headers", n, bytes, headers)
		}
		packs = packs[n:]
	}
	for _, large := range []weighed{{copied: 2 * groupBytes}, {headers: 2 * groupHeaders}} {
		if n := groupSize([]weighed{large, {}}, groupPacks); n != 1 {
			t.Errorf("%d packs with one that is too large for a group", n)
		}
	}
}

// peakMemory begins to watch what the process has of the system, and returns a
// function that ends it and tells the most there was more than at the beginning.
func peakMemory() func() uint64 {
	debug.FreeOSMemory()
	read := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.Sys - s.HeapReleased
	}
	before, most := read(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, read())
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return most - min(most, before)
	}
}
