package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// replay restores what the records in the packs say.
func (d *domainBuilder) replay(ctx context.Context, anew bool) error {
	r := manifest.NewReplayer(func(ctx context.Context, seq uint64, rs []manifest.Record) error {
		d.highest = max(d.highest, seq)
		for i := range rs {
			d.homes.note(d.name, &rs[i])
			if doom := rs[i].Doomed; doom != nil {
				d.doomed[doom.Pack] = true
				d.census.doom(doom)
			}
		}
		return d.s.meta.Restore(ctx, 0, rs) // finish raises the number
	})
	if err := d.eachRecord(ctx, d.records, isCheckpoint, r.Survey); err != nil {
		return err
	}
	base := r.Base()
	last, err := d.s.meta.LastCommit(ctx)
	if err != nil {
		return err
	}
	if !anew && base > last {
		return fmt.Errorf("%w: it ends with commit %d, the checkpoint with %d", errOvertaken, last, base)
	}
	if err := d.replayAll(ctx, d.records, r); err != nil {
		return err
	}
	if lacking := r.Lacking(); len(lacking) > 0 && d.s.opts.Log != nil {
		d.s.opts.Log.Warn("commits are not whole and do not count; a crash leaves such, and so does a pack that is lost",
			"backend", d.name, "commits", len(lacking), "first", lacking[0])
	}
	return nil
}

// isCheckpoint tells of a frame of records whether it is of a checkpoint.
func isCheckpoint(f *cas.Frame) bool {
	_, _, base := f.Commits()
	return base > 0
}

// replayAll gives r the records that it needs, as often as it needs them.
func (d *domain) replayAll(ctx context.Context, packs []recordPack, r *manifest.Replayer) error {
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

// eachRecord hands out the slots of those frames of records that are wanted.
func (d *domain) eachRecord(ctx context.Context, packs []recordPack, wanted func(*cas.Frame) bool, fn func([]byte) error) error {
	for _, p := range packs {
		frames := p.frames
		if frames == nil {
			info, err := d.chunks.Inspect(ctx, p.PackEntry)
			if err != nil {
				return err
			}
			frames = info.Frames
		}
		for _, f := range frames {
			if f.Damage != nil || f.Entry.Kind != cas.KindRecord || !wanted(f) {
				continue
			}
			if err := d.slots(ctx, *f, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// slots hands out the slots of a frame of records. Damaged ones are left out:
// check tells of them. It takes a copy, so that what is read is not kept.
func (d *domain) slots(ctx context.Context, f cas.Frame, fn func([]byte) error) error {
	_, plain, err := d.chunks.Verify(ctx, &f)
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
