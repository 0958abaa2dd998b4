package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

// files are the files of a target. Commands reach them through the client of
// the API, in a directory as on a server. Only content takes a shorter way
// where the store is in this process: nothing is listed, compressed and
// verified on its way to it.
type files struct {
	*client.Client
	store *buckets.Store // nil for a server
}

// openFiles returns the target's files, and a function that ends their use.
func (t *target) openFiles(ctx context.Context) (*files, func() error, error) {
	if t.server != "" {
		token := t.token
		if token == "" {
			token = os.Getenv("CAIRN_TOKEN")
		}
		c, err := client.New(t.server, &client.Options{Token: token})
		return &files{Client: c}, func() error { return nil }, err
	}
	s, err := t.openStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(t.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	srv := inProcess{api.New(s, &api.Options{Log: log})}
	c, err := client.New("http://127.0.0.1", &client.Options{HTTP: &http.Client{Transport: srv}, Patience: time.Nanosecond})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return &files{c, s}, func() error { return t.closeStore(ctx, s) }, nil
}

// closeStore closes the store after it has sent what its journals hold. What
// cannot be sent now stays for the next command or server.
func (t *target) closeStore(ctx context.Context, s *buckets.Store) error {
	if err := s.Send(ctx); err != nil {
		printf(t.stderr, "cairn: what was stored is on this machine and will be sent later: %v\n", err)
	}
	return s.Close()
}

// openStore opens the target's directory, for commands that need one.
func (t *target) openStore(ctx context.Context) (*buckets.Store, error) {
	if t.server != "" {
		return nil, usageError{errors.New("this command works on --data, not on --server")}
	}
	opts, err := t.storeOptions()
	if err != nil {
		return nil, err
	}
	opts.MustExist = !t.makes
	s, err := local.Open(ctx, t.data, opts)
	return s, t.explainNoStore(err)
}

// explainNoStore says what makes a store, if err is that there is none.
func (t *target) explainNoStore(err error) error {
	if errors.Is(err, local.ErrNoStore) {
		return noStoreError{t.data}
	}
	return err
}

// A noStoreError is local.ErrNoStore in words for who called a command.
type noStoreError struct{ dir string }

func (e noStoreError) Error() string {
	return fmt.Sprintf("no store at %s: correct --data; serve, put and import make one", e.dir)
}

func (e noStoreError) Is(target error) bool { return target == local.ErrNoStore }

// Put stores the content of r.
func (fl *files) Put(ctx context.Context, bucket, name string, r io.Reader, o *client.PutOptions) (*client.Stored, error) {
	if fl.store == nil {
		return fl.Client.Put(ctx, bucket, name, r, o)
	}
	b, err := fl.store.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	f, err := b.Put(ctx, name, &toldStream{r: r, tell: o.Progress}, &buckets.PutOptions{Folder: o.Folder, Size: o.Size, SizeKnown: o.SizeKnown,
		OnConflict: buckets.OnConflict(o.OnConflict), SkipUnchanged: o.SkipUnchanged, Digests: o.Digests, Metadata: o.Metadata})
	if err != nil {
		return nil, err
	}
	v := api.View(f, true)
	v.NewBytes, v.StoredBytes = &f.NewBytes, &f.StoredBytes
	return &client.Stored{File: v}, nil
}

// openContent opens the content of a file or version of the store.
func (fl *files) openContent(ctx context.Context, bucket, id string, o *client.GetOptions) (*buckets.Object, error) {
	b, err := fl.store.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &client.GetOptions{}
	}
	return b.Open(ctx, id, &buckets.GetOptions{Version: o.Version, Trashed: o.Trashed})
}

// Open returns the content of a file or version, and its length.
func (fl *files) Open(ctx context.Context, bucket, id string, o *client.GetOptions) (io.ReadCloser, int64, error) {
	if fl.store == nil {
		return fl.Client.Open(ctx, bucket, id, o)
	}
	c, err := fl.openContent(ctx, bucket, id, o)
	if err != nil {
		return nil, 0, err
	}
	return c, c.Size, nil
}

// Download writes the content of a file or version to dst. From a store in
// this process it copies everything: seeds would save nothing.
func (fl *files) Download(ctx context.Context, bucket, id string, dst client.Destination, o *client.DownloadOptions) (*client.Fetched, error) {
	if fl.store == nil {
		return fl.Client.Download(ctx, bucket, id, dst, o)
	}
	c, err := fl.openContent(ctx, bucket, id, &o.GetOptions)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := dst.Truncate(0); err != nil {
		return nil, err
	}
	n, err := io.Copy(&toldStream{w: io.NewOffsetWriter(dst, 0), p: client.Progress{Size: c.Size}, tell: o.Progress}, c)
	if err == nil { // dst may leave zeros out
		err = dst.Truncate(n)
	}
	return &client.Fetched{File: api.View(&c.File, true), ReceivedBytes: n}, err
}
