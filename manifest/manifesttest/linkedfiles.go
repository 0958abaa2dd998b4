package manifesttest

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func (s *suite) putLinks(ls ...*manifest.Link) *manifest.Commit {
	s.t.Helper()
	return s.update(func(tx manifest.Tx) error {
		for _, l := range ls {
			row := *l
			if err := tx.PutLink(s.ctx, &row); err != nil {
				return err
			}
		}
		return nil
	})
}

// restoreLinks tests that rows of links have the same result in every order, any
// number of times, and that Reindex makes their lists and sums, but no events.
func (s *suite) restoreLinks() {
	m := s.newLinkModel()
	var rs []manifest.Record
	for range 60 {
		l := m.newLink()
		for range 1 + m.rnd.IntN(5) {
			l.Revision += 1 + m.rnd.Uint64N(3)
			m.changeLink(l)
			row := *l
			rs = append(rs, manifest.Record{Link: &row})
		}
		m.links[l.ID] = l
	}
	f, v := newFile("", "f", 1)
	f.Revision = 1
	rs = append(rs, manifest.Record{File: f}, manifest.Record{Manifest: v})
	for range 3 {
		m.rnd.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		for part := range slices.Chunk(rs, 1+m.rnd.IntN(len(rs))) {
			s.failOn(s.s.Restore(s.ctx, 5, part))
		}
	}
	s.failOn(s.s.Reindex(s.ctx))
	s.restart()
	s.checkLinks("restored", s.s, m)
	s.checkAllLinks(m)
	// What was restored changes and goes as what was put.
	next := m.clone()
	s.update(func(tx manifest.Tx) error {
		next = m.clone()
		for _, l := range next.sortedLinks(hasEnded)[:5] {
			delete(next.links, l.ID)
			if err := tx.DropLinks(s.ctx, []manifest.LinkID{l.ID}); err != nil {
				return err
			}
		}
		for _, l := range next.sortedLinks(stands)[:5] {
			l.State = manifest.LinkReleased
			if err := tx.PutLink(s.ctx, l); err != nil {
				return err
			}
		}
		next.events[next.files[0]] = true
		return tx.PutLinkEvent(s.ctx, next.files[0])
	})
	s.checkLinks("changed after it was restored", s.s, next)
	s.failOn(s.s.Reindex(s.ctx))
	s.checkLinks("indexed again", s.s, next)
}

// linksStand tests that a link that stands is not dropped, that what is dropped
// twice or missing is no error, and that a link without a domain's packs is one.
func (s *suite) linksStand() {
	m := s.newLinkModel()
	for state := range manifest.LinkState(4) {
		l := m.newLink()
		l.State = state
		m.putStep(l)
		row := *l
		row.Revision = 0
		s.putLinks(&row)
		drop := func(tx manifest.Tx) error {
			return errors.Join(tx.DropLinks(s.ctx, nil), tx.DropLinks(s.ctx, []manifest.LinkID{manifest.NewLinkID(), l.ID, l.ID}))
		}
		c, err := s.s.Update(s.ctx, domain, drop)
		if refused := err != nil; refused != state.Stands() || c != nil {
			s.t.Errorf("drop of a link that is %s: %+v, %v", state, c, err)
		}
		if err == nil {
			delete(m.links, l.ID)
			s.update(drop)
		}
	}
	s.checkLinks("after drops", s.s, m)
	if _, err := s.s.Update(s.ctx, "", func(tx manifest.Tx) error { return tx.PutLink(s.ctx, m.newLink()) }); err == nil {
		s.t.Error("a link was put without a domain")
	}
	// What makes no records needs no domain.
	h := m.newHost()
	m.hosts[h.Name], m.events[m.files[0]] = h, true
	c, err := s.s.Update(s.ctx, "", func(tx manifest.Tx) error {
		return errors.Join(tx.PutHost(s.ctx, h), tx.DropHost(s.ctx, "none"), tx.PutLinkEvent(s.ctx, m.files[0]),
			tx.PutLinkEvent(s.ctx, m.files[0]), tx.DropLinkEvent(s.ctx, m.files[1]), tx.DropLinkEvent(s.ctx, m.files[1]))
	})
	if err != nil || c != nil {
		s.t.Errorf("%+v, %v", c, err)
	}
	s.restart()
	s.checkLinks("after a restart", s.s, m)
}

