package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
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
	use, short, long string
	args             cobra.PositionalArgs // nil for none
	fetch            func(c *client.Client, ctx context.Context, opts *client.ReportOptions, progress func(*client.Working)) (*R, error)
	show             func(w *tableWriter, r *R)
	draw             func(r *R) *chart.Figure
}

func (k *reportKind[R]) newCommand(t *target) *cobra.Command {
	opts := &client.ReportOptions{}
	var plot string
	cmd := &cobra.Command{Use: k.use, Short: k.short, Long: k.long, Args: wantArgs(cobra.NoArgs),
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

// A tableWriter writes lines, and tables whose columns stand under each other.
type tableWriter struct {
	out io.Writer
	tab *tabwriter.Writer // of the table that is being written, or nil
	err error
}

func newTableWriter(w io.Writer) *tableWriter { return &tableWriter{out: w} }

// line writes a line, and ends the table before it.
func (w *tableWriter) line(format string, args ...any) {
	w.endTable()
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

// row writes a row of a table. The last cell is aligned to the left, others to the
// right.
func (w *tableWriter) row(cells ...any) {
	if w.tab == nil {
		w.tab = tabwriter.NewWriter(w.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	}
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	last := len(texts) - 1
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.tab, "%s\t  %s\n", strings.Join(texts[:last], "\t"), texts[last])
	}
}

func (w *tableWriter) endTable() {
	if w.tab != nil && w.err == nil {
		w.err = w.tab.Flush()
	}
	w.tab = nil
}

// finish ends what is being written and returns the first error.
func (w *tableWriter) finish() error {
	w.endTable()
	return w.err
}

// tookText tells how long a report took.
func tookText(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }
