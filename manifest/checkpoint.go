package manifest

import (
	"crypto/rand"
	"fmt"
	"hash"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
)

// A Checkpoint encodes records as the slots of a checkpoint, in constant memory.
// Its user adds all records, in any order, and appends the slots that Add and
// Flush return to the packs. The slot that End returns makes them count: it is
// to be written when the others are durable, and when everything that the
// records say is durable in the database.
type Checkpoint struct {
	id      [16]byte
	base    uint64
	records []byte // encoded, of the part that is being filled
	parts   uint64
	digests hash.Hash // over those of the parts
}

const checkpointContext = "cairn-store/cairn 2026 checkpoint v1"

// NewCheckpoint begins a checkpoint that includes all commits up to base. base
// must not be 0.
func NewCheckpoint(base uint64) *Checkpoint {
	c := &Checkpoint{base: base, digests: blake3.NewDerived(checkpointContext)}
	rand.Read(c.id[:]) // never fails
	return c
}

// Add adds a record. It returns a slot if that is full, without the record, else
// nil.
func (c *Checkpoint) Add(r *Record) (slot []byte, err error) {
	p, err := r.encodeBounded()
	if err != nil {
		return nil, fmt.Errorf("manifest: encode checkpoint: %w", err)
	}
	if len(c.records)+len(p) > MaxSlot-slotHead {
		slot = c.Flush()
	}
	c.records = append(c.records, p...)
	return slot, nil
}

// Flush returns the last part as a slot, or nil if there is nothing left.
func (c *Checkpoint) Flush() []byte {
	if len(c.records) == 0 {
		return nil
	}
	c.parts++
	slot := (&Slot{Checkpoint: c.id, Base: c.base, Part: c.parts}).encodeWith(c.records)
	c.records = c.records[:0]
	d := cas.Sum(slot)
	c.digests.Write(d[:])
	return slot
}

// End returns the slot that ends the checkpoint. Flush comes before it.
func (c *Checkpoint) End() []byte {
	end := &Slot{Checkpoint: c.id, Base: c.base, Parts: c.parts}
	c.digests.Sum(end.Digest[:0])
	return end.encodeWith(nil)
}
