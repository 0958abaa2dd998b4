package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newCp(t *target) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use: "cp [flags] BUCKET/ID BUCKET[/PATH]", Short: "Copy a file, moving no data", Args: wantArgs(cobra.ExactArgs(2)),
		SuggestFor: []string{"copy"},
		Example: `  cairn cp demo/report.pdf demo/archive/2026.pdf
  cairn cp --version 1 demo/report.pdf demo/archive/`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := resolveRef(ctx, fl, args[0])
				if err != nil {
					return err
				}
				f, err := fl.Copy(ctx, bucket, id, copyTo(args[1], version))
				if err != nil {
					return err
				}
				return t.writeChanged(cmd.OutOrStdout(), f)
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "number of the version to copy (default: the current one)")
	return cmd
}

// writeChanged tells what a file is after a change.
func (t *target) writeChanged(w io.Writer, f *client.File) error {
	if t.json {
		return writeJSON(w, f, false)
	}
	_, err := printf(w, "%s/%s  %s  %s (version %d)\n", f.Bucket, f.ID, f.Path, bytesText(f.Size), f.Version)
	return err
}

// copyTo reads BUCKET, BUCKET/FOLDER/ or BUCKET/PATH.
func copyTo(ref string, version uint64) *client.CopyOptions {
	bucket, dst, ok := strings.Cut(ref, "/")
	opts := &client.CopyOptions{Version: version, Bucket: bucket}
	if ok && dst != "" {
		folder := ""
		if i := strings.LastIndexByte(dst, '/'); i >= 0 {
			folder, dst = dst[:i], dst[i+1:]
		}
		opts.Folder, opts.Name = &folder, dst
	}
	return opts
}

func newRestore(t *target) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use: "restore [flags] BUCKET/ID...", Short: "Take files from the trash, or make an old version current", Args: wantArgs(cobra.MinimumNArgs(1)),
		SuggestFor: []string{"undelete"},
		Long: `Take files from the trash. If several of one path are there, BUCKET/PATH is the one that
was deleted last, and the others are named; BUCKET/ID is any of them. With --version make
that version of a file its current one, as a new version.`,
		Example: `  cairn restore demo/report.pdf
  cairn restore --version 3 demo/report.pdf`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRefs(args); err != nil {
				return err
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				return t.eachArg(ctx, "restore", args, func(ref string) error {
					f, err := t.restoreFile(ctx, fl, ref, version)
					if err != nil {
						return err
					}
					return t.writeChanged(cmd.OutOrStdout(), f)
				})
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "number of the version to make current")
	return cmd
}

func (t *target) restoreFile(ctx context.Context, fl *files, ref string, version uint64) (*client.File, error) {
	if version > 0 {
		bucket, id, err := resolveRef(ctx, fl, ref)
		if err != nil {
			return nil, err
		}
		return fl.RestoreVersion(ctx, bucket, id, version)
	}
	bucket, id, err := t.resolveTrashed(ctx, fl, ref)
	if err != nil {
		return nil, err
	}
	return fl.Undelete(ctx, bucket, id)
}
