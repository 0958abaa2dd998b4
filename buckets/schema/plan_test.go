package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFieldChanges(t *testing.T) {
	cover := Field{Collection: "posts", Name: "cover", Bucket: "images"}
	with := func(change func(*Field)) []Field {
		f := cover
		change(&f)
		return []Field{{Collection: "posts", Name: "other", Bucket: "docs"}, f}
	}
	for what, c := range map[string]struct {
		now  []Field
		want string // "" for no change
	}{
		"nothing":            {with(func(*Field) {}), ""},
		"a default, written": {with(func(f *Field) { f.Pin, f.OnDelete = PinManifest, OnDeleteKeep }), ""},
		"what new values may be": {with(func(f *Field) {
			f.Many, f.Nullable, f.MaxSize, f.MaxCount, f.Types = true, true, 1, 1, []string{"image/png"}
		}), ""},
		"bucket":     {with(func(f *Field) { f.Bucket = "photos" }), "field posts.cover: bucket was images and is photos"},
		"pin":        {with(func(f *Field) { f.Pin = PinFile }), "field posts.cover: pin was manifest and is file"},
		"policy":     {with(func(f *Field) { f.OnDelete = OnDeleteCascade }), "field posts.cover: on_delete was keep and is cascade"},
		"two":        {with(func(f *Field) { f.Bucket, f.Pin = "photos", PinFile }), "field posts.cover: bucket was images and is photos, pin was manifest and is file"},
		"name":       {with(func(f *Field) { f.Name = "banner" }), "field posts.cover is gone"},
		"collection": {with(func(f *Field) { f.Collection = "drafts" }), "field posts.cover is gone"},
		"all":        {nil, "field posts.cover is gone"},
	} {
		for _, plan := range []Plan{"", "bogus", PlanKeep, PlanRelease} {
			changes, err := FieldChanges([]Field{cover}, c.now, map[string]Plan{"posts.cover": plan, "posts.other": PlanKeep})
			if c.want == "" {
				if len(changes) > 0 || err != nil {
					t.Errorf("%s, plan %q: %v, %v", what, plan, changes, err)
				}
				continue
			}
			if len(changes) != 1 || changes[0].String() != c.want || changes[0].Plan != plan {
				t.Errorf("%s, plan %q: %v, want %q", what, plan, changes, c.want)
			}
			if planned := plan == PlanKeep || plan == PlanRelease; planned != (err == nil) || !planned && !errors.Is(err, ErrNoPlan) {
				t.Errorf("%s, plan %q: %v", what, plan, err)
			} else if !planned && !strings.Contains(err.Error(), c.want+"; write link_plans: {posts.cover: keep}") {
				t.Errorf("%s, plan %q: told %q", what, plan, err)
			}
		}
	}
	two := []Field{cover, {Collection: "users", Name: "avatar"}}
	if _, err := FieldChanges(two, nil, nil); err == nil || strings.Count(err.Error(), "is gone") != 2 {
		t.Errorf("two fields are gone: %v", err)
	}
}

// The old schema's buckets and backends may be gone; of the new one it is told
// where a plan is missing.
func TestCompareFields(t *testing.T) {
	before, err := ParseFields("old.yaml", []byte("collections:\n  posts:\n    fields:\n"+
		"      cover: {type: file, bucket: gone}\n      notes: {type: files, bucket: any}\n      scan: {type: file, bucket: docs}\n"+
		"buckets: {gone: {backend: nowhere}, any: 5}\n"))
	if err != nil || len(before) != 3 {
		t.Fatalf("%v, %v", before, err)
	}
	text := withBuckets("cover: {type: file, bucket: docs},\nnotes: {type: files, bucket: any, pin: file}")
	for _, c := range []struct {
		plans    string
		wrong    [][2]string
		warnings [][2]string
	}{
		{"", [][2]string{{"1:1", "field posts.scan is gone"}, {"3:1", "{posts.cover: keep}"}, {"4:1", "pin was manifest and is file"}}, nil},
		{"{posts.cover: release, posts.scan: keep}", [][2]string{{"4:1", "{posts.notes: release}"}}, nil},
		{"{posts.cover: keep, posts.scan: keep, posts.notes: keep}", nil, nil},
		{"{posts.cover: keep, posts.scan: keep, posts.notes: keep, posts.id: keep, a.b: release}", nil,
			[][2]string{{"8:70", "field posts.id has not changed"}, {"8:86", "field a.b has not changed"}}},
	} {
		s, err := Parse("s.yaml", []byte(text+"link_plans: "+c.plans), nil)
		if err != nil {
			t.Fatal(err)
		}
		changes, warnings, err := s.CompareFields(before)
		if len(changes) != 3 {
			t.Errorf("plans %s: %v", c.plans, changes)
		}
		if len(c.wrong) > 0 || err != nil {
			wantProblems(t, err, c.plans, c.wrong)
		}
		if len(c.warnings) > 0 || len(warnings) > 0 {
			wantProblems(t, warnings, c.plans, c.warnings)
		}
	}
	built := &Schema{LinkPlans: map[string]Plan{"a.b": PlanKeep}}
	if _, warnings, err := built.CompareFields(before); err == nil || len(warnings) != 1 {
		t.Errorf("a schema of no file: %v, %v", warnings, err)
	}
	for text, at := range map[string]string{
		"- a":  "1:1",
		"a: [": "1:1",
		"collections: {a: {fields: {b: {type: file, on_delete: bogus}}}}": "1:55",
	} {
		if _, err := ParseFields("old.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("old.yaml:%s: ", at)) {
			t.Errorf("%v, want it at %s of %s", err, at, text)
		}
	}
}
