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
		Long: "Try, under a scratch prefix of the backend's own that is cleaned up, whether its service keeps what Cairn relies on.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.probeBackend(cmd, args[0]) },
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
	for _, f := range found {
		if err := t.showFinding(cmd, f); err != nil {
			return err
		}
	}
	if err == nil && backend.Refuse(found) != nil {
		err = errReported
	}
	return err
}

func (t *target) showFinding(cmd *cobra.Command, f backend.Finding) error {
	state := "good"
	switch {
	case !f.OK && f.Needed:
		state = "FAILS"
	case !f.OK:
		state = "lacks"
	}
	return t.showValue(cmd, f, "%-17s %-6s %s\n", f.Name, state, f.Detail)
}
