package records

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A model is what is known of files and of records beside what the store says.
type model struct {
	files map[string]*file
	order []*file // in which they were stored
	// fileOf is the file of each version.
	fileOf map[string]*file
	// referenced is when a record had a value last.
	referenced map[string]time.Time
	// settled are values of records for which the store has a confirmed link for
	// sure.
	settled map[place]bool
	// present are the versions that were there after the last step, if a host was not
	// reconciled then.
	present map[string]bool
	// wasSettled are all values that ever were.
	wasSettled map[place]bool
	// purging is the file that is being purged.
	purging string
}

// A file is one that was stored.
type file struct {
	id, bucket string
	versions   map[string]*version // by ID
	order      []*version
	gone       bool // somebody has purged it, or it was lost with a backup
	kept       bool // somebody has taken it out of the trash
	deleted    bool // somebody may have moved it there
	// mayOnlyCascade says that only fields that cascade may have it.
	mayOnlyCascade bool
	// cascades says that it had a confirmed link of a field that cascades, others that
	// it may have had one of another.
	cascades, others bool
}

// A version is one of a file.
type version struct {
	id      string
	number  uint64
	content []byte
	gone    bool // as of files
}

func newModel() *model {
	return &model{files: make(map[string]*file), fileOf: make(map[string]*file), referenced: make(map[string]time.Time), settled: make(map[place]bool), wasSettled: make(map[place]bool)}
}

func (m *model) addVersion(f *buckets.File, content []byte) {
	x := m.files[f.ID]
	if x == nil {
		x = &file{id: f.ID, bucket: f.Bucket, versions: make(map[string]*version), mayOnlyCascade: len(m.order)%2 == 0}
		m.files[f.ID] = x
		m.order = append(m.order, x)
	}
	x.versions[f.ManifestID] = &version{id: f.ManifestID, number: f.Version, content: content}
	x.order = append(x.order, x.versions[f.ManifestID])
	m.fileOf[f.ManifestID] = x
}

// find returns the file that a value names, and the version if it names one.
func (m *model) find(value string) (*file, *version) {
	if f := m.files[value]; f != nil {
		return f, nil
	}
	if f := m.fileOf[value]; f != nil {
		return f, f.versions[value]
	}
	panic("hostsim: nobody has stored " + value)
}

// isExcused reports whether what a value names may be missing.
func (m *model) isExcused(value string) bool {
	f, v := m.find(value)
	return f.gone || v != nil && v.gone
}

func (f *file) pickVersion(rng *rand.Rand) *version {
	return f.order[rng.IntN(len(f.order))]
}

