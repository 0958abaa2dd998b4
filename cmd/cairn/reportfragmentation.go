package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReportFragmentation(t *target) *cobra.Command {
	k := &reportKind[client.FragmentationReport]{
		use: "fragmentation", short: "Tell how scattered files lie in packs, and what reading them costs",
		example: `  cairn report fragmentation --top 5`,
		long: `Tell how scattered the current versions of files lie in packs: in how many ranges,
and how many requests to the backend, of how many bytes, reading each in order makes
if nothing is in a cache. Files in the trash are left out. It looks up each chunk of
each file, reads no content, and says how long that took.`,
		fetch: (*client.Client).ReportFragmentation, show: showFragmentation, draw: drawFragmentation,
	}
	return k.newCommand(t)
}

// perMiB is how many there are for each MiB.
func perMiB(n, size int64) float64 { return float64(n) / (float64(max(size, 1)) / (1 << 20)) }

func showFragmentation(w *tableWriter, r *client.FragmentationReport) {
	w.line("%d files, %s: %d ranges, %.2f per MiB", r.Files, bytesText(r.Bytes), r.Ranges, perMiB(r.Ranges, r.Bytes))
	w.line("to read each once takes %d requests of %s", r.Requests, bytesText(r.FetchBytes))
	if r.UnreadFiles > 0 {
		w.line("%d more files cannot be read, or were removed while this was made", r.UnreadFiles)
	}
	w.line("")
	w.row("files", "bytes", "ranges", "per MiB", "requests", "fetched", "bucket")
	for i := range r.Buckets {
		b := &r.Buckets[i]
		w.row(b.Files, bytesText(b.Bytes), b.Ranges, fmt.Sprintf("%.2f", perMiB(b.Ranges, b.Bytes)), b.Requests, bytesText(b.FetchBytes), b.Bucket)
	}
	w.line("")
	w.row("files", "bytes", "ranges per MiB")
	for i, c := range r.Classes {
		w.row(c.Files, bytesText(c.Bytes), classText(i, c.Most))
	}
	w.line("")
	w.row("per MiB", "ranges", "requests", "fetched", "size", "file")
	for i := range r.Worst {
		f := &r.Worst[i]
		w.row(fmt.Sprintf("%.2f", f.RangesPerMiB), f.Ranges, f.Requests, bytesText(f.FetchBytes), bytesText(f.Size), f.Bucket+"/"+f.Path)
	}
	w.line("made in %s", tookText(r.TookMS))
}

// classText names the i-th class.
func classText(i int, most int64) string {
	if i == 0 {
		return fmt.Sprintf("up to %d", most)
	}
	return fmt.Sprintf("over %d, up to %d", most/2, most)
}

func drawFragmentation(r *client.FragmentationReport) *chart.Figure {
	classes := &chart.Bars{Title: "Files by ranges per MiB", Unit: chart.Unit{Name: "files"}, Upright: true, LabelAxis: "ranges per MiB", Series: []chart.Series{{Name: "files"}}}
	inBytes := &chart.Bars{Title: "Bytes of those files", Unit: chart.Unit{Bytes: true}, Upright: true, LabelAxis: "ranges per MiB", Series: []chart.Series{{Name: "bytes"}}}
	for i, c := range r.Classes {
		classes.Add(classText(i, c.Most), float64(c.Files))
		inBytes.Add(classText(i, c.Most), float64(c.Bytes))
	}
	ranges := &chart.Bars{Title: "Buckets: ranges, and requests to read each file once, per MiB", Unit: chart.Unit{Name: "per MiB"}, Series: []chart.Series{{Name: "ranges"}, {Name: "requests"}}}
	fetched := &chart.Bars{Title: "Buckets: bytes of files, and bytes fetched to read each once", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "bytes"}, {Name: "fetched"}}}
	for i := range r.Buckets {
		b := &r.Buckets[i]
		ranges.Add(b.Bucket, perMiB(b.Ranges, b.Bytes), perMiB(b.Requests, b.Bytes))
		fetched.Add(b.Bucket, float64(b.Bytes), float64(b.FetchBytes))
	}
	worst := &chart.Bars{Title: "Files with the most ranges per MiB", Unit: chart.Unit{Name: "ranges per MiB"}, Series: []chart.Series{{Name: "ranges per MiB"}}}
	for i := range r.Worst[:min(len(r.Worst), mostDrawn)] {
		f := &r.Worst[i]
		worst.Add(f.Bucket+"/"+printable(f.Path), f.RangesPerMiB)
	}
	return &chart.Figure{Title: "Fragmentation", Panels: []chart.Panel{classes, inBytes, ranges, fetched, worst}}
}
