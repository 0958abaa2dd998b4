package local_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// Packs of two backends lie in two directories, share nothing, and are
// checked and rebuilt together.
func TestBackends(t *testing.T) {
	dir, one, two := t.TempDir(), t.TempDir(), t.TempDir()
	opts := local.Options{Backends: map[string]local.Backend{"one": {Path: one}, "two": {Path: two}}, Buckets: map[string]buckets.Policy{
		"a": {Domain: "one", Compression: cas.Compression{Codec: cas.Zstd}}, "b": {Domain: "two", Compression: cas.Compression{Codec: cas.Zstd}}}}
	store := func() *buckets.Store {
		s, err := local.Open(t.Context(), dir, &opts)
		must(t, err)
		return s
	}
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	s := store()
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	f, err := a.Put(t.Context(), "f", bytes.NewReader(content), nil)
	must(t, err)
	g, err := a.Copy(t.Context(), f.ID, b, nil)
	must(t, err)
	must(t, s.Close())
	for _, d := range []string{one, two} {
		if packs, _ := filepath.Glob(filepath.Join(d, "packs", "*")); len(packs) == 0 {
			t.Errorf("no packs in %s", d)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "packs")); err == nil {
		t.Error("there are packs in the directory of the metadata")
	}

	verify := func(when string, o *local.CheckOptions) {
		t.Helper()
		r, err := local.Check(t.Context(), dir, o)
		must(t, err)
		if !r.OK || r.Files != 2 {
			t.Fatalf("%s, check finds %+v", when, r)
		}
	}
	verify("stored", &local.CheckOptions{Options: opts})
	noSchema := opts
	noSchema.Buckets = nil
	verify("without a schema", &local.CheckOptions{Options: noSchema})

	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	if _, err := local.Open(t.Context(), dir, &opts); !errors.Is(err, local.ErrNoMetadata) {
		t.Errorf("opened without metadata: %v", err)
	}
	verify("rebuilt", &local.CheckOptions{Options: opts, Repair: true})
	s = store()
	for name, id := range map[string]string{"a": f.ID, "b": g.ID} {
		o, err := bucket(t, s, name).Open(t.Context(), id, nil)
		must(t, err)
		var got bytes.Buffer
		_, err = o.WriteTo(&got)
		must(t, errors.Join(err, o.Close()))
		if !bytes.Equal(got.Bytes(), content) {
			t.Errorf("bucket %s: other bytes", name)
		}
	}
	must(t, s.Close())

	// Nothing works on half of a store, least of all a repair.
	for what, backends := range map[string]map[string]local.Backend{
		"none named":    nil,
		"one not named": {"one": {Path: one}},
		"one elsewhere": {"one": {Path: one}, "two": {Path: t.TempDir()}},
	} {
		half := local.Options{Backends: backends, Buckets: opts.Buckets}
		if _, err := local.Open(t.Context(), dir, &half); !errors.Is(err, local.ErrNoBackend) {
			t.Errorf("%s: opened: %v", what, err)
		}
		if _, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: half, Repair: true}); !errors.Is(err, local.ErrNoBackend) {
			t.Errorf("%s: checked: %v", what, err)
		}
	}
}
