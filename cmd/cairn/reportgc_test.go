package main

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// The report says which removal freed which bytes and what waits; after a full
// collection nothing does. The ledger is listed in the whole.
func TestReportGarbage(t *testing.T) { targets(t, testReportGarbage) }

func testReportGarbage(t *testing.T, s *shell) {
	var r client.GarbageReport
	s.decodeJSON(&r, "report", "gc")
	if r.Entries != 0 || r.Since != nil || len(r.Newest) > 0 || len(r.Backends) != 1 || len(r.Waiting) != 10 || r.At.IsZero() {
		t.Errorf("of nothing: %+v", r)
	}
	if out, _ := s.run(0, "", "report", "gc"); !strings.Contains(out, "nothing waits") {
		t.Errorf("of nothing:\n%s", out)
	}
	if out, _ := s.run(0, "", "report", "gc", "--ledger"); out != "" {
		t.Errorf("an empty ledger:\n%s", out)
	}
	dir, content := t.TempDir(), make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{2}).Read(content)
	s.run(0, "", "put", write(t, filepath.Join(dir, "gone"), string(content[:2<<20])), write(t, filepath.Join(dir, "kept"), string(content[2<<20:])))
	s.run(0, "", "rm", "--permanent", "demo/gone")
	sum := func(why string) client.WaitingSum {
		for _, w := range r.Waiting {
			if w.Reason == why {
				return w
			}
		}
		return client.WaitingSum{}
	}
	s.decodeJSON(&r, "report", "gc")
	if w := sum("collection"); w.Count == 0 || w.Bytes < 2<<20 || r.Backends[0].Graves != 1 || r.Entries != 0 {
		t.Errorf("after a removal: %+v", r)
	}
	var done client.Collected
	s.decodeJSON(&done, "gc", "--full")
	r = client.GarbageReport{}
	s.decodeJSON(&r, "report", "gc", "--top", "1")
	if r.Freed.PurgedBytes+r.Freed.NobodyBytes != done.FreedBytes || r.Entries < 2 || r.Since == nil || len(r.Newest) != 1 || len(r.Days) != 1 ||
		r.Days[0].FreedSums != r.Freed || len(r.Buckets) != 1 || r.Buckets[0].Bucket != "demo" || r.Buckets[0].FreedBytes != r.Freed.PurgedBytes ||
		r.Freed.PurgedBytes < 2<<20 || sum("collection").Count != 0 || r.Backends[0].Graves != 0 {
		t.Errorf("after a collection that freed %d: %+v", done.FreedBytes, r)
	}
	out, _ := s.run(0, "", "report", "gc")
	for _, want := range []string{"freed: 2.0 MiB of removed files", "day (UTC)", "demo/gone"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _ = s.run(0, "", "report", "gc", "--ledger", "--json")
	listed := int64(0)
	for line := range strings.Lines(out) {
		var e client.FreedEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Pack == "" {
			t.Fatalf("%v: %s", err, line)
		}
		listed += e.Bytes
	}
	if all := r.Freed; listed != all.PurgedBytes+all.NobodyBytes+all.CopiedBytes {
		t.Errorf("the ledger has %d bytes, the report %+v", listed, all)
	}
	if out, _ = s.run(0, "", "report", "gc", "--ledger"); strings.Count(out, "\n") != int(r.Entries) {
		t.Errorf("%d entries:\n%s", r.Entries, out)
	}
	s.checkPlots("report", "gc")
	s.run(2, "", "report", "gc", "--ledger", "--top", "3")
	s.run(2, "", "report", "gc", "--ledger", "--plot", "x.svg")
	s.run(2, "", "report", "gc", "demo")
}
