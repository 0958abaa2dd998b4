package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// keepMeta copies the database of a closed store, and returns what brings the
// copy back.
func keepMeta(t *testing.T, dir string) (restore func()) {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "meta")
	must(t, os.CopyFS(kept, os.DirFS(filepath.Join(dir, "meta"))))
	return func() {
		t.Helper()
		must(t, os.RemoveAll(filepath.Join(dir, "meta")))
		must(t, os.CopyFS(filepath.Join(dir, "meta"), os.DirFS(kept)))
	}
}

// A database from a backup that is older than the packs: changes are refused,
// reads go on, check says so, and repair goes towards the packs.
func TestStaleMetadata(t *testing.T) {
	for name, size := range map[string]int64{"one pack": 64 << 20, "many packs": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, dir, opts := t.Context(), t.TempDir(), &local.Options{PackSize: size}
			s := openAt(t, dir, opts)
			b := bucket(t, s, "demo")
			put := func(name string, p []byte) *buckets.File {
				t.Helper()
				f, err := b.Put(ctx, name, bytes.NewReader(p), nil)
				must(t, err)
				return f
			}
			one := put("one", noise(1, 200<<10))
			gone := put("gone", noise(2, 200<<10))
			trashed := put("trashed", []byte("trashed"))
			must(t, s.Close())
			restore := keepMeta(t, dir)

			s = openAt(t, dir, opts)
			b = bucket(t, s, "demo")
			two := put("two", noise(3, 300<<10))
			for n := range 3 {
				_, err := b.Replace(ctx, one.ID, bytes.NewReader(noise(uint64(10+n), 150<<10)), nil)
				must(t, err)
			}
			must(t, b.Purge(ctx, gone.ID, nil))
			_, err := b.Delete(ctx, trashed.ID, nil)
			must(t, err)
			rows := dump(t, s)
			must(t, s.Close())
			restore()

			for range 2 { // also once what it was opened with has learned of the packs
				s = openAt(t, dir, opts)
				b = bucket(t, s, "demo")
				if _, err := b.Put(ctx, "late", strings.NewReader("x"), nil); !errors.Is(err, buckets.ErrReadOnly) || !errors.Is(err, check.ErrStaleMetadata) {
					t.Errorf("a change: %v", err)
				}
				for range 10 { // each would take numbers that make the database look younger
					if _, err := s.Collect(ctx, &collect.Options{Full: true}); !errors.Is(err, buckets.ErrReadOnly) {
						t.Errorf("a collection: %v", err)
					}
				}
				if got, err := content(b, one.ID); err != nil || !bytes.Equal(got, noise(1, 200<<10)) {
					t.Errorf("a read: %d bytes, %v", len(got), err)
				}
				must(t, s.Close())
			}
			run := func(o *local.CheckOptions) *check.Report {
				t.Helper()
				o.Options = *opts
				r, err := local.Check(ctx, dir, o)
				must(t, err)
				return r
			}
			for _, o := range []*local.CheckOptions{{}, {Repair: true, DryRun: true}} {
				r := run(o)
				if r.OK || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Detail, check.ErrStaleMetadata.Error()) {
					t.Errorf("check finds %+v", r)
				}
				if o.Repair != (r.Plan != nil) {
					t.Fatalf("repair %v: plan %+v", o.Repair, r.Plan)
				}
				if p := r.Plan; p != nil && (p.Packs < 1 || p.Files != 3 || p.Versions != int64(len(rows)) || p.Restored != 3 || p.Removed != 1) {
					t.Errorf("plan %+v, want 3 files, all restored, %d versions, 1 removed", p, len(rows))
				}
			}
			if r := run(&local.CheckOptions{Repair: true}); !r.OK || r.Rebuilt || len(r.Problems) != 1 || !r.Problems[0].Repaired {
				t.Errorf("repair finds %+v", r)
			}
			if r := run(&local.CheckOptions{}); !r.OK || len(r.Problems) > 0 {
				t.Errorf("check finds after the repair %+v", r)
			}
			s = openAt(t, dir, opts)
			defer s.Close()
			b = bucket(t, s, "demo")
			sameRows(t, dump(t, s), rows)
			if got, err := content(b, two.ID); err != nil || !bytes.Equal(got, noise(3, 300<<10)) {
				t.Errorf("what came later: %d bytes, %v", len(got), err)
			}
			f, err := b.Replace(ctx, one.ID, strings.NewReader("after"), nil)
			must(t, err)
			if f.Version != 5 {
				t.Errorf("version %d, want 5", f.Version)
			}
		})
	}
}

