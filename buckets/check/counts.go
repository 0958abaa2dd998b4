package check

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
)

const (
	// maxCounts is how often something is counted again that is not what the index
	// counts. What changes each time is not told.
	maxCounts = 8
	// countPause is how long it is left alone before it is counted the second time;
	// the next pauses double.
	countPause = time.Millisecond
)

// pauseCount waits before the nth count.
func pauseCount(ctx context.Context, n int) error {
	select {
	case <-time.After(countPause << n):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// checkCounts checks that the index counts those chunks as live in a frame that it
// has there. It is wrong only if it is twice while the index counts the same before
// and after: in between, work may be going on.
func (c *domainChecker) checkCounts(ctx context.Context, f *cas.Frame) error {
	ds, chunks := make([]cas.Digest, len(f.Slots)), make([]cas.ChunkEntry, len(f.Slots))
	for i := range f.Slots {
		ds[i] = f.Slots[i].Digest
	}
	slices.SortFunc(ds, func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
	ds = slices.Compact(ds)
	id, frame := []cas.FrameID{f.Entry.ID}, make([]cas.FrameEntry, 1)
	wrong := 0
	for n := range maxCounts {
		if err := c.Chunks.Index().Frames(ctx, id, frame); err != nil {
			return err
		}
		before := frame[0]
		if err := c.Chunks.Index().Chunks(ctx, ds, chunks[:len(ds)]); err != nil {
			return err
		}
		live, plain := uint32(0), uint32(0)
		for _, e := range chunks[:len(ds)] {
			if e.Frame == f.Entry.ID {
				live, plain = live+1, plain+e.Length
			}
		}
		if before.Live == live && before.LiveBytes == plain {
			return nil
		}
		if err := c.Chunks.Index().Frames(ctx, id, frame); err != nil {
			return err
		}
		if before.Live == frame[0].Live && before.LiveBytes == frame[0].LiveBytes {
			if wrong++; wrong == 2 {
				c.addProblem(Problem{Kind: "index", Pack: f.Entry.Pack.String(), Detail: fmt.Sprintf("the index counts %d chunks of %d bytes in the frame at %d, and has %d of %d",
					before.Live, before.LiveBytes, f.Entry.Offset, live, plain)}.with(HealsRebuild, ""))
				return nil
			}
		}
		if err := pauseCount(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// checkMiscounted counts again what is live in packs for which the index had
// another number, in the way of checkCounts.
func (c *domainChecker) checkMiscounted(ctx context.Context) error {
	wrong := make(map[cas.PackID]int)
	for n := 0; n < maxCounts && len(c.miscounted) > 0; n++ {
		before, err := c.miscountedPacks(ctx)
		if err != nil {
			return err
		}
		sums := make(map[cas.PackID]int64)
		for id := range before {
			for f, err := range c.Chunks.Index().PackFrames(ctx, id) {
				if err != nil {
					return err
				}
				sums[id] += f.LiveStored()
			}
		}
		after, err := c.miscountedPacks(ctx)
		if err != nil {
			return err
		}
		for id := range c.miscounted {
			p, isThere := after[id]
			switch {
			case isThere && p.Live != before[id].Live:
				continue // work goes on
			case isThere && p.Live != sums[id]:
				if wrong[id]++; wrong[id] < 2 {
					continue
				}
				c.addProblem(Problem{Kind: "index", Pack: id.String(), Detail: fmt.Sprintf("the index counts %d bytes as live in the pack, and %d in its frames", p.Live, sums[id])}.with(HealsRebuild, ""))
			}
			delete(c.miscounted, id)
		}
		if len(c.miscounted) > 0 {
			if err := pauseCount(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// miscountedPacks returns those of the packs in miscounted that there are.
func (c *domainChecker) miscountedPacks(ctx context.Context) (map[cas.PackID]cas.PackEntry, error) {
	found := make(map[cas.PackID]cas.PackEntry)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return nil, err
		}
		if c.miscounted[p.ID] {
			found[p.ID] = p
		}
	}
	return found, nil
}
