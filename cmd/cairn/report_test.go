package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// decodeJSON runs a command with --json and decodes what it writes.
func (s *shell) decodeJSON(v any, args ...string) {
	s.t.Helper()
	out, _ := s.run(0, "", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// checkPlots draws the figures of a report in both formats.
func (s *shell) checkPlots(args ...string) {
	s.t.Helper()
	for ext, begin := range map[string]string{"svg": "<?xml", "png": "\x89PNG"} {
		file := filepath.Join(s.t.TempDir(), "plot."+ext)
		s.run(0, "", append(args, "--plot", file)...)
		if p, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(p), begin) {
			s.t.Errorf("%v as %s: %v, %d bytes", args, ext, err, len(p))
		}
	}
	file := filepath.Join(s.t.TempDir(), "plot.gif")
	if _, stderr := s.run(2, "", append(args, "--plot", file)...); !strings.Contains(stderr, "want a file that ends in .svg or .png") {
		s.t.Errorf("%v as gif: %s", args, stderr)
	}
	if _, err := os.Stat(file); err == nil {
		s.t.Errorf("%v as gif: there is a file", args)
	}
	s.run(1, "", append(args, "--plot", filepath.Join(file, "x.svg"))...)
	s.run(2, "", append(args, "--top", "0")...)
	s.run(2, "", append(args, "--top", "1001")...)
}

func TestReportUsage(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		var r client.UsageReport
		s.decodeJSON(&r, "report", "usage")
		if r.Files != 0 || r.Packs != 0 || len(r.Buckets) != 1 || len(r.Backends) != 1 || r.At.IsZero() {
			t.Errorf("of nothing: %+v", r)
		}
		s.run(0, strings.Repeat("words and more words\n", 5000), "put", "--name", "a", "-")
		s.run(0, "other words", "put", "--name", "a", "-")
		s.run(0, "hello", "put", "--name", "b", "-")
		s.run(0, "", "rm", "demo/b")
		s.decodeJSON(&r, "report", "usage", "--top", "1")
		b, at := &r.Buckets[0], &r.Backends[0]
		if r.Files != 1 || r.Versions != 2 || r.Bytes != 105011 || r.TrashedFiles != 1 || r.TrashedBytes != 5 || b.FileSums != r.FileSums || b.Bucket != "demo" ||
			b.Backend != "local" || at.Backend != "local" || at.PackSums != r.PackSums || r.StoredBytes != r.LiveBytes+r.RecordBytes+r.DeadBytes || r.LiveBytes == 0 ||
			r.MetadataBytes == 0 || len(r.Owners) != 1 || r.Owners[0].FileSums != r.FileSums || r.OtherOwners != 0 {
			t.Errorf("usage: %+v", r)
		}
		out, _ := s.run(0, "", "report", "usage")
		for _, want := range []string{"1 files, 2 versions, 102.5 KiB; in the trash 1 files, 5 B", "demo " + ownerText(r.Owners[0].Owner), "1 packs"} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) && !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		s.checkPlots("report", "usage")
		s.run(2, "", "report", "usage", "demo", "--plot", "x.svg")
		s.run(1, "", "report", "usage", "absent")
	})
}
