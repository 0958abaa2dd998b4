package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets/local"
)

func newBackend(t *target) *cobra.Command {
	return newGroup("backend", "Look at the backends that --config names", "probe NAME", &cobra.Command{
		Use: "probe NAME --config alyx.yml", Short: "Try whether the service of an s3 backend keeps what Cairn relies on", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn backend probe far --config alyx.yml`,
		Long:    "Try, under a scratch prefix of the backend's own that is cleaned up, whether its service keeps what Cairn relies on.",
		RunE:    func(cmd *cobra.Command, args []string) error { return t.probeBackend(cmd, args[0]) },
	})
}

func (t *target) probeBackend(cmd *cobra.Command, name string) error {
	s, err := t.readSettings()
	if err != nil {
		return err
	}
	if s.config == nil {
		return usageError{errors.New("backend probe: want --config")}
	}
	opts, err := local.ConfigureBackends(s.config, drivers())
	if err != nil {
		return err
	}
	found, err := local.Probe(cmd.Context(), opts, name, true)
	w := newTableWriter(cmd.OutOrStdout())
	w.beginTable(column{keep: true}, column{keep: true}, column{})
	for _, f := range found {
		if t.json {
			if err := writeJSON(cmd.OutOrStdout(), f, false); err != nil {
				return err
			}
			continue
		}
		w.row(f.Name, stateOf(f), f.Detail)
	}
	if werr := w.finish(); werr != nil {
		return werr
	}
	if err == nil && backend.Refuse(found) != nil {
		err = errReported
	}
	return err
}

// stateOf says how good what was found is.
func stateOf(f backend.Finding) string {
	switch {
	case !f.OK && f.Needed:
		return "FAILS"
	case !f.OK:
		return "lacks"
	}
	return "good"
}
