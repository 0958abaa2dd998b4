package buckets

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// edit authorises req for the file id (f_…) and runs change on its row in a
// transaction, with the current version's row. What change leaves in f is
// written.
func (b *Bucket) edit(ctx context.Context, req *Request, id, ifMatch string, opts *GetOptions,
	change func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error) (*File, error) {
	var out *File
	err := b.row(ctx, req, id, ifMatch, opts, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error {
		if err := change(tx, f, m); err != nil {
			return err
		}
		if err := tx.PutFile(ctx, f); err != nil {
			return conflict(err)
		}
		cur, err := tx.Manifest(ctx, f.Current)
		if err == nil {
			out = b.file(f, cur)
		}
		return err
	})
	return out, err
}

// row authorises req for the file id (f_…) and runs fn on its rows in a
// transaction.
func (b *Bucket) row(ctx context.Context, req *Request, id, ifMatch string, opts *GetOptions,
	fn func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error) error {
	if opts == nil {
		opts = &GetOptions{}
	}
	fid, ok := manifest.ParseFileID(id)
	if !ok {
		return ErrNoFile
	}
	f, m, err := b.find(ctx, id, opts)
	if err != nil {
		return err
	}
	req.File = b.file(f, m)
	if req.patch != nil {
		after := *req.File
		if req.restore != 0 {
			switch old, err := b.s.meta.Version(ctx, fid, req.restore); {
			case err == nil:
				after.Size, after.MIMEType = old.Size, old.MIMEType
			case !errors.Is(err, fs.ErrNotExist): // else the transaction will see
				return err
			}
		}
		req.Upload = req.patch.brings(&after)
	}
	if err := b.decide(ctx, req); err != nil {
		return err
	}
	return b.update(ctx, func(tx manifest.Tx) error {
		f, err := tx.File(ctx, fid)
		if err := b.visible(f, err, opts); err != nil {
			return err
		}
		m, err := tx.Manifest(ctx, f.Current)
		if err != nil {
			return err
		}
		if err := checkMatch(ifMatch, m); err != nil {
			return err
		}
		return fn(tx, f, m)
	})
}

// brings is a patched file as rules on uploads see it: a rule on names and
// folders holds for renames and moves too. What is no name will be refused.
func (p *Patch) brings(f *File) *rules.Upload {
	up := &rules.Upload{Name: f.Name, Folder: f.Folder, Size: f.Size, MIMEType: f.MIMEType}
	if p.Name != nil {
		up.Name, _ = names.Clean(*p.Name)
	}
	if p.Folder != nil {
		up.Folder, _ = names.CleanFolder(*p.Folder)
	}
	up.Path = names.Join(up.Folder, up.Name)
	return up
}

func conflict(err error) error {
	if errors.Is(err, manifest.ErrConflict) {
		return ErrExist
	}
	return err
}

// Update changes what is known about the file id (f_…), not its content.
func (b *Bucket) Update(ctx context.Context, id string, p *Patch) (*File, error) {
	return b.edit(ctx, &Request{Op: OpUpdate, Access: p.Access != nil, patch: p}, id, p.IfMatch, nil, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
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
		if p.Access != nil {
			if err := b.checkAccess(*p.Access); err != nil {
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
	merged := merge(decodeExact(old), patch)
	if len(merged) == 0 {
		return nil, nil
	}
	return encodeMetadata(merged)
}

func merge(target, patch map[string]any) map[string]any {
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
			target[k] = merge(t, sub)
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
		return b.purge(ctx, id, opts.ifMatch(), nil)
	}
	return b.edit(ctx, &Request{Op: OpDelete}, id, opts.ifMatch(), nil, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) error {
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
	opts := &GetOptions{Trashed: true}
	return b.edit(ctx, &Request{Op: OpDelete}, id, "", opts, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
		if f.State != manifest.Trashed {
			return ErrNotTrashed
		}
		if f.Name, err = freeName(ctx, tx, f.Bucket, f.Folder, f.Name); err != nil {
			return err
		}
		f.State, f.UpdatedAt = manifest.Active, b.s.now()
		f.DeletedAt = time.Time{}
		return nil
	})
}

// Purge removes the file id (f_…), trashed or not, and all its versions for
// good. Of a file of more than a thousand versions the oldest go first, in
// changes of their own: should Purge fail between them, the others are left.
func (b *Bucket) Purge(ctx context.Context, id string, opts *DeleteOptions) error {
	_, err := b.purge(ctx, id, opts.ifMatch(), &GetOptions{Trashed: true})
	return err
}

func (b *Bucket) purge(ctx context.Context, id, ifMatch string, opts *GetOptions) (out *File, err error) {
	for more := true; more; {
		var f0 *File // as it is before
		err := b.row(ctx, &Request{Op: OpDelete}, id, ifMatch, opts, func(tx manifest.Tx, f *manifest.File, m *manifest.Manifest) (err error) {
			f0 = b.file(f, m)
			more, err = b.purgeSome(ctx, tx, f)
			return err
		})
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = f0
			out.State = Purged
		}
	}
	return out, nil
}
