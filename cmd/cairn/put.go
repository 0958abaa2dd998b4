package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

// A putter stores files. Several goroutines use it.
type putter struct {
	t       *target
	files   *files
	in      io.Reader
	bucket  string
	folder  string
	name    string
	digests string
	workers int

	mu     sync.Mutex // guards the fields below
	out    io.Writer
	errOut io.Writer
	failed bool
	bar    *progress
}

func newPut(t *target) *cobra.Command {
	p := &putter{t: t}
	cmd := &cobra.Command{
		Use: "put [flags] PATH...", Short: "Store files, trees, or standard input (-)",
		SuggestFor: []string{"upload", "add", "store", "push"},
		Example: `  cairn put report.pdf photos/
  cairn put --bucket docs --folder 2026 report.pdf
  pg_dump app | cairn put --name app.sql -
  cairn put --server https://files.example.com disk.img`,
		Long: "Store files. A directory is stored with all below it; '-' is standard input and needs --name.\nA name that is there becomes a new version, or nothing when the content is the same.\n\nTo a server only those chunks of a file above 1 MiB travel that it does not have from this user. A put that was interrupted is\ngone on with by the next one of the same file; while the server is away, put tries again for two minutes.",
		Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.in, p.out, p.errOut = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return p.putAll(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.bucket, "bucket", "demo", "bucket to store in")
	f.StringVar(&p.folder, "folder", "", "folder to store under")
	f.StringVar(&p.name, "name", "", "name to store a single file under")
	f.StringVar(&p.digests, "digests", "", "whole-file digests to compute, such as sha256,md5, or none (default: the bucket's)")
	f.IntVar(&p.workers, "workers", 32, "small files to store at a time")
	return cmd
}

var (
	errOwnStore = errors.New("it is in the directory of a store, which cannot store itself")
	errPart     = errors.New("it is named as what a get that was interrupted has left; rename it to store it")
)

// putAll stores what args name. What is wrong with them, and what collides, is
// found before the store is opened, and with it before anything is sent.
func (p *putter) putAll(ctx context.Context, args []string) error {
	own, err := p.t.findOwnDirs()
	if err != nil {
		return err
	}
	w, err := p.readArguments(args, own)
	if err != nil {
		return err
	}
	w.ctx = ctx
	if len(w.files)+len(w.dirs) == 0 {
		return errReported
	}
	if err := p.refuseCollisions(w); err != nil {
		return err
	}
	var done func() error
	p.t.makes = true
	if p.files, done, err = p.t.openFiles(ctx); err != nil {
		return err
	}
	if w.own, err = p.t.findOwnDirs(); err == nil { // with that which was made just now
		p.bar = newProgress(p.errOut)
		err = p.putFound(ctx, w)
		p.bar.stop()
	}
	if err := errors.Join(err, done()); err != nil {
		return err
	}
	if p.failed {
		return errReported
	}
	return nil
}

// refuseCollisions fails, and names them all, if files would be stored under one
// path: which of them became a version of which would be chance.
func (p *putter) refuseCollisions(w *treeWalk) error {
	n, look := 0, *w
	look.found = func(source) error { return nil }
	look.leave, look.fail = func(string, string) {}, func(string, error) {} // told when they are walked to be stored
	look.collide = func(target string, paths []string) {
		n++
		p.reportNote(fmt.Sprintf("put: %s would be stored %d times: from %s", target, len(paths), strings.Join(paths, ", ")))
	}
	if err := look.run(); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("put: %d paths are those of several files (names that differ in their Unicode form alone are equal); "+
			"nothing was stored. Rename some, or put them one after the other with another --folder", n)
	}
	return nil
}

