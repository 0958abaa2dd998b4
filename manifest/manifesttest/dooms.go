package manifesttest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func (s *suite) doomPack(id byte, voids ...cas.Void) *manifest.Commit {
	s.t.Helper()
	return s.update(func(tx manifest.Tx) error { return tx.DoomPack(s.ctx, cas.PackID{id}, 120, voids) })
}

func (s *suite) lookUpPack(id byte) (p cas.PackEntry) {
	s.t.Helper()
	for _, e := range collectAll(s, s.index(domain).AllPacks(s.ctx)) {
		if e.ID == (cas.PackID{id}) {
			p = e
		}
	}
	return p
}

func censusOf(writer byte, serials ...uint64) *manifest.Census {
	c := &manifest.Census{Writer: [16]byte{writer}}
	for _, n := range serials {
		c.Add(n)
	}
	return c
}

func (s *suite) checkDead(domain string, want ...*manifest.Census) {
	s.t.Helper()
	if got, err := s.s.Dead(s.ctx, domain); err != nil || len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		s.t.Errorf("dead serials of %s\n%s, %v, want\n%s", domain, censusText(got), err, censusText(want))
	}
}

func censusText(cs []*manifest.Census) (text []string) {
	for _, c := range cs {
		text = append(text, fmt.Sprintf("%x %v", c.Writer[:1], c.Ranges))
	}
	return text
}

// writerOf returns the writer that a record of serials is about, nil for a doom.
func writerOf(r manifest.Record) []byte {
	if r.Census == nil {
		return nil
	}
	return r.Census.Writer[:]
}

// testDooms tests which packs can be doomed, and what a doom leaves.
func (s *suite) testDooms() {
	pack := func(id byte, serial, last uint64, sealed bool) cas.PackEntry {
		return cas.PackEntry{ID: cas.PackID{id}, Size: 100, Writer: [16]byte{9}, Serial: serial, LastCommit: last, Sealed: sealed}
	}
	f := cas.FrameEntry{ID: cas.FrameID{1}, Pack: cas.PackID{3}, HeaderLen: 1, StoredLen: 2, PlainLen: 3, Slots: 1}
	e := cas.ChunkEntry{Digest: cas.Sum(nil), Frame: f.ID, Length: 3}
	s.applyChange(&cas.Change{Packs: []cas.PackEntry{pack(1, 4, 0, true), pack(2, 5, 0, false), pack(3, 6, 0, true), pack(4, 7, 20, true)},
		Frames: []cas.FrameEntry{f}, Chunks: []cas.ChunkEntry{e}})
	refused := func(id byte, want error) {
		s.t.Helper()
		before := s.lookUpPack(id)
		c, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error { return tx.DoomPack(s.ctx, cas.PackID{id}, 120, nil) })
		if c != nil || !errors.Is(err, want) || s.lookUpPack(id) != before {
			s.t.Errorf("pack %d: %+v, %v, want %v", id, c, err, want)
		}
	}
	s.failOn(s.s.SetCheckpoint(s.ctx, domain, 19))
	s.failOn(s.s.SetCheckpoint(s.ctx, "y", 99))
	refused(2, manifest.ErrNotDead) // not sealed
	refused(3, manifest.ErrNotDead) // a frame lies in it
	refused(4, manifest.ErrNotDead) // holds a record that no checkpoint covers
	_, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error { return tx.DoomPack(s.ctx, cas.PackID{7}, 100, nil) })
	s.checkGone("an unknown pack", err)
	_, err = s.s.Update(s.ctx, "y", func(tx manifest.Tx) error { return tx.DoomPack(s.ctx, cas.PackID{1}, 100, nil) })
	s.checkGone("a pack of another domain", err)
	if err := s.index(domain).Apply(s.ctx, &cas.Change{Frames: []cas.FrameEntry{{ID: f.ID, Pack: cas.PackID{1}}}}); err != nil {
		s.t.Errorf("a refused doom stays: %v", err)
	}
	s.applyChange(&cas.Change{Frames: []cas.FrameEntry{f}})
	s.checkDead(domain)

	records := func(c *manifest.Commit, want ...manifest.Record) {
		s.t.Helper()
		if c == nil {
			s.t.Fatal("a doom makes no commit")
		}
		got, err := c.Records()
		slices.SortStableFunc(got, func(a, b manifest.Record) int { return bytes.Compare(writerOf(a), writerOf(b)) })
		if err != nil || c.Domain != domain || !reflect.DeepEqual(got, want) {
			s.t.Errorf("%d records of %s, %v, want %d", len(got), c.Domain, err, len(want))
			for i := range got {
				s.t.Errorf("doom %+v, census %+v", got[i].Doomed, got[i].Census)
			}
		}
	}
	doom := func(id byte, serial uint64) manifest.Record {
		return manifest.Record{Doomed: &manifest.Doom{Pack: cas.PackID{id}, Writer: [16]byte{9}, Serial: serial}}
	}
	voids := []cas.Void{{Writer: [16]byte{9}, Serial: 3}, {Writer: [16]byte{8}, Serial: 1}, {Writer: [16]byte{9}, Serial: 3},
		{Writer: [16]byte{9}, Serial: 1}}
	seq := s.lastCommit()
	c := s.doomPack(1, voids...)
	records(c, doom(1, 4), manifest.Record{Census: censusOf(8, 1)}, manifest.Record{Census: censusOf(9, 1, 3)})
	if c.Seq <= seq || !slices.Contains(s.testUnwritten(), c.Seq) {
		s.t.Errorf("commit %d after %d is not in the outbox", c.Seq, seq)
	}
	s.checkDead(domain, censusOf(8, 1), censusOf(9, 1, 3, 4))
	s.update(func(tx manifest.Tx) error { return tx.DoomPack(s.ctx, cas.PackID{1}, 7, nil) })
	records(s.doomPack(1), doom(1, 4)) // it stays so
	s.applyChange(&cas.Change{Drop: []cas.ChunkEntry{e}})
	records(s.doomPack(3), doom(3, 6))
	s.failOn(s.s.SetCheckpoint(s.ctx, domain, 20))
	records(s.doomPack(4), doom(4, 7))
	s.restart()
	s.checkDead(domain, censusOf(8, 1), censusOf(9, 1, 3, 4, 6, 7))
	s.checkDead("y")
	for id, doomed := range map[byte]bool{1: true, 2: false, 3: true, 4: true} {
		size := int64(100)
		if doomed {
			size = 120
		}
		if p := s.lookUpPack(id); p.Doomed != doomed || p.Size != size {
			s.t.Errorf("pack %d: %+v", id, p)
		}
	}
	if err := s.index(domain).Apply(s.ctx, &cas.Change{Frames: []cas.FrameEntry{f}, Chunks: []cas.ChunkEntry{e}}); !errors.Is(err, cas.ErrDoomed) {
		s.t.Errorf("a frame in a doomed pack: %v", err)
	}
	s.applyChange(&cas.Change{DropPacks: []cas.PackID{{1}, {3}, {4}}})
	s.checkDead(domain, censusOf(8, 1), censusOf(9, 1, 3, 4, 6, 7)) // also when they are gone
}

