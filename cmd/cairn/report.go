package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cmd/cairn/chart"
)

func newReport(t *target) *cobra.Command {
	return newGroup("report", "Report what is stored and what it takes", "usage, dedup, fragmentation, gc or orphans",
		newReportUsage(t), newReportDedup(t), newReportFragmentation(t), newReportGarbage(t), newReportOrphans(t))
}

// A reportKind is a report as a command: a table for people, --json for programs,
// --plot for eyes.
type reportKind[R any] struct {
	use, short, long, example string
	args                      cobra.PositionalArgs // nil for none
	fetch                     func(c *client.Client, ctx context.Context, opts *client.ReportOptions, progress func(*client.Working)) (*R, error)
	show                      func(w *tableWriter, r *R)
	draw                      func(r *R) *chart.Figure
}

func (k *reportKind[R]) newCommand(t *target) *cobra.Command {
	opts := &client.ReportOptions{}
	var plot string
	cmd := &cobra.Command{Use: k.use, Short: k.short, Long: k.long, Example: k.example, Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("top") && (opts.Top < 1 || opts.Top > client.MaxTop) {
				return usageError{fmt.Errorf("--top %d: want a number from 1 to %d", opts.Top, client.MaxTop)}
			}
			format := chart.Format("")
			if cmd.Flags().Changed("plot") {
				var err error
				if format, err = chart.FormatOf(plot); err != nil {
					return usageError{fmt.Errorf("--plot %w", err)}
				}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				r, err := k.fetch(fl.Client, ctx, opts, t.showWorking)
				if err == nil && format != "" {
					err = writePlot(plot, k.draw(r), format)
				}
				if err != nil {
					return err
				}
				if t.json {
					return t.showValue(cmd, r, "")
				}
				w := newTableWriter(cmd.OutOrStdout())
				k.show(w, r)
				return w.finish()
			})
		}}
	if k.args != nil {
		cmd.Args = wantArgs(k.args)
	}
	cmd.Flags().IntVar(&opts.Top, "top", 0, fmt.Sprintf("how many entries a list has, at most %d (default 20)", client.MaxTop))
	cmd.Flags().StringVar(&plot, "plot", "", "draw the figures too, to a file that ends in .svg or .png")
	return cmd
}

// writePlot draws a figure to a file, which is not touched if that fails.
func writePlot(file string, f *chart.Figure, format chart.Format) error {
	var b bytes.Buffer
	if err := chart.Write(&b, f, format); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o666)
}

// tookText tells how long a report took.
func tookText(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }
