package local

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/crashfs"
)

// A smallDisk is a volume of a size, which the files that are written to it fill.
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
	if err != nil {
		return nil, err
	}
	return &countedFile{f, d}, nil
}

func (d *smallDisk) Remove(name string) error {
	info, err := d.FS.Stat(name)
	if err == nil {
		if err = d.FS.Remove(name); err == nil {
			d.used.Add(-info.Size())
		}
	}
	return err
}

type countedFile struct {
	diskbackend.File
	d *smallDisk
}

func (f *countedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.d.used.Add(int64(n))
	return n, err
}

// On a disk that takes no more content files are removed and their space is
// collected, also where packs are partly dead, until there is room again.
func TestCollectOnAFullDisk(t *testing.T) {
	fs := crashfs.New()
	disk := &smallDisk{FS: fs.Disk("packs"), total: 48 << 20} // 8 MiB are the reserve
	s, err := Open(t.Context(), "store", &Options{DiskFS: disk, MetaFS: fs.VFS(),
		PackSize: 2 << 20, Buckets: map[string]buckets.Policy{"b": {Domain: "local", Limits: buckets.Limits{MaxFileSize: 1 << 20}}}})
	must(t, err)
	defer s.Close()
	b, err := s.Bucket("b")
	must(t, err)
	random := rand.NewChaCha8([32]byte{1})
	body := func() []byte {
		p := make([]byte, 300<<10)
		random.Read(p)
		return p
	}
	var ids []string
	for {
		f, err := b.Put(t.Context(), fmt.Sprint(len(ids)), bytes.NewReader(body()), nil)
		if errors.Is(err, buckets.ErrNoSpace) {
			break
		}
		must(t, err)
		if ids = append(ids, f.ID); len(ids) > 1000 {
			t.Fatal("the disk does not get full")
		}
	}
	kept := 0
	for i, id := range ids {
		if i%3 == 0 {
			kept++
			continue
		}
		if err := b.Purge(t.Context(), id, nil); err != nil {
			t.Fatalf("purge on a full disk: %v", err)
		}
	}
	before := disk.used.Load()
	r, err := s.Collect(t.Context(), &collect.Options{})
	must(t, err)
	want := int64(len(ids)-kept) * 300 << 10 * 85 / 100
	if freed := before - disk.used.Load(); freed < want {
		t.Errorf("%d bytes came back, want %d: %+v", freed, want, r.Domains[0])
	}
	for i := range 20 {
		if _, err := b.Put(t.Context(), fmt.Sprint("new", i), bytes.NewReader(body()), nil); err != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
}
