package api_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// Operators check a store in use; what is found comes in lines of its own, before
// the report.
func TestCheck(t *testing.T) {
	w := secured(t, "buckets: {notes: {rules: {create: 'true'}}}")
	root := token(t, "root", map[string]any{"role": "admin"})
	type line struct {
		client.Working
		Found  *client.CheckProblem
		Report *client.Checked
	}
	check := func(body string) (lines []line) {
		t.Helper()
		a := w.want(200, "", "POST", "/api/admin/storage/check", strings.NewReader(body), "Authorization", root, "Content-Type", "application/json")
		for text := range strings.Lines(string(a.body)) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			lines = append(lines, l)
		}
		if last := lines[len(lines)-1]; last.Report == nil || last.Phase != "done" {
			t.Fatalf("it ends with %+v", last)
		}
		return lines
	}
	text := strings.Repeat("some text that is stored, ", 20)
	w.want(201, "", "POST", "/api/files/notes?name=a", strings.NewReader(text))
	if lines := check(`{"rate": 1000000000}`); len(lines) > 1 || !lines[0].Report.OK || lines[0].Report.Files != 1 {
		t.Errorf("a whole store: %+v", lines)
	}
	damaged := 0
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.Contains(path, "packs") && !strings.Contains(path, "backend") {
			return err
		}
		p, err := os.ReadFile(path)
		if i := bytes.Index(p, []byte("some text that")); err == nil && i >= 0 {
			damaged++
			p[i] = 'S'
			err = os.WriteFile(path, p, 0o600)
		}
		return err
	})
	if err != nil || damaged != 1 {
		t.Fatalf("%d packs hold the text, %v", damaged, err)
	}
	lines := check(`{}`)
	found := map[string]int{}
	for _, l := range lines[:len(lines)-1] {
		if l.Found != nil {
			found[l.Found.Kind]++
		}
	}
	if r := lines[len(lines)-1].Report; r.OK || found["chunk"] != 1 || found["manifest"] != 1 || r.Damaged[0].Path != "notes/a" {
		t.Errorf("found %v: %+v", found, r)
	}
	for _, body := range []string{`{"rate": -1}`, `{"repair": true}`} {
		w.want(400, "invalid-request", "POST", "/api/admin/storage/check", strings.NewReader(body), "Authorization", root, "Content-Type", "application/json")
	}
}
