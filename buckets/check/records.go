package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A keptPack is a pack some of whose frames are needed again.
type keptPack struct {
	cas.PackEntry
	frames []*cas.Frame // nil if the pack has to be inspected again
}

// replayRecords restores what the records in the packs of the domain say.
func (d *domainBuilder) replayRecords(ctx context.Context) error {
	r := manifest.NewReplayer(func(ctx context.Context, seq uint64, rs []manifest.Record) error {
		d.highest = max(d.highest, seq)
		for i := range rs {
			d.homes.addRecord(d.Name, &rs[i])
			d.addDead(&rs[i])
		}
		if len(rs) == 0 {
			return nil // finishBuild raises the number
		}
		return d.Meta.Restore(ctx, seq, rs)
	})
	if err := d.eachRecord(ctx, d.recordPacks, isCheckpoint, r.Survey); err != nil {
		return err
	}
	d.base = r.Base()
	last, err := d.Meta.LastCommit(ctx)
	if err != nil {
		return err
	}
	if !d.anew && d.base > last {
		return fmt.Errorf("%w: it ends with commit %d, the checkpoint with %d", ErrOvertaken, last, d.base)
	}
	if err := d.replayAll(ctx, d.recordPacks, r); err != nil {
		return err
	}
	if lacking := r.Lacking(); len(lacking) > 0 && d.Log != nil {
		d.Log.Warn("commits are not whole and do not count; a crash leaves such, and so does a pack that is lost",
			"backend", d.Name, "commits", len(lacking), "first", lacking[0])
	}
	return nil
}

// isCheckpoint reports whether a frame of records is part of a checkpoint.
func isCheckpoint(f *cas.Frame) bool {
	_, _, base := f.Commits()
	return base > 0
}

// replayAll gives r the records that it needs, as often as it needs them.
func (d *Domain) replayAll(ctx context.Context, packs []keptPack, r *manifest.Replayer) error {
	base := r.Base()
	needed := func(f *cas.Frame) bool {
		_, last, of := f.Commits()
		return of > 0 && of == base || of == 0 && (last > base || last == 0)
	}
	for again := true; again; {
		err := d.eachRecord(ctx, packs, needed, func(slot []byte) error { return r.Replay(ctx, slot) })
		if err != nil {
			return err
		}
		if again, err = r.EndPass(ctx); err != nil {
			return err
		}
	}
	return nil
}

// loadFrames returns the frames of a pack that were kept, or else all.
func (d *Domain) loadFrames(ctx context.Context, p keptPack) ([]*cas.Frame, error) {
	if p.frames != nil {
		return p.frames, nil
	}
	info, err := d.Chunks.Inspect(ctx, p.PackEntry)
	if err != nil {
		return nil, err
	}
	return info.Frames, nil
}

// eachRecord calls fn for the slots of those frames of records that are wanted.
func (d *Domain) eachRecord(ctx context.Context, packs []keptPack, wanted func(*cas.Frame) bool, fn func([]byte) error) error {
	for _, p := range packs {
		frames, err := d.loadFrames(ctx, p)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if f.Damage != nil || f.Entry.Kind != cas.KindRecord || !wanted(f) {
				continue
			}
			if err := d.eachSlot(ctx, *f, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachSlot calls fn for the slots of a frame of records. Damaged slots are left
// out: Check reports them. f is a copy, so that what is read is not kept.
func (d *Domain) eachSlot(ctx context.Context, f cas.Frame, fn func([]byte) error) error {
	_, plain, err := d.Chunks.Verify(ctx, &f)
	var ce *cas.CorruptError
	if errors.As(err, &ce) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range plain {
		if p == nil {
			continue
		}
		if err := fn(p); err != nil {
			return fmt.Errorf("record in pack %s at %d: %w", f.Entry.Pack, f.Entry.Offset, err)
		}
	}
	return nil
}

// replayFrame takes in what a frame of records says. Damaged slots are left out.
func (c *domainChecker) replayFrame(ctx context.Context, f *cas.Frame, plain [][]byte) error {
	for _, slot := range plain {
		if slot == nil {
			continue
		}
		if err := errors.Join(c.checkpoints.Survey(slot), c.replayer.Replay(ctx, slot)); err != nil {
			return fmt.Errorf("record in pack %s at %d: %w", f.Entry.Pack, f.Entry.Offset, err)
		}
	}
	return nil
}

// countWriters puts the counts of packs into the report.
func (c *domainChecker) countWriters() {
	for _, w := range slices.SortedFunc(maps.Values(c.census.writers), func(a, b *WriterPacks) int { return strings.Compare(a.Writer, b.Writer) }) {
		if w.Backend = c.Name; len(c.report.PacksByWriter) < maxWriters {
			c.report.PacksByWriter = append(c.report.PacksByWriter, *w)
		}
	}
}
