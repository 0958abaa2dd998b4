package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

func newLs(t *target) *cobra.Command {
	l := &lister{target: t}
	var trash bool
	cmd := &cobra.Command{
		Use: "ls [flags] [BUCKET[/FOLDER]...]", Short: "List files", Args: wantArgs(cobra.ArbitraryArgs),
		SuggestFor: []string{"list", "dir"},
		Long: `List files: those of all buckets, of a bucket, or below a folder; of a path of a file
that one. Columns are size, time, version and path on a terminal. In a pipe they are ID,
time, size, version and path, and --json has all that is known of each file.`,
		Example: `  cairn ls
  cairn ls demo/photos
  cairn ls --order -size --type 'image/*' demo
  cairn ls --trash --json demo`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			if trash {
				l.opts.State = "trashed"
			}
			l.w = newTableWriter(cmd.OutOrStdout())
			l.beginFiles()
			return t.withFiles(cmd, func(ctx context.Context, fl *files) (err error) {
				l.files = fl
				l.qualified = len(args) != 1
				if len(args) == 0 {
					if args, err = bucketNames(ctx, fl); err != nil {
						return err
					}
				}
				err = t.eachArg(ctx, "ls", args, func(ref string) error { return l.list(ctx, ref) })
				return errors.Join(l.w.finish(), err)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&l.opts.Folders, "folders", false, "list folders in place of what lies in them")
	f.StringVar(&l.opts.Search, "search", "", "only files with this in their name, whatever the case")
	f.StringVar(&l.opts.MIMEType, "type", "", "only files of a media type: image/png, image/*")
	f.StringVar(&l.opts.Order, "order", "", "name, created, updated or size; -size is from the largest (by default name)")
	f.BoolVar(&trash, "trash", false, "list what is in the trash")
	return cmd
}

// A lister is a call of ls.
type lister struct {
	*target
	files     *files
	opts      client.PageOptions
	w         *tableWriter
	qualified bool // paths are shown with their bucket
}

// list lists what ref names. Nothing there is an error, unless it is empty.
func (l *lister) list(ctx context.Context, ref string) error {
	bucket, path, _ := strings.Cut(ref, "/")
	path = names.CanonicalPath(strings.Trim(path, "/"))
	if isID(path) {
		f, err := l.files.Stat(ctx, bucket, path, &client.GetOptions{Trashed: true})
		if err != nil {
			return err
		}
		return l.showFile(f)
	}
	opts := l.opts
	if path != "" {
		opts.Prefix = path + "/"
	}
	n := 0
	for p, err := range l.files.Pages(ctx, bucket, &opts) {
		if err != nil {
			return err
		}
		n += len(p.Folders) + len(p.Files)
		if err := l.showPage(bucket, p); err != nil {
			return err
		}
	}
	if n > 0 || path == "" {
		return nil
	}
	return l.listFile(ctx, bucket, path)
}

// listFile lists a path below which nothing was found: the file of that path, or
// nothing of a folder.
func (l *lister) listFile(ctx context.Context, bucket, path string) error {
	found, err := findByPath(ctx, l.files, bucket, path, l.opts.State == "trashed")
	if err == nil && l.opts.Search == "" && l.opts.MIMEType == "" {
		for _, f := range found {
			if err := l.showFile(f); err != nil {
				return err
			}
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if has, herr := hasFolder(ctx, l.files, bucket, path); herr != nil || has {
		return herr
	}
	return &refError{bucket + "/" + path, "no such file or folder", err}
}

// hasFolder reports whether there is a folder of that path, though it may only hold
// what is in the trash.
func hasFolder(ctx context.Context, fl *files, bucket, path string) (bool, error) {
	for _, state := range []string{"active", "trashed"} {
		for p, err := range fl.Pages(ctx, bucket, &client.PageOptions{ListOptions: client.ListOptions{Prefix: path + "/", State: state, Markers: true}, Limit: 1}) {
			if err != nil {
				if state == "trashed" && errors.Is(err, fs.ErrPermission) {
					return false, nil
				}
				return false, err
			}
			if len(p.Files) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

func (l *lister) showPage(bucket string, p *client.Page) error {
	for _, folder := range p.Folders {
		if l.json {
			v := map[string]string{"folder": folder}
			if l.qualified {
				v["bucket"] = bucket
			}
			if err := writeJSON(l.w.out, v, false); err != nil {
				return err
			}
			continue
		}
		if l.qualified {
			folder = bucket + "/" + folder
		}
		l.w.line("%s/", folder)
	}
	if len(p.Folders) > 0 {
		l.beginFiles()
	}
	for _, f := range p.Files {
		if err := l.showFile(f); err != nil {
			return err
		}
	}
	return l.w.err
}

// beginFiles begins the table of files: for people without IDs, which paths are as good as.
func (l *lister) beginFiles() {
	if l.w.wide > 0 {
		l.w.beginTable(column{right: true, keep: true}, column{}, column{}, column{})
	} else {
		l.w.beginTable(column{}, column{}, column{}, column{}, column{})
	}
}

func (l *lister) showFile(f *client.File) error {
	path := f.Path
	if l.qualified {
		path = f.Bucket + "/" + path
	}
	at, version := f.UpdatedAt.Local().Format(time.DateTime), textf("v%d", f.Version)
	switch {
	case l.json:
		return writeJSON(l.w.out, f, false)
	case l.w.wide > 0:
		l.w.row(bytesText(f.Size), at[:len("2006-01-02 15:04")], version, path)
	default:
		l.w.row(f.ID, at, bytesText(f.Size), version, path)
	}
	return l.w.err
}

func newVersions(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "versions BUCKET/ID", Short: "List the versions of a file, newest first", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn versions demo/report.pdf
  cairn versions --json demo/report.pdf`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := resolveRef(ctx, fl, args[0])
				if err != nil {
					return err
				}
				w := newTableWriter(cmd.OutOrStdout())
				w.beginTable(column{right: w.wide > 0, keep: true}, column{keep: true}, column{keep: true}, column{}, column{})
				for f, err := range fl.Versions(ctx, bucket, id) {
					if err != nil {
						return errors.Join(w.finish(), err)
					}
					if err := t.showVersion(w, f); err != nil {
						return err
					}
				}
				return w.finish()
			})
		},
	}
}

func (t *target) showVersion(w *tableWriter, f *client.File) error {
	at := f.CreatedAt.Local().Format(time.DateTime)
	switch {
	case t.json:
		return writeJSON(w.out, f, false)
	case w.wide > 0:
		w.row(f.Version, at, bytesText(f.Size), f.MIMEType, shortID(f.ManifestID))
	default:
		w.row(f.Version, f.ManifestID, at, bytesText(f.Size), f.MIMEType)
	}
	return w.err
}

func newStat(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "stat BUCKET/ID", Short: "Show what is known of a file or version", Args: wantArgs(cobra.ExactArgs(1)),
		SuggestFor: []string{"info", "show"},
		Long: `Show what is known of a file or version, as JSON. A path of which there is no file is
looked for in the trash.`,
		Example:           `  cairn stat demo/report.pdf`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := t.resolveAnywhere(ctx, fl, args[0])
				if err != nil {
					return err
				}
				f, err := fl.Stat(ctx, bucket, id, &client.GetOptions{Trashed: true})
				if err != nil {
					return err
				}
				return writeJSON(cmd.OutOrStdout(), f, !t.json)
			})
		},
	}
}

// withFiles runs fn with the target's files.
func (t *target) withFiles(cmd *cobra.Command, fn func(ctx context.Context, fl *files) error) error {
	fl, done, err := t.openFiles(cmd.Context())
	if err != nil {
		return err
	}
	return errors.Join(fn(cmd.Context(), fl), done())
}

// showValue writes a value: with --json as JSON on a line, else as text.
func (t *target) showValue(cmd *cobra.Command, v any, text string, args ...any) error {
	if t.json {
		return writeJSON(cmd.OutOrStdout(), v, false)
	}
	_, err := printf(cmd.OutOrStdout(), text, args...)
	return err
}
