package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/cairn-store/cairn/api/client"
)

// countText returns a number of something of which there may be one.
func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// describeLinks says how many links hold something.
func describeLinks(n client.LinkCounts) string {
	out := countText(n.Standing, "link stands", "links stand")
	if n.Released > 0 {
		out += fmt.Sprintf(", %d ended and hold for a time", n.Released)
	}
	return out
}

// showPins says what links hold a version.
func (e *tableWriter) showPins(h *client.ChunkHolder) {
	if h.Links == nil {
		return
	}
	e.line("    to this version: %s", describeLinks(*h.Links))
	if h.Overdue {
		e.line("    versioning would have removed it but for them")
	}
}

// showLinked says what links hold a file, and what follows.
func (e *tableWriter) showLinked(l *client.LinkedFile) {
	what := l.Path
	if what == "" {
		what = l.FileID
	}
	e.line("  %s/%s:", l.Bucket, what)
	e.line("    %s", describeLinks(l.LinkCounts))
	e.showRecords(l)
	switch {
	case l.Overdue:
		e.line("    its time in the trash is over: it stays until they end")
	case l.State == "trashed":
		e.line("    it stays in the trash until they end")
	case l.State == "purged":
		e.line("    it is gone: these records refer to nothing")
		return
	}
	if l.Restrict > 0 {
		e.line("    %d with on_delete: restrict: its removal is refused", l.Restrict)
	} else if l.SetNull > 0 {
		e.line("    %d with on_delete: set_null: hosts are told of its removal", l.SetNull)
	}
}

// showRecords names records with links to a file.
func (e *tableWriter) showRecords(l *client.LinkedFile) {
	for i := range l.Records {
		e.line("    %s", describeRecord(&l.Records[i]))
	}
	if more := l.Standing - int64(len(l.Records)); len(l.Records) > 0 && more > 0 {
		e.line("    and %d more", more)
	}
}

// describeRecord names a record with a link, its field and its policy.
func describeRecord(r *client.Reference) string {
	return fmt.Sprintf("%s, on_delete: %s, %s", recordText(r), r.OnDelete, r.State)
}

// recordText names the field of a record.
func recordText(r *client.Reference) string {
	return r.Host + ": " + r.Collection + "/" + r.Record + "." + r.Field
}

func (e *tableWriter) showUnreconciled(hosts []string) {
	for _, h := range hosts {
		e.line("  host %s is not reconciled: nothing is removed for good", h)
	}
}

// showRemovalLinks says what links do to a removal.
func showRemovalLinks(w io.Writer, l *client.RemovalLinks) error {
	e := newTableWriter(w)
	if l.Standing+l.Released > 0 {
		e.line("  links of records: %s", describeLinks(l.LinkCounts))
	}
	if l.Refused > 0 {
		e.line("  %s refused: on_delete: restrict", countText(l.Refused, "removal is", "removals are"))
	}
	for i := range l.Refusing {
		r := &l.Refusing[i]
		id := r.FileID
		if r.ManifestID != "" {
			id = r.ManifestID
		}
		e.line("    %s/%s", r.Bucket, r.Path)
		e.line("      %s", id)
		for k := range r.Records {
			e.line("      %s", recordText(&r.Records[k]))
		}
		if more := r.Restrict - int64(len(r.Records)); more > 0 {
			e.line("      and %d more", more)
		}
	}
	if n := l.Refused - int64(len(l.Refusing)); n > 0 && len(l.Refusing) > 0 {
		e.line("    and %d more", n)
	}
	if len(l.Told) > 0 {
		e.line("  told of it by on_delete: set_null: %s", strings.Join(l.Told, ", "))
	}
	e.showUnreconciled(l.Unreconciled)
	return e.finish()
}
