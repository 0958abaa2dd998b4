// Package manifesttest tests implementations of manifest.Store. Run has the list
// of tests.
package manifesttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

const domain = "x"

// Run tests an implementation. open returns an empty store; reopen returns the
// same store after a restart.
func Run(t *testing.T, open func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store) {
	run(t, open, reopen, map[string]func(*suite){
		"Rows": (*suite).testRows, "Conflict": (*suite).testConflict, "Rollback": (*suite).testRollback, "Listing": (*suite).testListing,
		"Outbox": (*suite).testOutbox, "Counter": (*suite).counter, "Restore": (*suite).testRestore, "Segments": (*suite).testSegments,
		"OldVersions": (*suite).oldVersions, "Numbers": (*suite).testNumbers,
		"Buckets": (*suite).testBuckets, "Clock": (*suite).testClock, "Homes": (*suite).testHomes, "Marks": (*suite).testMarks,
		"Uploads": (*suite).testUploads, "UploadEnds": (*suite).uploadEnds, "UploadLists": (*suite).uploadLists,
		"UploadSweep": (*suite).uploadSweep, "UploadParts": (*suite).uploadParts, "WhileYielding": (*suite).whileYielding, "Grants": (*suite).testGrants,
		"GrantUses": (*suite).grantUses, "GrantSweeps": (*suite).grantSweeps, "Keys": (*suite).testKeys,
		"Receipts": (*suite).testReceipts, "Onces": (*suite).testOnces, "Identity": (*suite).testIdentity,
		"OneMoment": (*suite).oneMoment, "AllRows": (*suite).allRows, "TrashedBefore": (*suite).trashedBefore,
		"Writers": (*suite).testWriters, "Roots": (*suite).testRoots, "WritersAreSeen": (*suite).writersAreSeen,
		"Leases": (*suite).testLeases, "OneLease": (*suite).oneLease, "Floor": (*suite).testFloor, "Barrier": (*suite).testBarrier,
		"Graves": (*suite).testGraves, "Charges": (*suite).testCharges, "Ledger": (*suite).testLedger, "Dooms": (*suite).testDooms,
		"Census": (*suite).testCensus, "RestoreDooms": (*suite).restoreDooms, "Checkpoints": (*suite).testCheckpoints, "DropMarks": (*suite).dropMarks,
		"MarksOfRestore": (*suite).marksOfRestore, "SentParts": (*suite).sentParts, "Leftovers": (*suite).testLeftovers, "SegmentsGo": (*suite).segmentsGo,
		"AllSegments": (*suite).allSegments, "View": (*suite).testView, "Scrubs": (*suite).testScrubs, "Points": (*suite).testPoints,
		"Links": (*suite).testLinks, "RestoreLinks": (*suite).restoreLinks, "LinksStand": (*suite).linksStand, "AllLinks": (*suite).allLinks,
		"PurgedLinks": (*suite).purgedLinks, "ManyRows": (*suite).manyRows, "ConcurrentLinks": (*suite).concurrentLinks,
		"Audits": (*suite).testAudits, "ConcurrentAudits": (*suite).concurrentAudits,
	})
}

// RunLarge is Run with the tests of much data, in which one goroutine works.
func RunLarge(t *testing.T, open func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store) {
	run(t, open, reopen, map[string]func(*suite){"OwnerUsages": (*suite).testOwnerUsages, "TooLarge": (*suite).tooLarge})
}

func run(t *testing.T, open func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store, tests map[string]func(*suite)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bare := open(t)
			test(&suite{t, t.Context(), Twice(bare), bare, reopen})
		})
	}
}

// An Indexer is a store whose database holds chunk indexes too, as all that are
// tested are.
type Indexer interface{ Index(domain string) cas.Index }

type suite struct {
	t      *testing.T
	ctx    context.Context
	s      manifest.Store
	bare   manifest.Store // s without Twice
	reopen func(t *testing.T, s manifest.Store) manifest.Store
}

func (s *suite) restart() {
	s.bare = s.reopen(s.t, s.s)
	s.s = Twice(s.bare)
}

func (s *suite) index(domain string) cas.Index { return s.bare.(Indexer).Index(domain) }

