//go:build !race

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// alyxTable is the table of files as Alyx's third migration makes it.
const alyxTable = `CREATE TABLE _alyx_files (id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, mime_type TEXT NOT NULL,
	size INTEGER NOT NULL, checksum TEXT, compressed BOOLEAN DEFAULT FALSE, compression_type TEXT, original_size INTEGER, metadata TEXT,
	version INTEGER DEFAULT 1, created_at TEXT, updated_at TEXT, UNIQUE(bucket, path))`

// An alyxStore is a database and a directory as Alyx writes them.
type alyxStore struct {
	dir   string
	files []alyxFile
}

type alyxFile struct {
	id, bucket, name string
	content          []byte
	created          time.Time
}

// newAlyx makes a storage of n files in two buckets, as uploads by form and by tus
// leave them: without and with metadata, under names of which some are the same.
func newAlyx(t *testing.T, n int, seed uint64) *alyxStore {
	t.Helper()
	a := &alyxStore{dir: t.TempDir()}
	write(t, filepath.Join(a.dir, "alyx.yml"), "storage:\n  backends:\n    disk:\n      type: filesystem\n      filesystem:\n        path: "+
		filepath.Join(a.dir, "storage")+"\n        base_path: app-\nauth: {jwt: {secret: 0123456789abcdef0123456789abcdef}}\n")
	write(t, filepath.Join(a.dir, "schema.yaml"), "buckets:\n  docs: {backend: disk, rules: {read: 'true'}}\n  pictures: {backend: disk, rules: {read: 'true'}}\n")
	db, err := sql.Open("sqlite", "file:"+filepath.Join(a.dir, "alyx.db")+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rng := rand.New(rand.NewPCG(seed, 1))
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.Exec(alyxTable)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f := alyxFile{id: fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", rng.Uint32(), rng.Uint32N(1<<16), rng.Uint32N(1<<12), rng.Uint32N(1<<12), rng.Uint64N(1<<48)),
			bucket: []string{"docs", "pictures"}[i%2], name: fmt.Sprintf("file %d.txt", i/3), content: make([]byte, rng.IntN(3000)),
			created: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Minute)}
		if i%500 == 7 {
			f.content = make([]byte, 300_000)
		}
		for j := range f.content {
			f.content[j] = byte('a' + rng.IntN(20))
		}
		path, metadata := f.id+"/"+f.name, any(nil)
		if i%4 == 0 {
			path, metadata = f.name+f.id, fmt.Sprintf(`{"filename":%q,"n":"%d"}`, f.name, i)
		}
		at := f.created.Format(time.RFC3339)
		_, err := tx.Exec(`INSERT INTO _alyx_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, 1, ?, ?)`, f.id, f.bucket, f.name, path,
			"text/plain; charset=utf-8", len(f.content), fmt.Sprintf("%x", sha256.Sum256(f.content)), false, metadata, at, at)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(a.dir, "storage", "app-"+f.bucket, f.id), string(f.content))
		a.files = append(a.files, f)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *alyxStore) flags(more ...string) []string {
	return append([]string{"import", "alyx", "--json", "--db", filepath.Join(a.dir, "alyx.db"), "--config", filepath.Join(a.dir, "alyx.yml"),
		"--schema", filepath.Join(a.dir, "schema.yaml"), "--data", filepath.Join(a.dir, "data")}, more...)
}

type imported struct{ Total, Imported, Present, Deleted, Changed, Failed int }

func (a *alyxStore) run(t *testing.T, bin string, want imported, more ...string) {
	t.Helper()
	out, err := exec.Command(bin, a.flags(more...)...).Output()
	var got imported
	if jerr := json.Unmarshal(out, &got); jerr != nil || (err != nil) != (want.Failed > 0) {
		t.Fatalf("import %v: %v, %s", more, err, out)
	}
	if want.Changed < 0 {
		want.Changed = got.Changed
	}
	if got != want {
		t.Errorf("import %v: %+v, want %+v", more, got, want)
	}
}

