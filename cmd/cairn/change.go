package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/manifest"
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
	var permanent bool
	cmd := &cobra.Command{
		Use: "rm [flags] BUCKET/ID...", Short: "Move files to the trash, or remove them or a version (m_...) for good", Args: wantArgs(cobra.MinimumNArgs(1)),
		Long: `Move files to the trash, from which restore takes them back. With --permanent
they are removed for good with all their versions, also those that are in the
trash. A version (m_...) is always removed for good. Space comes back when it
is collected: cairn serve does that by itself, cairn gc at once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				for _, ref := range args {
					bucket, id, err := resolveRef(ctx, fl, ref)
					if err != nil {
						return err
					}
					if err := t.removeFile(ctx, cmd, fl, bucket, id, permanent); err != nil {
						return fmt.Errorf("%s: %w", ref, err)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&permanent, "permanent", false, "remove for good, with all versions, from the trash too")
	cmd.Flags().BoolVar(&permanent, "purge", false, "")
	cmd.Flags().Lookup("purge").Hidden = true // what it was called before
	return cmd
}

// removeFile removes a file or version. With --json it says what it removed.
func (t *target) removeFile(ctx context.Context, cmd *cobra.Command, fl *files, bucket, id string, permanent bool) error {
	_, isVersion := manifest.ParseVersionID(id)
	remove := fl.Delete
	if permanent && !isVersion {
		remove = fl.Purge
	}
	if err := remove(ctx, bucket, id); err != nil || !t.json {
		return err
	}
	return t.showValue(cmd, map[string]any{"bucket": bucket, "id": id, "permanent": permanent || isVersion}, "")
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
