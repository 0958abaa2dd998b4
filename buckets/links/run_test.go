package links_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/internal/race"
)

// A pager drives a run as a host far away does: it knows nothing but tokens and answers.
type pager struct {
	*fixture
	token  string
	denied []links.Verdict
	twice  bool // each page of verdicts is sent twice
}

func (f *fixture) beginRun(opts *links.ReconcileOptions) *pager {
	f.Helper()
	r, err := f.host.BeginRun(f.Context(), opts)
	f.fail(err)
	return &pager{fixture: f, token: r.Token()}
}

// step resumes the run, and keeps its token if fn has no error.
func (p *pager) step(fn func(r *links.Run) error) error {
	r, err := p.host.ResumeRun(p.token)
	if err == nil {
		err = fn(r)
	}
	if err == nil {
		p.token = r.Token()
	}
	return err
}

func (p *pager) addRows(last bool, rows ...links.Row) error {
	return p.step(func(r *links.Run) error {
		_, err := r.AddRows(p.Context(), rows, last)
		return err
	})
}

// askAll answers for all links by has, a page of limit at a time.
func (p *pager) askAll(limit int, has func(l links.Link) bool) error {
	verdicts := []links.Verdict{}
	for done := false; !done; {
		var page []links.Link
		if again, err := p.host.ResumeRun(p.token); err == nil && p.twice {
			again.NextLinks(p.Context(), verdicts, limit) // its answer was lost
		}
		err := p.step(func(r *links.Run) (err error) {
			page, done, err = r.NextLinks(p.Context(), verdicts, limit)
			return err
		})
		if err != nil {
			return err
		}
		verdicts = verdicts[:0]
		for _, l := range page {
			v := links.Verdict{ID: l.ID, Revision: l.Revision, Exists: has(l)}
			if verdicts = append(verdicts, v); !v.Exists {
				p.denied = append(p.denied, v)
			}
		}
	}
	return nil
}

func (p *pager) drop(denied ...links.Verdict) error {
	return p.step(func(r *links.Run) error { return r.Drop(p.Context(), denied) })
}

func (p *pager) end() (done links.Reconciled, reconciled bool, err error) {
	err = p.step(func(r *links.Run) (err error) {
		reconciled, err = r.End(p.Context())
		done = r.Counts()
		return err
	})
	return done, reconciled, err
}

// all goes through a whole run.
func (p *pager) all(limit int, has func(l links.Link) bool, rows ...links.Row) (done links.Reconciled, reconciled bool, err error) {
	for _, row := range rows {
		err = errors.Join(err, p.addRows(false, row))
	}
	if err = errors.Join(err, p.addRows(true)); err == nil {
		err = p.askAll(limit, has)
	}
	for some := range slices.Chunk(p.denied, limit) {
		if err == nil {
			err = p.drop(some...)
		}
	}
	if err != nil {
		return done, false, err
	}
	return p.end()
}

// apart lets records and links differ in every way, and returns what the host has.
func (f *fixture) apart() (rows []links.Row, has func(l links.Link) bool, ids map[string]string) {
	f.Helper()
	ids = make(map[string]string)
	for _, name := range []string{"kept", "dropped", "cascaded", "written", "unwritten", "lacking", "revived"} {
		ids[name] = f.put(name).ID
	}
	f.set("kept", "f_keep", ids["kept"])
	f.set("dropped", "f_keep", ids["dropped"])
	f.set("cascaded", "f_cascade", ids["cascaded"])
	f.prepare("written", "f_keep", ids["written"])
	f.prepare("unwritten", "f_keep", ids["unwritten"])
	f.set("revived", "f_cascade", ids["revived"])
	f.set("revived", "f_cascade") // it goes to the trash
	f.openHost(nil)
	f.prepare("live", "f_keep", ids["kept"]) // of the session that asks: left alone
	for _, name := range []string{"kept", "written", "lacking"} {
		rows = append(rows, links.Row{Collection: "posts", Record: name, Field: "f_keep", Values: []string{ids[name]}})
	}
	rows = append(rows, links.Row{Collection: "posts", Record: "revived", Field: "f_cascade", Values: []string{ids["revived"], "f_none"}})
	has = func(l links.Link) bool {
		return slices.ContainsFunc(rows, func(r links.Row) bool {
			return r.Record == l.Record && r.Field == l.Field && slices.Contains(r.Values, l.Value())
		})
	}
	return rows, has, ids
}

