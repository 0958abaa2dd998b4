package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The same files make the same bytes, whatever their times and modes and wherever they
// lie, and come back as they were.
func TestArchive(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	for _, kind := range []string{".tar.gz", ".zip"} {
		var made [][]byte
		for i, umask := range []os.FileMode{0, 0o77} {
			folder, out := filepath.Join(t.TempDir(), "cairn_1.0"), filepath.Join(t.TempDir(), "a"+kind)
			for name, mode := range map[string]os.FileMode{"cairn": 0o755, "docs/cli.md": 0o644, "docs/a/b": 0o666, "LICENSE": 0o644} {
				file := filepath.Join(folder, filepath.FromSlash(name))
				must(t, os.MkdirAll(filepath.Dir(file), 0o755))
				must(t, os.WriteFile(file, []byte("content of "+name), 0o600))
				must(t, os.Chmod(file, mode&^umask))
				must(t, os.Chtimes(file, time.Time{}, time.Unix(int64(i)*1000, 0)))
			}
			must(t, writeArchive(out, folder, at))
			p, err := os.ReadFile(out)
			must(t, err)
			made = append(made, p)
		}
		if !bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: not the same bytes", kind)
		}
		got := map[string]string{}
		if kind == ".zip" {
			r, err := zip.NewReader(bytes.NewReader(made[0]), int64(len(made[0])))
			must(t, err)
			for _, f := range r.File {
				c, err := f.Open()
				must(t, err)
				p, err := io.ReadAll(c)
				must(t, err)
				got[f.Name+" "+f.Mode().String()] = string(p)
			}
		} else {
			gz, err := gzip.NewReader(bytes.NewReader(made[0]))
			must(t, err)
			r := tar.NewReader(gz)
			for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
				must(t, err)
				p, err := io.ReadAll(r)
				must(t, err)
				got[h.Name+" "+h.FileInfo().Mode().String()] = string(p)
				if !h.ModTime.Equal(at) || h.Uname != "" {
					t.Errorf("%+v", h)
				}
			}
		}
		if len(got) != 4 || got["cairn_1.0/cairn -rwxr-xr-x"] != "content of cairn" || got["cairn_1.0/docs/a/b -rw-r--r--"] != "content of docs/a/b" {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if err := writeArchive(filepath.Join(t.TempDir(), "a.rar"), t.TempDir(), at); err == nil {
		t.Error("a .rar was written")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
