package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// printTable writes medians, and what each step takes compared with cairn's.
func printTable(w io.Writer, size int64, tools []tool, results map[string][]result) error {
	fmt.Fprintf(w, "%.1f MB of files\n", float64(size)/1e6)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "tool\tstep\twall s\tCPU s\tpeak MB\tMB/s\tstored MB\twall / cairn\t")
	for _, step := range []string{"ingest", "again", "restore"} {
		base := medianResult(results["cairn "+step]).wall
		for _, t := range tools {
			rs := results[t.name+" "+step]
			if len(rs) == 0 || len(results[t.name+" failed"]) > 0 {
				fmt.Fprintf(tw, "%s\t%s\tfailed\t\t\t\t\t\t\n", t.name, step)
				continue
			}
			r := medianResult(rs)
			fmt.Fprintf(tw, "%s\t%s\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t%.2f\t\n", t.name, step, r.wall.Seconds(), r.cpu.Seconds(),
				float64(r.peak)/1e6, float64(size)/1e6/r.wall.Seconds(), float64(r.stored)/1e6, ratio(r.wall, base))
		}
	}
	return tw.Flush()
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return a.Seconds() / b.Seconds()
}

// medianResult returns the result of median wall time.
func medianResult(rs []result) result {
	if len(rs) == 0 {
		return result{}
	}
	rs = slices.SortedFunc(slices.Values(rs), func(a, b result) int { return cmp.Compare(a.wall, b.wall) })
	return rs[len(rs)/2]
}
