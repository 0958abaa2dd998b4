package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newGet(t *target) *cobra.Command {
	var out string
	var recursive bool
	var version uint64
	cmd := &cobra.Command{
		Use: "get [flags] BUCKET/ID", Short: "Read a file, or a tree with --recursive",
		Long: "Read a file by ID, manifest ID or path. With --recursive BUCKET[/FOLDER] read all files there into a directory.",
		Args: wants(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if recursive && out == "" {
				return usageError{errors.New("get --recursive needs -o DIR")}
			}
			fl, done, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			g := &getter{files: fl, bar: newBar(cmd.ErrOrStderr(), "read")}
			if recursive {
				err = g.tree(cmd.Context(), args[0], out)
			} else {
				err = g.one(cmd.Context(), args[0], version, out, cmd.OutOrStdout())
			}
			g.bar.stop()
			return errors.Join(err, done())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "file or directory to write (default: standard output)")
	f.BoolVarP(&recursive, "recursive", "r", false, "read a bucket or folder with all below it")
	f.Uint64Var(&version, "version", 0, "number of the version to read (default: the current one)")
	return cmd
}

type getter struct {
	files files
	bar   *bar
}

func (g *getter) one(ctx context.Context, ref string, version uint64, out string, stdout io.Writer) error {
	bucket, id, err := resolve(ctx, g.files, ref)
	if err != nil {
		return err
	}
	opts := &client.GetOptions{Version: version}
	if out == "" || out == "-" {
		return g.copy(ctx, bucket, id, opts, stdout)
	}
	dir, err := os.OpenRoot(filepath.Dir(out))
	if err != nil {
		return err
	}
	defer dir.Close()
	return g.write(ctx, bucket, id, opts, dir, filepath.Base(out))
}

// write makes a file that appears only when it is whole.
func (g *getter) write(ctx context.Context, bucket, id string, opts *client.GetOptions, dir *os.Root, name string) error {
	temp := path.Join(path.Dir(name), ".cairn-"+id)
	f, err := dir.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	err = errors.Join(g.copy(ctx, bucket, id, opts, f), f.Close())
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		dir.Remove(temp) // err is what the caller learns
	}
	return err
}

func (g *getter) copy(ctx context.Context, bucket, id string, opts *client.GetOptions, w io.Writer) error {
	r, size, err := g.files.Open(ctx, bucket, id, opts)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(g.bar.writer(w), r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("get %s/%s: %w", bucket, id, err)
	}
	return nil
}

// tree reads all files of a bucket or folder into dir.
func (g *getter) tree(ctx context.Context, ref, dir string) error {
	bucket, folder, _ := strings.Cut(ref, "/")
	prefix := strings.Trim(folder, "/")
	if prefix != "" {
		prefix += "/"
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	work, ctx := newPool(ctx, 8, 2) // each large one has its read-ahead
	n := 0
	for f, err := range g.files.List(ctx, bucket, &client.ListOptions{Prefix: prefix}) {
		if err != nil {
			return errors.Join(err, work.wait())
		}
		n++
		name := strings.TrimPrefix(f.Path, prefix)
		work.run(f.Size, func() error {
			if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
				return err
			}
			return g.write(ctx, bucket, f.ID, nil, root, name)
		})
	}
	if err := work.wait(); err != nil {
		return err
	}
	if n == 0 && folder != "" {
		return fmt.Errorf("%s: no files there", ref)
	}
	return nil
}
