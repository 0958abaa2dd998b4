package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// Operators collect, read what came of it, and pause what comes by itself.
func TestCollect(t *testing.T) {
	w := secured(t, "buckets: {notes: {rules: {create: 'true', delete: 'true'}}}")
	root := token(t, "root", map[string]any{"role": "admin"})
	at := "/api/admin/storage/gc"
	status := func(method, path string) (st client.CollectStatus) {
		t.Helper()
		a := w.want(200, "", method, path, nil, "Authorization", root)
		if err := json.Unmarshal(a.body, &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := status("GET", at); st.Paused || st.Running != nil || st.Last != nil {
		t.Errorf("at first: %+v", st)
	}
	w.want(400, "invalid-request", "POST", at, strings.NewReader(`{"rate": -1}`), "Authorization", root, "Content-Type", "application/json")
	w.want(400, "invalid-request", "POST", at, strings.NewReader(`{"dry": true}`), "Authorization", root, "Content-Type", "application/json")
	for _, body := range []string{`{"dry_run": true}`, `{"full": true, "rate": 1000000}`} {
		a := w.want(200, "", "POST", at, strings.NewReader(body), "Authorization", root, "Content-Type", "application/json")
		lines := strings.Split(strings.TrimSpace(string(a.body)), "\n")
		var last struct{ Report *client.Collected }
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Report == nil || last.Report.DryRun != strings.Contains(body, "dry") {
			t.Errorf("%s: %s", body, a.body)
		}
		if st := status("GET", at); (st.Last == nil) != last.Report.DryRun {
			t.Errorf("after %s: %+v", body, st)
		}
	}
	if !status("POST", at+"/pause").Paused || !status("GET", at).Paused || status("POST", at+"/resume").Paused {
		t.Error("pause and resume do not show")
	}
}
