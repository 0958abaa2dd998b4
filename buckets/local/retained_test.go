package local_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets"
)

// week is how far a clock may jump and be believed.
const week = 7 * 24 * time.Hour

// A retained is a plain model of the files that a store keeps, and of the times by
// which it does.
type retained struct {
	files []*keptFile // in order of their making
	// seen is the latest time that was believed, zero while none is known. kept is
	// what a crash leaves of it.
	seen, kept time.Time
}

type keptFile struct {
	id, bucket, name string
	trashed          bool
	updated, deleted time.Time
	last             uint64
	versions         []keptVersion // in order of numbers, the last one is current
}

type keptVersion struct {
	n    uint64
	made time.Time
}

func (m *retained) clone() retained {
	out := retained{seen: m.seen, kept: m.kept}
	for _, f := range m.files {
		g := *f
		g.versions = slices.Clone(f.versions)
		out.files = append(out.files, &g)
	}
	return out
}

// stamp is the time that a change is stamped with.
func (m *retained) stamp(now time.Time) time.Time {
	if now.Before(m.seen) {
		return m.seen
	}
	return now
}

// removalTime is the time by which something goes.
func (m *retained) removalTime(now time.Time) time.Time {
	if m.seen.IsZero() || now.Before(m.seen) || now.Sub(m.seen) > week {
		return m.seen
	}
	return now
}

// see looks at the clock, and reports whether it is believed.
func (m *retained) see(now time.Time) bool {
	if m.seen.IsZero() { // the database was made anew: the latest change tells
		for _, f := range m.files {
			if f.updated.After(m.seen) {
				m.seen = f.updated
			}
		}
		if m.seen.After(now) {
			m.seen = now
		}
	}
	if !m.seen.IsZero() && now.Sub(m.seen) > week {
		return false
	}
	m.note(m.stamp(now))
	return true
}

func (m *retained) note(t time.Time) {
	if m.seen = t; t.Sub(m.kept) >= time.Minute {
		m.kept = t
	}
}

// stays reports whether a file in the trash is kept at a time.
func stays(f *keptFile, p buckets.Trash, at time.Time) bool {
	if !p.Off && p.KeepFor == 0 {
		return true
	}
	return at.Sub(f.deleted) <= p.KeepFor
}

// keeps reports whether version i of a file is kept at a time.
func keeps(f *keptFile, i int, p buckets.Versions, at time.Time) bool {
	newer := f.versions[i+1:]
	if len(newer) == 0 {
		return true
	}
	if p.Off || p.Keep > 0 && len(newer) >= p.Keep {
		return false
	}
	replaced := slices.MinFunc(newer, func(a, b keptVersion) int { return a.made.Compare(b.made) }).made
	return p.KeepFor == 0 || at.Sub(replaced) <= p.KeepFor
}

// prune removes the versions of a file that are not kept, and returns how many.
func prune(f *keptFile, p buckets.Versions, at time.Time) (n int64) {
	var left []keptVersion
	for i, v := range f.versions {
		if keeps(f, i, p, at) {
			left = append(left, v)
		}
	}
	n = int64(len(f.versions) - len(left))
	f.versions = left
	return n
}

// sweep does what a sweep has to, and reports whether the clock is believed.
func (m *retained) sweep(policies map[string]buckets.Policy, now time.Time) (done buckets.Swept, believed bool) {
	if !m.see(now) {
		return done, false
	}
	at := m.removalTime(now)
	m.files = slices.DeleteFunc(m.files, func(f *keptFile) bool {
		p := policies[f.bucket]
		if f.trashed && !stays(f, p.Trash, at) {
			done.Files++
			return true
		}
		done.Versions += prune(f, p.Versions, at)
		return false
	})
	return done, true
}

// byID returns the files by their IDs.
func (m *retained) byID() map[string]*keptFile {
	out := make(map[string]*keptFile)
	for _, f := range m.files {
		out[f.id] = f
	}
	return out
}

// describe is what differs if two files differ.
func (f *keptFile) describe() string {
	if f == nil {
		return "nothing"
	}
	return fmt.Sprintf("%+v", *f)
}

// diff returns how files differ from those of the model, "" if they do not.
func (m *retained) diff(got map[string]*keptFile) string {
	want := m.byID()
	ids := maps.Clone(want)
	maps.Copy(ids, got)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if g, w := got[id].describe(), want[id].describe(); g != w {
			return fmt.Sprintf("there is\n%s\nand should be\n%s", g, w)
		}
	}
	return ""
}

// between returns what is wrong with files that a sweep which broke off has left,
// "" if nothing is: it may have done a part of what leads from m to after.
func (m *retained) between(after *retained, got map[string]*keptFile) string {
	was, will := m.byID(), after.byID()
	for id, g := range got {
		if was[id] == nil {
			return "there came " + g.describe()
		}
		for _, v := range g.versions {
			if !slices.Contains(was[id].versions, v) {
				return fmt.Sprintf("there came version %d of %s", v.n, g.describe())
			}
		}
	}
	for id, w := range will {
		if got[id] == nil {
			return "early went " + w.describe()
		}
		for _, v := range w.versions {
			if !slices.Contains(got[id].versions, v) {
				return fmt.Sprintf("early went version %d of %s", v.n, w.describe())
			}
		}
	}
	return ""
}
