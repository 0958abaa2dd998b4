package buckets_test

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
)

// parse reads a schema for a store with backends one and two.
func parse(t *testing.T, text string) *schema.Schema {
	t.Helper()
	cfg, err := schema.ParseConfig("alyx.yml", []byte(`storage: {backends: {
  one: {type: filesystem, filesystem: {path: /1}}, two: {type: filesystem, filesystem: {path: /2}}}}`), nil)
	must(t, err)
	s, err := schema.Parse("schema.yaml", []byte(text), cfg)
	must(t, err)
	return s
}

// declared returns a store with the buckets of a schema.
func declared(t *testing.T, text string) *buckets.Store {
	t.Helper()
	return declaredAt(t, time.Now, text)
}

// declaredAt is declared with another clock.
func declaredAt(t *testing.T, now func() time.Time, text string) *buckets.Store {
	t.Helper()
	p, err := buckets.Policies(parse(t, text))
	must(t, err)
	dir := t.TempDir()
	return open(t, &local.Options{Now: now, Buckets: p, Backends: map[string]local.Backend{"one": {Path: dir + "/1"}, "two": {Path: dir + "/2"}}})
}

const readOnly = `rules: {read: "true"}`

func TestApplySchema(t *testing.T) {
	s := declared(t, `buckets: {a: {backend: one, rules: {create: "true", read: "true"}}, b: {backend: one}}`)
	ann := bucket(t, s, "a").As(&access.Principal{ID: "ann"})
	f := put(t, ann, "f", "x", nil)

	// What is refused changes nothing.
	for what, text := range map[string]string{
		"a bucket with files is left out": `buckets: {b: {backend: two}}`,
		"a bucket with files is moved":    `buckets: {a: {backend: two}, b: {backend: two}}`,
	} {
		err := s.ApplySchema(t.Context(), parse(t, text))
		wantErr(t, what, err, buckets.ErrBucketInUse)
		if err != nil && !strings.Contains(err.Error(), " files and 0 in the trash") {
			t.Errorf("%s: no counts in %q", what, err)
		}
		put(t, ann, what, "x", nil)
	}

	// Rules hold at once, also for a Bucket that was got before.
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: one, max_file_size: 10, `+readOnly+`}, c: {backend: two}}`)))
	_, err := ann.Put(t.Context(), "h", strings.NewReader("x"), nil)
	wantErr(t, "put after the rule has gone", err, fs.ErrPermission)
	read(t, ann, f.ID, nil)
	_, err = bucket(t, s, "a").Put(t.Context(), "h", strings.NewReader("0123456789+"), nil)
	wantErr(t, "put beyond the new limit", err, buckets.ErrTooLarge)
	if got := fmt.Sprint(s.Buckets()); got != "[a c]" {
		t.Errorf("buckets %s", got)
	}

	// An empty bucket may move; once it holds something it may not.
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: one}, c: {backend: one}}`)))
	put(t, bucket(t, s, "c"), "f", "x", nil)
	wantErr(t, "moved back", s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: one}, c: {backend: two}}`)), buckets.ErrBucketInUse)
}

// An upload whose bucket moves meanwhile does not end up where nobody looks.
func TestMoveDuringUpload(t *testing.T) {
	s := declared(t, `buckets: {a: {backend: one}}`)
	b := bucket(t, s, "a")
	body := &hook{Reader: strings.NewReader("x"), before: func() {
		must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: two}}`)))
	}}
	f, err := b.Put(t.Context(), "f", body, nil)
	must(t, err)
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: two}}`)))
	read(t, bucket(t, s, "a"), f.ID, nil)
}

// A bucket that is left out takes nothing more, not even what it has just
// been found to allow: nobody would find it.
func TestLeftOutDuringUpload(t *testing.T) {
	s := declared(t, `buckets: {a: {backend: one, rules: {create: "true"}}, b: {backend: one}}`)
	asked := 0
	ann := bucket(t, s, "a").As(&access.Principal{ID: "ann", Explain: func(*access.Decision) {
		if asked++; asked == 2 { // at the commit
			must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one}}`)))
		}
	}})
	_, err := ann.Put(t.Context(), "f", strings.NewReader("x"), nil)
	wantErr(t, "put", err, buckets.ErrNoBucket)
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one}}`)))
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {a: {backend: two}, b: {backend: one}}`)))
	put(t, bucket(t, s, "a"), "f", "x", nil)
}

