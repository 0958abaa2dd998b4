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

// A Replayer makes rows anew from the slots of records of one domain's packs,
// whatever the order in which it is given them, and however often. Survey is
// told of all that may belong to a checkpoint; then Replay is told of all,
// again and again until EndPass says that it has seen enough.
//
// The newest checkpoint that is whole counts, and commits up to its base do
// not. A commit counts if all its parts are there. Memory is bounded: parts
// whose commit is not whole yet are forgotten beyond a limit, and asked for
// in another pass.
type Replayer struct {
	// apply is told of the records of a commit, or of a part of a checkpoint
	// whose base is seq.
	apply func(ctx context.Context, seq uint64, rs []Record) error
	limit int // bytes of parts that are kept

	checkpoints map[[16]byte]*checkpoint
	chosen      *checkpoint // nil if none is whole; valid if replaying
	replaying   bool
	highest     uint64

	pass      int
	waiting   map[uint64]*waitingCommit
	waitingBytes      int             // bytes of what waits
	forgotten map[uint64]bool // commits some part of which was forgotten in this pass
	wanted    map[uint64]bool // those of the pass before; nil in the first
	applied   map[uint64]bool // commits of several parts
	lacking   map[uint64]bool // commits that are not whole
}

// waitingCommit are those of a commit that have come.
type waitingCommit struct {
	of    uint64            // how many there are
	slots map[uint64][]byte // records, as they are encoded
	bytes int
}

// A checkpoint is what Survey has seen of one.
type checkpoint struct {
	id     [16]byte
	base   uint64
	parts  map[uint64]cas.Digest // of the slots
	end    *Slot
	broken bool // two slots say what cannot both be
}

const replayLimit = MaxCommit

// NewReplayer returns a Replayer that hands what counts to apply.
func NewReplayer(apply func(ctx context.Context, seq uint64, rs []Record) error) *Replayer {
	return &Replayer{apply: apply, limit: replayLimit, checkpoints: make(map[[16]byte]*checkpoint),
		waiting: make(map[uint64]*waitingCommit), forgotten: make(map[uint64]bool), applied: make(map[uint64]bool),
		lacking: make(map[uint64]bool)}
}

// Survey learns of checkpoints. Slots of commits tell it nothing.
func (r *Replayer) Survey(p []byte) error {
	s, _, err := decodeHead(p)
	if err != nil || s.Base == 0 {
		return err
	}
	c := r.checkpoints[s.Checkpoint]
	if c == nil {
		c = &checkpoint{id: s.Checkpoint, base: s.Base, parts: make(map[uint64]cas.Digest)}
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

const checkpointContext = "cairn-store/cairn 2026 checkpoint v1"

// isWhole reports whether all of the checkpoint was seen.
func (c *checkpoint) isWhole() bool {
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

// Base is the last commit that the checkpoint stands for, 0 if there is none.
// No slot of a commit up to it is needed. What Survey is told afterwards does
// not count.
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

// Replay hands on what counts of a slot, perhaps later. It does not keep p.
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

// keepPart keeps a part until the others of its commit have come.
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

// forgetLatest forgets the latest commits that wait, beyond the limit. The earliest
// is never forgotten, so that every pass completes one.
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

// EndPass says that Replay was told of all slots. It reports whether it must
// be told of all of them again: otherwise all that counts has been handed on,
// apply has been told of the highest number that was met, with no records,
// and Lacking tells the rest.
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

// Lacking returns the numbers of the commits, in order, some part of which was
// not there: they were not handed on. A crash leaves such a commit if it was
// never acknowledged.
func (r *Replayer) Lacking() []uint64 {
	return slices.Sorted(maps.Keys(r.lacking))
}
