package main

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// gc gives back the space of what was removed, and of nothing else. What it would
// do it tells before, without doing it.
func TestGC(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		dir, size := t.TempDir(), 6<<20
		content := make([]byte, 2*size)
		rand.NewChaCha8([32]byte{1}).Read(content)
		s.run(0, "", "put", write(t, filepath.Join(dir, "gone"), string(content)), write(t, filepath.Join(dir, "kept"), string(content[size:])))
		collect := func(args ...string) (r client.Collected) {
			t.Helper()
			out, _ := s.run(0, "", append([]string{"gc", "--json"}, args...)...)
			if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Backends) != 1 {
				t.Fatalf("%v: %s", err, out)
			}
			return r
		}
		s.run(0, "", "rm", "demo/gone")
		if r := collect(); r.FreedBytes > 4096 || r.DroppedChunks > 0 {
			t.Errorf("collected what is in the trash: %+v", r)
		}
		out, _ := s.run(0, "", "ls", "--trash")
		s.run(0, "", "rm", "--permanent", "demo/"+strings.Fields(out)[0])
		text, _ := s.run(0, "", "gc", "--dry-run")
		if !strings.Contains(text, "would be freed") || !strings.Contains(text, "demo/gone") {
			t.Errorf("a dry run says %s", text)
		}
		plan := collect("--dry-run")
		r := collect("--rate", "1GiB")
		if least := int64(size * 9 / 10); r.FreedBytes < least || plan.FreedBytes < least || plan.DroppedChunks != r.DroppedChunks {
			t.Errorf("freed %+v, planned %+v", r, plan)
		}
		if f := r.Backends[0].Freed; len(f) == 0 || f[0].Path != "gone" || f[0].Bucket != "demo" || f[0].Bytes < int64(size*9/10) {
			t.Errorf("freed %+v", f)
		}
		if r := collect("--full"); r.DeadBytes > 0 || !r.Full {
			t.Errorf("left %+v", r)
		}
		if got, _ := s.run(0, "", "get", "demo/kept"); got != string(content[size:]) {
			t.Error("the other file has other bytes")
		}

		s.run(2, "", "gc", "--rate", "fast")
		s.run(2, "", "gc", "now")
		if s.target[0] == "--data" {
			s.run(0, "", "check")
			s.run(2, "", "gc", "status")
			return
		}
		if out, _ := s.run(0, "", "gc", "pause"); !strings.Contains(out, "paused") || !strings.Contains(out, "the last one ended at") {
			t.Errorf("pause says %s", out)
		}
		if out, _ := s.run(0, "", "gc", "resume", "--json"); !strings.Contains(out, `"paused":false`) {
			t.Errorf("resume says %s", out)
		}
		s.run(0, "", "gc", "status")
	})
}
