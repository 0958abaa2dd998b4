package local_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
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

// A flipStore is a closed store with all that may lie in one, and what it holds.
type flipStore struct {
	dir   string
	opts  *local.Options
	rows  map[string]buckets.Row // by version
	bytes map[string][]byte      // content, by version
}

// newFlipStore makes a store that has files of all kinds: with versions, in the
// trash, with chunks that others share, with a tree of segments; packs that were
// collected, one that is doomed and still there, and a checkpoint.
func newFlipStore(t *testing.T) *flipStore {
	t.Helper()
	ctx := t.Context()
	f := &flipStore{dir: t.TempDir(), opts: options(), bytes: make(map[string][]byte)}
	f.opts.PackSize = 300 << 10
	s := openAt(t, f.dir, f.opts)
	put := func(b, name string, p []byte) *buckets.File {
		t.Helper()
		got, err := bucket(t, s, b).Put(ctx, name, bytes.NewReader(p), nil)
		must(t, err)
		return got
	}
	gone := put("a", "gone", noise(1, 250<<10))
	kept := noise(2, 100<<10)
	put("a", "kept", kept)
	put("a", "shares", append(slices.Clone(kept), noise(3, 20<<10)...))
	put("b", "small", []byte("a few bytes"))
	put("a", "large", noise(4, 700<<10)) // with segments
	put("a", "text", text(5, 200<<10))
	versions := put("a", "versions", text(6, 50<<10))
	for n := range 4 {
		_, err := bucket(t, s, "a").Replace(ctx, versions.ID, bytes.NewReader(append(text(6, 40<<10), noise(uint64(10+n), 9000)...)), nil)
		must(t, err)
	}
	_, err := bucket(t, s, "b").Delete(ctx, put("b", "trashed", noise(7, 70<<10)).ID, nil)
	must(t, err)
	for n := range 30 {
		must(t, bucket(t, s, "a").Purge(ctx, put("a", "brief", noise(uint64(100+n), 5000)).ID, nil))
	}
	must(t, bucket(t, s, "a").Purge(ctx, gone.ID, nil))
	_, err = s.Collect(ctx, &collect.Options{Full: true})
	must(t, err)
	late := put("b", "late", noise(8, 350<<10))
	must(t, bucket(t, s, "b").Purge(ctx, put("b", "doomed", noise(9, 320<<10)).ID, nil))
	before := filepath.Join(t.TempDir(), "packs")
	must(t, os.CopyFS(before, os.DirFS(filepath.Join(f.dir, "packs"))))
	_, err = s.Collect(ctx, &collect.Options{Full: true})
	must(t, err)
	must(t, s.Close())
	// A pack comes back whose deletion had begun, and the database was lost.
	lost := slices.DeleteFunc(packsOf(t, filepath.Dir(before)), func(name string) bool {
		_, err := os.Stat(filepath.Join(f.dir, name))
		return err == nil
	})
	if len(lost) == 0 {
		t.Fatal("a collection has deleted nothing")
	}
	must(t, os.Link(filepath.Join(filepath.Dir(before), lost[0]), filepath.Join(f.dir, lost[0])))
	must(t, os.RemoveAll(filepath.Join(f.dir, "meta")))
	r, err := local.Check(ctx, f.dir, &local.CheckOptions{Options: *f.opts, Repair: true})
	if err != nil || !r.OK {
		t.Fatalf("a rebuild finds %+v, %v", r, err)
	}
	s = openAt(t, f.dir, f.opts)
	put("b", "after", noise(11, 10<<10))
	_, err = bucket(t, s, "b").Replace(ctx, late.ID, bytes.NewReader(noise(12, 30<<10)), nil)
	must(t, err)
	must(t, s.Close())
	s = openAt(t, f.dir, f.opts) // which writes tables, and begins a log
	put("b", "last", noise(13, 3000))
	f.rows = dump(t, s)
	for id, row := range f.rows {
		p, err := content(bucket(t, s, row.Bucket), id)
		must(t, err)
		f.bytes[id] = p
	}
	must(t, s.Close())
	if r, err := local.Check(ctx, f.dir, &local.CheckOptions{Options: *f.opts}); err != nil || !r.OK || len(r.Problems) > 0 {
		t.Fatalf("at first, check finds %+v, %v", r, err)
	}
	return f
}

// packsOf returns the packs of a store, as paths from its directory.
func packsOf(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	must(t, err)
	for i := range names {
		names[i], err = filepath.Rel(dir, names[i])
		must(t, err)
	}
	return names
}

// A hit is a damage of a file of a store.
type hit struct {
	file string // from the directory of the store
	how  string // flip, cut or remove
	at   int64
}

func (h hit) String() string { return fmt.Sprintf("%s %s at %d", h.how, h.file, h.at) }

func (h hit) apply(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, h.file)
	must(t, os.Chmod(name, 0o600))
	switch h.how {
	case "remove":
		must(t, os.Remove(name))
	case "cut":
		must(t, os.Truncate(name, h.at))
	default:
		p, err := os.ReadFile(name)
		must(t, err)
		p[h.at] ^= 1 << (h.at % 8)
		must(t, os.WriteFile(name, p, 0o600))
	}
}

// kindOf names a kind of files of a store.
func kindOf(name string) string {
	if strings.HasPrefix(name, "packs") {
		return "packs"
	}
	return strings.Trim(filepath.Base(name), "0123456789")
}

