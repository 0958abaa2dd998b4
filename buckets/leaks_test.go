package buckets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest/manifesttest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A countingIndex remembers what it was asked for.
type countingIndex struct {
	cas.Index
	mu    sync.Mutex
	asked map[cas.Digest]bool // mu
}

func (c *countingIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	c.note(ds)
	return c.Index.Chunks(ctx, ds, out)
}

func (c *countingIndex) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	c.note(ds)
	return c.Index.Hit(ctx, since, ds, out)
}

func (c *countingIndex) note(ds []cas.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range ds {
		c.asked[d] = true
	}
}

// forget returns which of chunks were asked for since the last call.
func (c *countingIndex) forget(chunks []upload.SentChunk) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range chunks {
		if c.asked[ch.Digest] {
			n++
		}
	}
	clear(c.asked)
	return n
}

// parted is a store whose parts a test can look into.
func parted(t *testing.T, policies string) (*buckets.Store, *pebblestore.DB, *countingIndex) {
	t.Helper()
	db, err := pebblestore.Open(t.TempDir(), nil)
	must(t, err)
	ix := &countingIndex{Index: db.Index("one"), asked: make(map[cas.Digest]bool)}
	chunks, err := cas.Open(t.Context(), membackend.New(nil), ix, nil)
	must(t, err)
	p, err := buckets.Policies(parse(t, policies))
	must(t, err)
	s, err := buckets.New(context.Background(), manifesttest.Twice(db), map[string]*cas.Store{"one": chunks, "two": chunks}, p, &buckets.Options{Closers: []io.Closer{db}})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s, db, ix
}

// Of chunks that the uploader has not shown to have, the index is not even
// asked: neither words nor time tell whether others have stored them.
func TestNothingIsAskedBeyondScope(t *testing.T) {
	s, _, ix := parted(t, `buckets: {b: {backend: one, rules: {create: "true", read: "true"}}}`)
	ann, bob := bucket(t, s, "b").As(&access.Principal{ID: "ann"}), bucket(t, s, "b").As(&access.Principal{ID: "bob"})
	content := noise(1, 1_000_000)
	put(t, ann, "secret", string(content), nil)
	own := put(t, bob, "own", string(noise(2, 500_000)), nil)
	up, err := uploads(bob).Begin(t.Context(), "x", &upload.Options{Listed: true, Bases: []string{own.ID}})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, content)
	ix.forget(nil)
	asked := func(what string, want int) {
		t.Helper()
		if n := ix.forget(chunks); n != want {
			t.Errorf("%s asked the index for %d chunks, want %d", what, n, want)
		}
	}
	_, l, err := uploads(bob).AppendList(t.Context(), up.ID, 0, listing(chunks))
	must(t, err)
	asked("a list", 0)
	_, err = uploads(bob).Lacking(t.Context(), up.ID)
	must(t, err)
	asked("the list anew", 0)
	_, err = commitUpload(uploads(bob), t.Context(), up.ID)
	wantErr(t, "commit", err, buckets.ErrMissing)
	asked("a commit", 0)
	if l.Chunks != int64(len(chunks)) {
		t.Errorf("%d of %d lack", l.Chunks, len(chunks))
	}
	_, err = uploads(bob).ReceiveChunks(t.Context(), up.ID, sending(chunks[:3]))
	must(t, err)
	ix.forget(nil)
	_, err = uploads(bob).Lacking(t.Context(), up.ID)
	must(t, err)
	asked("three sent", 3)
}

// Two hundred uploads side by side, broken off at random and expired, leave
// nothing: no goroutine, no part, no place among those under way.
func TestAbortsLeaveNothing(t *testing.T) {
	race.LeaveOut(t)
	s, db, _ := parted(t, `buckets: {b: {backend: one, max_uploads: 1000, rules: {create: "true", read: "true"}}}`)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	content := noise(seed, 1_000_000)
	put(t, bucket(t, s, "b"), "warm", "up", nil)
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	n := 80
	if os.Getenv("CAIRN_SOAK") != "" {
		n = 1000
	}
	ids := make([]string, n)
	for i := range ids {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		b := bucket(t, s, "b").As(&access.Principal{ID: fmt.Sprint("user", i%7)})
		all.Go(func() { ids[i] = abort(t, r, b, content) })
	}
	all.Wait()
	for i, id := range ids {
		b := bucket(t, s, "b").As(&access.Principal{ID: fmt.Sprint("user", i%7)})
		if err := uploads(b).Cancel(t.Context(), id); err != nil && !errors.Is(err, buckets.ErrNoUpload) {
			t.Errorf("cancel: %v", err)
		}
	}
	rows, err := db.Count(t.Context())
	must(t, err)
	for letter, what := range map[byte]string{'u': "uploads", 'P': "parts", 'R': "rests", 'H': "holdings", 'J': "joins"} {
		if rows[letter] > 0 {
			t.Errorf("%d %s are left", rows[letter], what)
		}
	}
	if rows['E'] != rows['r']+rows['g']+rows['i'] {
		t.Errorf("%d times are left, of %d receipts, %d grants and %d idempotency keys", rows['E'], rows['r'], rows['g'], rows['i'])
	}
	for i := 0; runtime.NumGoroutine() > before+2; i++ { // the database's come and go
		if i == 100 {
			var p [1 << 16]byte
			t.Fatalf("%d goroutines, there were %d\n%s", runtime.NumGoroutine(), before, p[:runtime.Stack(p[:], true)])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// abort sends content in one of the ways that there are, and breaks off
// somewhere, or nowhere.
func abort(t *testing.T, r *rand.Rand, b *buckets.Bucket, content []byte) string {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listed := r.IntN(2) == 0
	up, err := uploads(b).Begin(t.Context(), "f", &upload.Options{Listed: listed, PutOptions: buckets.PutOptions{OnConflict: buckets.ConflictNew}})
	if err != nil {
		t.Error(err)
		return ""
	}
	n, how := r.IntN(len(content)), r.IntN(4)
	if how == 0 {
		time.AfterFunc(time.Duration(r.IntN(20))*time.Millisecond, cancel)
	}
	if how == 1 {
		time.AfterFunc(time.Duration(r.IntN(20))*time.Millisecond, func() { uploads(b).Cancel(context.WithoutCancel(ctx), up.ID) })
	}
	if listed {
		chunks := cut(t, up.Listed.Chunker, content)
		uploads(b).AppendList(ctx, up.ID, 0, listing(chunks))
		next, left := sending(chunks), r.IntN(2*len(chunks))
		uploads(b).ReceiveChunks(ctx, up.ID, func() (upload.SentChunk, error) {
			if left--; left < 0 {
				return upload.SentChunk{}, errLost
			}
			return next()
		})
	} else {
		uploads(b).Append(ctx, up.ID, 0, newFailing(content[:n], errLost), nil)
		uploads(b).Append(ctx, up.ID, int64(n), bytes.NewReader(content[n:]), nil)
	}
	if how != 3 {
		commitUpload(uploads(b), ctx, up.ID)
	}
	return up.ID
}
