package main

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// A preview says what removing a file and gc --full then give back, and whose bytes
// the ledger says they were; explain says what keeps a chunk, a pack and a file.
func TestPreviewAndExplain(t *testing.T) { targets(t, testPreviewAndExplain) }

func testPreviewAndExplain(t *testing.T, s *shell) {
	dir, size := t.TempDir(), 3<<20
	content := make([]byte, 3*size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	s.run(0, "", "put", write(t, filepath.Join(dir, "gone"), string(content[:2*size])), write(t, filepath.Join(dir, "kept"), string(content[size:])))
	decode := func(v any, args ...string) {
		t.Helper()
		out, _ := s.run(0, "", append(args, "--json")...)
		if err := json.Unmarshal([]byte(out), v); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	var p, all client.RemovalPreview
	decode(&p, "gc", "preview", "--delete", "demo/gone")
	if p.Files != 1 || p.LogicalBytes != int64(2*size) || p.FreedBytes+p.PendingBytes < int64(size*9/10) || p.SharedBytes < int64(size*9/10) {
		t.Errorf("preview %+v", p)
	}
	decode(&all, "gc", "preview", "--prefix", "demo")
	if all.Files != 2 || all.SharedBytes > 0 || all.FreedBytes < int64(3*size*99/100) {
		t.Errorf("preview of everything: %+v", all)
	}
	decode(&all, "gc", "preview", "--versions-before", "0d")
	if all.Versions > 0 || all.FreedBytes > 0 {
		t.Errorf("preview of old versions: %+v", all)
	}
	var file, chunk, pack client.Explained
	decode(&file, "gc", "explain", "demo/gone")
	if file.Kind != "file" || !file.Kept || len(file.Holders) != 1 || file.Preview == nil || file.Preview.FreedBytes != p.FreedBytes {
		t.Errorf("file: %+v", file)
	}
	id := file.Holders[0].FileID
	split, err := chunker.Profile("balanced")
	if err != nil {
		t.Fatal(err)
	}
	digest := cas.Sum(content[:split.Split(content)]).String()
	decode(&chunk, "gc", "explain", digest)
	if chunk.Kind != "chunk" || !chunk.Kept || len(chunk.Places) != 1 || chunk.HolderCount != 1 {
		t.Errorf("chunk: %+v", chunk)
	}
	decode(&pack, "gc", "explain", chunk.Places[0].Pack)
	if pack.Kind != "pack" || pack.Pack == nil || !pack.Kept {
		t.Errorf("pack: %+v", pack)
	}
	for _, what := range []string{id, digest, chunk.Places[0].Pack} {
		if text, _ := s.run(0, "", "gc", "explain", what); !strings.Contains(text, "kept: ") {
			t.Errorf("explained: %s", text)
		}
	}
	if text, _ := s.run(0, "", "gc", "preview", "demo/gone", "demo/kept"); !strings.Contains(text, "2 file(s)") {
		t.Errorf("preview: %s", text)
	}

	s.run(0, "", "rm", "--permanent", "demo/gone")
	var r client.Collected
	decode(&r, "gc", "--full")
	freed := int64(0)
	for _, f := range r.Backends[0].Freed {
		if f.FileID == id {
			freed += f.Bytes
		}
	}
	if freed != p.FreedBytes+p.PendingBytes {
		t.Errorf("the file has freed %d bytes, the preview said %d and %d", freed, p.FreedBytes, p.PendingBytes)
	}
	var gone client.Explained
	decode(&gone, "gc", "explain", id)
	if gone.Kept || len(gone.Freed) == 0 {
		t.Errorf("file that is gone: %+v", gone)
	}
	s.run(1, "", "gc", "explain", digest)
	s.run(1, "", "gc", "explain", "demo/gone")
	s.run(1, "", "gc", "preview", "--delete", "demo/"+id)
	s.run(1, "", "gc", "preview", "--prefix", "other/")
	s.run(2, "", "gc", "preview")
	s.run(2, "", "gc", "preview", "--versions-before", "yesterday")
}

func TestParseBefore(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"30d":                  time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
		"90m":                  time.Date(2026, 3, 2, 8, 30, 0, 0, time.UTC),
		"-1h":                  {},
		"d":                    {},
		"":                     {},
	} {
		if got, err := parseBefore(in, now); !got.Equal(want) || (err != nil) != want.IsZero() {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
}
