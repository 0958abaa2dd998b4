package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
)

// Whatever uploads leave behind that are refused, fail or whose files are purged,
// the packs of a backend take no more than it may: then content is refused, and
// files are still read, changed and removed.
func TestMaxSizeOfABackend(t *testing.T) {
	const most = 8 << 20
	dir := t.TempDir()
	s, err := Open(t.Context(), filepath.Join(dir, "store"), &Options{
		Backends: map[string]Backend{"small": {Path: filepath.Join(dir, "packs"), MaxSize: most}},
		Buckets:  map[string]buckets.Policy{"b": {Domain: "small", Limits: buckets.Limits{MaxFileSize: 1 << 20, MaxTotalSize: 64 << 20}, Trash: buckets.Trash{Off: true}}}})
	must(t, err)
	defer s.Close()
	b, err := s.Bucket("b")
	must(t, err)
	kept, err := b.Put(t.Context(), "kept", strings.NewReader("kept"), nil)
	must(t, err)
	random := rand.NewChaCha8([32]byte{1})
	for i := 0; !errors.Is(err, buckets.ErrNoSpace); i++ {
		p := make([]byte, 900_000+i%2*200_000) // every other one is too large
		random.Read(p)
		var f *buckets.File
		if f, err = b.Put(t.Context(), fmt.Sprint(i), bytes.NewReader(p), nil); err == nil {
			err = b.Purge(t.Context(), f.ID, nil)
		}
		if i > 100 || err != nil && !errors.Is(err, buckets.ErrNoSpace) && !errors.Is(err, buckets.ErrTooLarge) {
			t.Fatalf("upload %d: %v", i, err)
		}
	}
	size, packs := int64(0), 0
	must(t, filepath.WalkDir(filepath.Join(dir, "packs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size, packs = size+info.Size(), packs+1
		}
		return err
	}))
	if size > most+1<<20 || size < most/2 {
		t.Errorf("%d packs of %d bytes where %d may be", packs, size, most)
	}
	name := "renamed"
	if _, err := b.Update(t.Context(), kept.ID, &buckets.Patch{Name: &name}); err != nil {
		t.Errorf("rename: %v", err)
	}
	if _, err := b.Put(t.Context(), "again", strings.NewReader("kept"), nil); err != nil {
		t.Errorf("content that is stored: %v", err)
	}
	if err := b.Purge(t.Context(), kept.ID, nil); err != nil {
		t.Errorf("purge: %v", err)
	}
}

// A backend that is full of what was purged is collected when content is refused, and
// not only when a collection is due.
func TestFullBackendIsCollected(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), filepath.Join(dir, "store"), &Options{
		Backends: map[string]Backend{"small": {Path: filepath.Join(dir, "packs"), MaxSize: 4 << 20}},
		Buckets:  map[string]buckets.Policy{"b": {Domain: "small", Trash: buckets.Trash{Off: true}}}})
	must(t, err)
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b, err := s.Bucket("b")
	must(t, err)
	random := rand.NewChaCha8([32]byte{2})
	refused := 0
	for i := 0; refused == 0 || err != nil; i++ {
		p := make([]byte, 900_000)
		random.Read(p)
		var f *buckets.File
		if f, err = b.Put(t.Context(), fmt.Sprint(i), bytes.NewReader(p), nil); err == nil {
			must(t, b.Purge(t.Context(), f.ID, nil))
		} else if refused++; !errors.Is(err, buckets.ErrNoSpace) || refused > 1000 {
			t.Fatalf("upload %d: %v", i, err)
		} else {
			time.Sleep(10 * time.Millisecond)
		}
	}
	stop()
	must(t, <-ended)
}
