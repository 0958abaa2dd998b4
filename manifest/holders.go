package manifest

import (
	"context"

	"github.com/cairn-store/cairn/cas"
)

// A HolderSearch finds which roots need one of some digests, be they of chunks or of
// segments. It reads each segment once, whatever shares it.
type HolderSearch struct {
	Segments SegmentGetter
	Wanted   func(cas.Digest) bool
	// Visited takes the segments that were read; its Add reports whether one is
	// new.
	Visited interface{ Add(cas.Digest) bool }
	// Absent is that of a TreeWalk.
	Absent func(cas.Digest) error

	walk  TreeWalk
	holds map[cas.Digest]bool // segments with one of the digests at or below them
	path  []cas.Digest        // segments that are being walked, from a top down
}

// Search calls fn for each of roots that needs one of the digests. It may be called
// again for others.
func (s *HolderSearch) Search(ctx context.Context, roots []*Root, fn func(*Root) error) error {
	if s.holds == nil {
		s.holds = make(map[cas.Digest]bool)
		s.walk = TreeWalk{Segments: s.Segments, Visit: s.visitSegment, Absent: s.Absent,
			Enter: func(d cas.Digest) { s.path = append(s.path, d) },
			Leave: func(cas.Digest) { s.path = s.path[:len(s.path)-1] },
			Chunk: func(r cas.Ref) error {
				if s.Wanted(r.Digest) {
					s.notePath()
				}
				return nil
			}}
	}
	for _, r := range roots {
		needs, err := s.needs(ctx, r)
		if err == nil && needs {
			err = fn(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// needs walks trees one by one: of a tree that is a part of another one it must be
// known whether it holds a digest before that is walked.
func (s *HolderSearch) needs(ctx context.Context, r *Root) (bool, error) {
	for _, ref := range r.Chunks {
		if s.Wanted(ref.Digest) {
			return true, nil
		}
	}
	if r.Top.IsZero() {
		return false, nil
	}
	s.path = s.path[:0]
	err := s.walk.Walk(ctx, []cas.Digest{r.Top})
	return s.holds[r.Top], err
}

func (s *HolderSearch) visitSegment(d cas.Digest) (bool, error) {
	if s.holds[d] || s.Wanted(d) {
		s.holds[d] = true
		s.notePath()
		return false, nil
	}
	return s.Visited.Add(d), nil
}

// notePath notes that the segments that are being walked hold a digest.
func (s *HolderSearch) notePath() {
	for i := len(s.path) - 1; i >= 0 && !s.holds[s.path[i]]; i-- {
		s.holds[s.path[i]] = true
	}
}
