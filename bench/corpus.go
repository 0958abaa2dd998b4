package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// makeCorpus writes 128 MiB that do not compress, and eight versions of a
// text of 16 MiB, each with edits all over.
func makeCorpus(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	src := rand.NewChaCha8([32]byte{'b'})
	p := make([]byte, 128<<20)
	src.Read(p)
	if err := os.WriteFile(filepath.Join(dir, "random.bin"), p, 0o644); err != nil {
		return err
	}
	r := rand.New(src)
	var text []byte
	for len(text) < 16<<20 {
		text = fmt.Appendf(text, "%x is the %d. line of a text that compresses well enough\n", r.Uint64(), r.IntN(1000))
	}
	for v := range 8 {
		for range 40 {
			at := r.IntN(len(text))
			text = append(text[:at:at], append([]byte(fmt.Sprintf("edit %d of version %d", r.Uint64(), v)), text[at:]...)...)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("text-%d.txt", v)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// treeSize sums the regular files below dir.
func treeSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// compareTrees compares all files below want with those below got.
func compareTrees(want, got string) error {
	return filepath.WalkDir(want, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(want, name)
		if err != nil {
			return err
		}
		return sameFile(name, filepath.Join(got, rel))
	})
}

func sameFile(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	pa, pb := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		na, erra := io.ReadFull(fa, pa)
		nb, errb := io.ReadFull(fb, pb)
		if string(pa[:na]) != string(pb[:nb]) || errors.Is(erra, io.EOF) != errors.Is(errb, io.EOF) {
			return fmt.Errorf("%s came back different", b)
		}
		if erra != nil {
			return nil
		}
	}
}
