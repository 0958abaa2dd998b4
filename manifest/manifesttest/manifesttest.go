// Package manifesttest checks implementations of manifest.Store.
package manifesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

const domain = "x"

// Run checks an implementation. open returns an empty store; reopen returns
// the same one after a restart.
func Run(t *testing.T, open func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store) {
	for name, test := range map[string]func(*suite){
		"Rows": (*suite).rows, "Conflict": (*suite).conflict, "Rollback": (*suite).rollback, "Listing": (*suite).listing,
		"Outbox": (*suite).outbox, "Counter": (*suite).counter, "Restore": (*suite).restore, "Segments": (*suite).segments,
		"Numbers": (*suite).numbers, "TooLarge": (*suite).tooLarge,
		"Values": (*suite).values, "Homes": (*suite).homes, "Marks": (*suite).marks,
		"Uploads": (*suite).uploads, "UploadEnds": (*suite).uploadEnds, "UploadLists": (*suite).uploadLists,
		"UploadSweep": (*suite).uploadSweep, "WhileYielding": (*suite).whileYielding, "Grants": (*suite).grants,
		"GrantUses": (*suite).grantUses, "GrantSweeps": (*suite).grantSweeps, "Keys": (*suite).keys,
		"Receipts": (*suite).receipts, "Onces": (*suite).onces, "Identity": (*suite).identity,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{t, t.Context(), Twice(open(t)), reopen}) })
	}
}

type suite struct {
	t      *testing.T
	ctx    context.Context
	s      manifest.Store
	reopen func(t *testing.T, s manifest.Store) manifest.Store
}

func (s *suite) restart() { s.s = Twice(s.reopen(s.t, s.s)) }

func (s *suite) update(fn func(tx manifest.Tx) error) *manifest.Commit {
	s.t.Helper()
	c, err := s.s.Update(s.ctx, fn)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

var day = time.UnixMilli(1_700_000_000_000).UTC()

// file makes a file of one version, of n bytes.
func file(folder, name string, n int64) (*manifest.File, *manifest.Manifest) {
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Folder: folder, Name: name, LastVersion: 1, Versions: 1,
		TotalSize: n, TotalChunks: 1, CreatedAt: day, UpdatedAt: day}
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: 1, CreatedAt: day,
		Content: manifest.Content{Size: n, Chunker: "c", Chunks: 1, Inline: []cas.Ref{{Digest: cas.Sum(nil), Length: uint32(n)}}}}
	f.Current = m.ID
	return f, m
}

func (s *suite) add(folder, name string, n int64) *manifest.File {
	s.t.Helper()
	f, m := file(folder, name, n)
	s.update(func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		return tx.PutFile(s.ctx, domain, f)
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

func (s *suite) gone(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("%s: %v, want fs.ErrNotExist", what, err)
	}
}

func (s *suite) rows() {
	f := s.add("d", "f", 10)
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
	s.gone("version 2", err)
	_, err = s.s.FileByPath(s.ctx, "b", "d")
	s.gone("a folder", err)
	_, err = s.s.FileByPath(s.ctx, "c", "d/f")
	s.gone("another bucket", err)
	s.usage(manifest.Usage{Files: 1, Versions: 1, Bytes: 10, Chunks: 1})

	got.State, got.DeletedAt = manifest.Trashed, day
	s.update(func(tx manifest.Tx) error { return tx.PutFile(s.ctx, domain, got) })
	_, err = s.s.FileByPath(s.ctx, "b", "d/f")
	s.gone("what is in the trash", err)
	s.usage(manifest.Usage{TrashedFiles: 1, TrashedVersions: 1, TrashedBytes: 10, TrashedChunks: 1})

	s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, domain, f.ID) })
	_, err = s.s.File(s.ctx, f.ID)
	s.gone("purged", err)
	_, err = s.s.Manifest(s.ctx, f.Current)
	s.gone("version of the purged", err)
	s.usage(manifest.Usage{})
}

func (s *suite) conflict() {
	a := s.add("", "f", 1)
	f, m := file("", "f", 1)
	put := func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		return tx.PutFile(s.ctx, domain, f)
	}
	if _, err := s.s.Update(s.ctx, put); !errors.Is(err, manifest.ErrConflict) {
		s.t.Fatalf("two files at one path: %v", err)
	}
	_, err := s.s.Manifest(s.ctx, m.ID)
	s.gone("what a failed update wrote", err)
	s.update(func(tx manifest.Tx) error { // a renamed file makes room in the same transaction
		a, err := tx.File(s.ctx, a.ID)
		if err != nil {
			return err
		}
		a.Name = "g"
		if err := tx.PutFile(s.ctx, domain, a); err != nil {
			return err
		}
		return put(tx)
	})
	if got, err := s.s.FileByPath(s.ctx, "b", "f"); err != nil || got.ID != f.ID {
		s.t.Errorf("%+v, %v", got, err)
	}
}

