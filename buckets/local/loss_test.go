package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// TestModelLoss is TestModel with what operators and disks do to a store: an
// older copy of the database is put back at a random point, and a random pack
// is lost.
func TestModelLoss(t *testing.T) {
	race.LeaveOut(t)
	for i := range soak(2) {
		seed := uint64(i + 1)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed, options)
			m.dir = t.TempDir()
			m.open()
			for range 2 {
				m.steps(1 + m.r.IntN(60))
				must(t, m.s.Close())
				restore := keepMeta(t, m.dir)
				m.open()
				m.steps(1 + m.r.IntN(60))
				m.restoreStale(restore)
			}
			m.losePack()
			must(t, m.s.Close())
		})
	}
}

func (m *model) steps(n int) {
	m.t.Helper()
	for range n {
		m.step()
	}
}

// restoreStale puts an older database back. The store takes no changes until it
// was brought up to its packs, and then it is what it was.
func (m *model) restoreStale(restore func()) {
	m.t.Helper()
	m.put() // so that the copy is older, whatever the steps were
	before := dump(m.t, m.s)
	must(m.t, m.s.Close())
	restore()
	m.open()
	b := m.bucket()
	if _, err := b.Put(m.t.Context(), "late", strings.NewReader("x"), nil); !errors.Is(err, buckets.ErrReadOnly) || !errors.Is(err, check.ErrStaleMetadata) {
		m.fatalf("a change of a stale store: %v", err)
	}
	must(m.t, m.s.Close())
	opts := &local.CheckOptions{Options: *m.opts(), Repair: true, DryRun: true}
	r, err := local.Check(m.t.Context(), m.dir, opts)
	must(m.t, err)
	if r.OK || r.Plan == nil || r.Plan.Files != int64(len(m.files)) || r.Plan.Versions != int64(len(before)) {
		m.fatalf("the plan finds %+v, %+v, want %d files and %d versions", r, r.Plan, len(m.files), len(before))
	}
	opts.DryRun = false
	r, err = local.Check(m.t.Context(), m.dir, opts)
	must(m.t, err)
	if !r.OK || r.Rebuilt || len(r.Problems) != 1 || len(r.Damaged) > 0 {
		m.fatalf("the repair finds %+v", r)
	}
	m.check("after the repair", false)
	m.open()
	sameRows(m.t, dump(m.t, m.s), before)
	m.compare()
}

// losePack removes a pack of a copy of the store. It is named, what does not lie
// in it reads on, what does is told, and changes go on.
func (m *model) losePack() {
	m.t.Helper()
	must(m.t, m.s.Close())
	defer m.open()
	packs, err := filepath.Glob(filepath.Join(m.dir, "packs", "*", "*"))
	must(m.t, err)
	for range 3 {
		at := filepath.Join(m.t.TempDir(), "x")
		must(m.t, os.CopyFS(at, os.DirFS(m.dir)))
		gone, err := filepath.Rel(m.dir, pick(m.r, packs...))
		must(m.t, err)
		must(m.t, os.Remove(filepath.Join(at, gone)))
		r, err := local.Check(m.t.Context(), at, &local.CheckOptions{Options: *m.opts()})
		must(m.t, err)
		named, hurt := false, make(map[string]bool)
		for _, p := range r.Problems {
			named = named || p.Kind == "pack" && p.Pack == filepath.Base(gone)
		}
		for _, p := range r.Damaged {
			hurt[p.ManifestID] = true
		}
		if r.OK || !named {
			m.fatalf("without %s, check finds %+v", gone, r)
		}
		s, err := local.Open(m.t.Context(), at, m.opts())
		must(m.t, err)
		for _, f := range m.files {
			for _, v := range f.versions {
				p, err := content(bucket(m.t, s, f.bucket), v.id)
				if ok := err == nil && bytes.Equal(p, v.content); ok == hurt[v.id] || err == nil && !ok {
					m.fatalf("without %s, version %s of %q reads well: %v, damaged by check: %v, %v", gone, v.id, f.path(), ok, hurt[v.id], err)
				}
			}
		}
		p := noise(m.r.Uint64(), 1000)
		f, err := bucket(m.t, s, "a").Put(m.t.Context(), "after the loss", bytes.NewReader(p), nil)
		must(m.t, err)
		if got, err := content(bucket(m.t, s, "a"), f.ID); err != nil || !bytes.Equal(got, p) {
			m.fatalf("without %s, a new file: %d bytes, %v", gone, len(got), err)
		}
		must(m.t, s.Close())
	}
}