// concurrentLinks tests that links which are put at once are all counted, and that
// readers meanwhile see only links that belong in a list.
func (s *suite) concurrentLinks() {
	m := s.newLinkModel()
	f, key := m.files[0], manifest.RecordKey{Host: "alyx", Collection: "posts", Record: "1"}
	var all []*manifest.Link
	for range 6 {
		l := m.newLink()
		l.File, l.Version, l.Host, l.Collection, l.Record = f, "", key.Host, key.Collection, key.Record
		all = append(all, l)
	}
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			byFile, err := s.s.FileLinks(s.ctx, f, "", 100)
			byRecord, rerr := s.s.RecordLinks(s.ctx, key)
			ended, eerr := s.s.EndedLinks(s.ctx, "b", day.Add(time.Hour), 100)
			if err := errors.Join(err, rerr, eerr); err != nil {
				s.t.Error(err)
			}
			if slices.ContainsFunc(byFile, isUnlisted) || slices.ContainsFunc(ended, (*manifest.Link).IsListed) ||
				slices.ContainsFunc(byRecord, func(l *manifest.Link) bool { return l.State != manifest.LinkConfirmed }) {
				s.t.Errorf("of a file %v, of a record %v, ended %v", linkStates(byFile), linkStates(byRecord), linkStates(ended))
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for _, l := range all {
		writers.Go(func() {
			for n := range 8 {
				_, err := s.s.Update(s.ctx, domain, func(tx manifest.Tx) error {
					row := *l
					row.State, row.OnDelete = manifest.LinkState(n%4), manifest.OnDelete(n%3)
					return tx.PutLink(s.ctx, &row)
				})
				herr := s.putSession("host")
				if err := errors.Join(err, herr); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	sums, err := s.s.FileLinkSums(s.ctx, []manifest.FileID{f})
	want := manifest.LinkSums{}
	want[manifest.LinkLetGo][manifest.Restrict] = int64(len(all))
	if err != nil || sums[0] != want {
		s.t.Errorf("sums %v, %v, want %v", sums, err, want)
	}
	if h, err := s.s.Host(s.ctx, "host"); err != nil || h.Session != uint64(8*len(all)) {
		s.t.Errorf("%+v, %v, want session %d", h, err, 8*len(all))
	}
}

func linkStates(ls []*manifest.Link) (states []manifest.LinkState) {
	for _, l := range ls {
		states = append(states, l.State)
	}
	return states
}

// putSession raises the session of a host, as its next opening does.
func (s *suite) putSession(name string) error {
	_, err := s.s.Update(s.ctx, "", func(tx manifest.Tx) error {
		h, err := tx.Host(s.ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			h, err = &manifest.Host{Name: name}, nil
		}
		if err != nil {
			return err
		}
		h.Session++
		return tx.PutHost(s.ctx, h)
	})
	return err
}

// allLinks tests that AllLinks yields the rows of one moment, whatever is written
// while it yields.
func (s *suite) allLinks() {
	m := s.newLinkModel()
	var rows []*manifest.Link
	for range 700 { // more than a page
		l := m.newLink()
		row := *l
		rows = append(rows, &row)
		m.putStep(l)
	}
	s.putLinks(rows...)
	for _, bucket := range []string{"", "b"} {
		want := m.clone()
		n := 0
		all := want.sortedLinks(func(l *manifest.Link) bool { return bucket == "" || l.Bucket == bucket })
		for l, err := range s.s.AllLinks(s.ctx, bucket) {
			s.failOn(err)
			if n == 0 {
				later, changed, ended := m.newLink(), *all[len(all)-1], m.sortedLinks(hasEnded)
				later.Bucket = "b"
				changed.Session++
				gone := ended[len(ended)-1].ID
				if gone == changed.ID {
					gone = ended[0].ID
				}
				s.update(func(tx manifest.Tx) error {
					a, b := *later, changed
					return errors.Join(tx.PutLink(s.ctx, &a), tx.PutLink(s.ctx, &b), tx.DropLinks(s.ctx, []manifest.LinkID{gone}))
				})
				m.putStep(later)
				m.putStep(&changed)
				delete(m.links, gone)
			}
			if n == len(all) || *l != *all[n] {
				s.t.Fatalf("link %d of %q is %+v, which is not as it was", n, bucket, l)
			}
			n++
		}
		if n != len(all) {
			s.t.Errorf("%d links of %q, want %d", n, bucket, len(all))
		}
		s.checkAllLinks(m)
	}
	for range s.s.AllLinks(s.ctx, "") {
		break
	}
	s.linksInView(m)
}

// linksInView tests that a view sees the links, and their sums, of its moment.
func (s *suite) linksInView(m *linkModel) {
	s.t.Helper()
	s.failOn(s.s.View(s.ctx, func(v manifest.View) error {
		s.checkLinkSums("in a view", v, m)
		later := m.newLink()
		later.Version = m.versionIDs()[0]
		later.File = m.versions[later.Version]
		s.putLinks(later)
		s.sameLinks("in a view", collectAll(s, v.AllLinks(s.ctx, "")), m.sortedLinks(func(*manifest.Link) bool { return true }))
		s.sameLinks("of a bucket in a view", collectAll(s, v.AllLinks(s.ctx, "b")), m.sortedLinks(func(l *manifest.Link) bool { return l.Bucket == "b" }))
		s.checkLinkSums("in a view, later", v, m)
		return nil
	}))
}

// purgedLinks tests that links stay when their file, and the version that they
// name, are removed for good.
func (s *suite) purgedLinks() {
	f := s.addFile("", "f", 1)
	m := s.newLinkModel()
	m.files = append(m.files, f.ID)
	m.versions[f.Current] = f.ID
	for i, version := range []manifest.VersionID{"", f.Current} {
		l := m.newLink()
		l.File, l.Version, l.State = f.ID, version, manifest.LinkState(i)
		row := *l
		m.putStep(l)
		s.putLinks(&row)
	}
	s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, f.ID, day.Add(time.Hour)) })
	s.checkLinks("of a file that was purged", s.s, m)
	s.failOn(s.s.Reindex(s.ctx))
	s.restart()
	s.checkLinks("indexed again", s.s, m)
}

// manyRows tests what Rows returns for files and versions, present and missing.
func (s *suite) manyRows() {
	a, b := s.addFile("", "a", 1), s.addFile("d", "b", 2)
	b = s.testVersions(b, 2)
	uuid, um := newFile("", "uuid", 3)
	uuid.ID = newUUID(s.newLinkModel().rnd)
	um.File = uuid.ID
	bare := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "bare"}
	lost, lm := newFile("", "lost", 4)
	s.update(func(tx manifest.Tx) error {
		u, n, l := *uuid, *bare, *lost
		return errors.Join(tx.PutManifest(s.ctx, um), tx.PutFile(s.ctx, &u), tx.PutFile(s.ctx, &n), tx.PutFile(s.ctx, &l))
	})
	old, err := s.s.Version(s.ctx, b.ID, 1)
	s.failOn(err)
	orphan := &manifest.Manifest{ID: manifest.NewVersionID(), File: manifest.NewFileID(), Version: 1}
	s.update(func(tx manifest.Tx) error { return tx.PutManifest(s.ctx, orphan) })

	type want struct {
		file    manifest.FileID
		version manifest.VersionID
	}
	files := []manifest.FileID{uuid.ID, manifest.NewFileID(), b.ID, a.ID, b.ID, lost.ID, bare.ID, ""}
	versions := []manifest.VersionID{old.ID, b.Current, manifest.NewVersionID(), um.ID, old.ID, orphan.ID, lm.ID, ""}
	ofFiles := []want{{uuid.ID, um.ID}, {}, {b.ID, b.Current}, {a.ID, a.Current}, {b.ID, b.Current}, {lost.ID, ""}, {bare.ID, ""}, {}}
	ofVersions := []want{{b.ID, old.ID}, {b.ID, b.Current}, {}, {uuid.ID, um.ID}, {b.ID, old.ID}, {}, {}, {}}
	check := func(what string, from manifest.Files) {
		s.t.Helper()
		for _, c := range []struct {
			files    []manifest.FileID
			versions []manifest.VersionID
			want     []want
		}{
			{files, versions, slices.Concat(ofFiles, ofVersions)},
			{files, nil, ofFiles},
			{nil, versions, ofVersions},
			{nil, nil, nil},
		} {
			got, err := from.Rows(s.ctx, c.files, c.versions)
			if err != nil || len(got) != len(c.want) {
				s.t.Fatalf("%s: %d rows, %v, want %d", what, len(got), err, len(c.want))
			}
			owned := make(map[*manifest.File]bool)
			for i, r := range got {
				w := want{}
				if r != nil {
					if w.file = r.File.ID; r.Manifest != nil {
						w.version = r.Manifest.ID
					}
					if owned[r.File] {
						s.t.Errorf("%s: row %d has the file of another row", what, i)
					}
					owned[r.File] = true
				}
				if w != c.want[i] {
					s.t.Errorf("%s: row %d is %+v, want %+v", what, i, w, c.want[i])
				}
			}
		}
	}
	check("of a store", s.s)
	s.update(func(tx manifest.Tx) error {
		f, err := tx.File(s.ctx, a.ID)
		if err != nil {
			return err
		}
		f.Metadata = []byte(`{"seen":1}`)
		if err := tx.PutFile(s.ctx, f); err != nil {
			return err
		}
		check("of a transaction", tx)
		if rows, err := tx.Rows(s.ctx, []manifest.FileID{a.ID}, []manifest.VersionID{a.Current}); err != nil || len(rows[0].File.Metadata) == 0 || rows[1].File.Revision != f.Revision {
			s.t.Errorf("a transaction does not see its own writes: %+v, %v", rows, err)
		}
		return nil
	})
}
