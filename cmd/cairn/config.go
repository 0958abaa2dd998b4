package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// settings are the files of --config and --schema; each is nil without its
// flag.
type settings struct {
	config *schema.Config
	schema *schema.Schema
}

// readSettings reads --config and --schema. If they are not valid it returns
// schema.Problems.
func (t *target) readSettings() (settings, error) {
	var s settings
	if t.config != "" {
		text, err := os.ReadFile(t.config)
		if err != nil {
			return s, fmt.Errorf("--config: %w", err)
		}
		if s.config, err = schema.ParseConfig(t.config, text, os.LookupEnv); err != nil {
			return s, err
		}
	}
	if t.schema != "" {
		text, err := os.ReadFile(t.schema)
		if err != nil {
			return s, fmt.Errorf("--schema: %w", err)
		}
		if s.schema, err = schema.Parse(t.schema, text, s.config); err != nil {
			return s, err
		}
	}
	return s, nil
}

// storeOptions returns the options of a store that --config and --schema
// describe.
func (t *target) storeOptions() (*local.Options, error) {
	s, err := t.readSettings()
	if err != nil {
		return nil, err
	}
	return t.configureStore(s)
}

func (t *target) configureStore(s settings) (*local.Options, error) {
	o, err := local.Configure(s.config, s.schema)
	if err == nil {
		o.TakeOwnership = t.take
	}
	return o, err
}

func newSchema(t *target) *cobra.Command {
	return newGroup("schema", "Check and describe schema.yaml and alyx.yml", "check, keys or json",
		&cobra.Command{Use: "check --config alyx.yml --schema schema.yaml", Short: "Tell what is wrong with them, and where", Args: wantArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return t.checkSchema(cmd) }},
		&cobra.Command{Use: "keys", Short: "List every key, its default and what it does", Args: wantArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprint(cmd.OutOrStdout(), schema.Keys())
				return err
			}},
		&cobra.Command{Use: "json", Short: "Write the JSON Schema of schema.yaml, for editors", Args: wantArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", schema.JSONSchema())
				return err
			}},
	)
}

// checkSchema prints errors and warnings, a line each.
func (t *target) checkSchema(cmd *cobra.Command) error {
	if t.config == "" && t.schema == "" {
		return usageError{errors.New("schema check: want --config, --schema or both")}
	}
	s, err := t.readSettings()
	var wrong schema.Problems
	if errors.As(err, &wrong) {
		for _, p := range wrong {
			fmt.Fprintln(cmd.OutOrStdout(), p.Error())
		}
		return errReported
	}
	if err != nil {
		return err
	}
	if s.schema == nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", t.config)
		return err
	}
	for _, w := range s.schema.Warnings {
		fmt.Fprintf(cmd.OutOrStdout(), "%s (warning)\n", w.Error())
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d buckets, %d file fields, good\n", t.schema, len(s.schema.Buckets), len(s.schema.Fields))
	return err
}
