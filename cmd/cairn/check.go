package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

func newCheck(t *target) *cobra.Command {
	c := &checking{target: t}
	cmd := &cobra.Command{
		Use: "check [flags]", Short: "Verify every byte of a store, and mend it with --repair", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn check
  cairn check --repair --dry-run
  cairn check --server https://files.example.com --rate 50MiB`,
		Long: `Read every byte that is stored, and compare it with the database and both with
each other. What is found is told at once, with the files that it hurts; the exit
status is 1 then. With --server a store is checked while it is in use. With --data
nobody else may have it open: that is what --repair needs, which mends what can be
mended, only ever adding. --dry-run tells what it would do.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.out = cmd.OutOrStdout()
			r, err := c.run(cmd.Context())
			if err == nil {
				err = t.showChecked(cmd, r)
			}
			if err == nil && !r.OK {
				err = errReported
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.repair, "repair", false, "mend what can be mended, only ever adding")
	f.BoolVar(&c.dryRun, "dry-run", false, "with --repair: tell what would be done")
	f.StringVar(&c.rate, "rate", "", "bytes a second that are read, such as 20MiB (default: no bound)")
	return cmd
}

// checking is a call of check.
type checking struct {
	*target
	repair, dryRun bool
	rate           string
	out            io.Writer
}

func (c *checking) run(ctx context.Context) (*client.Checked, error) {
	rate := uint64(0)
	if c.rate != "" {
		n, err := humanize.ParseBytes(c.rate)
		if err != nil || n == 0 || n > math.MaxInt64 {
			return nil, usageError{fmt.Errorf("--rate %q: want bytes a second, such as 20MiB", c.rate)}
		}
		rate = n
	}
	switch {
	case c.server != "" && c.repair:
		return nil, usageError{errors.New("--repair needs the store for itself: stop the server and give --data in place of --server")}
	case c.dryRun && !c.repair:
		return nil, usageError{errors.New("--dry-run goes with --repair")}
	case c.server != "":
		return c.checkServed(ctx, int64(rate))
	}
	return c.checkData(ctx, int64(rate))
}

// checkServed has a server check its store.
func (c *checking) checkServed(ctx context.Context, rate int64) (r *client.Checked, err error) {
	fl, done, err := c.openFiles(ctx)
	if err != nil {
		return nil, err
	}
	r, err = fl.Check(ctx, &client.CheckOptions{Rate: rate, Found: c.showFound}, c.showWorking)
	return r, errors.Join(err, done())
}

// checkData checks a store that nobody serves.
func (c *checking) checkData(ctx context.Context, rate int64) (*client.Checked, error) {
	o, err := c.checkOptions()
	if err != nil {
		return nil, err
	}
	pace, shown := &api.Pace{}, time.Time{}
	r, err := local.Check(ctx, c.data, &local.CheckOptions{Options: *o, Repair: c.repair, DryRun: c.dryRun, Rate: rate,
		Found: func(p *check.Problem) { c.showFound(api.ProblemView(p)) },
		Progress: func(p check.Progress) {
			pace.Note(api.CheckingView(&p))
			if now := time.Now(); now.Sub(shown) >= time.Second {
				at := pace.Describe()
				c.showWorking(&at)
				shown = now
			}
		}})
	if c.repair && errors.Is(err, local.ErrLocked) { // --server, which is the way otherwise, is none
		return nil, fmt.Errorf("%v; --repair needs the store for itself: stop that process", err)
	}
	if err != nil {
		return nil, c.explainNoStore(err)
	}
	return api.CheckedView(r), nil
}

// checkOptions is storeOptions for check, which finds the files without a
// schema.
func (t *target) checkOptions() (*local.Options, error) {
	s, err := t.readSettings()
	if err != nil {
		return nil, err
	}
	if s.schema == nil {
		s.schema = &schema.Schema{}
	}
	o, err := t.configureStore(s)
	if err == nil && len(o.Buckets) == 0 {
		o.Buckets = nil
	}
	return o, err
}

func (t *target) showChecked(cmd *cobra.Command, r *client.Checked) error {
	if t.json {
		return t.showValue(cmd, r, "")
	}
	w := cmd.OutOrStdout()
	if p := r.Plan; p != nil {
		printf(w, "a repair would read %d packs and make a database of %d files, %d versions: %d files would be restored, %d removed\n",
			p.Packs, p.Files, p.Versions, p.Restored, p.Removed)
	}
	state := "all agrees"
	if !r.OK {
		state = fmt.Sprintf("%d problems, %d damaged versions", r.ProblemCount, r.DamagedCount)
	}
	_, err := printf(w, "%d files, %d versions, %d chunks in %d packs (%s): %s\n",
		r.Files, r.Manifests, r.Chunks, r.Packs, bytesText(r.Bytes), state)
	return err
}

// showFound writes the line of a problem. With --json the report holds the first
// ones.
func (c *checking) showFound(p *client.CheckProblem) {
	if c.json {
		return
	}
	line := p.Kind
	if p.Path != "" {
		line += ` "` + p.Path + `"`
	}
	for _, s := range []string{p.Pack, p.Digest, p.FileID, p.ManifestID} {
		if s != "" {
			line += " " + s
		}
	}
	printf(c.out, "%s: %s%s\n", line, p.Detail, describeHeals(p))
	if c.dryRun && p.Does != "" {
		printf(c.out, "  a repair: %s\n", p.Does)
	}
}

// describeHeals says what heals a problem.
func describeHeals(p *client.CheckProblem) string {
	switch {
	case p.Repaired:
		return " (repaired)"
	case p.Heals == check.HealsRepair:
		return " (check --repair mends it)"
	case p.Heals == check.HealsUpload:
		return " (put the same bytes again)"
	case p.Heals == check.HealsGC:
		return " (gc --full mends it)"
	case p.Heals == check.HealsRebuild:
		return " (move the database away, and check --repair makes it anew)"
	}
	return ""
}
