package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReportDedup(t *target) *cobra.Command {
	k := &reportKind[client.DedupReport]{
		use: "dedup", short: "Compare what was stored with what it takes",
		example: `  cairn report dedup
  cairn report dedup --top 5 --plot dedup.svg`,
		long: `Compare what was stored with what it takes: what deduplication and what compression
save, by bucket, owner, type and folder; the chunks and contents that sharing saves
most by; how long chunks are; and how that has changed from day to day. It reads all
rows, chunk lists and the index, no content, and says how long that took.`,
		fetch: (*client.Client).ReportDedup, show: showDedup, draw: drawDedup,
	}
	return k.newCommand(t)
}

func showDedup(w *tableWriter, r *client.DedupReport) {
	w.line("logical     %s in %d files, %d versions, %d chunks", bytesText(r.LogicalBytes), r.Files, r.Versions, r.References)
	w.line("unique      %s in %d chunks: deduplication saves %s", bytesText(r.UniqueBytes), r.UniqueChunks, bytesText(r.SavedByDedup))
	w.line("compressed  %s: %s", bytesText(r.CompressedBytes), compressionText(r.SavedByCompression))
	w.line("stored      %s in %d packs, with %s of chunk lists, %s of records, %s that no version needs", bytesText(r.StoredBytes), r.Packs,
		bytesText(r.ListBytes), bytesText(r.RecordBytes), bytesText(r.OtherBytes))
	w.line("            and %s of metadata", bytesText(r.MetadataBytes))
	w.line("ratio       %.2f", r.DedupRatio)
	if r.UnreadSegments > 0 {
		w.line("%d parts of chunk lists cannot be read: what they refer to is not counted", r.UnreadSegments)
	}
	if r.MissingChunks > 0 {
		w.line("%d chunks are not stored, or were removed while this was made", r.MissingChunks)
	}
	showGroups(w, "bucket", &r.Buckets, printable)
	showGroups(w, "owner", &r.Owners, ownerText)
	showGroups(w, "type", &r.Types, printable)
	showGroups(w, "folder", &r.Folders, printable)
	if len(r.Chunks) > 0 {
		w.line("")
		w.row("saved", "times", "length", "shared chunk")
		for i := range r.Chunks {
			c := &r.Chunks[i]
			w.row(bytesText(c.SavedBytes), c.References, bytesText(c.Length), c.Digest[:16]+describeExamples(c.Examples))
		}
	}
	if len(r.Contents) > 0 {
		w.line("")
		w.row("saved", "times", "size", "same content")
		for i := range r.Contents {
			c := &r.Contents[i]
			w.row(bytesText(c.SavedBytes), c.Versions, bytesText(c.Size), strings.TrimSpace(describeExamples(c.Examples)))
		}
	}
	if len(r.ChunkSizes) > 0 {
		w.line("")
		w.row("chunks", "bytes", "length of chunks")
		for _, c := range r.ChunkSizes {
			w.row(c.Chunks, bytesText(c.Bytes), "from "+bytesText(c.From))
		}
	}
	showDays(w, r.Days)
	w.line("made in %s", tookText(r.TookMS))
}

// shownDays is how many days a table shows, the last ones.
const shownDays = 14

func showDays(w *tableWriter, days []client.DedupDay) {
	if len(days) == 0 {
		return
	}
	w.line("")
	w.row("logical", "unique", "stored", "freed", "day")
	for i := range days[max(len(days)-shownDays, 0):] {
		d := &days[max(len(days)-shownDays, 0)+i]
		w.row(bytesText(d.LogicalBytes), bytesText(d.UniqueBytes), bytesText(d.StoredBytes), bytesText(d.FreedBytes), d.Day)
	}
	if more := len(days) - shownDays; more > 0 {
		w.line("%d days before are told by --json and --plot", more)
	}
}

