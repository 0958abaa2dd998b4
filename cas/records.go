package cas

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas/pack"
)

// MaxRecord is the longest slot of a frame of records.
const MaxRecord = 1 << 20

// ErrTooLarge reports a slot of records that is longer than MaxRecord, or empty.
var ErrTooLarge = errors.New("a slot of records must have 1 byte to 1 MiB")

// Records are what one commit changed, or a part of a checkpoint, as they
// travel in packs.
type Records struct {
	// Commit is the number of the commit; of a part of a checkpoint, the number
	// that its writing took.
	Commit uint64
	// Base is 0, or that of the checkpoint: it holds the state after all
	// commits up to Base.
	Base  uint64
	Slots [][]byte
}

// AppendRecords makes changes to metadata durable in the packs, for a rebuild
// to find. Records appended side by side share frames and a Sync. A slot longer
// than MaxRecord is refused with ErrTooLarge before anything is written; after
// any other error some slots may have been.
func (s *Store) AppendRecords(ctx context.Context, r *Records) error {
	for _, slot := range r.Slots {
		if len(slot) == 0 || len(slot) > MaxRecord {
			return fmt.Errorf("cas: append records of commit %d: slot of %d bytes: %w", r.Commit, len(slot), ErrTooLarge)
		}
	}
	var at places
	for rest := r.Slots; len(rest) > 0; {
		it := &groupItem{kind: KindRecord, how: Compression{Codec: Zstd}, commit: r.Commit, base: r.Base}
		for len(rest) > 0 && (len(it.plain) == 0 || len(it.plain)+len(rest[0]) <= FrameSize) && len(it.slots) < pack.MaxSlots {
			it.plain = append(it.plain, rest[0]...)
			it.slots = append(it.slots, Ref{Digest: pack.SumSlot(KindRecord, rest[0]), Length: uint32(len(rest[0]))})
			rest = rest[1:]
		}
		if err := s.group.writeItem(ctx, it); err != nil {
			return fmt.Errorf("cas: append records of commit %d: %w", r.Commit, err)
		}
		for _, p := range it.at {
			at.add(p)
		}
	}
	if err := at.wait(ctx); err != nil {
		return fmt.Errorf("cas: append records of commit %d: %w", r.Commit, err)
	}
	return nil
}
