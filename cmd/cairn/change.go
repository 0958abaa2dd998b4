package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newCp(t *target) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use: "cp [flags] BUCKET/ID BUCKET[/PATH]", Short: "Copy a file, moving no data", Args: wantArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.showFile(cmd, args[0], func(ctx context.Context, fl *files, bucket, id string) (*client.File, error) {
				return fl.Copy(ctx, bucket, id, copyTo(args[1], version))
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "number of the version to copy (default: the current one)")
	return cmd
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

func newRm(t *target) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use: "rm [flags] BUCKET/ID...", Short: "Move files to the trash, or remove a version (m_...)", Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				for _, ref := range args {
					bucket, id, err := resolveRef(ctx, fl, ref)
					if err != nil {
						return err
					}
					if purge {
						err = fl.Purge(ctx, bucket, id)
					} else {
						err = fl.Delete(ctx, bucket, id)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove for good, with all versions")
	return cmd
}

func newRestore(t *target) *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use: "restore [flags] BUCKET/ID", Short: "Take a file from the trash, or make an old version current", Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.showFile(cmd, args[0], func(ctx context.Context, fl *files, bucket, id string) (*client.File, error) {
				if version > 0 {
					return fl.RestoreVersion(ctx, bucket, id, version)
				}
				return fl.Undelete(ctx, bucket, id)
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "number of the version to make current")
	return cmd
}
