package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newMigrate(t *target) *cobra.Command {
	var bucket, to string
	cmd := &cobra.Command{
		Use: "migrate --bucket BUCKET --to BACKEND", Short: "Move a bucket to another backend, while it is in use", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn migrate --bucket docs --to far --server https://files.example.com`,
		Long: `Move a bucket to another backend: copy what that has not, follow what is
changed meanwhile, and switch. With --server the bucket stays in use; without,
--data must not be served. What is interrupted leaves the bucket where it was,
and goes on when it is given again. Then name the new backend in the schema.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bucket == "" || to == "" {
				return usageError{errors.New("migrate: want --bucket and --to")}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				u, err := fl.Usage(ctx, bucket) // for percent and time left; what comes meanwhile is not in it
				if err != nil {
					return err
				}
				bar := newProgress(cmd.ErrOrStderr())
				at := bar.begin(bucket+" to "+to, u.Bytes+u.TrashedBytes)
				bar.expectNoMore()
				m, err := fl.Migrate(ctx, bucket, to, func(m *client.Migrated) { at.set(m.Bytes) })
				bar.stop()
				if err != nil {
					return err
				}
				return t.showMigrated(cmd, bucket, to, m)
			})
		},
	}
	cmd.Flags().StringVar(&bucket, "bucket", "", "the bucket to move")
	cmd.Flags().StringVar(&to, "to", "", "the backend to move it to, a name under storage.backends in --config")
	return cmd
}

func (t *target) showMigrated(cmd *cobra.Command, bucket, to string, m *client.Migrated) error {
	if m.From == to {
		return t.showValue(cmd, m, "%s is in %s\n", bucket, to)
	}
	return t.showValue(cmd, m, "%s: %d files, %d versions, %s moved from %s to %s; %s copied\nsay backend: %s of bucket %s in the schema\n",
		bucket, m.Files, m.Versions, bytesText(m.Bytes), m.From, to, bytesText(m.CopiedBytes), to, bucket)
}
