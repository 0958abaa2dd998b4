package owner_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/backend/owner"
)

func open(t *testing.T, b backend.Backend, id string, take bool) *owner.Backend {
	t.Helper()
	o, err := try(t, b, id, &owner.Options{Place: "here", Take: take})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func try(t *testing.T, b backend.Backend, id string, opts *owner.Options) (*owner.Backend, error) {
	t.Helper()
	c, err := owner.Current(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return owner.Open(t.Context(), b, c, id, opts)
}

func put(t *testing.T, b backend.Backend, key string) error {
	t.Helper()
	w, err := b.Create(t.Context(), key)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(key)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// A guarded backend keeps the contract, and its claims are not listed.
func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return open(t, membackend.New(nil), "a", false)
	})
}

// One store has the backend at a time, and keeps it over restarts.
func TestOneOwner(t *testing.T) {
	b := membackend.New(nil)
	a := open(t, b, "a", false)
	if err := put(t, a, "packs/1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := try(t, b, "b", &owner.Options{Place: "there"}); !errors.Is(err, backend.ErrOwned) {
			t.Fatalf("a second store: %v", err)
		}
	}
	a = open(t, b, "a", false)
	begun, err := a.Create(t.Context(), "packs/2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begun.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}

	other := open(t, b, "b", true)
	// The first has not looked since: it may store an object yet, but it must
	// not say that it has.
	if err := begun.Commit(); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("commit of who lost the backend: %v", err)
	}
	for what, err := range map[string]error{"create": put(t, a, "packs/3"), "delete": a.Delete(t.Context(), "packs/1"), "check": a.Check(t.Context())} {
		if !errors.Is(err, backend.ErrOwned) {
			t.Errorf("%s by who lost the backend: %v", what, err)
		}
	}
	if _, err := b.Stat(t.Context(), "packs/3"); err == nil {
		t.Error("who lost the backend stored something")
	}
	if err := a.ReadAt(t.Context(), "packs/1", make([]byte, 3), 0); err != nil {
		t.Errorf("read by who lost the backend: %v", err)
	}
	if err := put(t, other, "packs/4"); err != nil {
		t.Error(err)
	}
	if _, err := try(t, b, "a", &owner.Options{}); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("the first comes back: %v", err)
	}
	open(t, b, "a", true)
	if err := put(t, other, "packs/5"); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("the second, after it lost the backend again: %v", err)
	}
}

// Of two stores that found the backend free one gets it, as of two that take it
// from a third. A store that was its owner when another took it cannot
// acknowledge what it stores.
func TestSeenBefore(t *testing.T) {
	b := membackend.New(nil)
	at := func(c *owner.Claim, id string) (*owner.Backend, error) {
		return owner.Open(t.Context(), b, c, id, &owner.Options{Take: true})
	}
	if _, err := at(nil, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := at(nil, "b"); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("who saw it free: %v", err)
	}
	c, err := owner.Current(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at(c, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := at(c, "c"); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("who was slower to take it: %v", err)
	}
	a, err := at(c, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t, a, "packs/1"); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("who had it before: %v", err)
	}
}

// A claim that exists and that the service does not list is an error.
func TestUnlisted(t *testing.T) {
	b := membackend.New(nil)
	open(t, b, "a", false)
	for _, id := range []string{"a", "b"} {
		if o, err := try(t, blind{b}, id, &owner.Options{Take: true}); err == nil {
			t.Errorf("%s opened %v", id, o)
		}
	}
}

// blind lists nothing.
type blind struct{ backend.Backend }

func (blind) List(context.Context, string) iter.Seq2[backend.Info, error] {
	return func(func(backend.Info, error) bool) {}
}

// A service that ignores conditions is refused without SingleWriter.
func TestNotExclusive(t *testing.T) {
	b := careless{membackend.New(nil)}
	if _, err := try(t, b, "a", &owner.Options{}); !errors.Is(err, owner.ErrNotExclusive) {
		t.Fatalf("opened: %v", err)
	}
	for range 2 {
		if _, err := try(t, b, "a", &owner.Options{SingleWriter: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := try(t, b, "a", &owner.Options{}); !errors.Is(err, owner.ErrNotExclusive) {
		t.Fatalf("opened, once it had an owner: %v", err)
	}
}

// A claim that was made on a service without conditions is made anew, with a
// test, once the operator's promise is withdrawn.
func TestExclusiveLater(t *testing.T) {
	inner := membackend.New(nil)
	if _, err := try(t, careless{inner}, "a", &owner.Options{SingleWriter: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, inner, "a", &owner.Options{}); err != nil {
		t.Errorf("a service that has become exclusive: %v", err)
	}
	if _, err := try(t, inner, "b", &owner.Options{}); !errors.Is(err, backend.ErrOwned) {
		t.Errorf("another store: %v", err)
	}
}

// careless has no conditional PUT.
type careless struct{ backend.Backend }

func (careless) Conditional() bool { return false }
