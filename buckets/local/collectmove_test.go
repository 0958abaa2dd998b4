package local_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// Collections of both domains while a bucket is moved between them take nothing
// from it, also where the segments of its files are not yet in the new domain. What
// the move left behind comes back.
func TestCollectDuringMove(t *testing.T) {
	dir, opts := t.TempDir(), moveOptions(t)
	s := openAt(t, dir, &opts)
	a := bucket(t, s, "a")
	bodies := make(map[string][]byte)
	for i := range 6 {
		p := noise(uint64(i), 900<<10) // each has segments
		f, err := a.Put(t.Context(), fmt.Sprint(i), bytes.NewReader(p), nil)
		must(t, err)
		bodies[f.ID] = p
	}
	for i := range 4 {
		f, err := a.Put(t.Context(), fmt.Sprint("gone", i), bytes.NewReader(noise(uint64(100+i), 900<<10)), nil)
		must(t, err)
		must(t, a.Purge(t.Context(), f.ID, nil))
	}
	deleted, calls := int64(0), 0
	_, err := s.Migrate(t.Context(), "a", "two", func(buckets.Migrated) {
		calls++
		r, err := s.Collect(t.Context(), &collect.Options{Full: true})
		must(t, err)
		for _, d := range r.Domains {
			deleted += d.DeletedPacks
		}
	})
	must(t, err)
	if calls == 0 || deleted == 0 {
		t.Fatalf("%d collections deleted %d packs", calls, deleted)
	}
	read := func() {
		t.Helper()
		for id, p := range bodies {
			got, err := content(a, id)
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%s: %d bytes, %v", id, len(got), err)
			}
		}
	}
	read()
	for range 2 {
		_, err := s.Collect(t.Context(), &collect.Options{Full: true})
		must(t, err)
	}
	read()
	must(t, s.Close())
	size := int64(0)
	must(t, filepath.WalkDir(opts.Backends["one"].Path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	}))
	if size > 300<<10 {
		t.Errorf("%d bytes are left where the bucket was", size)
	}
	r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: opts})
	must(t, err)
	if !r.OK {
		t.Errorf("check: %+v", r)
	}
}
