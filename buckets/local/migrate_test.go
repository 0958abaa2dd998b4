package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
)

// moveOptions are buckets a and b in backend one, and a second backend.
func moveOptions(t *testing.T) local.Options {
	return local.Options{PackSize: 512 << 10,
		Backends: map[string]local.Backend{"one": {Path: t.TempDir()}, "two": {Path: t.TempDir()}},
		Buckets: map[string]buckets.Policy{"b": {Domain: "one"},
			"a": {Domain: "one", Profile: "fine", Compression: cas.Compression{Codec: cas.Zstd}, Digests: []string{"sha256"}}}}
}

func openAt(t *testing.T, dir string, opts *local.Options) *buckets.Store {
	t.Helper()
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	return s
}

// A moved bucket is the same bucket: every version, what is in the trash, and
// an upload that is under way. A schema that has not learned of the move does
// no harm, and the packs there are enough to rebuild all of it.
func TestMigrate(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	dir, opts := t.TempDir(), moveOptions(t)
	s := openAt(t, dir, &opts)
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	big := noise(1, 5<<20)
	f, err := a.Put(t.Context(), "big", bytes.NewReader(big), nil)
	must(t, err)
	_, err = a.Replace(t.Context(), f.ID, bytes.NewReader(append(text(2, 100), big...)), nil)
	must(t, err)
	for n := range 50 {
		_, err := a.Put(t.Context(), fmt.Sprintf("d-%d", n), bytes.NewReader(text(uint64(n), 10+n*n)), nil)
		must(t, err)
	}
	tr, err := a.Put(t.Context(), "trashed", bytes.NewReader(noise(3, 200000)), nil)
	must(t, err)
	_, err = a.Delete(t.Context(), tr.ID, nil)
	must(t, err)
	pu, err := a.Put(t.Context(), "purged", bytes.NewReader(noise(4, 200000)), nil)
	must(t, err)
	must(t, a.Purge(t.Context(), pu.ID, nil))
	_, err = b.Put(t.Context(), "other", bytes.NewReader(noise(5, 200000)), nil)
	must(t, err)
	up, err := upload.New().In(a).Begin(t.Context(), "later", nil)
	must(t, err)
	half := noise(6, 3<<20)
	up, err = upload.New().In(a).Append(t.Context(), up.ID, 0, bytes.NewReader(half), nil)
	must(t, err)

	rows := dump(t, s)
	var steps []buckets.Migrated
	done, err := s.Migrate(t.Context(), "a", "two", func(m buckets.Migrated) { steps = append(steps, m) })
	must(t, err)
	if done.From != "one" || done.Files != 52 || done.Versions != 53 || done.CopiedBytes == 0 || len(steps) == 0 {
		t.Errorf("%+v after %d steps", done, len(steps))
	}
	sameRows(t, dump(t, s), rows)
	if again, err := s.Migrate(t.Context(), "a", "two", nil); err != nil || again.CopiedBytes != 0 {
		t.Errorf("moved where it is: %+v, %v", again, err)
	}
	// What was got before the move reads and writes as before, the upload goes on.
	up, err = upload.New().In(a).Append(t.Context(), up.ID, up.Offset, bytes.NewReader(big), nil)
	must(t, err)
	up, err = upload.New().In(a).Commit(t.Context(), up.ID)
	must(t, err)
	later := up.File
	rows = dump(t, s)
	must(t, s.Close())

	verify := func(when string, rows map[string]buckets.Row, schemas ...map[string]string) {
		t.Helper()
		for _, domains := range schemas {
			o := opts
			o.Buckets = withDomains(opts.Buckets, domains)
			r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: o})
			must(t, err)
			if !r.OK {
				t.Errorf("%s: check finds %+v %+v", when, r.Problems, r.Damaged)
			}
			s := openAt(t, dir, &o)
			sameRows(t, dump(t, s), rows)
			for _, r := range rows {
				if p, err := content(bucket(t, s, r.Bucket), r.ID); err != nil || r.Bucket == "a" && sum(p) != r.Digests["sha256"] {
					t.Errorf("%s: %s: %v", when, r.Name, err)
				}
			}
			if p, err := content(bucket(t, s, "a"), later.ID); err != nil || !bytes.Equal(p, append(bytes.Clone(half), big...)) {
				t.Errorf("%s: the upload has become something else: %v", when, err)
			}
			must(t, s.Close())
		}
	}
	stale, right := map[string]string{"a": "one", "b": "one"}, map[string]string{"a": "two", "b": "one"}
	verify("restarted", rows, stale, right)
	rebuild := func() {
		t.Helper()
		removeMeta(t, dir)
		r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: opts, Repair: true})
		must(t, err)
		if !r.OK || !r.Rebuilt {
			t.Fatalf("rebuilt: %+v", r)
		}
	}
	rebuild()
	verify("rebuilt", rows, stale, right)

	must(t, os.RemoveAll(opts.Backends["one"].Path)) // and with it the only file of b
	for id, r := range rows {
		if r.Bucket == "b" {
			delete(rows, id)
		}
	}
	rebuild()
	verify("rebuilt from the new backend alone", rows, stale, right)
}