// A store that was rebuilt still knows where its buckets lie.
func TestUndeclaredAtStart(t *testing.T) {
	dir := t.TempDir()
	opts := func(text string) *local.Options {
		p, err := buckets.Policies(parse(t, text))
		must(t, err)
		return &local.Options{Buckets: p, Backends: map[string]local.Backend{"one": {Path: dir + "/1"}, "two": {Path: dir + "/2"}}}
	}
	s, err := local.Open(t.Context(), dir, opts(`buckets: {a: {backend: one}, b: {backend: two}}`))
	must(t, err)
	put(t, bucket(t, s, "a"), "f", "x", nil)
	put(t, bucket(t, s, "b"), "f", "x", nil)
	must(t, s.Close())
	for range 2 {
		for _, text := range []string{`buckets: {b: {backend: two}}`, `buckets: {a: {backend: two}, b: {backend: two}}`} {
			_, err = local.Open(t.Context(), dir, opts(text))
			wantErr(t, text, err, buckets.ErrBucketInUse)
		}
		removeMeta(t, dir)
		r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts(`buckets: {a: {backend: one}, b: {backend: two}}`), Repair: true})
		if err != nil || !r.Rebuilt {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

func versionsOf(t *testing.T, b *buckets.Bucket, id string) (out []uint64) {
	t.Helper()
	for f, err := range b.Versions(t.Context(), id) {
		must(t, err)
		out = append(out, f.Version)
	}
	return out
}

func TestVersioning(t *testing.T) {
	s := declared(t, `
buckets:
  all:  {backend: one}
  none: {backend: one, versioning: false}
  two:  {backend: one, versioning: {keep: 2}, max_total_size: 10}`)
	for name, want := range map[string]string{"all": "[4 3 2 1]", "none": "[4]", "two": "[4 3]"} {
		b := bucket(t, s, name)
		var f *buckets.File
		for i := range 4 {
			f = put(t, b, "f", strings.Repeat("x", i+1), nil)
		}
		got := versionsOf(t, b, f.ID)
		if fmt.Sprint(got) != want || f.VersionsCount != len(got) {
			t.Errorf("%s keeps %v, counts %d, want %s", name, got, f.VersionsCount, want)
		}
		n := int64(0)
		for _, v := range got {
			n += int64(v)
		}
		wantUsage(t, b, 1, int64(len(got)), n, 0, 0)
	}
	// What a version takes the place of counts for the quota.
	two := bucket(t, s, "two")
	f := put(t, two, "f", "012345", nil)
	_, err := two.Put(t.Context(), "f", strings.NewReader("01234"), nil)
	wantErr(t, "more than the quota", err, buckets.ErrQuota)
	put(t, two, "f", "0123", nil)
	if _, err := two.RestoreVersion(t.Context(), f.ID, f.Version); err != nil {
		t.Errorf("restore: %v", err)
	}
	if got := versionsOf(t, two, f.ID); fmt.Sprint(got) != "[7 6]" {
		t.Errorf("versions %v after a restore", got)
	}
}

// Sweep removes what the policies keep no longer, and nothing else.
func TestSweep(t *testing.T) {
	now := time.Now()
	s := declaredAt(t, func() time.Time { return now }, `
buckets:
  short: {backend: one, trash: 1h, versioning: {keep_for: 1h}}
  long:  {backend: two, trash: 3h, versioning: {keep_for: 3h}}
  kept:  {backend: two}`)
	for _, name := range s.Buckets() {
		b := bucket(t, s, name)
		put(t, b, "f", "1", nil)
		put(t, b, "f", "2", nil)
		put(t, b, "f", "3", nil)
		_, err := b.Delete(t.Context(), put(t, b, "g", "4", nil).ID, nil)
		must(t, err)
	}
	now = now.Add(2 * time.Hour)
	done, err := s.Sweep(t.Context())
	if err != nil || done != (buckets.Swept{Files: 1, Versions: 2}) {
		t.Errorf("swept %+v, %v", done, err)
	}
	wantUsage(t, bucket(t, s, "short"), 1, 1, 1, 0, 0)
	wantUsage(t, bucket(t, s, "long"), 1, 4, 3, 1, 1)
	wantUsage(t, bucket(t, s, "kept"), 1, 4, 3, 1, 1)
	if done, err := s.Sweep(t.Context()); err != nil || done != (buckets.Swept{}) {
		t.Errorf("swept again %+v, %v", done, err)
	}
}

// A program that embeds the store may reckon wrong: what is kept for less than no
// time would go at once.
func TestNegativePolicy(t *testing.T) {
	s := open(t, nil)
	for name, p := range map[string]buckets.Policy{
		"keep":     {Domain: "local", Versions: buckets.Versions{Keep: -1}},
		"keep_for": {Domain: "local", Versions: buckets.Versions{KeepFor: -time.Hour}},
		"trash":    {Domain: "local", Trash: buckets.Trash{KeepFor: -time.Hour}},
	} {
		err := s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": p})
		if err == nil || !strings.Contains(err.Error(), `bucket "demo"`) || !strings.Contains(err.Error(), "must not be negative") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoTrash(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, trash: off}}`)
	b := bucket(t, s, "b")
	f := put(t, b, "f", "x", nil)
	got, err := b.Delete(t.Context(), f.ID, nil)
	if err != nil || got.State != buckets.Purged {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = b.Stat(t.Context(), f.ID, &buckets.GetOptions{Trashed: true})
	wantErr(t, "stat", err, buckets.ErrNoFile)
	wantUsage(t, b, 0, 0, 0, 0, 0)
}

// The same text takes in each compression what it should, and reads the same.
func TestCompression(t *testing.T) {
	race.LeaveOut(t)
	line := "the same text, again and again, takes less where it is compressed\n"
	sizes := []int{1_000, 3_000_000}
	if testing.Short() {
		sizes = sizes[:1]
	}
	if os.Getenv("CAIRN_SOAK") != "" {
		sizes = append(sizes, 100_000_000)
	}
	stored := make(map[string]int64)
	for _, codec := range []string{"none", "gzip", "zstd", "{codec: zstd, level: 9}", "{codec: gzip, level: 1}"} {
		p, err := buckets.Policies(parse(t, `buckets: {b: {backend: one, compression: `+codec+`}}`))
		must(t, err)
		dir := t.TempDir()
		opts := local.Options{Buckets: p, Backends: map[string]local.Backend{"one": {Path: dir + "/1"}}}
		s, err := local.Open(t.Context(), dir, &opts)
		must(t, err)
		b := bucket(t, s, "b")
		for _, n := range sizes {
			text := make([]byte, 0, n+100)
			for i := 0; len(text) < n; i++ {
				text = fmt.Appendf(text, "%d %s", i*7919, line)
			}
			text = text[:n]
			f := put(t, b, fmt.Sprint(n), string(text), nil)
			stored[fmt.Sprint(codec, n)] = f.StoredBytes
			o, err := b.Open(t.Context(), f.ID, nil)
			must(t, err)
			part := make([]byte, n/3)
			if _, err := o.ReadAt(part, int64(n/2)); err != nil && err != io.EOF || string(part) != string(text[n/2:n/2+n/3]) {
				t.Errorf("%s: a range differs: %v", codec, err)
			}
			must(t, o.Close())
			if read(t, b, f.ID, nil) != string(text) {
				t.Errorf("%s: other bytes", codec)
			}
		}
		must(t, s.Close())
		report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: opts})
		if err != nil || len(report.Problems)+len(report.Damaged) > 0 {
			t.Errorf("%s: check: %+v, %v", codec, report, err)
		}
	}
	for _, n := range sizes {
		t.Logf("%d bytes: %d plain, %d gzip, %d zstd, %d zstd 9, %d gzip 1", n, stored[fmt.Sprint("none", n)], stored[fmt.Sprint("gzip", n)],
			stored[fmt.Sprint("zstd", n)], stored[fmt.Sprint("{codec: zstd, level: 9}", n)], stored[fmt.Sprint("{codec: gzip, level: 1}", n)])
		size := func(codec string) int64 { return stored[fmt.Sprint(codec, n)] }
		if size("none") < int64(n)*9/10 || // a larger text begins as the smaller ones do
			size("gzip") > int64(n)/2 || size("zstd") > int64(n)/2 {
			t.Errorf("%d bytes take %d plain, %d gzip, %d zstd", n, size("none"), size("gzip"), size("zstd"))
		}
		if n > 10_000 && (size("{codec: zstd, level: 9}") >= size("zstd") || size("{codec: gzip, level: 1}") <= size("gzip")) {
			t.Errorf("levels do nothing: %v", stored)
		}
	}
}

// Chunking and digests are what the schema says.
func TestChunkingAndDigests(t *testing.T) {
	s := declared(t, `
buckets:
  a: {backend: one, chunking: fine, digests: [md5, sha256]}
  b: {backend: one, chunking: {profile: whole}}`)
	p := string(noise(3, 2<<20))
	for name, want := range map[string]struct{ chunks, digests int }{"a": {64, 3}, "b": {1, 1}} {
		b := bucket(t, s, name)
		f := put(t, b, "f", p, nil)
		n := 0
		for _, err := range b.Chunks(t.Context(), f.ID, 0, nil) {
			must(t, err)
			n++
		}
		if n < want.chunks || n > 4*want.chunks || len(f.Checksums) != want.digests {
			t.Errorf("%s: %d chunks, checksums %v", name, n, f.Checksums)
		}
	}
}

func removeMeta(t *testing.T, dir string) {
	t.Helper()
	must(t, os.RemoveAll(dir+"/meta"))
}