func (s *suite) applyChange(c *cas.Change) {
	s.t.Helper()
	if err := s.index(domain).Apply(s.ctx, c); err != nil {
		s.t.Fatal(err)
	}
}

func collectAll[E any](s *suite, seq iter.Seq2[E, error]) (all []E) {
	s.t.Helper()
	for e, err := range seq {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func (s *suite) failOn(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) lastCommit() uint64 {
	s.t.Helper()
	n, err := s.s.LastCommit(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *suite) update(fn func(tx manifest.Tx) error) *manifest.Commit {
	s.t.Helper()
	c, err := s.s.Update(s.ctx, domain, fn)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

var day = time.UnixMilli(1_700_000_000_000).UTC()

// newFile returns a file with one version of n bytes.
func newFile(folder, name string, n int64) (*manifest.File, *manifest.Manifest) {
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Folder: folder, Name: name, LastVersion: 1, Versions: 1,
		TotalSize: n, TotalChunks: 1, CreatedAt: day, UpdatedAt: day}
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: 1, CreatedAt: day,
		Content: manifest.Content{Size: n, Chunker: "c", Chunks: 1, Inline: []cas.Ref{{Digest: cas.Sum(nil), Length: uint32(n)}}}}
	f.Current = m.ID
	return f, m
}

func (s *suite) addFile(folder, name string, n int64) *manifest.File {
	s.t.Helper()
	f, m := newFile(folder, name, n)
	s.update(func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		return tx.PutFile(s.ctx, f)
	})
	return f
}

func (s *suite) usage(want manifest.Usage) {
	s.t.Helper()
	if got, err := s.s.OwnerUsage(s.ctx, "b", ""); err != nil || got != want {
		s.t.Errorf("usage of the owner is %+v, %v, want %+v", got, err, want)
	}
	if got, err := s.s.Usage(s.ctx, "b"); err != nil || got != want {
		s.t.Errorf("usage %+v, want %+v: %v", got, want, err)
	}
}

func (s *suite) checkGone(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("%s: %v, want fs.ErrNotExist", what, err)
	}
}

func (s *suite) testRows() {
	f := s.addFile("d", "f", 10)
	s.restart()
	got, err := s.s.FileByPath(s.ctx, "b", "d/f")
	if err != nil || got.ID != f.ID || !got.CreatedAt.Equal(day) || got.Revision == 0 {
		s.t.Fatalf("%+v, %v", got, err)
	}
	m, err := s.s.Version(s.ctx, f.ID, 1)
	if err != nil || m.ID != f.Current || m.Size != 10 || len(m.Inline) != 1 {
		s.t.Fatalf("%+v, %v", m, err)
	}
	_, err = s.s.Version(s.ctx, f.ID, 2)
	s.checkGone("version 2", err)
	_, err = s.s.FileByPath(s.ctx, "b", "d")
	s.checkGone("a folder", err)
	_, err = s.s.FileByPath(s.ctx, "c", "d/f")
	s.checkGone("another bucket", err)
	s.usage(manifest.Usage{Files: 1, Versions: 1, Bytes: 10, Chunks: 1})

	got.State, got.DeletedAt = manifest.Trashed, day
	s.update(func(tx manifest.Tx) error { return tx.PutFile(s.ctx, got) })
	_, err = s.s.FileByPath(s.ctx, "b", "d/f")
	s.checkGone("what is in the trash", err)
	s.usage(manifest.Usage{TrashedFiles: 1, TrashedVersions: 1, TrashedBytes: 10, TrashedChunks: 1})

	s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, f.ID, day) })
	_, err = s.s.File(s.ctx, f.ID)
	s.checkGone("purged", err)
	_, err = s.s.Manifest(s.ctx, f.Current)
	s.checkGone("version of the purged", err)
	s.usage(manifest.Usage{})
}

