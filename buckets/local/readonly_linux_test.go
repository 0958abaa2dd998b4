package local_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/unwritable"
)

// A store that this process may not write to is read, after a clean end and after a
// kill, and refuses changes; nothing in its directory changes.
func TestUnwritable(t *testing.T) {
	for _, way := range unwritable.Ways() {
		for _, killed := range []bool{false, true} {
			t.Run(way.Name, func(t *testing.T) {
				dir := t.TempDir()
				s, err := local.Open(t.Context(), dir, options())
				must(t, err)
				want := noise(1, 100_000)
				f, err := bucket(t, s, "a").Put(t.Context(), "f", bytes.NewReader(want), nil)
				must(t, err)
				if killed {
					image := filepath.Join(t.TempDir(), "image")
					must(t, os.CopyFS(image, os.DirFS(dir)))
					dir = image
				}
				must(t, s.Close())
				dir = way.Make(t, dir)
				before := unwritable.List(t, dir)
				s, err = local.Open(t.Context(), dir, options())
				must(t, err)
				second, err := local.Open(t.Context(), dir, options()) // readers do not exclude each other
				must(t, err)
				for _, s := range []*buckets.Store{s, second} {
					if got, err := content(bucket(t, s, "a"), string(f.ID)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					_, err = bucket(t, s, "a").Put(t.Context(), "g", strings.NewReader("x"), nil)
					if !errors.Is(err, buckets.ErrReadOnly) || !errors.Is(err, way.Errno) || !strings.Contains(err.Error(), dir) {
						t.Errorf("put: %v", err)
					}
				}
				must(t, s.Send(t.Context()))
				must(t, errors.Join(s.Close(), second.Close()))
				for _, repair := range []bool{false, true} {
					r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *options(), Repair: repair, DryRun: repair})
					if err != nil || !r.OK {
						t.Errorf("check, of a repair %v: %+v, %v", repair, r, err)
					}
				}
				if _, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *options(), Repair: true}); !errors.Is(err, buckets.ErrReadOnly) {
					t.Errorf("repair: %v", err)
				}
				if after := unwritable.List(t, dir); after != before {
					t.Errorf("before\n%safter\n%s", before, after)
				}
			})
		}
	}
}

// Who writes keeps readers out, and readers keep out who writes.
func TestUnwritableIsLocked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs two users")
	}
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, options())
	must(t, err)
	t.Run("reader", func(t *testing.T) {
		unwritable.Ways()[1].Make(t, dir)
		if _, err := local.Open(t.Context(), dir, options()); !errors.Is(err, local.ErrLocked) {
			t.Errorf("a reader beside a writer: %v", err)
		}
	})
	must(t, store.Close())
	var reader *buckets.Store
	t.Run("writer", func(t *testing.T) {
		unwritable.Ways()[1].Make(t, dir)
		reader, err = local.Open(t.Context(), dir, options())
		must(t, err)
	})
	if _, err := local.Open(t.Context(), dir, options()); !errors.Is(err, local.ErrLocked) {
		t.Errorf("a writer beside a reader: %v", err)
	}
	must(t, reader.Close())
	store, err = local.Open(t.Context(), dir, options())
	must(t, err)
	must(t, store.Close())
}

// What cannot be read is no store that is read, and where there is none to read, none
// is made.
func TestUnwritableRefused(t *testing.T) {
	for _, way := range unwritable.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			_, err := local.Open(t.Context(), way.Make(t, t.TempDir()), options())
			if !errors.Is(err, way.Errno) || errors.Is(err, local.ErrNoStore) {
				t.Errorf("an empty directory: %v", err)
			}
		})
	}
	if os.Geteuid() != 0 {
		return // for the owner of a directory, what follows cannot be
	}
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, options())
	must(t, err)
	must(t, store.Close())
	must(t, os.Chmod(dir, 0o700))
	unwritable.Ways()[1].Make(t, t.TempDir())
	if _, err := local.Open(t.Context(), dir, options()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a directory that cannot be read: %v", err)
	}
}

// A closedShelf takes no packs while it is closed.
type closedShelf struct {
	*remoteShelf
	closed bool
	writes int
}

func (c *closedShelf) Create(ctx context.Context, key string) (backend.Writer, error) {
	c.writes++
	if c.closed && strings.HasPrefix(key, "packs/") {
		return nil, syscall.EHOSTUNREACH
	}
	return c.remoteShelf.Create(ctx, key)
}

// Of a store whose packs are far away, what waits in the journal is read too, and
// nothing is sent, claimed or cached.
func TestUnwritableJournal(t *testing.T) {
	for _, way := range unwritable.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			dir, cache := t.TempDir(), t.TempDir()
			far := &closedShelf{remoteShelf: &remoteShelf{Backend: membackend.New(nil)}}
			opts := &local.Options{Backends: map[string]local.Backend{"far": {Driver: ownDriver{far}}},
				Buckets: map[string]buckets.Policy{"a": {Domain: "far", Acknowledge: buckets.AckJournal}}}
			var ids []string
			for i, closed := range []bool{false, true} {
				far.closed = closed
				s, err := local.Open(t.Context(), dir, opts)
				must(t, err)
				f, err := bucket(t, s, "a").Put(t.Context(), []string{"sent", "waits"}[i], bytes.NewReader(noise(uint64(i), 50_000)), nil)
				must(t, err)
				ids = append(ids, string(f.ID))
				if err := s.Send(t.Context()); (err != nil) != closed {
					t.Fatalf("send: %v", err)
				}
				must(t, s.Close())
			}
			opts.Backends["far"] = local.Backend{Driver: ownDriver{far}, CacheDir: cache}
			far.closed, far.writes = false, 0
			at := way.Make(t, dir)
			before := unwritable.List(t, at)
			s, err := local.Open(t.Context(), at, opts)
			must(t, err)
			for i, id := range ids {
				if got, err := content(bucket(t, s, "a"), id); err != nil || !bytes.Equal(got, noise(uint64(i), 50_000)) {
					t.Errorf("%d: %d bytes, %v", i, len(got), err)
				}
			}
			must(t, s.Send(t.Context()))
			must(t, s.Close())
			if cached, _ := os.ReadDir(cache); unwritable.List(t, at) != before || far.writes > 0 || len(cached) > 0 {
				t.Errorf("%d writes far away, %d in the cache; %s", far.writes, len(cached), unwritable.List(t, at))
			}
		})
	}
}
