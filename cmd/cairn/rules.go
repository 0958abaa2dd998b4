package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

func newRules(t *target) *cobra.Command {
	return newGroup("rules", "Test access rules, and tell which of them decides", "test or explain", newRulesTest(t), newRulesExplain(t))
}

// A ruleCase is one entry of a file of cases.
type ruleCase struct {
	Name      string         `yaml:"name"`
	Bucket    string         `yaml:"bucket"`
	Operation string         `yaml:"operation"`
	Auth      map[string]any `yaml:"auth"` // claims, "id" among them; none is anonymous
	File      *ruleFile      `yaml:"file"`
	Upload    *ruleUpload    `yaml:"upload"`
	Request   *ruleRequest   `yaml:"request"`
	Allow     *bool          `yaml:"allow"`
}

type ruleFile struct {
	ID       string            `yaml:"id"`
	Name     string            `yaml:"name"`
	Folder   string            `yaml:"folder"`
	Size     int64             `yaml:"size"`
	MIMEType string            `yaml:"mime_type"`
	Owner    string            `yaml:"owner"`
	State    string            `yaml:"state"`
	Version  uint64            `yaml:"version"`
	Metadata map[string]any    `yaml:"metadata"`
	Tags     []string          `yaml:"tags"`
	Access   map[string]string `yaml:"access"`
	Created  time.Time         `yaml:"created_at"`
	Updated  time.Time         `yaml:"updated_at"`
}

type ruleUpload struct {
	Name     string `yaml:"name"`
	Folder   string `yaml:"folder"`
	Size     int64  `yaml:"size"`
	MIMEType string `yaml:"mime_type"`
}

type ruleRequest struct {
	Method   string    `yaml:"method"`
	IP       string    `yaml:"ip"`
	Protocol string    `yaml:"protocol"`
	Time     time.Time `yaml:"time"`
}

// toRequest returns the request that the case is about.
func (c *ruleCase) toRequest() (*access.Request, error) {
	id, _ := c.Auth["id"].(string)
	req := &access.Request{Op: access.Op(c.Operation), Bucket: c.Bucket, Who: &access.Principal{ID: id, Claims: c.Auth}}
	if r := c.Request; r != nil {
		req.Who.Request = rules.Request{Method: r.Method, IP: r.IP, Protocol: r.Protocol, Time: r.Time}
	}
	if f := c.File; f != nil {
		metadata, err := json.Marshal(f.Metadata)
		if err != nil {
			return nil, err
		}
		states := map[string]manifest.State{"": manifest.Active, "active": manifest.Active, "trashed": manifest.Trashed, "quarantined": manifest.Quarantined}
		state, ok := states[f.State]
		if !ok {
			return nil, fmt.Errorf("state %q: use active, trashed or quarantined", f.State)
		}
		req.File = &manifest.File{ID: manifest.FileID(f.ID), Bucket: c.Bucket, Name: names.CanonicalPath(f.Name),
			Folder: names.CanonicalPath(f.Folder), Owner: f.Owner, State: state,
			Metadata: metadata, Tags: f.Tags, Access: f.Access, CreatedAt: f.Created, UpdatedAt: f.Updated}
		req.Version = &manifest.Manifest{Version: f.Version, MIMEType: f.MIMEType, Content: manifest.Content{Size: f.Size}}
	}
	if u := c.Upload; u != nil {
		name, folder := names.CanonicalPath(u.Name), names.CanonicalPath(u.Folder)
		req.Upload = &rules.Upload{Name: name, Folder: folder, Path: names.Join(folder, name), Size: u.Size, MIMEType: u.MIMEType}
	}
	return req, nil
}

func newRulesTest(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "test --schema schema.yaml FILE", Short: "Run a table of cases against the rules of a schema", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn rules test --schema schema.yaml cases.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.readSettings()
			if err != nil {
				return err
			}
			if s.schema == nil {
				return usageError{errors.New("rules test: want --schema")}
			}
			policies, err := buckets.Policies(s.schema)
			if err != nil {
				return err
			}
			cases, err := readCases(args[0])
			if err != nil {
				return err
			}
			return t.testRules(cmd, policies, cases)
		},
	}
}

