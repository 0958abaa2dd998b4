//go:build unix

package alyx

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe in Alyx's directory is told, and not waited for.
func TestPipe(t *testing.T) {
	w := newWorld(t)
	w.add(uuidOf(1), "x", nil, nil)
	if err := syscall.Mkfifo(filepath.Join(w.dir, "docs", uuidOf(1)), 0o600); err != nil {
		t.Skip(err)
	}
	w.add(uuidOf(2), "x", []byte("x"), nil)
	if r := w.run(Options{}); r.Failed != 1 || r.Imported != 1 || !strings.Contains(w.notes[uuidOf(1)].Err.Error(), "is no file") {
		t.Errorf("%+v, %+v", r, w.notes[uuidOf(1)])
	}
}
