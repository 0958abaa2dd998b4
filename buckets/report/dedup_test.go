package report_test

import (
	"bytes"
	"cmp"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// readVersion reads a content.
func (w *world) readVersion(m *manifest.Manifest, domain string) []byte {
	w.t.Helper()
	p, err := io.ReadAll(manifest.NewReader(w.t.Context(), w.chunks[domain], w.db.Segments(domain), &m.Content))
	must(w.t, err)
	return p
}

// cutVersion reads a content and cuts it anew.
func (w *world) cutVersion(m *manifest.Manifest, domain string) (chunks [][]byte) {
	w.t.Helper()
	split, err := chunker.Parse(m.Chunker)
	must(w.t, err)
	for p := w.readVersion(m, domain); len(p) > 0; {
		n := split.Split(p)
		chunks, p = append(chunks, p[:n]), p[n:]
	}
	return chunks
}

// A recounted chunk or content is what refers to it.
type recounted struct {
	refs     int64
	length   int64
	groups   [4]map[string]bool // by dimension
	versions []manifest.VersionID
}

// A recount is a Dedup that is made by reading all that is stored.
type recount struct {
	want   report.Dedup
	groups [4]map[string]*report.Group // with sums over versions alone
	met    []metChunk
}

// A metChunk is a chunk that versions need and that is stored.
type metChunk struct {
	length, stored int64
	groups         [4]map[string]bool
}

func (r *recount) group(d int, name string) *report.Group {
	if r.groups[d] == nil {
		r.groups[d] = make(map[string]*report.Group)
	}
	if r.groups[d][name] == nil {
		r.groups[d][name] = &report.Group{Name: name}
	}
	return r.groups[d][name]
}

func groupNames(f *manifest.File, m *manifest.Manifest) [4]string {
	first, _, _ := strings.Cut(f.Folder, "/")
	return [4]string{f.Bucket, f.Owner, m.MIMEType, f.Bucket + "/" + first}
}

func (w *world) recountDedup() *recount {
	w.t.Helper()
	ctx, r := w.t.Context(), &recount{}
	var sizes [40]report.SizeClass
	for _, domain := range domains {
		var sums report.DedupSums
		chunks, contents := make(map[cas.Digest]*recounted), make(map[string]*recounted)
		note := func(to *recounted, names [4]string, id manifest.VersionID) *recounted {
			if to == nil {
				to = &recounted{}
			}
			to.refs++
			for d, name := range names {
				if to.groups[d] == nil {
					to.groups[d] = make(map[string]bool)
				}
				to.groups[d][name] = true
			}
			if !slices.Contains(to.versions, id) {
				to.versions = append(to.versions, id)
			}
			return to
		}
		files := make(map[manifest.FileID]bool)
		for row, err := range w.db.AllRows(ctx, "") {
			must(w.t, err)
			f, m := row.File, row.Manifest
			if policies[f.Bucket].Domain != domain {
				continue
			}
			files[f.ID] = true
			sums.Versions++
			names := groupNames(f, m)
			cut := w.cutVersion(m, domain)
			for _, p := range cut {
				d := cas.Sum(p)
				chunks[d] = note(chunks[d], names, m.ID)
				chunks[d].length = int64(len(p))
				sums.LogicalBytes += int64(len(p))
				sums.References++
			}
			whole := bytes.Join(cut, nil)
			if len(whole) > 0 {
				key := m.Chunker + string(whole)
				contents[key] = note(contents[key], names, m.ID)
				contents[key].length = int64(len(whole))
			}
			for d, name := range names {
				g := r.group(d, name)
				g.Versions++
				g.LogicalBytes += int64(len(whole))
				g.References += int64(len(cut))
			}
		}
		sums.Files = int64(len(files))
		frames := make(map[cas.FrameID]cas.FrameEntry)
		for f, err := range w.chunks[domain].Index().AllFrames(ctx) {
			must(w.t, err)
			frames[f.ID] = f
		}
		met := 0
		for e, err := range w.chunks[domain].Index().AllChunks(ctx) {
			must(w.t, err)
			f, length := frames[e.Frame], int64(e.Length)
			stored := int64(f.HeaderLen+f.StoredLen) * length / int64(f.PlainLen)
			c := chunks[e.Digest]
			switch {
			case f.Kind == cas.KindSegment:
				sums.SegmentBytes += stored
				continue
			case c == nil:
				sums.OtherChunks++
				sums.OtherBytes += stored
				continue
			}
			met++
			sums.UniqueChunks++
			sums.UniqueBytes += c.length
			sums.CompressedBytes += stored
			class := 0
			for 2<<class <= length {
				class++
			}
			sizes[class].From, sizes[class].Chunks, sizes[class].Bytes = 1<<class, sizes[class].Chunks+1, sizes[class].Bytes+length
			r.met = append(r.met, metChunk{length, stored, c.groups})
			if c.refs > 1 {
				r.want.Chunks = append(r.want.Chunks, report.SharedChunk{Domain: domain, Digest: e.Digest, References: c.refs, Length: length,
					StoredBytes: stored, Examples: w.examples(c.versions)})
			}
		}
		sums.Missing = int64(len(chunks) - met)
		for _, c := range contents {
			if c.refs > 1 {
				r.want.Contents = append(r.want.Contents, report.SharedContent{Domain: domain, Size: c.length, Versions: c.refs, Examples: w.examples(c.versions)})
			}
		}
		for p, err := range w.chunks[domain].Index().AllPacks(ctx) {
			must(w.t, err)
			sums.Packs, sums.StoredBytes, sums.RecordBytes = sums.Packs+1, sums.StoredBytes+p.Size, sums.RecordBytes+p.Records
		}
		r.want.Domains = append(r.want.Domains, report.DomainDedup{Domain: domain, DedupSums: sums})
		whole := &r.want.DedupSums
		whole.Files, whole.Versions, whole.LogicalBytes, whole.References = whole.Files+sums.Files, whole.Versions+sums.Versions, whole.LogicalBytes+sums.LogicalBytes, whole.References+sums.References
		whole.UniqueChunks, whole.UniqueBytes, whole.CompressedBytes = whole.UniqueChunks+sums.UniqueChunks, whole.UniqueBytes+sums.UniqueBytes, whole.CompressedBytes+sums.CompressedBytes
		whole.SegmentBytes, whole.OtherChunks, whole.OtherBytes = whole.SegmentBytes+sums.SegmentBytes, whole.OtherChunks+sums.OtherChunks, whole.OtherBytes+sums.OtherBytes
		whole.RecordBytes, whole.Packs, whole.StoredBytes, whole.Missing = whole.RecordBytes+sums.RecordBytes, whole.Packs+sums.Packs, whole.StoredBytes+sums.StoredBytes, whole.Missing+sums.Missing
	}
	slices.SortFunc(r.want.Chunks, func(a, b report.SharedChunk) int {
		return cmp.Or(cmp.Compare(b.Saved(), a.Saved()), strings.Compare(a.Domain, b.Domain), slices.Compare(a.Digest[:], b.Digest[:]))
	})
	for i, c := range sizes {
		if c.From = 1 << i; c.Chunks > 0 || len(r.want.Sizes) > 0 {
			r.want.Sizes = append(r.want.Sizes, c)
		}
	}
	for n := len(r.want.Sizes); n > 0 && r.want.Sizes[n-1].Chunks == 0; n-- {
		r.want.Sizes = r.want.Sizes[:n-1]
	}
	return r
}

// examples are the first and the last of versions.
func (w *world) examples(ids []manifest.VersionID) (out []report.Example) {
	w.t.Helper()
	if len(ids) > 1 {
		ids = []manifest.VersionID{ids[0], ids[len(ids)-1]}
	}
	for _, id := range ids {
		m, err := w.db.Manifest(w.t.Context(), id)
		must(w.t, err)
		f, err := w.db.File(w.t.Context(), m.File)
		must(w.t, err)
		out = append(out, report.Example{Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: m.ID})
	}
	return out
}

// checkDedup compares the report with a recount.
func (w *world) checkDedup(when string, top int) {
	w.t.Helper()
	r := w.recountDedup()
	var got *report.Dedup
	w.untilQuiet(func() (same bool) {
		var err error
		got, err = w.store.ReportDedup(w.t.Context(), &report.Options{Top: top})
		must(w.t, err)
		last := r.want.Domains
		r = w.recountDedup()
		return reflect.DeepEqual(r.want.Domains, last)
	})
	if got.DedupSums != r.want.DedupSums || !reflect.DeepEqual(got.Domains, r.want.Domains) {
		w.t.Fatalf("%s: sums\n got %+v\nwant %+v\n got %+v\nwant %+v", when, got.DedupSums, r.want.DedupSums, got.Domains, r.want.Domains)
	}
	if !reflect.DeepEqual(got.Sizes, r.want.Sizes) {
		w.t.Fatalf("%s: sizes\n got %+v\nwant %+v", when, got.Sizes, r.want.Sizes)
	}
	if want := r.want.Chunks[:min(top, len(r.want.Chunks))]; !reflect.DeepEqual(got.Chunks, want) {
		w.t.Fatalf("%s: chunks\n got %+v\nwant %+v", when, got.Chunks, want)
	}
	w.checkContents(when, got.Contents, r.want.Contents, top)
	for d, list := range []report.GroupList{got.Buckets, got.Owners, got.Types, got.Folders} {
		w.checkGroups(when, d, &list, r, top)
	}
}

// checkContents compares contents. Those that save as much may come in any order.
func (w *world) checkContents(when string, got, want []report.SharedContent, top int) {
	w.t.Helper()
	slices.SortFunc(want, func(a, b report.SharedContent) int { return cmp.Compare(b.Saved(), a.Saved()) })
	if len(got) != min(top, len(want)) {
		w.t.Fatalf("%s: %d contents, want %d", when, len(got), min(top, len(want)))
	}
	for i, c := range got {
		if c.Saved() != want[i].Saved() || !slices.ContainsFunc(want, func(o report.SharedContent) bool { return reflect.DeepEqual(c, o) }) {
			w.t.Fatalf("%s: content %+v\nwant %+v", when, c, want)
		}
	}
}

// countGroups counts what the groups of a dimension need. Those that are not listed
// are one, which is returned.
func (r *recount) countGroups(d int, listed map[string]bool) (rest *report.Group) {
	rest = &report.Group{}
	for name, g := range r.groups[d] {
		if !listed[name] {
			rest.Versions, rest.LogicalBytes, rest.References = rest.Versions+g.Versions, rest.LogicalBytes+g.LogicalBytes, rest.References+g.References
		}
	}
	for _, c := range r.met {
		by := make(map[*report.Group]bool)
		for name := range c.groups[d] {
			if listed[name] {
				by[r.groups[d][name]] = true
			} else {
				by[rest] = true
			}
		}
		for g := range by {
			g.UniqueBytes += c.length
			g.StoredBytes += c.stored
			g.ShareStored += c.stored / int64(len(by))
			if len(by) == 1 {
				g.ExclusiveBytes += c.length
				g.ExclusiveStored += c.stored
			}
		}
	}
	return rest
}

// checkGroups compares the groups of a dimension.
func (w *world) checkGroups(when string, d int, got *report.GroupList, r *recount, top int) {
	w.t.Helper()
	if n := len(r.groups[d]); len(got.Groups) != min(top, n) || got.Others != int64(n-len(got.Groups)) {
		w.t.Fatalf("%s: dimension %d has %d groups and %d more, want %d of %d", when, d, len(got.Groups), got.Others, top, n)
	}
	listed := make(map[string]bool)
	for _, g := range got.Groups {
		listed[g.Name] = true
	}
	rest := r.countGroups(d, listed)
	least := int64(0)
	for i, g := range got.Groups {
		if want := r.groups[d][g.Name]; want == nil || g != *want {
			w.t.Fatalf("%s: group %d of dimension %d\n got %+v\nwant %+v", when, i, d, g, want)
		}
		if i > 0 && g.LogicalBytes > least {
			w.t.Fatalf("%s: group %q of %d bytes stands behind one of %d", when, g.Name, g.LogicalBytes, least)
		}
		least = g.LogicalBytes
	}
	for name, g := range r.groups[d] {
		if g.LogicalBytes > least && !listed[name] {
			w.t.Fatalf("%s: group %q of %d bytes is not listed", when, name, g.LogicalBytes)
		}
	}
	if got.Rest != *rest {
		w.t.Fatalf("%s: the rest of dimension %d\n got %+v\nwant %+v", when, d, got.Rest, *rest)
	}
}

// What a report says of deduplication is what reading everything says, whatever was
// done before, and after crashes.
func TestDedup(t *testing.T) {
	race.LeaveOut(t)
	t.Run("pebble", func(t *testing.T) {
		for seed := range uint64(3) {
			w := newPebbleWorld(t, seed)
			w.checkDedup("empty", 20)
			for i := range 60 {
				w.step()
				if i%12 == 5 {
					w.checkDedup("changed", 1+i%9)
				}
				if i%25 == 24 {
					w.crash(int(seed) * 30)
					w.checkDedup("crashed", 20)
				}
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		w := newPostgresWorld(t, 7)
		for range 40 {
			w.step()
		}
		w.checkDedup("changed", 20)
		w.checkDedup("changed", 2)
	})
}
