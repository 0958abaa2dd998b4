package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReportGarbage(t *target) *cobra.Command {
	k := &reportKind[client.GarbageReport]{
		use: "gc", short: "Tell which removals freed bytes, what waits to be freed, and what unfinished uploads hold",
		example: `  cairn report gc
  cairn report gc --ledger`,
		long: `Tell where the bytes went that collections have freed: by day, by bucket, and by
the removal that let them go; what nothing needs any more and what it waits for;
and what unfinished uploads hold. What waits is found by a mark, which takes as
long as a collection that finds nothing to do. With --ledger it lists all that the
ledger has, the newest entry first, and nothing else.`,
		fetch: (*client.Client).ReportGarbage, show: showGarbage, draw: drawGarbage,
	}
	cmd := k.newCommand(t)
	whole, all := cmd.RunE, false
	cmd.Flags().BoolVar(&all, "ledger", false, "list all entries of the ledger instead")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !all {
			return whole(cmd, args)
		}
		if cmd.Flags().Changed("plot") || cmd.Flags().Changed("top") {
			return usageError{errors.New("report gc: --plot and --top are for the report, without --ledger")}
		}
		return t.withFiles(cmd, func(ctx context.Context, fl *files) error { return t.listLedger(ctx, cmd, fl) })
	}
	return cmd
}

