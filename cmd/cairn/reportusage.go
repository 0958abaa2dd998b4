package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReportUsage(t *target) *cobra.Command {
	k := &reportKind[client.UsageReport]{
		use: "usage [BUCKET]", short: "Sum up what is stored, before deduplication and compression, and what it takes",
		example: `  cairn report usage
  cairn report usage demo`,
		long: `Sum up what is stored: files, versions, trash, unfinished uploads and metadata, of
each bucket and owner, and what packs take in each backend. The sums are kept
current, so this takes no time. With BUCKET it is that bucket alone, as its users
see it too.`,
		args:  cobra.MaximumNArgs(1),
		fetch: (*client.Client).ReportUsage, show: showUsage, draw: drawUsage,
	}
	cmd := k.newCommand(t)
	whole := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return whole(cmd, args)
		}
		if cmd.Flags().Changed("plot") || cmd.Flags().Changed("top") {
			return usageError{fmt.Errorf("report usage: --plot and --top are for the whole store, without %s", args[0])}
		}
		return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
			u, err := fl.Usage(ctx, args[0])
			if err != nil {
				return err
			}
			if t.json {
				return t.showValue(cmd, u, "")
			}
			w := newTableWriter(cmd.OutOrStdout())
			w.line("%s: %d files, %d versions, %s; in the trash %d files, %s", u.Bucket, u.Files, u.Versions, bytesText(u.Bytes), u.TrashedFiles, bytesText(u.TrashedBytes))
			return w.finish()
		})
	}
	return cmd
}

func showUsage(w *tableWriter, r *client.UsageReport) {
	w.line("%d files, %d versions, %s; in the trash %d files, %s", r.Files, r.Versions, bytesText(r.Bytes), r.TrashedFiles, bytesText(r.TrashedBytes))
	w.line("%s in unfinished uploads, %s of ended ones to be collected", bytesText(r.UnfinishedBytes), bytesText(r.LeftoverBytes))
	w.line("%s in %d packs, %s of metadata", bytesText(r.StoredBytes), r.Packs, bytesText(r.MetadataBytes))
	w.line("")
	w.row("files", "versions", "bytes", "in trash", "metadata", "unfinished", "bucket")
	for i := range r.Buckets {
		b := &r.Buckets[i]
		name := b.Bucket
		if b.Backend == "" {
			name += " (no longer declared)"
		}
		w.row(b.Files+b.TrashedFiles, b.Versions+b.TrashedVersions, bytesText(b.Bytes), bytesText(b.TrashedBytes), bytesText(b.DescribedBytes), bytesText(b.UnfinishedBytes), name)
	}
	w.line("")
	w.row("files", "versions", "bytes", "in trash", "bucket and owner")
	for i := range r.Owners {
		o := &r.Owners[i]
		w.row(o.Files+o.TrashedFiles, o.Versions+o.TrashedVersions, bytesText(o.Bytes), bytesText(o.TrashedBytes), o.Bucket+" "+ownerText(o.Owner))
	}
	if o := &r.Others; r.OtherOwners > 0 {
		w.row(o.Files+o.TrashedFiles, o.Versions+o.TrashedVersions, bytesText(o.Bytes), bytesText(o.TrashedBytes), fmt.Sprintf("(%d more)", r.OtherOwners))
	}
	w.line("")
	w.row("packs", "stored", "live", "records", "dead", "backend")
	for i := range r.Backends {
		b := &r.Backends[i]
		w.row(b.Packs, bytesText(b.StoredBytes), bytesText(b.LiveBytes), bytesText(b.RecordBytes), bytesText(b.DeadBytes), b.Backend)
	}
}

func ownerText(owner string) string {
	if owner == "" {
		return "(nobody)"
	}
	return printable(owner)
}

func drawUsage(r *client.UsageReport) *chart.Figure {
	byBucket := &chart.Bars{Title: "Buckets: bytes of all versions", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "files"}, {Name: "trash"}, {Name: "unfinished uploads"}}}
	for i := range r.Buckets {
		b := &r.Buckets[i]
		byBucket.Add(b.Bucket, float64(b.Bytes), float64(b.TrashedBytes), float64(b.UnfinishedBytes))
	}
	byOwner := &chart.Bars{Title: "Owners: bytes of all versions", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "files"}, {Name: "trash"}}}
	for i := range r.Owners {
		o := &r.Owners[i]
		byOwner.Add(o.Bucket+" "+ownerText(o.Owner), float64(o.Bytes), float64(o.TrashedBytes))
	}
	if r.OtherOwners > 0 {
		byOwner.Add(fmt.Sprintf("(%d more)", r.OtherOwners), float64(r.Others.Bytes), float64(r.Others.TrashedBytes))
	}
	byBackend := &chart.Bars{Title: "Backends: stored bytes", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "live"}, {Name: "records"}, {Name: "dead"}}}
	for i := range r.Backends {
		b := &r.Backends[i]
		byBackend.Add(b.Backend, float64(b.LiveBytes), float64(b.RecordBytes), float64(b.DeadBytes))
	}
	return &chart.Figure{Title: "Usage", Panels: []chart.Panel{byBucket, byOwner, byBackend}}
}
