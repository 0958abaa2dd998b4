package links_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/race"
)

func (f *fixture) explain(id string) *collect.Explanation {
	f.Helper()
	x, err := f.store.ExplainFile(f.Context(), id, nil)
	f.fail(err)
	return x
}

// TestOverdueIsWhatSweepsLeave asks, for rules of each kind, which versions only links
// keep: a sweep leaves so many, and removes all others that it may.
func TestOverdueIsWhatSweepsLeave(t *testing.T) {
	race.LeaveOut(t)
	for name, rule := range map[string]buckets.Versions{"off": {Off: true}, "keep": {Keep: 5}, "keep_for": {KeepFor: 10 * time.Hour}, "both": {Keep: 12, KeepFor: 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			var file *buckets.File
			rnd := rand.New(rand.NewPCG(1, 0))
			for n := range 40 {
				var err error
				file, err = f.b.As(who("ann")).Put(t.Context(), "a", strings.NewReader(fmt.Sprint(n)), nil)
				f.fail(err)
				if rnd.IntN(3) == 0 {
					f.set(fmt.Sprint(n), "keep", file.ManifestID)
				}
				f.clock.pass(time.Hour)
			}
			if slices.ContainsFunc(f.explain(file.ID).Holders, func(h collect.Holder) bool { return h.Overdue }) {
				t.Error("where all is kept a version is overdue")
			}
			p := f.opts.Buckets["docs"]
			p.Versions = rule
			f.opts.Buckets["docs"] = p
			f.fail(f.store.SetPolicies(t.Context(), f.opts.Buckets))
			count := func() (overdue int64) {
				for _, h := range f.explain(file.ID).Holders {
					if h.Overdue {
						overdue++
					}
				}
				return overdue
			}
			before := count()
			if held := f.sweep().Held; before != held || held == 0 {
				t.Errorf("%d versions were overdue, a sweep has left %d", before, held)
			}
			if after := count(); after > before {
				t.Errorf("%d versions are overdue after a sweep, %d before", after, before)
			}
		})
	}
}

// TestExplainFollowsAFile explains a file while links hold it, when its time in the
// trash is over, and when its links have ended.
func TestExplainFollowsAFile(t *testing.T) {
	f := newFixture(t)
	file := f.put("a.txt")
	if x := f.explain(file.ID); len(x.Linked) > 0 || slices.Contains(x.Because, collect.ForLinks) {
		t.Errorf("without links: %+v", x)
	}
	f.set("1", "f_keep", file.ID)
	f.prepare("2", "keep", file.ID)
	x := f.explain(file.ID)
	if !slices.Equal(x.Because, []collect.Reason{collect.ForRow, collect.ForLinks}) || len(x.Linked) != 1 || x.Linked[0].Standing != 2 || x.Linked[0].Overdue {
		t.Errorf("linked: %v %+v", x.Because, x.Linked)
	}
	if ls := x.Linked[0].Links; len(ls) != 2 || ls[0].Record != "1" || ls[1].Field != "keep" {
		t.Errorf("named: %+v", ls)
	}
	_, err := f.b.As(who("ann")).Delete(t.Context(), file.ID, nil)
	f.fail(err)
	f.month()
	if x := f.explain(file.ID); !slices.Equal(x.Because, []collect.Reason{collect.ForTrash, collect.ForLinks}) || !x.Linked[0].Overdue {
		t.Errorf("after a month in the trash: %v %+v", x.Because, x.Linked)
	}
	f.set("1", "f_keep")
	f.set("2", "keep")
	if x := f.explain(file.ID); !slices.Equal(x.Because, []collect.Reason{collect.ForTrash, collect.ForLinks}) || x.Linked[0].Released != 1 || x.Linked[0].Standing != 1 {
		t.Errorf("one has ended: %v %+v", x.Because, x.Linked)
	}
}

// TestExplainOfWhatIsGone explains what links stand to and that is gone: a file, before
// and after a collection, and a version.
func TestExplainOfWhatIsGone(t *testing.T) {
	f := newFixture(t)
	file := f.put("a.txt")
	f.set("1", "f_keep", file.ID)
	old := f.put("b.txt")
	f.set("2", "keep", old.ManifestID)
	f.set("3", "f_keep", old.ID)
	b := f.b.As(who("ann"))
	_, err := b.Replace(t.Context(), old.ID, strings.NewReader("new"), nil)
	f.fail(err)
	f.fail(b.DeleteVersion(t.Context(), old.ID, 1))
	f.fail(b.Purge(t.Context(), file.ID, nil))
	check := func(id, record, path string) {
		t.Helper()
		x := f.explain(id)
		if x.Kept() || len(x.Linked) != 1 {
			t.Fatalf("%s: %v, %+v", id, x.Because, x.Linked)
		}
		if l := x.Linked[0]; !l.Gone || l.Bucket != "docs" || l.Path != path || l.Standing != 1 || len(l.Links) != 1 || l.Links[0].Record != record {
			t.Errorf("%s: %+v", id, l)
		}
	}
	check(file.ID, "1", "a.txt")
	check(old.ManifestID, "2", "b.txt")
	_, err = f.store.Collect(t.Context(), &collect.Options{Full: true})
	f.fail(err)
	check(file.ID, "1", "")
	f.set("1", "f_keep")
	if x, err := f.store.ExplainFile(t.Context(), file.ID, nil); err == nil && len(x.Linked) > 0 {
		t.Errorf("without links: %+v", x.Linked)
	}
}

// TestPreviewForetellsPurge previews what purges do then: which are refused, and how
// many events there are.
func TestPreviewForetellsPurge(t *testing.T) {
	for _, field := range []string{"keep", "restrict", "cascade", "set_null", "f_keep", "f_restrict", "f_cascade", "f_set_null"} {
		t.Run(field, func(t *testing.T) {
			f := newFixture(t)
			file := f.put("a.txt")
			f.set("1", field, file.ID)
			p, err := f.store.PreviewRemoval(t.Context(), &buckets.Removal{Delete: []buckets.FileRef{{Bucket: "docs", ID: file.ID}}}, nil)
			f.fail(err)
			err = f.b.As(who("ann")).Purge(t.Context(), file.ID, nil)
			if (p.Links.Refused == 1) != errors.Is(err, buckets.ErrReferenced) || p.Links.Standing != 1 {
				t.Errorf("preview %+v, purge: %v", p.Links, err)
			}
			f.checkEvents(len(p.Links.Told))
		})
	}
}
