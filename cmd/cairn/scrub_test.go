package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// A byte of a stored file goes bad: scrub finds it, names the file, and exits with 1
// until the same bytes were put again.
func TestScrub(t *testing.T) {
	race.LeaveOut(t)
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	t.Run("data", func(t *testing.T) {
		dir := t.TempDir()
		testScrub(t, &shell{t, []string{"--data", dir}}, dir, content)
	})
	t.Run("server", func(t *testing.T) {
		dir := t.TempDir()
		store, err := local.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
		t.Cleanup(func() { srv.Close(); store.Close() })
		testScrub(t, &shell{t, []string{"--server", srv.URL}}, dir, content)
	})
}

func testScrub(t *testing.T, s *shell, dir string, content []byte) {
	in := t.TempDir()
	name := write(t, filepath.Join(in, "hurt.bin"), string(content))
	s.run(0, "", "put", name, write(t, filepath.Join(in, "well.txt"), "well"))
	scrub := func(status int, args ...string) (r client.Scrubbed) {
		t.Helper()
		out, _ := s.run(status, "", append([]string{"scrub", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Backends) != 1 || r.OK != (status == 0) {
			t.Fatalf("%v: %s", err, out)
		}
		return r
	}
	if r := scrub(0, "--all", "--rate", "1GiB"); r.Packs == 0 || r.Bytes < int64(len(content)) {
		t.Errorf("%+v", r)
	}
	if r := scrub(0); r.Packs > 0 || r.SkippedPacks == 0 {
		t.Errorf("again: %+v", r)
	}
	flipStored(t, dir, content[500<<10:][:100])
	r := scrub(1, "--all")
	if b := r.Backends[0]; r.BadChunks == 0 || len(b.Hurt) != 1 || b.Hurt[0].Bucket != "demo" || b.Hurt[0].Path != "hurt.bin" || b.Hurt[0].FileID == "" {
		t.Errorf("%+v", r)
	}
	text, _ := s.run(1, "", "scrub")
	if !strings.Contains(text, "hurt: demo/hurt.bin") {
		t.Errorf("scrub says %s", text)
	}
	if text, _ := s.run(0, "", "scrub", "status"); !strings.Contains(text, "1 with damage") {
		t.Errorf("status says %s", text)
	}
	s.run(0, "", "put", "--name", "again.bin", name)
	if r := scrub(0, "--all"); r.BadChunks > 0 {
		t.Errorf("healed: %+v", r)
	}
	if got, _ := s.run(0, "", "get", "demo/hurt.bin"); got != string(content) {
		t.Error("the file has other bytes")
	}
	s.run(2, "", "scrub", "--rate", "fast")
	s.run(2, "", "scrub", "--max-age", "long")
	s.run(2, "", "scrub", "now")
}

// flipStored inverts a byte in the one file of a directory that holds some bytes.
func flipStored(t *testing.T, dir string, some []byte) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		p, err := os.ReadFile(path)
		if i := bytes.Index(p, some); err == nil && i >= 0 {
			found++
			err = flipByte(path, p[i], int64(i))
		}
		return err
	})
	if err != nil || found != 1 {
		t.Fatalf("%d files hold the bytes, %v", found, err)
	}
}

// flipByte inverts the byte b of a file that a server may have open.
func flipByte(path string, b byte, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{^b}, at)
	return errors.Join(err, f.Close())
}