// dump returns what the store has of each file.
func (a *alyxStore) dump(t *testing.T, bin string) string {
	t.Helper()
	cmd := exec.Command(bin, "dump", "_alyx_files", "--data", filepath.Join(a.dir, "data"), "--config", a.served(t), "--schema", filepath.Join(a.dir, "schema.yaml"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return string(out)
}

// served is the configuration without the line that only Alyx has.
func (a *alyxStore) served(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "alyx.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(a.dir, "cairn.yml"), strings.Replace(string(text), "        base_path: app-\n", "", 1))
}

// Alyx's storage is moved over by an import that is killed and given again, served,
// and imported once more: every file is the same, and what was deleted stays deleted.
func TestImportAlyx(t *testing.T) {
	race.LeaveOut(t)
	n := 2500
	if os.Getenv("CAIRN_SOAK") != "" {
		n = 10_000
	}
	bin, a := buildCairn(t), newAlyx(t, n, 1)
	// Killed when some of the files are there.
	cmd := exec.CommandContext(t.Context(), bin, a.flags()...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(a.dir, "data", "import-alyx.log")
	for {
		text, err := os.ReadFile(journal)
		if err == nil && bytes.Count(text, []byte("\n")) > n/5 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Kill()
	if cmd.Wait() == nil {
		t.Fatal("the import ended before it was killed")
	}
	out, err := exec.Command(bin, a.flags()...).Output()
	var first imported
	if jerr := json.Unmarshal(out, &first); err != nil || jerr != nil || first.Imported+first.Present != n || first.Present < n/5 || first.Imported == 0 {
		t.Fatalf("behind a kill: %v, %s", err, out)
	}
	before := a.dump(t, bin)
	a.run(t, bin, imported{Total: n, Present: n})
	if a.dump(t, bin) != before {
		t.Error("a second import changed something")
	}
	a.checkRows(t, before)

	srv := startWith(t, bin, "--data", filepath.Join(a.dir, "data"), "--config", a.served(t), "--schema", filepath.Join(a.dir, "schema.yaml"))
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for _, f := range a.files {
		g.Go(func() error { return checkServed(ctx, srv.url, &f) })
	}
	err = g.Wait()
	srv.kill()
	if err != nil {
		t.Fatal(err)
	}

	for i, id := range []string{a.files[0].id, a.files[1].id} {
		args := []string{"rm", a.files[i].bucket + "/" + id, "--data", filepath.Join(a.dir, "data"), "--config", a.served(t), "--schema", filepath.Join(a.dir, "schema.yaml")}
		if i == 1 {
			args = append(args, "--permanent")
		}
		if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v, %s", args, err, out)
		}
	}
	a.run(t, bin, imported{Total: n, Present: n - 2, Deleted: 2})
}

// checkServed fails unless a file is served as Alyx had it.
func checkServed(ctx context.Context, url string, f *alyxFile) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/files/"+f.bucket+"/"+f.id+"/download", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if p, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !bytes.Equal(p, f.content) {
		return fmt.Errorf("%s: %s, %v, %d bytes, want %d", f.id, resp.Status, err, len(p), len(f.content))
	}
	return nil
}

// checkRows compares a dump with what Alyx had.
func (a *alyxStore) checkRows(t *testing.T, dump string) {
	t.Helper()
	type row struct {
		ID, Bucket, Name, State string
		CreatedAt               time.Time `json:"created_at"`
		UpdatedAt               time.Time `json:"updated_at"`
	}
	rows := make(map[string]row)
	for d := json.NewDecoder(strings.NewReader(dump)); d.More(); {
		var r struct {
			FileID string `json:"file_id"`
			row
		}
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows[r.FileID] = r.row
	}
	if len(rows) != len(a.files) {
		t.Errorf("%d files, want %d", len(rows), len(a.files))
	}
	for _, f := range a.files {
		r := rows[f.id]
		if r.Bucket != f.bucket || !strings.HasPrefix(r.Name, strings.TrimSuffix(f.name, ".txt")) || r.State != "active" ||
			!r.CreatedAt.Equal(f.created) || !r.UpdatedAt.Equal(f.created) {
			t.Fatalf("%+v became %+v", f.id, r)
		}
	}
}

// What an import is told wrongly, and what it says then.
func TestImportRefuses(t *testing.T) {
	race.LeaveOut(t)
	a := newAlyx(t, 4, 2)
	path := func(name string) string { return filepath.Join(a.dir, name) }
	empty := path("empty.db")
	db, err := sql.Open("sqlite", "file:"+empty)
	if err == nil {
		_, err = db.Exec("CREATE TABLE other (x)")
	}
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	write(t, path("one.yaml"), "buckets: {docs: {backend: disk}}\n")
	write(t, path("far.yml"), "storage: {backends: {disk: {type: filesystem, filesystem: {path: "+path("nowhere")+", base_path: app-}}}}\n")
	write(t, path("s3.yml"), "storage: {backends: {disk: {type: s3, s3: {bucket_prefix: app-}}}}\n")
	write(t, path("bad.yml"), "storage: {backends: {disk: {type: filesystem, filesystem: {path: x, base: y}}}}\n")
	write(t, path("none.yml"), "storage: {backends: {other: {type: filesystem, filesystem: {path: "+path("storage")+"}}}}\n")
	write(t, path("text"), "no database")
	full := map[string]string{"--db": path("alyx.db"), "--config": path("alyx.yml"), "--schema": path("schema.yaml"), "--data": path("data")}
	for _, c := range []struct {
		set    map[string]string
		status int
		want   string
	}{
		{map[string]string{"--db": ""}, 2, "--db"},
		{map[string]string{"--schema": ""}, 2, "--schema"},
		{map[string]string{"--config": ""}, 2, "--config"},
		{map[string]string{"--db": path("nothing.db")}, 1, "nothing.db"},
		{map[string]string{"--db": empty}, 1, "no table _alyx_files"},
		{map[string]string{"--db": path("text")}, 1, "not a database"},
		{map[string]string{"--db": path("storage")}, 1, "is no file"},
		{map[string]string{"--config": path("nothing.yml")}, 1, "nothing.yml"},
		{map[string]string{"--config": path("bad.yml")}, 1, `unknown key "base"`},
		{map[string]string{"--config": path("none.yml")}, 1, `there is no backend "disk"`},
		{map[string]string{"--alyx-config": path("none.yml"), "--config": path("cairn.yml")}, 1, `which Alyx's configuration does not have: it has other`},
		{map[string]string{"--config": path("far.yml")}, 1, "nowhere/app-docs"},
		{map[string]string{"--config": path("s3.yml")}, 1, `add "bucket: NAME"`},
		{map[string]string{"--schema": path("one.yaml")}, 1, `2 files of bucket "pictures"`},
		{map[string]string{"--bucket": "films"}, 1, "but of docs, pictures"},
		{map[string]string{"--server": "http://127.0.0.1:1"}, 2, "--server means nothing to this command"},
	} {
		a.served(t)
		args := []string{"import", "alyx"}
		for name, value := range full {
			if v, ok := c.set[name]; ok {
				value = v
			}
			if value != "" {
				args = append(args, name, value)
			}
		}
		for name, value := range c.set {
			if _, ok := full[name]; !ok {
				args = append(args, name, value)
			}
		}
		var out, errOut bytes.Buffer
		if got := run(t.Context(), args, nil, &out, &errOut); got != c.status || !strings.Contains(errOut.String(), c.want) {
			t.Errorf("%v: status %d, want %d: %s", c.set, got, c.status, &errOut)
		}
	}
}

// What SQLite says of a database that it cannot write to is told from other errors.
func TestIsUnwritable(t *testing.T) {
	race.LeaveOut(t)
	a := newAlyx(t, 1, 7)
	db, err := openSQLite(filepath.Join(a.dir, "alyx.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t (x)"); !isUnwritable(fmt.Errorf("wrapped: %w", err)) {
		t.Errorf("a write: %v", err)
	}
	if _, err := db.Exec("SELECT y FROM z"); err == nil || isUnwritable(err) {
		t.Errorf("another error: %v", err)
	}
}

// Alyx's directories, which are removed one day, are not those of Cairn.
func TestImportKeepsApart(t *testing.T) {
	race.LeaveOut(t)
	a := newAlyx(t, 4, 6)
	path := func(name string) string { return filepath.Join(a.dir, name) }
	db, err := sql.Open("sqlite", "file:"+path("alyx.db"))
	if err == nil {
		_, err = db.Exec("UPDATE _alyx_files SET bucket = 'packs' WHERE bucket = 'docs'")
	}
	if err := errors.Join(err, db.Close(), os.Rename(path("storage/app-docs"), path("storage/packs")), os.Rename(path("storage/app-pictures"), path("storage/pictures"))); err != nil {
		t.Fatal(err)
	}
	write(t, path("schema.yaml"), "buckets: {packs: {backend: disk}, pictures: {backend: disk}}\n")
	for name, dir := range map[string]string{"alyx.yml": "storage", "cairn.yml": "elsewhere"} {
		write(t, path(name), "storage: {backends: {disk: {type: filesystem, filesystem: {path: "+path(dir)+"}}}}\n")
	}
	links := os.Symlink(path("storage/pictures"), path("link")) == nil
	for _, c := range []struct {
		config, data string
		want         string // part of the refusal
	}{
		{"alyx.yml", "data", "storage/packs"},
		{"cairn.yml", "storage/pictures", "storage/pictures/meta"},
		{"cairn.yml", "storage/pictures/data", "storage/pictures/data/meta"},
		{"cairn.yml", "storage", "storage/packs"},
		{"cairn.yml", "link", "link/meta"},
		{"cairn.yml", "data", ""},
	} {
		if c.data == "link" && !links {
			continue
		}
		var out, errOut bytes.Buffer
		status := run(t.Context(), []string{"import", "alyx", "--db", path("alyx.db"), "--alyx-config", path("alyx.yml"), "--config", path(c.config),
			"--schema", path("schema.yaml"), "--data", path(c.data)}, nil, &out, &errOut)
		if want := "Cairn's own files in " + path(c.want); (status == 0) != (c.want == "") || c.want != "" && !strings.Contains(errOut.String(), want) {
			t.Errorf("%+v: status %d: %s", c, status, &errOut)
		}
	}
}

// A damaged file is told and fails the command; the others come over. With --bucket
// only some do, and a dry run stores nothing.
func TestImportTellsDamage(t *testing.T) {
	race.LeaveOut(t)
	a := newAlyx(t, 10, 3)
	f := &a.files[4]
	write(t, filepath.Join(a.dir, "storage", "app-"+f.bucket, f.id), "something else")
	s := &shell{t, nil}
	for _, c := range []struct {
		status int
		want   string
		flags  []string
	}{
		{1, `"imported":9`, []string{"--dry-run"}},
		{0, `"imported":5`, []string{"--bucket", "pictures"}},
		{1, `"imported":4,"bytes":`, nil},
	} {
		out, errOut := s.run(c.status, "", a.flags(c.flags...)...)
		if !strings.Contains(out, c.want) || strings.Contains(errOut, f.id) != (c.status == 1) {
			t.Errorf("%v: %s%s", c.flags, out, errOut)
		}
	}
	write(t, filepath.Join(a.dir, "storage", "app-"+f.bucket, f.id), string(f.content))
	if out, _ := s.run(0, "", a.flags()...); !strings.Contains(out, `"imported":1,`) {
		t.Errorf("mended: %s", out)
	}
}

// SQLite keeps any value in any column. A row that is none of Alyx's is told, and the
// others come over.
func TestImportOddRows(t *testing.T) {
	race.LeaveOut(t)
	a := newAlyx(t, 20, 5)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(a.dir, "alyx.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	bad := []string{"id = NULL", "id = ''", "id = 'f_1'", "id = '../x'", "id = printf('%5000s', 'x')", "size = 'many'", "size = 5.5", "size = -1",
		"size = 4611686018427387904", "compressed = 'maybe'", "checksum = x'ff00'", "name = printf('%5000s', 'x')",
		"metadata = printf('{\"k\": \"%20000s\"}', 'x')", "metadata = zeroblob(100000)"}
	good := []string{"original_size = 'abc'", "original_size = -1", "compressed = 'false'", "compressed = NULL", "name = x'ff00fe'", "created_at = 12345"}
	for i, change := range slices.Concat(bad, good) {
		if _, err := db.Exec("UPDATE _alyx_files SET "+change+" WHERE id = ?", a.files[i].id); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
	}
	// Like a temporary file of Cairn's, in the directory of Alyx that packs lie beside.
	begun := write(t, filepath.Join(a.dir, "storage", "app-docs", ".new-"+strings.Repeat("a", 26)), "x")
	defer func() {
		if _, err := os.Stat(begun); err != nil {
			t.Error(err)
		}
	}()
	s := &shell{t, nil}
	for _, more := range [][]string{{"--dry-run"}, nil} {
		out, errOut := s.run(1, "", a.flags(more...)...)
		if !strings.Contains(out, fmt.Sprintf(`"imported":%d,`, len(good))) || !strings.Contains(out, fmt.Sprintf(`"failed":%d`, len(bad))) {
			t.Errorf("%v: %s%s", more, out, errOut)
		}
	}
}

// Alyx's files in S3, a bucket of S3 for each of its buckets, come over into packs in
// another bucket there.
func TestImportFromS3(t *testing.T) {
	race.LeaveOut(t)
	a, far := newAlyx(t, 30, 4), s3test.WithBuckets(t, "app-docs", "app-pictures")
	for _, f := range a.files {
		o := far.Options(t)
		o.Bucket, o.Prefix = "app-"+f.bucket, ""
		w, err := s3test.Open(t, o).Create(t.Context(), f.id)
		if err == nil {
			_, err = w.Write(f.content)
		}
		if err == nil {
			err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(a.dir, "alyx.yml"), fmt.Sprintf("storage: {backends: {disk: {type: s3, s3: {endpoint: %q, region: us-east-1, access_key_id: %s, "+
		"secret_access_key: %s, force_path_style: true, bucket: %s, bucket_prefix: app-}}}}\n", far.Endpoint, far.AccessKey, far.SecretKey, far.Bucket))
	s := &shell{t, nil}
	if out, _ := s.run(0, "", a.flags()...); !strings.Contains(out, `"imported":30,`) {
		t.Errorf("first: %s", out)
	}
	if out, _ := s.run(0, "", a.flags()...); !strings.Contains(out, `"present":30,`) {
		t.Errorf("again: %s", out)
	}
}