func readCases(file string) ([]ruleCase, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Cases []ruleCase `yaml:"cases"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Cases) == 0 {
		return nil, fmt.Errorf("%s: there are no cases in it", file)
	}
	for i := range doc.Cases {
		c := &doc.Cases[i]
		if c.Allow == nil {
			return nil, fmt.Errorf("%s: case %d (%s): say allow: true or allow: false", file, i+1, c.Name)
		}
	}
	return doc.Cases, nil
}

func (t *target) testRules(cmd *cobra.Command, policies map[string]buckets.Policy, cases []ruleCase) error {
	guard, err := access.NewGuard(func(bucket string) *access.Policy {
		if p, ok := policies[bucket]; ok {
			return &p.Access
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	failed := 0
	for i := range cases {
		c := &cases[i]
		name := c.Name
		if name == "" {
			name = fmt.Sprintf("case %d", i+1)
		}
		req, err := c.toRequest()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d := guard.Explain(cmd.Context(), req)
		got := ruleTested{Case: name, OK: (d.Err == nil) == *c.Allow, Decision: api.DecisionView(d)}
		text, more := "ok    %s%s\n", ""
		if !got.OK {
			failed++
			text, more = "FAIL  %s: %s\n", decisionLine(got.Decision)
		}
		if err := t.showValue(cmd, got, text, name, more); err != nil {
			return err
		}
	}
	if err := t.showValue(cmd, map[string]int{"cases": len(cases), "failed": failed}, "%d cases, %d failed\n", len(cases), failed); err != nil {
		return err
	}
	if failed > 0 {
		return errReported
	}
	return nil
}

// ruleTested is the outcome of a case, as JSON.
type ruleTested struct {
	Case     string           `json:"case"`
	OK       bool             `json:"ok"`
	Decision *client.Decision `json:"decision"`
}

// decisionLine formats a decision for people.
func decisionLine(d *client.Decision) string {
	line := "allowed"
	if !d.Allowed {
		line = "denied"
	}
	line += " by " + d.By
	if d.Rule != "" {
		line += fmt.Sprintf(" %s: %s", d.RuleOf, strings.Join(strings.Fields(d.Rule), " "))
	}
	if d.Reason != "" {
		line += " (" + d.Reason + ")"
	}
	return line
}

func newRulesExplain(t *target) *cobra.Command {
	var as, upload string
	cmd := &cobra.Command{
		Use: "explain [flags] OPERATION BUCKET[/ID]", Short: "Tell whether somebody may do something, and which rule decides", Args: wantArgs(cobra.ExactArgs(2)),
		Example: `  cairn rules explain read demo
  cairn rules explain --as '{"id": "ann"}' delete demo/report.pdf`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := &client.Question{Operation: args[0], Bucket: args[1]}
			for flag, into := range map[string]any{as: &q.Auth, upload: &q.Upload} {
				if flag != "" {
					if err := json.Unmarshal([]byte(flag), into); err != nil {
						return usageError{fmt.Errorf("%s is not a JSON object: %w", flag, err)}
					}
				}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) (err error) {
				if strings.Contains(args[1], "/") {
					if q.Bucket, q.ID, err = resolveRef(ctx, fl, args[1]); err != nil {
						return err
					}
				}
				d, err := fl.Explain(ctx, q)
				if err != nil {
					return err
				}
				return t.showValue(cmd, d, "%s\n", decisionLine(d))
			})
		},
	}
	cmd.Flags().StringVar(&as, "as", "", `claims of that one, such as '{"id": "ann", "role": "editor"}' (default: anonymous)`)
	cmd.Flags().StringVar(&upload, "upload", "", `what an upload would bring, such as '{"name": "a.png", "size": 1000, "mime_type": "image/png"}'`)
	return cmd
}
