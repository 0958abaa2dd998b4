package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend"
)

func testRaceOfCreates(t *testing.T, b backend.Backend) {
	const writers = 8
	var wg sync.WaitGroup
	wins := make([]bool, writers)
	for i := range writers {
		wg.Go(func() {
			w, err := b.Create(t.Context(), "packs/one")
			if err == nil {
				_, err = fmt.Fprintf(w, "writer %d", i)
				if err == nil && i%2 == 0 {
					if err = w.Sync(); errors.Is(err, errors.ErrUnsupported) {
						err = nil
					}
				}
				if err == nil {
					err = w.Commit()
				}
				if err := w.Abort(); err != nil {
					t.Errorf("Abort of writer %d: %v", i, err)
				}
			}
			wins[i] = err == nil
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Errorf("writer %d: got %v, want fs.ErrExist", i, err)
			}
		})
	}
	wg.Wait()
	if c, ok := b.(interface{ Conditional() bool }); ok && !c.Conditional() {
		return // a service that cannot tell two writers apart
	}
	winner := slices.Index(wins, true)
	if winner < 0 || slices.Contains(wins[winner+1:], true) {
		t.Fatalf("winners: got %v, want exactly one", wins)
	}
	checkHolds(t, b, "packs/one", fmt.Appendf(nil, "writer %d", winner))
	// What a driver has tried a service with may lie elsewhere.
	if got := listKeys(t, b, "packs/"); !slices.Equal(got, []string{"packs/one"}) {
		t.Errorf("List: got %q, want the one object", got)
	}
}

func testBegunIsInvisible(t *testing.T, b backend.Backend) {
	w := mustCreate(t, b, "a/begun")
	mustWrite(t, w, randomBytes(10000))
	checkAbsent(t, b, "a/begun")
	if got := listKeys(t, b, ""); len(got) > 0 {
		t.Errorf("List: got %q, want nothing", got)
	}
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "a/begun", randomBytes(10000))
}

func testWriteDoesNotRetain(t *testing.T, b backend.Backend) {
	p := []byte("before")
	w := mustCreate(t, b, "a")
	mustWrite(t, w, p)
	if string(p) != "before" {
		t.Errorf("Write changed its argument to %q", p)
	}
	copy(p, "AFTER!")
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "a", []byte("before"))
}

func testSync(t *testing.T, b backend.Backend) {
	all := randomBytes(300000)
	w := mustCreate(t, b, "packs/growing")
	if !trySync(t, w) {
		checkAbsent(t, b, "packs/growing")
	}
	for end := 100000; end <= len(all); end += 100000 {
		mustWrite(t, w, all[end-100000:end])
		if !trySync(t, w) {
			checkAbsent(t, b, "packs/growing")
			continue
		}
		checkHolds(t, b, "packs/growing", all[:end])
		info, err := b.Stat(t.Context(), "packs/growing")
		if err != nil || info.Size < int64(end) {
			t.Errorf("Stat: got %+v, %v, want at least %d bytes", info, err, end)
		}
		if got := listKeys(t, b, "packs/"); !slices.Equal(got, []string{"packs/growing"}) {
			t.Errorf("List: got %q, want the growing object", got)
		}
	}
	mustWrite(t, w, []byte("tail"))
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "packs/growing", append(all, "tail"...))
	if info, err := b.Stat(t.Context(), "packs/growing"); err != nil || info.Size != int64(len(all)+4) {
		t.Errorf("Stat: got %+v, %v, want %d bytes", info, err, len(all)+4)
	}
}

func testAppend(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	w := mustCreate(t, b, "packs/log")
	mustWrite(t, w, []byte("one "))
	if !trySync(t, w) {
		if _, _, err := b.Append(ctx, "packs/log"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Append: got %v, want errors.ErrUnsupported as Sync says", err)
		}
		mustDo(t, "Abort", w.Abort)
		return
	}
	mustWrite(t, w, []byte("lost? "))
	mustDo(t, "Abort", w.Abort)
	want := []byte{}
	for range 3 {
		w, size, err := b.Append(ctx, "packs/log")
		if err != nil {
			t.Fatalf("Append: %v", err)
		}
		if size < int64(len(want)) || size < 4 {
			t.Fatalf("Append: got size %d, want at least what was synced", size)
		}
		before := make([]byte, size)
		if err := b.ReadAt(ctx, "packs/log", before, 0); err != nil || !bytes.HasPrefix(before, []byte("one ")) || !bytes.HasPrefix(before, want) {
			t.Fatalf("after Append: got %q, %v", before, err)
		}
		mustWrite(t, w, []byte("more "))
		if !trySync(t, w) {
			t.Fatal("Sync after Append is not supported")
		}
		want = append(before, "more "...)
		checkHolds(t, b, "packs/log", want)
		mustDo(t, "Abort", w.Abort)
	}
	w, _, err := b.Append(ctx, "packs/log")
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	mustWrite(t, w, []byte("end"))
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "packs/log", append(want, "end"...))
	if _, _, err := b.Append(ctx, "packs/log"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Append after Commit: got %v, want fs.ErrExist", err)
	}
}

