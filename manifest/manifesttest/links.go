package manifesttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// A linkModel is what a store is to have of links: plain rows.
type linkModel struct {
	rnd      *rand.Rand
	links    map[manifest.LinkID]*manifest.Link
	events   map[manifest.FileID]bool
	hosts    map[string]*manifest.Host
	versions map[manifest.VersionID]manifest.FileID
	files    []manifest.FileID
}

// Names that links have. Some are long, some have no characters, one has a zero.
func linkHosts() []string       { return []string{"alyx", "alyx2", "h"} }
func linkBuckets() []string     { return []string{"b", "bb", "c"} }
func linkCollections() []string { return []string{"posts", "p", ""} }
func linkRecords() []string {
	return []string{"1", "osts1", "a\x00b", strings.Repeat("long ", 1000), "\xff\xfe"}
}
func linkPrincipals() []string { return []string{"user:ann", "user:bob", "", "\x00"} }

// newLinkModel returns a model without links. Its random choices are new in each
// run; CAIRN_SEED repeats a run.
func (s *suite) newLinkModel() *linkModel {
	s.t.Helper()
	seed := rand.Uint64()
	if env := os.Getenv("CAIRN_SEED"); env != "" {
		n, err := strconv.ParseUint(env, 10, 64)
		s.failOn(err)
		seed = n
	}
	s.t.Logf("CAIRN_SEED=%d", seed)
	m := &linkModel{rnd: rand.New(rand.NewPCG(seed, 0)), links: make(map[manifest.LinkID]*manifest.Link), events: make(map[manifest.FileID]bool),
		hosts: make(map[string]*manifest.Host), versions: make(map[manifest.VersionID]manifest.FileID)}
	for i := range 8 {
		id := manifest.FileID(newIDOf(m.rnd, "f_"))
		if i%3 == 1 {
			id = newUUID(m.rnd)
		}
		m.files = append(m.files, id)
		m.versions[manifest.VersionID(newIDOf(m.rnd, "m_"))] = id
		m.versions[manifest.VersionID(newIDOf(m.rnd, "m_"))] = id
	}
	return m
}

// newIDOf returns a random ID: 22 bytes in base 32, whose last character stands
// for one bit.
func newIDOf(rnd *rand.Rand, prefix string) string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	id := []byte(prefix)
	for range 35 {
		id = append(id, digits[rnd.IntN(32)])
	}
	return string(append(id, digits[16*rnd.IntN(2)]))
}

// newUUID returns the ID of a file that came from another system.
func newUUID(rnd *rand.Rand) manifest.FileID {
	a, b := rnd.Uint64(), rnd.Uint64()
	return manifest.FileID(fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&(1<<48-1)))
}

func pickOne[E any](rnd *rand.Rand, of []E) E { return of[rnd.IntN(len(of))] }

func (m *linkModel) newLink() *manifest.Link {
	l := &manifest.Link{ID: manifest.LinkID(newIDOf(m.rnd, "l_")), Host: pickOne(m.rnd, linkHosts()), Session: m.rnd.Uint64N(3), Bucket: pickOne(m.rnd, linkBuckets()),
		File: pickOne(m.rnd, m.files), Collection: pickOne(m.rnd, linkCollections()), Record: pickOne(m.rnd, linkRecords()),
		Field: "cover", Who: pickOne(m.rnd, linkPrincipals())}
	if m.rnd.IntN(2) == 0 {
		l.Version = pickOne(m.rnd, m.versionIDs())
		l.File = m.versions[l.Version]
	}
	m.changeLink(l)
	return l
}

func (m *linkModel) changeLink(l *manifest.Link) {
	l.State, l.OnDelete = manifest.LinkState(m.rnd.IntN(4)), manifest.OnDelete(m.rnd.IntN(4))
	l.Due, l.At = m.rnd.IntN(4) == 0, day.Add(time.Duration(m.rnd.IntN(20))*time.Second)
}

func (m *linkModel) newHost() *manifest.Host {
	h := &manifest.Host{Name: pickOne(m.rnd, linkHosts()), ID: [16]byte{1, byte(m.rnd.Uint32())}, Session: m.rnd.Uint64N(1000), Unreconciled: m.rnd.IntN(2) == 0,
		Buckets: []string{"b", "c"}, Fields: []byte("fields")}
	h.Offered, h.Live = h.Session+1, []uint64{h.Session, h.Session + 1}
	return h
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *linkModel) versionIDs() []manifest.VersionID { return sortedKeys(m.versions) }

