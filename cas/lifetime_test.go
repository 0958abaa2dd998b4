package cas_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cairn-store/cairn/cas"
)

// Close waits for calls, refuses new ones, ends contexts, closes what is held, and only then
// takes away what they use. Every Close returns after that, with the same error.
func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := cas.NewLifetime()
		mine := errors.New("mine")
		if err := errors.Join(l.Enter(), l.Enter(), l.Err()); err != nil {
			t.Fatal(err)
		}
		var order []string
		release := l.Hold(func() { order = append(order, "held") })
		early := l.Hold(func() { order = append(order, "released") })
		early()
		early()
		l.Leave()
		ctx, stop := l.Context(t.Context())
		defer stop()
		given, giveUp := l.Context(t.Context())
		giveUp()
		if context.Cause(given) == cas.ErrClosed {
			t.Error("a context that was given up was ended by Close")
		}
		closed := make(chan error, 2)
		for range 2 {
			go func() {
				closed <- l.Close(func() error {
					order = append(order, "closed")
					return mine
				})
			}()
		}
		synctest.Wait()
		if len(closed) > 0 || len(order) > 1 {
			t.Errorf("closed within a call: %q", order)
		}
		if l.Enter() != cas.ErrClosed || l.Err() != cas.ErrClosed || context.Cause(ctx) != cas.ErrClosed {
			t.Error("a call was taken")
		}
		if err := l.Explain(ctx.Err()); !errors.Is(err, cas.ErrClosed) || !errors.Is(err, context.Canceled) {
			t.Errorf("explained: %v", err)
		}
		if l.Explain(mine) != mine || l.Explain(nil) != nil {
			t.Error("another error is explained by Close")
		}
		l.Leave()
		for range 2 {
			if err := <-closed; err != mine {
				t.Errorf("close: %v", err)
			}
		}
		release()
		if err := l.Close(nil); err != mine {
			t.Errorf("close again: %v", err)
		}
		if len(order) != 3 || order[0] != "released" || order[1] != "held" || order[2] != "closed" {
			t.Errorf("order %q", order)
		}
	})
}

// Nothing is used after it was closed, whoever comes first.
func TestLifetimeRace(t *testing.T) {
	for range 200 {
		l := cas.NewLifetime()
		var gone, closes atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for l.Enter() == nil {
					release := l.Hold(func() {
						if gone.Load() {
							t.Error("closed after what it needs")
						}
					})
					if gone.Load() {
						t.Error("used after it was closed")
					}
					l.Leave()
					release()
				}
			})
		}
		wg.Go(func() { l.Close(func() error { gone.Store(true); closes.Store(true); return nil }) })
		wg.Wait()
		if !closes.Load() {
			t.Error("not closed")
		}
	}
}
