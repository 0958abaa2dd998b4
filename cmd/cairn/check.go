package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

func newCheck(t *target) *cobra.Command {
	opts := &local.CheckOptions{}
	cmd := &cobra.Command{
		Use: "check [flags]", Short: "Verify every byte of a store, and mend it with --repair", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.server != "" {
				return usageError{errors.New("check works on --data, not on --server")}
			}
			if opts.DryRun && !opts.Repair {
				return usageError{errors.New("--dry-run goes with --repair")}
			}
			o, err := t.checkOptions()
			if err != nil {
				return err
			}
			opts.Options = *o
			if !t.json { // a report holds the first ones only
				opts.Found = func(p *check.Problem) { showProblem(cmd.OutOrStdout(), p) }
			}
			r, err := local.Check(cmd.Context(), t.data, opts)
			if err != nil {
				return err
			}
			if err := t.showCheck(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			if !r.OK {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&opts.Repair, "repair", false, "mend what can be mended, only ever adding")
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "with --repair: tell what would be done")
	return cmd
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

func (t *target) showCheck(w io.Writer, r *check.Report) error {
	if t.json {
		return json.NewEncoder(w).Encode(r)
	}
	if p := r.Plan; p != nil {
		fmt.Fprintf(w, "a repair would read %d packs and make a database of %d files, %d versions: %d files would be restored, %d removed\n",
			p.Packs, p.Files, p.Versions, p.Restored, p.Removed)
	}
	state := "all agrees"
	if !r.OK {
		state = fmt.Sprintf("%d problems, %d damaged versions", r.ProblemCount, r.DamagedCount)
	}
	_, err := fmt.Fprintf(w, "%d files, %d versions, %d chunks in %d packs (%s): %s\n",
		r.Files, r.Manifests, r.Chunks, r.Packs, bytesText(r.Bytes), state)
	return err
}

// showProblem writes the line of a problem.
func showProblem(w io.Writer, p *check.Problem) {
	line := p.Kind
	if p.Path != "" {
		line += fmt.Sprintf(" %q", p.Path)
	}
	for _, s := range []string{p.Pack, p.Digest, p.FileID, p.ManifestID} {
		if s != "" {
			line += " " + s
		}
	}
	if line += ": " + p.Detail; p.Repaired {
		line += " (repaired)"
	}
	fmt.Fprintln(w, line)
}
