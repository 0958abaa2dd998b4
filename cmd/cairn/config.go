package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	if err != nil {
		return nil, err
	}
	o.TakeOwnership = t.take
	if t.audit, err = t.openAudit(s.config); t.audit != nil {
		o.Audit = t.audit.Audit
	}
	return o, err
}

// drivers are those that this program links.
func drivers() *local.Drivers { return &local.Drivers{S3: s3config.Driver} }

func newSchema(t *target) *cobra.Command {
	return newGroup("schema", "Check and describe schema.yaml and alyx.yml", "check, keys or json",
		newSchemaCheck(t),
		&cobra.Command{Use: "keys", Short: "List every key, its default and what it does", Args: wantArgs(cobra.NoArgs),
			Example: `  cairn schema keys`,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if t.json {
					return writeJSON(cmd.OutOrStdout(), map[string]string{"keys": schema.Keys()}, false)
				}
				return writeText(cmd.OutOrStdout(), schema.Keys())
			}},
		&cobra.Command{Use: "json", Short: "Write the JSON Schema of schema.yaml, for editors", Args: wantArgs(cobra.NoArgs),
			Example: `  cairn schema json > schema.json`,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return writeJSON(cmd.OutOrStdout(), json.RawMessage(schema.JSONSchema()), !t.json)
			}},
	)
}

func newSchemaCheck(t *target) *cobra.Command {
	var against string
	cmd := &cobra.Command{Use: "check --config alyx.yml --schema schema.yaml", Short: "Tell what is wrong with them, and where", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn schema check --config alyx.yml --schema schema.yaml
  cairn schema check --schema new.yaml --against schema.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := t.checkSchema(cmd, against)
			var wrong schema.Problems
			if !errors.As(err, &wrong) {
				return err
			}
			if t.json {
				return errors.Join(writeJSON(cmd.OutOrStdout(), &schemaChecked{Problems: problemTexts(wrong)}, false), errReported)
			}
			for _, p := range wrong {
				printf(cmd.OutOrStdout(), "%s\n", p)
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
		return t.showValue(cmd, &schemaChecked{Good: true, Problems: []string{}}, "%s: good\n", t.config)
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
	found := &schemaChecked{Good: true, Buckets: len(s.schema.Buckets), Fields: len(s.schema.Fields), Problems: []string{}, Warnings: problemTexts(warnings)}
	for _, c := range changes {
		becomes := map[schema.Plan]string{schema.PlanKeep: "its links stay as they were made", schema.PlanRelease: "its links are let go"}
		found.Changes = append(found.Changes, fmt.Sprintf("%s; %s", c, becomes[c.Plan]))
	}
	if !t.json {
		for _, w := range found.Warnings {
			printf(cmd.OutOrStdout(), "%s (warning)\n", w)
		}
		for _, c := range found.Changes {
			printf(cmd.OutOrStdout(), "%s: %s\n", t.schema, c)
		}
	}
	return t.showValue(cmd, found, "%s: %d buckets, %d file fields, good\n", t.schema, found.Buckets, found.Fields)
}

// schemaChecked is what schema check tells, as JSON.
type schemaChecked struct {
	Good     bool     `json:"good"`
	Buckets  int      `json:"buckets"`
	Fields   int      `json:"file_fields"`
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings,omitempty"`
	Changes  []string `json:"changes,omitempty"` // of file fields
}

func problemTexts(ps schema.Problems) []string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.Error()
	}
	return out
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