// putFound stores what w finds.
func (p *putter) putFound(ctx context.Context, w *treeWalk) error {
	// One large file at a time: it keeps all cores busy, and can share chunks
	// with the one before it.
	work, wctx := newPool(ctx, max(1, p.workers), 1)
	w.ctx = wctx
	w.leave = func(path, why string) { p.reportNote(path + ": " + why) }
	w.collide = func(target string, paths []string) {
		for _, path := range paths {
			p.reportFailure(path, fmt.Errorf("%s is the path of several files since put has begun", target))
		}
	}
	w.found = func(s source) error {
		if wctx.Err() != nil {
			return wctx.Err()
		}
		if s.kind == regularSource { // the size of others would keep total and percent away
			p.bar.expect(1, s.info.Size())
		}
		work.run(s.size(), func() error { return p.putFile(wctx, s) })
		return nil
	}
	err := w.run()
	p.bar.expectNoMore()
	return errors.Join(work.wait(), err)
}

// putFile stores one file. It prints and notes a failure of this file. It
// returns only errors that stop the whole command.
func (p *putter) putFile(ctx context.Context, s source) error {
	size := int64(-1)
	if s.kind == regularSource {
		size = s.info.Size()
	}
	at := p.bar.begin(s.path, size)
	f, err := p.uploadFile(ctx, s, at)
	at.end()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.reportFailure(s.path, err)
		return nil
	}
	return p.showStored(s, f)
}

func (p *putter) uploadFile(ctx context.Context, s source, at *fileProgress) (*client.Stored, error) {
	opts := &client.PutOptions{Progress: at.follow(), UploadOptions: client.UploadOptions{Folder: s.folder, OnConflict: "version", SkipUnchanged: true}}
	if p.digests != "" {
		opts.Digests = []string{}
		if p.digests != "none" {
			opts.Digests = strings.Split(p.digests, ",")
		}
	}
	in, err := p.openSource(ctx, &s, opts)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return p.files.Put(ctx, p.bucket, s.name, in, opts)
}

// openSource opens what s reads, and says in opts how long it is if that is known.
func (p *putter) openSource(ctx context.Context, s *source, opts *client.PutOptions) (io.ReadCloser, error) {
	if s.path == "-" {
		return io.NopCloser(readUntil(ctx, p.in)), nil
	}
	f, err := openUntil(ctx, s.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if s.kind == streamSource {
		return &openStream{readUntil(ctx, f), f}, nil
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it has become %s", describeMode(info.Mode()))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if s.info = info; s.size() < large {
		return f, nil
	}
	// Only the bytes that it had at first, in case it grows meanwhile.
	opts.Size, opts.SizeKnown = s.size(), true
	return &openSection{io.NewSectionReader(f, 0, s.size()), f}, nil
}

// An openStream is a stream and what closes it.
type openStream struct {
	io.Reader
	io.Closer
}

// An openSection is a part of a file, which can be read again.
type openSection struct {
	*io.SectionReader
	io.Closer
}

func (p *putter) showStored(s source, f *client.Stored) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sent *int64 // to a server
	if p.t.server != "" {
		sent = &f.SentBytes
	}
	if p.t.json {
		return writeJSON(p.out, struct {
			*client.File
			Unchanged bool   `json:"unchanged"`
			SentBytes *int64 `json:"sent_bytes,omitempty"`
			Source    string `json:"source"`
		}{f.File, f.Unchanged, sent, s.path}, false)
	}
	what := fmt.Sprintf("version %d", f.Version)
	if f.Unchanged {
		what += ", unchanged"
	} else if f.NewBytes != nil {
		what += fmt.Sprintf(", %s new, %s stored", bytesText(*f.NewBytes), bytesText(*f.StoredBytes))
	}
	if sent != nil {
		what += fmt.Sprintf(", sent %s of %s", bytesText(*sent), bytesText(f.Size))
	}
	_, err := printf(p.out, "%s/%s  %s  %s (%s)\n", f.Bucket, f.ID, f.Path, bytesText(f.Size), what)
	return err
}

func (p *putter) reportFailure(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	p.t.reportFailure("put", name, err)
}

func (p *putter) reportNote(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	printf(p.errOut, "cairn: %s\n", text)
}
