package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// rebuild makes the metadata database anew from the packs. It is built beside
// its place and moved there when it is whole.
func rebuild(ctx context.Context, dir string, opts *Options) error {
	s, err := openBackends(ctx, dir, opts)
	if err != nil {
		return err
	}
	tmp := metaDir(dir) + ".new"
	if err := removeAll(tmp, opts); err != nil {
		return err
	}
	if err := s.openMeta(ctx, tmp, false); err != nil {
		return err
	}
	err = s.replay(ctx)
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	if err := removeAll(metaDir(dir), opts); err != nil { // it holds no database
		return err
	}
	return rename(tmp, metaDir(dir), opts)
}

func removeAll(path string, opts *Options) error {
	if opts.MetaFS != nil {
		return opts.MetaFS.RemoveAll(path)
	}
	return os.RemoveAll(path)
}

func rename(from, to string, opts *Options) error {
	if opts.MetaFS != nil {
		return opts.MetaFS.Rename(from, to)
	}
	return os.Rename(from, to)
}

// replay fills the empty database of s. Rows come first: they say which packs
// are doomed and do not count.
func (s *parts) replay(ctx context.Context) error {
	packs := make(map[*domain][]cas.PackEntry)
	doomed := make(map[cas.PackID]bool)
	found := make(homes)
	for _, d := range s.domains {
		for p, err := range d.chunks.Packs(ctx) {
			if err != nil {
				return err
			}
			packs[d] = append(packs[d], p)
		}
		lacking, err := d.replay(ctx, packs[d], func(ctx context.Context, seq uint64, rs []manifest.Record) error {
			for _, r := range rs {
				found.note(d.name, &r)
				if r.Doomed != nil {
					doomed[r.Doomed.Pack] = true
				}
			}
			return s.meta.Restore(ctx, seq, rs)
		})
		if err != nil {
			return err
		}
		if len(lacking) > 0 && s.opts.Log != nil {
			s.opts.Log.Warn("commits are not whole and do not count; a crash leaves such, and so does a pack that is lost",
				"backend", d.name, "commits", len(lacking), "first", lacking[0])
		}
	}
	for _, d := range s.domains {
		for _, p := range packs[d] {
			if doomed[p.ID] {
				continue
			}
			if err := s.replayFrames(ctx, d, p); err != nil {
				return err
			}
		}
	}
	if err := s.meta.Reindex(ctx); err != nil {
		return err
	}
	return found.restore(ctx, s.meta)
}

// replay hands what counts of the records in packs to apply, and returns the
// commits that are not whole.
func (d *domain) replay(ctx context.Context, packs []cas.PackEntry, apply func(context.Context, uint64, []manifest.Record) error) ([]uint64, error) {
	r := manifest.NewReplayer(apply)
	for again := true; again; {
		err := d.replayPacks(ctx, packs, r)
		if err != nil {
			return nil, err
		}
		if again, err = r.EndPass(ctx); err != nil {
			return nil, err
		}
	}
	return r.Lacking(), nil
}

// replayPacks gives r the records of packs.
func (d *domain) replayPacks(ctx context.Context, packs []cas.PackEntry, r *manifest.Replayer) error {
	for _, p := range packs {
		_, err := d.chunks.Walk(ctx, p, func(f *cas.Frame) error {
			if f.Damage != nil || f.Entry.Kind != cas.KindRecord {
				return nil
			}
			_, plain, err := d.chunks.Verify(ctx, f)
			if err != nil {
				return err
			}
			return replayFrame(ctx, r, f, plain)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// replayFrame gives r the slots of a frame of records. Damaged ones are left
// out: check tells of them.
func replayFrame(ctx context.Context, r *manifest.Replayer, f *cas.Frame, plain [][]byte) error {
	for _, slot := range plain {
		if slot == nil {
			continue
		}
		if err := r.Replay(ctx, slot); err != nil {
			return fmt.Errorf("record in pack %s at %d: %w", f.Entry.Pack, f.Entry.Offset, err)
		}
	}
	return nil
}

// replayFrames indexes the frames of a pack.
func (s *parts) replayFrames(ctx context.Context, d *domain, p cas.PackEntry) error {
	change := &cas.Change{}
	end := int64(0) // of the last frame of which something can be read
	sealed, err := d.chunks.Walk(ctx, p, func(f *cas.Frame) error {
		if f.Damage != nil {
			return nil
		}
		bad, plain, err := d.chunks.Verify(ctx, f)
		if err != nil {
			return err
		}
		if len(bad) == len(f.Slots) && len(bad) > 0 {
			return nil // nothing of it can be read: the torn end of a crash, or damage
		}
		end = f.Entry.Offset + int64(f.Entry.HeaderLen) + int64(f.Entry.StoredLen)
		if err := s.keepSegments(ctx, d, f, plain); err != nil {
			return err
		}
		if f.Entry.Kind != cas.KindRecord {
			change.Frames = append(change.Frames, f.Entry)
		}
		for i, e := range f.Chunks {
			if plain[i] != nil {
				change.Chunks = append(change.Chunks, e)
			}
		}
		if len(change.Chunks) < 10000 {
			return nil
		}
		full := change
		change = &cas.Change{}
		return d.chunks.Apply(ctx, full)
	})
	if err != nil {
		return err
	}
	if sealed {
		end = p.Size
	}
	change.Packs = []cas.PackEntry{{ID: p.ID, Size: end, Sealed: sealed}}
	return d.chunks.Apply(ctx, change)
}

func (s *parts) keepSegments(ctx context.Context, d *domain, f *cas.Frame, plain [][]byte) error {
	if f.Entry.Kind != cas.KindSegment {
		return nil
	}
	var segs []manifest.Segment
	for i, p := range plain {
		if p != nil {
			segs = append(segs, manifest.Segment{Digest: f.Slots[i].Digest, Data: p})
		}
	}
	return s.meta.Segments(d.name).PutSegments(ctx, segs)
}
