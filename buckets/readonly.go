package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrReadOnly reports a change to a store that takes none now, while every read
// goes on. The error in the chain beside it says why.
var ErrReadOnly = errors.New("the store takes no changes now; what is stored can be read")

// A gate refuses changes while the store cannot take any.
type gate struct {
	reason error // of Options.ReadOnly; nil for none

	mu      sync.Mutex
	behind  error     // of bringing to the packs what the last process decided: nil when that is done; mu
	upTo    uint64    // the last of those commits
	retried time.Time // when that was tried last; mu

	policies map[string]Policy // whose buckets are to be tied then; nil for none; mu
}

// postponeHomes leaves the tying of buckets to the first change, and reports whether
// the gate is still shut.
func (g *gate) postponeHomes(policies map[string]Policy) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == nil && g.behind == nil {
		return false
	}
	g.policies = policies
	return true
}

// retryPause is how long a store whose backend is full waits, before a change
// makes it try again to finish what the last process left.
const retryPause = time.Second

// checkWritable is nil if the store takes changes now, and else why not. A store that
// was opened with a full backend first finishes what the last process left: only
// then do packs hold all that the database has decided, in its order.
func (s *Store) checkWritable(ctx context.Context) error {
	g := &s.gate
	if g.reason != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, g.reason)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.behind == nil || time.Since(g.retried) < retryPause {
		return g.behind
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The caller's context does not end it: others wait for it too.
	ctx = context.WithoutCancel(ctx)
	err := s.catchUp(ctx, g.upTo)
	if err == nil && g.policies != nil {
		err = s.writeHomes(ctx, g.policies, s.applyValues)
	}
	err = wrapSpace(err)
	if g.retried = time.Now(); err != nil {
		g.behind = err
		return err
	}
	g.behind, g.policies = nil, nil
	s.log.Info("changes are taken again: what the last process left is in the packs")
	return nil
}

// finishEarlier brings to the packs what the last process left. Where the store takes
// no changes, that waits; so it does where there is no space for it.
func (s *Store) finishEarlier(ctx context.Context, seq uint64) error {
	if s.gate.reason != nil {
		s.log.Error("changes are refused, reads go on", "reason", s.gate.reason)
		return nil
	}
	err := wrapSpace(cmp.Or(s.catchUp(ctx, seq), s.meta.Ready()))
	if errors.Is(err, ErrNoSpace) {
		s.log.Error("changes are refused until there is space, reads go on", "reason", err)
		s.gate.behind, s.gate.upTo, s.gate.retried = err, seq, time.Now()
		return nil
	}
	return err
}
