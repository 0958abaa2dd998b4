package linear

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairn-store/cairn/buckets"
)

// A Bucket is a Store in this process: the bucket that it returns at the time of
// a call.
type Bucket func() *buckets.Bucket

var _ Store = Bucket(nil)

func asVersion(f *buckets.File, err error) (Version, error) {
	switch {
	case errors.Is(err, buckets.ErrPrecondition), errors.Is(err, buckets.ErrNotTrashed):
		return Version{}, ErrRefused
	case err != nil:
		return Version{}, err
	}
	return Version{ID: f.ID, Path: f.Path(), N: f.Version, Root: f.Checksums["root"]}, nil
}

func (b Bucket) Put(ctx context.Context, path, content, match string) (Version, error) {
	folder, name := SplitPath(path)
	return asVersion(b().Put(ctx, name, strings.NewReader(content), &buckets.PutOptions{Folder: folder, IfMatch: match}))
}

func (b Bucket) read(ctx context.Context, id string, opts *buckets.GetOptions) (Version, error) {
	o, err := b().Open(ctx, id, opts)
	if err != nil {
		return Version{}, err
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		return Version{}, fmt.Errorf("read: %v", err) // what is there can be read: this is not absence
	}
	v, err := asVersion(&o.File, nil)
	v.Content = string(p)
	return v, err
}

func (b Bucket) Get(ctx context.Context, path string) (Version, error) {
	return b.read(ctx, path, &buckets.GetOptions{ByPath: true})
}

func (b Bucket) Version(ctx context.Context, id string, n uint64) (Version, error) {
	return b.read(ctx, id, &buckets.GetOptions{Version: n})
}

func (b Bucket) List(ctx context.Context, folder string) (out []Version, err error) {
	for f, err := range b().List(ctx, &buckets.ListOptions{Folder: &folder}) {
		if err != nil {
			return nil, err
		}
		v, _ := asVersion(f, nil)
		out = append(out, v)
	}
	return out, nil
}

func (b Bucket) Copy(ctx context.Context, id string, n uint64, path string) (Version, error) {
	folder, name := SplitPath(path)
	to := b()
	return asVersion(to.Copy(ctx, id, to, &buckets.CopyOptions{Version: n, Folder: &folder, Name: name, OnConflict: buckets.ConflictVersion}))
}

func (b Bucket) Restore(ctx context.Context, id string, n uint64) (Version, error) {
	return asVersion(b().RestoreVersion(ctx, id, n))
}

func (b Bucket) Delete(ctx context.Context, id string) error {
	_, err := b().Delete(ctx, id, nil)
	return err
}

func (b Bucket) Undelete(ctx context.Context, id string) (Version, error) {
	return asVersion(b().Undelete(ctx, id))
}

func (b Bucket) Purge(ctx context.Context, id string) error {
	return b().Purge(ctx, id, nil)
}
