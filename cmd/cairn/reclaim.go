package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func newPreview(t *target) *cobra.Command {
	var refs []string
	var prefix, before string
	cmd := &cobra.Command{
		Use: "preview [--delete BUCKET/ID…] [--prefix BUCKET/PREFIX] [--versions-before TIME]", Short: "Tell what removing something for good would give back",
		Example: `  cairn gc preview --delete demo/disk.img
  cairn gc preview --prefix demo/tmp/
  cairn gc preview --versions-before 30d`,
		Long: `Tell what a removal for good, and a collection after it, would give back. Nothing
is changed. Freed is what frames take of which nothing would be needed; pending
is in frames that others need too, and comes back when those are rewritten, at
the latest by gc --full; shared is needed by others and stays. Links of records
may refuse the removal; the bytes are told as if they did not.

--delete takes files, with all their versions, and single versions; --prefix all
files whose paths begin so, also in the trash; --versions-before the versions made
before a time that are not current, with --prefix of those files only. TIME is
such as 2026-01-31, 2026-01-31T12:00:00Z or 30d (ago).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs = append(refs, args...)
			r := &client.Removal{}
			if prefix != "" {
				r.Bucket, r.Prefix, _ = strings.Cut(prefix, "/")
			}
			if before != "" {
				at, err := parseBefore(before, time.Now())
				if err != nil {
					return usageError{err}
				}
				r.VersionsBefore = &client.Time{Time: at}
			}
			if len(refs) == 0 && prefix == "" && before == "" {
				return usageError{errors.New("gc preview: want --delete, --prefix or --versions-before")}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				for _, ref := range refs {
					bucket, id, err := resolveRef(ctx, fl, ref)
					if err != nil {
						return err
					}
					r.Delete = append(r.Delete, bucket+"/"+id)
				}
				p, err := fl.PreviewRemoval(ctx, r, t.showWorking)
				if err != nil {
					return err
				}
				if t.json {
					return t.showValue(cmd, p, "")
				}
				return showPreview(cmd.OutOrStdout(), "", p)
			})
		},
	}
	cmd.Flags().StringArrayVar(&refs, "delete", nil, "a file or version, BUCKET/ID or BUCKET/PATH; may be repeated")
	cmd.Flags().StringVar(&prefix, "prefix", "", "BUCKET, or BUCKET/ and the beginning of paths")
	cmd.Flags().StringVar(&before, "versions-before", "", "versions that were made before a time and are not current")
	return cmd
}

// parseBefore reads a time: a date, a time of RFC 3339, or how long ago.
func parseBefore(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q: want a time such as 2026-01-31, 2026-01-31T12:00:00Z, or 30d for 30 days ago", s)
}

// showPreview tells what a removal would give back. The first line begins with begin.
func showPreview(out io.Writer, begin string, p *client.RemovalPreview) error {
	w := newTableWriter(out)
	w.line("%s%d file(s), %d version(s), %s: %s freed, %s more when packs are rewritten (gc --full)", begin, p.Files, p.Versions,
		bytesText(p.LogicalBytes), bytesText(p.FreedBytes), bytesText(p.PendingBytes))
	if p.SharedBytes > 0 {
		w.line("  %s are needed by others too, and stay", bytesText(p.SharedBytes))
	}
	if p.WaitingBytes > 0 {
		w.line("  %s wait until uploads under way have ended: they may still use them", bytesText(p.WaitingBytes))
	}
	if err := w.finish(); err != nil {
		return err
	}
	return showRemovalLinks(out, &p.Links)
}

func newExplain(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "explain DIGEST|PACK|BUCKET/ID", Short: "Tell what keeps a chunk, a pack or a file, or where its bytes went", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn gc explain demo/disk.img`,
		Long: `Tell what keeps a chunk or segment (by its digest, 64 digits), a pack (32 digits)
or a file or version (BUCKET/ID, BUCKET/PATH, or the ID alone, also of one that
was removed): versions, the trash, uploads under way, chunks made from it, records
of changes; and the links of records that hold a file or a version. What nothing
keeps goes with the next collection; of what went the ledger tells when, and with
which pack. Who reads keeps nothing from going: a read whose pack is gone looks
its chunks up again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				x, err := explainArg(ctx, t, fl, args[0])
				if err != nil {
					return err
				}
				if t.json {
					return t.showValue(cmd, x, "")
				}
				return showExplained(cmd.OutOrStdout(), x)
			})
		},
	}
}

func explainArg(ctx context.Context, t *target, fl *files, what string) (*client.Explained, error) {
	if _, err := cas.ParseDigest(what); err == nil {
		return fl.ExplainChunk(ctx, what, t.showWorking)
	}
	if _, ok := cas.ParsePackID(what); ok {
		return fl.ExplainPack(ctx, what, t.showWorking)
	}
	_, isFile := manifest.ParseFileID(what)
	_, isVersion := manifest.ParseVersionID(what)
	if !isFile && !isVersion {
		var err error
		if _, what, err = resolveRef(ctx, fl, what); err != nil {
			return nil, err
		}
	}
	return fl.ExplainFile(ctx, what, t.showWorking)
}

// describeReason says for people why something is kept.
func describeReason(because string) string {
	switch because {
	case "version":
		return "a version needs it"
	case "trash":
		return "it is in the trash, or needed by what is"
	case "upload":
		return "an upload under way needs it"
	case "move":
		return "a bucket that needs it is being moved there"
	case "source":
		return "something stored is made from it"
	case "writer":
		return "an upload under way may use it"
	case "records":
		return "it holds records that no checkpoint covers"
	case "appends":
		return "the pack is still written to"
	case "row":
		return "the file is there"
	case "links":
		return "links of records hold it"
	case "host":
		return "a host is not reconciled"
	}
	return because
}

func showExplained(w io.Writer, x *client.Explained) error {
	e := newTableWriter(w)
	if x.Kept {
		reasons := make([]string, len(x.Because))
		for i, r := range x.Because {
			reasons[i] = describeReason(r)
		}
		e.line("%s: kept: %s", x.Kind, strings.Join(reasons, "; "))
	} else {
		e.line("%s: nothing keeps it", x.Kind)
	}
	for _, p := range x.Places {
		state := ""
		if p.Damaged {
			state = ", damaged: the next upload of the same bytes mends it"
		}
		e.line("  %s, pack %s at %d: %s in a frame of %s%s", p.Backend, p.Pack, p.Offset, bytesText(p.Length), bytesText(p.StoredBytes), state)
	}
	if p := x.Pack; p != nil {
		e.line("  %s: %s, %s live in %d frames, %s dead, %s of records", p.Backend, bytesText(p.Size), bytesText(p.LiveBytes), p.Frames, bytesText(p.DeadBytes), bytesText(p.RecordBytes))
		if p.LastCommit > p.Checkpoint {
			e.line("  records up to commit %d; a checkpoint lets those up to %d go", p.LastCommit, p.Checkpoint)
		}
		if p.Doomed {
			e.line("  it is being deleted")
		}
	}
	for _, h := range x.Holders {
		e.line("  %s", describeHolder(&h))
		e.showPins(&h)
	}
	if n := x.HolderCount - int64(len(x.Holders)); n > 0 {
		e.line("  and %d more", n)
	}
	for i := range x.Linked {
		e.showLinked(&x.Linked[i])
	}
	e.showUnreconciled(x.Unreconciled)
	if x.Unread > 0 {
		e.line("  %d segments of chunk lists cannot be read: what has them may need it too", x.Unread)
	}
	if x.Sources > 0 {
		e.line("  %d frames are made from it", x.Sources)
	}
	for _, f := range x.WaitsFor {
		e.line("  an upload since %s may use it", f.Since.Local().Format(time.DateTime))
	}
	if r := x.Removed; r != nil {
		e.line("  needed last by %s/%s, removed %s; a collection will take it", r.Bucket, r.Path, r.RemovedAt.Local().Format(time.DateTime))
	}
	for _, f := range x.Freed {
		e.line("  %s", describeFreed(&f))
	}
	if err := e.finish(); err != nil || x.Preview == nil {
		return err
	}
	return showPreview(w, "if it is removed: ", x.Preview)
}

func describeHolder(h *client.ChunkHolder) string {
	where := h.Bucket + "/" + h.Path
	if h.UploadID != "" {
		return "upload " + h.UploadID + " to " + where
	}
	out := fmt.Sprintf("%s version %d (%s)", where, h.Version, h.ManifestID)
	if h.State != "active" {
		out += ", " + h.State
	}
	return out
}

func describeFreed(f *client.FreedEntry) string {
	what := "freed"
	if f.Copied {
		what = "copied to another pack"
	}
	out := fmt.Sprintf("%s %s %s with pack %s of %s", f.At.Local().Format(time.DateTime), bytesText(f.Bytes), what, f.Pack, f.Backend)
	if f.Path != "" {
		out += ": " + f.Bucket + "/" + f.Path
	}
	return out
}
