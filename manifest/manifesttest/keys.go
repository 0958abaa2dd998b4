package manifesttest

import (
	"errors"
	"reflect"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func (s *suite) testKeys() {
	a := &manifest.APIKey{ID: "0a", Name: "a", Buckets: []string{"*"}, Ops: []string{"read"}, Hash: [32]byte{1}, CreatedAt: day}
	b := &manifest.APIKey{ID: "0b", Operator: true, CreatedAt: day, ExpiresAt: day.Add(time.Hour)}
	x := &manifest.SignKey{ID: "01", Secret: []byte{1, 2}, CreatedAt: day}
	y := &manifest.SignKey{ID: "02", Secret: []byte{3}, CreatedAt: day}
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.PutAPIKey(s.ctx, b), tx.PutAPIKey(s.ctx, a), tx.PutSignKey(s.ctx, y), tx.PutSignKey(s.ctx, x))
	})
	s.restart()
	got, err := s.s.APIKey(s.ctx, "0a")
	if err != nil || !reflect.DeepEqual(got, a) {
		s.t.Errorf("%+v, %v", got, err)
	}
	_, err = s.s.APIKey(s.ctx, "01")
	s.checkGone("an API key with the ID of a signing key", err)
	if all, err := s.s.APIKeys(s.ctx); err != nil || !reflect.DeepEqual(all, []*manifest.APIKey{a, b}) {
		s.t.Errorf("%+v, %v", all, err)
	}
	if all, err := s.s.SignKeys(s.ctx); err != nil || !reflect.DeepEqual(all, []*manifest.SignKey{x, y}) {
		s.t.Errorf("%+v, %v", all, err)
	}
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.DropAPIKey(s.ctx, "0a"), tx.DropAPIKey(s.ctx, "none"), tx.DropSignKey(s.ctx, "02"), tx.DropSignKey(s.ctx, "none"))
	})
	keys, kerr := s.s.APIKeys(s.ctx)
	signs, serr := s.s.SignKeys(s.ctx)
	if errors.Join(kerr, serr) != nil || len(keys) != 1 || keys[0].ID != "0b" || len(signs) != 1 || signs[0].ID != "01" {
		s.t.Errorf("left are %+v, %+v, %v", keys, signs, errors.Join(kerr, serr))
	}
}

// testReceipts tests that receipts belong to a scope, last until they expire,
// and may be many.
func (s *suite) testReceipts() {
	a, b := manifest.Scope{1}, manifest.Scope{1, 31: 1}
	var ds []cas.Digest
	for i := range 1000 {
		ds = append(ds, cas.Sum([]byte{byte(i), byte(i >> 8)}))
	}
	put := func(scope manifest.Scope, ds []cas.Digest, expires time.Time) {
		s.t.Helper()
		s.update(func(tx manifest.Tx) error {
			if err := tx.PutReceipts(s.ctx, scope, ds, expires); err != nil {
				return err
			}
			has, err := tx.HaveReceipts(s.ctx, scope, ds[:1], expires.Add(-time.Minute))
			if err != nil || !has[0] {
				s.t.Errorf("in the transaction: %v, %v", has, err)
			}
			return nil
		})
	}
	count := func(scope manifest.Scope, at time.Time) (n int) {
		s.t.Helper()
		has, err := s.s.HaveReceipts(s.ctx, scope, ds, at)
		if err != nil || len(has) != len(ds) {
			s.t.Fatalf("%d answers, %v", len(has), err)
		}
		for _, ok := range has {
			if ok {
				n++
			}
		}
		return n
	}
	put(a, ds[:600], day.Add(time.Hour))
	put(b, ds[:1], day.Add(time.Hour))
	put(a, ds[500:800], day.Add(2*time.Hour)) // 100 of them again
	s.restart()
	for _, c := range []struct {
		scope manifest.Scope
		at    time.Duration
		want  int
	}{{a, 0, 800}, {b, 0, 1}, {manifest.Scope{}, 0, 0}, {a, time.Hour - time.Millisecond, 800}, {a, time.Hour, 300}, {a, 2 * time.Hour, 0}} {
		if n := count(c.scope, day.Add(c.at)); n != c.want {
			s.t.Errorf("%d receipts of %x after %s, want %d", n, c.scope[:2], c.at, c.want)
		}
	}
	if has, err := s.s.HaveReceipts(s.ctx, a, []cas.Digest{ds[999], ds[0], ds[999], ds[0]}, day); err != nil ||
		!reflect.DeepEqual(has, []bool{false, true, false, true}) {
		s.t.Errorf("%v, %v", has, err)
	}
	sweep := func(before time.Time, limit int) (n int) {
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.SweepReceipts(s.ctx, before, limit)
			return err
		})
		return n
	}
	before := day.Add(time.Hour + time.Millisecond)
	for _, want := range []int{400, 101, 0} {
		if n := sweep(before, 400); n != want {
			s.t.Errorf("%d swept, want %d", n, want)
		}
	}
	if n := count(a, day); n != 300 {
		s.t.Errorf("%d are left, want 300", n)
	}
}

