package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets"
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
	for _, p := range append(r.Problems, r.Damaged...) {
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
	if p := r.Plan; p != nil {
		fmt.Fprintf(w, "a repair would read %d packs and make a database of %d files, %d versions: %d files would be restored, %d removed\n",
			p.Packs, p.Files, p.Versions, p.Restored, p.Removed)
	}
	state := "all agrees"
	if !r.OK {
		state = fmt.Sprintf("%d problems, %d damaged versions", len(r.Problems), len(r.Damaged))
	}
	_, err := fmt.Fprintf(w, "%d files, %d versions, %d chunks in %d packs (%s): %s\n",
		r.Files, r.Manifests, r.Chunks, r.Packs, bytesText(r.Bytes), state)
	return err
}

func newReport(t *target) *cobra.Command {
	return newGroup("report", "Report what is stored and what it takes", "usage or dedup", &cobra.Command{
		Use: "dedup", Short: "Compare what was stored with what it takes", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.openStore(cmd.Context())
			if err != nil {
				return err
			}
			r, err := s.Dedup(cmd.Context())
			if err == nil {
				err = t.showDedup(cmd, r)
			}
			return errors.Join(err, s.Close())
		},
	}, newUsage(t))
}

func (t *target) showDedup(cmd *cobra.Command, r *buckets.DedupReport) error {
	return t.showValue(cmd, r, "logical  %s in %d files, %d versions, %d chunks\nunique   %s in %d chunks\nstored   %s in packs, %s of metadata\nratio    %.2f\n",
		bytesText(r.LogicalBytes), r.Files, r.Manifests, r.Chunks, bytesText(r.UniqueBytes), r.UniqueChunks,
		bytesText(r.StoredBytes), bytesText(r.IndexBytes), r.DedupRatio)
}

func newUsage(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "usage [BUCKET]", Short: "Sum a bucket up as its users see it", Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			bucket := "demo"
			if len(args) > 0 {
				bucket = args[0]
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				u, err := fl.Usage(ctx, bucket)
				if err != nil {
					return err
				}
				return t.showValue(cmd, u, "%s: %d files, %d versions, %s; in the trash %d files, %s\n",
					u.Bucket, u.Files, u.Versions, bytesText(u.Bytes), u.TrashedFiles, bytesText(u.TrashedBytes))
			})
		},
	}
}

func newDump(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "dump _alyx_files", Short: "Write every version of every file, a JSON object a line", Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "_alyx_files" {
				return usageError{fmt.Errorf("there is no table %q: use _alyx_files", args[0])}
			}
			s, err := t.openStore(cmd.Context())
			if err != nil {
				return err
			}
			return errors.Join(dumpFiles(cmd, s), s.Close())
		},
	}
}

func dumpFiles(cmd *cobra.Command, s *buckets.Store) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	for r, err := range s.Dump(cmd.Context()) {
		if err != nil {
			return err
		}
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
