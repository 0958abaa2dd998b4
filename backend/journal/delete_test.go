package journal_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/journal"
	"github.com/cairn-store/cairn/backend/membackend"
)

// An object that was deleted before it was sent is never sent.
func TestDeletedIsNotSent(t *testing.T) {
	near, far := membackend.New(nil), far()
	b := journal.New(near, far, nil)
	for _, key := range []string{"a", "b", "c"} {
		put(t, b, key)
	}
	for range 2 {
		if err := b.Delete(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	want(t, "sent", keys(t, far), "a", "c")
	want(t, "near", keys(t, near))
}

// A gated backend holds up what is created in it.
type gated struct {
	backend.Backend
	begun, free chan struct{}
}

func (g *gated) Create(ctx context.Context, key string) (backend.Writer, error) {
	close(g.begun)
	<-g.free
	return g.Backend.Create(ctx, key)
}

// An object that is being sent is deleted when that has ended, also where it
// fails; who is in a hurry gives up, and the object is sent.
func TestDeleteWhileSending(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			far := backendtest.Faulty(far())
			if fails {
				far.Add(backendtest.Rule{Op: backendtest.OpCommit, Mode: backendtest.FailAfter})
			}
			g := &gated{far, make(chan struct{}), make(chan struct{})}
			near := membackend.New(&membackend.Options{LateReads: true})
			b := journal.New(near, g, nil)
			put(t, b, "a")
			sent := make(chan error)
			go func() { sent <- b.Send(t.Context(), nothing) }()
			<-g.begun
			hurried, cancel := context.WithCancelCause(t.Context())
			errHurry := errors.New("hurry")
			cancel(errHurry)
			if err := b.Delete(hurried, "a"); !errors.Is(err, errHurry) {
				t.Errorf("deleted while it is being sent: %v", err)
			}
			want(t, "near", keys(t, near), "a")
			deleted := make(chan error, 1)
			go func() { deleted <- b.Delete(t.Context(), "a") }()
			synctest.Wait()
			close(g.free)
			if err := <-sent; (err != nil) != fails {
				t.Errorf("sent: %v", err)
			}
			if err := <-deleted; err != nil {
				t.Error(err)
			}
			want(t, "near", keys(t, near))
			want(t, "far", keys(t, far))
			g.begun = make(chan struct{})
			if err := b.Send(t.Context(), nothing); err != nil {
				t.Error(err)
			}
			want(t, "far", keys(t, far))
		})
	}
}

// Wherever sending or deleting breaks off, by a fault before or after a call, or
// because the process dies, a delete that succeeds in the end leaves nothing,
// and nothing comes back.
func TestDeleteAfterCrash(t *testing.T) {
	ops := []backendtest.Op{backendtest.OpStat, backendtest.OpCreate, backendtest.OpRead, backendtest.OpWrite, backendtest.OpCommit, backendtest.OpDelete}
	for _, restart := range []bool{false, true} {
		for _, isNear := range []bool{false, true} {
			for _, op := range ops {
				for _, mode := range []backendtest.Mode{backendtest.Fail, backendtest.FailAfter} {
					near, far := backendtest.Faulty(membackend.New(&membackend.Options{LateReads: true})), backendtest.Faulty(far())
					b := journal.New(near, far, nil)
					put(t, b, "a")
					put(t, b, "b")
					faulty := far
					if isNear {
						faulty = near
					}
					faulty.Add(backendtest.Rule{Op: op, Key: "a", Mode: mode})
					sendErr := b.Send(t.Context(), nothing)
					delErr := b.Delete(t.Context(), "a")
					if restart {
						b = journal.New(near, far, nil)
					}
					near.Reset()
					far.Reset()
					if restart && sendErr == nil && delErr != nil {
						// The next process sends what is left before it hears of the delete.
						if err := b.Send(t.Context(), nothing); err != nil {
							t.Fatal(err)
						}
					}
					for range 2 {
						if err := b.Delete(t.Context(), "a"); err != nil {
							t.Fatal(err)
						}
						if _, err := b.Stat(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
							t.Errorf("%s, near %v, mode %d: it is still there: %v", op, isNear, mode, err)
						}
						if err := b.Send(t.Context(), nothing); err != nil {
							t.Fatal(err)
						}
						want(t, "near", keys(t, near))
						want(t, "far", keys(t, far), "b")
					}
				}
			}
		}
	}
}
