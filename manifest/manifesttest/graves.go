package manifesttest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// graveOf is the grave of a version, but for its place among those of the commit.
func graveOf(f *manifest.File, m *manifest.Manifest, c *manifest.Commit, at time.Time) manifest.Grave {
	return manifest.Grave{ID: manifest.GraveID{Commit: c.Seq}, Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: m.ID,
		Size: m.Size, At: at, Top: m.Top, Chunks: m.Inline}
}

// testGraves tests that each version that is removed for good gets a grave with
// what it held.
func (s *suite) testGraves() {
	f, old := newFile("d", "f", 5)
	_, m := newFile("", "", 3000)
	m.File, m.Version, f.Versions, f.LastVersion, f.Current = f.ID, 2, 2, 2, m.ID
	m.Chunks, m.Inline, m.Top, m.Height = 1000, nil, cas.SumSegment(nil), 1
	g, gm := newFile("", "g", 7)
	other, om := newFile("", "other", 9)
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.PutManifest(s.ctx, old), tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f),
			tx.PutManifest(s.ctx, gm), tx.PutFile(s.ctx, g), tx.PutManifest(s.ctx, om), tx.PutFile(s.ctx, other))
	})
	failure := errors.New("no")
	if _, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error {
		return errors.Join(tx.Purge(s.ctx, f.ID, day), failure)
	}); !errors.Is(err, failure) {
		s.t.Fatal(err)
	}
	later := day.Add(time.Millisecond)
	c := s.update(func(tx manifest.Tx) error { return tx.DropManifests(s.ctx, []manifest.VersionID{old.ID, gm.ID}, day) })
	purge := s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, f.ID, later) })
	c2, err := s.s.Update(s.ctx, "y", func(tx manifest.Tx) error { return tx.Purge(s.ctx, other.ID, day) })
	s.failOn(err)
	s.restart()

	var ids []manifest.GraveID
	graves := func(domain string, want ...manifest.Grave) {
		s.t.Helper()
		got := make(map[manifest.VersionID]manifest.Grave)
		ids = nil
		for _, g := range collectAll(s, s.s.Graves(s.ctx, domain)) {
			ids = append(ids, g.ID)
			g.ID.N = 0
			got[g.Version] = *g
		}
		if !slices.IsSortedFunc(ids, func(a, b manifest.GraveID) int { return -compareGraves(a, b) }) {
			s.t.Errorf("graves in the order %v", ids)
		}
		wanted := make(map[manifest.VersionID]manifest.Grave)
		for _, g := range want {
			wanted[g.Version] = g
		}
		if len(ids) != len(want) || !reflect.DeepEqual(got, wanted) {
			s.t.Errorf("graves of %s\n%+v, want\n%+v", domain, got, wanted)
		}
	}
	ofOld, ofNew, ofOther := graveOf(f, old, c, day), graveOf(f, m, purge, later), graveOf(other, om, c2, day)
	ofG := graveOf(g, gm, c, day)
	graves("y", ofOther)
	graves(domain, ofOld, ofG, ofNew)
	s.failOn(s.s.DropGraves(s.ctx, "y", ids)) // of another domain
	graves(domain, ofOld, ofG, ofNew)
	// Those of one commit are in any order.
	if first := collectAll(s, s.s.Graves(s.ctx, domain))[1]; first.Version == old.ID {
		ofOld = ofG
	}
	for range 2 {
		s.failOn(s.s.DropGraves(s.ctx, domain, []manifest.GraveID{ids[1], {Commit: 1 << 40}}))
	}
	s.failOn(s.s.DropGraves(s.ctx, domain, nil))
	graves(domain, ofOld, ofNew)
	graves("y", ofOther)
	s.failOn(s.s.Restore(s.ctx, s.lastCommit(), []manifest.Record{{Purged: g.ID}, {Dropped: old.ID}}))
	s.failOn(s.s.Reindex(s.ctx))
	graves(domain, ofOld, ofNew) // what is replayed was dead before
}

func compareGraves(a, b manifest.GraveID) int {
	if a.Commit != b.Commit {
		return compareNumbers(a.Commit, b.Commit)
	}
	return compareNumbers(uint64(a.N), uint64(b.N))
}

