package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReportOrphans(t *target) *cobra.Command {
	k := &reportKind[client.OrphanReport]{
		use: "orphans", short: "Tell what is stored that nothing names or needs, and what takes it away",
		example: `  cairn report orphans`,
		long: `Tell what lies in backends and in the database and nothing names or needs: packs
that the index does not have, of another store too, temporary files, chunks to be
collected, rows of segments, uploads whose time is over; and what takes each of
them away. Of records it tells which files no link holds, in buckets that records
refer to, and which links have lost their files, or the session that was to confirm
them. It lists the backends and marks what is needed, which takes as long as a
collection that finds nothing to do.`,
		fetch: (*client.Client).ReportOrphans, show: showOrphans, draw: drawOrphans,
	}
	return k.newCommand(t)
}

// describeOrphan says for people what an orphan is.
func describeOrphan(kind string) string {
	switch kind {
	case "pack":
		return "packs that the index does not have"
	case "foreign_pack":
		return "packs of another store or backend"
	case "unreadable_pack":
		return "packs that do not say whose they are"
	case "pack_tail":
		return "what lies behind the ends of packs"
	case "object":
		return "objects that are no packs"
	case "temporary_file":
		return "files of writers that have died"
	case "chunk":
		return "chunks that nothing needs"
	case "segment_row":
		return "rows of segments that the index does not have"
	case "expired_upload":
		return "uploads whose time is over"
	case "charge":
		return "charges to packs that the index does not have"
	case "scrub_result":
		return "results of scrubs of packs that are gone"
	case "unlinked_file":
		return "files that no record refers to"
	case "unlinked_trash":
		return "files in the trash that none refers to"
	case "dangling_link":
		return "links to what is gone"
	case "trashed_link":
		return "links to what is in the trash"
	case "ended_link":
		return "pending links of ended sessions"
	}
	return kind
}

// describeRemedy says for people what takes an orphan away.
func describeRemedy(remedy string) string {
	switch remedy {
	case "collection":
		return "the next collection"
	case "uploads":
		return "a collection after uploads under way have ended"
	case "opening":
		return "the next start of the server"
	case "pack":
		return "the collection that its pack goes with"
	case "sweep":
		return "a server, within an hour"
	case "scrub":
		return "the next scrub"
	case "trash":
		return "the end of their time"
	case "host":
		return "the host"
	case "reconcile":
		return "a reconciliation"
	case "nothing":
		return "nothing does by itself"
	}
	return remedy
}

func showOrphans(w *tableWriter, r *client.OrphanReport) {
	if len(r.Sums) == 0 {
		w.line("nothing is stored that nothing names or needs")
		return
	}
	w.row("bytes", "count", "what; what takes it away")
	for _, s := range r.Sums {
		what := describeOrphan(s.Kind)
		if s.Host != "" {
			what += ", of " + s.Host
		}
		w.row(bytesText(s.Bytes), s.Count, what+"; "+describeRemedy(s.Remedy))
	}
	showFound(w, r)
	showUnlinked(w, r)
	showOrphanLinks(w, r)
}

func showFound(w *tableWriter, r *client.OrphanReport) {
	if len(r.Found) == 0 {
		return
	}
	w.line("")
	w.row("bytes", "kind", "what")
	for _, f := range r.Found {
		where := f.Name
		if f.Backend != "" {
			where = f.Backend + " " + where
		}
		w.row(bytesText(f.Bytes), f.Kind, where)
	}
}

func showUnlinked(w *tableWriter, r *client.OrphanReport) {
	if len(r.Unlinked) == 0 {
		return
	}
	w.line("")
	w.row("bytes", "state", "file that no record refers to")
	for _, f := range r.Unlinked {
		w.row(bytesText(f.Bytes), f.State, f.Bucket+"/"+f.Path)
	}
}

// showOrphanLinks names the record of each link, and below it what the link names.
func showOrphanLinks(w *tableWriter, r *client.OrphanReport) {
	if len(r.Links) == 0 {
		return
	}
	w.line("")
	w.row("kind", "on_delete", "record, and what it refers to")
	for i := range r.Links {
		l := &r.Links[i]
		w.row(l.Kind, l.OnDelete, recordText(&l.Reference))
		id := l.FileID
		if l.ManifestID != "" {
			id = l.ManifestID
		}
		w.row("", "", l.Bucket+"/"+id)
	}
}

func drawOrphans(r *client.OrphanReport) *chart.Figure {
	bytes := &chart.Bars{Title: "Bytes that nothing names or needs", Unit: chart.Unit{Bytes: true}, Series: []chart.Series{{Name: "bytes"}}}
	counts := &chart.Bars{Title: "How many", Series: []chart.Series{{Name: "count"}}}
	for _, s := range r.Sums {
		label := s.Kind + ", by " + s.Remedy
		if s.Host != "" {
			label += " (" + s.Host + ")"
		}
		if s.Host == "" && !strings.HasPrefix(s.Kind, "unlinked_") { // those are not what is stored
			bytes.Add(label, float64(s.Bytes))
		}
		counts.Add(label, float64(s.Count))
	}
	return &chart.Figure{Title: "Orphans", Panels: []chart.Panel{bytes, counts}}
}
