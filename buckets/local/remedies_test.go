package local_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// TestRemedies damages a store in each way, and compares what a check, a dry run and
// a repair tell: kinds of problems with what heals them, which files are hurt, and
// whether all agrees afterwards.
func TestRemedies(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	opts := options()
	s := openAt(t, dir, opts)
	contents := map[string][]byte{"first": noise(1, 200<<10), "second": noise(2, 200<<10), "third": noise(3, 30<<10)}
	for _, name := range []string{"first", "second"} {
		_, err := bucket(t, s, "a").Put(ctx, name, bytes.NewReader(contents[name]), nil)
		must(t, err)
	}
	_, err := s.Collect(ctx, &collect.Options{Full: true}) // which ends the pack
	must(t, err)
	must(t, s.Close())
	older := keepMetaOf(t, dir)
	s = openAt(t, dir, opts)
	_, err = bucket(t, s, "a").Put(ctx, "third", bytes.NewReader(contents["third"]), nil)
	must(t, err)
	must(t, s.Close())
	s = openAt(t, dir, opts) // which writes a table
	must(t, s.Close())

	packOf := func(at, name string) (file string, offset int) {
		t.Helper()
		for _, file := range packsOf(t, at) {
			p, err := os.ReadFile(filepath.Join(at, file))
			must(t, err)
			if i := bytes.Index(p, contents[name][100:200]); i >= 0 {
				return filepath.Join(at, file), i
			}
		}
		t.Fatalf("no pack holds %s", name)
		return "", 0
	}
	flip := func(file string, at int) {
		t.Helper()
		p, err := os.ReadFile(file)
		must(t, err)
		if at < 0 {
			at += len(p)
		}
		p[at] ^= 4
		must(t, os.Chmod(file, 0o600))
		must(t, os.WriteFile(file, p, 0o600))
	}
	for name, c := range map[string]struct {
		damage func(at string)
		check  []string // kinds and what heals them
		hurt   []string
		left   []string // of the check after a repair
	}{
		"whole": {damage: func(string) {}},
		"a chunk is damaged": {
			damage: func(at string) { file, i := packOf(at, "first"); flip(file, i) },
			check:  []string{"chunk upload", "manifest upload"},
			hurt:   []string{"a/first"}, left: []string{"chunk upload", "manifest upload"},
		},
		"a footer is damaged": {
			damage: func(at string) { file, _ := packOf(at, "first"); flip(file, -1) },
			check:  []string{"pack repair"},
		},
		"the header of a pack is damaged": {
			damage: func(at string) { file, _ := packOf(at, "first"); flip(file, 20) },
			check:  []string{"pack repair"},
		},
		"a pack is missing": {
			damage: func(at string) { file, _ := packOf(at, "third"); must(t, os.Remove(file)) },
			check:  []string{"chunk upload", "index upload", "manifest upload", "metadata repair", "pack upload"},
			hurt:   []string{"a/third"}, left: []string{"chunk upload", "index upload", "manifest upload", "pack upload"},
		},
		"records are damaged": {
			damage: func(at string) {
				file, _ := packOf(at, "third")
				info, err := os.Stat(file)
				must(t, err)
				must(t, os.Truncate(file, info.Size()-20))
			},
			check: []string{"metadata repair", "pack repair"},
		},
		"the database is missing": {
			damage: func(at string) { must(t, os.RemoveAll(filepath.Join(at, "meta"))) },
			check:  []string{"metadata repair"},
		},
		"a table is damaged": {
			damage: func(at string) {
				tables, err := filepath.Glob(filepath.Join(at, "meta", "*.sst"))
				must(t, err)
				flip(tables[0], 300)
			},
			check: []string{"metadata repair"},
		},
		"the database is older": {
			damage: func(at string) {
				must(t, os.RemoveAll(filepath.Join(at, "meta")))
				must(t, os.CopyFS(filepath.Join(at, "meta"), os.DirFS(older)))
			},
			check: []string{"metadata repair"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(t.TempDir(), "x")
			must(t, os.CopyFS(at, os.DirFS(dir)))
			c.damage(at)
			run := func(o local.CheckOptions) (*check.Report, []string) {
				t.Helper()
				o.Options = *opts
				var kinds []string
				o.Found = func(p *check.Problem) {
					kinds = append(kinds, p.Kind+" "+p.Heals)
					if p.Repaired && !o.DryRun && p.Heals != check.HealsRepair || p.Repaired && (o.DryRun || !o.Repair) {
						t.Errorf("told as repaired: %+v", p)
					}
					if p.Kind != "manifest" && p.Does == "" {
						t.Errorf("what would a repair do about %+v?", p)
					}
				}
				r, err := local.Check(ctx, at, &o)
				must(t, err)
				slices.Sort(kinds)
				return r, slices.Compact(kinds)
			}
			before := listTree(t, at)
			r, kinds := run(local.CheckOptions{Repair: true, DryRun: true})
			if after := listTree(t, at); !slices.Equal(before, after) {
				t.Errorf("a dry run leaves\n%q, want\n%q", after, before)
			}
			if !slices.Equal(kinds, c.check) || r.OK != (len(c.check) == 0) {
				t.Errorf("a dry run tells %q, OK %v, want %q", kinds, r.OK, c.check)
			}
			r, kinds = run(local.CheckOptions{})
			if !slices.Equal(kinds, c.check) || r.OK != (len(c.check) == 0) {
				t.Errorf("check tells %q, OK %v, want %q", kinds, r.OK, c.check)
			}
			if _, kinds = run(local.CheckOptions{Repair: true}); !slices.Equal(kinds, c.check) {
				t.Errorf("a repair tells %q, want %q", kinds, c.check)
			}
			r, kinds = run(local.CheckOptions{})
			if !slices.Equal(kinds, c.left) || r.OK != (len(c.left) == 0) {
				t.Errorf("after the repair, check tells %q, OK %v, want %q", kinds, r.OK, c.left)
			}
			var hurt []string
			for _, d := range r.Damaged {
				hurt = append(hurt, d.Path)
			}
			if !slices.Equal(hurt, c.hurt) {
				t.Errorf("hurt are %q, want %q", hurt, c.hurt)
			}
		})
	}
}

// keepMetaOf copies the database of a closed store, and returns where.
func keepMetaOf(t *testing.T, dir string) string {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "meta")
	must(t, os.CopyFS(kept, os.DirFS(filepath.Join(dir, "meta"))))
	return kept
}
