package formattest

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/zeebo/blake3"
)

// A version is what the API says of one.
type version struct {
	row     buckets.Row
	current string // manifest of its file
	count   int    // versions of its file
	made    time.Time
	sum     [32]byte // SHA-256 of the bytes
}

// askAll asks the API for all that there is, by manifest.
func askAll(t *testing.T, s *buckets.Store) map[string]*version {
	t.Helper()
	out := map[string]*version{}
	for row, err := range s.Dump(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Bucket(row.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.Stat(t.Context(), row.FileID, &buckets.GetOptions{Trashed: true})
		if err != nil {
			t.Fatal(err)
		}
		out[row.ID] = &version{
			row: row, current: f.ManifestID, count: f.VersionsCount, made: f.CreatedAt,
			sum: sha256.Sum256(readVersion(t.Context(), t, b, row.ID)),
		}
	}
	return out
}

func readVersion(ctx context.Context, t *testing.T, b *buckets.Bucket, id string) []byte {
	t.Helper()
	o, err := b.Open(ctx, id, &buckets.GetOptions{Trashed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReadsStore reads what a random run has left of two domains, and compares it with what the API says.
func TestReadsStore(t *testing.T) {
	w := newWalk(t)
	w.run()
	want := askAll(t, w.store)
	w.close()

	domains := map[string]*domain{}
	for name, dir := range w.packDirs {
		d, err := readDomain(dir)
		if err != nil {
			t.Fatalf("domain %s: %v", name, err)
		}
		domains[name] = d
	}
	compare(t, want, domains)
	checkReach(t, domains)
	for _, d := range domains {
		w.flipBytes(d)
	}
}

// findHome returns the domain where the files of a bucket lie: where the home of the highest move is, or else where
// rows of it are.
func findHome(domains map[string]*domain, bucket string, rowsIn string) string {
	home, move := rowsIn, uint64(0)
	for name, d := range domains {
		if h := d.state.homes[bucket]; h != nil && h.num(2) > move {
			home, move = name, h.num(2)
		}
	}
	return home
}

// compare verifies that the versions in the packs are those that the API told of, and no others.
func compare(t *testing.T, want map[string]*version, domains map[string]*domain) {
	t.Helper()
	left := maps.Clone(want)
	for name, d := range domains {
		for _, m := range d.state.manifests {
			id := idText("m_", m.text(1))
			f := d.state.files[m.text(2)]
			if f == nil {
				t.Errorf("version %s has no file", id)
				continue
			}
			if findHome(domains, f.text(3), name) != name {
				continue
			}
			v := left[id]
			if v == nil {
				t.Errorf("version %s is not in the store, or twice in the packs", id)
				continue
			}
			delete(left, id)
			compareVersion(t, v, d, f, m)
		}
		d.compareSums(t)
	}
	for id, v := range left {
		t.Errorf("version %s of %s is in no pack", id, v.row.Name)
	}
}

func compareVersion(t *testing.T, v *version, d *domain, f, m *row) {
	t.Helper()
	content, root, err := d.content(m)
	if err != nil {
		t.Errorf("%s: %v", v.row.ID, err)
		return
	}
	got := rowOf(f, m, root)
	if want := normalize(t, v.row); !reflect.DeepEqual(got, want) {
		t.Errorf("%s is\n%+v\nwant\n%+v", v.row.ID, got, want)
	}
	if sha256.Sum256(content) != v.sum {
		t.Errorf("%s has other bytes", v.row.ID)
	}
	for name, want := range m.fields[10].dict {
		if sum := sumOf(t, name, content); !bytes.Equal(sum, []byte(want)) {
			t.Errorf("%s of %s is %x, and not %x", name, v.row.ID, sum, want)
		}
	}
	if current := idText("m_", f.text(11)); current != v.current {
		t.Errorf("current of %s is %s, and not %s", v.row.FileID, current, v.current)
	}
	if f.num(13) != uint64(v.count) || !timeOf(f.num(16)).Equal(v.made) {
		t.Errorf("%s has %d versions and was made at %v, and not %d at %v",
			v.row.FileID, f.num(13), timeOf(f.num(16)), v.count, v.made)
	}
}

// compareSums verifies what a file row says of all versions.
func (d *domain) compareSums(t *testing.T) {
	t.Helper()
	type sums struct{ versions, bytes, chunks, last uint64 }
	got := map[string]sums{}
	for _, m := range d.state.manifests {
		s := got[m.text(2)]
		got[m.text(2)] = sums{s.versions + 1, s.bytes + m.num(4), s.chunks + m.num(7), max(s.last, m.num(3))}
	}
	for id, f := range d.state.files {
		s := got[id]
		if s.last > f.num(12) {
			t.Errorf("version %d of %s, the last is said to be %d", s.last, idText("f_", id), f.num(12))
		}
		if said := (sums{f.num(13), f.num(14), f.num(15), s.last}); said != s {
			t.Errorf("%s has %+v, its row says %+v", idText("f_", id), s, said)
		}
	}
}

// rowOf is what the page calls a row of _alyx_files.
func rowOf(f, m *row, root digest) buckets.Row {
	digests := map[string]string{}
	for name, d := range m.fields[10].dict {
		digests[name] = hex.EncodeToString([]byte(d))
	}
	out := buckets.Row{
		ID: idText("m_", m.text(1)), FileID: idText("f_", m.text(2)), Version: m.num(3),
		Bucket: f.text(3), Folder: f.text(4), Name: f.text(5),
		MIMEType: m.text(11), DeclaredMIMEType: m.text(12),
		Size: int64(m.num(4)), Root: hex.EncodeToString(root[:]), Digests: digests, Chunker: m.text(6),
		Metadata: json.RawMessage("{}"), CacheControl: f.text(20), Tags: f.fields[10].list, Owner: f.text(7), Access: f.fields[8].dict,
		State:     []buckets.State{buckets.Active, buckets.Trashed, buckets.Quarantined}[f.num(6)],
		CreatedAt: timeOf(m.num(13)), UpdatedAt: timeOf(f.num(17)),
	}
	if _, held := f.fields[22].dict[out.ID]; held {
		out.State = buckets.Quarantined
	}
	if top, ok := m.fields[9]; ok {
		out.Segments = &buckets.RowSegments{Top: hex.EncodeToString(top.raw[:32]), Height: int(top.depth)}
	}
	if meta := f.fields[9].raw; meta != nil {
		out.Metadata = meta
	}
	if n := f.num(18); n > 0 {
		at := timeOf(n)
		out.DeletedAt = &at
	}
	return out
}

// normalize gives what is empty one form, as the packs do.
func normalize(t *testing.T, r buckets.Row) buckets.Row {
	t.Helper()
	if len(r.Tags) == 0 {
		r.Tags = nil
	}
	if len(r.Access) == 0 {
		r.Access = nil
	}
	var text bytes.Buffer
	if err := json.Compact(&text, r.Metadata); err != nil {
		t.Fatal(err)
	}
	r.Metadata = text.Bytes()
	r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
	if r.DeletedAt != nil {
		at := r.DeletedAt.UTC()
		r.DeletedAt = &at
	}
	return r
}

func timeOf(millis uint64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(millis)).UTC()
}

func sumOf(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	switch name {
	case "sha256":
		d := sha256.Sum256(b)
		return d[:]
	case "md5":
		d := md5.Sum(b)
		return d[:]
	case "blake3":
		d := blake3.Sum256(b)
		return d[:]
	}
	t.Fatalf("digest %q", name)
	return nil
}

// checkReach fails if the run made too little of what is to be read.
func checkReach(t *testing.T, domains map[string]*domain) {
	t.Helper()
	count := map[string]int{}
	for _, d := range domains {
		for _, p := range d.packs {
			count[map[bool]string{true: "sealed packs", false: "unsealed packs"}[p.sealed]]++
			for _, f := range p.frames {
				count[strings.Fields("- data segments records notes")[f.kind]]++
				count[strings.Fields("raw zstd gzip")[f.codec]]++
			}
		}
		for _, m := range d.state.manifests {
			if top, ok := m.fields[9]; ok {
				count["height "+string('0'+rune(top.depth))]++
			}
		}
		for _, f := range d.state.files {
			count[[]string{"active", "trashed", "quarantined"}[f.num(6)]]++
		}
		count["homes"] += len(d.state.homes)
		count["purged"] += len(d.state.purged)
		count["dropped"] += len(d.state.dropped)
	}
	t.Logf("%v", count)
	for _, what := range []string{
		"sealed packs", "unsealed packs", "data", "segments", "records", "raw", "zstd",
		"height 0", "height 1", "active", "trashed", "purged", "dropped", "homes",
	} {
		if count[what] == 0 {
			t.Errorf("the run made no %s", what)
		}
	}
}

// openStore opens a store of two domains whose packs are sealed early.
func openStore(t *testing.T, dir string) (*buckets.Store, map[string]string) {
	t.Helper()
	other := filepath.Join(dir, "other")
	all := []string{"sha256", "blake3", "md5"}
	opts := &local.Options{
		PackSize: 512 << 10,
		Backends: map[string]local.Backend{"first": {Path: filepath.Join(dir, "first")}, "other": {Path: other}},
		Buckets: map[string]buckets.Policy{
			"plain": {Domain: "first", Digests: all},
			"fine":  {Domain: "first", Profile: "fine", Digests: all[:1]},
			"few":   {Domain: "other", Profile: "fine", Versions: buckets.Versions{Keep: 2}, Trash: buckets.Trash{Off: true}},
		},
	}
	s, err := local.Open(t.Context(), filepath.Join(dir, "store"), opts)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{}
	for name, b := range opts.Backends {
		dirs[name] = filepath.Join(b.Path, "packs")
	}
	return s, dirs
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
