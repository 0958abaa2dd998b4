package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/local"
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
	exclude []string
	onTaken string // new, version, fail or skip
	dryRun  bool

	known struct { // what was found before the store is opened
		files, bytes int64
		partly       bool // there is more, of sizes that are not known
	}

	mu     sync.Mutex // guards the fields below
	out    io.Writer
	errOut io.Writer
	failed bool
	bar    *progress
	plain  bool // that folders are not kept was told
}

func newPut(t *target) *cobra.Command {
	p := &putter{t: t}
	cmd := &cobra.Command{
		Use: "put [flags] PATH...", Short: "Store files, trees, or standard input (-)",
		SuggestFor: []string{"upload", "add", "store", "push"},
		Example: `  cairn put report.pdf photos/
  cairn put --bucket docs --folder 2026 report.pdf
  pg_dump app | cairn put --name app.sql -
  cairn put --dry-run --exclude '*.tmp' --exclude build/ project/
  cairn put --server https://files.example.com disk.img`,
		Long: "Store files. A directory is stored with all below it, so that get --recursive gives it back; '-' is standard input\nand needs --name. A name that is there becomes a new version, or nothing when the content is the same.\n\nTo a server only those chunks of a file above 1 MiB travel that it does not have from this user. A put that was interrupted is\ngone on with by the next one of the same file; while the server is away, put tries again for two minutes.",
		Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(onTakenWords, p.onTaken) {
				return usageError{fmt.Errorf("--on-conflict %q: use %s", p.onTaken, strings.Join(onTakenWords, ", "))}
			}
			p.in, p.out, p.errOut = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return p.putAll(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.bucket, "bucket", "demo", "bucket to store in")
	f.StringVar(&p.folder, "folder", "", "folder to store under")
	f.StringVar(&p.name, "name", "", "name to store a single file under")
	f.StringVar(&p.digests, "digests", "", "whole-file digests to compute, such as sha256,md5, or none (default: the bucket's)")
	f.StringArrayVar(&p.exclude, "exclude", nil, "leave out what matches: *.tmp, build/, /docs/**/*.html (can be repeated)")
	f.StringVar(&p.onTaken, "on-conflict", "version", "what a name that is there does: version, new (another name), fail, or skip")
	f.BoolVar(&p.dryRun, "dry-run", false, "tell what would be stored, and store nothing")
	f.IntVar(&p.workers, "workers", 32, "small files to store at a time")
	return cmd
}

var (
	onTakenWords = []string{"version", "new", "fail", "skip"}

	errOwnStore = errors.New("it is in the directory of a store, which cannot store itself")
	errPart     = errors.New("it is named as what a get that was interrupted has left; rename it to store it")
	errMarker   = errors.New("its name is that of the markers of folders; rename it to store it")
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
		if w.omits && !p.failed {
			return nil
		}
		return errReported
	}
	if err := p.refuseCollisions(w); err != nil {
		return err
	}
	var done func() error
	p.t.makes = !p.dryRun
	p.files, done, err = p.t.openFiles(ctx)
	if p.dryRun && errors.Is(err, local.ErrNoStore) {
		p.files, done, err = nil, func() error { return nil }, nil // it would be made
	}
	if err != nil {
		return err
	}
	if w.own, err = p.t.findOwnDirs(); err == nil { // with that which was made just now
		p.bar = newProgress(p.errOut)
		p.bar.expect(p.known.files, p.known.bytes)
		if !p.known.partly {
			p.bar.expectNoMore()
		}
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
	look.found = func(s source) error {
		if size := s.size(); size >= 0 {
			p.known.files++
			p.known.bytes += size
		} else {
			p.known.partly = true
		}
		return nil
	}
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
		size := s.size()
		if size < 0 { // nobody knows
			size = large
		}
		work.run(size, func() error { return p.putFile(wctx, s) })
		return nil
	}
	err := w.run()
	return errors.Join(work.wait(), err)
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
