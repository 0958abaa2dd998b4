package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// A watchedMeta is a metadata store that counts what the transactions of one
// caller do, whom a value in its context tells from others.
type watchedMeta struct {
	Database
	between func(ctx context.Context) error // is called between two of them

	n     int // transactions
	most  int // versions that one has removed
	asked int // rows that one has asked for at a time
	heap  uint64
	took  time.Duration // the longest, with its wait for others
}

type watchedKey struct{}

func (w *watchedMeta) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if ctx.Value(watchedKey{}) == nil || domain == "" {
		return w.Database.Update(ctx, domain, fn)
	}
	if w.n > 0 {
		if err := w.between(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
	}
	begun := time.Now()
	c, err := w.Database.Update(ctx, domain, func(tx manifest.Tx) error { return fn(&watchedTx{tx, w}) })
	w.took = max(w.took, time.Since(begun))
	if err != nil || c == nil {
		return c, err
	}
	rs, err := c.Records()
	dropped := 0
	for _, r := range rs {
		if r.Dropped != "" {
			dropped++
		}
	}
	w.n++
	w.most = max(w.most, dropped)
	if w.n%50 == 1 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.heap = max(w.heap, m.HeapAlloc)
	return c, err
}

type watchedTx struct {
	manifest.Tx
	w *watchedMeta
}

func (t *watchedTx) OldVersions(ctx context.Context, file manifest.FileID, above uint64, n int) ([]*manifest.Manifest, error) {
	t.w.asked = max(t.w.asked, n)
	return t.Tx.OldVersions(ctx, file, above, n)
}

// A file of very many versions is pruned, and purged, in transactions that remove
// a bounded number of them, and between any two of them others come through: the
// file of others is stored while the one who removes waits. CAIRN_SOAK makes it
// half a million.
func TestManyVersionsStopNobody(t *testing.T) {
	race.LeaveOut(t)
	n := 20_000
	if os.Getenv("CAIRN_SOAK") != "" {
		n = 500_000
	}
	many := t.TempDir()
	begun := time.Now()
	f := manyVersions(t, many, n, time.Minute)
	t.Logf("%d versions were made in %s", n, time.Since(begun).Round(time.Millisecond))
	for name, test := range map[string]struct {
		keep    buckets.Versions
		remove  func(ctx context.Context, s *buckets.Store, b *buckets.Bucket) error
		left    int
		changes int
	}{
		"prune": {buckets.Versions{Keep: 20}, func(ctx context.Context, s *buckets.Store, b *buckets.Bucket) error {
			done, err := s.Sweep(ctx)
			if err == nil && done.Versions != int64(n-20) {
				err = fmt.Errorf("swept %+v", done)
			}
			return err
		}, 20, (n - 20 + maxRows - 1) / maxRows},
		"purge": {buckets.Versions{}, func(ctx context.Context, s *buckets.Store, b *buckets.Bucket) error {
			return b.Purge(ctx, f.ID, nil)
		}, 0, n / maxRows},
	} {
		t.Run(name, func(t *testing.T) {
			dir, opts := t.TempDir(), kept(test.keep, buckets.Trash{})
			must(t, os.CopyFS(dir, os.DirFS(many)))
			w := &watchedMeta{}
			opts.WrapMeta(func(d Database) Database { w.Database = d; return w })
			s, b := openStore(t, dir, opts)
			others := 0
			w.between = func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(context.WithValue(ctx, watchedKey{}, nil), time.Minute)
				defer cancel()
				others++
				_, err := b.Put(ctx, fmt.Sprint("other ", others), strings.NewReader("x"), nil)
				return err
			}
			begun := time.Now()
			must(t, test.remove(context.WithValue(t.Context(), watchedKey{}, true), s, b))
			t.Logf("%d transactions in %s, with %d of others; the longest took %s; heap %d MiB", w.n, time.Since(begun).Round(time.Millisecond), others, w.took, w.heap>>20)
			if w.most > maxRows || w.asked > maxRows || w.n != test.changes || others < w.n-1 {
				t.Errorf("%d transactions remove up to %d versions and ask for %d at a time, with %d of others between them", w.n, w.most, w.asked, others)
			}
			if u, err := b.Usage(t.Context()); err != nil || u.Versions != int64(test.left+others) {
				t.Errorf("usage %+v, %v", u, err)
			}
			if test.left > 0 {
				begun := time.Now()
				for range 20 {
					_, err := b.Put(t.Context(), f.Name, strings.NewReader("y"), nil)
					must(t, err)
				}
				t.Logf("20 versions more in %s", time.Since(begun).Round(time.Millisecond))
			}
			must(t, s.Close())
		})
	}
}

// A process that dies while it prunes or purges a file of many versions leaves the
// newest of them. The next one goes on.
func TestManyVersionsAndAKill(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	const n = 4500
	many := t.TempDir()
	f := manyVersions(t, many, n, time.Minute)
	errKilled := errors.New("killed")
	for name, test := range map[string]struct {
		policy  buckets.Versions
		trashed bool
		left    int
	}{
		"prune": {buckets.Versions{Keep: 20}, false, 20},
		"purge": {buckets.Versions{}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, now := t.TempDir(), time.Now()
			must(t, os.CopyFS(dir, os.DirFS(many)))
			w, kills := &watchedMeta{}, 0
			opts := kept(test.policy, buckets.Trash{KeepFor: time.Hour})
			opts.Now = func() time.Time { return now }
			opts.WrapMeta(func(d Database) Database { w.Database = d; return w })
			s, b := openStore(t, dir, opts)
			if test.trashed {
				_, err := b.Delete(t.Context(), f.ID, nil)
				must(t, err)
				now = now.Add(2 * time.Hour)
			}
			w.between = func(context.Context) error { return errKilled }
			for left := int64(n - maxRows); left > maxRows; left -= maxRows {
				w.n = 0
				if _, err := s.Sweep(context.WithValue(t.Context(), watchedKey{}, true)); !errors.Is(err, errKilled) {
					t.Fatalf("sweep: %v", err)
				}
				must(t, s.Close())
				kills++
				s, b = openStore(t, dir, opts)
				got, err := b.Stat(t.Context(), f.ID, &buckets.GetOptions{Trashed: true})
				if err != nil || int64(got.VersionsCount) != left || got.Version != n || got.State == buckets.Trashed != test.trashed {
					t.Fatalf("after %d kills: %+v, %v, want %d versions", kills, got, err, left)
				}
			}
			if _, err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rows := rowsOf(t, s); len(rows) != test.left {
				t.Errorf("%d versions are left, want %d", len(rows), test.left)
			}
			usable(t, dir, opts, s)
		})
	}
}
