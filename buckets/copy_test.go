package buckets_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// A commit does not look up the chunks that it takes from an existing version.
// So a copy or an edit of a file with a damaged chunk succeeds, and fails to be
// read where its source does. An upload of the same bytes mends all of them.
func TestCopyOfDamaged(t *testing.T) {
	dir := t.TempDir()
	p := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{'c'}).Read(p)
	s, err := local.Open(t.Context(), dir, nil)
	must(t, err)
	f := put(t, bucket(t, s, "demo"), "a", string(p), nil)
	must(t, s.Close())
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	must(t, err)
	if len(packs) != 1 {
		t.Fatalf("%d packs, want 1", len(packs))
	}
	text, err := os.ReadFile(packs[0])
	must(t, err)
	text[150<<10] ^= 1
	must(t, os.WriteFile(packs[0], text, 0o600))

	b := bucket(t, openDir(t, dir, nil), "demo")
	readAll := func(id string) error {
		o, err := b.Open(t.Context(), id, nil)
		must(t, err)
		defer o.Close()
		_, err = io.Copy(io.Discard, o)
		return err
	}
	damaged := func(id string) {
		t.Helper()
		var ce *cas.CorruptError
		if err := readAll(id); !errors.As(err, &ce) {
			t.Errorf("read %s: got error %v, want a CorruptError", id, err)
		}
	}
	damaged(f.ID) // which marks the chunk
	c, err := b.Copy(t.Context(), f.ID, b, &buckets.CopyOptions{Name: "copy"})
	must(t, err)
	e, err := b.Compose(t.Context(), "composed", []buckets.Piece{{File: f.ID, Length: -1}, {Data: []byte("more")}}, nil)
	if err == nil {
		damaged(e.ID)
	} else if ce := (*cas.CorruptError)(nil); !errors.As(err, &ce) {
		t.Errorf("compose: got error %v, want none or a CorruptError", err)
	}
	damaged(c.ID)
	put(t, b, "again", string(p), nil)
	for _, id := range []string{f.ID, c.ID} {
		if err := readAll(id); err != nil {
			t.Errorf("read %s after an upload of the same bytes: %v", id, err)
		}
	}
}
