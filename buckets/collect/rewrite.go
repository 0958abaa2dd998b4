package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
)

// Packs are copied in groups, and deleted before the next group begins, so that no
// more space is taken meanwhile than a group needs. What is known of the chunks of
// a group is in memory, and takes about eight times the headers of its frames.
const (
	groupBytes   = 1 << 30 // that are copied
	groupHeaders = 8 << 20 // bytes of headers
	groupPacks   = doomBatch
)

// rateBurst is how many bytes are read or written between two waits for the rate.
const rateBurst = 1 << 20

func newLimit(o *Options) *rate.Limiter {
	if o.Rate <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(o.Rate), rateBurst)
}

// rewriteAll copies what is needed out of packs that are chosen, and deletes them.
// Where there is no space for copies, the others stay.
func (d *cycle) rewriteAll(ctx context.Context) error {
	all, err := d.weighPacks(ctx)
	if err != nil {
		return err
	}
	chosen := d.choosePacks(all)
	total := int64(0)
	for i := range chosen {
		total += chosen[i].copied
	}
	for most := groupPacks; len(chosen) > 0; {
		n, err := d.nextGroup(chosen, most)
		var gone map[cas.PackID]bool
		if err == nil {
			d.opts.Progress(Progress{Domain: d.domain, Phase: "rewrite", Done: d.report.CopiedBytes, Total: total})
			gone, err = d.rewriteGroup(ctx, chosen[:n])
		}
		switch {
		case errors.Is(err, backend.ErrNoSpace) && n > 1:
			most = n / 2
			chosen = slices.DeleteFunc(chosen, func(p weighed) bool { return gone[p.ID] })
		case errors.Is(err, backend.ErrNoSpace):
			d.noteProblem("packs that are partly dead stay: there is no space to copy what is needed of them", err)
			return nil
		case err != nil:
			return err
		default:
			chosen = chosen[n:]
		}
	}
	return nil
}

// nextGroup returns how many packs are copied together, at most so many. Where
// there is not space for all, those come first that take least. It fails where
// there is none for one.
func (d *cycle) nextGroup(chosen []weighed, most int) (n int, err error) {
	n = groupSize(chosen, most)
	if err = d.checkSpace(chosen[:n]); !errors.Is(err, backend.ErrNoSpace) {
		return n, err
	}
	slices.SortStableFunc(chosen, func(a, b weighed) int { return cmp.Compare(a.copied, b.copied) })
	for n = groupSize(chosen, most); ; n /= 2 {
		if err = d.checkSpace(chosen[:n]); n == 1 || !errors.Is(err, backend.ErrNoSpace) {
			return n, err
		}
	}
}

// checkSpace returns backend.ErrNoSpace if there is no space to copy packs.
func (d *cycle) checkSpace(group []weighed) error {
	bytes := int64(0)
	for i := range group {
		bytes += group[i].copied
	}
	return d.chunks.CheckCopies(bytes + bytes/16) // and what lies beside frames
}

// groupSize returns how many packs are copied together, at most so many.
func groupSize(chosen []weighed, most int) (n int) {
	bytes, headers := int64(0), int64(0)
	for n < min(len(chosen), most) {
		bytes, headers = bytes+chosen[n].copied, headers+chosen[n].headers
		if n > 0 && (bytes > groupBytes || headers > groupHeaders) {
			break
		}
		n++
	}
	return n
}

// rewriteGroup copies what is needed of packs, and deletes those of which all is
// copied. It returns those, also with an error.
func (d *cycle) rewriteGroup(ctx context.Context, group []weighed) (gone map[cas.PackID]bool, err error) {
	packs, copied := make([]cas.PackEntry, len(group)), make(map[cas.PackID]int64)
	for i := range group {
		packs[i] = group[i].PackEntry
		copied[packs[i].ID] = group[i].copied
	}
	done, err := d.chunks.Rewrite(ctx, packs, &cas.RewriteOptions{Collector: d.lease.Token, Order: d.orderFrames, Limit: d.limit})
	d.report.CopiedBytes += done.Written
	if err != nil {
		err = fmt.Errorf("copy what is needed of packs: %w", err)
		if !errors.Is(err, backend.ErrNoSpace) {
			return nil, err
		}
	}
	for _, id := range done.Left {
		d.noteProblem("a pack stays", fmt.Errorf("pack %s holds damaged chunks that are needed", id))
	}
	before := d.report.DeletedPacks
	gone, endErr := d.endPacks(ctx, packs, copied)
	d.report.RewrittenPacks += d.report.DeletedPacks - before
	return gone, errors.Join(err, endErr)
}

// orderFrames puts the frames of a file side by side: in the order in which the
// mark met the first chunk of each.
func (d *cycle) orderFrames(ctx context.Context, fs []*cas.LiveFrame) error {
	if d.marks == nil {
		return nil
	}
	met := make(map[cas.FrameID]uint64, len(fs))
	for _, f := range fs {
		met[f.ID] = math.MaxUint64
		if len(f.Chunks) == 0 {
			continue
		}
		m, err := findMark(d.marks.log, f.Chunks[0].Digest)
		if err != nil {
			return err
		}
		met[f.ID] = m
	}
	slices.SortStableFunc(fs, func(a, b *cas.LiveFrame) int { return cmp.Compare(met[a.ID], met[b.ID]) })
	return ctx.Err()
}