// hitsOf returns damages of a file: it is removed, cut, and bits are flipped in its
// first and last bytes, where packs have headers and footers, and elsewhere.
func hitsOf(r *rand.Rand, name string, size int64) []hit {
	hits := []hit{{name, "remove", 0}}
	if size == 0 {
		return hits
	}
	hits = append(hits, hit{name, "cut", r.Int64N(size)})
	for _, at := range []int64{r.Int64N(200), size - 1 - r.Int64N(60), r.Int64N(size), r.Int64N(size), r.Int64N(size)} {
		if at >= 0 && at < size {
			hits = append(hits, hit{name, "flip", at})
		}
	}
	return hits
}

// flipCases is how many damages are tried; more than that with CAIRN_SOAK.
const flipCases = 60

// Whatever byte of a store is flipped, whatever file is cut or removed: check finds
// it, or nothing that counts was touched; a repair brings back all that can be, and
// touches nothing else; what cannot be is named by its path, and healed when it is
// stored again and collected.
func TestFlipAnywhere(t *testing.T) {
	t.Parallel()
	race.LeaveOut(t)
	f := newFlipStore(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	var hits []hit
	for range soak(1) {
		must(t, filepath.WalkDir(f.dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			rel, err := filepath.Rel(f.dir, name)
			must(t, err)
			info, err := e.Info()
			must(t, err)
			hits = append(hits, hitsOf(r, rel, info.Size())...)
			return nil
		}))
	}
	r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
	tried := make(map[string]bool)
	first := slices.DeleteFunc(slices.Clone(hits), func(h hit) bool { // one of each kind
		key := h.how + " " + kindOf(h.file)
		before := tried[key]
		tried[key] = true
		return before
	})
	if soak(0) == 0 {
		hits = append(first, hits...)[:flipCases]
	}
	for _, h := range hits {
		t.Run(h.String(), func(t *testing.T) { t.Parallel(); f.try(t, h) })
	}
}

func (f *flipStore) try(t *testing.T, x hit) {
	dir := filepath.Join(t.TempDir(), "store")
	must(t, os.CopyFS(dir, os.DirFS(f.dir)))
	x.apply(t, dir)
	packs := make(map[string][]byte)
	for _, name := range packsOf(t, dir) {
		p, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		packs[name] = p
	}
	run := func(repair, dry bool) *check.Report {
		t.Helper()
		r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *f.opts, Repair: repair, DryRun: dry})
		if err != nil {
			t.Fatalf("check, repair %v, dry run %v: %v", repair, dry, err)
		}
		return r
	}
	list := func() []string { // a lock is taken, even so
		return slices.DeleteFunc(listTree(t, dir), func(line string) bool { return strings.Contains(line, "/.lock ") })
	}
	files := list()
	planned := run(true, true)
	if now := list(); !slices.Equal(now, files) {
		t.Errorf("a dry run leaves\n%q, want\n%q", now, files)
	}
	found := run(false, false)
	repaired := run(true, false)
	after := run(false, false)
	for i, p := range summarize(planned) {
		if r := summarize(repaired); len(r) != len(planned.Problems)+len(planned.Damaged) || r[i] != p {
			t.Fatalf("a dry run tells %d problems, such as %q, a repair %d, not this", len(planned.Problems), p, len(r))
		}
	}
	if found.OK && !repaired.OK || repaired.OK && !after.OK || after.ProblemCount > repaired.ProblemCount {
		t.Errorf("check finds %v %v, a repair %v %v, and a check after that %v %v", found.OK, found.Problems, repaired.OK, repaired.Problems, after.OK, after.Problems)
	}
	for name, p := range packs {
		now, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.HasPrefix(now, p) {
			t.Errorf("pack %s was changed by the repair, %v", name, err)
		}
	}
	hurt := make(map[string]bool)
	for _, d := range after.Damaged {
		hurt[d.ManifestID] = true
		if row := f.rows[d.ManifestID]; d.Path != path.Join(row.Bucket, row.Folder, row.Name) {
			t.Errorf("%s is named %q", d.ManifestID, d.Path)
		}
	}
	s := openAt(t, dir, f.opts)
	sameRows(t, dump(t, s), f.rows)
	for id, want := range f.bytes {
		got, err := content(bucket(t, s, f.rows[id].Bucket), id)
		if ok := err == nil && bytes.Equal(got, want); ok == hurt[id] {
			t.Errorf("version %s of %s reads well: %v, told as damaged: %v, %v", id, f.rows[id].Name, ok, hurt[id], err)
		}
		if hurt[id] && found.OK {
			t.Errorf("check finds nothing, and %s is hurt", f.rows[id].Name)
		}
	}
	for id := range hurt {
		_, err := bucket(t, s, f.rows[id].Bucket).Put(t.Context(), "healed-"+id, bytes.NewReader(f.bytes[id]), nil)
		must(t, err)
	}
	for id, want := range f.bytes {
		got, err := content(bucket(t, s, f.rows[id].Bucket), id)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("after a second upload, %s: %v", f.rows[id].Name, err)
		}
	}
	_, err := s.Collect(t.Context(), &collect.Options{Full: true})
	must(t, err)
	must(t, s.Close())
	if last := run(false, false); !last.OK {
		t.Errorf("after a second upload, check finds %+v %+v", last.Problems, last.Damaged)
	}
}

// summarize returns what a repair has told, or would do.
func summarize(r *check.Report) (lines []string) {
	for _, p := range slices.Concat(r.Problems, r.Damaged) {
		if p.Kind == "chunk" && p.Heals == check.HealsRepair {
			p.Pack = "" // a new one
		}
		lines = append(lines, strings.Join([]string{p.Kind, p.Pack, p.Digest, p.ManifestID, p.FileID, p.Path, p.Heals, p.Does}, " "))
	}
	slices.Sort(lines)
	return lines
}
