package buckets

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// errRemovals says that some chunk has become unusable since the upload began:
// its chunks must be looked up again before it can be committed.
var errRemovals = errors.New("chunks must be checked again")

// errOther says that the file that the upload would become a version of is
// not the one that the uploader was found to be allowed to update.
var errOther = errors.New("another file has the name")

// commit makes the content a version, in one transaction.
func (u *upload) commit(ctx context.Context) (*File, error) {
	var out *File
	err := u.b.update(ctx, func(tx manifest.Tx) (err error) {
		if n, err := tx.Removals(ctx); err != nil || n != u.removals {
			return cmp.Or(err, errRemovals)
		}
		if err := u.sources(ctx, tx); err != nil {
			return err
		}
		if out, err = u.replay(ctx, tx); out != nil || err != nil {
			return err
		}
		if err := u.here(ctx, tx); err != nil {
			return err
		}
		old, err := u.current(ctx, tx)
		if err != nil {
			return err
		}
		var cur *manifest.Manifest
		if old != nil && old.ID != u.allowed {
			u.other = old
			return errOther
		}
		if old != nil {
			if cur, err = tx.Manifest(ctx, old.Current); err != nil {
				return err
			}
			if err := matches(u.opts.IfMatch, cur); err != nil {
				return err
			}
			if u.base != "" && cur.ID != u.base {
				return errStale
			}
			if u.unchanged(old, cur) {
				out = u.b.file(old, cur)
				out.Unchanged = true
				if u.touch {
					err = tx.PutFile(ctx, old)
				}
				if err == nil && u.also != nil {
					err = u.also(tx, cur)
				}
				return err
			}
		} else if u.opts.IfMatch != "" {
			return fmt.Errorf("there is no version to match: %w", ErrPrecondition)
		}
		f, m := u.rows(old)
		if old == nil {
			if err := u.chooseName(ctx, tx, f); err != nil {
				return err
			}
		}
		if err := u.b.use(ctx, tx); err != nil {
			return err
		}
		if err := u.b.addVersion(ctx, tx, f, m); err != nil {
			return err
		}
		if err := u.remember(ctx, tx, m); err != nil {
			return err
		}
		if u.also != nil {
			if err := u.also(tx, m); err != nil {
				return err
			}
		}
		out = u.b.file(f, m)
		return tx.PutFile(ctx, f)
	})
	if err != nil {
		return nil, err
	}
	if out.Replayed {
		return out, nil
	}
	out.NewBytes, out.StoredBytes = u.stats.NewBytes, u.stats.StoredBytes
	return out, nil
}

