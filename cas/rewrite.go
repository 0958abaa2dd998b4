package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// RewriteOptions are choices of Rewrite; nil and zero values mean the defaults.
type RewriteOptions struct {
	// Collector is the token of the caller's lease: see Change.
	Collector uint64

	// Order sorts frames into the order in which they are to lie, for example
	// so that those of a file lie side by side. Default: as they lie.
	Order func(ctx context.Context, fs []*LiveFrame) error

	// Limit bounds the bytes that are read and written a second, of all calls
	// that share it; nil is no bound.
	Limit *rate.Limiter
}

// A LiveFrame is a frame in a pack that is rewritten.
type LiveFrame struct {
	FrameEntry
	// Chunks are the entries that lie in the frame, in order of slots. Of a sealed
	// frame whose key is not at hand they are not known.
	Chunks []ChunkEntry

	header *pack.Frame
	whole  bool // all of it is needed, and nothing of it is marked Bad
	// counted says that it is whole by what the index counts, and that no chunk was
	// looked up: some may be marked Bad.
	counted bool
}

// Rewritten says what Rewrite has done.
type Rewritten struct {
	Frames  int64 // moved whole, with their IDs
	Chunks  int64 // copied into new frames
	Read    int64 // bytes of frames read
	Written int64 // bytes of frames written
	Damaged int64 // chunks that were found damaged, and marked Bad

	// Left are the packs that frames of the index still lie in: with chunks that
	// are marked Bad, or that could not be read.
	Left []PackID
}

// Rewrite copies what the index needs of packs to others, which hold nothing but
// copies, so that those packs can be doomed. They must not grow. All that is copied
// is verified. A frame that is needed whole keeps its ID and its stored bytes;
// the live chunks of others are gathered in new frames, without sources. What is
// damaged is marked Bad and stays where it is, and so does what was Bad before,
// unless all of its frame is needed and proves good; the rest of its frame goes to
// new frames. The index learns of copies when they are durable, by comparing and
// swapping, so readers and uploads go on, and a crash leaves copies that nobody
// needs, at worst. Until then the packs that they were written to may look as if
// nothing lay in them.
//
// It takes memory for the headers of the packs, and some frames.
func (s *Store) Rewrite(ctx context.Context, packs []PackEntry, opts *RewriteOptions) (Rewritten, error) {
	r := &rewriter{s: s}
	if opts != nil {
		r.opts = *opts
	}
	err := r.run(ctx, packs)
	if err != nil {
		return r.out, fmt.Errorf("cas: rewrite: %w", err)
	}
	return r.out, nil
}

// CheckCopies returns backend.ErrNoSpace if there is no space for n bytes of copies.
func (s *Store) CheckCopies(n int64) error {
	if l, ok := s.b.Backend.(backend.Limited); ok {
		return l.CheckRoom(n, true)
	}
	return nil
}

// A rewriter is one call of Rewrite. One goroutine reads and verifies, another
// writes: see copyFrames and writeCopies.
type rewriter struct {
	s    *Store
	opts RewriteOptions
	out  Rewritten // Read and Damaged belong to copyFrames, the others to writeCopies

	// These belong to writeCopies.
	builders []*copyBuilder // one of each class, in the order in which they came
	moves    []*moves
}

func (r *rewriter) run(ctx context.Context, packs []PackEntry) error {
	fs, err := r.listFrames(ctx, packs)
	if err == nil && r.opts.Order != nil {
		err = r.opts.Order(ctx, fs)
	}
	if err != nil {
		return err
	}
	copies := make(chan *copied, 1)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(copies)
		return r.copyFrames(gctx, fs, copies)
	})
	g.Go(func() error { return r.writeCopies(gctx, copies) })
	if err := g.Wait(); err != nil {
		return err
	}
	return r.listLeft(ctx, packs)
}

