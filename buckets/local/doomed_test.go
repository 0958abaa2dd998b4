package local

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A pack whose deletion had begun may still lie there when the metadata is
// rebuilt: its chunks are not relied on, whether or not it is gone.
func TestRebuildPassesOverDoomedPacks(t *testing.T) {
	dir, opts := t.TempDir(), &Options{PackSize: 256 << 10}
	s, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	fill := make([]byte, 400<<10)
	rand.NewChaCha8([32]byte{}).Read(fill)
	f, err := b.Put(t.Context(), "fill", bytes.NewReader(fill), nil) // ends the first pack
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Purge(t.Context(), f.ID, nil); err != nil {
		t.Fatal(err)
	}
	kept, err := b.Put(t.Context(), "kept", strings.NewReader("kept"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	doom(t, dir, opts)
	if err := os.RemoveAll(filepath.Join(dir, "meta")); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), dir, &CheckOptions{Options: *opts, Repair: true})
	if err != nil || !r.OK || !r.Rebuilt {
		t.Fatalf("rebuild: %+v, %v", r, err)
	}
	if s, err = Open(t.Context(), dir, opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, err = s.Bucket("demo"); err != nil {
		t.Fatal(err)
	}
	n := 0
	for f, err := range b.List(t.Context(), nil) {
		if n++; err != nil || f.ID != kept.ID {
			t.Errorf("%+v, %v", f, err)
		}
	}
	if n != 1 {
		t.Errorf("%d files", n)
	}
	// Stored anew, the bytes that lie in the doomed pack are new.
	again, err := b.Put(t.Context(), "again", bytes.NewReader(fill), nil)
	if err != nil || again.NewBytes != int64(len(fill)) {
		t.Errorf("%d bytes were new, %v", again.NewBytes, err)
	}
}

// doom notes that the deletion of the oldest pack has begun.
func doom(t *testing.T, dir string, opts *Options) {
	t.Helper()
	p, err := open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var oldest *cas.PackID
	n := 0
	for e, err := range p.domains[0].chunks.Packs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; oldest == nil || bytes.Compare(e.ID[:], oldest[:]) < 0 {
			oldest = &e.ID
		}
	}
	if n < 2 {
		t.Fatalf("%d packs", n)
	}
	seq, err := p.meta.TakeNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slots, err := manifest.EncodeCommit(seq, []manifest.Record{{Doomed: &manifest.Doom{Pack: *oldest, Serial: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.domains[0].chunks.AppendRecords(t.Context(), &cas.Records{Commit: seq, Slots: slots}); err != nil {
		t.Fatal(err)
	}
}
