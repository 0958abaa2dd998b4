package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// Waiting tells what of a domain nothing needs any more and still takes space, and
// what it waits for.
type Waiting struct {
	Domain string
	Epoch  uint64 // that the next collection would raise
	Floor  uint64 // below which it would drop chunks

	// Sums has a sum for each of WaitReasons, in their order.
	Sums []WaitingSum
	// Packs hold dead bytes; of one that is being deleted it is all of them. In
	// order of IDs.
	Packs   []WaitingPack
	Writers []manifest.Writer // that keep chunks, by their begin
	Graves  int64             // of removed versions, whose chunks are not all dropped
	Charged map[string]int64  // bytes in packs that removals of a bucket have made dead, of those that are not entered
}

// WaitReasons are what dead bytes wait for: first those of chunks and segments that
// are still indexed, then those of packs beside them.
func WaitReasons() []Reason {
	return []Reason{ForCollection, ForWriter, ForSource, ForGrave, ForDeletion, ForRewrite, ForThreshold, ForRecords, ForAppends, ForGone}
}

// A WaitingSum sums up what waits for the same.
type WaitingSum struct {
	Reason Reason
	Count  int64 // of chunks and segments, or of packs
	Bytes  int64 // stored
}

// A WaitingPack is a pack with dead bytes.
type WaitingPack struct {
	Pack   cas.PackID
	Size   int64
	Dead   int64
	Reason Reason
}

// heldChunks are plain bytes of frames, by what keeps the dead chunks in them.
type heldChunks struct {
	writer, source, grave *digests.Log
	counts                map[Reason]int64
}

func newHeldChunks(dir string) *heldChunks {
	newLog := func() *digests.Log { return digests.NewLog(dir, digests.Sum) }
	return &heldChunks{newLog(), newLog(), newLog(), make(map[Reason]int64)}
}

func (h *heldChunks) close() error {
	return errors.Join(h.writer.Close(), h.source.Close(), h.grave.Close())
}

func (h *heldChunks) add(c *markedChunk, why Reason) error {
	h.counts[why]++
	to := h.writer
	switch why {
	case ForSource:
		to = h.source
	case ForGrave:
		to = h.grave
	}
	return to.Add(digests.KeyOfID(c.Frame), uint64(c.Length))
}

// FindWaiting finds out what nothing in a domain needs, by a mark as a collection
// makes it, and what the next collection would do about it. It changes nothing, and
// keeps nobody from changing anything. Of opts it uses TempDir, MaxWriterAge, MinDead
// and Progress.
func FindWaiting(ctx context.Context, s *Store, domain string, opts *Options) (*Waiting, error) {
	o := *opts.withDefaults()
	o.DryRun, o.Full = true, false
	d := newCycle(s, domain, &o)
	d.held = newHeldChunks(o.TempDir)
	w := &Waiting{Domain: domain, Charged: make(map[string]int64)}
	for _, why := range WaitReasons() {
		w.Sums = append(w.Sums, WaitingSum{Reason: why})
	}
	err := d.markDead(ctx, func() error {
		if err := w.sumChunks(ctx, d); err != nil {
			return err
		}
		return w.sumPacks(ctx, d)
	})
	if err == nil {
		err = w.readRows(ctx, d)
	}
	if err := errors.Join(err, d.held.close()); err != nil {
		return nil, fmt.Errorf("find what waits in backend %q: %w", domain, err)
	}
	return w, nil
}

// add adds to what waits for a reason.
func (w *Waiting) add(why Reason, count, bytes int64) {
	i := slices.IndexFunc(w.Sums, func(s WaitingSum) bool { return s.Reason == why })
	w.Sums[i].Count += count
	w.Sums[i].Bytes += bytes
}

