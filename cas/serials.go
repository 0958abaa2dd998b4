package cas

import "sync"

// Serials count the packs of one writer, so that a lost one is noticed.
type serials struct {
	writer [16]byte

	mu       sync.Mutex      // guards what follows
	last     uint64          // the highest serial given out
	open     map[uint64]bool // serials neither durable nor noted as void
	void     []uint64        // serials given up, still to be noted in a pack
	previous PackID          // the pack made last
}

// voidsInPack is how many serials are noted as void in one pack at most.
const voidsInPack = 4096

// nextSerial gives out the serial of the new pack id, with what its header says
// of the packs before, and the serials that it has to note as void.
func (c *serials) nextSerial(id PackID) (serial, settled uint64, previous PackID, voids []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	settled = c.last - 1
	for n := range c.open {
		settled = min(settled, n-1)
	}
	c.open[c.last] = true
	previous, c.previous = c.previous, id
	n := min(len(c.void), voidsInPack)
	voids, c.void = c.void[:n:n], c.void[n:]
	return c.last, settled, previous, voids
}

// settleSerial notes that a pack is durable, and with it its notes of voids.
func (c *serials) settleSerial(serial uint64, voids []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, serial)
	for _, n := range voids {
		delete(c.open, n)
	}
}

// giveUp notes that a pack has failed before anything in it was durable: its
// serial becomes void.
func (c *serials) giveUp(serial uint64, voids []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.void = append(append(c.void, voids...), serial)
}

// lastSerial returns the highest serial given out.
func (c *serials) lastSerial() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
