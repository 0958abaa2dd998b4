package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
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
	race.LeaveOut(t)
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

func TestReportDedup(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		var r client.DedupReport
		s.decodeJSON(&r, "report", "dedup")
		if r.LogicalBytes != 0 || len(r.Days) != 1 || len(r.Backends) != 1 {
			t.Errorf("of nothing: %+v", r)
		}
		dir, content := t.TempDir(), make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{2}).Read(content)
		s.run(0, "", "put", write(t, filepath.Join(dir, "a.bin"), string(content)), write(t, filepath.Join(dir, "b.bin"), string(content)),
			write(t, filepath.Join(dir, "c.txt"), strings.Repeat("words and more words\n", 50000)))
		s.run(0, "", "rm", "demo/b.bin")
		s.decodeJSON(&r, "report", "dedup", "--top", "1")
		if r.Files != 3 || r.Versions != 3 || r.LogicalBytes != 2<<20+21*50000 || r.UniqueBytes != 1<<20+21*50000 || r.SavedByDedup != 1<<20 ||
			r.CompressedBytes < 1<<20 || r.CompressedBytes > 1<<20+40000 || r.SavedByCompression != r.UniqueBytes-r.CompressedBytes ||
			r.StoredBytes < r.CompressedBytes+r.ListBytes+r.OtherBytes+r.RecordBytes || r.DedupRatio < 2 || r.MissingChunks+r.UnreadSegments+r.OtherChunks != 0 {
			t.Errorf("dedup: %+v", r)
		}
		if g := r.Types.Groups; len(g) != 1 || g[0].Name != "application/octet-stream" || g[0].LogicalBytes != 2<<20 || g[0].UniqueBytes != 1<<20 || g[0].ExclusiveBytes != 1<<20 ||
			r.Types.Others != 1 || r.Types.Rest.LogicalBytes != 21*50000 {
			t.Errorf("types: %+v", r.Types)
		}
		if c := r.Contents; len(c) != 1 || c[0].Versions != 2 || c[0].SavedBytes != 1<<20 || len(c[0].Examples) != 2 || c[0].Examples[0].Bucket != "demo" {
			t.Errorf("contents: %+v", c)
		}
		if c := r.Chunks; len(c) != 1 || c[0].References < 2 || len(c[0].Digest) != 64 {
			t.Errorf("chunks: %+v", c)
		}
		if d := r.Days; len(d) != 1 || d[0].LogicalBytes != r.LogicalBytes || d[0].StoredBytes != r.StoredBytes || d[0].UniqueBytes != r.UniqueBytes {
			t.Errorf("days: %+v", d)
		}
		out, _ := s.run(0, "", "report", "dedup")
		for _, want := range []string{"logical     3.0 MiB in 3 files, 3 versions", "deduplication saves 1.0 MiB", "application/octet-stream", "demo/a.bin", "demo/b.bin", "made in "} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		s.checkPlots("report", "dedup")
	})
}

func TestReportFragmentation(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		var r client.FragmentationReport
		s.decodeJSON(&r, "report", "fragmentation")
		if r.Files != 0 || r.Ranges != 0 || len(r.Worst) != 0 {
			t.Errorf("of nothing: %+v", r)
		}
		dir, content := t.TempDir(), make([]byte, 5<<20)
		rand.NewChaCha8([32]byte{3}).Read(content)
		s.run(0, "", "put", write(t, filepath.Join(dir, "a.bin"), string(content)), write(t, filepath.Join(dir, "b.txt"), "small"), write(t, filepath.Join(dir, "c.txt"), "trash"))
		s.run(0, "", "rm", "demo/c.txt")
		s.decodeJSON(&r, "report", "fragmentation")
		if r.Files != 2 || r.Bytes != 5<<20+5 || r.Ranges < 2 || r.Requests < 2 || r.FetchBytes < 5<<20 || r.UnreadFiles != 0 || len(r.Buckets) != 1 ||
			r.Buckets[0].FragmentSums != r.FragmentSums || len(r.Classes) != 1 || r.Classes[0].Most != 1 || r.Classes[0].Files != 2 ||
			len(r.Worst) != 2 || r.Worst[0].Path != "b.txt" && r.Worst[0].RangesPerMiB != r.Worst[1].RangesPerMiB || r.Worst[0].RangesPerMiB != 1 {
			t.Errorf("fragmentation: %+v", r)
		}
		out, _ := s.run(0, "", "report", "fragmentation")
		for _, want := range []string{"2 files, 5.0 MiB: ", "demo/a.bin", "up to 1", "made in "} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		s.checkPlots("report", "fragmentation")
	})
}

func TestCompressionText(t *testing.T) {
	for n, want := range map[int64]string{
		0:       "compression saves 0 B",
		3 << 20: "compression saves 3.0 MiB",
		-2048:   "compression saves less than headers take, by 2.0 KiB",
	} {
		if got := compressionText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
