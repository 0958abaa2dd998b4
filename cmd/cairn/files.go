package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/manifest"
)

// files is what commands do with files, in a directory or on a server.
type files interface {
	Put(ctx context.Context, bucket, name string, r io.Reader, opts *client.PutOptions) (*client.Stored, error)
	Open(ctx context.Context, bucket, id string, opts *client.GetOptions) (io.ReadCloser, int64, error)
	Download(ctx context.Context, bucket, id string, dst client.Destination, opts *client.DownloadOptions) (*client.Fetched, error)
	Stat(ctx context.Context, bucket, id string, opts *client.GetOptions) (*client.File, error)
	List(ctx context.Context, bucket string, opts *client.ListOptions) iter.Seq2[*client.File, error]
	Versions(ctx context.Context, bucket, id string) iter.Seq2[*client.File, error]
	Copy(ctx context.Context, bucket, id string, opts *client.CopyOptions) (*client.File, error)
	Delete(ctx context.Context, bucket, id string) error
	Purge(ctx context.Context, bucket, id string) error
	Undelete(ctx context.Context, bucket, id string) (*client.File, error)
	RestoreVersion(ctx context.Context, bucket, id string, n uint64) (*client.File, error)
	Usage(ctx context.Context, bucket string) (*client.Usage, error)

	Explain(ctx context.Context, q *client.Question) (*client.Decision, error)
	NewKey(ctx context.Context, opts *client.KeyOptions) (*client.Key, error)
	Keys(ctx context.Context) ([]client.Key, error)
	DropKey(ctx context.Context, id string) error
	RotateSigningKey(ctx context.Context, dropOld bool) (string, error)
	Migrate(ctx context.Context, bucket, to string, progress func(*client.Migrated)) (*client.Migrated, error)
}

// openFiles returns the target's files and what to call when done.
func (t *target) openFiles(ctx context.Context) (files, func() error, error) {
	if t.server != "" {
		token := t.token
		if token == "" {
			token = os.Getenv("CAIRN_TOKEN")
		}
		c, err := client.New(t.server, &client.Options{Token: token})
		return c, func() error { return nil }, err
	}
	s, err := t.openStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	return directory{s}, func() error { return t.closeStore(ctx, s) }, nil
}

// closeStore closes the store, once what is to be sent behind has been sent. If it
// cannot be, it stays for the next command or server.
func (t *target) closeStore(ctx context.Context, s *buckets.Store) error {
	if err := s.Send(ctx); err != nil {
		fmt.Fprintf(t.stderr, "cairn: what was stored is on this machine and will be sent later: %v\n", err)
	}
	return s.Close()
}

// openStore opens the target's directory, for what only works there.
func (t *target) openStore(ctx context.Context) (*buckets.Store, error) {
	if t.server != "" {
		return nil, usageError{errors.New("this command works on --data, not on --server")}
	}
	opts, err := t.storeOptions()
	if err != nil {
		return nil, err
	}
	return local.Open(ctx, t.data, opts)
}

// directory is the files of a store on this machine.
type directory struct{ s *buckets.Store }

func view(f *buckets.File, err error) (*client.File, error) {
	if err != nil {
		return nil, err
	}
	return api.View(f, true), nil
}

func views(seq iter.Seq2[*buckets.File, error]) iter.Seq2[*client.File, error] {
	return func(yield func(*client.File, error) bool) {
		for f, err := range seq {
			if !yield(view(f, err)) {
				return
			}
		}
	}
}

func failed(err error) iter.Seq2[*client.File, error] {
	return func(yield func(*client.File, error) bool) { yield(nil, err) }
}

func (d directory) Put(ctx context.Context, bucket, name string, r io.Reader, o *client.PutOptions) (*client.Stored, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	f, err := b.Put(ctx, name, &toldReader{r, new(client.Progress), o.Progress}, &buckets.PutOptions{Folder: o.Folder, MIMEType: o.MIMEType, Size: o.Size, SizeKnown: o.SizeKnown,
		Metadata: o.Metadata, Tags: o.Tags, OnConflict: buckets.OnConflict(o.OnConflict), SkipUnchanged: o.SkipUnchanged,
		IfMatch: o.IfMatch, Digests: o.Digests})
	if err != nil {
		return nil, err
	}
	v := api.View(f, true)
	v.NewBytes, v.StoredBytes = &f.NewBytes, &f.StoredBytes
	return &client.Stored{File: v}, nil
}

