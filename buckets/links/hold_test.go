package links_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/internal/race"
)

// TestPinnedVersionsOutlastKeepRules prunes a file of whose oldest versions records hold
// more than one page: those stay, and of the others as many as the rule keeps.
func TestPinnedVersionsOutlastKeepRules(t *testing.T) {
	race.LeaveOut(t)
	const keep, pinned, versions = 5, 105, 240 // a page is 100
	for _, c := range []struct {
		name string
		rule buckets.Versions
	}{{"keep", buckets.Versions{Keep: keep}}, {"keep_for", buckets.Versions{KeepFor: time.Hour}}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			b := f.b.As(who("ann"))
			var file *buckets.File
			held := make(map[uint64]bool)
			for n := range versions {
				var err error
				file, err = b.Put(t.Context(), "a", strings.NewReader(fmt.Sprint(n)), nil)
				f.fail(err)
				if n < pinned && n%2 == 0 || n == pinned+20 || n >= 10 && n < pinned {
					f.set(fmt.Sprint(n), "keep", file.ManifestID)
					held[file.Version] = true
				}
			}
			p := f.opts.Buckets["docs"]
			p.Versions = c.rule
			f.opts.Buckets["docs"] = p
			f.fail(f.store.SetPolicies(t.Context(), f.opts.Buckets))
			f.clock.pass(2 * time.Hour)
			if n := f.sweep().Held; n != int64(len(held)) {
				t.Errorf("%d versions were held, want %d", n, len(held))
			}
			left := keep
			if c.name == "keep_for" {
				left = 1
			}
			got := 0
			for v, err := range b.Versions(t.Context(), file.ID) {
				f.fail(err)
				if got++; !held[v.Version] && v.Version <= versions-uint64(left) {
					t.Errorf("version %d is left", v.Version)
				}
				delete(held, v.Version)
			}
			if len(held) > 0 || got != left+len(held)+(pinned-10)+5+1 {
				t.Errorf("%d versions, lost %v", got, held)
			}
			// Released, they go when the window of the trash has passed.
			for n := range versions {
				f.set(fmt.Sprint(n), "keep")
			}
			f.sweep()
			f.month()
			got = 0
			for _, err := range b.Versions(t.Context(), file.ID) {
				f.fail(err)
				got++
			}
			if want := map[string]int{"keep": keep, "keep_for": 1}[c.name]; got != want {
				t.Errorf("%d versions are left, want %d", got, want)
			}
		})
	}
}
