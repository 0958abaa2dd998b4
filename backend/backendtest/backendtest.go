// Package backendtest checks drivers against the contract of package backend,
// and injects faults into them for the tests of what stands above.
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.Backend { return membackend.New(nil) })
//	}
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cairn-store/cairn/backend"
)

// Run checks a driver. Each call of open returns a new, empty Backend, which
// open removes by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, c := range []struct {
		name string
		test func(*testing.T, backend.Backend)
	}{
		{"empty object", func(t *testing.T, b backend.Backend) { testRoundTrip(t, b, 0) }},
		{"one byte", func(t *testing.T, b backend.Backend) { testRoundTrip(t, b, 1) }},
		{"large object", func(t *testing.T, b backend.Backend) { testRoundTrip(t, b, 5<<20+3) }},
		{"ranges", testRanges},
		{"missing", testMissing},
		{"existing", testExisting},
		{"odd keys", testOddKeys},
		{"longest key", testLongestKey},
		{"race of creates", testRaceOfCreates},
		{"begun is invisible", testBegunIsInvisible},
		{"write does not retain", testWriteDoesNotRetain},
		{"sync", testSync},
		{"append", testAppend},
		{"write, sync and read at once", testConcurrent},
		{"abort", testAbort},
		{"cancelled", testCancelled},
		{"delete", testDelete},
		{"create after delete", testCreateAfterDelete},
		{"list", testList},
		{"list and delete", testListAndDelete},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// randomBytes returns n bytes that depend only on n.
func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

func mustCreate(t *testing.T, b backend.Backend, key string) backend.Writer {
	t.Helper()
	w, err := b.Create(t.Context(), key)
	if err != nil {
		t.Fatalf("Create(%q): %v", key, err)
	}
	return w
}

func mustWrite(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if n, err := w.Write(p); n != len(p) || err != nil {
		t.Fatalf("Write of %d bytes: got %d, %v", len(p), n, err)
	}
}

func mustDo(t *testing.T, what string, step func() error) {
	t.Helper()
	if err := step(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// putObject stores a whole object.
func putObject(t *testing.T, b backend.Backend, key string, p []byte) {
	t.Helper()
	w := mustCreate(t, b, key)
	mustWrite(t, w, p)
	mustDo(t, "Commit", w.Commit)
}

// checkHolds checks that an object begins with want.
func checkHolds(t *testing.T, b backend.Backend, key string, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if err := b.ReadAt(t.Context(), key, got, 0); err != nil {
		t.Fatalf("ReadAt(%q): %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("ReadAt(%q): the bytes differ from those written", key)
	}
	if got, err := readStream(t.Context(), b, key, 0, int64(len(want))); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("NewReader(%q): %d bytes, %v, want the %d written", key, len(got), err, len(want))
	}
}

// readStream reads a range by a reader of the backend.
func readStream(ctx context.Context, b backend.Backend, key string, off, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	r := backend.NewReader(ctx, b, key, off, n)
	defer r.Close()
	return io.ReadAll(iotest.HalfReader(r))
}

func checkAbsent(t *testing.T, b backend.Backend, key string) {
	t.Helper()
	ctx := t.Context()
	if _, err := b.Stat(ctx, key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(%q): got %v, want fs.ErrNotExist", key, err)
	}
	if err := b.ReadAt(ctx, key, make([]byte, 1), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadAt(%q): got %v, want fs.ErrNotExist", key, err)
	}
	if _, err := readStream(ctx, b, key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewReader(%q): got %v, want fs.ErrNotExist", key, err)
	}
	for _, got := range listKeys(t, b, key) {
		if got == key {
			t.Errorf("List yields %q", key)
		}
	}
}

func listKeys(t *testing.T, b backend.Backend, prefix string) []string {
	t.Helper()
	keys := []string{}
	for info, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// trySync calls Sync and reports whether the driver supports it.
func trySync(t *testing.T, w backend.Writer) bool {
	t.Helper()
	err := w.Sync()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("Sync: %v", err)
	}
	return err == nil
}

func testRoundTrip(t *testing.T, b backend.Backend, n int) {
	p := randomBytes(n)
	w := mustCreate(t, b, "packs/ab/object")
	for rest := p; len(rest) > 0; {
		piece := rest[:min(len(rest), 1<<20)]
		mustWrite(t, w, piece)
		rest = rest[len(piece):]
	}
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "packs/ab/object", p)
	info, err := b.Stat(t.Context(), "packs/ab/object")
	if err != nil || info.Key != "packs/ab/object" || info.Size != int64(n) || info.ModTime.IsZero() {
		t.Errorf("Stat: got %+v, %v, want the key, %d bytes and a time", info, err, n)
	}
}

func testRanges(t *testing.T, b backend.Backend) {
	const size = 1000
	all := randomBytes(size)
	putObject(t, b, "a", all)
	for _, c := range []struct {
		off, n int64
		want   error
	}{
		{0, 0, nil}, {0, 1, nil}, {0, size, nil}, {1, size - 1, nil}, {size - 1, 1, nil}, {400, 100, nil},
		{size, 0, nil}, {size + 5, 0, nil},
		{0, size + 1, io.ErrUnexpectedEOF}, {size - 1, 2, io.ErrUnexpectedEOF},
		{size, 1, io.ErrUnexpectedEOF}, {size + 5, 1, io.ErrUnexpectedEOF},
		{-1, 1, fs.ErrInvalid},
	} {
		p := make([]byte, c.n)
		err := b.ReadAt(t.Context(), "a", p, c.off)
		if !errors.Is(err, c.want) {
			t.Errorf("ReadAt of %d bytes at %d: got %v, want %v", c.n, c.off, err, c.want)
		}
		if err == nil && c.n > 0 && !bytes.Equal(p, all[c.off:c.off+c.n]) {
			t.Errorf("ReadAt of %d bytes at %d: the bytes differ", c.n, c.off)
		}
		if c.n == 0 {
			continue
		}
		got, err := readStream(t.Context(), b, "a", c.off, c.n)
		if !errors.Is(err, c.want) {
			t.Errorf("NewReader of %d bytes at %d: got %v, want %v", c.n, c.off, err, c.want)
		}
		if c.off >= 0 && !bytes.HasPrefix(all[min(c.off, size):], got) {
			t.Errorf("NewReader of %d bytes at %d: the bytes differ", c.n, c.off)
		}
	}
}

func testMissing(t *testing.T, b backend.Backend) {
	checkAbsent(t, b, "a")
	checkAbsent(t, b, "no/such/folder")
	putObject(t, b, "x/y/z", nil)
	checkAbsent(t, b, "x/y") // a folder is no object
	checkAbsent(t, b, "x/y/z0")
	checkAbsent(t, b, "x/y/z/under") // nor is an object a folder
	checkAbsent(t, b, "x/y/z/far/under")
	for _, key := range []string{"a", "x/y", "x/y/z/under", "no/such/folder"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete(%q) of what is missing: %v", key, err)
		}
		if _, _, err := b.Append(t.Context(), key); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Append(%q): got %v, want fs.ErrNotExist", key, err)
		}
	}
	checkHolds(t, b, "x/y/z", nil)
}