// pickFile picks a file that is there as far as is known.
func (w *world) pickFile() *file {
	var all []*file
	for _, f := range w.order {
		if !f.gone {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[w.rng.IntN(len(all))]
}

func (w *world) isUnreconciled() bool {
	return slices.ContainsFunc(w.hosts, func(h *host) bool { return h.unreconciled })
}

// places returns all values of the records of all hosts.
func (w *world) places() (out []place, err error) {
	for _, h := range w.hosts {
		for row, err := range h.db.rows(w.ctx) {
			if err != nil {
				return nil, err
			}
			for _, v := range row.Values {
				out = append(out, place{h.name, row.Record, row.Field, v})
			}
		}
	}
	return out, nil
}

// isRestricted reports whether a record restricts the removal of a file, or of a
// version, for sure.
func (w *world) isRestricted(f *file, version string) (bool, error) {
	all, err := w.places()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(p place) bool {
		of, v := w.find(p.value)
		return w.settled[p] && of == f && findField(p.field).OnDelete == schema.OnDeleteRestrict && (version == "" || v != nil && v.id == version)
	}), nil
}

// settle notes that a value has a confirmed link.
func (w *world) settle(p place) {
	w.settled[p], w.wasSettled[p] = true, true
	f, _ := w.find(p.value)
	if findField(p.field).OnDelete == schema.OnDeleteCascade {
		f.cascades = true
	}
}

// noteOthers notes which files have links of fields that do not cascade.
func (m *model) noteOthers(x *hold) {
	for i := range x.values {
		for field, ids := range x.values[i] {
			for _, id := range ids {
				f, _ := m.find(id)
				f.others = f.others || findField(field).OnDelete != schema.OnDeleteCascade
			}
		}
	}
}

// forget forgets what is known of links of a host; nil is all.
func (w *world) forgetLinks(h *host) {
	maps.DeleteFunc(w.settled, func(p place, _ bool) bool { return h == nil || p.host == h.name })
}

// stat returns what the store knows of a value, nil if nothing.
func (w *world) stat(value string) (*buckets.File, error) {
	f, _ := w.find(value)
	out, err := w.bucket(f.bucket).Stat(w.ctx, value, &buckets.GetOptions{Trashed: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return out, err
}

// forgetLost compares the model with a store that was restored: what it lacks is
// lost, and what it has again is there. Nothing is known of its links.
func (w *world) forgetLost() error {
	w.forgetLinks(nil)
	clear(w.wasSettled)
	w.present = nil
	for _, f := range w.files {
		got, err := w.stat(f.id)
		if err != nil {
			return err
		}
		f.gone, f.cascades = got == nil, false
		f.deleted = got != nil && got.State == buckets.Trashed
		for _, v := range f.versions {
			if got, err = w.stat(v.id); err != nil {
				return err
			}
			v.gone = got == nil
		}
	}
	return nil
}

// check checks what must be true after each step: whatever records refer to is there.
func (w *world) check() error {
	all, err := w.places()
	if err != nil {
		return err
	}
	for _, p := range all {
		w.referenced[p.value] = w.now
		if w.isExcused(p.value) {
			continue
		}
		f, v := w.find(p.value)
		got, err := w.stat(p.value)
		if err != nil {
			return err
		}
		if got == nil {
			return fmt.Errorf("%s refers to what is not there, settled %t", p, w.settled[p])
		}
		if w.settled[p] && got.State == buckets.Trashed && !f.deleted {
			return fmt.Errorf("%s is in the trash, and nobody has deleted it", p)
		}
		if w.rng.IntN(20) > 0 {
			continue
		}
		if v == nil {
			v = f.versions[got.ManifestID]
		}
		content, err := w.read(f.bucket, p.value)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if !bytes.Equal(content, v.content) {
			return fmt.Errorf("%s has another content", p)
		}
	}
	for _, h := range w.hosts {
		if err := h.checkFlag(); err != nil {
			return err
		}
	}
	return w.checkPresent()
}

// checkPresent checks that nothing goes while a host is not reconciled.
func (w *world) checkPresent() error {
	if !w.isUnreconciled() {
		w.present = nil
		return nil
	}
	now := make(map[string]bool)
	for id, f := range w.fileOf {
		if f.gone || f.versions[id].gone {
			continue
		}
		got, err := w.stat(id)
		if err != nil {
			return err
		}
		if now[id] = got != nil; got == nil && w.present[id] {
			return fmt.Errorf("version %s of %s has gone while a host is not reconciled", id, f.id)
		}
	}
	w.present = now
	return nil
}

// checkPolicies lets the windows pass, in days, when all hosts are reconciled and
// nothing is under way. Then nothing is left that no record refers to, but what its
// policy keeps.
func (w *world) checkPolicies() error {
	all, err := w.places()
	if err != nil {
		return err
	}
	referred := make(map[string]bool) // values, and files of all values
	for _, p := range all {
		f, _ := w.find(p.value)
		referred[p.value], referred[f.id] = true, true
	}
	for range 2*int(window/day) + 4 {
		w.now = w.now.Add(day)
		if err := w.sweep(); err != nil {
			return err
		}
	}
	if err := w.check(); err != nil {
		return err
	}
	for _, f := range w.order {
		id := f.id
		got, err := w.stat(id)
		if err != nil {
			return err
		}
		if got == nil {
			f.gone = true
			continue
		}
		if !referred[id] && got.State == buckets.Trashed {
			return fmt.Errorf("%s is still in the trash, and no record refers to it", id)
		}
		if !referred[id] && f.cascades && !f.others && !f.kept {
			return fmt.Errorf("%s is there, though its last link was one that cascades", id)
		}
		if err := w.checkVersions(f, got, referred); err != nil {
			return err
		}
	}
	return nil
}

// checkVersions checks that old versions are gone that no record has.
func (w *world) checkVersions(f *file, current *buckets.File, referred map[string]bool) error {
	var numbers []uint64
	there := make(map[string]uint64)
	for v, err := range w.bucket(f.bucket).Versions(w.ctx, f.id) {
		if err != nil {
			return err
		}
		there[v.ManifestID] = v.Version
		numbers = append(numbers, v.Version) // newest first
	}
	for id, v := range f.versions {
		if _, ok := there[id]; !ok {
			v.gone = true
		}
	}
	if current.State == buckets.Trashed {
		return nil
	}
	kept := numbers[:1]
	if f.bucket == "docs" {
		kept = numbers[:min(len(numbers), keepDocs)]
	}
	for id, n := range there {
		if !referred[id] && !slices.Contains(kept, n) {
			return fmt.Errorf("version %s of %s is there, and neither a rule nor a record keeps it", id, f.id)
		}
	}
	return nil
}