// A bucket may be moved while everybody works on it, there and back: nothing
// that was answered is lost or wrong, no read fails, and no upload either but
// one in pieces that the switch has met.
func TestMigrateUnderLoad(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dir, opts := t.TempDir(), moveOptions(t)
	s := openAt(t, dir, &opts)
	var mu sync.Mutex
	held := make(map[string][]byte) // by version
	gone := make(map[string]bool)   // by file
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, w))
			a := bucket(t, s, "a")
			for n := 0; ctx.Err() == nil; n++ {
				if r.IntN(4) == 0 {
					a = bucket(t, s, "a")
				}
				p := noise(r.Uint64(), 1+r.IntN(300<<r.IntN(11)))
				f, err := a.Put(context.Background(), fmt.Sprintf("%d-%d", w, r.IntN(20)), bytes.NewReader(p), nil)
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				held[f.ManifestID] = p
				mu.Unlock()
				if got, err := content(a, f.ManifestID); err != nil || !bytes.Equal(got, p) {
					t.Errorf("read: %v", err)
				}
				if r.IntN(8) == 0 {
					if err := a.Purge(context.Background(), f.ID, nil); err != nil {
						t.Errorf("purge: %v", err)
					}
					mu.Lock()
					gone[f.ID] = true
					mu.Unlock()
				}
			}
		})
	}
	work := func(n int) { // until so many more versions have been put
		mu.Lock()
		until := len(held) + n
		mu.Unlock()
		for !t.Failed() {
			mu.Lock()
			n := len(held)
			mu.Unlock()
			if n >= until {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	for n, to := range []string{"two", "one", "two"} {
		work(40)
		if n == 1 { // one that is given up: nothing of it may come back
			short, cancel := context.WithCancel(ctx)
			_, err := s.Migrate(short, "a", to, func(buckets.Migrated) { cancel() })
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		}
		if _, err := s.Migrate(ctx, "a", to, nil); err != nil {
			t.Fatalf("move %d: %v", n, err)
		}
	}
	work(40)
	stop()
	wg.Wait()
	rows := dump(t, s)
	must(t, s.Close())
	opts.Buckets = withDomains(opts.Buckets, map[string]string{"a": "two", "b": "one"})
	for _, from := range []string{"the database", "all packs", "the packs of the last backend"} {
		if from != "the database" {
			removeMeta(t, dir)
		}
		if from == "the packs of the last backend" {
			must(t, os.RemoveAll(opts.Backends["one"].Path))
		}
		r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: opts, Repair: from != "the database"})
		must(t, err)
		if !r.OK {
			t.Fatalf("by %s: check finds %+v %+v", from, r.Problems, r.Damaged)
		}
		s := openAt(t, dir, &opts)
		sameRows(t, dump(t, s), rows)
		a := bucket(t, s, "a")
		for id := range rows {
			if p, err := content(a, id); err != nil || !bytes.Equal(p, held[id]) {
				t.Errorf("by %s: %s: %v", from, id, err)
			}
		}
		for id := range gone {
			if _, err := a.Stat(t.Context(), id, nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("by %s: purged file %s: %v", from, id, err)
			}
		}
		must(t, s.Close())
	}
}

