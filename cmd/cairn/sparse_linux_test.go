package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

// allotted returns how many bytes a file takes on its file system.
func allotted(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func hashFile(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

// Holes stay holes: in new files, in trees, and where an interrupted get has left
// what is to become one.
func TestHoles(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		noise := make([]byte, 100_003)
		rand.NewChaCha8([32]byte{1}).Read(noise)
		for name, f := range map[string]struct {
			size int64
			at   []int64 // where noise is
		}{
			"begins": {4 << 20, []int64{2 << 20, 3<<20 + 77}}, "ends": {4 << 20, []int64{0, 1 << 20}}, "nothing": {4 << 20, nil}, "little": {900 << 10, []int64{300<<10 + 1}},
		} {
			in := filepath.Join(dir, "in", name)
			write(t, in, "")
			file, err := os.OpenFile(in, os.O_RDWR, 0)
			if err == nil {
				err = file.Truncate(f.size)
			}
			for _, at := range f.at {
				if err == nil {
					_, err = file.WriteAt(noise, at)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
			most := int64(len(f.at))*(int64(len(noise))+2*sparseBlock) + sparseBlock
			if allotted(t, in) > most {
				t.Skip("the file system has no holes")
			}
			out, _ := s.run(0, "", "put", "--json", in)
			_, id, _ := strings.Cut(out, `"manifest_id":"`)
			id, _, _ = strings.Cut(id, `"`)
			check := func(what, name string, most int64) {
				t.Helper()
				if got := allotted(t, name); got > most || hashFile(t, name) != hashFile(t, in) {
					t.Errorf("%s: takes %d bytes, at most %d should; same content: %v", what, got, most, hashFile(t, name) == hashFile(t, in))
				}
			}
			got := filepath.Join(dir, name)
			s.run(0, "", "get", "demo/"+name, "-o", got)
			check(name, got, most)
			// What an interrupted get has left is wrong, and longer than the file.
			again := filepath.Join(dir, "again")
			write(t, filepath.Join(dir, ".cairn-"+id+partSuffix("again")), strings.Repeat("wrong", int(f.size)/5+9))
			s.run(0, "", "get", "demo/"+name, "-o", again)
			// Chunks are cleared one by one, and a block may belong to two.
			check(name+", gone on with", again, most+f.size/32)
			s.run(0, "", "get", "-r", "demo", "-o", filepath.Join(dir, "tree"))
			check(name+", in a tree", filepath.Join(dir, "tree", name), most)
		}
	})
}

// A sparseFile holds what was written to it, whatever was there before.
func TestSparseFile(t *testing.T) {
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range 200 {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 1+r.IntN(20*sparseBlock))
		for range r.IntN(4) {
			at := r.IntN(len(want))
			rand.NewChaCha8([32]byte{2}).Read(want[at:min(len(want), at+r.IntN(3*sparseBlock))])
		}
		f.Write(bytes.Repeat([]byte("x"), r.IntN(len(want)+sparseBlock)))
		s, err := newSparseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s.Truncate(min(s.had, int64(len(want))))
		for at := 0; at < len(want); {
			n := 1 + r.IntN(6*sparseBlock)
			n = min(n, len(want)-at)
			if k, err := s.WriteAt(want[at:at+n], int64(at)); k != n || err != nil {
				t.Fatal(k, err)
			}
			at += n
		}
		if err := s.Truncate(int64(len(want))); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		}
		f.Close()
	}
}
