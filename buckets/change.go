package buckets

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// A rowChange says what is done to the rows of a file, and what must hold
// before.
type rowChange struct {
	// id is the file's, f_….
	id string
	op access.Op
	// ifMatch is the root that the current version must have, "" for any.
	ifMatch string
	// trashed lets the change find files in the trash.
	trashed bool
	// patch is set for updates without content, and restore, if not 0, to the
	// version that such an update makes current again.
	patch   *Patch
	restore uint64
}

// changeFile checks that the principal may make a change, and runs fn on the
// rows of the file and its current version in a transaction. What fn leaves in
// f is written. changeFile returns the file as it is then.
func (b *Bucket) changeFile(ctx context.Context, c rowChange, fn func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error) (*File, error) {
	var out *File
	err := b.changeRows(ctx, c, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error {
		before := f.Charged()
		if err := fn(tx, f, m); err != nil {
			return err
		}
		if grown := f.Charged() - before; grown > 0 {
			if err := b.b.Limits.checkQuota(ctx, tx, f.Bucket, f.Owner, grown); err != nil {
				return err
			}
		}
		if err := tx.PutFile(ctx, f); err != nil {
			return asExist(err)
		}
		cur, err := tx.Manifest(ctx, f.Current)
		if err == nil {
			out = b.describeFile(f, cur)
		}
		return err
	})
	return out, err
}

// changeRows checks that the principal may make a change, and runs fn on the
// rows of the file and its current version in a transaction.
func (b *Bucket) changeRows(ctx context.Context, c rowChange, fn func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error) error {
	fid, ok := manifest.ParseFileID(c.id)
	if !ok {
		return ErrNoFile
	}
	opts := &GetOptions{Trashed: c.trashed}
	f, m, err := b.findRows(ctx, c.id, opts)
	if err != nil {
		return err
	}
	req := &access.Request{Op: c.op, File: f, Version: m}
	if c.patch != nil {
		req.Access = c.patch.Access != nil
		if req.Upload, err = b.patchedUpload(ctx, c, f, m); err != nil {
			return err
		}
	}
	if err := b.check(ctx, req); err != nil {
		return err
	}
	err = b.updateAcknowledged(ctx, func(tx manifest.Tx) error {
		f, err := tx.File(ctx, fid)
		if err := b.checkVisible(f, err, opts); err != nil {
			return err
		}
		m, err := tx.Manifest(ctx, f.Current)
		if err != nil {
			return err
		}
		if err := checkMatch(c.ifMatch, m); err != nil {
			return err
		}
		return fn(tx, f, m)
	})
	return b.nameReferences(ctx, err)
}

// patchedUpload is a file as a patch would make it, as rules on uploads see it:
// a rule on names and folders holds for renames and moves too.
func (b *Bucket) patchedUpload(ctx context.Context, c rowChange, f *manifest.File, m *manifest.Manifest) (*rules.Upload, error) {
	if c.restore != 0 {
		old, err := b.s.meta.Version(ctx, f.ID, c.restore)
		if err == nil {
			m = old
		} else if !errors.Is(err, fs.ErrNotExist) { // the transaction refuses a missing version
			return nil, err
		}
	}
	up := &rules.Upload{Name: f.Name, Folder: f.Folder, Size: m.Size, MIMEType: m.MIMEType}
	// A name that is not allowed is refused by the transaction.
	if c.patch.Name != nil {
		up.Name, _ = names.Clean(*c.patch.Name)
	}
	if c.patch.Folder != nil {
		up.Folder, _ = names.CleanFolder(*c.patch.Folder)
	}
	up.Path = names.Join(up.Folder, up.Name)
	return up, nil
}

// asExist turns the conflict of two paths into ErrExist.
func asExist(err error) error {
	if errors.Is(err, manifest.ErrConflict) {
		return ErrExist
	}
	return err
}

