package pebblestore

import (
	"context"
	"iter"
	"math"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Roots implements manifest.Roots.
func (d *DB) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	return atOneMoment(d, func(s rows) iter.Seq2[*manifest.Root, error] {
		return func(yield func(*manifest.Root, error) bool) {
			homes, err := s.Homes(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			elsewhere, both := make(map[string]bool), make(map[string]bool)
			for _, h := range homes {
				elsewhere[h.Bucket] = h.Domain != "" && !h.In(domain)
				both[h.Bucket] = h.To != "" && h.In(domain)
			}
			if !s.versionRoots(ctx, elsewhere, yield) {
				return
			}
			s.uploadRoots(ctx, func(u *manifest.Upload) bool { return u.Domain == domain || both[u.Bucket] }, yield)
		}
	})
}

// versionRoots yields the roots of versions, except in buckets that are
// elsewhere, and reports whether yield wants more.
func (s rows) versionRoots(ctx context.Context, elsewhere map[string]bool, yield func(*manifest.Root, error) bool) bool {
	for r, err := range s.allRows(ctx, "") {
		if err != nil {
			yield(nil, err)
			return false
		}
		if r.Manifest == nil || elsewhere[r.File.Bucket] {
			continue
		}
		if !yield(&manifest.Root{Version: r.Manifest.ID, Top: r.Manifest.Top, Chunks: r.Manifest.Inline}, nil) {
			return false
		}
	}
	return true
}

func (s rows) uploadRoots(ctx context.Context, here func(*manifest.Upload) bool, yield func(*manifest.Root, error) bool) {
	prefix := []byte{keyUpload}
	for u, err := range scanPrefix(ctx, s, prefix, rowParser[manifest.Upload]("upload", 1)) {
		if err != nil {
			yield(nil, err)
			return
		}
		if !u.UnderWay() || !here(u) {
			continue
		}
		more, err := s.partRoots(ctx, u, yield)
		if err != nil {
			yield(nil, err)
		}
		if !more {
			return
		}
	}
}

// partRoots yields the roots of the parts of an upload, and reports whether
// yield wants more. Of a listed upload they are the parts that were sent.
func (s rows) partRoots(ctx context.Context, u *manifest.Upload, yield func(*manifest.Root, error) bool) (more bool, err error) {
	from, below := uint64(0), uint64(manifest.SentParts)
	if u.Listed {
		from, below = manifest.SentParts, math.MaxUint64
	}
	for refs, err := range s.partsBetween(ctx, u.ID, from, below) {
		if err != nil || !yield(&manifest.Root{Upload: u.ID, Chunks: append([]cas.Ref(nil), refs...)}, nil) {
			return false, err
		}
	}
	return true, nil
}
