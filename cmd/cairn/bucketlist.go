package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

// A bucketInfo is what buckets tells of one, as JSON.
type bucketInfo struct {
	*client.Usage
	Backend      string               `json:"backend,omitempty"` // operators see it
	Capabilities *client.Capabilities `json:"capabilities"`
}

func newBuckets(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "buckets [BUCKET...]", Short: "List the buckets, what is in them and what they take", Args: wantArgs(cobra.ArbitraryArgs),
		SuggestFor: []string{"bucket"},
		Long: `List the buckets: how many files are in each, how many bytes, how many of both in the
trash, how large a file may be and of what types. On a server only operators see all of
them; others name those that they want to see.`,
		Example: `  cairn buckets
  cairn buckets --json demo`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				backends, err := backendsOf(ctx, fl)
				if len(args) == 0 && err == nil {
					args, err = bucketNames(ctx, fl)
				} else if errors.Is(err, fs.ErrPermission) && len(args) > 0 {
					err = nil
				}
				if err != nil {
					return err
				}
				w := newTableWriter(cmd.OutOrStdout())
				w.beginTable(column{keep: true}, column{right: true, keep: true}, column{right: true, keep: true}, column{right: true}, column{right: true}, column{}, column{})
				if !t.json {
					w.row("bucket", "files", "bytes", "in trash", "largest", "backend", "types")
				}
				err = t.eachArg(ctx, "buckets", args, func(name string) error { return t.showBucket(ctx, fl, w, name, backends[name]) })
				return errors.Join(w.finish(), err)
			})
		},
	}
}

// backendsOf returns the backends of buckets, for operators.
func backendsOf(ctx context.Context, fl *files) (map[string]string, error) {
	r, err := fl.ReportUsage(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, b := range r.Buckets {
		out[b.Bucket] = b.Backend
	}
	return out, nil
}

func (t *target) showBucket(ctx context.Context, fl *files, w *tableWriter, name, backend string) error {
	u, err := fl.Usage(ctx, name)
	if err != nil {
		return err
	}
	c, err := fl.Capabilities(ctx, name)
	if err != nil {
		return err
	}
	if t.json {
		return writeJSON(w.out, &bucketInfo{u, backend, c}, false)
	}
	largest, types := "any", "any"
	if c.MaxFileSize > 0 {
		largest = bytesText(c.MaxFileSize)
	}
	if len(c.AllowedTypes) > 0 {
		types = strings.Join(c.AllowedTypes, ", ")
	}
	w.row(u.Bucket, u.Files, bytesText(u.Bytes), bytesText(u.TrashedBytes), largest, backend, types)
	return w.err
}
