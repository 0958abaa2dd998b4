package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

func newLs(t *target) *cobra.Command {
	var trash bool
	opts := &client.PageOptions{}
	cmd := &cobra.Command{
		Use: "ls [flags] BUCKET[/FOLDER]", Short: "List files", Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := "demo"
			if len(args) > 0 {
				ref = args[0]
			}
			bucket, folder, _ := strings.Cut(ref, "/")
			if opts.Prefix = strings.Trim(folder, "/"); opts.Prefix != "" {
				opts.Prefix += "/"
			}
			if trash {
				opts.State = "trashed"
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				return t.showTable(cmd.OutOrStdout(), t.showFolders(cmd.OutOrStdout(), fl.Pages(ctx, bucket, opts)), false)
			})
		},
	}
	cmd.Flags().BoolVar(&opts.Folders, "folders", false, "list folders in place of what lies in them")
	cmd.Flags().StringVar(&opts.Search, "search", "", "only files with this in their name, whatever the case")
	cmd.Flags().StringVar(&opts.MIMEType, "type", "", "only files of a media type: image/png, image/*")
	cmd.Flags().StringVar(&opts.Order, "order", "", "name, created, updated or size; -size is from the largest (by default name)")
	cmd.Flags().BoolVar(&trash, "trash", false, "list what is in the trash")
	return cmd
}

func newVersions(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "versions BUCKET/ID", Short: "List the versions of a file, newest first", Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := resolveRef(ctx, fl, args[0])
				if err != nil {
					return err
				}
				return t.showTable(cmd.OutOrStdout(), fl.Versions(ctx, bucket, id), true)
			})
		},
	}
}

func newStat(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "stat BUCKET/ID", Short: "Show what is known of a file or version", Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.showFile(cmd, args[0], func(ctx context.Context, fl *files, bucket, id string) (*client.File, error) {
				return fl.Stat(ctx, bucket, id, &client.GetOptions{Trashed: true})
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
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), text, args...)
	return err
}

// showFile writes what fn returns about the file or version ref, as JSON: on one
// line with --json, else indented.
func (t *target) showFile(cmd *cobra.Command, ref string, fn func(ctx context.Context, fl *files, bucket, id string) (*client.File, error)) error {
	return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
		bucket, id, err := resolveRef(ctx, fl, ref)
		if err != nil {
			return err
		}
		f, err := fn(ctx, fl, bucket, id)
		if err != nil {
			return err
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		if !t.json {
			enc.SetIndent("", "  ")
		}
		return enc.Encode(f)
	})
}

// showFolders writes the folders of pages, and yields their files.
func (t *target) showFolders(w io.Writer, pages iter.Seq2[*client.Page, error]) iter.Seq2[*client.File, error] {
	return func(yield func(*client.File, error) bool) {
		for p, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, folder := range p.Folders {
				if t.json {
					err = json.NewEncoder(w).Encode(map[string]string{"folder": folder})
				} else {
					_, err = fmt.Fprintf(w, "%s/\n", folder)
				}
				if err != nil {
					yield(nil, err)
					return
				}
			}
			for _, f := range p.Files {
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

// showTable writes files as JSON objects, a line each, or as columns.
func (t *target) showTable(w io.Writer, seq iter.Seq2[*client.File, error], versions bool) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for f, err := range seq {
		if err != nil {
			return errors.Join(tw.Flush(), err)
		}
		switch {
		case t.json:
			err = json.NewEncoder(w).Encode(f)
		case versions:
			_, err = fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\n", f.Version, f.ManifestID, f.CreatedAt.Local().Format(time.DateTime), bytesText(f.Size), f.MIMEType)
		default:
			_, err = fmt.Fprintf(tw, "%s\t%s\t%s\tv%d\t%s\n", f.ID, f.UpdatedAt.Local().Format(time.DateTime), bytesText(f.Size), f.Version, names.Escape(f.Path))
		}
		if err != nil {
			return err
		}
	}
	return tw.Flush()
}
