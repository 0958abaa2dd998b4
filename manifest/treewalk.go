package manifest

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
)

// A TreeWalk visits the trees of many chunk lists from the top down.
type TreeWalk struct {
	Segments SegmentGetter
	// Visit is called with each segment before it is read. If it returns false,
	// the walk passes the segment over, with all below it.
	Visit func(cas.Digest) (bool, error)
	// Chunk is called with each reference of a leaf; equal neighbours are one.
	Chunk func(cas.Ref) error
	// Absent, if not nil, is called with a segment that does not exist. If it
	// returns nil, the walk goes on without it. Without it such a segment is an
	// error satisfying fs.ErrNotExist.
	Absent func(cas.Digest) error
	// Enter and Leave, if not nil, are called before and after what a segment
	// refers to is visited.
	Enter, Leave func(cas.Digest)
}

// A TreeError reports a tree that could not be walked.
type TreeError struct {
	Top cas.Digest
	Err error // names the segment
}

func (e *TreeError) Error() string { return e.Err.Error() }
func (e *TreeError) Unwrap() error { return e.Err }

// Walk visits the trees of tops, one after the other. Segments that they share
// are visited once for each place, unless Visit says otherwise. An error that is
// about a tree is a *TreeError.
func (w *TreeWalk) Walk(ctx context.Context, tops []cas.Digest) error {
	for len(tops) > 0 {
		n := min(len(tops), walkNodes)
		if err := w.walkTops(ctx, tops[:n]); err != nil {
			return err
		}
		tops = tops[n:]
	}
	return nil
}

func (w *TreeWalk) walkTops(ctx context.Context, tops []cas.Digest) error {
	es := make([]entry, len(tops))
	for i, d := range tops {
		es[i].digest = d
	}
	es, ps, err := w.readSegments(ctx, es)
	if err != nil {
		return err
	}
	for i, p := range ps {
		n, err := decodeNode(p)
		if err == nil && cas.SumSegment(p) != es[i].digest {
			err = ErrFormat
		}
		if err != nil {
			err = fmt.Errorf("segment %s: %w", es[i].digest, err)
		} else {
			err = w.walkBelow(ctx, es[i].digest, n)
		}
		if err != nil {
			return &TreeError{es[i].digest, err}
		}
	}
	return nil
}

// walkBelow visits what the segment d refers to.
func (w *TreeWalk) walkBelow(ctx context.Context, d cas.Digest, n *node) error {
	if w.Enter != nil {
		w.Enter(d)
	}
	err := w.walkNode(ctx, n)
	if w.Leave != nil {
		w.Leave(d)
	}
	return err
}

// walkNode visits what a node refers to.
func (w *TreeWalk) walkNode(ctx context.Context, n *node) error {
	if n.level == 0 {
		for i := range n.entries {
			if err := w.Chunk(n.entries[i].ref()); err != nil {
				return err
			}
		}
		return nil
	}
	for es := n.entries; len(es) > 0; {
		k := min(len(es), walkNodes)
		batch, ps, err := w.readSegments(ctx, es[:k])
		if err != nil {
			return err
		}
		es = es[k:]
		for i, p := range ps {
			child, err := checkNode(n.level-1, &batch[i], p)
			if err == nil {
				err = w.walkBelow(ctx, batch[i].digest, child)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readSegments reads those of es that are to be visited and exist, and returns
// them with their encodings.
func (w *TreeWalk) readSegments(ctx context.Context, es []entry) ([]entry, [][]byte, error) {
	var wanted []entry
	var ds []cas.Digest
	for i := range es {
		visit, err := w.Visit(es[i].digest)
		if err != nil {
			return nil, nil, err
		}
		if visit {
			wanted, ds = append(wanted, es[i]), append(ds, es[i].digest)
		}
	}
	if len(ds) == 0 {
		return nil, nil, nil
	}
	ps, err := w.Segments.Segments(ctx, ds)
	if err != nil {
		return nil, nil, err
	}
	n := 0
	for i, p := range ps {
		if p != nil {
			wanted[n], ps[n] = wanted[i], p
			n++
			continue
		}
		err := fmt.Errorf("segment %s: %w", ds[i], fs.ErrNotExist)
		if w.Absent != nil {
			err = w.Absent(ds[i])
		}
		if err != nil {
			return nil, nil, &TreeError{ds[i], err}
		}
	}
	return wanted[:n], ps[:n], nil
}
