package main

import (
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// The report tells of chunks that a removal left, and of files that lie beside packs.
func TestReportOrphans(t *testing.T) {
	race.LeaveOut(t)
	t.Run("data", func(t *testing.T) {
		dir := newStore(t)
		testReportOrphans(t, &shell{t, []string{"--data", dir}}, dir, false)
	})
	t.Run("server", func(t *testing.T) {
		dir := t.TempDir()
		store, err := local.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
		t.Cleanup(func() { srv.Close(); store.Close() })
		testReportOrphans(t, &shell{t, []string{"--server", srv.URL}}, dir, true)
	})
}

func testReportOrphans(t *testing.T, s *shell, dir string, served bool) {
	var r client.OrphanReport
	s.decodeJSON(&r, "report", "orphans")
	if len(r.Sums)+len(r.Found) != 0 || r.At.IsZero() {
		t.Errorf("of nothing: %+v", r)
	}
	if out, _ := s.run(0, "", "report", "orphans"); !strings.Contains(out, "nothing is stored that nothing names") {
		t.Errorf("of nothing: %s", out)
	}
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{3}).Read(content)
	s.run(0, "", "put", write(t, filepath.Join(t.TempDir(), "gone"), string(content)))
	s.run(0, "", "rm", "--permanent", "demo/gone")
	beside := ""
	err := filepath.WalkDir(filepath.Join(dir, "packs"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			beside = filepath.Dir(path)
		}
		return err
	})
	if err != nil || beside == "" {
		t.Fatalf("no pack is found: %v", err)
	}
	write(t, filepath.Join(beside, "notes.txt"), "notes")
	write(t, filepath.Join(beside, ".new-"+strings.Repeat("b", 26)), "torn")
	s.decodeJSON(&r, "report", "orphans")
	has := func(kind, remedy string, least int64) bool {
		return slices.ContainsFunc(r.Sums, func(o client.OrphanSum) bool {
			return o.Kind == kind && o.Remedy == remedy && o.Count > 0 && o.Bytes >= least
		})
	}
	if !has("chunk", "collection", 1<<20) || !has("object", "nothing", 5) || has("temporary_file", "opening", 4) != served {
		t.Errorf("%+v", r)
	}
	if out, _ := s.run(0, "", "report", "orphans"); !strings.Contains(out, "chunks that nothing needs; the next collection") || !strings.Contains(out, "notes.txt") {
		t.Errorf("the report says\n%s", out)
	}
	s.checkPlots("report", "orphans")
	s.run(0, "", "gc", "--full")
	s.decodeJSON(&r, "report", "orphans")
	if has("chunk", "collection", 0) {
		t.Errorf("after a collection: %+v", r)
	}
	s.run(2, "", "report", "orphans", "demo")
}