func (s *suite) testConflict() {
	a := s.addFile("", "f", 1)
	f, m := newFile("", "f", 1)
	put := func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		return tx.PutFile(s.ctx, f)
	}
	if _, err := s.s.Update(s.ctx, domain, put); !errors.Is(err, manifest.ErrConflict) {
		s.t.Fatalf("two files at one path: %v", err)
	}
	_, err := s.s.Manifest(s.ctx, m.ID)
	s.checkGone("what a failed update wrote", err)
	s.update(func(tx manifest.Tx) error { // a renamed file frees its path in the same transaction
		a, err := tx.File(s.ctx, a.ID)
		if err != nil {
			return err
		}
		a.Name = "g"
		if err := tx.PutFile(s.ctx, a); err != nil {
			return err
		}
		return put(tx)
	})
	if got, err := s.s.FileByPath(s.ctx, "b", "f"); err != nil || got.ID != f.ID {
		s.t.Errorf("%+v, %v", got, err)
	}
}

func (s *suite) testRollback() {
	before, failure := s.lastCommit(), errors.New("no")
	f, m := newFile("", "f", 1)
	c, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		if err := tx.PutFile(s.ctx, f); err != nil {
			return err
		}
		if got, err := tx.FileByPath(s.ctx, "b", "f"); err != nil || got.ID != f.ID {
			s.t.Errorf("a transaction does not see its own writes: %+v, %v", got, err)
		}
		return failure
	})
	if c != nil || err != failure || s.lastCommit() != before {
		s.t.Errorf("%+v, %v", c, err)
	}
	_, err = s.s.File(s.ctx, f.ID)
	s.checkGone("after an error", err)
	s.usage(manifest.Usage{})
	if c := s.update(func(manifest.Tx) error { return nil }); c != nil {
		s.t.Errorf("a commit of nothing: %+v", c)
	}
}

func (s *suite) testListing() {
	var all []string
	for _, p := range [][2]string{{"", "a"}, {"d", "a"}, {"d", "b"}, {"d/e", "a"}, {"", "d-"}, {"", "z"}} {
		all = append(all, s.addFile(p[0], p[1], 1).Path())
	}
	slices.Sort(all)
	list := func(r *manifest.Range) (out []string) {
		s.t.Helper()
		for l, err := range s.s.List(s.ctx, "b", r) {
			if err != nil {
				s.t.Fatal(err)
			}
			if r != nil && r.Bare {
				if l.File != nil || l.Current != nil {
					s.t.Errorf("more than the key of %q: %+v, %+v", l.Key, l.File, l.Current)
				}
			} else if l.Key != l.File.Path() || l.Current == nil || l.Current.ID != l.File.Current {
				s.t.Errorf("%q, %+v of %+v", l.Key, l.Current, l.File)
			}
			out = append(out, l.Key)
		}
		return out
	}
	if got := list(nil); !slices.Equal(got, all) {
		s.t.Errorf("%q, want %q", got, all)
	}
	// What a range selects is what the paths themselves say.
	afters := append([]string{"", "0", "d", "d/", "d/\xff", "zz", "\xff"}, all...)
	for _, prefix := range []string{"", "a", "d", "d/", "d/e", "d0", "none", "z", "\xff"} {
		for _, after := range afters {
			for _, r := range []manifest.Range{{}, {Bare: true}, {Reverse: true}, {Bare: true, Reverse: true}} {
				var want []string
				for _, p := range all {
					if strings.HasPrefix(p, prefix) && (after == "" || p > after && !r.Reverse || p < after && r.Reverse) {
						want = append(want, p)
					}
				}
				if r.Reverse {
					slices.Reverse(want)
				}
				r.Prefix, r.After = prefix, after
				if got := list(&r); !slices.Equal(got, want) {
					s.t.Errorf("%+v: %q, want %q", r, got, want)
				}
			}
		}
	}
	if got := list(&manifest.Range{State: manifest.Trashed}); len(got) != 0 {
		s.t.Errorf("trash: %q", got)
	}
}

// counter tests that concurrent updates have the result of consecutive ones.
func (s *suite) counter() {
	f := s.addFile("", "f", 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error {
					f, err := tx.File(s.ctx, f.ID)
					if err != nil {
						return err
					}
					f.LastVersion++
					return tx.PutFile(s.ctx, f)
				})
				if err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := s.s.File(s.ctx, f.ID); err != nil || got.LastVersion != 161 {
		s.t.Errorf("%+v, %v", got, err)
	}
}