func getOptions(o *client.GetOptions) *buckets.GetOptions {
	if o == nil {
		return nil
	}
	return &buckets.GetOptions{Version: o.Version, Trashed: o.Trashed}
}

func (d directory) Open(ctx context.Context, bucket, id string, o *client.GetOptions) (io.ReadCloser, int64, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, 0, err
	}
	c, err := b.Open(ctx, id, getOptions(o))
	if err != nil {
		return nil, 0, err
	}
	return c, c.Size, nil
}

// Download copies the content: nothing is gained by seeds on one machine.
func (d directory) Download(ctx context.Context, bucket, id string, dst client.Destination, o *client.DownloadOptions) (*client.Fetched, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	c, err := b.Open(ctx, id, getOptions(&o.GetOptions))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := dst.Truncate(0); err != nil {
		return nil, err
	}
	p := &client.Progress{Size: c.Size}
	n, err := io.Copy(&toldWriter{io.NewOffsetWriter(dst, 0), p, o.Progress}, c)
	return &client.Fetched{File: api.View(&c.File, true), ReceivedBytes: n}, err
}

func (d directory) Stat(ctx context.Context, bucket, id string, o *client.GetOptions) (*client.File, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	return view(b.Stat(ctx, id, getOptions(o)))
}

func (d directory) List(ctx context.Context, bucket string, o *client.ListOptions) iter.Seq2[*client.File, error] {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return failed(err)
	}
	if o == nil {
		o = &client.ListOptions{}
	}
	return views(b.List(ctx, &buckets.ListOptions{Prefix: o.Prefix, Folder: o.Folder, State: buckets.State(o.State)}))
}

func (d directory) Versions(ctx context.Context, bucket, id string) iter.Seq2[*client.File, error] {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return failed(err)
	}
	return views(b.Versions(ctx, id))
}

func (d directory) Copy(ctx context.Context, bucket, id string, o *client.CopyOptions) (*client.File, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	dst := b
	if o.Bucket != "" {
		if dst, err = d.s.Bucket(o.Bucket); err != nil {
			return nil, err
		}
	}
	return view(b.Copy(ctx, id, dst, &buckets.CopyOptions{Version: o.Version, Name: o.Name, Folder: o.Folder,
		OnConflict: buckets.OnConflict(o.OnConflict)}))
}

func (d directory) Delete(ctx context.Context, bucket, id string) error {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return err
	}
	if _, ok := manifest.ParseVersionID(id); ok {
		v, err := b.Stat(ctx, id, &buckets.GetOptions{Trashed: true})
		if err != nil {
			return err
		}
		return b.DeleteVersion(ctx, v.ID, v.Version)
	}
	_, err = b.Delete(ctx, id, nil)
	return err
}

func (d directory) Purge(ctx context.Context, bucket, id string) error {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return err
	}
	return b.Purge(ctx, id, nil)
}

func (d directory) Undelete(ctx context.Context, bucket, id string) (*client.File, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	return view(b.Undelete(ctx, id))
}

func (d directory) RestoreVersion(ctx context.Context, bucket, id string, n uint64) (*client.File, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	return view(b.RestoreVersion(ctx, id, n))
}

func (d directory) Usage(ctx context.Context, bucket string) (*client.Usage, error) {
	b, err := d.s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	u, err := b.Usage(ctx)
	return &client.Usage{Bucket: u.Bucket, Files: u.Files, Versions: u.Versions, Bytes: u.Bytes,
		TrashedFiles: u.TrashedFiles, TrashedBytes: u.TrashedBytes}, err
}

// resolveRef turns BUCKET/ID or BUCKET/PATH into a bucket and an ID.
func resolveRef(ctx context.Context, fl files, ref string) (bucket, id string, err error) {
	bucket, rest, ok := strings.Cut(ref, "/")
	if !ok || rest == "" {
		return "", "", usageError{fmt.Errorf("%q: want BUCKET/ID or BUCKET/PATH", ref)}
	}
	_, isFile := manifest.ParseFileID(rest)
	_, isVersion := manifest.ParseVersionID(rest)
	if isFile || isVersion {
		return bucket, rest, nil
	}
	for f, err := range fl.List(ctx, bucket, &client.ListOptions{Prefix: rest}) {
		if err != nil {
			return "", "", err
		}
		if f.Path == rest {
			return bucket, f.ID, nil
		}
	}
	return "", "", fmt.Errorf("%s: no such file: %w", ref, fs.ErrNotExist)
}