// listFrames lists what the index needs of packs, from their footers.
func (r *rewriter) listFrames(ctx context.Context, packs []PackEntry) (all []*LiveFrame, err error) {
	for _, p := range packs {
		if r.s.pack.isGrowing(p.ID) {
			return nil, fmt.Errorf("pack %s is being written to", p.ID)
		}
		var fs []*LiveFrame
		for e, err := range r.s.ix.PackFrames(ctx, p.ID) {
			if err != nil {
				return nil, err
			}
			fs = append(fs, &LiveFrame{FrameEntry: e})
		}
		if len(fs) == 0 {
			continue
		}
		if fs, err = r.describeFrames(ctx, p, fs); err != nil {
			return nil, fmt.Errorf("pack %s: %w", p.ID, err)
		}
		all = append(all, fs...)
	}
	return all, nil
}

// describeFrames finds out what lives in the frames of a pack. It leaves out those
// that the pack does not tell of.
func (r *rewriter) describeFrames(ctx context.Context, p PackEntry, frames []*LiveFrame) (known []*LiveFrame, err error) {
	info, err := r.s.InspectRest(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // Left names it
	}
	if err != nil {
		return nil, err
	}
	found := make(map[FrameID]*Frame, len(info.Frames))
	for _, f := range info.Frames {
		if f.header != nil {
			found[f.Entry.ID] = f
		}
	}
	for _, f := range frames {
		in := found[f.ID]
		if in == nil || in.Entry.Offset != f.Offset || in.Damage != nil {
			continue
		}
		f.header = in.header
		switch {
		case in.locked:
			f.whole = true
		case int(f.Live) == len(in.Chunks):
			f.whole, f.counted, f.Chunks = true, true, in.Chunks
		default:
			if err := r.findLive(ctx, f, in.Chunks); err != nil {
				return nil, err
			}
		}
		known = append(known, f)
	}
	return known, nil
}

// findLive looks up which slots of a frame the index needs.
func (r *rewriter) findLive(ctx context.Context, f *LiveFrame, slots []ChunkEntry) error {
	ds, now := make([]Digest, len(slots)), make([]ChunkEntry, len(slots))
	for i := range slots {
		ds[i] = slots[i].Digest
	}
	if err := r.s.ix.Chunks(ctx, ds, now); err != nil {
		return err
	}
	f.whole, f.counted, f.Chunks = true, false, nil
	for i, e := range now {
		if e.Frame != f.ID || e.Slot != uint32(i) {
			f.whole = false
			continue
		}
		f.whole = f.whole && e.Usable()
		f.Chunks = append(f.Chunks, e)
	}
	return nil
}

// listLeft lists the packs that frames still lie in.
func (r *rewriter) listLeft(ctx context.Context, packs []PackEntry) error {
	for _, p := range packs {
		for _, err := range r.s.ix.PackFrames(ctx, p.ID) {
			if err != nil {
				return err
			}
			r.out.Left = append(r.out.Left, p.ID)
			break
		}
	}
	return nil
}

// takeRate waits until l lets n bytes be read or written; nil always does.
func takeRate(ctx context.Context, l *rate.Limiter, n int64) error {
	for l != nil && l.Limit() != rate.Inf && n > 0 {
		k := min(n, int64(max(l.Burst(), 1)))
		if err := l.WaitN(ctx, int(k)); err != nil {
			return err
		}
		n -= k
	}
	return ctx.Err()
}

// copyRun is the most bytes that are read at a time, unless one frame is longer;
// of a remote backend it is WindowSize.
const copyRun = 4 << 20

// splitCopies returns the frames that one read brings: those that follow each other
// both in fs and in their pack, with little between.
func (r *rewriter) splitCopies(fs []*LiveFrame) (runs [][]*LiveFrame) {
	start, gap, most := 0, r.s.load.gap, int64(copyRun)
	if r.s.remote {
		most = WindowSize
	}
	for i := 1; i <= len(fs); i++ {
		if i < len(fs) {
			a, b := fs[i-1], fs[i]
			if d := b.Offset - a.end(); a.Pack == b.Pack && d >= 0 && d <= gap && b.end()-fs[start].Offset <= most {
				continue
			}
		}
		runs = append(runs, fs[start:i])
		start = i
	}
	return runs
}
