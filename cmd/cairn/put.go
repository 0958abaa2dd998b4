package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
		Long: "Store files. A directory is stored with all below it; '-' is standard input and needs --name.\nA name that is there becomes a new version, or nothing when the content is the same.\n\nTo a server only those chunks of a file above 1 MiB travel that it does not have from this user. A put that was interrupted is\ngone on with by the next one of the same file; while the server is away, put tries again for two minutes.",
		Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done func() error
			var err error
			t.makes = true
			if p.files, done, err = t.openFiles(cmd.Context()); err != nil {
				return err
			}
			p.in, p.out, p.errOut = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			p.bar = newProgress(cmd.ErrOrStderr())
			err = p.putAll(cmd.Context(), args)
			p.bar.stop()
			return errors.Join(err, done())
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

// A source is a file to store.
type source struct {
	path   string // "-" is standard input
	folder string
	name   string
	size   int64
}

func (p *putter) putAll(ctx context.Context, args []string) error {
	// One large file at a time: it keeps all cores busy, and can share chunks
	// with the one before it.
	work, wctx := newPool(ctx, max(1, p.workers), 1)
	err := p.eachSource(args, func(s source) error {
		if wctx.Err() != nil {
			return wctx.Err()
		}
		size := s.size
		if s.path == "-" { // of unknown size, which keeps total and percent away
			size = large
		} else {
			p.bar.expect(1, s.size)
		}
		work.run(size, func() error { return p.putFile(wctx, s) })
		return nil
	})
	p.bar.expectNoMore()
	if err := errors.Join(work.wait(), err); err != nil {
		return err
	}
	if p.failed {
		return errReported
	}
	return nil
}

// eachSource calls fn with the files that args name.
func (p *putter) eachSource(args []string, fn func(source) error) error {
	if p.name != "" && len(args) > 1 {
		return usageError{errors.New("--name goes with a single file")}
	}
	for _, arg := range args {
		if arg == "-" {
			if p.name == "" {
				return usageError{errors.New("put - needs --name")}
			}
			if err := fn(source{path: "-", folder: p.folder, name: p.name}); err != nil {
				return err
			}
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			p.reportFailure(arg, err)
			continue
		}
		if info.IsDir() {
			err = p.walkTree(arg, fn)
		} else {
			s := source{path: arg, folder: p.folder, name: p.name, size: info.Size()}
			if s.name == "" {
				s.name = filepath.Base(arg)
			}
			err = fn(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walkTree calls fn with the regular files below dir.
func (p *putter) walkTree(dir string, fn func(source) error) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			p.reportFailure(name, err)
			return nil
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			p.reportNote(name + ": not a regular file, left out")
			return nil
		}
		info, err := d.Info()
		if err != nil {
			p.reportFailure(name, err)
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		below := path.Join(p.folder, filepath.ToSlash(filepath.Dir(rel)))
		if below == "." {
			below = ""
		}
		return fn(source{path: name, folder: below, name: filepath.Base(rel), size: info.Size()})
	})
}

// putFile stores one file. It prints and notes a failure of this file. It
// returns only errors that stop the whole command.
func (p *putter) putFile(ctx context.Context, s source) error {
	size := s.size
	if s.path == "-" {
		size = -1
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
	in := p.in
	if s.path != "-" {
		f, err := os.Open(s.path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
		if s.size >= large {
			// Only the bytes that it had at first, in case it grows meanwhile.
			in, opts.Size, opts.SizeKnown = io.NewSectionReader(f, 0, s.size), s.size, true
		}
	}
	return p.files.Put(ctx, p.bucket, s.name, in, opts)
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