func (s *suite) rollback() {
	before, failure := s.s.LastSeq(), errors.New("no")
	f, m := file("", "f", 1)
	c, err := s.s.Update(s.ctx, func(tx manifest.Tx) error {
		if err := tx.PutManifest(s.ctx, m); err != nil {
			return err
		}
		if err := tx.PutFile(s.ctx, domain, f); err != nil {
			return err
		}
		if got, err := tx.FileByPath(s.ctx, "b", "f"); err != nil || got.ID != f.ID {
			s.t.Errorf("a transaction does not see its own writes: %+v, %v", got, err)
		}
		return failure
	})
	if c != nil || err != failure || s.s.LastSeq() != before {
		s.t.Errorf("%+v, %v", c, err)
	}
	_, err = s.s.File(s.ctx, f.ID)
	s.gone("after an error", err)
	s.usage(manifest.Usage{})
	if c := s.update(func(manifest.Tx) error { return nil }); c != nil {
		s.t.Errorf("a commit of nothing: %+v", c)
	}
}

func (s *suite) listing() {
	var want []string
	for _, p := range [][2]string{{"", "a"}, {"d", "a"}, {"d", "b"}, {"d/e", "a"}, {"", "d-"}, {"", "z"}} {
		want = append(want, s.add(p[0], p[1], 1).Path())
	}
	slices.Sort(want)
	list := func(r *manifest.Range) (out []string) {
		s.t.Helper()
		for f, err := range s.s.Files(s.ctx, "b", r) {
			if err != nil {
				s.t.Fatal(err)
			}
			out = append(out, f.Path())
		}
		return out
	}
	if got := list(nil); !slices.Equal(got, want) {
		s.t.Errorf("%q, want %q", got, want)
	}
	for i, p := range want {
		if got := list(&manifest.Range{After: p}); !slices.Equal(got, want[i+1:]) {
			s.t.Errorf("after %q: %q", p, got)
		}
	}
	if got := list(&manifest.Range{Prefix: "d/", After: "d/a"}); !slices.Equal(got, []string{"d/b", "d/e/a"}) {
		s.t.Errorf("below d: %q", got)
	}
	if got := list(&manifest.Range{State: manifest.Trashed}); len(got) != 0 {
		s.t.Errorf("trash: %q", got)
	}
}

func (s *suite) unwritten() (seqs []uint64) {
	s.t.Helper()
	for c, err := range s.s.Unwritten(s.ctx) {
		if err != nil {
			s.t.Fatal(err)
		}
		seqs = append(seqs, c.Seq)
	}
	return seqs
}

func (s *suite) outbox() {
	var cs []*manifest.Commit
	for _, name := range []string{"a", "b", "c"} {
		f, m := file("", name, 1)
		cs = append(cs, s.update(func(tx manifest.Tx) error {
			if err := tx.PutManifest(s.ctx, m); err != nil {
				return err
			}
			return tx.PutFile(s.ctx, domain, f)
		}))
	}
	first := cs[0].Seq
	rs, err := cs[0].Records()
	if cs[1].Seq <= first || cs[2].Seq <= cs[1].Seq || s.s.LastSeq() != cs[2].Seq || cs[1].Prev != first || cs[2].Prev != cs[1].Seq ||
		err != nil || len(rs) != 2 || cs[0].Domain != domain {
		s.t.Errorf("commits %+v", cs)
	}
	if err := s.s.Written(s.ctx, cs[1]); err != nil {
		s.t.Fatal(err)
	}
	s.restart()
	got := s.unwritten()
	if !slices.Contains(got, first) || !slices.Contains(got, cs[2].Seq) || !slices.IsSorted(got) {
		s.t.Errorf("unwritten after a restart: %d", got)
	}
	for c, err := range s.s.Unwritten(s.ctx) { // as Update returned it
		if err != nil || c.Seq == first && !reflect.DeepEqual(c, cs[0]) {
			s.t.Errorf("%+v came back as %+v, %v", cs[0], c, err)
		}
	}
	if s.s.LastSeq() < cs[2].Seq {
		s.t.Errorf("numbers are given twice: the last is %d", s.s.LastSeq())
	}
	for _, c := range cs {
		if err := s.s.Written(s.ctx, c); err != nil {
			s.t.Fatal(err)
		}
	}
	if got := s.unwritten(); len(got) != 0 {
		s.t.Errorf("unwritten: %d", got)
	}
}