// A run in pages, of whatever size and also if each is sent twice, does what Reconcile
// does in one call.
func TestRunIsReconcile(t *testing.T) {
	race.LeaveOut(t)
	for _, dry := range []bool{false, true} {
		for _, limit := range []int{0, 1, 2, 3, 1000} {
			t.Run(fmt.Sprintf("dry %t, pages of %d", dry, limit), func(t *testing.T) {
				f := newFixture(t)
				rows, has, ids := f.apart()
				opts := &links.ReconcileOptions{DryRun: dry}
				var done links.Reconciled
				if limit == 0 {
					got, err := f.host.Reconcile(t.Context(), func(_ context.Context, l links.Link) (bool, error) { return has(l), nil },
						func(yield func(links.Row, error) bool) {
							for _, r := range rows {
								if !yield(r, nil) {
									return
								}
							}
						}, opts)
					f.fail(err)
					done = *got
				} else {
					var reconciled bool
					var err error
					p := f.beginRun(opts)
					p.twice = limit == 3
					done, reconciled, err = p.all(limit, has, rows...)
					f.fail(err)
					if p.twice && !dry {
						done.Confirmed++ // by the step whose answer was lost
					}
					if reconciled == dry {
						t.Errorf("reconciled: %t", reconciled)
					}
				}
				want := links.Reconciled{Rows: 4, Links: 8, Made: 3, Confirmed: 1, LetGo: 1, Released: 2, Revived: 1, Dangling: 1}
				states := map[string]string{"cascaded": "trashed", "revived": "active", "dropped": "active", "lacking": "active"}
				if dry { // the links that it would make are not asked about
					want.Links = 5
					states["cascaded"], states["revived"] = "active", "trashed"
				}
				if done != want {
					t.Errorf("counts %+v, want %+v", done, want)
				}
				for name, want := range states {
					if got := f.state(ids[name]); got != want {
						t.Errorf("%s: %s, want %s", name, got, want)
					}
				}
				again, err := f.host.Reconcile(t.Context(), func(_ context.Context, l links.Link) (bool, error) { return has(l), nil }, nil, &links.ReconcileOptions{DryRun: true})
				f.fail(err)
				if left := again.LetGo + again.Released + again.Confirmed; (left > 0) != dry {
					t.Errorf("left after it: %+v", again)
				}
			})
		}
	}
}

// Until a run over all has ended the host counts as unreconciled.
func TestRunThatDoesNotEnd(t *testing.T) {
	f := newFixture(t)
	rows, has, _ := f.apart()
	f.openHost(&links.Options{Fields: fields(), Restored: true})
	check := func(what string, want bool) {
		t.Helper()
		is, err := f.host.Unreconciled(t.Context())
		f.fail(err)
		if is != want {
			t.Errorf("%s: unreconciled %t, want %t", what, is, want)
		}
	}
	never := func(what string, p *pager) {
		t.Helper()
		if _, reconciled, err := p.end(); reconciled {
			t.Errorf("%s: reconciled, %v", what, err)
		}
		check(what, true)
	}
	never("nothing was sent", f.beginRun(nil))
	p := f.beginRun(nil)
	f.fail(p.addRows(false, rows...))
	never("not all rows", p)
	f.fail(p.addRows(true))
	never("no links", p)
	f.fail(p.askAll(2, has))
	if _, _, err := p.end(); !errors.Is(err, links.ErrRun) {
		t.Errorf("denied links were not dropped: %v", err)
	}
	f.fail(p.drop(p.denied[0]))
	never("not all dropped", p)
	p = f.beginRun(nil)
	f.fail(p.askAll(2, has))
	f.fail(p.drop(p.denied...))
	never("no rows", p)
	p = f.beginRun(&links.ReconcileOptions{DryRun: true})
	_, reconciled, err := p.all(2, has, rows...)
	if err != nil || reconciled {
		t.Errorf("dry run: %t %v", reconciled, err)
	}
	check("dry run", true)
	opened := f.beginRun(nil)
	f.openHost(nil)
	if err := opened.addRows(true); !errors.Is(err, links.ErrSession) {
		t.Errorf("opened again meanwhile: %v", err)
	}
	check("opened again", true)
	p = f.beginRun(nil)
	if _, reconciled, err = p.all(2, has, rows...); err != nil || !reconciled {
		t.Errorf("ended: %t %v", reconciled, err)
	}
	check("ended", false)
}

