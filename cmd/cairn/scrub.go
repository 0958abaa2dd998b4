package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/schema"
)

func newScrub(t *target) *cobra.Command {
	opts := &client.ScrubOptions{}
	var rate, age string
	cmd := &cobra.Command{
		Use: "scrub [flags]", Short: "Read stored bytes again and verify them", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn scrub
  cairn scrub --all --rate 50MiB`,
		Long: `Read stored bytes again and compare them with their digests: those of packs that
were not read for 30 days (--max-age), the oldest first, or with --all of all
packs. A server does that by itself now and then. What is damaged is marked, so
that the next upload of the same bytes heals it, and told with the files that it
hurts; the exit status is 1 then. An interrupted scrub goes on where it was.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rate != "" {
				n, err := humanize.ParseBytes(rate)
				if err != nil || n == 0 || n > math.MaxInt64 {
					return usageError{fmt.Errorf("--rate %q: want bytes a second, such as 20MiB", rate)}
				}
				opts.Rate = int64(n)
			}
			if age != "" {
				d, err := schema.ParseDuration(age)
				if err != nil || d < time.Second || opts.All {
					return usageError{fmt.Errorf("--max-age %q: want a time such as 12h or 7d, without --all", age)}
				}
				opts.MaxAgeSeconds = int64(d / time.Second)
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				r, err := fl.Scrub(ctx, opts, t.showWorking)
				if err == nil {
					err = t.showScrubbed(cmd, r)
				}
				if err == nil && !r.OK {
					err = errReported
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.All, "all", false, "read all packs, whenever they were read last")
	f.StringVar(&age, "max-age", "", "read packs that were not read for so long, such as 7d (default 30d)")
	f.StringVar(&rate, "rate", "", "bytes a second that are read, such as 20MiB (default: no bound)")
	cmd.AddCommand(newScrubStatus(t))
	return cmd
}

func newScrubStatus(t *target) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show what of scrubs is under way, and how old their results are", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn scrub status`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				st, err := fl.ScrubStatus(ctx)
				if err != nil {
					return err
				}
				if t.json {
					return t.showValue(cmd, st, "")
				}
				return showScrubStatus(cmd.OutOrStdout(), st)
			})
		}}
}

func showScrubStatus(out io.Writer, st *client.ScrubStatus) error {
	w := newTableWriter(out)
	text := "no scrub is under way"
	if st.Running != nil {
		text = "scrubbing: " + describeWorking(st.Running)
	}
	w.line("%s", text)
	for _, b := range st.Backends {
		oldest := ""
		if b.OldestAt != nil {
			oldest = ", the oldest result of " + b.OldestAt.Local().Format(time.DateTime)
		}
		w.line("%s: %d packs, %d never read, %d with damage%s", b.Backend, b.Packs, b.NeverRead, b.Damaged, oldest)
	}
	return w.finish()
}

// showScrubbed writes what a scrub has found, backend by backend.
func (t *target) showScrubbed(cmd *cobra.Command, r *client.Scrubbed) error {
	if t.json {
		return t.showValue(cmd, r, "")
	}
	w := newTableWriter(cmd.OutOrStdout())
	for i := range r.Backends {
		b := &r.Backends[i]
		w.line("%s: %d packs read, %s; %d were read lately", b.Backend, b.Packs, bytesText(b.Bytes), b.SkippedPacks)
		for _, f := range b.Failed {
			w.line("  pack %s: %s", f.Pack, f.Why)
		}
		if b.BadChunks > 0 {
			w.line("  %d chunks cannot be read", b.BadChunks)
		}
		for _, h := range b.Hurt {
			w.line("  hurt: %s/%s %s%s", h.Bucket, h.Path, h.ManifestID, h.UploadID)
		}
		if more := b.HurtCount - int64(len(b.Hurt)); more > 0 {
			w.line("  and %d more", more)
		}
	}
	text := "nothing is damaged"
	if !r.OK {
		text = "damaged: put the same files again to heal them; cairn check tells all, cairn check --repair mends what it can"
	}
	w.line("%s", text)
	return w.finish()
}