// What cannot be moved is refused, and nothing has changed.
func TestMigrateRefuses(t *testing.T) {
	dir, opts := t.TempDir(), moveOptions(t)
	s := openAt(t, dir, &opts)
	defer s.Close()
	a := bucket(t, s, "a")
	f, err := a.Put(t.Context(), "f", bytes.NewReader(noise(1, 300000)), nil)
	must(t, err)
	for _, tt := range []struct {
		bucket, to string
		want       error
	}{{"a", "three", buckets.ErrNoBackend}, {"c", "two", buckets.ErrNoBucket}} {
		if _, err := s.Migrate(t.Context(), tt.bucket, tt.to, nil); !errors.Is(err, tt.want) {
			t.Errorf("%s to %s: %v", tt.bucket, tt.to, err)
		}
	}
	flip(t, opts.Backends["one"].Path)
	_, err = s.Migrate(t.Context(), "a", "two", nil)
	var ce *cas.CorruptError
	if !errors.As(err, &ce) || !strings.Contains(err.Error(), f.ID) {
		t.Errorf("of damaged bytes: %v", err)
	}
	if a.Policy().Domain != "one" {
		t.Error("it was moved all the same")
	}
	_, err = s.Migrate(t.Context(), "b", "two", func(buckets.Migrated) {
		if _, err := s.Migrate(t.Context(), "a", "two", nil); !errors.Is(err, buckets.ErrMigrating) {
			t.Errorf("two at a time: %v", err)
		}
	})
	must(t, err)
}

// flip changes a byte in the middle of every pack.
func flip(t *testing.T, dir string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	must(t, err)
	for _, name := range packs {
		p, err := os.ReadFile(name)
		must(t, err)
		p[len(p)/2] ^= 1
		must(t, os.WriteFile(name, p, 0o600))
	}
}

// TestMigrateCrash lets the machine die at every k-th write of a move and of
// the work beside it.
func TestMigrateCrash(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	limit := 6
	if testing.Short() {
		limit = 3
	}
	options := func(f *crashfs.FS) *local.Options {
		o := crashOptions(f)
		o.Backends = map[string]local.Backend{"one": {FS: f.Disk("one")}, "two": {FS: f.Disk("two")}}
		o.Buckets = map[string]buckets.Policy{"demo": {Domain: "one", Compression: cas.Compression{Codec: cas.Zstd}}}
		return o
	}
	work := func(f *crashfs.FS, ack func(promise)) { migrateWork(t, f, options(f), ack) }
	crashfs.Run(t, &crashfs.Options{Limit: soak(limit), OnlyFS: true}, work, func(t *testing.T, f *crashfs.FS, acked []promise) {
		verifyCrash(t, "store", options(f), acked)
	})
}

// migrateWork moves a bucket there and back while files are put beside it.
func migrateWork(t *testing.T, f *crashfs.FS, opts *local.Options, ack func(promise)) {
	ctx := t.Context()
	s, err := local.Open(ctx, "store", opts)
	if err != nil {
		return // crashed
	}
	defer s.Close()
	b := bucket(t, s, "demo")
	r := rand.New(rand.NewPCG(8, 0))
	for n := range 4 {
		crashFile(ctx, b, r, fmt.Sprintf("before-%d", n), ack)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(9, 0))
		for n := 0; n < 4 && !f.Crashed(); n++ {
			crashFile(ctx, b, r, fmt.Sprintf("beside-%d", n), ack)
		}
	})
	for _, to := range []string{"two", "one"} {
		s.Migrate(ctx, "demo", to, nil) // it may fail: the machine dies
	}
	wg.Wait()
	crashFile(ctx, b, r, "after", ack)
}

func removeMeta(t *testing.T, dir string) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
}

func withDomains(in map[string]buckets.Policy, domains map[string]string) map[string]buckets.Policy {
	out := make(map[string]buckets.Policy)
	for name, p := range in {
		p.Domain = domains[name]
		out[name] = p
	}
	return out
}

// Who reads a file goes on where the bucket has been moved to, when what it left
// is collected.
func TestReadAfterMoveAndCollect(t *testing.T) {
	t.Parallel()
	opts := moveOptions(t)
	s := openAt(t, t.TempDir(), &opts)
	defer s.Close()
	a := bucket(t, s, "a")
	big := noise(1, 3<<20)
	f, err := a.Put(t.Context(), "big", bytes.NewReader(big), nil)
	must(t, err)
	o, err := a.Open(t.Context(), f.ID, nil)
	must(t, err)
	defer o.Close()
	begun := make([]byte, 1000)
	_, err = io.ReadFull(o, begun)
	must(t, err)
	_, err = s.Migrate(t.Context(), "a", "two", nil)
	must(t, err)
	r, err := s.Collect(t.Context(), &collect.Options{Full: true})
	must(t, err)
	if r.Domains[0].DroppedChunks == 0 {
		t.Fatalf("nothing was collected: %+v", r.Domains[0])
	}
	rest, err := io.ReadAll(o)
	must(t, err)
	if !bytes.Equal(append(begun, rest...), big) {
		t.Error("other bytes")
	}
}
