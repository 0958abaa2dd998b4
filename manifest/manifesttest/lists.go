package manifesttest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// testVersions adds versions to a file.
func (s *suite) testVersions(f *manifest.File, n int) *manifest.File {
	s.t.Helper()
	var out *manifest.File
	s.update(func(tx manifest.Tx) error {
		row, err := tx.File(s.ctx, f.ID)
		if err != nil {
			return err
		}
		for range n {
			row.LastVersion++
			row.Versions++
			m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: row.LastVersion, CreatedAt: day}
			row.Current = m.ID
			if err := tx.PutManifest(s.ctx, m); err != nil {
				return err
			}
		}
		out = row
		return tx.PutFile(s.ctx, row)
	})
	return out
}

// oneMoment tests that a listing does not show what changes while it yields, and
// that its keys can continue it, however rows change.
func (s *suite) oneMoment() {
	var fs []*manifest.File
	for _, name := range strings.Split("abcdef", "") {
		fs = append(fs, s.addFile("", name, 1))
	}
	rename := func(f *manifest.File, name string) {
		s.update(func(tx manifest.Tx) error {
			row, err := tx.File(s.ctx, f.ID)
			if err != nil {
				return err
			}
			row.Name = name
			return tx.PutFile(s.ctx, row)
		})
	}
	var got []string
	for l, err := range s.s.List(s.ctx, "b", nil) {
		if err != nil {
			s.t.Fatal(err)
		}
		got = append(got, l.File.Name)
		switch l.Key {
		case "a":
			rename(fs[1], "zz")
			s.testVersions(fs[2], 1)
			s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, fs[3].ID, day) })
			s.addFile("", "dd", 1)
		case "c":
			if l.File.LastVersion != 1 || l.Current == nil || l.Current.Version != 1 {
				s.t.Errorf("a version of a later moment: %+v, %+v", l.File, l.Current)
			}
		}
	}
	if !slices.Equal(got, strings.Split("abcdef", "")) {
		s.t.Errorf("listed %q", got)
	}
	got = nil
	for after := ""; ; {
		var last *manifest.Listed
		for l, err := range s.s.List(s.ctx, "b", &manifest.Range{After: after}) {
			if err != nil {
				s.t.Fatal(err)
			}
			last = l
			break
		}
		if last == nil {
			break
		}
		rename(last.File, fmt.Sprintf("0%d", len(got))) // behind the cursor
		got, after = append(got, last.Key), last.Key
	}
	if want := []string{"a", "c", "dd", "e", "f", "zz"}; !slices.Equal(got, want) {
		s.t.Errorf("in pages of one: %q, want %q", got, want)
	}
}

// allRows tests that AllRows yields files in order, the newest version of each
// first, of one bucket or of all.
func (s *suite) allRows() {
	var want, wantB []string
	var files []*manifest.File
	for i := range 5 {
		f, m := newFile("", fmt.Sprint("f", i), 1)
		f.Bucket = []string{"b", "c"}[i%2]
		s.update(func(tx manifest.Tx) error { return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)) })
		files = append(files, s.testVersions(f, i))
	}
	slices.SortFunc(files, func(a, b *manifest.File) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for _, f := range files {
		for n := f.LastVersion; n > 0; n-- {
			row := fmt.Sprint(f.ID, " ", n)
			if want = append(want, row); f.Bucket == "b" {
				wantB = append(wantB, row)
			}
		}
	}
	for bucket, want := range map[string][]string{"": want, "b": wantB, "none": nil} {
		var got []string
		for r, err := range s.s.AllRows(s.ctx, bucket) {
			if err != nil {
				s.t.Fatal(err)
			}
			got = append(got, fmt.Sprint(r.File.ID, " ", r.Manifest.Version))
		}
		if !slices.Equal(got, want) {
			s.t.Errorf("rows of %q: %v, want %v", bucket, got, want)
		}
	}
	var ids []manifest.FileID
	for f, err := range s.s.AllFiles(s.ctx) {
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, f.ID)
	}
	if len(ids) != 5 || !slices.IsSorted(ids) {
		s.t.Errorf("files %v", ids)
	}
}

func (s *suite) trashedBefore() {
	var want []manifest.FileID
	for i := range 9 {
		f := s.addFile("", fmt.Sprint(i), 1)
		f.State, f.DeletedAt = manifest.Trashed, day.Add(time.Duration(i)*time.Minute)
		if i == 0 {
			f.State, f.DeletedAt = manifest.Quarantined, time.Time{}
		}
		s.update(func(tx manifest.Tx) error { f := *f; return tx.PutFile(s.ctx, &f) })
		if i > 0 && i < 6 {
			want = append(want, f.ID)
		}
	}
	slices.Sort(want)
	got := func(after manifest.FileID, limit int) (ids []manifest.FileID) {
		fs, err := s.s.TrashedBefore(s.ctx, "b", day.Add(6*time.Minute), after, limit)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range fs {
			ids = append(ids, f.ID)
		}
		return ids
	}
	for _, c := range []struct {
		after manifest.FileID
		limit int
		want  []manifest.FileID
	}{
		{"", 10, want}, {"", 2, want[:2]}, {want[1], 2, want[2:4]}, {want[1], 10, want[2:]},
		{want[2] + "x", 10, want[3:]}, {want[4], 10, nil}, {"", 0, nil},
	} {
		if ids := got(c.after, c.limit); !slices.Equal(ids, c.want) {
			s.t.Errorf("%d trashed before, after %q: %v, want %v", c.limit, c.after, ids, c.want)
		}
	}
}