func testConcurrent(t *testing.T, b backend.Backend) {
	const pieces, piece = 200, 4096
	all := randomBytes(pieces * piece)
	w := mustCreate(t, b, "packs/busy")
	var wg sync.WaitGroup
	var mu sync.Mutex
	written := 0 // guarded by mu
	wg.Go(func() {
		for i := range pieces {
			if _, err := w.Write(all[i*piece : (i+1)*piece]); err != nil {
				t.Errorf("Write: %v", err)
				return
			}
			mu.Lock()
			written = (i + 1) * piece
			mu.Unlock()
		}
	})
	for range 2 {
		wg.Go(func() {
			for range 20 {
				mu.Lock()
				n := written
				mu.Unlock()
				err := w.Sync()
				if errors.Is(err, errors.ErrUnsupported) {
					return
				}
				got := make([]byte, n)
				if err == nil {
					err = b.ReadAt(t.Context(), "packs/busy", got, 0)
				}
				if err != nil || !bytes.Equal(got, all[:n]) {
					t.Errorf("after Sync of %d bytes: other bytes, or %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	mustDo(t, "Commit", w.Commit)
	checkHolds(t, b, "packs/busy", all)
}

func testAbort(t *testing.T, b backend.Backend) {
	w := mustCreate(t, b, "a/never")
	mustWrite(t, w, randomBytes(5000))
	mustDo(t, "Abort", w.Abort)
	mustDo(t, "second Abort", w.Abort)
	checkAbsent(t, b, "a/never")
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Abort: got no error")
	}
	if err := w.Commit(); err == nil {
		t.Error("Commit after Abort: got no error")
	}
	checkAbsent(t, b, "a/never")
	putObject(t, b, "a/never", []byte("now")) // the key is free

	w = mustCreate(t, b, "a/synced")
	mustWrite(t, w, randomBytes(5000))
	if trySync(t, w) {
		mustWrite(t, w, randomBytes(700))
		mustDo(t, "Abort", w.Abort)
		checkHolds(t, b, "a/synced", randomBytes(5000))
	} else {
		mustDo(t, "Abort", w.Abort)
		checkAbsent(t, b, "a/synced")
	}

	w = mustCreate(t, b, "a/whole")
	mustWrite(t, w, randomBytes(5000))
	mustDo(t, "Commit", w.Commit)
	mustDo(t, "Abort after Commit", w.Abort)
	checkHolds(t, b, "a/whole", randomBytes(5000))
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Commit: got no error")
	}
	if info, err := b.Stat(t.Context(), "a/whole"); err != nil || info.Size != 5000 {
		t.Errorf("Stat: got %+v, %v, want 5000 bytes", info, err)
	}
}

func testDelete(t *testing.T, b backend.Backend) {
	putObject(t, b, "a/gone", []byte("x"))
	putObject(t, b, "a/stays", []byte("y"))
	for range 2 {
		if err := b.Delete(t.Context(), "a/gone"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	if got := listKeys(t, b, ""); !slices.Equal(got, []string{"a/stays"}) {
		t.Errorf("List: got %q, want what was not deleted", got)
	}
	checkHolds(t, b, "a/stays", []byte("y"))
	if _, err := b.Stat(t.Context(), "a/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: got %v, want fs.ErrNotExist", err)
	}
	if err := b.ReadAt(t.Context(), "a/gone", make([]byte, 1), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadAt: got %v, want fs.ErrNotExist", err)
	}
}

// Callers never use a key twice, but a driver must not serve stale bytes.
func testCreateAfterDelete(t *testing.T, b backend.Backend) {
	for i := range 3 {
		p := fmt.Appendf(nil, "life %d", i)
		putObject(t, b, "cat", p)
		checkHolds(t, b, "cat", p)
		if err := b.Delete(t.Context(), "cat"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
}

func testList(t *testing.T, b backend.Backend) {
	keys := []string{"a-b/c", "a-c", "a.b/c", "a.c", "a/b", "a/b-c/d", "a/b.c", "a/bc/d", "a0", "b/x/y/z", "b/x0", "c"}
	for i, key := range keys {
		putObject(t, b, keys[len(keys)-1-i], []byte(key)[:1])
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b.", "a/bc/", "a-", "b/x", "b/x/", "c", "d", "a//", "/", "..", "../", ".", "A", "b/x/y/z", "b/x/y/z/"} {
		want := []string{}
		for _, key := range keys {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				want = append(want, key)
			}
		}
		if got := listKeys(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q): got %q, want %q", prefix, got, want)
		}
	}
	for info, err := range b.List(t.Context(), "") {
		if err != nil || info.Size != 1 || info.ModTime.IsZero() {
			t.Errorf("List: got %+v, %v, want one byte and a time", info, err)
		}
		break // a List need not be read to its end
	}
}

func testListAndDelete(t *testing.T, b backend.Backend) {
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("packs/%d/%02d", i/10, i))
		putObject(t, b, keys[i], nil)
	}
	var got []string
	for info, err := range b.List(t.Context(), "packs/") {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		got = append(got, info.Key)
		if err := b.Delete(t.Context(), info.Key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, keys) {
		t.Errorf("List while deleting: got %q, want %q", got, keys)
	}
	if got := listKeys(t, b, ""); len(got) > 0 {
		t.Errorf("List: got %q, want nothing", got)
	}
}