// sources finds the versions that the content was taken from. While their rows
// are there, so is what they refer to: it need not be looked up.
func (u *upload) sources(ctx context.Context, tx manifest.Tx) error {
	for _, id := range u.taken {
		_, err := tx.Manifest(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			return errRemovals // purged meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addVersion makes m the current version of f, which the caller writes, and
// removes the versions that the bucket keeps no longer. What that adds must
// fit the quotas.
func (b *Bucket) addVersion(ctx context.Context, tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error {
	before := f.TotalSize
	linkVersion(f, m, b.s.now())
	if err := tx.PutManifest(ctx, m); err != nil {
		return err
	}
	if _, _, err := b.b.Versions.prune(ctx, tx, f, 0, b.s.removalTime()); err != nil {
		return err
	}
	return b.b.Limits.checkQuota(ctx, tx, f.Bucket, f.Owner, f.TotalSize-before)
}

// current finds the file that the upload becomes a version of, nil for a new
// file.
func (u *upload) current(ctx context.Context, tx manifest.Tx) (*manifest.File, error) {
	if u.target != "" {
		f, err := tx.File(ctx, u.target)
		if errors.Is(err, fs.ErrNotExist) || err == nil && f.State != manifest.Active {
			return nil, ErrNoFile // deleted meanwhile
		}
		return f, err
	}
	f, err := tx.FileByPath(ctx, u.b.b.name, names.Join(u.folder, u.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch u.opts.OnConflict {
	case ConflictNew:
		return nil, nil
	case ConflictFail:
		return nil, ErrExist
	}
	return f, nil
}

func (u *upload) unchanged(f *manifest.File, m *manifest.Manifest) bool {
	return u.opts.SkipUnchanged && m.Root() == u.c.Root() && m.Size == u.c.Size &&
		(u.metadata == nil || bytes.Equal(u.metadata, f.Metadata)) &&
		(u.opts.Tags == nil || slices.Equal(u.opts.Tags, f.Tags))
}

// rows are the file and the version that the upload makes, old being the file
// as it was, or nil.
func (u *upload) rows(old *manifest.File) (*manifest.File, *manifest.Manifest) {
	now := u.b.s.now()
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: u.b.b.name, Folder: u.folder, Name: u.name,
		Owner: u.b.whoID(), CreatedAt: now}
	if old != nil {
		row := *old
		f = &row
	}
	if u.metadata != nil {
		f.Metadata = u.metadata
	}
	if u.opts.Tags != nil {
		f.Tags = u.opts.Tags
	}
	m := &manifest.Manifest{Content: *u.c, MIMEType: u.mime, DeclaredMIMEType: u.opts.MIMEType,
		CreatedBy: u.b.whoID()}
	return f, m
}

// linkVersion makes m the current version of f.
func linkVersion(f *manifest.File, m *manifest.Manifest, now time.Time) {
	f.LastVersion++
	m.ID, m.File, m.Version, m.CreatedAt = manifest.NewVersionID(), f.ID, f.LastVersion, now
	f.Current, f.UpdatedAt = m.ID, now
	f.Versions++
	f.TotalSize += m.Size
	f.TotalChunks += m.Chunks
}

// dropVersion takes m out of f's sums.
func dropVersion(f *manifest.File, m *manifest.Manifest) {
	f.Versions--
	f.TotalSize -= m.Size
	f.TotalChunks -= m.Chunks
}

// chooseName gives a new file the name asked for or, if it is taken and the
// upload allows it, a free one.
func (u *upload) chooseName(ctx context.Context, tx manifest.Tx, f *manifest.File) error {
	name, err := freeName(ctx, tx, f.Bucket, f.Folder, f.Name)
	if err != nil {
		return err
	}
	if name != f.Name && u.opts.OnConflict != ConflictNew {
		return ErrExist
	}
	f.Name = name
	return nil
}

// recheckDigests is how many digests are looked up at a time.
const recheckDigests = 4096

// recheck looks all chunks and segments of the upload up again.
func (u *upload) recheck(ctx context.Context) error {
	n, err := u.b.s.meta.Removals(ctx, u.b.domain())
	if err != nil {
		return err
	}
	u.removals, u.taken = n, nil
	var ds []cas.Digest
	check := func() error {
		missing, err := u.b.chunks().Missing(ctx, ds)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%d chunks, %s among them: %w", len(missing), missing[0], ErrChunksGone)
		}
		ds = ds[:0]
		return err
	}
	checkFull := func() error {
		if len(ds) < recheckDigests {
			return nil
		}
		return check()
	}
	err = u.c.Walk(ctx, u.b.segments(), func(s manifest.Segment) error {
		ds = append(ds, s.Digest)
		return checkFull()
	}, func(refs []cas.Ref) error {
		for _, r := range refs {
			ds = append(ds, r.Digest)
		}
		return checkFull()
	})
	if err != nil {
		return err
	}
	return check()
}

// follow brings the content to where the bucket was moved meanwhile.
func (u *upload) follow(ctx context.Context) error {
	there := *u.b
	there.pin = ""
	to := there.pinned()
	c := u.b.copier(to)
	defer c.Close()
	if err := c.Content(ctx, u.c); err != nil {
		return err
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	u.b = to
	return u.recheck(ctx)
}

// copier copies from the bucket's domain to that of to.
func (b *Bucket) copier(to *Bucket) *manifest.Copier {
	return &manifest.Copier{From: b.chunks(), To: to.chunks(), Segments: b.segments(),
		Keep: b.s.meta.Segments(to.domain()), How: b.b.Compression}
}

// now is the time as rows keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