// testCensus tests that serials that were found dead are added, without records.
func (s *suite) testCensus() {
	restore := func(domain string, cs ...*manifest.Census) {
		s.t.Helper()
		c := s.update(func(tx manifest.Tx) error {
			for _, c := range cs {
				if err := tx.RestoreCensus(s.ctx, domain, c); err != nil {
					return err
				}
			}
			return nil
		})
		if c != nil {
			s.t.Errorf("a census that was found makes the commit %+v", c)
		}
	}
	restore("x", censusOf(2, 7, 8), censusOf(1, 1), censusOf(2, 1, 9))
	restore("y", censusOf(2, 5))
	restore("x", censusOf(2, 3, 8), censusOf(1, 1<<40))
	s.restart()
	s.checkDead("x", censusOf(1, 1, 1<<40), censusOf(2, 1, 3, 7, 8, 9))
	s.checkDead("y", censusOf(2, 5))
	s.checkDead("z")
}

// restoreDooms tests that a pack that was found to be doomed takes no frames any
// more, whatever the index knew of it.
func (s *suite) restoreDooms() {
	s.applyChange(&cas.Change{Packs: []cas.PackEntry{{ID: cas.PackID{1}, Size: 9, LastCommit: 7}, {ID: cas.PackID{2}}}})
	c := s.update(func(tx manifest.Tx) error { return tx.RestoreDooms(s.ctx, domain, []cas.PackID{{3}, {1}}) })
	if c != nil {
		s.t.Errorf("a doom that was found makes the commit %+v", c)
	}
	s.update(func(tx manifest.Tx) error { return tx.RestoreDooms(s.ctx, "y", []cas.PackID{{2}}) })
	s.restart()
	want := []cas.PackEntry{{ID: cas.PackID{1}, Size: 9, LastCommit: 7, Sealed: true, Doomed: true}, {ID: cas.PackID{2}}}
	if got := collectAll(s, s.index(domain).AllPacks(s.ctx)); !slices.Equal(got, want) {
		s.t.Errorf("packs %+v, want %+v", got, want)
	}
	s.checkDead(domain)
	err := s.index(domain).Apply(s.ctx, &cas.Change{Frames: []cas.FrameEntry{{ID: cas.FrameID{1}, Pack: cas.PackID{1}}}})
	if !errors.Is(err, cas.ErrDoomed) {
		s.t.Errorf("a frame in a doomed pack: %v", err)
	}
}
