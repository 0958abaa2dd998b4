// Command archive packs a folder, so that the same files make the same bytes whenever
// and wherever it runs:
//
//	go run ./release/archive -time SECONDS -o FILE.tar.gz|FILE.zip FOLDER
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	out := flag.String("o", "", "the archive, whose name ends in .tar.gz or .zip")
	seconds := flag.Int64("time", 0, "when all files were changed, in seconds since 1970")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := writeArchive(*out, flag.Arg(0), time.Unix(*seconds, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

// A packer writes the files of an archive.
type packer interface {
	addFile(name string, mode fs.FileMode, content []byte) error
	Close() error
}

// writeArchive packs folder, whose own name all names in the archive begin with.
func writeArchive(out, folder string, at time.Time) (err error) {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var p packer
	switch {
	case strings.HasSuffix(out, ".tar.gz"):
		p = newTarball(f, at)
	case strings.HasSuffix(out, ".zip"):
		p = &zipped{zip.NewWriter(f), at}
	default:
		return fmt.Errorf("%s: want a name that ends in .tar.gz or .zip", out)
	}
	return errors.Join(addFolder(p, folder), p.Close())
}

// addFolder adds the regular files below folder, in the order of their names. Their modes
// are 0755 for programs and 0644 for all else, whatever the umask was.
func addFolder(p packer, folder string) error {
	return filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: not a regular file", name)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(filepath.Dir(filepath.Clean(folder)), name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 || strings.HasSuffix(name, ".exe") {
			mode = 0o755
		}
		return p.addFile(filepath.ToSlash(below), mode, content)
	})
}

type tarball struct {
	gz  *gzip.Writer
	tar *tar.Writer
	at  time.Time
}

func newTarball(w io.Writer, at time.Time) *tarball {
	gz := gzip.NewWriter(w) // whose header has no name and no time
	return &tarball{gz, tar.NewWriter(gz), at}
}

func (t *tarball) addFile(name string, mode fs.FileMode, content []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content)), ModTime: t.at, Format: tar.FormatUSTAR}
	if err := t.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.tar.Write(content)
	return err
}

func (t *tarball) Close() error { return errors.Join(t.tar.Close(), t.gz.Close()) }

type zipped struct {
	*zip.Writer
	at time.Time
}

func (z *zipped) addFile(name string, mode fs.FileMode, content []byte) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: z.at}
	h.SetMode(mode)
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}
