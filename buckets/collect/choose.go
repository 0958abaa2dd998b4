package collect

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
)

const (
	// mostlyDead is the share of dead bytes from which a pack is always copied.
	mostlyDead = 0.3
	// leastDead is the share below which it is only by Full: to copy a hundred
	// bytes for one is not worth it.
	leastDead = 0.01
	// mayStay is the share of all dead bytes that may stay where they are.
	mayStay = 0.15

	// A pack is small below a smallPart of the size at which packs are sealed.
	// Small ones are made one where together they fill half a pack.
	smallPart = 4
)

// A weighed pack is one of the index with the bytes in it that nothing needs.
type weighed struct {
	cas.PackEntry
	dead    int64
	copied  int64 // if the rest were copied
	headers int64 // bytes of the headers of its frames
	needed  bool  // it holds records that no checkpoint covers
}

func (p *weighed) share() float64 { return float64(p.dead) / float64(max(p.Size, 1)) }

// weighPacks tells of each pack, from the index alone, what of it is dead: what
// neither frames account for as live, nor records that are needed, nor its header
// and footer.
func (d *cycle) weighPacks(ctx context.Context) ([]weighed, error) {
	type sum struct{ frames, headers, dead int64 }
	sums := make(map[cas.PackID]sum)
	for f, err := range d.allFrames(ctx) {
		if err != nil {
			return nil, fmt.Errorf("weigh packs: %w", err)
		}
		s := sums[f.Entry.Pack]
		s.dead += fallOf(f.Entry, f.Value)
		if f.Value < uint64(f.Entry.LiveBytes) { // else it leaves the index
			s.frames, s.headers = s.frames+1, s.headers+int64(f.Entry.HeaderLen)
		}
		sums[f.Entry.Pack] = s
	}
	var out []weighed
	for p, err := range d.index.AllPacks(ctx) {
		if err != nil {
			return nil, fmt.Errorf("weigh packs: %w", err)
		}
		if p.Doomed {
			continue
		}
		p.Live = max(0, p.Live-sums[p.ID].dead)
		out = append(out, d.weighPack(&p, sums[p.ID].frames, sums[p.ID].headers))
	}
	return out, nil
}

// weighPack tells of a pack with so many live frames, whose headers take so many
// bytes, what is dead.
func (d *cycle) weighPack(p *cas.PackEntry, frames, headers int64) weighed {
	w := weighed{PackEntry: *p, headers: headers, needed: d.recordsNeeded(p), copied: p.Live}
	rest := w.Live
	if w.needed {
		rest += 2 * p.Records // their lines in the footer are no longer than they are
	}
	if rest > 0 {
		rest += cas.SealedOverhead(frames, headers)
	}
	w.dead = max(0, p.Size-rest)
	return w
}

// allFrames yields the frames of the index, with the plain bytes of each that a dry
// run would have dropped.
func (d *cycle) allFrames(ctx context.Context) iter.Seq2[digests.Joined[cas.FrameEntry], error] {
	dying := d.dying
	if dying == nil {
		dying = digests.NewLog("", nil)
	}
	return digests.JoinFrames(d.index.AllFrames(ctx), dying)
}

// fallOf returns what a frame counts for less when so many plain bytes of it are
// dropped.
func fallOf(f cas.FrameEntry, dropped uint64) int64 {
	n := f.LiveStored()
	f.LiveBytes -= uint32(min(uint64(f.LiveBytes), dropped))
	return n - f.LiveStored()
}

// weighHeld returns how many bytes could be given back, or copied out of small
// packs, if records did not keep them.
func (d *cycle) weighHeld(all []weighed) (held int64) {
	var small, live int64
	for i := range all {
		p := &all[i]
		if !p.Sealed || p.Doomed {
			continue
		}
		if p.Size < d.chunks.PackSize()/smallPart {
			small++
			live += p.Live
		}
		if gain := p.dead + p.Records; p.needed && (p.Live == 0 || d.opts.Full || float64(gain) >= d.threshold()*float64(p.Size)) {
			held += gain
		}
	}
	if small > 1 && live >= d.chunks.PackSize() {
		held += live
	}
	return held
}

