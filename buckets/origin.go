package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// errOrigin refuses what only a new file of a Put may be given.
var errOrigin = fmt.Errorf("ID, owner and times can be given to a new file only, by Put: %w", fs.ErrInvalid)

// hasOrigin reports whether the file comes from another system.
func (o *PutOptions) hasOrigin() bool {
	return o.ID != "" || o.Owner != "" || !o.CreatedAt.IsZero() || !o.UpdatedAt.IsZero()
}

// checkOrigin checks what opts say of another system, and sets what follows from it:
// both times, as rows keep them, if one is given, and that the file is a new one.
func (b *Bucket) checkOrigin(opts *PutOptions) error {
	if !opts.hasOrigin() {
		return nil
	}
	if b.who != nil {
		return fmt.Errorf("ID, owner and times of a file are the store's, or a trusted caller's: %w", fs.ErrPermission)
	}
	if _, ok := manifest.ParseFileID(opts.ID); opts.ID != "" && !ok {
		return fmt.Errorf("file ID %q: use f_… or a UUID in lower case, such as 123e4567-e89b-42d3-a456-426614174000: %w",
			names.Clip(opts.ID), fs.ErrInvalid)
	}
	if owner := strings.TrimPrefix(opts.Owner, access.KeyOwner); opts.Owner != "" && access.CheckSubject(owner) != nil {
		return fmt.Errorf("owner %q: want at most 255 bytes that can be printed: %w", names.Clip(opts.Owner), fs.ErrInvalid)
	}
	switch opts.OnConflict {
	case "":
		opts.OnConflict = ConflictFail
	case ConflictVersion:
		return fmt.Errorf("on_conflict %q: %w", opts.OnConflict, errOrigin)
	}
	if opts.CreatedAt.IsZero() {
		opts.CreatedAt = opts.UpdatedAt
	}
	if opts.UpdatedAt.IsZero() {
		opts.UpdatedAt = opts.CreatedAt
	}
	if opts.CreatedAt.IsZero() {
		return nil
	}
	created, updated := opts.CreatedAt.UTC().Truncate(time.Millisecond), opts.UpdatedAt.UTC().Truncate(time.Millisecond)
	if now := b.s.now(); created.Unix() <= 0 || updated.Before(created) || updated.After(now) {
		return fmt.Errorf("created %s, updated %s: the times must be in that order, after 1970 and not after now, %s: %w",
			created.Format(time.RFC3339), updated.Format(time.RFC3339), now.Format(time.RFC3339), fs.ErrInvalid)
	}
	opts.CreatedAt, opts.UpdatedAt = created, updated
	return nil
}

// setOrigin sets what checkOrigin has checked in the row of a new file.
func (o *PutOptions) setOrigin(f *manifest.File) {
	if o.ID != "" {
		f.ID = manifest.FileID(o.ID)
	}
	if o.Owner != "" {
		f.Owner = o.Owner
	}
	if !o.CreatedAt.IsZero() {
		f.CreatedAt = o.CreatedAt
	}
}

// checkNewID fails unless a new file may have the ID, "" for any. A purged ID stays
// so: a rebuild from packs would take the new file for the old one.
func checkNewID(ctx context.Context, rows manifest.Files, id string) error {
	if id == "" {
		return nil
	}
	f, err := rows.File(ctx, manifest.FileID(id))
	switch {
	case err == nil:
		return fmt.Errorf("file %s is there already, in bucket %q: %w", id, f.Bucket, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	purged, err := rows.IsPurged(ctx, manifest.FileID(id))
	if err == nil && purged {
		err = fmt.Errorf("file %s: %w", id, ErrPurged)
	}
	return err
}