// sumChunks sums up the dead chunks that are indexed. What frames count for less
// without them is added up reason by reason, so that the sums are that of all.
func (w *Waiting) sumChunks(ctx context.Context, d *cycle) error {
	w.Epoch, w.Floor = d.report.Epoch, d.report.Floor
	w.add(ForCollection, d.report.DroppedChunks, 0)
	for why, n := range d.held.counts {
		w.add(why, n, 0)
	}
	type one = digests.Joined[cas.FrameEntry]
	type two = digests.Joined[one]
	type three = digests.Joined[two]
	writer := digests.Join(d.allFrames(ctx), func(j *one) digests.Key { return digests.KeyOfID(j.Entry.ID) }, d.held.writer)
	source := digests.Join(writer, func(j *two) digests.Key { return digests.KeyOfID(j.Entry.Entry.ID) }, d.held.source)
	grave := digests.Join(source, func(j *three) digests.Key { return digests.KeyOfID(j.Entry.Entry.Entry.ID) }, d.held.grave)
	for j, err := range grave {
		if err != nil {
			return err
		}
		f := j.Entry.Entry.Entry.Entry
		for _, part := range []struct {
			why   Reason
			plain uint64
		}{{ForCollection, j.Entry.Entry.Entry.Value}, {ForWriter, j.Entry.Entry.Value}, {ForSource, j.Entry.Value}, {ForGrave, j.Value}} {
			w.add(part.why, 0, fallOf(f, part.plain))
			f.LiveBytes -= uint32(min(uint64(f.LiveBytes), part.plain))
		}
	}
	return nil
}

// sumPacks tells what the packs hold beside live frames, and what the next
// collection would do with each.
func (w *Waiting) sumPacks(ctx context.Context, d *cycle) error {
	reasons, err := d.foreseePacks(ctx)
	if err != nil {
		return err
	}
	dying := d.dying
	d.dying = nil // what is still indexed has its own sum
	defer func() { d.dying = dying }()
	if err := d.readCheckpoint(ctx); err != nil { // the one that there is
		return err
	}
	var doomed []cas.PackEntry
	all, err := d.weighPacks(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		p := &all[i]
		if p.dead == 0 {
			continue
		}
		why := reasons[p.ID]
		if !p.Sealed {
			why = ForAppends
		}
		w.Packs = append(w.Packs, WaitingPack{p.ID, p.Size, p.dead, cmp.Or(why, ForThreshold)})
	}
	err = d.eachPacks(ctx, func(p *cas.PackEntry) bool { return p.Doomed }, func(ps []cas.PackEntry) error {
		doomed = append(doomed, ps...)
		return nil
	})
	if err != nil {
		return err
	}
	entered, err := d.sumEntered(ctx, doomed)
	if err != nil {
		return err
	}
	for _, p := range doomed {
		w.Packs = append(w.Packs, WaitingPack{p.ID, p.Size, p.Size - entered[p.ID], ForGone})
	}
	slices.SortFunc(w.Packs, func(a, b WaitingPack) int { return slices.Compare(a.Pack[:], b.Pack[:]) })
	for _, p := range w.Packs {
		w.add(p.Reason, 1, p.Dead)
	}
	return nil
}

// foreseePacks returns for which reason the dead bytes of each pack wait that a dry
// run has weighed, none for those that it would leave as they are.
func (d *cycle) foreseePacks(ctx context.Context) (map[cas.PackID]Reason, error) {
	all, err := d.planCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	reasons := make(map[cas.PackID]Reason)
	rest := slices.DeleteFunc(all, func(p weighed) bool {
		switch {
		case d.isDead(&p.PackEntry):
			reasons[p.ID] = ForDeletion
		case p.needed:
			reasons[p.ID] = ForRecords
		default:
			return false
		}
		return true
	})
	for _, p := range d.choosePacks(rest) {
		reasons[p.ID] = ForRewrite
	}
	return reasons, nil
}

// readRows reads what the database knows of what waits.
func (w *Waiting) readRows(ctx context.Context, d *cycle) error {
	writers, err := d.Meta.Writers(ctx, d.domain)
	if err != nil {
		return err
	}
	for _, r := range writers {
		if r.Begin < w.Epoch && d.waitsFor(&r) {
			w.Writers = append(w.Writers, r)
		}
	}
	for _, err := range d.Meta.Graves(ctx, d.domain) {
		if err != nil {
			return err
		}
		w.Graves++
	}
	for c, err := range d.Meta.AllCharges(ctx, d.domain) {
		if err != nil {
			return err
		}
		w.Charged[c.Cause.Bucket] += c.Bytes
	}
	return nil
}
