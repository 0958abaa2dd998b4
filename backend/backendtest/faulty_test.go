package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
)

func TestEmptyScript(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return backendtest.Faulty(membackend.New(nil)) })
}

func TestFlipElsewhere(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return backendtest.Flip(membackend.New(nil), "no such key", 0)
	})
}

// store writes "abcd", syncs, writes "efgh" and commits; it returns the first
// error, having aborted.
func store(ctx context.Context, b backend.Backend, key string) error {
	w, err := b.Create(ctx, key)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { _, err := w.Write([]byte("abcd")); return err },
		w.Sync,
		func() error { _, err := w.Write([]byte("efgh")); return err },
		w.Commit,
	} {
		if err := step(); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return nil
}

func content(t *testing.T, b backend.Backend, key string) string {
	t.Helper()
	info, err := b.Stat(t.Context(), key)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	p := make([]byte, info.Size)
	if err == nil {
		err = b.ReadAt(t.Context(), key, p, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestWriteFaults(t *testing.T) {
	own := errors.New("own")
	for _, c := range []struct {
		rule  backendtest.Rule
		err   error
		holds string
	}{
		{backendtest.Rule{Op: backendtest.OpCreate}, backendtest.ErrInjected, "absent"},
		{backendtest.Rule{Op: backendtest.OpCreate, Mode: backendtest.FailAfter}, backendtest.ErrInjected, "absent"},
		{backendtest.Rule{Op: backendtest.OpCreate, Mode: backendtest.NoSpace}, backend.ErrNoSpace, "absent"},
		{backendtest.Rule{Op: backendtest.OpWrite}, backendtest.ErrInjected, "absent"},
		{backendtest.Rule{Op: backendtest.OpSync}, backendtest.ErrInjected, "absent"},
		{backendtest.Rule{Op: backendtest.OpSync, Mode: backendtest.FailAfter}, backendtest.ErrInjected, "abcd"},
		{backendtest.Rule{Op: backendtest.OpWrite, Nth: 2, Mode: backendtest.NoSpace}, backend.ErrNoSpace, "abcd"},
		{backendtest.Rule{Op: backendtest.OpCommit, Err: own}, own, "abcd"},
		{backendtest.Rule{Op: backendtest.OpCommit, Mode: backendtest.FailAfter}, backendtest.ErrInjected, "abcdefgh"},
		{backendtest.Rule{Op: backendtest.OpCommit, Key: "packs/a"}, backendtest.ErrInjected, "abcd"},
		{backendtest.Rule{Op: backendtest.OpCommit, Key: "*/ab?"}, backendtest.ErrInjected, "abcd"},
		{backendtest.Rule{Op: backendtest.OpCommit, Key: "other"}, nil, "abcdefgh"},
		{backendtest.Rule{Op: backendtest.OpWrite, Nth: 3}, nil, "abcdefgh"},
	} {
		b := backendtest.Faulty(membackend.New(nil), c.rule)
		if err := store(t.Context(), b, "packs/abc"); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%+v: got %v, want %v", c.rule, err, c.err)
		}
		if got := content(t, b, "packs/abc"); got != c.holds {
			t.Errorf("%+v: the object holds %q, want %q", c.rule, got, c.holds)
		}
		if got := b.Fired(0); (got == 1) != (c.err != nil) {
			t.Errorf("%+v: fired %d times", c.rule, got)
		}
	}
}

func TestShortWrite(t *testing.T) {
	b := backendtest.Faulty(membackend.New(nil), backendtest.Rule{Op: backendtest.OpWrite, Mode: backendtest.Short})
	w, err := b.Create(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("abcd")); n != 2 || !errors.Is(err, backendtest.ErrInjected) {
		t.Errorf("Write: got %d, %v, want 2, ErrInjected", n, err)
	}
	if err := w.Commit(); !errors.Is(err, backendtest.ErrInjected) {
		t.Errorf("Commit after an error: got %v, want it again", err)
	}
	if got := content(t, b, "a"); got != "absent" {
		t.Errorf("the object holds %q", got)
	}
}

func TestReadFaults(t *testing.T) {
	ctx := t.Context()
	mem := membackend.New(nil)
	if err := errors.Join(store(ctx, mem, "a"), store(ctx, mem, "b")); err != nil {
		t.Fatal(err)
	}
	b := backendtest.Faulty(mem,
		backendtest.Rule{Op: backendtest.OpRead, Nth: 2, Mode: backendtest.Short},
		backendtest.Rule{Op: backendtest.OpRead, Nth: 3, Onward: true},
		backendtest.Rule{Op: backendtest.OpList, Mode: backendtest.Short},
		backendtest.Rule{Op: backendtest.OpList, Nth: 2},
		backendtest.Rule{Op: backendtest.OpDelete, Mode: backendtest.FailAfter},
	)
	for i, want := range []error{nil, io.ErrUnexpectedEOF, backendtest.ErrInjected, backendtest.ErrInjected} {
		p := make([]byte, 8)
		if err := b.ReadAt(ctx, "a", p, 0); !errors.Is(err, want) {
			t.Errorf("read %d: got %v, want %v", i+1, err, want)
		}
		if i == 1 && string(p) != "abcd\x00\x00\x00\x00" {
			t.Errorf("short read: got %q", p)
		}
	}
	if got := []int{b.Fired(0), b.Fired(1)}; got[0] != 1 || got[1] != 2 {
		t.Errorf("the rules fired %v times, want 1 and 2", got)
	}
	for i, want := range []int{1, 0, 2} {
		n, failed := 0, false
		for _, err := range b.List(ctx, "") {
			if err != nil {
				failed = true
			} else {
				n++
			}
		}
		if n != want || failed != (i < 2) {
			t.Errorf("list %d: got %d objects, failed %v, want %d", i+1, n, failed, want)
		}
	}
	if err := b.Delete(ctx, "a"); !errors.Is(err, backendtest.ErrInjected) || content(t, b, "a") != "absent" {
		t.Errorf("Delete: got %v, and the object holds %q", err, content(t, b, "a"))
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.Faulty(membackend.New(nil),
			backendtest.Rule{Op: backendtest.OpStat, Onward: true, Mode: backendtest.Slow, Delay: time.Minute})
		start := time.Now()
		b.Stat(t.Context(), "a")
		if got := time.Since(start); got != time.Minute {
			t.Errorf("Stat took %v, want a minute", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := b.Stat(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Stat: got %v after %v, want the deadline after a second", err, time.Since(start))
		}
	})
}

func TestFlip(t *testing.T) {
	mem := membackend.New(nil)
	if err := store(t.Context(), mem, "a"); err != nil {
		t.Fatal(err)
	}
	b := backendtest.Flip(mem, "a", 2)
	for _, c := range []struct {
		off, n int64
		want   []byte
	}{
		{0, 4, []byte{'a', 'b', 'c' ^ 0xff, 'd'}}, {2, 1, []byte{'c' ^ 0xff}}, {0, 2, []byte("ab")}, {3, 2, []byte("de")},
	} {
		p := make([]byte, c.n)
		if err := b.ReadAt(t.Context(), "a", p, c.off); err != nil || !bytes.Equal(p, c.want) {
			t.Errorf("ReadAt(%d): got %q, %v, want %q", c.off, p, err, c.want)
		}
	}
	if got := content(t, mem, "a"); got != "abcdefgh" {
		t.Errorf("the stored bytes changed to %q", got)
	}
}
