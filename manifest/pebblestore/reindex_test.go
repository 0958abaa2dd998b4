package pebblestore_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// TestReindexCutOff: what a crash in the middle of Reindex has left is indexed when
// the database is opened: without the sums of links, nothing would hold a file.
func TestReindexCutOff(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	d := open(t, dir)
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "f", Versions: 1, TotalSize: 5}
	l := &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b", File: f.ID}
	_, err := d.Update(ctx, "x", func(tx manifest.Tx) error { return errors.Join(tx.PutFile(ctx, f), tx.PutLink(ctx, l)) })
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Set([]byte("vi"), nil, pebble.Sync)
	for _, letter := range []byte("NTUWCKwmZ") {
		err = errors.Join(err, raw.DeleteRange([]byte{letter}, []byte{letter + 1}, pebble.Sync))
	}
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := open(t, dir)
		sums, err := d.FileLinkSums(ctx, []manifest.FileID{f.ID})
		if err != nil || sums[0].Holds() != 1 {
			t.Errorf("sums %v, %v", sums, err)
		}
		if got, err := d.FileByPath(ctx, "b", "f"); err != nil || got.ID != f.ID {
			t.Errorf("%+v, %v", got, err)
		}
		if u, err := d.Usage(ctx, "b"); err != nil || u.Bytes != 5 {
			t.Errorf("usage %+v, %v", u, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	raw, err = pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if v, _, err := raw.Get([]byte("vi")); !errors.Is(err, pebble.ErrNotFound) {
		t.Errorf("the mark of the index is %x, %v", v, err)
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}
}