func testExisting(t *testing.T, b backend.Backend) {
	putObject(t, b, "a/b", []byte("first"))
	second, err := b.Create(t.Context(), "a/b")
	if err == nil {
		mustWrite(t, second, []byte("second"))
		if trySync(t, second) {
			t.Error("Create of a whole object: got no error")
		}
		err = second.Commit()
		mustDo(t, "Abort", second.Abort)
	}
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a whole object, or its Commit: got %v, want fs.ErrExist", err)
	}
	if _, _, err := b.Append(t.Context(), "a/b"); !errors.Is(err, fs.ErrExist) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Append to a whole object: got %v, want fs.ErrExist", err)
	}
	w := mustCreate(t, b, "a/c")
	if trySync(t, w) {
		if _, err := b.Create(t.Context(), "a/c"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create of a growing object: got %v, want fs.ErrExist", err)
		}
	}
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "a/b", []byte("first"))
}

func testOddKeys(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	for _, key := range []string{
		"", ".", "..", "/", "a/../b", "../a", "a/..", "a/./b", "/a", "a/", "a//b", ".x", "a/.x", "A", "aB", "a\x00b",
		`a\b`, "a b", "a:b", "a*", "é", "a\n", "~", strings.Repeat("a", 300), strings.Repeat("a/", 150) + "b",
	} {
		_, err1 := b.Create(ctx, key)
		_, err2 := b.Stat(ctx, key)
		err3 := b.ReadAt(ctx, key, nil, 0)
		err4 := b.Delete(ctx, key)
		_, err5 := readStream(ctx, b, key, 0, 1)
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s of key %q: got %v, want fs.ErrInvalid", []string{"Create", "Stat", "ReadAt", "Delete", "NewReader"}[i], key, err)
			}
		}
		_, _, err := b.Append(ctx, key)
		if !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Append of key %q: got %v, want fs.ErrInvalid", key, err)
		}
	}
	if got := listKeys(t, b, ""); len(got) > 0 {
		t.Errorf("List: got %q, want nothing", got)
	}
	for _, key := range []string{"a", "0", "-", "_", "a..b", "a.", "x/y.z/-_0"} {
		if !backend.ValidKey(key) {
			t.Errorf("ValidKey(%q): got false", key)
		}
	}
}

func testLongestKey(t *testing.T, b backend.Backend) {
	for _, key := range []string{strings.Repeat("k", 255), strings.Repeat("d/", 127) + "k"} {
		putObject(t, b, key, []byte(key))
		checkHolds(t, b, key, []byte(key))
	}
}

func testCancelled(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	putObject(t, b, "whole", []byte("bytes"))
	w, err := b.Create(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, []byte("bytes"))
	cancel()
	// A cancelled Commit may still come through, but then whole.
	if err := w.Commit(); err == nil {
		checkHolds(t, b, "late", []byte("bytes"))
	} else {
		mustDo(t, "Abort", w.Abort)
		checkAbsent(t, b, "late")
	}

	_, err = b.Create(ctx, "never")
	errs := map[string]error{"Create": err, "ReadAt": b.ReadAt(ctx, "whole", make([]byte, 5), 0), "Delete": b.Delete(ctx, "whole")}
	_, errs["Stat"] = b.Stat(ctx, "whole")
	_, errs["NewReader"] = readStream(ctx, b, "whole", 0, 5)
	for _, err := range b.List(ctx, "") {
		errs["List"] = err
	}
	for _, op := range []string{"Create", "ReadAt", "NewReader", "Delete", "Stat", "List"} {
		if !errors.Is(errs[op], context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", op, errs[op])
		}
	}
	checkAbsent(t, b, "never")
	checkHolds(t, b, "whole", []byte("bytes"))
}
