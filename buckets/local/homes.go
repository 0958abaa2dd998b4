package local

import (
	"context"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// homes is what the packs say of where the files of buckets lie: where the
// latest move has brought them or, of a bucket that was never moved, where its
// rows are.
type homes map[string]*foundHome

type foundHome struct {
	manifest.Home
	rows map[string]bool // the domains whose packs hold rows of the bucket
}

// note learns from a record in the packs of domain.
func (hs homes) note(domain string, r *manifest.Record) {
	switch {
	case r.Home != nil:
		h := hs.of(r.Home.Bucket)
		h.rows[domain] = true
		if r.Home.Move > h.Move {
			h.Domain, h.Move, h.From = domain, r.Home.Move, r.Home.From
		}
	case r.File != nil:
		h := hs.of(r.File.Bucket)
		h.rows[domain] = true
		if h.Move == 0 {
			h.Domain = domain
		}
	}
}

func (hs homes) of(bucket string) *foundHome {
	h := hs[bucket]
	if h == nil {
		h = &foundHome{Home: manifest.Home{Bucket: bucket}, rows: make(map[string]bool)}
		hs[bucket] = h
	}
	return h
}

// restore notes them in a database made anew.
func (hs homes) restore(ctx context.Context, meta manifest.Store) error {
	_, err := meta.Update(ctx, "", func(tx manifest.Tx) error {
		for _, h := range hs {
			delete(h.rows, h.Domain)
			h.Been = slices.Sorted(maps.Keys(h.rows))
			if err := tx.RestoreHome(ctx, &h.Home); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