// threshold is the share of dead bytes from which a pack may be copied.
func (d *cycle) threshold() float64 { return cmp.Or(min(d.opts.MinDead, mostlyDead), leastDead) }

// choosePacks returns the packs whose rest is to be copied, those first that give
// most for it.
func (d *cycle) choosePacks(all []weighed) (out []weighed) {
	var total int64
	for i := range all {
		if p := &all[i]; p.Sealed && !p.needed && p.Live > 0 {
			out = append(out, *p)
			total += p.dead
		}
	}
	slices.SortStableFunc(out, func(a, b weighed) int { return cmp.Compare(b.share(), a.share()) })
	small := d.chooseSmall(out)
	left := total
	return slices.DeleteFunc(out, func(p weighed) bool {
		share, enough := p.share(), float64(left) <= mayStay*float64(total)
		switch {
		case d.opts.Full && p.dead > 0, share >= mostlyDead, d.opts.MinDead > 0 && share >= d.opts.MinDead,
			d.opts.MinDead == 0 && share >= leastDead && !enough:
			left -= p.dead
			return false
		}
		return !small[p.ID]
	})
}

// chooseSmall returns the small packs, if they are worth making one.
func (d *cycle) chooseSmall(packs []weighed) map[cas.PackID]bool {
	full := d.chunks.PackSize()
	small, live := make(map[cas.PackID]bool), int64(0)
	for i := range packs {
		if p := &packs[i]; p.Size < full/smallPart {
			small[p.ID] = true
			live += p.Live
		}
	}
	if len(small) < 2 || live < full/2 {
		return nil
	}
	return small
}

// planPacks adds to the report of a dry run what would become of packs.
func (d *cycle) planPacks(ctx context.Context) error {
	all, err := d.planCheckpoint(ctx)
	if err != nil {
		return err
	}
	free := func(p *weighed) {
		d.report.DeletedPacks++
		d.report.FreedBytes += p.Size - p.copied
	}
	rest := slices.DeleteFunc(all, func(p weighed) bool {
		dead := d.isDead(&p.PackEntry)
		if dead {
			free(&p)
		}
		return dead
	})
	chosen := make(map[cas.PackID]bool)
	for _, p := range d.choosePacks(rest) {
		free(&p)
		chosen[p.ID] = true
		d.report.RewrittenPacks++
		d.report.CopiedBytes += p.copied
	}
	d.addSums(slices.DeleteFunc(rest, func(p weighed) bool { return chosen[p.ID] }))
	return nil
}

// planCheckpoint weighs the packs as they would be when a cycle has sealed what is
// open, and written a checkpoint if it would.
func (d *cycle) planCheckpoint(ctx context.Context) ([]weighed, error) {
	if err := d.readCheckpoint(ctx); err != nil {
		return nil, err
	}
	for again := true; ; again = false {
		all, err := d.weighPacks(ctx)
		if err != nil {
			return nil, err
		}
		for i := range all {
			all[i].Sealed = true
		}
		homes, err := d.Meta.Homes(ctx)
		if err != nil {
			return nil, err
		}
		worth, err := d.isCheckpointWorth(ctx, d.weighHeld(all))
		if err != nil || !again || !worth || isTarget(homes, d.domain) {
			return all, err
		}
		if d.report.Checkpoint, err = d.Meta.LastCommit(ctx); err != nil {
			return nil, err
		}
	}
}

// sumUp adds to the report what is left.
func (d *cycle) sumUp(ctx context.Context) error {
	all, err := d.weighPacks(ctx)
	if err != nil {
		return err
	}
	d.addSums(all)
	return nil
}

func (d *cycle) addSums(packs []weighed) {
	d.report.DeadBytes, d.report.RecordBytes = 0, 0
	for i := range packs {
		d.report.DeadBytes += packs[i].dead
		d.report.RecordBytes += packs[i].Records
	}
}