// sortedLinks returns the links that keep says, in order of IDs.
func (m *linkModel) sortedLinks(keep func(*manifest.Link) bool) (out []*manifest.Link) {
	for _, id := range sortedKeys(m.links) {
		if keep(m.links[id]) {
			out = append(out, m.links[id])
		}
	}
	return out
}

func stands(l *manifest.Link) bool { return l.State.Stands() }

func hasEnded(l *manifest.Link) bool { return !l.State.Stands() }

func isUnlisted(l *manifest.Link) bool { return !l.IsListed() }

// clone returns the model as it is now.
func (m *linkModel) clone() *linkModel {
	c := *m
	c.links, c.events, c.hosts = make(map[manifest.LinkID]*manifest.Link), make(map[manifest.FileID]bool), make(map[string]*manifest.Host)
	for id, l := range m.links {
		row := *l
		c.links[id] = &row
	}
	for id := range m.events {
		c.events[id] = true
	}
	for name, h := range m.hosts {
		c.hosts[name] = h
	}
	return &c
}

// A linkStep makes a change in a transaction.
type linkStep func(ctx context.Context, tx manifest.Tx) error

// nextStep makes a random change of the model, and returns it as a step for the
// store, with the row of a link that it puts.
func (m *linkModel) nextStep() (linkStep, *manifest.Link) {
	switch n := m.rnd.IntN(20); {
	case n < 8 || len(m.links) == 0:
		return m.putStep(m.newLink())
	case n < 13:
		l := *m.links[pickOne(m.rnd, sortedKeys(m.links))]
		m.changeLink(&l)
		return m.putStep(&l)
	case n < 15:
		ids := []manifest.LinkID{manifest.NewLinkID()}
		for _, l := range m.sortedLinks(hasEnded) {
			if m.rnd.IntN(8) == 0 {
				ids = append(ids, l.ID)
				delete(m.links, l.ID)
			}
		}
		return func(ctx context.Context, tx manifest.Tx) error { return tx.DropLinks(ctx, ids) }, nil
	case n < 17:
		id := pickOne(m.rnd, m.files)
		m.events[id] = true
		return func(ctx context.Context, tx manifest.Tx) error { return tx.PutLinkEvent(ctx, id) }, nil
	case n < 18:
		id := pickOne(m.rnd, m.files)
		delete(m.events, id)
		return func(ctx context.Context, tx manifest.Tx) error { return tx.DropLinkEvent(ctx, id) }, nil
	case n < 19:
		h := m.newHost()
		m.hosts[h.Name] = h
		return func(ctx context.Context, tx manifest.Tx) error { return tx.PutHost(ctx, h) }, nil
	}
	name := pickOne(m.rnd, linkHosts())
	delete(m.hosts, name)
	return func(ctx context.Context, tx manifest.Tx) error { return tx.DropHost(ctx, name) }, nil
}

func (m *linkModel) putStep(l *manifest.Link) (linkStep, *manifest.Link) {
	before := *l
	l.Revision++
	m.links[l.ID] = l
	return func(ctx context.Context, tx manifest.Tx) error {
		row := before
		if err := tx.PutLink(ctx, &row); err != nil {
			return err
		}
		if row != *l {
			return fmt.Errorf("PutLink made %+v of the row, want %+v", row, *l)
		}
		return nil
	}, l
}

// testLinks tests that every read method says what the rows of a plain model say,
// after random changes, in transactions that end well and in others.
func (s *suite) testLinks() {
	m := s.newLinkModel()
	tooFew := func() bool { return len(m.sortedLinks(stands)) < 10 || len(m.sortedLinks(hasEnded)) < 10 }
	for round := 0; round < 120 || round < 480 && tooFew(); round++ {
		next := m.clone()
		var steps []linkStep
		var put []manifest.Link
		for range 1 + m.rnd.IntN(6) {
			step, l := next.nextStep()
			steps = append(steps, step)
			if l != nil {
				put = append(put, *l)
			}
		}
		fn := func(tx manifest.Tx) error {
			for _, step := range steps {
				if err := step(s.ctx, tx); err != nil {
					return err
				}
			}
			if round%30 == 29 {
				s.checkLinks("in a transaction", tx, next)
			}
			return nil
		}
		if round%5 == 4 {
			_, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error { return errors.Join(fn(tx), errGivenUp) })
			if !errors.Is(err, errGivenUp) {
				s.t.Fatal(err)
			}
		} else {
			s.checkLinkRecords(s.update(fn), put)
			m = next
		}
		switch {
		case round == 60:
			s.restart()
		case round == 90:
			s.failOn(s.s.Reindex(s.ctx))
		}
		if round%15 == 14 {
			s.checkLinks(fmt.Sprint("after round ", round), s.s, m)
			s.checkAllLinks(m)
		}
	}
	if tooFew() {
		s.t.Errorf("the test has made too few links: %d stand, %d ended", len(m.sortedLinks(stands)), len(m.sortedLinks(hasEnded)))
	}
}