// Steps that a run does not allow change nothing.
func TestRunRefuses(t *testing.T) {
	f := newFixture(t)
	rows, has, _ := f.apart()
	tooManyValues := links.Row{Collection: "posts", Record: "1", Field: "many", Values: make([]string, 1001)}
	p := f.beginRun(nil)
	var page []links.Link
	next := func(limit int, verdicts ...links.Verdict) error {
		return p.step(func(r *links.Run) (err error) {
			page, _, err = r.NextLinks(t.Context(), verdicts, limit)
			return err
		})
	}
	for what, c := range map[string]struct{ err, want error }{
		"no token":        {errOf(f.host.ResumeRun("")), links.ErrToken},
		"other token":     {errOf(f.host.ResumeRun("t1.e30")), links.ErrToken},
		"broken token":    {errOf(f.host.ResumeRun("r1.!")), links.ErrToken},
		"too many rows":   {p.addRows(false, make([]links.Row, 1001)...), links.ErrValue},
		"too many values": {p.addRows(false, tooManyValues), links.ErrValue},
		"unknown field":   {p.addRows(false, links.Row{Collection: "posts", Record: "1", Field: "none"}), links.ErrField},
		"early drop":      {p.drop(links.Verdict{ID: "l_x"}), links.ErrRun},
		"no limit":        {next(0), links.ErrValue},
		"limit":           {next(1001), links.ErrValue},
		"early verdict":   {next(1, links.Verdict{ID: "l_x"}), links.ErrRun},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	f.fail(p.addRows(true, rows...))
	if err := p.addRows(true); !errors.Is(err, links.ErrRun) {
		t.Errorf("rows after the last: %v", err)
	}
	f.fail(next(2))
	a, b := links.Verdict{ID: page[0].ID, Revision: page[0].Revision, Exists: true}, links.Verdict{ID: page[1].ID, Revision: page[1].Revision, Exists: true}
	for what, vs := range map[string][]links.Verdict{"none": nil, "one": {a}, "other order": {b, a}, "twice": {a, a}, "other": {a, {ID: "l_zzz", Exists: true}}, "three": {a, b, b}} {
		if err := next(2, vs...); !errors.Is(err, links.ErrRun) {
			t.Errorf("verdicts, %s: %v", what, err)
		}
	}
	p = f.beginRun(nil)
	f.fail(p.addRows(true, rows...))
	f.fail(p.askAll(100, has))
	exists := p.denied[0]
	exists.Exists = true
	for what, vs := range map[string][]links.Verdict{"more than were denied": append(slices.Clone(p.denied), p.denied[0]), "what exists": {exists}} {
		if err := p.drop(vs...); !errors.Is(err, links.ErrRun) {
			t.Errorf("drop %s: %v", what, err)
		}
	}
}

// What has changed since the host was asked is not dropped, and pending links of live
// sessions are left alone.
func TestRunComparesRevisions(t *testing.T) {
	f := newFixture(t)
	file := f.put("a").ID
	hold := f.prepare("1", "f_keep", file)
	f.openHost(nil)
	p := f.beginRun(nil)
	f.fail(p.addRows(true))
	f.fail(p.askAll(10, func(links.Link) bool { return false }))
	if len(p.denied) != 1 {
		t.Fatalf("denied %v", p.denied)
	}
	f.fail(f.host.Confirm(t.Context(), hold.Token)) // late, and true
	f.fail(p.drop(p.denied...))
	if _, reconciled, err := p.end(); err != nil || !reconciled {
		t.Errorf("end: %t, %v", reconciled, err)
	}
	n, err := links.CountLinks(t.Context(), f.store, "host")
	if err != nil || n != (links.Count{Confirmed: 1}) {
		t.Errorf("links %+v, %v", n, err)
	}
}

// Without Force no more is let go than the bound, and then nothing.
func TestRunIsBounded(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.set(fmt.Sprint(i), "f_keep", f.put(fmt.Sprint(i)).ID)
	}
	none := func(links.Link) bool { return false }
	p := f.beginRun(&links.ReconcileOptions{MaxDrops: 4})
	if _, _, err := p.all(2, none); !errors.Is(err, links.ErrTooManyDrops) {
		t.Errorf("5 of 4: %v", err)
	}
	if n, err := links.CountLinks(t.Context(), f.store, "host"); err != nil || n.Confirmed != 5 {
		t.Errorf("left %+v, %v", n, err)
	}
	done, reconciled, err := f.beginRun(&links.ReconcileOptions{MaxDrops: 4, Force: true}).all(2, none)
	if err != nil || done.Released != 5 || !reconciled {
		t.Errorf("forced: %+v %t, %v", done, reconciled, err)
	}
}

func errOf[T any](_ T, err error) error { return err }