func (s *suite) testOnces() {
	key := [32]byte{1, 31: 2}
	_, err := s.s.Once(s.ctx, "b", key)
	s.checkGone("an unused key", err)
	first := &manifest.Once{Bucket: "b", Key: key, Request: "r", Manifest: manifest.NewVersionID(), ExpiresAt: day.Add(time.Hour)}
	other := &manifest.Once{Bucket: "c", Key: key, Request: "q", Manifest: manifest.NewVersionID(), ExpiresAt: day}
	again := *first
	again.Manifest, again.ExpiresAt = manifest.NewVersionID(), day.Add(2*time.Hour)
	for _, o := range []*manifest.Once{first, other, &again} {
		s.update(func(tx manifest.Tx) error { return tx.PutOnce(s.ctx, o) })
	}
	s.restart()
	got, err := s.s.Once(s.ctx, "b", key)
	if err != nil || !reflect.DeepEqual(got, &again) {
		s.t.Errorf("%+v, %v, want %+v", got, err, again)
	}
	sweep := func(before time.Time) (n int) {
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.SweepOnces(s.ctx, before, 10)
			return err
		})
		return n
	}
	if n := sweep(day); n != 0 {
		s.t.Errorf("%d swept before their time", n)
	}
	if n := sweep(day.Add(90 * time.Minute)); n != 1 { // the one that was put again lasts
		s.t.Errorf("%d swept, want 1", n)
	}
	_, err = s.s.Once(s.ctx, "c", key)
	s.checkGone("what was swept", err)
	if _, err := s.s.Once(s.ctx, "b", key); err != nil {
		s.t.Errorf("what was used anew: %v", err)
	}
}

func (s *suite) testIdentity() {
	type all struct{ store, owner, a, b [16]byte }
	read := func() (out all) {
		s.t.Helper()
		var errs [4]error
		out.store, errs[0] = s.s.StoreID(s.ctx)
		out.owner, errs[1] = s.s.OwnerID(s.ctx)
		out.a, errs[2] = s.s.DomainID(s.ctx, "a")
		out.b, errs[3] = s.s.DomainID(s.ctx, "")
		if err := errors.Join(errs[:]...); err != nil {
			s.t.Fatal(err)
		}
		return out
	}
	first := read()
	if first.store == first.owner || first.a == first.b || first.a == first.store || first.a == [16]byte{} {
		s.t.Errorf("identities are not random: %x", first)
	}
	s.restart()
	if got := read(); got != first {
		s.t.Errorf("identities have changed from %x to %x", first, got)
	}
	want := first
	want.store, want.a = [16]byte{1}, [16]byte{2}
	if err := s.s.SetIdentity(s.ctx, want.store, map[string][16]byte{"a": want.a, "": {}}); err != nil {
		s.t.Fatal(err)
	}
	s.restart()
	if got := read(); got != want {
		s.t.Errorf("identities are %x, want %x", got, want)
	}
	if err := s.s.SetIdentity(s.ctx, [16]byte{}, nil); err != nil || read() != want {
		s.t.Errorf("setting nothing changed something: %v", err)
	}
}

func (s *suite) testClock() {
	if got, err := s.s.LatestTime(s.ctx); err != nil || !got.IsZero() {
		s.t.Errorf("the latest time of a new store is %s, %v", got, err)
	}
	for _, t := range []time.Time{day.Add(time.Hour), day} { // also backwards, as an operator may demand
		if err := s.s.SetLatestTime(s.ctx, t); err != nil {
			s.t.Fatal(err)
		}
		s.restart()
		if got, err := s.s.LatestTime(s.ctx); err != nil || !got.Equal(t) {
			s.t.Errorf("the latest time is %s, %v, want %s", got, err, t)
		}
	}
}
