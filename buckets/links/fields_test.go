package links_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
)

// TestFieldPlans opens a host whose field makes links in another way than before, or is
// gone: without a plan that is refused if the field has links, and a plan says what
// becomes of them. Their policy never follows.
func TestFieldPlans(t *testing.T) {
	race.LeaveOut(t)
	changes := map[string]func(f *schema.Field) (kept bool){
		"bucket":    func(f *schema.Field) bool { f.Bucket = "other"; return true },
		"pin":       func(f *schema.Field) bool { f.Pin = schema.PinManifest; return true },
		"on_delete": func(f *schema.Field) bool { f.OnDelete = schema.OnDeleteKeep; return true },
		"gone":      func(*schema.Field) bool { return false },
	}
	for what, change := range changes {
		for _, plan := range []schema.Plan{"", schema.PlanKeep, schema.PlanRelease} {
			for _, linked := range []bool{true, false} {
				name := what + "/" + string(plan)
				if !linked {
					name += "/without links"
				}
				t.Run(name, func(t *testing.T) {
					f := newFixture(t)
					file := f.put("a")
					pending := f.prepare("2", "f_cascade", file.ID)
					if linked {
						f.set("1", "f_cascade", file.ID)
					} else {
						f.fail(f.host.Cancel(t.Context(), pending.Token))
					}
					opts := &links.Options{Plans: map[string]schema.Plan{}}
					for _, field := range fields() {
						if field.Name != "f_cascade" || change(&field) {
							opts.Fields = append(opts.Fields, field)
						}
					}
					if plan != "" {
						opts.Plans["posts.f_cascade"] = plan
					}
					before := f.keep.st
					_, err := links.Open(t.Context(), f.store, f.keep, opts)
					if refused := linked && plan == ""; refused != errors.Is(err, schema.ErrNoPlan) || err != nil && !refused {
						t.Fatalf("open: %v", err)
					} else if refused && f.keep.st != before {
						t.Errorf("the host keeps %+v, and had %+v", f.keep.st, before)
					}
					want := 0
					if linked && plan != schema.PlanRelease {
						want = 2
					}
					if got := f.standing(file.ID); got != want || f.state(file.ID) != "active" {
						t.Errorf("%d links stand, want %d; the file is %s", got, want, f.state(file.ID))
					}
					f.month()
					if got := f.state(file.ID); got != "active" {
						t.Errorf("after a month the file is %s", got)
					}
				})
			}
		}
	}
}