// Update changes what is known about the file id (f_…), not its content.
func (b *Bucket) Update(ctx context.Context, id string, p *Patch) (*File, error) {
	return b.changeFile(ctx, rowChange{id: id, op: access.OpUpdate, ifMatch: p.IfMatch, patch: p}, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
		if p.Name != nil {
			if f.Name, err = names.Clean(*p.Name); err != nil {
				return err
			}
			if err := b.b.Limits.checkRow(f.Name, m); err != nil {
				return err
			}
		}
		if p.Folder != nil {
			if f.Folder, err = names.CleanFolder(*p.Folder); err != nil {
				return err
			}
		}
		if p.Tags != nil {
			if f.Tags = *p.Tags; len(f.Tags) == 0 {
				f.Tags = nil
			}
			if err := checkTags(f.Tags); err != nil {
				return err
			}
		}
		if p.CacheControl != nil {
			if f.CacheControl, err = cleanCacheControl(*p.CacheControl); err != nil {
				return err
			}
		}
		if p.Access != nil {
			if err := b.s.guard.CheckFileRules(b.b.name, &b.b.Access, *p.Access); err != nil {
				return err
			}
			if f.Access = *p.Access; len(f.Access) == 0 {
				f.Access = nil
			}
		}
		if p.Metadata != nil {
			if f.Metadata, err = mergeMetadata(f.Metadata, p.Metadata); err != nil {
				return err
			}
		}
		f.UpdatedAt = b.s.now()
		return nil
	})
}

// mergeMetadata applies a merge patch (RFC 7396).
func mergeMetadata(old []byte, patch map[string]any) ([]byte, error) {
	merged := mergePatch(decodeExact(old), patch)
	if len(merged) == 0 {
		return nil, nil
	}
	return encodeMetadata(merged)
}

func mergePatch(target, patch map[string]any) map[string]any {
	if target == nil {
		target = make(map[string]any)
	}
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(target, k)
		case isMap:
			t, _ := target[k].(map[string]any)
			target[k] = mergePatch(t, sub)
		default:
			target[k] = v
		}
	}
	return target
}

// Delete moves the file id (f_…) to the trash; its name is free again. Where
// the bucket has no trash it is gone for good, and its state Purged.
func (b *Bucket) Delete(ctx context.Context, id string, opts *DeleteOptions) (*File, error) {
	if b.b.Trash.Off {
		return b.purgeFile(ctx, rowChange{id: id, op: access.OpDelete, ifMatch: opts.ifMatch()})
	}
	return b.changeFile(ctx, rowChange{id: id, op: access.OpDelete, ifMatch: opts.ifMatch()}, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error {
		if err := b.checkLinks(ctx, tx, f, "", false); err != nil {
			return err
		}
		f.State = manifest.Trashed
		f.DeletedAt = b.s.now()
		f.UpdatedAt = f.DeletedAt
		return nil
	})
}

func (o *DeleteOptions) ifMatch() string {
	if o == nil {
		return ""
	}
	return o.IfMatch
}

// Undelete takes the file id (f_…) out of the trash, under a free name if its
// own has been taken since.
func (b *Bucket) Undelete(ctx context.Context, id string) (*File, error) {
	return b.changeFile(ctx, rowChange{id: id, op: access.OpTrash, trashed: true}, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
		if f.State != manifest.Trashed {
			return ErrNotTrashed
		}
		return b.s.revive(ctx, tx, f)
	})
}

// Purge removes the file id (f_…), trashed or not, and all its versions for
// good. Of a file of more than a thousand versions the oldest go first, in
// changes of their own: should Purge fail between them, the others are left.
func (b *Bucket) Purge(ctx context.Context, id string, opts *DeleteOptions) error {
	_, err := b.purgeFile(ctx, rowChange{id: id, op: access.OpDelete, ifMatch: opts.ifMatch(), trashed: true})
	return err
}

func (b *Bucket) purgeFile(ctx context.Context, c rowChange) (out *File, err error) {
	for above, more := uint64(0), true; more; {
		var last uint64
		var f0 *File // as it is before
		err := b.changeRows(ctx, c, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
			if err := b.checkLinks(ctx, tx, f, "", true); err != nil {
				return err
			}
			f0 = b.describeFile(f, m)
			last, more, err = b.purgeSome(ctx, tx, f, above)
			return err
		})
		if err != nil {
			return nil, err
		}
		above = last
		if out == nil {
			out = f0
			out.State = Purged
		}
	}
	return out, nil
}
