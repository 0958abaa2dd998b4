package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/s3config"
	"github.com/cairn-store/cairn/buckets/schema"
)

// settings are the files of --config and --schema; each is nil without its
// flag.
type settings struct {
	config *schema.Config
	schema *schema.Schema
	digest string // begin of the SHA-256 of the file of --schema, in hexadecimal
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
		sum := sha256.Sum256(text)
		s.digest = hex.EncodeToString(sum[:8])
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
	o, err := local.Configure(s.config, s.schema, drivers())
	if err == nil {
		o.TakeOwnership = t.take
	}
	return o, err
}

// drivers are those that this program links.
func drivers() *local.Drivers { return &local.Drivers{S3: s3config.Driver} }

func newSchema(t *target) *cobra.Command {
	return newGroup("schema", "Check and describe schema.yaml and alyx.yml", "check, keys or json",
		newSchemaCheck(t),
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

func newSchemaCheck(t *target) *cobra.Command {
	var against string
	cmd := &cobra.Command{Use: "check --config alyx.yml --schema schema.yaml", Short: "Tell what is wrong with them, and where", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := t.checkSchema(cmd, against)
			var wrong schema.Problems
			if !errors.As(err, &wrong) {
				return err
			}
			for _, p := range wrong {
				fmt.Fprintln(cmd.OutOrStdout(), p.Error())
			}
			return errReported
		}}
	cmd.Flags().StringVar(&against, "against", "", "the schema.yaml in use: tell which file fields change, and whether link_plans says what becomes of their links")
	return cmd
}

// checkSchema prints warnings, a line each, and what the files have. What is
// wrong it returns as schema.Problems. against names the schema before, "" for
// none.
func (t *target) checkSchema(cmd *cobra.Command, against string) error {
	switch {
	case t.config == "" && t.schema == "":
		return usageError{errors.New("schema check: want --config, --schema or both")}
	case t.schema == "" && against != "":
		return usageError{errors.New("schema check --against: want --schema too")}
	}
	s, err := t.readSettings()
	if err != nil {
		return err
	}
	if s.schema == nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", t.config)
		return err
	}
	warnings := s.schema.Warnings
	var changes []schema.FieldChange
	if against != "" {
		var more schema.Problems
		if changes, more, err = compareSchema(s.schema, against); err != nil {
			return err
		}
		warnings = append(warnings, more...)
	}
	for _, w := range warnings {
		fmt.Fprintf(cmd.OutOrStdout(), "%s (warning)\n", w.Error())
	}
	for _, c := range changes {
		becomes := map[schema.Plan]string{schema.PlanKeep: "its links stay as they were made", schema.PlanRelease: "its links are let go"}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s; %s\n", t.schema, c, becomes[c.Plan])
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d buckets, %d file fields, good\n", t.schema, len(s.schema.Buckets), len(s.schema.Fields))
	return err
}

// compareSchema compares the file fields of s with those of the file against.
func compareSchema(s *schema.Schema, against string) ([]schema.FieldChange, schema.Problems, error) {
	text, err := os.ReadFile(against)
	if err != nil {
		return nil, nil, fmt.Errorf("--against: %w", err)
	}
	before, err := schema.ParseFields(against, text)
	if err != nil {
		return nil, nil, err
	}
	return s.CompareFields(before)
}