// listLedger writes a line for each entry of the ledger.
func (t *target) listLedger(ctx context.Context, cmd *cobra.Command, fl *files) error {
	out := cmd.OutOrStdout()
	for f, err := range fl.Ledger(ctx) {
		if err == nil && t.json {
			err = writeJSON(out, f, false)
		} else if err == nil {
			_, err = printf(out, "%s\n", describeFreed(f))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// describeWaiting says for people what dead bytes wait for.
func describeWaiting(reason string) string {
	switch reason {
	case "collection":
		return "chunks: the next collection drops them"
	case "writer":
		return "chunks: an upload under way may use them"
	case "source":
		return "chunks: something needed is made from them"
	case "grave":
		return "lists of removed versions whose chunks wait"
	case "deletion":
		return "packs: the next collection deletes them"
	case "rewrite":
		return "packs: the next collection copies the rest of them"
	case "threshold":
		return "packs: little of them is dead; gc --full copies the rest"
	case "records":
		return "packs: they hold records that no checkpoint covers"
	case "appends":
		return "packs: they are still written to"
	case "gone":
		return "packs: they are being deleted"
	}
	return reason
}

const daysShown = 14 // in the table; --json and --plot have all

func showGarbage(w *tableWriter, r *client.GarbageReport) {
	since := ""
	if r.Since != nil {
		since = " since " + r.Since.Local().Format(time.DateTime)
	}
	w.line("freed: %s of removed files, %s that were nobody's; %s were needed and copied (%d entries%s)", bytesText(r.Freed.PurgedBytes),
		bytesText(r.Freed.NobodyBytes), bytesText(r.Freed.CopiedBytes), r.Entries, since)
	if len(r.Days) > 0 {
		w.line("")
		w.row("of files", "nobody's", "copied", "day (UTC)")
		for _, d := range r.Days[max(0, len(r.Days)-daysShown):] {
			w.row(bytesText(d.PurgedBytes), bytesText(d.NobodyBytes), bytesText(d.CopiedBytes), d.Day)
		}
	}
	if len(r.Buckets) > 0 {
		w.line("")
		w.row("freed", "waiting in packs", "of ended uploads", "unfinished", "bucket")
		for _, b := range r.Buckets {
			w.row(bytesText(b.FreedBytes), bytesText(b.WaitingBytes), bytesText(b.LeftoverBytes), bytesText(b.HeldBytes), b.Bucket)
		}
	}
	w.line("")
	w.row("waiting", "count", "what for")
	waits := false
	for _, s := range r.Waiting {
		if s.Count > 0 {
			waits = true
			w.row(bytesText(s.Bytes), s.Count, describeWaiting(s.Reason))
		}
	}
	if !waits {
		w.row(bytesText(0), 0, "nothing waits")
	}
	for i := range r.Backends {
		showBackendGarbage(w, &r.Backends[i])
	}
	if r.UploadCount > 0 {
		w.line("")
		w.line("%d unfinished uploads hold %s", r.UploadCount, bytesText(r.UploadBytes))
		w.row("held", "begun", "expires", "whose and what for")
		for i := range r.Uploads {
			u := &r.Uploads[i]
			w.row(bytesText(u.HeldBytes), u.CreatedAt.Local().Format(time.DateTime), u.ExpiresAt.Local().Format(time.DateTime), principalText(u.Principal)+": "+u.Bucket+"/"+u.Path)
		}
	}
	if len(r.Newest) > 0 {
		w.line("")
		w.line("the last entries of the ledger:")
		for i := range r.Newest {
			w.line("  %s", describeFreed(&r.Newest[i]))
		}
	}
}

func showBackendGarbage(w *tableWriter, b *client.BackendGarbage) {
	if len(b.Packs) > 0 {
		w.line("")
		w.row("dead", "of", "waits for", "pack of "+b.Backend)
		for _, p := range b.Packs {
			w.row(bytesText(p.DeadBytes), bytesText(p.Size), p.Reason, p.Pack)
		}
		if n := b.PackCount - int64(len(b.Packs)); n > 0 {
			w.line("and %d more", n)
		}
	}
	for _, f := range b.WaitsFor {
		w.line("%s: an upload since %s may use what was stored", b.Backend, f.Since.Local().Format(time.DateTime))
	}
}

// principalText names who has begun an upload.
func principalText(who string) string {
	if id, ok := strings.CutPrefix(who, "id "); ok {
		return printable(id)
	}
	if who == "" {
		return "(nobody)"
	}
	return printable(who)
}

func drawGarbage(r *client.GarbageReport) *chart.Figure {
	byDay := &chart.Lines{Title: "Freed bytes by day", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "of removed files"}, {Name: "nobody's"}}}
	add := func(day time.Time, of, nobody int64) {
		byDay.Days = append(byDay.Days, day)
		byDay.Series[0].Values = append(byDay.Series[0].Values, float64(of))
		byDay.Series[1].Values = append(byDay.Series[1].Values, float64(nobody))
	}
	for _, d := range r.Days {
		day, err := time.Parse(time.DateOnly, d.Day)
		if err != nil {
			continue // of a server that writes days in another way
		}
		// On the days between nothing was freed.
		for n := len(byDay.Days); n > 0 && byDay.Days[n-1].AddDate(0, 0, 1).Before(day) && n < maxDaysDrawn; n++ {
			add(byDay.Days[n-1].AddDate(0, 0, 1), 0, 0)
		}
		add(day, d.PurgedBytes, d.NobodyBytes)
	}
	waiting := &chart.Bars{Title: "Dead bytes, by what they wait for", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "bytes"}}}
	for _, s := range r.Waiting {
		waiting.Add(s.Reason, float64(s.Bytes))
	}
	byBucket := &chart.Bars{Title: "Buckets: bytes freed, and waiting in packs", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "freed"}, {Name: "waiting"}}}
	for _, b := range r.Buckets {
		byBucket.Add(b.Bucket, float64(b.FreedBytes), float64(b.WaitingBytes))
	}
	uploads := &chart.Bars{Title: "Unfinished uploads: bytes held", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "bytes"}}}
	for i := range r.Uploads {
		u := &r.Uploads[i]
		uploads.Add(u.Bucket+"/"+printable(u.Path), float64(u.HeldBytes))
	}
	return &chart.Figure{Title: "Collections", Panels: []chart.Panel{byDay, waiting, byBucket, uploads}}
}

// maxDaysDrawn bounds what a clock that jumps may add to a picture.
const maxDaysDrawn = 4000
