package manifesttest

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func newGrant(bucket, owner string, life time.Duration) *manifest.Grant {
	return &manifest.Grant{ID: manifest.NewGrantID(), Bucket: bucket, Op: "download", Owner: owner, Types: []string{"a/b"},
		Claims: []byte(`{"x":1}`), CreatedAt: day, ExpiresAt: day.Add(life)}
}

func (s *suite) putGrants(gs ...*manifest.Grant) {
	s.t.Helper()
	s.update(func(tx manifest.Tx) error {
		for _, g := range gs {
			if err := tx.PutGrant(s.ctx, g); err != nil {
				return err
			}
		}
		return nil
	})
}

// grantsOf returns the IDs of the grants of a bucket.
func (s *suite) grantsOf(bucket, owner string) (out []manifest.GrantID) {
	s.t.Helper()
	for g, err := range s.s.Grants(s.ctx, bucket, owner) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, g.ID)
	}
	return out
}

func (s *suite) testGrants() {
	a, b, c := newGrant("b", "ann", time.Minute), newGrant("b", "bob", 2*time.Minute), newGrant("b", "ann", 3*time.Minute)
	other := newGrant("b2", "ann", time.Minute)
	s.putGrants(a, b, c, other)
	s.restart()
	got, err := s.s.Grant(s.ctx, "b", a.ID)
	if err != nil || !reflect.DeepEqual(got, a) {
		s.t.Errorf("%+v, %v, want %+v", got, err, a)
	}
	_, err = s.s.Grant(s.ctx, "b2", a.ID)
	s.checkGone("a grant of another bucket", err)
	for owner, want := range map[string][]manifest.GrantID{"": {a.ID, b.ID, c.ID}, "ann": {a.ID, c.ID}, "bob": {b.ID}, "an": nil} {
		slices.Sort(want)
		if got := s.grantsOf("b", owner); !slices.Equal(got, want) {
			s.t.Errorf("grants of %q: %v, want %v", owner, got, want)
		}
	}
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.DropGrant(s.ctx, "b", a.ID), tx.DropGrant(s.ctx, "b", a.ID))
	})
	_, err = s.s.Grant(s.ctx, "b", a.ID)
	s.checkGone("a dropped grant", err)
	if got := s.grantsOf("b", "ann"); !slices.Equal(got, []manifest.GrantID{c.ID}) {
		s.t.Errorf("after a drop: %v", got)
	}
}

// grantUses tests that uses are counted, and dropped with the grant.
func (s *suite) grantUses() {
	g := newGrant("b", "ann", time.Minute)
	s.putGrants(g)
	use := func() (n int64, err error) {
		_, err = s.s.Update(s.ctx, domain, func(tx manifest.Tx) (err error) {
			n, err = tx.UseGrant(s.ctx, "b", g.ID)
			return err
		})
		return n, err
	}
	wantUses := func(want int64) {
		s.t.Helper()
		if n, err := s.s.GrantUses(s.ctx, "b", g.ID); n != want || err != nil {
			s.t.Errorf("%d uses, %v, want %d", n, err, want)
		}
	}
	wantUses(0)
	for want := int64(1); want <= 3; want++ {
		if n, err := use(); n != want || err != nil {
			s.t.Errorf("use %d, %v, want %d", n, err, want)
		}
		wantUses(want)
	}
	got, err := s.s.Grant(s.ctx, "b", g.ID)
	if err != nil || !reflect.DeepEqual(got, g) {
		s.t.Errorf("a used grant is %+v, %v, want %+v", got, err, g)
	}
	s.update(func(tx manifest.Tx) error { return tx.DropGrant(s.ctx, "b", g.ID) })
	wantUses(0)
	if _, err := use(); !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("use of a dropped grant: %v", err)
	}
	s.putGrants(g)
	if n, err := use(); n != 1 || err != nil {
		s.t.Errorf("use %d of a new grant, %v", n, err)
	}
}

// grantSweeps tests that grants are dropped by signer and by time, within the
// limit.
func (s *suite) grantSweeps() {
	var gs []*manifest.Grant
	for i := range 12 {
		gs = append(gs, newGrant([]string{"b", "b2"}[i%2], []string{"ann", "bob"}[i/6], time.Duration(i)*time.Minute))
	}
	s.putGrants(gs...)
	dropOf := func(owner string, limit int) (n int) {
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.DropGrantsOf(s.ctx, owner, limit)
			return err
		})
		return n
	}
	sweep := func(before time.Time, limit int) (n int) {
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.SweepGrants(s.ctx, before, limit)
			return err
		})
		return n
	}
	if n := sweep(day.Add(2*time.Minute), 10); n != 2 {
		s.t.Errorf("%d swept, want 2", n)
	}
	for _, want := range []int{3, 1, 0} {
		if n := dropOf("ann", 3); n != want {
			s.t.Errorf("%d of ann dropped, want %d", n, want)
		}
	}
	for _, want := range []int{2, 2, 1, 0} {
		if n := sweep(day.Add(11*time.Minute), 2); n != want {
			s.t.Errorf("%d swept, want %d", n, want)
		}
	}
	if got := append(s.grantsOf("b", ""), s.grantsOf("b2", "")...); !slices.Equal(got, []manifest.GrantID{gs[11].ID}) {
		s.t.Errorf("left are %v", got)
	}
}
