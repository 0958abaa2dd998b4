package schema

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Plan says what becomes of the links that records made by a field before it
// changed.
type Plan string

// What becomes of links: they stay as they were made; they are let go, and their
// policy does not follow.
const (
	PlanKeep    Plan = "keep"
	PlanRelease Plan = "release"
)

func (*Plan) choices() []string { return []string{"keep", "release"} }

// ErrNoPlan reports a field whose links need a plan.
var ErrNoPlan = errors.New("a file field changes without a plan for its links")

// A FieldChange is a change of what a field makes links by.
type FieldChange struct {
	Old  Field
	New  *Field // nil for a field that is gone, or holds files no more
	Plan Plan   // "" for none
}

// String says what has changed.
func (c FieldChange) String() string {
	if c.New == nil {
		return fmt.Sprintf("field %s is gone", c.Old.Key())
	}
	var parts []string
	before, now := c.Old.linkTerms(), c.New.linkTerms()
	for i, key := range []string{"bucket", "pin", "on_delete"} {
		if before[i] != now[i] {
			parts = append(parts, fmt.Sprintf("%s was %s and is %s", key, before[i], now[i]))
		}
	}
	return fmt.Sprintf("field %s: %s", c.Old.Key(), strings.Join(parts, ", "))
}

// checkPlan returns ErrNoPlan if the change has no plan.
func (c FieldChange) checkPlan() error {
	if slices.Contains(c.Plan.choices(), string(c.Plan)) {
		return nil
	}
	key := c.Old.Key()
	return fmt.Errorf("%w: %s; write link_plans: {%s: keep} and its links stay as they were made, or {%s: release} and they are let go",
		ErrNoPlan, c, key, key)
}

// linkTerms returns what links are made by: bucket, pin and policy.
func (f *Field) linkTerms() [3]string {
	return [3]string{f.Bucket, string(cmp.Or(f.Pin, PinManifest)), string(cmp.Or(f.OnDelete, OnDeleteKeep))}
}

// FieldChanges returns which of the fields of before have another bucket, pin or
// on_delete now, or are gone, with the plan of each. The error is one ErrNoPlan
// for each that has none. A zero Pin or OnDelete is the default.
func FieldChanges(before, now []Field, plans map[string]Plan) ([]FieldChange, error) {
	var changes []FieldChange
	var errs []error
	for _, old := range before {
		c := FieldChange{Old: old, Plan: plans[old.Key()]}
		if i := slices.IndexFunc(now, func(f Field) bool { return f.Key() == old.Key() }); i >= 0 {
			c.New = &now[i]
			if old.linkTerms() == c.New.linkTerms() {
				continue
			}
		}
		changes = append(changes, c)
		errs = append(errs, c.checkPlan())
	}
	return changes, errors.Join(errs...)
}

// CompareFields is FieldChanges from the fields of the schema before to those of
// s. The error is Problems, with the places of the fields that need a plan. It
// warns of plans for what has not changed.
func (s *Schema) CompareFields(before []Field) (changes []FieldChange, warnings Problems, err error) {
	src := &source{file: s.file}
	changes, _ = FieldChanges(before, s.Fields, s.LinkPlans)
	unused := maps.Clone(s.LinkPlans)
	for _, c := range changes {
		delete(unused, c.Old.Key())
		if err := c.checkPlan(); err != nil {
			src.addProblem(cmp.Or(s.fieldsAt[c.Old.Key()], &yaml.Node{}), "%s", err)
		}
	}
	for key := range unused {
		warnings = append(warnings, src.problemAt(cmp.Or(s.plansAt[key], &yaml.Node{}), "field %s has not changed: its plan does nothing now, and would stand for its next change", key))
	}
	warnings.sortByPlace()
	return changes, warnings, src.err()
}

// ParseFields reads the fields of a schema that was good once, and passes over
// all else: its backends and buckets may be gone.
func ParseFields(file string, text []byte) ([]Field, error) {
	c := &checker{source: &source{file: file, text: text}}
	root := c.parseDocument()
	if root == nil {
		return nil, c.err()
	}
	var out []Field
	c.eachKey(root, func(k, value *yaml.Node) {
		if k.Value == "collections" {
			out = c.readFields(value, nil)
		}
	})
	return out, c.err()
}

var planKey = regexp.MustCompile(`^[a-z][a-z0-9_-]*\.[a-z][a-z0-9_-]*$`)

// readPlans reads link_plans.
func (c *checker) readPlans(n *yaml.Node, out *Schema) {
	c.decode(n, valueOf(&out.LinkPlans))
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		k := n.Content[i]
		out.plansAt[k.Value] = k
		if k.Kind == yaml.ScalarNode && !planKey.MatchString(k.Value) {
			c.addProblem(k, "plan for %q: want COLLECTION.FIELD", k.Value)
		}
	}
}
