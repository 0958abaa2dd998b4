package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets"
)

func newReport(t *target) *cobra.Command {
	return newGroup("report", "Report what is stored and what it takes", "usage or dedup", &cobra.Command{
		Use: "dedup", Short: "Compare what was stored with what it takes", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.openStore(cmd.Context())
			if err != nil {
				return err
			}
			r, err := s.Dedup(cmd.Context())
			if err == nil {
				err = t.showDedup(cmd, r)
			}
			return errors.Join(err, s.Close())
		},
	}, newUsage(t))
}

func (t *target) showDedup(cmd *cobra.Command, r *buckets.DedupReport) error {
	return t.showValue(cmd, r, "logical  %s in %d files, %d versions, %d chunks\nunique   %s in %d chunks\nstored   %s in packs, %s of metadata\nratio    %.2f\n",
		bytesText(r.LogicalBytes), r.Files, r.Manifests, r.Chunks, bytesText(r.UniqueBytes), r.UniqueChunks,
		bytesText(r.StoredBytes), bytesText(r.IndexBytes), r.DedupRatio)
}

func newUsage(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "usage [BUCKET]", Short: "Sum a bucket up as its users see it", Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			bucket := "demo"
			if len(args) > 0 {
				bucket = args[0]
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				u, err := fl.Usage(ctx, bucket)
				if err != nil {
					return err
				}
				return t.showValue(cmd, u, "%s: %d files, %d versions, %s; in the trash %d files, %s\n",
					u.Bucket, u.Files, u.Versions, bytesText(u.Bytes), u.TrashedFiles, bytesText(u.TrashedBytes))
			})
		},
	}
}
