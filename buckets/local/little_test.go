package local_test

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// versionWriter writes many small versions of some files.
type versionWriter struct {
	seed  uint64
	files int
	each  int // how many versions of each file
}

// writeFile writes all versions of a file, each of other bytes, and returns the
// file's ID.
func (v *versionWriter) writeFile(ctx context.Context, b *buckets.Bucket, i int) (id string, err error) {
	r := rand.New(rand.NewPCG(v.seed, uint64(i)))
	for range v.each {
		f, err := putVersion(ctx, b, id, i, noise(r.Uint64(), 1+r.IntN(2000)))
		if err != nil {
			return "", err
		}
		id = f.ID
	}
	return id, nil
}

// writeAll writes the files side by side: half of them into a bucket that keeps one
// version of each, half into one that keeps all, where they are purged in the end.
func (v *versionWriter) writeAll(ctx context.Context, kept, purged *buckets.Bucket) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range v.files {
		g.Go(func() error {
			b := kept
			if i%2 == 1 {
				b = purged
			}
			id, err := v.writeFile(ctx, b, i)
			if err == nil && b == purged {
				err = b.Purge(ctx, id, nil)
			}
			return err
		})
	}
	return g.Wait()
}

// sizeAtRest returns what the packs and the database of a closed store take, when
// the log of the database was put into its tables. The database rewrites its tables
// in the background, on a busy machine later: it has time for that until the store
// takes less than most.
func sizeAtRest(t *testing.T, dir string, opts *local.Options, most int64) (packs, meta int64) {
	t.Helper()
	for n := range 40 {
		s, err := local.Open(t.Context(), dir, opts)
		must(t, err)
		time.Sleep(time.Duration(n) * 10 * time.Millisecond)
		must(t, s.Close())
		packs, meta = sizeOf(t, filepath.Join(dir, "packs")), sizeOf(t, filepath.Join(dir, "meta"))
		if packs+meta < most {
			break
		}
	}
	return packs, meta
}

// Versions that are removed, by the policy of their bucket or with their file, leave
// less than a twentieth of what they took, in packs and database together: neither
// records, nor marks, nor the ledger grow with the number of versions that there
// once were. With CAIRN_SOAK they are a million.
func TestVersionsLeaveLittle(t *testing.T) {
	race.LeaveOut(t)
	v := &versionWriter{seed: rand.Uint64(), files: 48, each: 32}
	if soak(0) > 0 {
		v.files, v.each = 128, 1_000_000/128+1
	}
	t.Logf("seed %d, %d versions", v.seed, v.files*v.each)
	dir := t.TempDir()
	opts := &local.Options{Buckets: map[string]buckets.Policy{
		"kept":   {Domain: "local", Versions: buckets.Versions{Keep: 1}},
		"purged": {Domain: "local"},
	}}
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	must(t, v.writeAll(t.Context(), bucket(t, s, "kept"), bucket(t, s, "purged")))
	must(t, s.Close())
	packs, meta := sizeAtRest(t, dir, opts, math.MaxInt64)

	s, err = local.Open(t.Context(), dir, opts)
	must(t, err)
	for range 3 {
		r, err := s.Collect(t.Context(), nil)
		must(t, err)
		d := &r.Domains[0]
		t.Logf("%d chunks dropped, %d packs deleted, checkpoint %d; left: %d dead bytes, %d of records, %v",
			d.DroppedChunks, d.DeletedPacks, d.Checkpoint, d.DeadBytes, d.RecordBytes, d.Problems)
	}
	left := 0
	for f, err := range bucket(t, s, "kept").List(t.Context(), nil) {
		must(t, err)
		p, err := content(bucket(t, s, "kept"), f.ID)
		if left++; err != nil || int64(len(p)) != f.Size {
			t.Errorf("%s: %d bytes, %v", f.Name, len(p), err)
		}
	}
	if left != v.files/2 {
		t.Errorf("%d files are left", left)
	}
	must(t, s.Close())
	packsLeft, metaLeft := sizeAtRest(t, dir, opts, (packs+meta)/20)
	t.Logf("packs took %d bytes and take %d, the database %d and %d: %.1f %% are left",
		packs, packsLeft, meta, metaLeft, 100*float64(packsLeft+metaLeft)/float64(packs+meta))
	if 20*(packsLeft+metaLeft) >= packs+meta {
		t.Errorf("of %d bytes, %d are left", packs+meta, packsLeft+metaLeft)
	}
	if r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts}); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
}