// testRestore tests that records have the same result in every order.
func (s *suite) testRestore() {
	f, m := newFile("d", "f", 5)
	newer := *f
	newer.Name, newer.Revision = "g", 7
	f.Revision = 3
	p, pm := newFile("", "purged", 5)
	p.Revision = 9
	rs := []manifest.Record{{File: &newer}, {File: f}, {Manifest: m}, {Purged: p.ID}, {File: p}, {Manifest: pm}}
	for range 3 {
		for i := range rs {
			if err := s.s.Restore(s.ctx, uint64(i+1), rs[i:i+1]); err != nil {
				s.t.Fatal(err)
			}
		}
		slices.Reverse(rs)
	}
	if err := s.s.Reindex(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.restart()
	if got, err := s.s.FileByPath(s.ctx, "b", "d/g"); err != nil || got.Revision != 7 {
		s.t.Errorf("%+v, %v", got, err)
	}
	_, err := s.s.FileByPath(s.ctx, "b", "d/f")
	s.checkGone("the older row", err)
	_, err = s.s.File(s.ctx, p.ID)
	s.checkGone("what was purged", err)
	_, err = s.s.Manifest(s.ctx, pm.ID)
	s.checkGone("a version of what was purged", err)
	s.usage(manifest.Usage{Files: 1, Versions: 1, Bytes: 5, Chunks: 1})
}

// testMarks tests that Marks yields what was removed for good, also by Restore.
func (s *suite) testMarks() {
	f, g := s.addFile("", "f", 1), s.addFile("", "g", 1)
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.DropManifests(s.ctx, []manifest.VersionID{f.Current}, day), tx.PutFile(s.ctx, f))
	})
	s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, g.ID, day) })
	other := manifest.NewFileID()
	if err := s.s.Restore(s.ctx, s.lastCommit(), []manifest.Record{{Purged: other}}); err != nil {
		s.t.Fatal(err)
	}
	if err := s.s.Reindex(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.restart()
	got := make(map[string]bool)
	for r, err := range s.s.Marks(s.ctx) {
		if err != nil {
			s.t.Fatal(err)
		}
		got[string(r.Purged)+"/"+string(r.Dropped)] = true
	}
	want := map[string]bool{"/" + string(f.Current): true, string(g.ID) + "/": true, string(other) + "/": true}
	if !maps.Equal(got, want) {
		s.t.Errorf("marks %v, want %v", got, want)
	}
}

func (s *suite) testSegments() {
	var segs []manifest.Segment
	var ds []cas.Digest
	for i := range 50 {
		p := fmt.Appendf(nil, "segment %d", i)
		segs = append(segs, manifest.Segment{Digest: cas.SumSegment(p), Data: p})
		ds = append(ds, segs[i].Digest)
	}
	have := func(domain string, want func(i int) bool) {
		s.t.Helper()
		got, err := s.s.Segments(domain).Segments(s.ctx, ds)
		if err != nil || len(got) != len(ds) {
			s.t.Fatalf("%d segments of %d, %v", len(got), len(ds), err)
		}
		for i, p := range got {
			if want(i) && string(p) != string(segs[i].Data) || !want(i) && p != nil {
				s.t.Errorf("domain %s: segment %d is %q", domain, i, p)
			}
		}
	}
	have(domain, func(int) bool { return false })
	for _, part := range [][]manifest.Segment{nil, segs[:20], segs[10:40]} { // some segments twice
		if err := s.s.Segments(domain).PutSegments(s.ctx, part); err != nil {
			s.t.Fatal(err)
		}
	}
	s.addFile("", "f", 1) // its commit makes the segments durable
	s.restart()
	have(domain, func(i int) bool { return i < 40 })
	have("y", func(int) bool { return false })
	if got, err := s.s.Segments(domain).Segments(s.ctx, nil); err != nil || len(got) != 0 {
		s.t.Errorf("no segments: %q, %v", got, err)
	}
}

func (s *suite) testBuckets() {
	s.addFile("", "f", 1)
	if got, err := s.s.Buckets(s.ctx); err != nil || !slices.Equal(got, []string{"b"}) {
		s.t.Errorf("buckets %q, %v", got, err)
	}
}
