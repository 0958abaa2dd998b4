package manifest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
)

// A Replayer rebuilds rows from the slots of records of the packs of one domain.
// The order of slots does not matter, and slots may come repeatedly. Its user
// first passes every slot that may belong to a checkpoint to Survey. Then it
// makes passes: it passes every slot to Replay and calls EndPass, until EndPass
// needs no other pass.
//
// Only the newest checkpoint that is whole is applied, and no commit up to its
// base. A commit is applied if all its parts exist. Memory is bounded: beyond a
// limit, parts of incomplete commits are dropped and read again in another pass.
type Replayer struct {
	// apply receives the records of commit seq, or of a part of a checkpoint
	// with base seq.
	apply func(ctx context.Context, seq uint64, rs []Record) error
	limit int // of waitingBytes

	checkpoints map[[16]byte]*foundCheckpoint
	chosen      *foundCheckpoint // nil if none is whole; valid while replaying
	replaying   bool
	highest     uint64

	pass         int
	waiting      map[uint64]*waitingCommit
	waitingBytes int             // sum over waiting
	forgotten    map[uint64]bool // commits with parts dropped in this pass
	wanted       map[uint64]bool // forgotten of the pass before; nil in the first pass
	applied      map[uint64]bool // applied commits that have several parts
	lacking      map[uint64]bool // commits that are incomplete
}

// A waitingCommit holds the parts of a commit that were read so far.
type waitingCommit struct {
	of    uint64            // how many parts the commit has
	slots map[uint64][]byte // encoded records, by number of the part
	bytes int
}

// A foundCheckpoint is what Survey has found of a checkpoint.
type foundCheckpoint struct {
	id     [16]byte
	base   uint64
	parts  map[uint64]cas.Digest // digests of the slots
	end    *Slot
	broken bool // two slots contradict each other
}

const replayLimit = MaxCommit

// NewReplayer returns a Replayer that calls apply with what it finds.
func NewReplayer(apply func(ctx context.Context, seq uint64, rs []Record) error) *Replayer {
	return &Replayer{apply: apply, limit: replayLimit, checkpoints: make(map[[16]byte]*foundCheckpoint),
		waiting: make(map[uint64]*waitingCommit), forgotten: make(map[uint64]bool), applied: make(map[uint64]bool),
		lacking: make(map[uint64]bool)}
}

// Survey collects checkpoints. It ignores slots of commits.
func (r *Replayer) Survey(p []byte) error {
	s, _, err := decodeHead(p)
	if err != nil || s.Base == 0 {
		return err
	}
	c := r.checkpoints[s.Checkpoint]
	if c == nil {
		c = &foundCheckpoint{id: s.Checkpoint, base: s.Base, parts: make(map[uint64]cas.Digest)}
		r.checkpoints[s.Checkpoint] = c
	}
	c.broken = c.broken || c.base != s.Base
	if s.Part == 0 {
		c.broken = c.broken || c.end != nil && (c.end.Parts != s.Parts || c.end.Digest != s.Digest)
		c.end = s
		return nil
	}
	d := cas.Sum(p)
	before, ok := c.parts[s.Part]
	c.broken = c.broken || ok && before != d
	c.parts[s.Part] = d
	return nil
}

// isWhole reports whether all slots of the checkpoint were found.
func (c *foundCheckpoint) isWhole() bool {
	if c.broken || c.end == nil || uint64(len(c.parts)) != c.end.Parts {
		return false
	}
	h := blake3.NewDerived(checkpointContext)
	for n := range c.end.Parts {
		d, ok := c.parts[n+1]
		if !ok {
			return false
		}
		h.Write(d[:])
	}
	var sum cas.Digest
	h.Sum(sum[:0])
	return sum == c.end.Digest
}

// Base returns the last commit that the chosen checkpoint includes, or 0 without
// a checkpoint. The slots of commits up to it are not needed. Base ends the
// survey: later calls of Survey have no effect.
func (r *Replayer) Base() uint64 {
	if !r.replaying {
		r.replaying = true
		for _, c := range r.checkpoints {
			if c.isWhole() && (r.chosen == nil || c.base > r.chosen.base) {
				r.chosen = c
			}
		}
		r.checkpoints = nil
	}
	if r.chosen == nil {
		return 0
	}
	return r.chosen.base
}