// numbers are never given twice, whatever takes them and however the store ends.
func (s *suite) numbers() {
	last, lastCommit := s.s.LastSeq(), s.s.LastSeq()
	given := func(seq uint64) {
		s.t.Helper()
		if seq <= last {
			s.t.Errorf("number %d is given after %d", seq, last)
		}
		last = seq
	}
	commit := func() {
		s.t.Helper()
		f, m := file("", fmt.Sprint("f", last), 1)
		c := s.update(func(tx manifest.Tx) error {
			return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, domain, f))
		})
		if c.Prev != lastCommit {
			s.t.Errorf("commit %d follows commit %d, it says %d", c.Seq, lastCommit, c.Prev)
		}
		given(c.Seq)
		if lastCommit = c.Seq; s.s.LastSeq() != last {
			s.t.Errorf("the last commit is %d, want %d", s.s.LastSeq(), last)
		}
		if err := s.s.Written(s.ctx, c); err != nil { // nothing is left in the outbox
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
	}
	restart := func() {
		s.restart()
		if lastCommit = s.s.LastSeq(); lastCommit < last {
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
	last += 1000 // of a commit in the packs that the store has never seen
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

// tooLarge: a change beyond the bound of a commit is none.
func (s *suite) tooLarge() {
	before := s.s.LastSeq()
	big, m := file("", "big", 1)
	big.Metadata = bytes.Repeat([]byte{'x'}, manifest.MaxRecord)
	tests := map[string]func(tx manifest.Tx) error{
		"record": func(tx manifest.Tx) error {
			return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, domain, big))
		},
		"commit": func(tx manifest.Tx) error {
			for i := range manifest.MaxCommit/(manifest.MaxRecord/2) + 1 {
				f, m := file("", fmt.Sprint(i), 1)
				f.Metadata = big.Metadata[:manifest.MaxRecord/2]
				if err := errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, domain, f)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for name, fn := range tests {
		if c, err := s.s.Update(s.ctx, fn); !errors.Is(err, manifest.ErrTooLarge) || c != nil {
			s.t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	s.restart()
	_, err := s.s.FileByPath(s.ctx, "b", "big")
	s.gone("what was too large", err)
	_, err = s.s.FileByPath(s.ctx, "b", "0")
	s.gone("a part of what was too large", err)
	if got := s.unwritten(); len(got) != 0 || s.s.LastSeq() < before {
		s.t.Errorf("unwritten: %d", got)
	}
	s.usage(manifest.Usage{})
	// What fits is written, whatever it holds.
	r := rand.NewChaCha8([32]byte{})
	c := s.update(func(tx manifest.Tx) error {
		for i := range 40 {
			f, m := file("", fmt.Sprint(i), 1)
			f.Metadata = make([]byte, manifest.MaxRecord-4096)
			r.Read(f.Metadata)
			if err := errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, domain, f)); err != nil {
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

// counter: updates side by side are as if one after the other.
func (s *suite) counter() {
	f := s.add("", "f", 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := s.s.Update(s.ctx, func(tx manifest.Tx) error {
					f, err := tx.File(s.ctx, f.ID)
					if err != nil {
						return err
					}
					f.LastVersion++
					return tx.PutFile(s.ctx, domain, f)
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

// restore replays records in several orders and expects the same rows.
func (s *suite) restore() {
	f, m := file("d", "f", 5)
	newer := *f
	newer.Name, newer.Revision = "g", 7
	f.Revision = 3
	p, pm := file("", "purged", 5)
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
	s.gone("the older row", err)
	_, err = s.s.File(s.ctx, p.ID)
	s.gone("what was purged", err)
	_, err = s.s.Manifest(s.ctx, pm.ID)
	s.gone("a version of what was purged", err)
	s.usage(manifest.Usage{Files: 1, Versions: 1, Bytes: 5, Chunks: 1})
}

// homes are records alone, and survive as such.
func (s *suite) homes() {
	want := &manifest.Home{Bucket: "b", Move: 3, From: "x"}
	c := s.update(func(tx manifest.Tx) error { return tx.PutHome(s.ctx, domain, want) })
	s.restart()
	for got, err := range s.s.Unwritten(s.ctx) {
		if err != nil || c == nil || got.Seq != c.Seq || got.Domain != domain {
			s.t.Fatalf("%+v, %v, want %+v", got, err, c)
		}
		rs, err := got.Records()
		if err != nil || len(rs) != 1 || !reflect.DeepEqual(rs[0].Home, want) {
			s.t.Errorf("records %+v, %v", rs, err)
		}
		return
	}
	s.t.Error("the record is not to be written")
}

// marks tell what is gone for good, also what was replayed.
func (s *suite) marks() {
	f, g := s.add("", "f", 1), s.add("", "g", 1)
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.DropManifest(s.ctx, f.Current), tx.PutFile(s.ctx, domain, f))
	})
	s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, domain, g.ID) })
	other := manifest.NewFileID()
	if err := s.s.Restore(s.ctx, s.s.LastSeq(), []manifest.Record{{Purged: other}}); err != nil {
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

func (s *suite) segments() {
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
	for _, part := range [][]manifest.Segment{nil, segs[:20], segs[10:40]} { // some of them again
		if err := s.s.Segments(domain).PutSegments(s.ctx, part); err != nil {
			s.t.Fatal(err)
		}
	}
	s.add("", "f", 1) // whose commit makes them durable
	s.restart()
	have(domain, func(i int) bool { return i < 40 })
	have("y", func(int) bool { return false })
	if got, err := s.s.Segments(domain).Segments(s.ctx, nil); err != nil || len(got) != 0 {
		s.t.Errorf("no segments: %q, %v", got, err)
	}
}

func (s *suite) values() {
	put := func(kind, key, value string) func(manifest.Tx) error {
		return func(tx manifest.Tx) error { return tx.PutValue(s.ctx, kind, key, []byte(value)) }
	}
	keys := func(kind, prefix string) (out []string) {
		for v, err := range s.s.Values(s.ctx, kind, prefix) {
			if err != nil {
				s.t.Fatal(err)
			}
			out = append(out, v.Key+"="+string(v.Value))
		}
		return out
	}
	seq := s.s.LastSeq()
	for _, kv := range []string{"b2", "a", "b1", "c"} {
		if c := s.update(put("k", kv, "1")); c != nil {
			s.t.Errorf("a value made a commit: %+v", c)
		}
	}
	s.update(put("k2", "a", "2"))
	s.update(put("k", "a", "3"))
	s.update(func(tx manifest.Tx) error {
		if v, err := tx.Value(s.ctx, "k", "a"); err != nil || string(v) != "3" {
			s.t.Errorf("in a transaction: %q, %v", v, err)
		}
		if err := errors.Join(tx.PutValue(s.ctx, "k", "new", nil), tx.DropValue(s.ctx, "k", "b2")); err != nil {
			return err
		}
		at, err := tx.ValuesAt(s.ctx, "k", []string{"new", "b1", "b2", "a", "aa", "", "a"})
		if got := fmt.Sprintf("%q", at); err != nil || got != `["" "1" "" "3" "" "" "3"]` || at[0] == nil || at[2] != nil || at[5] != nil {
			s.t.Errorf("at keys, in a transaction: %s, %v", got, err)
		}
		var inside []string
		for v, err := range tx.Values(s.ctx, "k", "") {
			if err != nil {
				return err
			}
			inside = append(inside, v.Key)
		}
		if !slices.Equal(inside, []string{"a", "b1", "c", "new"}) {
			s.t.Errorf("values in a transaction: %q", inside)
		}
		return errors.Join(tx.PutValue(s.ctx, "k", "b2", []byte("1")), tx.DropValue(s.ctx, "k", "new"), tx.DropValue(s.ctx, "k", "c"))
	})
	failed := errors.New("failed")
	_, err := s.s.Update(s.ctx, func(tx manifest.Tx) error {
		return errors.Join(tx.PutValue(s.ctx, "k", "d", nil), failed)
	})
	if !errors.Is(err, failed) || s.s.LastSeq() != seq {
		s.t.Errorf("%v", err)
	}
	s.restart()
	many := []string{"b", "a"}
	for i := range 1000 {
		many = append(many, fmt.Sprint("none ", i))
	}
	for _, keys := range [][]string{{"b", "a", "none"}, many} { // few are looked up in another way
		if at, err := s.s.ValuesAt(s.ctx, "k", append(keys, "b2")); err != nil || len(at) != len(keys)+1 || at[0] != nil || string(at[1]) != "3" || at[2] != nil || string(at[len(keys)]) != "1" {
			s.t.Errorf("at %d keys: %q, %v", len(keys), at, err)
		}
	}
	if got := keys("k", ""); !slices.Equal(got, []string{"a=3", "b1=1", "b2=1"}) {
		s.t.Errorf("values %q", got)
	}
	if got := keys("k", "b"); !slices.Equal(got, []string{"b1=1", "b2=1"}) {
		s.t.Errorf("values of a prefix %q", got)
	}
	if _, err := s.s.Value(s.ctx, "k", "c"); !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("a dropped value: %v", err)
	}
	s.add("", "f", 1)
	if got, err := s.s.Buckets(s.ctx); err != nil || !slices.Equal(got, []string{"b"}) {
		s.t.Errorf("buckets %q, %v", got, err)
	}
}
