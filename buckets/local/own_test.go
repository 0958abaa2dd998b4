package local_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/s3test"
)

// One data directory at a time writes to a prefix in S3. One that was paused
// while another took over finds out before it answers anybody.
func TestOwnership(t *testing.T) {
	s3test.Each(t, func(t *testing.T, srv *s3test.Server) {
		far := local.Backend{Driver: s3backend.Driver{Options: *srv.Options(t)}}
		options := func(take bool) *local.Options {
			return &local.Options{Backends: map[string]local.Backend{"far": far}, Buckets: map[string]buckets.Policy{"a": {Domain: "far"}}, TakeOwnership: take}
		}
		one, two := t.TempDir(), t.TempDir()
		first, err := local.Open(t.Context(), one, options(false))
		must(t, err)
		put := func(s *buckets.Store, name string) error {
			_, err := bucket(t, s, "a").Put(t.Context(), name, bytes.NewReader([]byte(name)), nil)
			return err
		}
		must(t, put(first, "before"))

		if _, err := local.Open(t.Context(), two, options(false)); !errors.Is(err, backend.ErrOwned) {
			t.Fatalf("a second directory: %v", err)
		}
		// Its metadata is not there, so a second directory has to rebuild it.
		if _, err := local.Check(t.Context(), two, &local.CheckOptions{Options: *options(false), Repair: true}); !errors.Is(err, backend.ErrOwned) {
			t.Fatalf("a second directory, repaired: %v", err)
		}
		must(t, put(first, "still"))
		must(t, os.RemoveAll(filepath.Join(two, "meta")))
		r, err := local.Check(t.Context(), two, &local.CheckOptions{Options: *options(true), Repair: true})
		must(t, err)
		if !r.OK || r.Files != 2 {
			t.Fatalf("taken over: %+v", r)
		}
		if err := put(first, "late"); !errors.Is(err, backend.ErrOwned) {
			t.Errorf("upload to who lost the packs: %v", err)
		}
		o, err := bucket(t, first, "a").Open(t.Context(), fileID(t, first, "a", "before"), nil)
		must(t, err)
		_, err = o.WriteTo(&bytes.Buffer{})
		must(t, errors.Join(err, o.Close()))
		first.Close() // whether it can say goodbye does not matter
		if _, err := local.Open(t.Context(), one, options(false)); !errors.Is(err, backend.ErrOwned) {
			t.Errorf("the first directory comes back: %v", err)
		}

		second, err := local.Open(t.Context(), two, options(false))
		must(t, err)
		must(t, put(second, "after"))
		must(t, second.Close())
		second, err = local.Open(t.Context(), two, options(false))
		must(t, err)
		fileID(t, second, "a", "before")
		fileID(t, second, "a", "still")
		if _, err := bucket(t, second, "a").StatPath(t.Context(), "late"); err == nil {
			t.Error("what was refused is there")
		}
		must(t, second.Close())
	})
}

func fileID(t *testing.T, s *buckets.Store, in, path string) string {
	t.Helper()
	f, err := bucket(t, s, in).StatPath(t.Context(), path)
	must(t, err)
	return f.ID
}
