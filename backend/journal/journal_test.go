package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/journal"
	"github.com/cairn-store/cairn/backend/membackend"
)

func nothing() error { return nil }

func far() backend.Backend { return membackend.New(&membackend.Options{WholeOnly: true}) }

// A journal is a backend like any other, before anything is sent.
func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return journal.New(membackend.New(nil), far(), nil) })
}

func put(t *testing.T, b backend.Backend, key string) {
	t.Helper()
	w, err := b.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, key); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, b backend.Backend) (out []string) {
	t.Helper()
	for info, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Key)
	}
	slices.Sort(out)
	return out
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Objects are sent in the order in which they were begun, and not before all
// that were begun earlier are whole. They are read and listed throughout.
func TestSend(t *testing.T) {
	near, far := membackend.New(nil), far()
	b := journal.New(near, far, nil)
	first, err := b.Create(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(first, "c"); err != nil {
		t.Fatal(err)
	}
	if err := first.Sync(); err != nil {
		t.Fatal(err)
	}
	put(t, b, "b")
	sealed := false
	done := make(chan error)
	started := make(chan struct{})
	go func() {
		done <- b.Send(t.Context(), func() error { sealed = true; close(started); return nil })
	}()
	<-started
	want(t, "listed while one grows", keys(t, b), "b", "c")
	want(t, "sent while an earlier one grows", keys(t, far))
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !sealed {
		t.Fatal(err)
	}
	want(t, "sent", keys(t, far), "b", "c")
	want(t, "near", keys(t, near))
	put(t, b, "a")
	want(t, "listed", keys(t, b), "a", "b", "c")
	p := make([]byte, 1)
	for _, k := range []string{"a", "b", "c"} {
		if err := b.ReadAt(t.Context(), k, p, 0); err != nil || string(p) != k {
			t.Errorf("%s: %q, %v", k, p, err)
		}
		if err := b.Delete(t.Context(), k); err != nil {
			t.Error(err)
		}
	}
	want(t, "deleted", append(keys(t, b), keys(t, far)...))
}

// A reader whose object is sent meanwhile reads on from the far backend.
func TestReadOn(t *testing.T) {
	b := journal.New(membackend.New(nil), far(), nil)
	const key = "0123456789"
	put(t, b, key)
	r := b.NewReader(t.Context(), key, 1, 8)
	defer r.Close()
	head := make([]byte, 3)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if got := string(head) + string(rest); err != nil || got != key[1:9] {
		t.Errorf("read %q, %v", got, err)
	}
}

// The next process sends what the last one has left: also an object that was
// sent and not deleted near, and one that was never finished.
func TestLeft(t *testing.T) {
	near, far := membackend.New(nil), far()
	b := journal.New(near, far, nil)
	put(t, b, "a")
	put(t, b, "b")
	put(t, far, "a") // and the process dies before it deletes its copy
	w, err := b.Create(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("c"), 3<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}

	b = journal.New(near, far, nil)
	if err := b.Send(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	want(t, "sent", keys(t, far), "a", "b", "c")
	want(t, "near", keys(t, near))
	info, err := b.Stat(t.Context(), "c")
	if err != nil || info.Size != 3<<20 {
		t.Errorf("object that was never finished: got %d bytes, %v, want %d bytes", info.Size, err, 3<<20)
	}
	if _, _, err := b.Append(t.Context(), "c"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("append to an object that was sent: got %v, want fs.ErrExist", err)
	}
}

// While the far backend does not answer, objects are stored near. Once another
// store owns it, nothing more is taken, since it could never be sent.
func TestFarAway(t *testing.T) {
	down := &broken{Backend: far()}
	b := journal.New(membackend.New(nil), down, nil)
	put(t, b, "a")
	down.err.Store(&backend.ErrUnavailable)
	if err := b.Send(t.Context(), nothing); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("send to where nobody is: %v", err)
	}
	put(t, b, "b")
	down.err.Store(nil)
	if err := b.Send(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	want(t, "sent", keys(t, down.Backend), "a", "b")

	put(t, b, "c")
	w, err := b.Create(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	down.err.Store(&backend.ErrOwned)
	seal := func() error { return w.Abort() }
	if err := b.Send(t.Context(), seal); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("send to what is another's: %v", err)
	}
	if _, err := b.Create(t.Context(), "e"); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("taken for what is another's: %v", err)
	}
}

type broken struct {
	backend.Backend
	err atomic.Pointer[error]
}

func (b *broken) Create(ctx context.Context, key string) (backend.Writer, error) {
	if err := b.err.Load(); err != nil {
		return nil, *err
	}
	return b.Backend.Create(ctx, key)
}

// What is already in the far place counts as sent only if it has the same bytes:
// who sent it may have been killed before it knew what had arrived.
func TestSentBefore(t *testing.T) {
	for _, there := range []string{"key", "kex", "ke", "keys", ""} {
		near, far := membackend.New(nil), far()
		put(t, near, "key")
		w, err := far.Create(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, there); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		err = journal.New(near, far, nil).Send(t.Context(), nothing)
		if same := there == "key"; (err == nil) != same || (len(keys(t, near)) == 0) != same {
			t.Errorf("%q is there: %v, near %q", there, err, keys(t, near))
		}
	}
}
