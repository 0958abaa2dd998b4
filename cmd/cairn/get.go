package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newGet(t *target) *cobra.Command {
	var out string
	var recursive bool
	var version uint64
	var seeds []string
	var outside bool
	cmd := &cobra.Command{
		Use: "get [flags] BUCKET/ID", Short: "Read a file, or a tree with --recursive",
		SuggestFor: []string{"download", "cat", "fetch", "pull"},
		Example: `  cairn get demo/report.pdf -o report.pdf
  cairn get demo/app.sql | psql app
  cairn get --recursive demo/photos -o photos
  cairn get --version 1 demo/disk.img -o old.img --seed disk.img`,
		Long: `Read a file by ID, manifest ID or path. With --recursive BUCKET[/FOLDER] read all files there into a directory.

A file appears under its name only when it is whole and verified. What a get that was interrupted has received lies beside it, in a file
that begins with .cairn-, and the next one goes on from there. From a server only what is missing travels: chunks that FILE held before, or that a
--seed holds, such as an older copy, are taken from there.`,
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case outside && !recursive:
				return usageError{errors.New("--outside-links goes with --recursive")}
			case recursive && out == "":
				return usageError{errors.New("get --recursive needs -o DIR")}
			case t.json && (out == "" || out == "-"):
				return usageError{errors.New("get --json needs -o: standard output takes the content")}
			case len(seeds) > 0 && (recursive || out == "" || out == "-"):
				return usageError{errors.New("--seed needs -o FILE, and goes with a single file")}
			}
			fl, done, err := t.openFiles(cmd.Context())
			if err != nil {
				return err
			}
			g := &getter{t: t, files: fl, out: cmd.OutOrStdout()}
			if toTerminal := out == "" || out == "-"; !toTerminal || columnsOf(g.out) == 0 {
				g.bar = newProgress(cmd.ErrOrStderr())
			}
			if recursive {
				err = g.getTree(cmd.Context(), args[0], out, outside)
			} else if err = g.openSeeds(seeds); err == nil {
				err = g.getFile(cmd.Context(), args[0], version, out)
			}
			g.bar.stop()
			return errors.Join(err, done())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "file or directory to write (default: standard output)")
	f.BoolVarP(&recursive, "recursive", "r", false, "read a bucket or folder with all below it")
	f.BoolVar(&outside, "outside-links", false, "with --recursive: make symbolic links that lead out of DIR too")
	f.Uint64Var(&version, "version", 0, "number of the version to read (default: the current one)")
	f.StringArrayVar(&seeds, "seed", nil, "local file that may hold parts of the content (can be repeated)")
	return cmd
}

// A getter reads files. Several goroutines use it.
type getter struct {
	t     *target
	files *files
	seeds []client.Seed
	bar   *progress

	mu     sync.Mutex // guards the fields below
	out    io.Writer
	failed bool
}

// openSeeds opens the seeds. They stay open until the process ends.
func (g *getter) openSeeds(names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return errors.Join(fmt.Errorf("--seed %s: want a file", name), err)
		}
		g.seeds = append(g.seeds, f)
	}
	return nil
}

func (g *getter) getFile(ctx context.Context, ref string, version uint64, out string) error {
	bucket, id, err := resolveRef(ctx, g.files, ref)
	if err != nil {
		return err
	}
	opts := &client.GetOptions{Version: version}
	if out == "" || out == "-" {
		return g.copyContent(ctx, bucket, id, opts, writeUntil(ctx, rawWriter(g.out)), g.bar.begin(ref, -1))
	}
	if info, err := os.Stat(out); err == nil && !info.Mode().IsRegular() {
		f, err := openUntil(ctx, out, os.O_WRONLY)
		if err != nil {
			return err
		}
		if err := errors.Join(g.copyContent(ctx, bucket, id, opts, writeUntil(ctx, f), g.bar.begin(ref, -1)), f.Close()); err != nil || !g.t.json {
			return err
		}
		got, err := g.files.Stat(ctx, bucket, id, opts)
		if err != nil {
			return err
		}
		return g.showFetched(&client.Fetched{File: got, ReceivedBytes: got.Size}, out)
	}
	f, err := g.files.Stat(ctx, bucket, id, opts)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(out))
	if err != nil {
		return err
	}
	defer dir.Close()
	part, err := newPart(dir, filepath.Base(out), f)
	if err != nil {
		return err
	}
	found, err := findParts(dir, ".")
	if err != nil {
		return err
	}
	left := part.leftovers(found)
	g.bar.expect(1, f.Size)
	g.bar.expectNoMore()
	got, err := g.writeFile(ctx, f, f.ManifestID, part, left, attributes{})
	if err != nil {
		return err
	}
	part.removeLeftovers(left)
	return g.showFetched(got, out)
}

func (g *getter) showFetched(got *client.Fetched, out string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.t.json {
		return writeJSON(g.out, struct {
			*client.Fetched
			Output string `json:"output"`
		}{got, out}, false)
	}
	if got.ReusedBytes == 0 {
		return nil
	}
	_, err := printf(g.out, "%s/%s  %s  %s (version %d, %s received)\n", got.Bucket, got.ID, out, bytesText(got.Size), got.Version, bytesText(got.ReceivedBytes))
	return err
}

// writeFile makes a file that appears under its name only when it is complete.
// The file of that name, and the files seeds beside it, may hold parts of the
// content.
func (g *getter) writeFile(ctx context.Context, f *client.File, id string, p *part, seeds []string, kept attributes) (got *client.Fetched, err error) {
	err = p.write(func(out *os.File) (err error) {
		sparse, err := newSparseFile(out)
		if err == nil {
			got, err = g.fetchContent(ctx, f, id, p, sparse, append(seeds, p.name))
		}
		return err
	}, kept)
	return got, err
}

// fetchContent writes the content of f to out. For a small file it does not
// look for parts on this machine.
func (g *getter) fetchContent(ctx context.Context, f *client.File, id string, p *part, out *sparseFile, seeds []string) (*client.Fetched, error) {
	at := g.bar.begin(f.Path, f.Size)
	defer at.end()
	opts := &client.DownloadOptions{Progress: at.follow()}
	if f.Size < large && len(g.seeds) == 0 {
		if err := out.Truncate(0); err != nil {
			return nil, err
		}
		err := g.copyContent(ctx, f.Bucket, id, nil, out, at)
		if err == nil { // it may end with a hole
			err = out.Truncate(f.Size)
		}
		return &client.Fetched{File: f, ReceivedBytes: f.Size}, err
	}
	opts.Seeds = append(opts.Seeds, g.seeds...)
	for _, name := range seeds {
		s, err := openRegular(p.dir, name, os.O_RDONLY)
		if err != nil {
			continue // seeds are optional
		}
		defer s.Close()
		opts.Seeds = append(opts.Seeds, s)
	}
	return g.files.Download(ctx, f.Bucket, id, out, opts)
}

func (g *getter) copyContent(ctx context.Context, bucket, id string, opts *client.GetOptions, w io.Writer, at *fileProgress) error {
	defer at.end()
	r, size, err := g.files.Open(ctx, bucket, id, opts)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(&toldStream{w: w, tell: at.follow()}, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("get %s/%s: %w", bucket, id, err)
	}
	return nil
}
