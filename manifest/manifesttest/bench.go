package manifesttest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// BenchmarkPage measures what a page of 100 records with three files each asks of an
// empty store, which gets 50,000 files with a confirmed link to each.
func BenchmarkPage(b *testing.B, s manifest.Store) {
	ctx := b.Context()
	const files, page = 50_000, 300
	var ids []manifest.FileID
	var rs []manifest.Record
	for n := range files {
		f, m := newFile("", fmt.Sprint(n), 5)
		m.Inline[0].Digest = cas.Sum([]byte(f.ID))
		l := &manifest.Link{ID: manifest.NewLinkID(), Revision: 1, Host: "h", Bucket: f.Bucket, File: f.ID, Version: m.ID, Collection: "posts",
			Record: fmt.Sprint(n / 3), Field: "cover", State: manifest.LinkConfirmed, At: day}
		f.Revision = 1
		ids = append(ids, f.ID)
		if rs = append(rs, manifest.Record{File: f}, manifest.Record{Manifest: m}, manifest.Record{Link: l}); len(rs) == 3000 || n == files-1 {
			if err := s.Restore(ctx, 1, rs); err != nil {
				b.Fatal(err)
			}
			rs = nil
		}
	}
	if err := s.Reindex(ctx); err != nil {
		b.Fatal(err)
	}
	some := func() (picked []manifest.FileID) {
		for range page {
			picked = append(picked, ids[rand.IntN(files)])
		}
		return picked
	}
	for name, fn := range map[string]func() error{
		"Rows": func() error { _, err := s.Rows(ctx, some(), nil); return err },
		"Sums": func() error { _, err := s.FileLinkSums(ctx, some()); return err },
		"Record": func() error {
			_, err := s.RecordLinks(ctx, manifest.RecordKey{Host: "h", Collection: "posts", Record: fmt.Sprint(rand.IntN(files / 3))})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
