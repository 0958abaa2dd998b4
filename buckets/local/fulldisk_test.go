package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
)

// A smallDisk is a volume that has space for so many bytes of files.
type smallDisk struct {
	diskbackend.FS
	total int64
	used  atomic.Int64
}

func (d *smallDisk) Free() (free, total uint64, err error) {
	return uint64(max(0, d.total-d.used.Load())), uint64(d.total), nil
}

func (d *smallDisk) Create(name string) (diskbackend.File, error) {
	f, err := d.FS.Create(name)
	return smallFile{f, d}, err
}

func (d *smallDisk) Append(name string) (diskbackend.File, int64, error) {
	f, n, err := d.FS.Append(name)
	return smallFile{f, d}, n, err
}

func (d *smallDisk) Remove(name string) error {
	info, err := d.Stat(name)
	if err != nil {
		return err
	}
	if err = d.FS.Remove(name); err == nil {
		d.used.Add(-info.Size())
	}
	return err
}

type smallFile struct {
	diskbackend.File
	d *smallDisk
}

func (f smallFile) Write(p []byte) (int, error) {
	if f.d.used.Add(int64(len(p))) > f.d.total {
		f.d.used.Add(-int64(len(p)))
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// On a full disk files are removed and what they took is given back, also where
// every pack holds something that is needed: then files are taken again, and so
// over and over.
func TestCollectOnAFullDisk(t *testing.T) {
	race.LeaveOut(t)
	const size = 600_000
	fs := crashfs.New()
	disk := &smallDisk{FS: fs.Disk("packs"), total: 48 << 20}
	opts := &local.Options{DiskFS: disk, MetaFS: fs.VFS(), Buckets: map[string]buckets.Policy{"b": {Domain: "local"}}}
	open := func() *buckets.Store {
		t.Helper()
		s, err := local.Open(t.Context(), "store", opts)
		must(t, err)
		return s
	}
	s := open()
	type kept struct {
		id   string
		seed uint64
	}
	var files []kept
	seed := uint64(0)
	fill := func() (n int) {
		t.Helper()
		for {
			seed++
			f, err := bucket(t, s, "b").Put(t.Context(), fmt.Sprint(seed), bytes.NewReader(noise(seed, size)), nil)
			if errors.Is(err, buckets.ErrNoSpace) {
				return n
			}
			must(t, err)
			files = append(files, kept{f.ID, seed})
			n++
		}
	}
	first := fill()
	t.Logf("%d files fill the disk", first)
	for round := range 3 {
		if round == 1 { // a full disk is opened too
			must(t, s.Close())
			s = open()
		}
		var rest []kept
		for i, f := range files {
			if i%3 == round%3 {
				must(t, bucket(t, s, "b").Purge(t.Context(), f.id, nil))
			} else {
				rest = append(rest, f)
			}
		}
		gone := len(files) - len(rest)
		files = rest
		for range 3 {
			r, err := s.Collect(t.Context(), &collect.Options{Full: round == 2})
			must(t, err)
			t.Logf("round %d: %d packs deleted, %d rewritten, %d bytes freed, %d dead, %v", round, r.Domains[0].DeletedPacks,
				r.Domains[0].RewrittenPacks, r.Domains[0].FreedBytes, r.Domains[0].DeadBytes, r.Domains[0].Problems)
		}
		if n := fill(); n < gone*3/4 {
			t.Errorf("round %d: %d files are taken in place of %d", round, n, gone)
		}
	}
	for _, f := range files {
		if p, err := content(bucket(t, s, "b"), f.id); err != nil || !bytes.Equal(p, noise(f.seed, size)) {
			t.Fatalf("file %d: %d bytes, %v", f.seed, len(p), err)
		}
	}
	must(t, s.Close())
	if r, err := local.Check(t.Context(), "store", &local.CheckOptions{Options: *opts}); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
}
