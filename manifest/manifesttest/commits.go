package manifesttest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"

	"github.com/cairn-store/cairn/manifest"
)

func (s *suite) testUnwritten() (seqs []uint64) {
	s.t.Helper()
	for c, err := range s.s.Unwritten(s.ctx) {
		if err != nil {
			s.t.Fatal(err)
		}
		seqs = append(seqs, c.Seq)
	}
	return seqs
}

func (s *suite) testOutbox() {
	var cs []*manifest.Commit
	for _, name := range []string{"a", "b", "c"} {
		f, m := newFile("", name, 1)
		cs = append(cs, s.update(func(tx manifest.Tx) error {
			if err := tx.PutManifest(s.ctx, m); err != nil {
				return err
			}
			return tx.PutFile(s.ctx, f)
		}))
	}
	first := cs[0].Seq
	rs, err := cs[0].Records()
	if cs[1].Seq <= first || cs[2].Seq <= cs[1].Seq || s.lastCommit() != cs[2].Seq || cs[1].Prev != first || cs[2].Prev != cs[1].Seq ||
		err != nil || len(rs) != 2 || cs[0].Domain != domain {
		s.t.Errorf("commits %+v", cs)
	}
	if err := s.s.Written(s.ctx, cs[1].Seq); err != nil {
		s.t.Fatal(err)
	}
	s.restart()
	got := s.testUnwritten()
	if !slices.Contains(got, first) || !slices.Contains(got, cs[2].Seq) || !slices.IsSorted(got) {
		s.t.Errorf("unwritten after a restart: %d", got)
	}
	for c, err := range s.s.Unwritten(s.ctx) { // as Update returned it
		if err != nil || c.Seq == first && !reflect.DeepEqual(c, cs[0]) {
			s.t.Errorf("%+v came back as %+v, %v", cs[0], c, err)
		}
	}
	if s.lastCommit() < cs[2].Seq {
		s.t.Errorf("numbers are given twice: the last is %d", s.lastCommit())
	}
	for _, c := range cs {
		if err := s.s.Written(s.ctx, c.Seq); err != nil {
			s.t.Fatal(err)
		}
	}
	if got := s.testUnwritten(); len(got) != 0 {
		s.t.Errorf("unwritten: %d", got)
	}
}

// oldVersions tests that OldVersions returns the oldest versions, as many as
// asked for, and VersionsBelow the newest below a number.
func (s *suite) oldVersions() {
	f := s.addFile("", "f", 1)
	s.addFile("", "g", 1)
	s.update(func(tx manifest.Tx) error {
		for n := uint64(2); n <= 600; n++ {
			_, m := newFile("", "f", int64(n))
			m.File, m.Version = f.ID, n
			f.Current, f.LastVersion, f.Versions = m.ID, n, n
			if err := tx.PutManifest(s.ctx, m); err != nil {
				return err
			}
		}
		return tx.PutFile(s.ctx, f)
	})
	s.restart()
	check := func(r manifest.Files, after uint64, n int, want ...uint64) {
		s.t.Helper()
		ms, err := r.OldVersions(s.ctx, f.ID, after, n)
		var got []uint64
		for _, m := range ms {
			got = append(got, m.Version)
		}
		if err != nil || !slices.Equal(got, want) {
			s.t.Errorf("%d versions after %d: %d, %v, want %d", n, after, got, err, want)
		}
	}
	check(s.s, 0, 2, 1, 2)
	check(s.s, 255, 3, 256, 257, 258)
	check(s.s, 598, 5, 599, 600)
	check(s.s, 600, 5)
	check(s.s, 1<<64-1, 5)
	check(s.s, 0, 0)
	for below, want := range map[uint64]uint64{1: 0, 2: 1, 256: 255, 257: 256, 600: 599, 601: 600, 1<<64 - 1: 600} {
		for m, err := range s.s.VersionsBelow(s.ctx, f.ID, below) {
			if err != nil || m.Version != want {
				s.t.Errorf("below %d: version %d, %v, want %d", below, m.Version, err, want)
				break
			}
			want--
		}
		if want != 0 {
			s.t.Errorf("below %d: version %d is missing", below, want)
		}
	}
	s.update(func(tx manifest.Tx) error {
		ms, err := tx.OldVersions(s.ctx, f.ID, 0, 2)
		if err != nil {
			return err
		}
		if err := tx.DropManifests(s.ctx, []manifest.VersionID{ms[0].ID}, day); err != nil {
			return err
		}
		check(tx, 0, 2, 2, 3)
		f.Versions--
		return tx.PutFile(s.ctx, f)
	})
	check(s.s, 0, 1, 2)
}