// checkLinkRecords checks that a commit has records of the links that it has put,
// and no others.
func (s *suite) checkLinkRecords(c *manifest.Commit, put []manifest.Link) {
	s.t.Helper()
	if c == nil {
		if len(put) > 0 {
			s.t.Fatalf("%d links were put, and there is no commit", len(put))
		}
		return
	}
	rs, err := c.Records()
	if err != nil || len(rs) != len(put) {
		s.t.Fatalf("%d records, %v, want %d", len(rs), err, len(put))
	}
	for i, r := range rs {
		if !reflect.DeepEqual(r, manifest.Record{Link: &put[i]}) {
			s.t.Errorf("record %d is %+v, want link %+v", i, r, put[i])
		}
	}
}

// sameLinks reports links that are not those of the model.
func (s *suite) sameLinks(what string, got, want []*manifest.Link) {
	s.t.Helper()
	if len(got) != len(want) {
		s.t.Fatalf("%s: %d links, want %d", what, len(got), len(want))
	}
	for i, l := range got {
		if *l != *want[i] {
			s.t.Fatalf("%s: link %d is %+v, want %+v", what, i, l, want[i])
		}
	}
}

// readPages reads a list in pages of limit.
func readPages[E any, K ~string](s *suite, limit int, read func(after K) ([]E, error), key func(E) K) (all []E) {
	s.t.Helper()
	for after := K(""); ; {
		page, err := read(after)
		s.failOn(err)
		if len(page) > limit {
			s.t.Fatalf("a page of %d, want at most %d", len(page), limit)
		}
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
		after = key(page[limit-1])
	}
}

func linkID(l *manifest.Link) manifest.LinkID { return l.ID }

// checkLinks compares all that the read methods say with the model.
func (s *suite) checkLinks(what string, ls manifest.Links, m *linkModel) {
	s.t.Helper()
	for id, want := range m.links {
		if got, err := ls.Link(s.ctx, id); err != nil || *got != *want {
			s.t.Fatalf("%s: link %+v, %v, want %+v", what, got, err, want)
		}
	}
	_, err := ls.Link(s.ctx, manifest.NewLinkID())
	s.checkGone(what+": a link that is missing", err)
	_, err = ls.Host(s.ctx, "none")
	s.checkGone(what+": a host that is missing", err)
	s.checkLinkSums(what, ls, m)
	for _, limit := range []int{2, 1000} {
		for _, id := range m.files {
			s.sameLinks(what+": of a file", readPages(s, limit, func(after manifest.LinkID) ([]*manifest.Link, error) {
				return ls.FileLinks(s.ctx, id, after, limit)
			}, linkID), m.sortedLinks(func(l *manifest.Link) bool { return l.File == id && l.IsListed() }))
		}
		for _, host := range linkHosts() {
			s.sameLinks(what+": of a host", readPages(s, limit, func(after manifest.LinkID) ([]*manifest.Link, error) {
				return ls.HostLinks(s.ctx, host, after, limit)
			}, linkID), m.sortedLinks(func(l *manifest.Link) bool { return l.Host == host && l.IsListed() }))
		}
		events := readPages(s, limit, func(after manifest.FileID) ([]manifest.FileID, error) {
			return ls.LinkEvents(s.ctx, after, limit)
		}, func(id manifest.FileID) manifest.FileID { return id })
		if !slices.Equal(events, sortedKeys(m.events)) {
			s.t.Errorf("%s: events %v, want %v", what, events, sortedKeys(m.events))
		}
	}
	for _, host := range linkHosts() {
		for _, collection := range linkCollections() {
			for _, record := range linkRecords() {
				key := manifest.RecordKey{Host: host, Collection: collection, Record: record}
				got, err := ls.RecordLinks(s.ctx, key)
				s.failOn(err)
				s.sameLinks(what+": of a record", got, m.sortedLinks(func(l *manifest.Link) bool {
					return l.Key() == key && l.State == manifest.LinkConfirmed
				}))
			}
		}
	}
	s.checkEndedLinks(what, ls, m)
	for _, who := range append(linkPrincipals(), "none") {
		want := m.sortedLinks(func(l *manifest.Link) bool { return l.Who == who && l.State == manifest.LinkPending })
		if n, err := ls.PendingLinks(s.ctx, who); err != nil || n != int64(len(want)) {
			s.t.Errorf("%s: %d pending links of %q, %v, want %d", what, n, who, err, len(want))
		}
	}
	hosts, err := ls.Hosts(s.ctx)
	if err != nil || len(hosts) != len(m.hosts) || !slices.IsSortedFunc(hosts, func(a, b *manifest.Host) int { return cmp.Compare(a.Name, b.Name) }) {
		s.t.Fatalf("%s: hosts %+v, %v, want %d", what, hosts, err, len(m.hosts))
	}
	for _, h := range hosts {
		one, err := ls.Host(s.ctx, h.Name)
		if err != nil || !reflect.DeepEqual(h, m.hosts[h.Name]) || !reflect.DeepEqual(one, h) {
			s.t.Errorf("%s: host %+v, and %+v, %v, want %+v", what, h, one, err, m.hosts[h.Name])
		}
	}
}

