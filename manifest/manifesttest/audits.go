package manifesttest

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/manifest"
)

// testAudits tests that notes are there when their transaction is, in order of
// numbers that rise, until they are dropped.
func (s *suite) testAudits() {
	all := func() (out []string) {
		s.t.Helper()
		last := uint64(0)
		for _, a := range collectAll(s, s.s.Audits(s.ctx)) {
			if out = append(out, fmt.Sprintf("%d %s", a.N, a.Entry)); a.Number < last {
				s.t.Errorf("number %d comes after %d", a.Number, last)
			}
			last = a.Number
		}
		return out
	}
	want := func(when string, want ...string) {
		s.t.Helper()
		if got := all(); !slices.Equal(got, want) {
			s.t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	note := func(domain string, end error, entries ...string) *manifest.Commit {
		s.t.Helper()
		c, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error {
			if domain != "" {
				f, m := newFile("", entries[0], 1)
				s.failOn(errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)))
			}
			for _, e := range entries {
				s.failOn(tx.NoteAudit(s.ctx, []byte(e)))
			}
			return end
		})
		if !errors.Is(err, end) {
			s.t.Fatal(err)
		}
		return c
	}
	want("none")
	first := note(domain, nil, "a", "b")
	if c := note("", nil, "c"); c != nil {
		s.t.Errorf("a transaction without records made commit %d", c.Seq)
	}
	note("", errors.New("given up"), "never")
	third := note(domain, nil, "d")
	if third.Prev != first.Seq || third.Seq <= first.Seq+1 {
		s.t.Errorf("commit %d after %d, the one before is %d: want a number between for the note without records", third.Seq, first.Seq, third.Prev)
	}
	want("noted", "0 a", "1 b", "0 c", "0 d")
	as := collectAll(s, s.s.Audits(s.ctx))
	if as[0].Number != first.Seq || as[1].Number != first.Seq || as[3].Number != third.Seq {
		s.t.Errorf("numbers: %d %d %d, commits %d %d", as[0].Number, as[1].Number, as[3].Number, first.Seq, third.Seq)
	}
	s.failOn(s.s.DropAudits(s.ctx, first.Seq))
	want("dropped", "0 c", "0 d")
	s.restart()
	want("reopened", "0 c", "0 d")
	if n, err := s.s.LastNumber(s.ctx); err != nil || n != third.Seq {
		s.t.Errorf("last number %d, want %d: %v", n, third.Seq, err)
	}
	if last := note("", nil, "e"); last != nil {
		s.t.Error("a commit without records")
	}
	s.restart()
	if c := note(domain, nil, "f"); c.Seq != third.Seq+2 {
		s.t.Errorf("number %d, want %d: that of a note was given again", c.Seq, third.Seq+2)
	}
	s.failOn(s.s.DropAudits(s.ctx, third.Seq+2))
	s.failOn(s.s.DropAudits(s.ctx, third.Seq+2))
	want("dropped all")
}

// concurrentAudits tests that no note shows up behind one that was read: whoever drops
// what he has read drops no other.
func (s *suite) concurrentAudits() {
	const writers, each = 4, 25
	var g errgroup.Group
	for i := range writers {
		g.Go(func() error {
			for k := range each {
				where := []string{"", domain}[(i+k)%2]
				_, err := s.s.Update(s.ctx, where, func(tx manifest.Tx) error {
					if where != "" {
						f, m := newFile("", fmt.Sprint(i, "-", k), 1)
						if err := errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)); err != nil {
							return err
						}
					}
					return tx.NoteAudit(s.ctx, fmt.Append(nil, i, " ", k))
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	written := make(chan error, 1)
	go func() { written <- g.Wait() }()
	seen := make(map[string]bool)
	for ended := false; !ended; {
		select {
		case err := <-written:
			s.failOn(err)
			ended = true
		default:
		}
		var last uint64
		for a, err := range s.s.Audits(s.ctx) {
			s.failOn(err)
			seen[string(a.Entry)], last = true, a.Number
		}
		s.failOn(s.s.DropAudits(s.ctx, last))
	}
	if len(seen) != writers*each {
		s.t.Errorf("%d of %d notes were seen", len(seen), writers*each)
	}
}