func showGroups(w *tableWriter, what string, l *client.GroupList, name func(string) string) {
	w.line("")
	w.row("logical", "unique", "its own", "compressed", "share", what)
	row := func(g *client.GroupSums, name string) {
		w.row(bytesText(g.LogicalBytes), bytesText(g.UniqueBytes), bytesText(g.ExclusiveBytes), bytesText(g.CompressedBytes), bytesText(g.ShareStored), name)
	}
	for i := range l.Groups {
		row(&l.Groups[i].GroupSums, name(l.Groups[i].Name))
	}
	if l.Others > 0 {
		row(&l.Rest, fmt.Sprintf("(%d more)", l.Others))
	}
}

func describeExamples(refs []client.FileRef) string {
	out := ""
	for _, f := range refs {
		out += "  " + f.Bucket + "/" + f.Path
	}
	return out
}

func drawDedup(r *client.DedupReport) *chart.Figure {
	inBytes := chart.Unit{Bytes: true}
	steps := &chart.Bars{Title: fmt.Sprintf("What was stored, and what it takes (ratio %.2f)", r.DedupRatio), Unit: inBytes, Series: []chart.Series{{Name: "bytes"}}}
	steps.Add("logical", float64(r.LogicalBytes))
	steps.Add("unique", float64(r.UniqueBytes))
	steps.Add("compressed", float64(r.CompressedBytes))
	steps.Add("stored, all packs", float64(r.StoredBytes))
	f := &chart.Figure{Title: "Deduplication", Panels: []chart.Panel{steps, drawGroups("Buckets", &r.Buckets, printable), drawGroups("Owners", &r.Owners, ownerText),
		drawGroups("Types", &r.Types, printable), drawGroups("Folders", &r.Folders, printable)}}
	sizes := &chart.Bars{Title: "Length of chunks", Unit: chart.Unit{Name: "chunks"}, Upright: true, LabelAxis: "at least, and less than twice", Series: []chart.Series{{Name: "chunks"}}}
	for _, c := range r.ChunkSizes {
		sizes.Add(bytesText(c.From), float64(c.Chunks))
	}
	days := &chart.Lines{Title: "Day by day", Unit: inBytes, Series: []chart.Series{{Name: "logical"}, {Name: "unique"}, {Name: "stored"}}}
	saved := &chart.Lines{Title: "Saved, day by day", Unit: inBytes, Series: []chart.Series{{Name: "logical less stored bytes"}}}
	for i := range r.Days {
		d := &r.Days[i]
		day, err := time.Parse(time.DateOnly, d.Day)
		if err != nil {
			continue // of a server that writes days otherwise
		}
		days.Add(day, float64(d.LogicalBytes), float64(d.UniqueBytes), float64(d.StoredBytes))
		saved.Add(day, float64(d.LogicalBytes-d.StoredBytes))
	}
	f.Panels = append(f.Panels, sizes, days, saved)
	return f
}

// mostDrawn is how many groups are drawn of a list.
const mostDrawn = 10

func drawGroups(title string, l *client.GroupList, name func(string) string) *chart.Bars {
	b := &chart.Bars{Title: title, Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "logical"}, {Name: "unique"}, {Name: "share of what packs take"}}}
	add := func(label string, g *client.GroupSums) {
		b.Add(label, float64(g.LogicalBytes), float64(g.UniqueBytes), float64(g.ShareStored))
	}
	n := min(len(l.Groups), mostDrawn)
	for i := range l.Groups[:n] {
		add(name(l.Groups[i].Name), &l.Groups[i].GroupSums)
	}
	if more := int64(len(l.Groups)-n) + l.Others; more > 0 {
		b.Title += fmt.Sprintf(" (the largest of %d)", int64(n)+more)
	}
	return b
}

// compressionText says what compression saves. Of content that does not compress the
// headers in packs take more.
func compressionText(saved int64) string {
	if saved < 0 {
		return fmt.Sprintf("compression saves less than headers take, by %s", bytesText(-saved))
	}
	return "compression saves " + bytesText(saved)
}