// A plan for a database that is missing or damaged says what a repair would
// bring back, and changes nothing.
func TestPlanRepair(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openAt(t, dir, nil)
	for i := range 5 {
		f, err := bucket(t, s, "demo").Put(ctx, fmt.Sprint(i), bytes.NewReader(noise(uint64(i), 50_000)), nil)
		must(t, err)
		_, err = bucket(t, s, "demo").Replace(ctx, f.ID, strings.NewReader("again"), nil)
		must(t, err)
	}
	must(t, s.Close())
	s = openAt(t, dir, nil) // which writes a table
	must(t, s.Close())
	ruin := func(name string, p []byte) error {
		return os.WriteFile(name, bytes.Repeat([]byte{0x55}, len(p)), 0o600)
	}
	for what, change := range map[string]func(meta string) error{
		"missing": os.RemoveAll,
		"damaged": func(meta string) error {
			files, err := filepath.Glob(filepath.Join(meta, "MANIFEST-*"))
			for _, name := range files {
				p, _ := os.ReadFile(name)
				err = errors.Join(err, ruin(name, p))
			}
			return err
		},
	} {
		at := filepath.Join(t.TempDir(), "x")
		must(t, os.CopyFS(at, os.DirFS(dir)))
		must(t, change(filepath.Join(at, "meta")))
		before := listTree(t, at)
		r, err := local.Check(ctx, at, &local.CheckOptions{Repair: true, DryRun: true})
		must(t, err)
		want := check.Plan{Packs: 1, Files: 5, Versions: 10, Restored: 5}
		if r.OK || r.Rebuilt || len(r.Problems) != 1 || r.Plan == nil || *r.Plan != want {
			t.Errorf("%s: report %+v, plan %+v, want %+v", what, r, r.Plan, want)
		}
		if after := listTree(t, at); !slices.Equal(after, before) {
			t.Errorf("%s: files are\n%q, want\n%q", what, after, before)
		}
		if r, err = local.Check(ctx, at, &local.CheckOptions{Repair: true}); err != nil || !r.OK || !r.Rebuilt || r.Files != 5 || r.Plan != nil {
			t.Errorf("%s: repair finds %+v, %v", what, r, err)
		}
	}
}

// listTree returns all files below dir, with a sum of each.
func listTree(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			files = append(files, path)
			return err
		}
		p, err := os.ReadFile(path)
		files = append(files, path+" "+sum(p))
		return err
	}))
	return files
}

// A store that was closed or killed in the middle of work is not older than
// its packs.
func TestNotStale(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := range 3 {
		s := openAt(t, dir, &local.Options{PackSize: 100 << 10})
		b := bucket(t, s, "demo")
		for i := range 5 {
			_, err := b.Put(t.Context(), fmt.Sprint(n, i), bytes.NewReader(noise(uint64(n*10+i), 50<<10)), nil)
			must(t, err)
		}
		must(t, s.Close())
	}
}

// Two backends in one place: whose packs are whose is noticed at the next
// opening.
func TestForeignPacks(t *testing.T) {
	t.Parallel()
	ctx, dir, place := t.Context(), t.TempDir(), t.TempDir()
	options := func(two string) *local.Options {
		return &local.Options{Backends: map[string]local.Backend{"one": {Path: place}, "two": {Path: two}},
			Buckets: map[string]buckets.Policy{"a": {Domain: "one"}, "b": {Domain: "two"}}}
	}
	s := openAt(t, dir, options(place))
	for _, name := range []string{"a", "b"} {
		_, err := bucket(t, s, name).Put(ctx, "f", strings.NewReader(name), nil)
		must(t, err)
	}
	must(t, s.Close())
	if _, err := local.Open(ctx, dir, options(place)); !errors.Is(err, check.ErrForeign) || !strings.Contains(err.Error(), "this store too") {
		t.Errorf("opened: %v", err)
	}
	r, err := local.Check(ctx, dir, &local.CheckOptions{Options: *options(place)})
	must(t, err)
	if r.OK || len(r.Problems) == 0 || r.Problems[0].Kind != "pack" {
		t.Errorf("check finds %+v", r)
	}
	removeMeta(t, dir)
	if _, err := local.Check(ctx, dir, &local.CheckOptions{Options: *options(place), Repair: true}); !errors.Is(err, check.ErrForeign) {
		t.Errorf("rebuilt: %v", err)
	}

	// A pack of another store.
	other, mine := t.TempDir(), t.TempDir()
	for _, dir := range []string{other, mine} {
		s := openAt(t, dir, nil)
		_, err := bucket(t, s, "demo").Put(ctx, "f", strings.NewReader("f"), nil)
		must(t, err)
		must(t, s.Close())
	}
	must(t, os.CopyFS(filepath.Join(mine, "packs"), os.DirFS(filepath.Join(other, "packs"))))
	if _, err := local.Open(ctx, mine, nil); !errors.Is(err, check.ErrForeign) {
		t.Errorf("opened with a pack of another store: %v", err)
	}
}

