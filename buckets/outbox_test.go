package buckets

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// A commit that failed holds nobody up for ever, whoever catches up first,
// and neither does a number that no commit has.
func TestOutboxAfterFailure(t *testing.T) {
	s := &Store{outbox: newOutbox(3), meta: nothingUnwritten{}}
	o := s.outbox
	waits := func(seq uint64) chan bool {
		c := make(chan bool, 1)
		go func() { c <- o.awaitSettled(seq) }()
		return c
	}
	answer := func(c chan bool) bool {
		select {
		case ok := <-c:
			return ok
		case <-time.After(10 * time.Second):
			t.Fatal("a commit waits for ever")
			return false
		}
	}
	commit := func(prev, seq uint64) *manifest.Commit { return &manifest.Commit{Prev: prev, Seq: seq} }
	o.markWritten(commit(5, 6))
	o.markFailed(7)
	if answer(waits(5)) || answer(waits(9)) {
		t.Error("commits are settled that are not")
	}
	if err := s.catchUp(context.Background(), 5); err != nil {
		t.Fatal(err)
	}
	if !answer(waits(5)) || !answer(waits(6)) {
		t.Error("what was caught up is not settled")
	}
	if answer(waits(9)) {
		t.Error("commits beyond are settled")
	}
	if err := s.catchUp(context.Background(), 9); err != nil {
		t.Fatal(err)
	}
	if !answer(waits(9)) {
		t.Error("what was caught up is not settled")
	}
	later := waits(15)
	o.markWritten(commit(12, 15)) // 13 and 14 are no commits
	o.markWritten(commit(8, 12))  // nor is what was caught up to
	if !answer(later) || len(o.done) > 0 {
		t.Errorf("later commits are not settled; %v is left", o.done)
	}
}

// nothingUnwritten is a metadata store all of whose commits are written.
type nothingUnwritten struct{ manifest.Store }

func (nothingUnwritten) Unwritten(context.Context) iter.Seq2[*manifest.Commit, error] {
	return func(func(*manifest.Commit, error) bool) {}
}

// A catch-up whose context ends has perhaps not begun all commits: it settles
// none of them.
func TestCatchUpContextEnds(t *testing.T) {
	s := &Store{outbox: newOutbox(3), meta: unwritten{commits: []*manifest.Commit{{Prev: 3, Seq: 5}}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.catchUp(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	if s.outbox.low != 3 {
		t.Errorf("commits up to %d are settled, want 3", s.outbox.low)
	}
}

// unwritten is a metadata store with commits that are not written yet.
type unwritten struct {
	manifest.Store
	commits []*manifest.Commit
}

func (u unwritten) Unwritten(context.Context) iter.Seq2[*manifest.Commit, error] {
	return func(yield func(*manifest.Commit, error) bool) {
		for _, c := range u.commits {
			if !yield(c, nil) {
				return
			}
		}
	}
}