// Replay applies the records of a slot, at once or when the other parts of its
// commit have come. It does not retain p.
func (r *Replayer) Replay(ctx context.Context, p []byte) error {
	s, records, err := decodeHead(p)
	if err != nil {
		return err
	}
	base := r.Base()
	r.highest = max(r.highest, s.Commit, s.Base)
	switch {
	case s.Base > 0 && (s.Part == 0 || r.pass > 0 || r.chosen == nil || s.Checkpoint != r.chosen.id):
		return nil
	case s.Base > 0:
		return r.applyParts(ctx, s.Base, records)
	case s.Commit <= base || r.wanted != nil && !r.wanted[s.Commit]:
		return nil
	case s.Parts == 1:
		return r.applyParts(ctx, s.Commit, records)
	}
	return r.keepPart(ctx, s, records)
}

func (r *Replayer) applyParts(ctx context.Context, seq uint64, parts ...[]byte) error {
	var all []Record
	for _, p := range parts {
		rs, err := decodeRecords(p)
		if err != nil {
			return err
		}
		all = append(all, rs...)
	}
	return r.apply(ctx, seq, all)
}

// keepPart stores a part until the other parts of its commit have come.
func (r *Replayer) keepPart(ctx context.Context, s *Slot, records []byte) error {
	if r.applied[s.Commit] || r.forgotten[s.Commit] {
		return nil
	}
	c := r.waiting[s.Commit]
	if c == nil {
		c = &waitingCommit{of: s.Parts, slots: make(map[uint64][]byte)}
		r.waiting[s.Commit] = c
	}
	if c.of != s.Parts {
		return fmt.Errorf("manifest: replay: commit %d has %d parts and %d: %w", s.Commit, c.of, s.Parts, ErrFormat)
	}
	if c.slots[s.Part] != nil {
		return nil
	}
	c.slots[s.Part] = bytes.Clone(records)
	c.bytes += len(records)
	r.waitingBytes += len(records)
	if uint64(len(c.slots)) < c.of {
		r.forgetLatest()
		return nil
	}
	var all [][]byte
	for n := range c.of {
		all = append(all, c.slots[n+1])
	}
	r.dropWaiting(s.Commit)
	r.applied[s.Commit] = true
	return r.applyParts(ctx, s.Commit, all...)
}

// forgetLatest drops the parts of the latest incomplete commits until the limit
// is kept. It never drops the earliest one, so that every pass completes at
// least one.
func (r *Replayer) forgetLatest() {
	for r.waitingBytes > r.limit && len(r.waiting) > 1 {
		last := slices.Max(slices.Collect(maps.Keys(r.waiting)))
		r.dropWaiting(last)
		r.forgotten[last] = true
	}
}

func (r *Replayer) dropWaiting(seq uint64) {
	r.waitingBytes -= r.waiting[seq].bytes
	delete(r.waiting, seq)
}

// EndPass ends a pass. It reports whether another pass over all slots is needed.
// Otherwise everything was applied, at last the highest number found, with no
// records, and Lacking returns the incomplete commits.
func (r *Replayer) EndPass(ctx context.Context) (again bool, err error) {
	r.Base()
	for seq := range r.waiting {
		r.lacking[seq] = true
		r.dropWaiting(seq)
	}
	r.pass++
	r.wanted, r.forgotten = r.forgotten, make(map[uint64]bool)
	if len(r.wanted) > 0 {
		return true, nil
	}
	return false, r.apply(ctx, r.highest, nil)
}

// Lacking returns, in order, the numbers of the commits of which parts are
// missing. They were not applied. A crash leaves such a commit only if it was
// never acknowledged.
func (r *Replayer) Lacking() []uint64 {
	return slices.Sorted(maps.Keys(r.lacking))
}
