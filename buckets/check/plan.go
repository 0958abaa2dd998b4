package check

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

// A Plan is what a repair would make of a database.
type Plan struct {
	Packs    int64 `json:"packs"`    // that it would read
	Files    int64 `json:"files"`    // that there would be
	Versions int64 `json:"versions"` // that there would be
	Restored int64 `json:"restored"` // files that are missing now, or older
	Removed  int64 `json:"removed"`  // files that there are now and would not be
}

// NewPlan compares a database that Rebuild has made elsewhere with the one that
// a repair would bring to the same rows; now is nil if there is none.
func NewPlan(ctx context.Context, now manifest.Store, rebuilt *Store) (*Plan, error) {
	p := &Plan{}
	for _, d := range rebuilt.Domains {
		for _, err := range d.Chunks.Index().AllPacks(ctx) {
			if err != nil {
				return nil, err
			}
			p.Packs++
		}
	}
	for f, err := range rebuilt.Meta.AllFiles(ctx) {
		if err != nil {
			return nil, err
		}
		p.Files++
		p.Versions += int64(f.Versions)
		older, err := isOlder(ctx, now, f)
		if err != nil {
			return nil, err
		}
		if older {
			p.Restored++
		}
	}
	if now == nil {
		return p, nil
	}
	for f, err := range now.AllFiles(ctx) {
		if err != nil {
			return nil, err
		}
		if _, err := rebuilt.Meta.File(ctx, f.ID); errors.Is(err, fs.ErrNotExist) {
			p.Removed++
		} else if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// isOlder reports whether now lacks a file, or has an older row of it.
func isOlder(ctx context.Context, now manifest.Store, f *manifest.File) (bool, error) {
	if now == nil {
		return true, nil
	}
	old, err := now.File(ctx, f.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && old.Revision < f.Revision, err
}
