package manifesttest

import (
	"errors"
	"reflect"

	"github.com/cairn-store/cairn/manifest"
)

// testHomes tests the rows of homes, and the records of moves.
func (s *suite) testHomes() {
	none, err := s.s.Home(s.ctx, "b")
	if err != nil || !reflect.DeepEqual(none, &manifest.Home{Bucket: "b"}) {
		s.t.Errorf("no home: %+v, %v", none, err)
	}
	put := func(h manifest.Home) *manifest.Commit {
		return s.update(func(tx manifest.Tx) error { return tx.PutHome(s.ctx, &h) })
	}
	at := manifest.Home{Bucket: "b", Domain: "x"}
	moved := manifest.Home{Bucket: "b", Move: 3, From: "x", Domain: domain, Been: []string{"x"}}
	left := moved
	left.To = "z"
	first, c, last := put(at), put(moved), put(left)
	if first != nil || c == nil || last != nil {
		s.t.Errorf("commits %+v, %+v, %+v", first, c, last)
	}
	s.restart()
	got, err := s.s.Home(s.ctx, "b")
	if err != nil || !reflect.DeepEqual(got, &left) {
		s.t.Errorf("%+v, %v", got, err)
	}
	for got, err := range s.s.Unwritten(s.ctx) {
		if err != nil || c == nil || got.Seq != c.Seq || got.Domain != domain {
			s.t.Fatalf("%+v, %v, want %+v", got, err, c)
		}
		rs, err := got.Records()
		if err != nil || len(rs) != 1 || !reflect.DeepEqual(rs[0].Home, &moved) {
			s.t.Errorf("records %+v, %v", rs, err)
		}
	}
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.RestoreHome(s.ctx, &manifest.Home{Bucket: "a", Move: 9}), tx.DropHome(s.ctx, "b"), tx.DropHome(s.ctx, "c"))
	})
	if all, err := s.s.Homes(s.ctx); err != nil || len(all) != 1 || all[0].Move != 9 || len(s.testUnwritten()) != 1 {
		s.t.Errorf("%+v, %v", all, err)
	}
}