// sumReader has the read methods for sums of links.
type sumReader interface {
	FileLinkSums(ctx context.Context, ids []manifest.FileID) ([]manifest.LinkSums, error)
	VersionLinkSums(ctx context.Context, ids []manifest.VersionID) ([]manifest.LinkSums, error)
}

func (s *suite) checkLinkSums(what string, ls sumReader, m *linkModel) {
	s.t.Helper()
	files, versions := make(map[manifest.FileID]manifest.LinkSums), make(map[manifest.VersionID]manifest.LinkSums)
	for _, l := range m.links {
		sums := files[l.File]
		sums.Add(l, 1)
		files[l.File] = sums
		if l.Version != "" {
			sums := versions[l.Version]
			sums.Add(l, 1)
			versions[l.Version] = sums
		}
	}
	ids := append([]manifest.FileID{manifest.NewFileID(), m.files[0]}, m.files...)
	got, err := ls.FileLinkSums(s.ctx, ids)
	if err != nil || len(got) != len(ids) {
		s.t.Fatalf("%s: %d sums of files, %v, want %d", what, len(got), err, len(ids))
	}
	for i, id := range ids {
		if got[i] != files[id] {
			s.t.Errorf("%s: sums of file %s are %v, want %v", what, id, got[i], files[id])
		}
	}
	vids := append(m.versionIDs(), manifest.NewVersionID())
	got, err = ls.VersionLinkSums(s.ctx, vids)
	if err != nil || len(got) != len(vids) {
		s.t.Fatalf("%s: %d sums of versions, %v, want %d", what, len(got), err, len(vids))
	}
	for i, id := range vids {
		if got[i] != versions[id] {
			s.t.Errorf("%s: sums of version %s are %v, want %v", what, id, got[i], versions[id])
		}
	}
	if none, err := ls.FileLinkSums(s.ctx, nil); err != nil || len(none) != 0 {
		s.t.Errorf("%s: sums of no files: %v, %v", what, none, err)
	}
}

// checkEndedLinks compares EndedLinks with the model. Links of one time may come
// in any order.
func (s *suite) checkEndedLinks(what string, ls manifest.Links, m *linkModel) {
	s.t.Helper()
	for _, bucket := range linkBuckets() {
		for _, before := range []time.Time{day, day.Add(10 * time.Second), day.Add(time.Hour)} {
			want := m.sortedLinks(func(l *manifest.Link) bool { return l.Bucket == bucket && !l.IsListed() && l.At.Before(before) })
			slices.SortStableFunc(want, func(a, b *manifest.Link) int { return a.At.Compare(b.At) })
			for _, limit := range []int{3, 1000} {
				got, err := ls.EndedLinks(s.ctx, bucket, before, limit)
				if err != nil || len(got) != min(limit, len(want)) {
					s.t.Fatalf("%s: %d links of %q ended, %v, want %d", what, len(got), bucket, err, min(limit, len(want)))
				}
				seen := make(map[manifest.LinkID]bool)
				for i, l := range got {
					if row := m.links[l.ID]; row == nil || *row != *l || seen[l.ID] || l.IsListed() || l.Bucket != bucket || !l.At.Equal(want[i].At) {
						s.t.Errorf("%s: link %d of %q is %+v, want one of %v", what, i, bucket, l, want[i].At)
					}
					seen[l.ID] = true
				}
			}
		}
	}
}

func (s *suite) checkAllLinks(m *linkModel) {
	s.t.Helper()
	for _, bucket := range append(linkBuckets(), "none", "") {
		s.sameLinks("all links", collectAll(s, s.s.AllLinks(s.ctx, bucket)), m.sortedLinks(func(l *manifest.Link) bool {
			return bucket == "" || l.Bucket == bucket
		}))
	}
}
