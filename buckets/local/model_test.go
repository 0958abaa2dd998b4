package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
)

// A model is a store in plain memory: what is expected of the real one. IDs,
// times and free names are the store's to choose; the model takes them over
// from its answers and expects them to stay.
type model struct {
	t     *testing.T
	r     *rand.Rand
	dir   string
	opts  func() *local.Options
	crash func() // where the machine can crash; nil elsewhere
	s     *buckets.Store
	files map[string]*mfile
	blobs [][]byte // contents used so far
	ops   int
}

type mfile struct {
	id, bucket, folder, name string
	trashed                  bool
	owner                    string
	metadata                 map[string]any
	tags                     []string
	versions                 []*mversion // in order of numbers, the last one is current
	last                     uint64
	created, updated         time.Time
	deleted                  time.Time
	shown                    string    // version whose content became current at modified
	modified                 time.Time // as the store says: later by seconds than that of any content before
}

type mversion struct {
	id, root, mime, declared string
	n                        uint64
	content                  []byte
	created                  time.Time
}

func (f *mfile) path() string {
	if f.folder == "" {
		return f.name
	}
	return f.folder + "/" + f.name
}

func (f *mfile) current() *mversion { return f.versions[len(f.versions)-1] }

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("after %d operations: %s", m.ops, fmt.Sprintf(format, args...))
}

