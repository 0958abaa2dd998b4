package main

import (
	"path/filepath"
	"strings"
	"testing"
)

const ruledSchema = `buckets:
  notes:
    file_rules: true
    rules:
      create: auth.id != null && upload.size < 100
      read: auth.id == file.owner || "public" in file.tags
      update: auth.id == file.owner
`

func TestRulesTest(t *testing.T) {
	s := (&shell{t, declared(t, goodConfig, ruledSchema)}).with("--config", "--schema")
	file := func(cases string) string {
		return write(t, filepath.Join(t.TempDir(), "cases.yaml"), "cases:\n"+cases)
	}
	good := `
- {name: owner reads, bucket: notes, operation: read, auth: {id: ann}, file: {owner: ann}, allow: true}
- {name: others don't, bucket: notes, operation: read, auth: {id: bob}, file: {owner: ann}, allow: false}
- {name: anybody reads what is public, bucket: notes, operation: download, file: {owner: ann, tags: [public]}, allow: true}
- {name: small uploads, bucket: notes, operation: create, auth: {id: ann}, upload: {size: 99}, allow: true}
- {name: no large ones, bucket: notes, operation: create, auth: {id: ann}, upload: {size: 100}, allow: false}
- {name: nobody deletes, bucket: notes, operation: delete, auth: {id: ann}, file: {owner: ann}, allow: false}
- {name: a file's own rule, bucket: notes, operation: read, auth: {id: bob}, file: {owner: ann, access: {read: auth.id == 'bob'}}, allow: true}
`
	out, _ := s.run(0, "", "rules", "test", file(good))
	if strings.Count(out, "ok    ") != 7 || !strings.Contains(out, "7 cases, 0 failed") {
		t.Errorf("told\n%s", out)
	}
	out, _ = s.run(1, "", "rules", "test", file(good+"- {name: wrong, bucket: notes, operation: update, auth: {id: bob}, file: {owner: ann}, allow: true}\n"))
	if !strings.Contains(out, "FAIL  wrong: denied by bucket rule update: auth.id == file.owner") {
		t.Errorf("told\n%s", out)
	}
	for what, bad := range map[string]string{"no verdict": "- {bucket: notes, operation: read}\n", "an unknown key": "- {bucket: notes, opration: read, allow: true}\n", "none": ""} {
		if _, stderr := s.run(1, "", "rules", "test", file(bad)); !strings.Contains(stderr, "cases.yaml") {
			t.Errorf("%s: told %q", what, stderr)
		}
	}
}

func TestRulesExplain(t *testing.T) {
	s := &shell{t, declared(t, goodConfig, ruledSchema)}
	s.run(0, "", "put", "--bucket", "notes", write(t, filepath.Join(t.TempDir(), "f.txt"), "x"))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"read", "notes/f.txt", "--as", `{"id": "bob"}`}, `denied by bucket rule read: auth.id == file.owner || "public" in file.tags (rule denies)`},
		{[]string{"delete", "notes/f.txt", "--as", `{"id": "bob"}`}, `denied by no rule (the bucket has no rule for it)`},
		{[]string{"create", "notes", "--as", `{"id": "bob"}`, "--upload", `{"size": 5}`}, `allowed by bucket rule create: auth.id != null && upload.size < 100`},
	} {
		if out, _ := s.run(0, "", append([]string{"rules", "explain"}, c.args...)...); strings.TrimSpace(out) != c.want {
			t.Errorf("%q: told %q, want %q", c.args, out, c.want)
		}
	}
}
