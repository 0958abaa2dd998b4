package alyx

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

// sliceRows are rows that no database has.
type sliceRows []*row

func (s sliceRows) countRows(_ context.Context, bucket string) (n int64, err error) {
	for _, r := range s {
		if r.bucket == bucket {
			n++
		}
	}
	return n, nil
}

func (s sliceRows) eachRow(_ context.Context, fn func(*row) error) error {
	for _, r := range s {
		copied := *r
		if err := fn(&copied); err != nil {
			return err
		}
	}
	return nil
}

// A world is a directory of Alyx's and a store.
type world struct {
	t     *testing.T
	dir   string
	store *buckets.Store
	rows  sliceRows
	notes map[string]*Note // by ID
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), filepath.Join(dir, "store"), &local.Options{Buckets: map[string]buckets.Policy{"docs": {Domain: "local"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := os.MkdirAll(filepath.Join(dir, "docs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: dir, store: s}
}

// add adds a row of a content, and a file of those bytes unless they are nil.
func (w *world) add(id, content string, stored []byte, change func(*row)) {
	sum := sha256.Sum256([]byte(content))
	r := &row{id: id, bucket: "docs", name: "n-" + id, mime: "text/plain; charset=utf-8", size: int64(len(content)), checksum: sum[:],
		created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), updated: time.Date(2024, 1, 2, 3, 4, 6, 0, time.UTC)}
	if change != nil {
		change(r)
	}
	w.rows = append(w.rows, r)
	if stored == nil {
		return
	}
	if err := os.WriteFile(filepath.Join(w.dir, "docs", id), stored, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(opts Options) *Report {
	w.t.Helper()
	w.notes = make(map[string]*Note)
	opts.Tell = func(n *Note) { w.notes[n.ID] = n }
	im := &importing{store: w.store, src: &Source{Files: map[string]Files{"docs": Dir(filepath.Join(w.dir, "docs"))}}, opts: opts}
	im.opts.Workers = 4
	if err := im.importRows(w.t.Context(), w.rows); err != nil {
		w.t.Fatal(err)
	}
	return &im.report
}

func (w *world) bucket() *buckets.Bucket {
	b, err := w.store.Bucket("docs")
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) read(id string) (string, *buckets.File) {
	w.t.Helper()
	o, err := w.bucket().Open(w.t.Context(), id, nil)
	if err != nil {
		w.t.Errorf("%s: %v", id, err)
		return "", &buckets.File{}
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		w.t.Errorf("%s: %v", id, err)
	}
	return string(p), &o.File
}

func uuidOf(i int) string { return fmt.Sprintf("%08x-1111-4222-8333-444444444444", i) }

func gzipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.Bytes()
}

func zstded(text string) []byte {
	e, _ := zstd.NewWriter(nil)
	defer e.Close()
	return e.EncodeAll([]byte(text), nil)
}

// Every form that a file and its row can have, and what comes of it.
func TestContents(t *testing.T) {
	long := strings.Repeat("some words; ", 20_000)
	compressed := func(codec string) func(*row) {
		return func(r *row) { r.compressed, r.codec, r.original = true, codec, r.size }
	}
	for name, c := range map[string]struct {
		content string
		stored  []byte // nil: no file
		change  func(*row)
		err     error
		changed string // part of what is told
	}{
		"plain":                         {long, []byte(long), nil, nil, ""},
		"empty":                         {"", []byte{}, nil, nil, ""},
		"no checksum":                   {long, []byte(long), func(r *row) { r.checksum = nil }, nil, ""},
		"gzip":                          {long, gzipped(long), compressed("gzip"), nil, ""},
		"zstd":                          {long, zstded(long), compressed("zstd"), nil, ""},
		"empty gzip":                    {"", gzipped(""), compressed("gzip"), nil, ""},
		"compressed somehow":            {long, gzipped(long), compressed(""), nil, ""},
		"size is that on disk":          {long, zstded(long), func(r *row) { compressed("zstd")(r); r.size = int64(len(zstded(long))) }, nil, ""},
		"size on disk, no original":     {long, zstded(long), func(r *row) { compressed("zstd")(r); r.size, r.original = 77, 0 }, nil, ""},
		"gzip that no row tells of":     {long, gzipped(long), nil, nil, ""},
		"zstd that no row tells of":     {long, zstded(long), nil, nil, ""},
		"a gzip file":                   {string(gzipped("x")), gzipped("x"), nil, nil, ""},
		"a gzip file that is damaged":   {string(gzipped("x")), gzipped("y"), nil, ErrContent, ""},
		"shorter":                       {long, []byte(long[1:]), nil, ErrContent, ""},
		"longer":                        {long, []byte(long + "x"), nil, ErrContent, ""},
		"longer, no checksum":           {long, []byte(long + "x"), func(r *row) { r.checksum = nil }, ErrContent, ""},
		"shorter, no checksum":          {long, []byte(long[1:]), func(r *row) { r.checksum = nil }, ErrContent, ""},
		"a byte flipped":                {long, []byte("S" + long[1:]), nil, ErrContent, ""},
		"gzip cut off":                  {long, gzipped(long)[:300], compressed("gzip"), ErrContent, ""},
		"zstd cut off":                  {long, zstded(long)[:20], compressed("zstd"), ErrContent, ""},
		"zstd is gzip":                  {long, zstded(long), compressed("gzip"), ErrContent, ""},
		"gzip of something else":        {long, gzipped("other"), compressed("gzip"), ErrContent, ""},
		"gzip of more, no checksum":     {long, gzipped(long + "x"), func(r *row) { compressed("gzip")(r); r.checksum = nil }, ErrContent, ""},
		"unknown codec":                 {long, []byte(long), compressed("lzma"), errors.ErrUnsupported, ""},
		"missing":                       {long, nil, nil, fs.ErrNotExist, ""},
		"missing, compressed":           {long, nil, compressed(""), fs.ErrNotExist, ""},
		"bad row":                       {long, []byte(long), func(r *row) { r.readChecksum("beef") }, errors.ErrUnsupported, ""},
		"metadata that is no JSON":      {"x", []byte("x"), func(r *row) { r.readMetadata("{") }, nil, "metadata"},
		"metadata that is too long":     {"x", []byte("x"), func(r *row) { r.metadata = map[string]any{"k": long} }, buckets.ErrMetadata, ""},
		"a name that cannot be":         {"x", []byte("x"), func(r *row) { r.name = "a\x00b" }, nil, `"ab"`},
		"a name of nothing":             {"x", []byte("x"), func(r *row) { r.name = ".." }, nil, "name is now"},
		"a name that is too long":       {"x", []byte("x"), func(r *row) { r.name = strings.Repeat("ä", 200) + ".pdf" }, nil, ".pdf"},
		"a name with folders":           {"x", []byte("x"), func(r *row) { r.name = "a/b/c.txt" }, nil, ""},
		"a name that leads out":         {"x", []byte("x"), func(r *row) { r.name = "../../etc/passwd" }, nil, "etc_passwd"},
		"a name from the root":          {"x", []byte("x"), func(r *row) { r.name = "/etc/passwd" }, nil, "_etc_passwd"},
		"no times":                      {"x", []byte("x"), func(r *row) { r.created, r.updated = time.Time{}, time.Time{} }, nil, ""},
		"no time of creation":           {"x", []byte("x"), func(r *row) { r.created = time.Time{} }, nil, ""},
		"times of a clock ahead":        {"x", []byte("x"), func(r *row) { r.created, r.updated = time.Now().Add(9e12), time.Now().Add(8e12) }, nil, ""},
		"times the wrong way round":     {"x", []byte("x"), func(r *row) { r.created, r.updated = r.updated, r.created }, nil, ""},
		"a type that cannot be kept":    {"x", []byte("x"), func(r *row) { r.mime = "text/plain\n" }, nil, "type"},
		"a bucket that is not imported": {"x", []byte("x"), func(r *row) { r.bucket = "other" }, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(uuidOf(1), c.content, c.stored, c.change)
			dry := w.run(Options{DryRun: true})
			r := w.run(Options{})
			if c.changed == "none" {
				if *r != (Report{}) {
					t.Errorf("report %+v", r)
				}
				return
			}
			note := w.notes[uuidOf(1)]
			if c.err != nil {
				if r.Failed != 1 || note == nil || note.Err == nil || c.err != errors.ErrUnsupported && !errors.Is(note.Err, c.err) {
					t.Errorf("report %+v, note %+v", r, note)
				}
				if dry.Failed != 1 {
					t.Errorf("dry run: %+v", dry)
				}
				for f := range w.bucket().List(t.Context(), nil) {
					t.Errorf("stored: %+v", f)
				}
				return
			}
			if r.Imported != 1 || r.Total != 1 || r.Bytes != int64(len(c.content)) || dry.Imported != 1 || dry.Bytes != r.Bytes {
				t.Fatalf("report %+v, dry %+v, note %+v", r, dry, note)
			}
			if (note != nil) != (c.changed != "") || note != nil && !strings.Contains(note.Changed, c.changed) {
				t.Errorf("note %+v", note)
			}
			if got, f := w.read(uuidOf(1)); got != c.content || f.UpdatedAt.After(time.Now()) || f.CreatedAt.After(f.UpdatedAt) {
				t.Errorf("%d bytes, %+v", len(got), f)
			}
			if again := w.run(Options{}); *again != (Report{Total: 1, Present: 1}) {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

// What else of a row comes over: metadata, never as a rule, times, and its owner.
func TestRow(t *testing.T) {
	w := newWorld(t)
	meta := map[string]any{"file_security": "true", "download": "true", "uploaded_by": "ann"}
	w.add(uuidOf(1), "x", []byte("x"), func(r *row) { r.metadata, r.name = meta, "one.txt" })
	w.add(uuidOf(2), "y", []byte("y"), func(r *row) { r.owner, r.name = "cid", "one.txt" })
	w.add(strings.ToUpper(uuidOf(0xabc)), "z", []byte("z"), func(r *row) { r.metadata = map[string]any{"uploaded_by": 1} })
	w.add("photo-1", "z", []byte("z"), nil)
	w.add(uuidOf(4), "x", []byte("x"), func(r *row) { r.metadata = map[string]any{"uploaded_by": "key:k_1"} })
	w.add(uuidOf(5), "x", []byte("x"), func(r *row) { r.owner = "a\nb" })
	if r := w.run(Options{DryRun: true}); r.Imported != 5 || r.Failed != 1 {
		t.Errorf("dry run: %+v", r)
	}
	if r := w.run(Options{Owner: "nobody", OwnerKey: "uploaded_by"}); r.Imported != 5 || r.Failed != 1 || r.Changed != 3 {
		t.Errorf("%+v", r)
	}
	owners := map[string]string{uuidOf(1): "ann", uuidOf(2): "cid", uuidOf(0xabc): "nobody", uuidOf(4): "nobody", uuidOf(5): "nobody"}
	names := map[string]bool{}
	for id, owner := range owners {
		_, f := w.read(id)
		if f.Owner != owner || len(f.Access) > 0 || !f.CreatedAt.Equal(w.rows[0].created) || !f.UpdatedAt.Equal(w.rows[0].updated) || f.DeclaredMIMEType != w.rows[0].mime {
			t.Errorf("%s: %+v", id, f)
		}
		names[f.Name] = true
		if id == uuidOf(1) && fmt.Sprint(f.Metadata) != fmt.Sprint(meta) {
			t.Errorf("metadata %v", f.Metadata)
		}
	}
	if !names["one.txt"] || !names["one (2).txt"] {
		t.Errorf("names %v", names)
	}
	if n := w.notes["photo-1"]; n == nil || !strings.Contains(n.Err.Error(), "photo-1") {
		t.Errorf("note %+v", n)
	}
}

// What was deleted stays deleted, whatever the store remembers of it.
func TestDeletedStays(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.add(uuidOf(i), "x", []byte("x"), nil)
	}
	journal := filepath.Join(w.dir, "journal")
	if r := w.run(Options{Journal: journal}); r.Imported != 4 {
		t.Fatalf("%+v", r)
	}
	b := w.bucket()
	if _, err := b.Delete(t.Context(), uuidOf(0), nil); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		if err := b.Purge(t.Context(), uuidOf(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range []string{journal, "", filepath.Join(w.dir, "another")} {
		if r := w.run(Options{Journal: j}); *r != (Report{Total: 4, Present: 1, Deleted: 3}) {
			t.Errorf("with journal %q: %+v", j, r)
		}
	}
	// A store that has forgotten, and a last line that was not written whole.
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, append(text, uuidOf(3)[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := newWorld(t)
	fresh.dir, fresh.rows = w.dir, w.rows
	if r := fresh.run(Options{Journal: journal}); *r != (Report{Total: 4, Deleted: 4}) {
		t.Errorf("forgotten: %+v", r)
	}
	if err := os.WriteFile(journal, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(journal); err == nil {
		t.Error("another file is taken for a journal")
	}
}

// A link in the directory leads nowhere.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	secret := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.add(uuidOf(1), "x", nil, nil)
	if err := os.Symlink(secret, filepath.Join(w.dir, "docs", uuidOf(1))); err != nil {
		t.Skip(err)
	}
	w.add("../secret", "x", nil, nil)
	if r := w.run(Options{}); r.Failed != 2 {
		t.Errorf("%+v", r)
	}
}

// Objects reads what a backend has, with any size of buffer.
func TestObjects(t *testing.T) {
	b := membackend.New(nil)
	content := bytes.Repeat([]byte("0123456789abcdef"), (readAhead+4096)/16)
	for id, p := range map[string][]byte{"a": content, "empty": nil} {
		w, err := b.Create(t.Context(), id)
		if err == nil {
			_, err = w.Write(p)
		}
		if err = errors.Join(err, w.Commit()); err != nil {
			t.Fatal(err)
		}
		f, err := Objects{b}.Open(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes, %v", id, len(got), err)
		}
	}
	if _, err := (Objects{b}).Open(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

// An import that is cancelled ends, and one that goes on does the rest.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		w.add(uuidOf(i), "x", []byte("x"), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	im := &importing{store: w.store, src: &Source{Files: map[string]Files{"docs": Dir(filepath.Join(w.dir, "docs"))}},
		opts: Options{Workers: 3, Journal: filepath.Join(w.dir, "journal"), Progress: func(r *Report) {
			if r.Imported == 10 {
				once.Do(cancel)
			}
		}}}
	if err := im.importRows(ctx, w.rows); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	first := im.report.Imported
	if first < 10 || first > 30 {
		t.Errorf("%d were imported", first)
	}
	r := w.run(Options{Journal: im.opts.Journal})
	if r.Imported+r.Present != 60 || r.Present < first {
		t.Errorf("%+v behind %d", r, first)
	}
}
