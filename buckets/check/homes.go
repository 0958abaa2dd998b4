package check

import (
	"context"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// homes is what the packs say of where the files of buckets lie, by bucket:
// where the latest move has brought them or, of a bucket that was never moved,
// where its rows are.
type homes map[string]*foundHome

type foundHome struct {
	manifest.Home
	rows map[string]bool // the domains whose packs hold rows of the bucket
}

// addRecord takes in a record of the packs of a domain.
func (hs homes) addRecord(domain string, r *manifest.Record) {
	switch {
	case r.Home != nil:
		h := hs.find(r.Home.Bucket)
		h.rows[domain] = true
		if r.Home.Move > h.Move {
			h.Domain, h.Move, h.From = domain, r.Home.Move, r.Home.From
		}
	case r.File != nil:
		h := hs.find(r.File.Bucket)
		h.rows[domain] = true
		if h.Move == 0 {
			h.Domain = domain
		}
	}
}

// find returns the home of a bucket, which it makes if there is none.
func (hs homes) find(bucket string) *foundHome {
	h := hs[bucket]
	if h == nil {
		h = &foundHome{Home: manifest.Home{Bucket: bucket}, rows: make(map[string]bool)}
		hs[bucket] = h
	}
	return h
}

// restore writes them to the database, but for those of which the database
// has the same move or a later one.
func (hs homes) restore(ctx context.Context, meta manifest.Store) error {
	known, err := meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range known {
		if f, ok := hs[h.Bucket]; ok && h.Domain != "" && h.Move >= f.Move {
			delete(hs, h.Bucket)
		}
	}
	_, err = meta.Update(ctx, "", func(tx manifest.Tx) error {
		for _, h := range hs {
			been := maps.Clone(h.rows)
			delete(been, h.Domain)
			h.Been = slices.Sorted(maps.Keys(been))
			if err := tx.RestoreHome(ctx, &h.Home); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