// testNumbers tests that no number is given twice, whatever takes numbers and
// however the store ends.
func (s *suite) testNumbers() {
	last, lastCommit := s.lastCommit(), s.lastCommit()
	given := func(seq uint64) {
		s.t.Helper()
		if seq <= last {
			s.t.Errorf("number %d is given after %d", seq, last)
		}
		last = seq
	}
	isHighest := func() {
		s.t.Helper()
		if n, err := s.s.LastNumber(s.ctx); err != nil || n != last {
			s.t.Errorf("the highest number is %d, want %d, %v", n, last, err)
		}
	}
	commit := func() {
		s.t.Helper()
		f, m := newFile("", fmt.Sprint("f", last), 1)
		c := s.update(func(tx manifest.Tx) error {
			return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f))
		})
		if c.Prev != lastCommit {
			s.t.Errorf("commit %d follows commit %d, it says %d", c.Seq, lastCommit, c.Prev)
		}
		given(c.Seq)
		isHighest()
		if lastCommit = c.Seq; s.lastCommit() != last {
			s.t.Errorf("the last commit is %d, want %d", s.lastCommit(), last)
		}
		if err := s.s.Written(s.ctx, c.Seq); err != nil { // so that the outbox is empty
			s.t.Fatal(err)
		}
	}
	take := func() {
		s.t.Helper()
		n, err := s.s.TakeNumber(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		given(n)
		isHighest()
	}
	restart := func() {
		s.restart()
		isHighest()
		if lastCommit = s.lastCommit(); lastCommit < last {
			s.t.Errorf("the last commit is %d, number %d was given", lastCommit, last)
		}
	}
	for range 2 {
		commit()
		take()
		take()
		commit()
		restart()
		take()
		restart()
	}
	last += 1000 // the number of a commit that is only in packs
	if err := s.s.Restore(s.ctx, last, nil); err != nil {
		s.t.Fatal(err)
	}
	if err := s.s.Restore(s.ctx, 1, nil); err != nil {
		s.t.Fatal(err)
	}
	if err := s.s.Reindex(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	restart()
	commit()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	for range 8 {
		wg.Go(func() {
			for range 10 {
				n, err := s.s.TakeNumber(s.ctx)
				mu.Lock()
				if err != nil || n <= last || seen[n] {
					s.t.Errorf("number %d, %v", n, err)
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// tooLarge tests that a change beyond the limits of a commit is refused and
// leaves nothing.
func (s *suite) tooLarge() {
	before := s.lastCommit()
	big, m := newFile("", "big", 1)
	big.Metadata = bytes.Repeat([]byte{'x'}, manifest.MaxRecord)
	tests := map[string]func(tx manifest.Tx) error{
		"record": func(tx manifest.Tx) error {
			return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, big))
		},
		"commit": func(tx manifest.Tx) error {
			for i := range manifest.MaxCommit/(manifest.MaxRecord/2) + 1 {
				f, m := newFile("", fmt.Sprint(i), 1)
				f.Metadata = big.Metadata[:manifest.MaxRecord/2]
				if err := errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, fn := range tests {
		if c, err := s.s.Update(s.ctx, domain, fn); !errors.Is(err, manifest.ErrTooLarge) || c != nil {
			s.t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	s.restart()
	_, err := s.s.FileByPath(s.ctx, "b", "big")
	s.checkGone("what was too large", err)
	_, err = s.s.FileByPath(s.ctx, "b", "0")
	s.checkGone("a part of what was too large", err)
	if got := s.testUnwritten(); len(got) != 0 || s.lastCommit() < before {
		s.t.Errorf("unwritten: %d", got)
	}
	s.usage(manifest.Usage{})
	// A change within the limits is written.
	r := rand.NewChaCha8([32]byte{})
	c := s.update(func(tx manifest.Tx) error {
		for i := range 40 {
			f, m := newFile("", fmt.Sprint(i), 1)
			f.Metadata = make([]byte, manifest.MaxRecord-4096)
			r.Read(f.Metadata)
			if err := errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)); err != nil {
				return err
			}
		}
		return nil
	})
	rs, err := c.Records()
	if err != nil || len(rs) != 80 || c.Size() > manifest.MaxCommit {
		s.t.Errorf("%d records of %d bytes, %v", len(rs), c.Size(), err)
	}
	for _, p := range c.Slots {
		if len(p) > manifest.MaxSlot {
			s.t.Errorf("a slot of %d bytes", len(p))
		}
	}
}