// Each pack that is gone is noticed and named: by the database, and without
// it by the packs that came later, the last one excepted.
func TestMissingPack(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	ctx, dir, opts := t.Context(), t.TempDir(), &local.Options{PackSize: 1 << 20}
	s := openAt(t, dir, opts)
	for i := range 12 {
		_, err := bucket(t, s, "demo").Put(ctx, fmt.Sprintf("f%02d", i), bytes.NewReader(noise(uint64(i), 300<<10)), nil)
		must(t, err)
	}
	must(t, s.Close())
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	must(t, err)
	last := ""
	for _, p := range packs {
		last = max(last, filepath.Base(p))
	}
	if len(packs) < 3 {
		t.Fatalf("%d packs", len(packs))
	}
	for _, gone := range packs {
		for _, meta := range []bool{true, false} {
			at := filepath.Join(t.TempDir(), "x")
			must(t, os.CopyFS(at, os.DirFS(dir)))
			rel, err := filepath.Rel(dir, gone)
			must(t, err)
			must(t, os.Remove(filepath.Join(at, rel)))
			if !meta {
				removeMeta(t, at)
			}
			id := filepath.Base(gone)
			for range 2 { // a repair does not make it forgotten
				r, err := local.Check(ctx, at, &local.CheckOptions{Repair: true, Options: *opts})
				must(t, err)
				named := false
				for _, p := range r.Problems {
					named = named || p.Pack == id && !p.Repaired
				}
				if want := meta || id != last; named != want || want && r.OK {
					t.Errorf("without %s, database %v: OK %v, %+v", id, meta, r.OK, r.Problems)
				}
			}
			s, err := local.Open(ctx, at, opts)
			must(t, err)
			if _, err := bucket(t, s, "demo").Put(ctx, "new", strings.NewReader("new"), nil); err != nil {
				t.Errorf("a change without %s: %v", id, err)
			}
			must(t, s.Close())
		}
	}
}

// A damaged database is set aside and made anew, not removed.
func TestDamagedMetadata(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"MANIFEST-*", "OPTIONS-*", "*.sst", "marker.manifest.*"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			ctx, dir := t.Context(), t.TempDir()
			s := openAt(t, dir, nil)
			for i := range 20 {
				_, err := bucket(t, s, "demo").Put(ctx, fmt.Sprint(i), bytes.NewReader(noise(uint64(i), 1000)), nil)
				must(t, err)
			}
			rows := dump(t, s)
			must(t, s.Close())
			s = openAt(t, dir, nil) // which writes a table
			must(t, s.Close())
			files, err := filepath.Glob(filepath.Join(dir, "meta", pattern))
			must(t, err)
			if len(files) == 0 {
				t.Fatal("no such file")
			}
			for _, name := range files {
				p, err := os.ReadFile(name)
				must(t, err)
				if len(p) == 0 {
					must(t, os.Remove(name))
					continue
				}
				for i := range p {
					p[i] ^= 0x55
				}
				must(t, os.WriteFile(name, p, 0o600))
			}
			r, err := local.Check(ctx, dir, nil)
			must(t, err)
			if r.OK || len(r.Problems) != 1 || r.Problems[0].Kind != "metadata" {
				t.Errorf("check finds %+v", r)
			}
			if r, err = local.Check(ctx, dir, &local.CheckOptions{Repair: true}); err != nil || !r.OK || !r.Rebuilt || r.Files != 20 {
				t.Fatalf("repair finds %+v, %v", r, err)
			}
			if aside, _ := filepath.Glob(filepath.Join(dir, "meta.damaged-*", pattern)); len(aside) == 0 && pattern != "marker.manifest.*" {
				t.Error("the damaged database is not there")
			}
			s = openAt(t, dir, nil)
			defer s.Close()
			sameRows(t, dump(t, s), rows)
		})
	}
}
