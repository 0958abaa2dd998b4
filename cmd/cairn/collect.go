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
)

func newGC(t *target) *cobra.Command {
	opts := &client.CollectOptions{}
	var rate string
	cmd := &cobra.Command{
		Use: "gc [flags]", Short: "Give back the space of what was removed", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn gc --dry-run
  cairn gc --full --rate 20MiB
  cairn gc --server https://files.example.com`,
		Long: `Give back the space of what no file, version, trash or upload under way needs:
once, now. A server does that by itself now and then; this does not wait for
it. If another collection is under way, this waits for its end. The store stays
in use meanwhile, and an interrupted collection has harmed nothing.

Packs that are mostly in use keep up to 15 % of all dead bytes; --full
rewrites those too. --dry-run changes nothing and tells what would be done.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rate != "" {
				n, err := humanize.ParseBytes(rate)
				if err != nil || n == 0 || n > math.MaxInt64 {
					return usageError{fmt.Errorf("--rate %q: want bytes a second, such as 20MiB", rate)}
				}
				opts.Rate = int64(n)
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				r, err := fl.Collect(ctx, opts, t.showWorking)
				if err != nil {
					return err
				}
				return t.showCollected(cmd, r)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.DryRun, "dry-run", false, "change nothing; tell what would be done")
	f.BoolVar(&opts.Full, "full", false, "leave no dead byte: rewrite packs that are mostly in use too")
	f.StringVar(&rate, "rate", "", "bytes a second that packs are rewritten with, such as 20MiB (default: no bound)")
	cmd.AddCommand(
		newPreview(t), newExplain(t),
		t.newCollectStatus("status", "Show what of collection is under way on a server", (*client.Client).CollectStatus),
		t.newCollectStatus("pause", "Keep a server from collecting by itself until resume, or its next start", (*client.Client).PauseCollect),
		t.newCollectStatus("resume", "Let a server collect by itself again", (*client.Client).ResumeCollect),
	)
	return cmd
}

func (t *target) newCollectStatus(use, short string, call func(*client.Client, context.Context) (*client.CollectStatus, error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: wantArgs(cobra.NoArgs),
		Example: "  cairn gc " + use + " --server https://files.example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.server == "" {
				return usageError{fmt.Errorf("gc %s asks a server: give --server", use)}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				st, err := call(fl.Client, ctx)
				if err != nil {
					return err
				}
				return t.showCollectStatus(cmd, st)
			})
		}}
}

func (t *target) showCollectStatus(cmd *cobra.Command, st *client.CollectStatus) error {
	if t.json {
		return t.showValue(cmd, st, "")
	}
	text := "no collection is under way"
	if st.Running != nil {
		text = "collecting: " + describeWorking(st.Running)
	}
	if st.Paused {
		text += "; paused: none begins by itself"
	}
	if _, err := printf(cmd.OutOrStdout(), "%s\n", text); err != nil || st.Last == nil {
		return err
	}
	if _, err := printf(cmd.OutOrStdout(), "the last one ended at %s:\n", st.Last.EndedAt.Local().Format(time.DateTime)); err != nil {
		return err
	}
	return t.showCollected(cmd, st.Last)
}

// showCollected writes what a collection has done, backend by backend.
func (t *target) showCollected(cmd *cobra.Command, r *client.Collected) error {
	if t.json {
		return t.showValue(cmd, r, "")
	}
	out := cmd.OutOrStdout()
	for i := range r.Backends {
		if err := showBackendCollected(out, r, &r.Backends[i]); err != nil {
			return err
		}
	}
	return nil
}

func showBackendCollected(out io.Writer, r *client.Collected, b *client.BackendCollected) error {
	w := newTableWriter(out)
	verb := ""
	if r.DryRun {
		verb = "would be "
	}
	w.line("%s: %s %sfreed, %d packs deleted", b.Backend, bytesText(b.FreedBytes), verb, b.DeletedPacks)
	if b.RewrittenPacks > 0 {
		w.line("  %d packs %srewritten: %s in use copied to new ones", b.RewrittenPacks, verb, bytesText(b.CopiedBytes))
	}
	if b.WaitingChunks > 0 {
		w.line("  %s wait (%d chunks): uploads that began before this collection may still use them", bytesText(b.WaitingBytes), b.WaitingChunks)
	}
	if b.DeadBytes > 0 {
		hint := ""
		if !r.Full {
			hint = "; gc --full takes them"
		}
		w.line("  %s dead in packs that are mostly in use%s", bytesText(b.DeadBytes), hint)
	}
	for _, problem := range b.Problems {
		w.line("  %s", problem)
	}
	w.beginTable(column{right: true, keep: true}, column{})
	for _, f := range b.Freed {
		what := "(no file: uploads that were given up, chunks stored twice, records)"
		if f.Path != "" {
			what = f.Bucket + "/" + f.Path
		}
		w.row("  "+bytesText(f.Bytes), what)
	}
	return w.finish()
}
