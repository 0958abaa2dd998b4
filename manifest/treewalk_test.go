package manifest_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// TestTreeWalk walks the trees of two lists that share most of their segments: each
// segment is read once, and each reference is met.
func TestTreeWalk(t *testing.T) {
	race.LeaveOut(t)
	segs := newSegments()
	refs := fixedRefs(20_000)
	one := segs.list(t, refs)
	two := segs.list(t, append(fixedRefs(19_000), fixedRef(50_000)))
	visited, met := make(map[cas.Digest]bool), make(map[cas.Digest]bool)
	w := &manifest.TreeWalk{
		Segments: segs,
		Visit: func(d cas.Digest) (bool, error) {
			first := !visited[d]
			visited[d] = true
			return first, nil
		},
		Chunk: func(r cas.Ref) error {
			met[r.Digest] = true
			return nil
		},
	}
	segs.asked = 0
	tops := []cas.Digest{one.Top, two.Top, one.Top}
	if err := w.Walk(t.Context(), tops); err != nil {
		t.Fatal(err)
	}
	if len(met) != 20_001 {
		t.Errorf("%d references were met, want 20001", len(met))
	}
	if segs.asked != len(visited) || len(visited) != len(segs.m) {
		t.Errorf("%d segments were asked for and %d visited, of %d", segs.asked, len(visited), len(segs.m))
	}

	// A segment that is missing, or another than it should be, is named, with the
	// tree that it is missing in.
	var missing cas.Digest
	for d := range segs.m {
		if d != one.Top && d != two.Top {
			missing = d
			break
		}
	}
	kept := segs.m[missing]
	for what, p := range map[string][]byte{"missing": nil, "wrong": segs.m[one.Top]} {
		segs.m[missing] = p
		clear(visited)
		err := w.Walk(t.Context(), tops)
		var tree *manifest.TreeError
		if !errors.As(err, &tree) || tree.Top != one.Top && tree.Top != two.Top {
			t.Errorf("%s: %v", what, err)
		}
		if p == nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	segs.m[missing] = kept

	// With Absent the walk goes on without it.
	delete(segs.m, two.Top)
	clear(visited)
	clear(met)
	var absent []cas.Digest
	w.Absent = func(d cas.Digest) error {
		absent = append(absent, d)
		return nil
	}
	if err := w.Walk(t.Context(), []cas.Digest{two.Top, one.Top}); err != nil || len(absent) != 1 || absent[0] != two.Top || len(met) != 20_000 {
		t.Errorf("%v, absent %v, %d references", err, absent, len(met))
	}
}
