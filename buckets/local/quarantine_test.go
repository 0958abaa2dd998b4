package local_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// wordScanner finds viruses by the word.
type wordScanner struct{}

func (wordScanner) Scan(ctx context.Context, c *buckets.Candidate) (buckets.Verdict, error) {
	r := c.Open(ctx)
	defer r.Close()
	p, err := io.ReadAll(r)
	if err == nil && bytes.Contains(p, []byte("virus")) {
		return buckets.Verdict{Found: "a virus"}, nil
	}
	return buckets.Verdict{}, err
}

// What is in quarantine is there again when the store is opened, when its database was made anew
// from the packs, when its bucket was moved, and when what nothing needs was collected: it can be
// scanned then, on both databases.
func TestQuarantineStays(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, options func() *local.Options) {
		dir := t.TempDir()
		opts := func() *local.Options {
			o := options()
			o.Scanner = wordScanner{}
			o.Backends = map[string]local.Backend{"local": {}, "other": {Path: filepath.Join(dir, "other")}}
			return o
		}
		var s *buckets.Store
		opened := func() *buckets.Bucket {
			t.Helper()
			var err error
			s, err = local.Open(t.Context(), dir, opts())
			must(t, err)
			return bucket(t, s, "a")
		}
		scan := func(want int) {
			t.Helper()
			if n, err := s.ScanQuarantine(t.Context()); err != nil || n != want {
				t.Errorf("scanned %d, want %d: %v", n, want, err)
			}
		}
		b := opened()
		store := func(name string, p []byte) *buckets.File {
			t.Helper()
			f, err := b.Put(t.Context(), name, bytes.NewReader(p), nil)
			must(t, err)
			return f
		}
		contents := [][]byte{text(1, 300<<10), append(text(1, 300<<10), noise(2, 50<<10)...), noise(3, 200<<10), append(noise(4, 10<<10), "virus"...)}
		f := store("f", contents[0])
		scan(1)
		bad := store("f", contents[3])
		scan(1)
		held, fresh := store("f", contents[1]), store("new", contents[2])
		quarantine := func() (out string) {
			t.Helper()
			found := make(map[string]string)
			for h, err := range s.Quarantine(t.Context()) {
				must(t, err)
				found[h.ManifestID] = h.Found
			}
			return fmt.Sprint(found)
		}
		want := quarantine()
		as := func(when string) {
			t.Helper()
			if got := quarantine(); got != want {
				t.Errorf("%s: in quarantine %s, want %s", when, got, want)
			}
			now, err := b.Stat(t.Context(), f.ID, nil)
			if err != nil || now.ManifestID != f.ManifestID {
				t.Errorf("%s: current is %+v, %v", when, now, err)
			}
			for id, p := range map[string][]byte{f.ID: contents[0], held.ManifestID: contents[1], fresh.ManifestID: contents[2], bad.ManifestID: contents[3]} {
				if got, err := content(b, id); err != nil || !bytes.Equal(got, p) {
					t.Errorf("%s: %s: %d bytes, %v", when, id, len(got), err)
				}
			}
			if _, err := b.StatPath(t.Context(), "new"); err == nil {
				t.Errorf("%s: a new file is seen", when)
			}
		}
		checked := func(repair bool) {
			t.Helper()
			report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts(), Repair: repair})
			if err != nil || !repair && !report.OK {
				t.Errorf("check: %+v, %v", report, err)
			}
		}
		as("stored")
		_, err := s.Collect(t.Context(), &collect.Options{Full: true})
		must(t, err)
		as("collected")
		must(t, s.Close())
		checked(false)
		b = opened()
		as("opened again")
		must(t, s.Close())
		must(t, os.RemoveAll(filepath.Join(dir, "meta")))
		checked(true)
		checked(false)
		b = opened()
		as("rebuilt")
		if _, err := s.Migrate(t.Context(), "a", "other", nil); err != nil {
			t.Fatal(err)
		}
		as("moved")

		scan(2)
		for id, p := range map[string][]byte{f.ID: contents[1], fresh.ID: contents[2]} {
			if got, err := content(b, id); err != nil || !bytes.Equal(got, p) {
				t.Errorf("clean: %s: %d bytes, %v", id, len(got), err)
			}
		}
		if now, err := b.Stat(t.Context(), f.ID, nil); err != nil || now.ManifestID != held.ManifestID || now.VersionsCount != 2 {
			t.Errorf("%+v, %v", now, err)
		}
		if _, err := b.StatPath(t.Context(), "new"); err != nil {
			t.Error(err)
		}
		must(t, b.DeleteVersion(t.Context(), f.ID, bad.Version))
		must(t, s.Close())
	})
}