// want fails unless err is one of wants, nil being no error.
func (m *model) want(what string, err error, want error) {
	m.t.Helper()
	if !errors.Is(err, want) {
		m.fatalf("%s: error %v, want %v", what, err, want)
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (m *model) bucket() *buckets.Bucket { return bucket(m.t, m.s, pick(m.r, "a", "b")) }

func (m *model) name() (folder, name string) {
	return pick(m.r, "", "", "d", "d/e"), pick(m.r, "f", "g.txt", "h.tar.gz", "f (2)", "é")
}

// blob is new content, old content, or old content changed a little.
func (m *model) blob() []byte {
	if n := len(m.blobs); n > 0 && m.r.IntN(3) == 0 {
		p := m.blobs[m.r.IntN(n)]
		if m.r.IntN(2) == 0 {
			return p
		}
		at := m.r.IntN(len(p) + 1)
		p = slices.Concat(p[:at], noise(m.r.Uint64(), m.r.IntN(50)), p[at:])
		m.blobs = append(m.blobs, p)
		return p
	}
	size := pick(m.r, 0, 1, m.r.IntN(200), m.r.IntN(200), m.r.IntN(20_000), m.r.IntN(20_000), m.r.IntN(200_000))
	if m.r.IntN(25) == 0 {
		size = 1_000_000 + m.r.IntN(1_000_000)
	}
	p := pick(m.r, noise, text)(m.r.Uint64(), size)
	m.blobs = append(m.blobs, p)
	return p
}

// file picks a file in the given state, nil if there is none.
func (m *model) file(trashed bool) *mfile {
	var ids []string
	for id, f := range m.files {
		if f.trashed == trashed {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return m.files[ids[m.r.IntN(len(ids))]]
}

func (m *model) at(bucket, path string) *mfile {
	for _, f := range m.files {
		if !f.trashed && f.bucket == bucket && f.path() == path {
			return f
		}
	}
	return nil
}

func (m *model) of(f *mfile) *buckets.Bucket { return bucket(m.t, m.s, f.bucket) }

// step does one operation on both.
func (m *model) step() {
	m.t.Helper()
	active, trashed := m.file(false), m.file(true)
	switch n := m.r.IntN(100); {
	case n < 29 || active == nil:
		m.put()
	case n < 32:
		m.edit(active)
	case n < 40:
		m.replace(active)
	case n < 55:
		m.patch(active)
	case n < 64:
		m.delete(active)
	case n < 70 && trashed != nil:
		m.undelete(trashed)
	case n < 75:
		m.purge(pick(m.r, active, trashed))
	case n < 81:
		m.copy(active)
	case n < 86:
		m.restore(active)
	case n < 92:
		m.deleteVersion(pick(m.r, active, trashed))
	case n < 95:
		m.refused(active)
	case n < 96:
		m.reopen()
	default:
		m.put()
	}
	m.ops++
}

// uploadOptions are random choices and what the model makes of them.
func (m *model) uploadOptions() *buckets.PutOptions {
	o := &buckets.PutOptions{MIMEType: pick(m.r, "", "x/y")}
	if m.r.IntN(3) == 0 {
		o.Metadata = map[string]any{pick(m.r, "a", "b"): pick[any](m.r, "v", 1.5, nil, true, []any{"x"})}
	}
	if m.r.IntN(10) == 0 {
		o.Metadata = map[string]any{}
	}
	if m.r.IntN(3) == 0 {
		o.Tags = pick(m.r, []string{}, []string{"t"}, []string{"t", "u"})
	}
	o.SkipUnchanged = m.r.IntN(3) == 0
	return o
}

// body is a reader of p that may be slow in giving it.
func (m *model) body(p []byte) io.Reader {
	if m.r.IntN(4) == 0 && len(p) < 5000 {
		return iotest.OneByteReader(bytes.NewReader(p))
	}
	return bytes.NewReader(p)
}

func (m *model) put() {
	b := m.bucket()
	p := m.blob()
	o := m.uploadOptions()
	folder, name := m.name()
	o.Folder, o.OnConflict = folder, pick(m.r, "", buckets.ConflictVersion, buckets.ConflictNew, buckets.ConflictFail)
	old := m.at(b.Name(), (&mfile{folder: folder, name: name}).path())
	if old != nil && m.r.IntN(4) == 0 {
		o.IfMatch = pick(m.r, "*", old.current().root)
	}
	who := pick(m.r, "", "alice", "bob")
	f, err := b.As(&access.Principal{ID: who, Operator: true}).Put(context.Background(), name, m.body(p), o)
	switch {
	case o.OnConflict == buckets.ConflictNew && o.IfMatch != "":
		m.want("put anew if-match", err, buckets.ErrPrecondition)
	case o.OnConflict == buckets.ConflictFail && old != nil:
		m.want("put of a taken name", err, buckets.ErrExist)
	case old != nil && o.OnConflict != buckets.ConflictNew:
		m.want("put of a version", err, nil)
		m.addVersion(old, f, p, o)
	default:
		m.want("put", err, nil)
		if old == nil && f.Name != name || old != nil && !strings.Contains(f.Name, " (") {
			m.fatalf("put of %q made %q", name, f.Name)
		}
		m.addFile(f, b.Name(), folder, who, p, o)
	}
}

// addFile takes over a new file.
func (m *model) addFile(f *buckets.File, bucket, folder, owner string, p []byte, o *buckets.PutOptions) {
	m.t.Helper()
	if m.files[f.ID] != nil || m.at(bucket, f.Path()) != nil {
		m.fatalf("%s at %q is not new", f.ID, f.Path())
	}
	n := &mfile{id: f.ID, bucket: bucket, folder: folder, name: f.Name, owner: owner, created: f.CreatedAt}
	m.files[f.ID] = n
	m.addVersion(n, f, p, o)
}

// addVersion takes over a version, or the news that nothing has changed.
func (m *model) addVersion(old *mfile, f *buckets.File, p []byte, o *buckets.PutOptions) {
	m.t.Helper()
	if len(old.versions) > 0 {
		cur := old.current()
		same := o.SkipUnchanged && bytes.Equal(cur.content, p) && (o.Metadata == nil || jsonOf(o.Metadata) == jsonOf(old.meta())) &&
			(o.Tags == nil || slices.Equal(o.Tags, old.tags))
		if same != f.Unchanged {
			m.fatalf("unchanged is %v, want %v", f.Unchanged, same)
		}
		if same {
			return
		}
	}
	if o.Metadata != nil {
		old.metadata = maps.Clone(o.Metadata)
	}
	if o.Tags != nil {
		old.tags = o.Tags
	}
	m.push(old, f, p, f.MIMEType, o.MIMEType)
}

// push makes f the current version of old.
func (m *model) push(old *mfile, f *buckets.File, p []byte, mime, declared string) {
	m.t.Helper()
	old.last++
	old.versions = append(old.versions, &mversion{id: f.ManifestID, root: f.Checksums["root"], mime: mime,
		declared: declared, n: old.last, content: p, created: f.VersionCreatedAt})
	old.updated = f.UpdatedAt
	m.same(f, old)
}

// same compares what the store says of a file with the model.
func (m *model) same(got *buckets.File, f *mfile) {
	m.t.Helper()
	g := *got
	if now := f.current().id; now != f.shown {
		if g.ModifiedAt.Unix() <= f.modified.Unix() && f.shown != "" {
			m.fatalf("%s became current at %s, the content before at %s", now, g.ModifiedAt, f.modified)
		}
		f.shown, f.modified = now, g.ModifiedAt
	}
	want := m.describe(f, f.current())
	g.NewBytes, g.StoredBytes, g.Unchanged, g.Chunker = 0, 0, false, ""
	g.Checksums = map[string]string{"root": g.Checksums["root"]}
	if len(g.Tags) == 0 {
		g.Tags = nil
	}
	if !reflect.DeepEqual(&g, want) {
		m.fatalf("the store says\n%+v, the model\n%+v", &g, want)
	}
}

func (f *mfile) meta() map[string]any {
	if f.metadata == nil {
		return map[string]any{}
	}
	return f.metadata
}

func (m *model) describe(f *mfile, v *mversion) *buckets.File {
	want := &buckets.File{ID: f.id, ManifestID: v.id, Bucket: f.bucket, Name: f.name, Folder: f.folder, Size: int64(len(v.content)),
		MIMEType: v.mime, DeclaredMIMEType: v.declared, Checksums: map[string]string{"root": v.root}, Version: v.n,
		VersionsCount: len(f.versions), State: buckets.Active, Owner: f.owner, Metadata: f.meta(), CreatedAt: f.created,
		UpdatedAt: f.updated, DeletedAt: f.deleted, VersionCreatedAt: v.created, ModifiedAt: v.created}
	if v == f.current() {
		want.ModifiedAt = f.modified
	}
	if len(f.tags) > 0 {
		want.Tags = f.tags
	}
	if f.trashed {
		want.State = buckets.Trashed
	}
	return want
}

func (m *model) replace(f *mfile) {
	p, o := m.blob(), m.uploadOptions()
	got, err := m.of(f).Replace(context.Background(), f.id, m.body(p), o)
	m.want("replace", err, nil)
	m.addVersion(f, got, p, o)
}

// edit composes a version of its own ranges, new bytes, and another file's.
func (m *model) edit(f *mfile) {
	other := m.file(false)
	old, v := f.current().content, other.versions[m.r.IntN(len(other.versions))]
	i, j, k := m.r.IntN(len(old)+1), m.r.IntN(len(old)+1), m.r.IntN(len(v.content)+1)
	q := noise(m.r.Uint64(), m.r.IntN(300))
	var got *buckets.File
	var err error
	var p []byte
	o := m.uploadOptions()
	switch m.r.IntN(4) {
	case 0:
		p = slices.Concat(old, q)
		got, err = m.of(f).Extend(context.Background(), f.id, m.body(q), -1, o)
	case 1:
		p = slices.Concat(old[:i], q, old[min(i+len(q), len(old)):])
		got, err = m.of(f).Overwrite(context.Background(), f.id, int64(i), m.body(q), int64(len(q)), o)
	case 2:
		p = old[:i]
		got, err = m.of(f).Truncate(context.Background(), f.id, int64(i), o)
	case 3:
		p = slices.Concat(old[:i], q, v.content[k:], old[j:])
		got, err = m.of(f).Edit(context.Background(), f.id, []buckets.Piece{{File: f.id, Length: int64(i)}, {Data: q},
			{File: v.id, Bucket: m.of(other), Offset: int64(k), Length: -1}, {File: f.current().id, Offset: int64(j), Length: -1}}, o)
	}
	m.want("edit", err, nil)
	if len(p) < 5_000_000 {
		m.blobs = append(m.blobs, p)
	}
	if o.MIMEType == "" {
		o.MIMEType = f.current().declared
	}
	m.addVersion(f, got, p, o)
}

func (m *model) patch(f *mfile) {
	p := &buckets.Patch{}
	next := *f
	if m.r.IntN(2) == 0 {
		_, name := m.name()
		p.Name, next.name = &name, name
	}
	if m.r.IntN(3) == 0 {
		folder, _ := m.name()
		p.Folder, next.folder = &folder, folder
	}
	if m.r.IntN(2) == 0 {
		p.Metadata = map[string]any{pick(m.r, "a", "b", "c"): pick[any](m.r, nil, "w", 2.0)}
		next.metadata = maps.Clone(f.meta())
		for k, v := range p.Metadata {
			if next.metadata[k] = v; v == nil {
				delete(next.metadata, k)
			}
		}
	}
	if m.r.IntN(3) == 0 {
		tags := pick(m.r, []string{}, []string{"p"})
		p.Tags, next.tags = &tags, tags
	}
	if m.r.IntN(4) == 0 {
		p.IfMatch = f.current().root
	}
	got, err := m.of(f).Update(context.Background(), f.id, p)
	if other := m.at(f.bucket, next.path()); other != nil && other != f {
		m.want("rename onto a file", err, buckets.ErrExist)
		return
	}
	m.want("patch", err, nil)
	*f = next
	f.updated = got.UpdatedAt
	m.same(got, f)
}

func (m *model) delete(f *mfile) {
	got, err := m.of(f).Delete(context.Background(), f.id, nil)
	m.want("delete", err, nil)
	f.trashed, f.deleted, f.updated = true, got.DeletedAt, got.UpdatedAt
	if got.DeletedAt.IsZero() {
		m.fatalf("deleted never")
	}
	m.same(got, f)
}

func (m *model) undelete(f *mfile) {
	got, err := m.of(f).Undelete(context.Background(), f.id)
	m.want("undelete", err, nil)
	if free := m.at(f.bucket, f.path()) == nil; free != (got.Name == f.name) || m.at(f.bucket, got.Path()) != nil {
		m.fatalf("undelete of %q made %q", f.name, got.Name)
	}
	f.trashed, f.name, f.deleted, f.updated = false, got.Name, time.Time{}, got.UpdatedAt
	m.same(got, f)
}

func (m *model) purge(f *mfile) {
	if f == nil {
		return
	}
	m.want("purge", m.of(f).Purge(context.Background(), f.id, nil), nil)
	delete(m.files, f.id)
}

func (m *model) copy(f *mfile) {
	dst, v := m.bucket(), f.versions[m.r.IntN(len(f.versions))]
	folder, name := m.name()
	o := &buckets.CopyOptions{Version: v.n, Name: name, Folder: &folder, OnConflict: pick(m.r, "", buckets.ConflictVersion)}
	got, err := m.of(f).Copy(context.Background(), f.id, dst, o)
	m.want("copy", err, nil)
	po := &buckets.PutOptions{Metadata: f.meta(), Tags: f.tags, MIMEType: v.declared}
	if len(f.tags) == 0 {
		po.Tags = nil
	}
	if got.MIMEType != v.mime {
		m.fatalf("the copy is %s, the original %s", got.MIMEType, v.mime)
	}
	old := m.at(dst.Name(), (&mfile{folder: folder, name: name}).path())
	if old != nil && o.OnConflict == buckets.ConflictVersion {
		m.addVersion(old, got, v.content, po)
		return
	}
	m.addFile(got, dst.Name(), folder, "", v.content, po)
}

func (m *model) restore(f *mfile) {
	v := f.versions[m.r.IntN(len(f.versions))]
	got, err := m.of(f).RestoreVersion(context.Background(), f.id, v.n)
	m.want("restore", err, nil)
	m.push(f, got, v.content, v.mime, v.declared)
}

func (m *model) deleteVersion(f *mfile) {
	if f == nil {
		return
	}
	i := m.r.IntN(len(f.versions))
	err := m.of(f).DeleteVersion(context.Background(), f.id, f.versions[i].n)
	if len(f.versions) == 1 {
		m.want("delete of the last version", err, buckets.ErrLastVersion)
		return
	}
	m.want("delete version", err, nil)
	f.versions = slices.Delete(f.versions, i, i+1)
	got, err := m.of(f).Stat(context.Background(), f.id, &buckets.GetOptions{Trashed: true})
	m.want("stat", err, nil)
	f.updated = got.UpdatedAt
	m.same(got, f)
}

// refused tries what must leave no trace.
func (m *model) refused(f *mfile) {
	ctx, b := context.Background(), m.of(f)
	p := m.blob()
	wrong := strings.Repeat("0", 64)
	_, err := b.Replace(ctx, f.id, m.body(p), &buckets.PutOptions{IfMatch: wrong})
	m.want("wrong if-match", err, buckets.ErrPrecondition)
	_, err = b.Put(ctx, f.name, m.body(p), &buckets.PutOptions{Folder: f.folder, Size: int64(len(p)) + 1, SizeKnown: true})
	m.want("short", err, buckets.ErrSize)
	broken := errors.New("broken")
	_, err = b.Put(ctx, f.name, io.MultiReader(m.body(p), iotest.ErrReader(broken)), &buckets.PutOptions{Folder: f.folder})
	m.want("broken", err, broken)
	_, err = b.Delete(ctx, f.id, &buckets.DeleteOptions{IfMatch: wrong})
	m.want("delete", err, buckets.ErrPrecondition)
	_, err = b.Update(ctx, f.id, &buckets.Patch{IfMatch: wrong, Name: new(string)})
	m.want("update", err, buckets.ErrPrecondition)
	// A race that is lost at the commit, after all chunks are stored.
	body := io.MultiReader(m.body(p), &last{func() {
		got, err := b.Update(ctx, f.id, &buckets.Patch{Tags: &[]string{"won"}})
		m.want("update meanwhile", err, nil)
		f.tags, f.updated = []string{"won"}, got.UpdatedAt
		q := []byte(fmt.Sprint("the winner ", m.ops))
		got, err = b.Replace(ctx, f.id, bytes.NewReader(q), nil)
		m.want("replace meanwhile", err, nil)
		m.addVersion(f, got, q, &buckets.PutOptions{})
	}})
	_, err = b.Replace(ctx, f.id, body, &buckets.PutOptions{IfMatch: f.current().root})
	m.want("a lost race", err, buckets.ErrPrecondition)
}

// last runs a function at the end of a stream.
type last struct{ run func() }

func (l *last) Read([]byte) (int, error) {
	if l.run != nil {
		l.run()
		l.run = nil
	}
	return 0, io.EOF
}

func (m *model) reopen() {
	if m.crash != nil && m.r.IntN(2) == 0 {
		m.crash()
		m.s.Close() // what it does now reaches nobody
	} else {
		m.want("close", m.s.Close(), nil)
	}
	m.open()
}

func (m *model) open() {
	m.t.Helper()
	s, err := local.Open(context.Background(), m.dir, m.opts())
	m.want("open", err, nil)
	m.s = s
}

// check fails unless Check finds nothing or, with rebuild, makes the database
// anew.
func (m *model) check(when string, rebuild bool) {
	m.t.Helper()
	opts := &local.CheckOptions{Options: *m.opts(), Repair: rebuild}
	if rebuild {
		opts.TakeOwnership = true // it is another database
		if opts.MetaFS != nil {
			m.want("remove", opts.MetaFS.RemoveAll(filepath.Join(m.dir, "meta")), nil)
		} else {
			m.want("remove", os.RemoveAll(filepath.Join(m.dir, "meta")), nil)
		}
	}
	r, err := local.Check(context.Background(), m.dir, opts)
	m.want("check", err, nil)
	if !r.OK || len(r.Damaged) > 0 || r.Rebuilt != rebuild || !rebuild && len(r.Problems) > 0 {
		m.fatalf("%s, check finds %+v, damaged %+v", when, r.Problems, r.Damaged)
	}
}

// run does rounds of steps, each ended by a rebuild from nothing but the packs.
func (m *model) run(rounds, steps, compare int) {
	m.open()
	for range rounds {
		for i := range steps {
			m.step()
			if i%compare == compare-1 {
				m.compare()
			}
		}
		before := dump(m.t, m.s)
		must(m.t, m.s.Close())
		m.check("after a round", false)
		m.check("rebuilt", true)
		m.check("after the rebuild", false)
		m.open()
		sameRows(m.t, dump(m.t, m.s), before)
		m.compare()
	}
	must(m.t, m.s.Close())
}

// compare looks at everything.
func (m *model) compare() {
	m.t.Helper()
	rows := dump(m.t, m.s)
	n := 0
	for _, f := range m.files {
		n += len(f.versions)
		m.compareFile(f, rows)
	}
	if n != len(rows) {
		m.fatalf("%d rows, want %d", len(rows), n)
	}
	for _, name := range m.s.Buckets() {
		m.compareBucket(bucket(m.t, m.s, name))
	}
}

func (m *model) compareFile(f *mfile, rows map[string]buckets.Row) {
	m.t.Helper()
	b := m.of(f)
	for _, v := range f.versions {
		r, ok := rows[v.id]
		if !ok {
			m.fatalf("version %d of %q is missing", v.n, f.path())
		}
		if r.FileID != f.id || r.Version != v.n || r.Root != v.root || r.Size != int64(len(v.content)) || r.Bucket != f.bucket ||
			r.Owner != f.owner || string(r.Metadata) != jsonOf(f.meta()) || !r.CreatedAt.Equal(v.created) || !r.UpdatedAt.Equal(f.updated) {
			m.fatalf("row %+v, want version %+v of %+v", r, v, f)
		}
		p, err := content(b, v.id)
		if err != nil || !bytes.Equal(p, v.content) {
			m.fatalf("version %d of %q: %d bytes, want %d: %v", v.n, f.path(), len(p), len(v.content), err)
		}
		if d := r.Digests["sha256"]; d != "" && d != sum(p) {
			m.fatalf("sha256 of version %d of %q is %s", v.n, f.path(), d)
		}
	}
	got, err := b.Stat(context.Background(), f.id, &buckets.GetOptions{Trashed: true})
	m.want("stat", err, nil)
	m.same(got, f)
	i := len(f.versions)
	for g, err := range b.Versions(context.Background(), f.id) {
		m.want("versions", err, nil)
		if i--; i < 0 || g.ManifestID != f.versions[i].id {
			m.fatalf("versions of %q: %s at %d", f.path(), g.ManifestID, i)
		}
	}
	if i != 0 {
		m.fatalf("%d versions of %q are missing", i, f.path())
	}
}

func (m *model) compareBucket(b *buckets.Bucket) {
	m.t.Helper()
	want := buckets.Usage{Bucket: b.Name()}
	var active, trashed []string
	for _, f := range m.files {
		if f.bucket != b.Name() {
			continue
		}
		var size int64
		for _, v := range f.versions {
			size += int64(len(v.content))
		}
		want.Versions += int64(len(f.versions))
		if f.trashed {
			want.TrashedFiles, want.TrashedBytes = want.TrashedFiles+1, want.TrashedBytes+size
			trashed = append(trashed, f.id)
		} else {
			want.Files, want.Bytes = want.Files+1, want.Bytes+size
			active = append(active, f.path())
		}
	}
	got, err := b.Usage(context.Background())
	if err != nil || got != want {
		m.fatalf("usage %+v, want %+v: %v", got, want, err)
	}
	slices.Sort(active)
	slices.Sort(trashed)
	listed := []string{}
	for f, err := range b.List(context.Background(), nil) {
		m.want("list", err, nil)
		listed = append(listed, f.Path())
	}
	if !slices.Equal(listed, active) {
		m.fatalf("listed %q, want %q", listed, active)
	}
	listed = nil
	for f, err := range b.List(context.Background(), &buckets.ListOptions{State: buckets.Trashed}) {
		m.want("list the trash", err, nil)
		listed = append(listed, f.ID)
	}
	if !slices.Equal(listed, trashed) {
		m.fatalf("trash %q, want %q", listed, trashed)
	}
}

func newModel(t *testing.T, seed uint64, opts func() *local.Options) *model {
	return &model{t: t, r: rand.New(rand.NewPCG(seed, 0)), opts: opts, files: make(map[string]*mfile)}
}

// TestModel compares a store with a model of it, over random operations,
// reopenings and rebuilds from nothing but the packs.
func TestModel(t *testing.T) {
	for i := range soak(3) {
		seed := uint64(i + 1)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed, options)
			m.dir = t.TempDir()
			m.run(3, 120, 40)
		})
	}
}
