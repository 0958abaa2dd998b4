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

	// mu guards what follows. It is held while the store catches up, so that
	// changes wait for that.
	mu sync.Mutex
	// unsettled says why the commits of the last process could not all be written to
	// the packs. It is nil when they are there. upTo is the last of them, and
	// retried when writing them was tried last.
	unsettled error
	upTo      uint64
	retried   time.Time
	// policies are those whose homes are to be written then, nil for none.
	policies map[string]Policy
}

// postponeHomes leaves the homes of buckets to be written before the first
// change. It reports whether the gate is still shut.
func (g *gate) postponeHomes(policies map[string]Policy) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == nil && g.unsettled == nil {
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
	if err := s.life.Err(); err != nil {
		return err
	}
	g := &s.gate
	if g.reason != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, g.reason)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unsettled == nil || time.Since(g.retried) < retryPause {
		return g.unsettled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The caller's context does not end it: others wait for it too.
	ctx = context.WithoutCancel(ctx)
	err := s.catchUp(ctx, g.upTo)
	if err == nil && g.policies != nil {
		err = s.writeHomes(ctx, g.policies, s.updateLocalUnchecked)
	}
	err = WrapSpace(err)
	if g.retried = time.Now(); err != nil {
		g.unsettled = err
		return err
	}
	g.unsettled, g.policies = nil, nil
	s.log.Info("changes are taken again: what the last process left is in the packs")
	return nil
}

// finishEarlier writes to the packs what the last process left. It leaves that
// for later where the store takes no changes, or has no space.
func (s *Store) finishEarlier(ctx context.Context, seq uint64) error {
	if s.gate.reason != nil {
		s.log.Error("changes are refused, reads go on", "reason", s.gate.reason)
		return nil
	}
	err := WrapSpace(cmp.Or(s.catchUp(ctx, seq), s.meta.Ready()))
	if errors.Is(err, ErrNoSpace) {
		s.log.Error("changes are refused until there is space, reads go on", "reason", err)
		s.gate.unsettled, s.gate.upTo, s.gate.retried = err, seq, time.Now()
		return nil
	}
	return err
}
