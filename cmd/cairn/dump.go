package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets"
)

func newDump(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "dump _alyx_files", Short: "Write every version of every file, a JSON object a line", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn dump _alyx_files > files.jsonl`,
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
	for r, err := range s.Dump(cmd.Context()) {
		if err != nil {
			return err
		}
		if err := writeJSON(cmd.OutOrStdout(), r, false); err != nil {
			return err
		}
	}
	return nil
}