func compareNumbers(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func causeOf(bucket, path string, file manifest.FileID, at time.Time) manifest.Cause {
	return manifest.Cause{Bucket: bucket, Path: path, File: file, At: at}
}

// testCharges tests that bytes that wait are summed up by pack and cause.
func (s *suite) testCharges() {
	one, two := manifest.FileID("00000000-0000-4000-8000-000000000001"), manifest.FileID("00000000-0000-4000-8000-000000000002")
	causes := []manifest.Cause{{}, causeOf("a", "z", two, day), causeOf("b", "p", one, day), causeOf("b", "q", one, day),
		causeOf("b", "o", one, day.Add(time.Second)), causeOf("b", "a", two, day), causeOf("b2", "", "", time.Time{})}
	want := make(map[cas.PackID][]manifest.Charge)
	var all []manifest.Charge
	for _, id := range []cas.PackID{{1}, {2}} {
		for i, c := range causes {
			want[id] = append(want[id], manifest.Charge{Pack: id, Cause: c, Bytes: int64(id[0]) << (8 * i)})
		}
		all = append(all, want[id]...)
	}
	mixed := slices.Concat(all[3:], all[:3])
	slices.Reverse(mixed)
	s.failOn(s.s.AddCharges(s.ctx, domain, mixed))
	check := func(domain string, wanted ...manifest.Charge) {
		s.t.Helper()
		if got := collectAll(s, s.s.AllCharges(s.ctx, domain)); !reflect.DeepEqual(got, wanted) {
			s.t.Errorf("charges of %s\n%+v, want\n%+v", domain, got, wanted)
		}
	}
	check(domain, all...)
	check("y")
	again := append(all[2:5:5], all[2], manifest.Charge{Pack: cas.PackID{3}, Bytes: 1})
	s.failOn(s.s.AddCharges(s.ctx, domain, again))
	s.failOn(s.s.AddCharges(s.ctx, "y", all[:1]))
	s.failOn(s.s.AddCharges(s.ctx, domain, nil))
	sums := append(slices.Clone(all), again[4])
	for _, i := range []int{2, 3, 4, 2} {
		sums[i].Bytes += all[i].Bytes
	}
	s.addFile("", "f", 1) // makes all durable
	s.restart()
	check(domain, sums...)
	check("y", all[0])
	for id := range byte(5) {
		var wanted []manifest.Charge
		for _, c := range sums {
			if c.Pack == (cas.PackID{id}) {
				wanted = append(wanted, c)
			}
		}
		for limit := range len(wanted) + 2 {
			some := wanted[:min(limit, len(wanted))]
			if got, err := s.s.ChargesOf(s.ctx, domain, cas.PackID{id}, limit); err != nil || !slices.Equal(got, some) {
				s.t.Errorf("%d charges of pack %d: %+v, %v, want %+v", limit, id, got, err, some)
			}
		}
	}
}

// testLedger tests that the ledger keeps its newest entries, and that the charges
// that are entered wait no longer, and all others do.
func (s *suite) testLedger() {
	cs := []manifest.Charge{{Pack: cas.PackID{1}, Bytes: 10}, {Pack: cas.PackID{1}, Cause: causeOf("b", "p", "", day), Bytes: 20},
		{Pack: cas.PackID{2}, Bytes: 30}, {Pack: cas.PackID{2}, Cause: causeOf("b", "p", "", day), Bytes: 40},
		{Pack: cas.PackID{2}, Cause: causeOf("b", "q", "", day), Bytes: 50},
		{Pack: cas.PackID{2}, Cause: causeOf("b", "p", "", day.Add(time.Second)), Bytes: 60}}
	s.failOn(s.s.AddCharges(s.ctx, domain, cs))
	s.failOn(s.s.AddCharges(s.ctx, "y", cs[:1]))
	var want []*manifest.Freed // newest first
	add := func(domain string, entered []manifest.Charge, es ...manifest.Freed) {
		s.t.Helper()
		s.failOn(s.s.AddFreed(s.ctx, domain, es, entered))
		for i := range es {
			want = slices.Insert(want, 0, &es[i])
		}
	}
	check := func(when string) {
		s.t.Helper()
		if got := collectAll(s, s.s.Ledger(s.ctx)); !reflect.DeepEqual(got, want) {
			s.t.Errorf("%s: the ledger is\n%+v, want\n%+v", when, got, want)
		}
	}
	trim := func(keep int) {
		s.t.Helper()
		s.failOn(s.s.TrimLedger(s.ctx, keep))
		want = want[:min(keep, len(want))]
		if len(want) == 0 {
			want = nil
		}
		check(fmt.Sprintf("trimmed to %d", keep))
	}
	trim(0)
	add(domain, cs[:2], manifest.Freed{At: day.Add(time.Hour), Domain: domain, Charge: cs[0]},
		manifest.Freed{At: day.Add(time.Hour), Domain: domain, Charge: cs[1], Copied: true})
	left := func(domain string, want ...manifest.Charge) {
		s.t.Helper()
		if got := collectAll(s, s.s.AllCharges(s.ctx, domain)); !reflect.DeepEqual(got, want) {
			s.t.Errorf("left of %s: %+v, want %+v", domain, got, want)
		}
	}
	left(domain, cs[2:]...)
	left("y", cs[0])
	for i := range 10 {
		// Entries are in the order in which they were added, whatever their time.
		add("y", nil, manifest.Freed{At: day.Add(-time.Duration(i) * time.Hour), Domain: "y", Charge: manifest.Charge{Pack: cas.PackID{5}, Bytes: int64(i)}})
	}
	add(domain, cs[3:5])
	left(domain, cs[2], cs[5])
	add(domain, slices.Concat(cs[2:], cs[:1])) // of which some do not wait
	left(domain)
	s.restart()
	check("after a restart")
	trim(20)
	trim(11)
	trim(3)
	add("y", cs[:1], manifest.Freed{At: day, Domain: "y", Charge: cs[0]})
	left("y")
	check("added to what was trimmed")
	trim(1)
	trim(0)
	add("y", nil, manifest.Freed{At: day, Domain: "y"})
	s.restart()
	check("added to what was trimmed to nothing")
}

// dropMarks tests that marks go by the numbers of their commits, some at a time.
func (s *suite) dropMarks() {
	var seqs []uint64
	ids := make(map[uint64][]string)
	var files []manifest.FileID
	for i := range 6 {
		f := s.addFile("", fmt.Sprint(i), 1)
		files = append(files, f.ID)
		s.wantPurged(f.ID, false)
		c := s.update(func(tx manifest.Tx) error {
			if i%2 == 0 {
				return tx.Purge(s.ctx, f.ID, day)
			}
			return tx.DropManifests(s.ctx, []manifest.VersionID{f.Current}, day)
		})
		seqs, ids[c.Seq] = append(seqs, c.Seq), []string{string(f.ID)}
		if i%2 == 1 {
			ids[c.Seq] = []string{string(f.Current)}
		}
	}
	s.checkMarks(ids)
	drop := func(upTo uint64, limit int) bool {
		s.t.Helper()
		more, err := s.s.DropMarks(s.ctx, upTo, limit)
		s.failOn(err)
		return more
	}
	for _, upTo := range []uint64{0, seqs[0] - 1} {
		if drop(upTo, 10) {
			s.t.Errorf("more is to be dropped up to %d", upTo)
		}
	}
	s.checkMarks(ids)
	if !drop(seqs[3], 2) {
		s.t.Error("4 marks, of which 2 were dropped, and no more")
	}
	left := 0
	for range s.s.Marks(s.ctx) {
		left++
	}
	if left != 4 {
		s.t.Errorf("%d marks are left", left)
	}
	for drop(seqs[3], 1) {
	}
	for _, n := range seqs[:4] {
		delete(ids, n)
	}
	s.restart()
	s.checkMarks(ids)
	drop(1<<62, 10)
	s.checkMarks(nil)
	for _, f := range files {
		s.wantPurged(f, false)
	}
}

// wantPurged tests what IsPurged says of a file, outside of a transaction and in one.
func (s *suite) wantPurged(id manifest.FileID, want bool) {
	s.t.Helper()
	s.update(func(tx manifest.Tx) error {
		for _, rows := range []manifest.Files{s.s, tx} {
			if got, err := rows.IsPurged(s.ctx, id); err != nil || got != want {
				s.t.Errorf("%T: IsPurged(%s) is %t, %v", rows, id, got, err)
			}
		}
		return nil
	})
}

func (s *suite) checkMarks(want map[uint64][]string) {
	s.t.Helper()
	got, wanted := make(map[string]bool), make(map[string]bool)
	for _, r := range collectAll(s, s.s.Marks(s.ctx)) {
		got[string(r.Purged)+string(r.Dropped)] = true
	}
	for _, ids := range want {
		for _, id := range ids {
			wanted[id] = true
		}
	}
	for id := range wanted {
		if file, ok := manifest.ParseFileID(id); ok {
			s.wantPurged(file, true)
		}
	}
	if !maps.Equal(got, wanted) {
		s.t.Errorf("marks %v, want %v", got, wanted)
	}
}

// marksOfRestore tests that a mark that is replayed has the number of its commit,
// and of several the latest, and that it keeps rows away until it is dropped.
func (s *suite) marksOfRestore() {
	f, m := newFile("", "f", 1)
	f.Revision = 1
	g, gm := newFile("", "g", 1)
	g.Revision = 1
	restore := func(seq uint64, rs ...manifest.Record) {
		s.t.Helper()
		s.failOn(s.s.Restore(s.ctx, seq, rs))
	}
	restore(20, manifest.Record{Purged: f.ID})
	restore(50, manifest.Record{Purged: f.ID}, manifest.Record{Dropped: gm.ID})
	restore(30, manifest.Record{Purged: f.ID})
	if n := s.lastCommit(); n >= 20 {
		s.t.Errorf("records that are replayed make %d the last commit", n)
	}
	rows := []manifest.Record{{File: f}, {Manifest: m}, {File: g}, {Manifest: gm}}
	for _, step := range []struct {
		upTo   uint64
		marked bool
	}{{49, true}, {50, false}} {
		if more, err := s.s.DropMarks(s.ctx, step.upTo, 10); err != nil || more {
			s.t.Errorf("marks up to %d: more %t, %v", step.upTo, more, err)
		}
		restore(10, rows...)
		_, err := s.s.File(s.ctx, f.ID)
		_, merr := s.s.Manifest(s.ctx, m.ID)
		_, gerr := s.s.Manifest(s.ctx, gm.ID)
		for _, err := range []error{err, merr, gerr} {
			if errors.Is(err, fs.ErrNotExist) != step.marked {
				s.t.Errorf("marks up to %d are dropped: %v", step.upTo, err)
			}
		}
	}
	s.checkMarks(nil)
	s.failOn(s.s.Reindex(s.ctx))
}