// testOwnerUsages tests that the sums of owners come in order of buckets and owners,
// and are of one moment.
func (s *suite) testOwnerUsages() {
	want := make(map[[2]string]manifest.Usage)
	for i := range 1500 {
		f, m := newFile("", fmt.Sprint(i), int64(i+1))
		f.Bucket, f.Owner = "b"+[]string{"", "b", "c"}[i%3], []string{"", "u\x00v", fmt.Sprint(i)}[min(i%7, 2)]
		s.update(func(tx manifest.Tx) error { return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f)) })
		u := want[[2]string{f.Bucket, f.Owner}]
		u.Add(f, 1)
		want[[2]string{f.Bucket, f.Owner}] = u
	}
	s.restart()
	last := [2]string{}
	for o, err := range s.s.OwnerUsages(s.ctx) {
		s.failOn(err)
		key := [2]string{o.Bucket, o.Owner}
		if slices.Compare(key[:], last[:]) <= 0 || o.Usage != want[key] {
			s.t.Fatalf("%q after %q: %+v, want %+v", key, last, o.Usage, want[key])
		}
		if last[0] == "" {
			s.addFile("", "meanwhile", 1)
		}
		last = key
		delete(want, key)
	}
	if len(want) > 0 {
		s.t.Errorf("not yielded: %v", want)
	}
}

func (s *suite) testWriters() {
	register := func(domain string) manifest.Writer {
		s.t.Helper()
		w, err := s.s.Register(s.ctx, domain)
		if err != nil {
			s.t.Fatal(err)
		}
		return w
	}
	next := func(domain string, want uint64) {
		s.t.Helper()
		n, err := s.s.NextEpoch(s.ctx, domain)
		now, eerr := s.s.Epoch(s.ctx, domain)
		if n != want || now != want || errors.Join(err, eerr) != nil {
			s.t.Errorf("epoch %d, then %d, %v, want %d", n, now, errors.Join(err, eerr), want)
		}
	}
	a := register("x")
	next("x", 1)
	b, other := register("x"), register("y")
	next("x", 2)
	if a.Begin != 0 || b.Begin != 1 || other.Begin != 0 || a.ID == b.ID || a.ID == (manifest.WriterID{}) {
		s.t.Errorf("writers %+v, %+v, %+v", a, b, other)
	}
	if got, err := s.s.Writers(s.ctx, "x"); err != nil || !reflect.DeepEqual(got, []manifest.Writer{a, b}) || a.At.IsZero() {
		s.t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := s.s.Unregister(s.ctx, "x", a.ID); err != nil {
			s.t.Error(err)
		}
	}
	if err := s.s.Unregister(s.ctx, "x", other.ID); err != nil { // a writer of another domain
		s.t.Error(err)
	}
	x, xerr := s.s.Writers(s.ctx, "x")
	y, yerr := s.s.Writers(s.ctx, "y")
	if errors.Join(xerr, yerr) != nil || !reflect.DeepEqual(x, []manifest.Writer{b}) || !reflect.DeepEqual(y, []manifest.Writer{other}) {
		s.t.Errorf("left are %+v and %+v, %v", x, y, errors.Join(xerr, yerr))
	}
	s.addFile("", "f", 1) // makes all that was written before durable
	s.restart()
	// Where nobody else can have the store open, writers end with the process.
	if got, err := s.s.Writers(s.ctx, "x"); err != nil || len(got) > 0 && !reflect.DeepEqual(got, []manifest.Writer{b}) {
		s.t.Errorf("after a restart %+v, %v", got, err)
	}
	next("x", 3)
}

// testView tests that a view sees the rows of one moment, also while its
// iterators yield.
func (s *suite) testView() {
	for i := range 300 { // more than a page
		s.addFile("a", fmt.Sprintf("%03d", i), 10)
	}
	s.failOn(s.s.View(s.ctx, func(v manifest.View) error {
		n, sum := 0, manifest.Usage{}
		for f, err := range v.AllFiles(s.ctx) {
			if err != nil {
				return err
			}
			if n++; n == 1 {
				s.addFile("a", "later", 10)
				s.addFile("c", "later", 10)
				s.update(func(tx manifest.Tx) error { return tx.Purge(s.ctx, f.ID, day) })
			}
			sum.Add(f, 1)
			if of, err := v.OwnerUsage(s.ctx, "b", f.Owner); err != nil || of.Files != 300 {
				s.t.Fatalf("the owner has %d files, want 300, %v", of.Files, err)
			}
		}
		if of, err := v.Usage(s.ctx, "b"); err != nil || of != sum || sum.Files != 300 {
			s.t.Errorf("the usage is %+v, want %+v, %v", of, sum, err)
		}
		if names := collectAll(s, v.List(s.ctx, "b", &manifest.Range{Bare: true})); len(names) != 300 || names[299].Key != "a/299" {
			s.t.Errorf("%d names, want 300", len(names))
		}
		if names, err := v.Buckets(s.ctx); err != nil || !slices.Equal(names, []string{"b"}) {
			s.t.Errorf("buckets %v, %v", names, err)
		}
		return nil
	}))
	failed := errors.New("failed")
	if err := s.s.View(s.ctx, func(manifest.View) error { return failed }); err != failed {
		s.t.Errorf("error %v, want that of the function", err)
	}
	if u, err := s.s.Usage(s.ctx, "b"); err != nil || u.Files != 301 {
		s.t.Errorf("after the view there are %d files, want 301, %v", u.Files, err)
	}
}
