package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A checker looks at the database itself, beside the wrappers, and at what the
// backends hold.
type checker struct {
	w *world
	// hurt has rows that needed a chunk when it was found damaged, by row and
	// digest.
	hurt map[string]bool
}

// needed calls fn with every digest that a committed row of a domain needs, and
// with the row.
func (c *checker) needed(ctx context.Context, domain string, fn func(ds []cas.Digest, who string) error) error {
	db := c.w.db
	for row, err := range db.AllRows(ctx, "") {
		if err != nil {
			return err
		}
		if row.Manifest == nil {
			continue
		}
		home, err := db.Home(ctx, row.File.Bucket)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if home == nil || home.Domain != domain {
			continue
		}
		who := fmt.Sprintf("version %d of %s", row.Manifest.Version, row.File.Name)
		err = row.Manifest.Walk(ctx, db.Segments(domain), func(s manifest.Segment) error {
			return fn([]cas.Digest{s.Digest}, who+" (segment)")
		}, func(refs []cas.Ref) error { return fn(digestsOf(refs), who) })
		if err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
	}
	for r, err := range db.Roots(ctx, domain) {
		if err != nil {
			return err
		}
		if r.Upload == "" {
			continue
		}
		// While a bucket is moved its parts are roots of both domains, and lie in
		// the one that their upload names.
		up, err := db.Upload(ctx, "b", r.Upload)
		if err != nil {
			return err
		}
		// What was sent for a list is not taken along: its sender sends it again.
		if up.Domain != domain || up.Listed && c.w.moves {
			continue
		}
		if err := fn(digestsOf(r.Chunks), "part of upload "+string(r.Upload)); err != nil {
			return err
		}
	}
	return nil
}

func digestsOf(refs []cas.Ref) []cas.Digest {
	ds := make([]cas.Digest, len(refs))
	for i, r := range refs {
		ds[i] = r.Digest
	}
	return ds
}

func sourcesOf(f *cas.FrameEntry) (ds []cas.Digest) {
	for _, s := range f.Sources {
		ds = append(ds, s.Digest)
	}
	return ds
}

// check checks that every chunk which a committed row needs has a usable entry,
// in a frame whose bytes are there, and the same of sources of that frame.
func (c *checker) check(ctx context.Context) error {
	hurt := make(map[string]bool)
	defer func() { c.hurt = hurt }()
	for _, domain := range c.w.domains() {
		ix := c.w.db.Index(domain)
		seen := make(map[cas.Digest]bool)
		frames := make(map[cas.FrameID][]string) // and whose they are
		look := func(ds []cas.Digest, who string) error {
			if c.w.damage {
				clear(seen) // each row counts for itself
			}
			var fresh []cas.Digest
			for _, d := range ds {
				if !seen[d] {
					seen[d] = true
					fresh = append(fresh, d)
				}
			}
			out := make([]cas.ChunkEntry, len(fresh))
			if err := ix.Chunks(ctx, fresh, out); err != nil {
				return err
			}
			for i := range out {
				// A row that was there when its chunk was found damaged is excused:
				// the checker has seen it with a usable one.
				key := who + fresh[i].String()
				if c.w.damage && out[i].Frame != (cas.FrameID{}) {
					hurt[key] = true
				}
				if !out[i].Usable() && !c.hurt[key] {
					return fmt.Errorf("%s: chunk %s of %s has no usable entry", domain, fresh[i], who)
				}
				if !out[i].Usable() {
					continue
				}
				if f := out[i].Frame; len(frames[f]) == 0 || c.w.damage && !slices.Contains(frames[f], who) {
					frames[f] = append(frames[f], who)
				}
			}
			return nil
		}
		if err := c.needed(ctx, domain, look); err != nil {
			return err
		}
		// The second time it looks at those of sources, which have none.
		for range 2 {
			whose := maps.Clone(frames)
			clear(frames)
			if err := c.checkFrames(ctx, domain, whose, look); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkFrames checks that the bytes of frames are there, and looks at their sources.
func (c *checker) checkFrames(ctx context.Context, domain string, whose map[cas.FrameID][]string, look func(ds []cas.Digest, who string) error) error {
	d := c.w.disks[domain]
	ids := slices.SortedFunc(maps.Keys(whose), func(a, b cas.FrameID) int { return bytes.Compare(a[:], b[:]) })
	out := make([]cas.FrameEntry, len(ids))
	if err := c.w.db.Index(domain).Frames(ctx, ids, out); err != nil {
		return err
	}
	for i := range out {
		f, who := &out[i], whose[ids[i]]
		if !f.Known() {
			return fmt.Errorf("%s: frame %v of %s is unknown", domain, ids[i], who)
		}
		for _, who := range who {
			if err := look(sourcesOf(f), "frame of "+who); err != nil {
				return err
			}
		}
		end := f.Offset + int64(f.HeaderLen) + int64(f.StoredLen)
		if n := d.size(f.Pack.Key()); n < end {
			return fmt.Errorf("%s: frame %v of %s lies in pack %s up to %d, which has %d bytes", domain, f.ID, who, f.Pack, end, n)
		}
	}
	return nil
}
