package diskbackend_test

import (
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/diskbackend"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, t.TempDir(), nil) })
}

// open opens a backend for one test.
func open(t *testing.T, dir string, opts *diskbackend.Options) *diskbackend.Backend {
	t.Helper()
	b, err := diskbackend.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// osFS returns the operating system's files in a directory for one test.
func osFS(t *testing.T) diskbackend.FS {
	t.Helper()
	f, err := diskbackend.OpenOS(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
