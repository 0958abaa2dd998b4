package buckets_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/internal/race"
)

func TestPutAndRead(t *testing.T) {
	race.LeaveOut(t)
	b := demo(t)
	for _, n := range []int{0, 1, 3071, 3072, 3073, 70_000, 1 << 20, 5_000_001} {
		content := string(noise(uint64(n), n))
		f := put(t, b, fmt.Sprintf("n%d", n), content, nil)
		if f.Size != int64(n) || f.Version != 1 || f.VersionsCount != 1 || f.State != buckets.Active {
			t.Errorf("%d bytes: %+v", n, f)
		}
		sum := sha256.Sum256([]byte(content))
		if f.Checksums["sha256"] != hex.EncodeToString(sum[:]) || len(f.Checksums["root"]) != 64 {
			t.Errorf("%d bytes: checksums %v", n, f.Checksums)
		}
		if read(t, b, f.ID, nil) != content || read(t, b, f.ManifestID, nil) != content {
			t.Errorf("%d bytes do not read back", n)
		}
		o, err := b.Open(t.Context(), f.ID, nil)
		must(t, err)
		var w bytes.Buffer
		if m, err := o.WriteTo(&w); m != int64(n) || err != nil || w.String() != content {
			t.Errorf("WriteTo %d bytes: %d, %v", n, m, err)
		}
		if n > 10 {
			p := make([]byte, 7)
			if _, err := o.ReadAt(p, int64(n)-9); err != nil || string(p) != content[n-9:n-2] {
				t.Errorf("ReadAt: %q, %v", p, err)
			}
			_, err := o.Seek(-3, io.SeekEnd)
			must(t, err)
			rest, err := io.ReadAll(o)
			if string(rest) != content[n-3:] || err != nil {
				t.Errorf("read after Seek: %q, %v", rest, err)
			}
		}
		must(t, o.Close())
	}
}

func TestPutConflicts(t *testing.T) {
	b := demo(t)
	first := put(t, b, "a.txt", "one", nil)
	second := put(t, b, "a.txt", "two", &buckets.PutOptions{})
	if second.ID != first.ID || second.Version != 2 || second.VersionsCount != 2 || second.ManifestID == first.ManifestID {
		t.Errorf("second put: %+v", second)
	}
	other := put(t, b, "a.txt", "three", &buckets.PutOptions{OnConflict: buckets.ConflictNew})
	if other.ID == first.ID || other.Name != "a (2).txt" || other.Version != 1 {
		t.Errorf("put of a new file: %+v", other)
	}
	_, err := b.Put(t.Context(), "a.txt", strings.NewReader("x"), &buckets.PutOptions{OnConflict: buckets.ConflictFail})
	wantErr(t, "a taken name", err, buckets.ErrExist)
	wantErr(t, "a taken name", err, fs.ErrExist)
	free := put(t, b, "b.txt", "four", &buckets.PutOptions{OnConflict: buckets.ConflictFail})
	if free.Name != "b.txt" {
		t.Errorf("a free name became %q", free.Name)
	}
	// The same name in another folder is another file.
	if f := put(t, b, "a.txt", "x", &buckets.PutOptions{Folder: "/sub/"}); f.ID == first.ID || f.Path() != "sub/a.txt" {
		t.Errorf("in a folder: %+v", f)
	}
	_, err = b.Put(t.Context(), "c", strings.NewReader("x"), &buckets.PutOptions{OnConflict: "maybe"})
	wantErr(t, "an unknown choice", err, fs.ErrInvalid)
	wantUsage(t, b, 4, 5, 3+3+5+4+1, 0, 0)
}

func TestNumberedNames(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, tt := range []struct{ name, second string }{
		{"report.pdf", "report (2).pdf"},
		{"archive.tar.gz", "archive.tar (2).gz"},
		{"README", "README (2)"},
		{".profile", ".profile (2)"},
		{"a.", "a (2)."},
		{"report (2).pdf", "report (2) (2).pdf"},
		{long, long[:251] + " (2)"},
		{long[:251] + ".txt", long[:247] + " (2).txt"},
		{strings.Repeat("é", 127), strings.Repeat("é", 125) + " (2)"},
		{strings.Repeat("é", 125) + ".txt", strings.Repeat("é", 123) + " (2).txt"},
		{"x." + long[:253], "x." + long[:249] + " (2)"},
	} {
		t.Run(tt.name[:min(20, len(tt.name))], func(t *testing.T) {
			t.Parallel()
			b := demo(t)
			opts := &buckets.PutOptions{OnConflict: buckets.ConflictNew}
			put(t, b, tt.name, "1", opts)
			f := put(t, b, tt.name, "2", opts)
			if f.Name != tt.second || len(f.Name) > 255 || !utf8.ValidString(f.Name) {
				t.Errorf("%d bytes %q, want %q", len(f.Name), f.Name, tt.second)
			}
			if got, err := b.StatPath(t.Context(), f.Name); err != nil || got.ID != f.ID {
				t.Errorf("StatPath: %v", err)
			}
		})
	}
}

func TestManyDuplicates(t *testing.T) {
	race.LeaveOut(t)
	b := demo(t)
	names := make(map[string]bool)
	for i := range 200 {
		f := put(t, b, "photo.jpg", fmt.Sprint(i), &buckets.PutOptions{OnConflict: buckets.ConflictNew})
		want := fmt.Sprintf("photo (%d).jpg", i+1)
		if i == 0 {
			want = "photo.jpg"
		}
		if f.Name != want || names[f.Name] {
			t.Fatalf("duplicate %d is called %q, want %q", i, f.Name, want)
		}
		names[f.Name] = true
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 16 {
		wg.Go(func() {
			f, err := b.Put(context.Background(), "photo.jpg", strings.NewReader(fmt.Sprint("side by side ", i)),
				&buckets.PutOptions{OnConflict: buckets.ConflictNew})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if names[f.Name] {
				t.Errorf("%q was given twice", f.Name)
			}
			names[f.Name] = true
		})
	}
	wg.Wait()
	if got := len(paths(t, b, nil)); got != 216 || len(names) != 216 {
		t.Errorf("%d files listed, %d names given, want 216", got, len(names))
	}
}

func TestSkipUnchanged(t *testing.T) {
	s := open(t, nil)
	b := bucket(t, s, "demo")
	skip := func(o buckets.PutOptions) *buckets.PutOptions { o.SkipUnchanged = true; return &o }
	content := string(noise(1, 300_000))
	first := put(t, b, "f", content, skip(buckets.PutOptions{Metadata: map[string]any{"a": 1}, Tags: []string{"t"}}))
	if first.Unchanged {
		t.Error("the first put is unchanged")
	}
	before := stored(t, s)
	for name, o := range map[string]buckets.PutOptions{
		"nothing said":  {},
		"same metadata": {Metadata: map[string]any{"a": 1}},
		"same tags":     {Tags: []string{"t"}},
		"if-match":      {IfMatch: first.Checksums["root"]},
	} {
		if f := put(t, b, "f", content, skip(o)); !f.Unchanged || f.ManifestID != first.ManifestID || f.Version != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if got := stored(t, s); got != before {
		t.Errorf("unchanged content took %d bytes", got-before)
	}
	wantUsage(t, b, 1, 1, 300_000, 0, 0)
	for i, o := range []buckets.PutOptions{{Metadata: map[string]any{"a": 2}}, {Tags: []string{}}} {
		if f := put(t, b, "f", content, skip(o)); f.Unchanged || f.Version != uint64(i+2) {
			t.Errorf("%+v: unchanged", o)
		}
	}
	if f := put(t, b, "f", content[1:], skip(buckets.PutOptions{})); f.Unchanged || f.Version != 4 {
		t.Errorf("other content: %+v", f)
	}
	if f := put(t, b, "f", content[1:], nil); f.Unchanged || f.Version != 5 {
		t.Errorf("not asked for: %+v", f)
	}
	plain := put(t, b, "plain", "x", nil)
	if f := put(t, b, "plain", "x", skip(buckets.PutOptions{Metadata: map[string]any{}, Tags: []string{}})); !f.Unchanged {
		t.Errorf("no metadata, said so: version %d of %s", f.Version, plain.ID)
	}
	if f, err := b.Replace(t.Context(), plain.ID, strings.NewReader("x"), skip(buckets.PutOptions{})); err != nil || !f.Unchanged {
		t.Errorf("replace: %+v, %v", f, err)
	}
}

func TestIfMatch(t *testing.T) {
	b := demo(t)
	f := put(t, b, "f", "one", nil)
	root := f.Checksums["root"]
	try := func(name, ifMatch string, conflict buckets.OnConflict) error {
		_, err := b.Put(t.Context(), name, strings.NewReader("next"+ifMatch), &buckets.PutOptions{IfMatch: ifMatch, OnConflict: conflict})
		return err
	}
	wantErr(t, "wrong root", try("f", strings.Repeat("0", 64), ""), buckets.ErrPrecondition)
	wantErr(t, "half a root", try("f", root[:32], ""), buckets.ErrPrecondition)
	wantErr(t, "upper case", try("f", strings.ToUpper(root), ""), buckets.ErrPrecondition)
	wantErr(t, "nothing to match", try("none", root, ""), buckets.ErrPrecondition)
	wantErr(t, "* and nothing there", try("none", "*", ""), buckets.ErrPrecondition)
	wantErr(t, "* for a new file", try("f", "*", buckets.ConflictNew), buckets.ErrPrecondition)
	wantErr(t, "right root", try("f", root, ""), nil)
	wantErr(t, "the root before", try("f", root, ""), buckets.ErrPrecondition)
	wantErr(t, "*", try("f", "*", ""), nil)
	_, err := b.Replace(t.Context(), f.ID, strings.NewReader("x"), &buckets.PutOptions{IfMatch: root})
	wantErr(t, "replace", err, buckets.ErrPrecondition)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{IfMatch: root, Name: ptr("g")})
	wantErr(t, "update", err, buckets.ErrPrecondition)
	_, err = b.Delete(t.Context(), f.ID, &buckets.DeleteOptions{IfMatch: root})
	wantErr(t, "delete", err, buckets.ErrPrecondition)
	wantErr(t, "purge", b.Purge(t.Context(), f.ID, &buckets.DeleteOptions{IfMatch: root}), buckets.ErrPrecondition)
	now := stat(t, b, f.ID, nil)
	if now.Version != 3 || now.Name != "f" || len(paths(t, b, nil)) != 1 {
		t.Errorf("after refusals: %+v", now)
	}
	if _, err := b.Delete(t.Context(), f.ID, &buckets.DeleteOptions{IfMatch: now.Checksums["root"]}); err != nil {
		t.Error(err)
	}
}

func TestIfMatchOneWins(t *testing.T) {
	b := demo(t)
	f := put(t, b, "f", "start", nil)
	for round := range 3 {
		root := stat(t, b, f.ID, nil).Checksums["root"]
		var won atomic.Int32
		var winner atomic.Value
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				content := fmt.Sprintf("round %d, writer %d", round, i)
				opts := &buckets.PutOptions{IfMatch: root}
				var err error
				if i%2 == 0 {
					_, err = b.Put(context.Background(), "f", strings.NewReader(content), opts)
				} else {
					_, err = b.Replace(context.Background(), f.ID, strings.NewReader(content), opts)
				}
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(content)
				case !errors.Is(err, buckets.ErrPrecondition):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 32 writers won", won.Load())
		}
		if got := read(t, b, f.ID, nil); got != winner.Load() {
			t.Errorf("the winner wrote %q, the file holds %q", winner.Load(), got)
		}
	}
	if v := stat(t, b, f.ID, nil); v.Version != 4 || v.VersionsCount != 4 {
		t.Errorf("after three rounds: version %d of %d", v.Version, v.VersionsCount)
	}
}

func TestDeclaredSize(t *testing.T) {
	b := demo(t)
	content := noise(2, 3_000_000)
	for _, n := range []int{0, 1, 100, 3072, 3073, 2_000_000} {
		for _, declared := range []int64{-1, 0, int64(n) - 1, int64(n), int64(n) + 1, 1 << 40} {
			name := fmt.Sprintf("n%d-%d", n, declared)
			f, err := b.Put(t.Context(), name, bytes.NewReader(content[:n]), &buckets.PutOptions{Size: declared, SizeKnown: true})
			if declared == int64(n) {
				if err != nil || f.Size != declared {
					t.Errorf("%s: %v", name, err)
				}
				must(t, b.Purge(t.Context(), f.ID, nil))
				continue
			}
			if n == 0 && declared == -1 {
				continue // nothing was read that could be too much
			}
			wantErr(t, name, err, buckets.ErrSize)
			if _, err := b.StatPath(t.Context(), name); !errors.Is(err, buckets.ErrNoFile) {
				t.Errorf("%s left a file: %v", name, err)
			}
		}
	}
	broken := errors.New("the line went dead")
	for _, n := range []int{0, 10, 2_000_000} {
		_, err := b.Put(t.Context(), "broken", newFailing(content[:n], broken), nil)
		wantErr(t, "a reader that fails", err, broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Put(ctx, "cancelled", bytes.NewReader(content), nil)
	wantErr(t, "cancelled", err, context.Canceled)
	for _, name := range paths(t, b, nil) {
		if !strings.HasPrefix(name, "n0-") {
			t.Errorf("%s is left", name)
		}
	}
}

func TestNames(t *testing.T) {
	b := demo(t)
	for _, tt := range []struct{ why, name, want string }{
		{"empty", "", ""},
		{"dot", ".", ""},
		{"dot dot", "..", ""},
		{"up", "../etc/passwd", ""},
		{"slash", "a/b", ""},
		{"leading slash", "/a", ""},
		{"backslash", `a\b`, ""},
		{"NUL", "a\x00b", ""},
		{"CR", "a\rb", ""},
		{"LF", "a\nSet-Cookie: x", ""},
		{"tab", "a\tb", ""},
		{"DEL", "a\x7f", ""},
		{"C1", "a\u0085", ""},
		{"RTL override", "a\u202egpj.exe", ""},
		{"RTL mark", "a\u200fb", ""},
		{"LTR mark", "a\u200eb", ""},
		{"isolate", "a\u2066b", ""},
		{"Arabic mark", "a\u061cb", ""},
		{"line separator", "a\u2028b", ""},
		{"replacement", "a\ufffdb", ""},
		{"invalid UTF-8", "a\xffb", ""},
		{"surrogate", "a\xed\xa0\x80", ""},
		{"300 bytes", strings.Repeat("a", 300), ""},
		{"256 bytes", strings.Repeat("a", 256), ""},
		{"255 bytes", strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{"NFD", "cafe\u0301.txt", "caf\u00e9.txt"},
		{"NFC", "na\u00efve", "na\u00efve"},
		{"Hangul", "\u1112\u1161\u11ab", "\ud55c"},
		{"300 bytes of NFD", strings.Repeat("e\u0301", 100), strings.Repeat("\u00e9", 100)},
		{"percent", "a%2fb", "a%2fb"},
		{"quotes", `a"b;c`, `a"b;c`},
		{"space", " a ", " a "},
		{"dots", "...", "..."},
		{"hidden", ".hidden", ".hidden"},
		{"right to left letters", "\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"},
		{"emoji", "👩‍👩‍👧", "👩‍👩‍👧"},
		{"last rune", "\U0010ffffx", "\U0010ffffx"},
	} {
		f, err := b.Put(t.Context(), tt.name, strings.NewReader(tt.why), nil)
		if tt.want == "" {
			wantErr(t, tt.why, err, buckets.ErrName)
			continue
		}
		if err != nil || f.Name != tt.want {
			t.Errorf("%s: %v, %v", tt.why, f, err)
			continue
		}
		if got, err := b.StatPath(t.Context(), tt.want); err != nil || got.ID != f.ID {
			t.Errorf("%s: StatPath: %v", tt.why, err)
		}
		// Renaming obeys the same rules.
		if g, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: &tt.name}); err != nil || g.Name != tt.want {
			t.Errorf("%s: rename: %v", tt.why, err)
		}
	}
	for _, tt := range []struct {
		folder, want string
		ok           bool
	}{
		{"a/b/c", "a/b/c", true},
		{"/a/b/", "a/b", true},
		{"///", "", true},
		{"e\u0301", "\u00e9", true},
		{"a//b", "", false},
		{"a/../b", "", false},
		{"./a", "", false},
		{"a\x00", "", false},
		{`a\b`, "", false},
		{"a\r\nb", "", false},
		{strings.Repeat("a", 256), "", false},
		{strings.Repeat("a/", 600), "", false},
		{"a\xff", "", false},
		{"\u202e", "", false},
	} {
		f, err := b.Put(t.Context(), "in folder", strings.NewReader("x"), &buckets.PutOptions{Folder: tt.folder})
		if !tt.ok {
			wantErr(t, tt.folder, err, buckets.ErrName)
		} else if err != nil || f.Folder != tt.want {
			t.Errorf("folder %q: %v, %v", tt.folder, f, err)
		}
	}
}

func TestReplace(t *testing.T) {
	b := demo(t)
	f := put(t, b, "f", "one", &buckets.PutOptions{Folder: "d", Metadata: map[string]any{"k": "v"}, Tags: []string{"t"}, MIMEType: "text/x-one"})
	g, err := b.Replace(t.Context(), f.ID, strings.NewReader("second"), nil)
	must(t, err)
	if g.ID != f.ID || g.Version != 2 || g.Name != "f" || g.Folder != "d" || g.Metadata["k"] != "v" || !slices.Equal(g.Tags, []string{"t"}) {
		t.Errorf("%+v", g)
	}
	if g.DeclaredMIMEType != "" || !g.CreatedAt.Equal(f.CreatedAt) || g.UpdatedAt.Before(f.UpdatedAt) {
		t.Errorf("%+v", g)
	}
	g, err = b.Replace(t.Context(), f.ID, strings.NewReader("three"), &buckets.PutOptions{Metadata: map[string]any{"n": 1.0}, Tags: []string{}, MIMEType: "a/b"})
	must(t, err)
	if !maps.Equal(g.Metadata, map[string]any{"n": 1.0}) || len(g.Tags) != 0 || g.DeclaredMIMEType != "a/b" {
		t.Errorf("%+v", g)
	}
	if read(t, b, f.ID, nil) != "three" || read(t, b, f.ManifestID, nil) != "one" {
		t.Error("versions are mixed up")
	}
	for _, id := range []string{"f_unknown", g.ManifestID, ""} {
		_, err = b.Replace(t.Context(), id, strings.NewReader("x"), nil)
		wantErr(t, "replace "+id, err, buckets.ErrNoFile)
	}
	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	_, err = b.Replace(t.Context(), f.ID, strings.NewReader("x"), nil)
	wantErr(t, "replace in the trash", err, buckets.ErrNoFile)
	wantUsage(t, b, 0, 3, 0, 1, 3+6+5)
}

// A file that goes away while its next version is on the way takes none.
func TestReplaceDeletedMeanwhile(t *testing.T) {
	for _, how := range []string{"delete", "purge"} {
		b := demo(t)
		f := put(t, b, "f", "one", nil)
		r := &hook{Reader: strings.NewReader("two"), before: func() {
			if how == "purge" {
				must(t, b.Purge(t.Context(), f.ID, nil))
				return
			}
			_, err := b.Delete(t.Context(), f.ID, nil)
			must(t, err)
		}}
		_, err := b.Replace(t.Context(), f.ID, r, nil)
		wantErr(t, how, err, buckets.ErrNoFile)
		if got := paths(t, b, nil); len(got) != 0 {
			t.Errorf("%s: %v", how, got)
		}
	}
}

// hook runs a function before the first byte is read.
type hook struct {
	io.Reader
	before func()
}

func (h *hook) Read(p []byte) (int, error) {
	if h.before != nil {
		h.before()
		h.before = nil
	}
	return h.Reader.Read(p)
}

func TestDigests(t *testing.T) {
	b := demo(t)
	content := string(noise(3, 2_500_000))
	s, m := sha256.Sum256([]byte(content)), md5.Sum([]byte(content))
	blake := blake3.New()
	io.WriteString(blake, content)
	want := map[string]string{"sha256": hex.EncodeToString(s[:]), "md5": hex.EncodeToString(m[:]), "blake3": hex.EncodeToString(blake.Sum(nil))}
	for _, names := range [][]string{nil, {}, {"sha256"}, {"blake3", "md5"}, {"md5", "sha256", "blake3"}, {"md5", "md5"}} {
		f := put(t, b, "f", content, &buckets.PutOptions{Digests: names})
		expect := names
		if names == nil {
			expect = []string{"sha256"} // the bucket's own
		}
		got := maps.Clone(f.Checksums)
		delete(got, "root")
		for _, name := range expect {
			if got[name] != want[name] {
				t.Errorf("%v: %s is %q, want %q", names, name, got[name], want[name])
			}
		}
		for name := range got {
			if !slices.Contains(expect, name) {
				t.Errorf("%v: also %s", names, name)
			}
		}
		if !maps.Equal(f.Checksums, stat(t, b, f.ID, nil).Checksums) {
			t.Errorf("%v: Stat tells otherwise", names)
		}
	}
	for _, name := range []string{"crc32", "SHA256", "", "root"} {
		_, err := b.Put(t.Context(), "f", strings.NewReader("x"), &buckets.PutOptions{Digests: []string{name}})
		wantErr(t, name, err, buckets.ErrDigestName)
	}
}

func TestMetadataLimits(t *testing.T) {
	nested := func(depth int) map[string]any {
		m := map[string]any{}
		for range depth - 1 {
			m = map[string]any{"k": m}
		}
		return m
	}
	b := demo(t)
	fits := strings.Repeat("v", 16<<10-len(`{"k":""}`))
	f := put(t, b, "fits", "x", &buckets.PutOptions{Metadata: map[string]any{"k": fits}})
	if got := stat(t, b, f.ID, nil).Metadata["k"]; got != fits {
		t.Error("metadata of the largest size changed")
	}
	put(t, b, "deep", "x", &buckets.PutOptions{Metadata: nested(100)})
	tags := make([]string, 64)
	for i := range tags {
		tags[i] = strings.Repeat("t", 126) + fmt.Sprintf("%02d", i)
	}
	if f := put(t, b, "tags", "x", &buckets.PutOptions{Tags: tags}); !slices.Equal(stat(t, b, f.ID, nil).Tags, tags) {
		t.Error("tags changed")
	}
	for why, o := range map[string]buckets.PutOptions{
		"too long":     {Metadata: map[string]any{"k": fits + "v"}},
		"not JSON":     {Metadata: map[string]any{"k": func() {}}},
		"too deep":     {Metadata: nested(101)},
		"65 tags":      {Tags: append(tags, "t")},
		"an empty tag": {Tags: []string{""}},
		"a long tag":   {Tags: []string{strings.Repeat("t", 129)}},
	} {
		_, err := b.Put(t.Context(), "no", strings.NewReader("x"), &o)
		wantErr(t, why, err, buckets.ErrMetadata)
		if o.Metadata != nil {
			_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Metadata: o.Metadata})
		} else {
			_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Tags: &o.Tags})
		}
		wantErr(t, "update: "+why, err, buckets.ErrMetadata)
	}
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Metadata: map[string]any{"k2": "v"}})
	wantErr(t, "a patch that makes it too long", err, buckets.ErrMetadata)
	if got := stat(t, b, f.ID, nil); got.Metadata["k"] != fits || len(got.Metadata) != 1 || got.Tags != nil {
		t.Error("a refused patch changed the file")
	}
	if got := paths(t, b, nil); !slices.Equal(got, []string{"deep", "fits", "tags"}) {
		t.Errorf("%v", got)
	}
}

func TestMediaTypes(t *testing.T) {
	b := demo(t)
	for _, tt := range []struct{ content, want string }{
		{"", "text/plain"},
		{"hello", "text/plain"},
		{"%PDF-1.7\n", "application/pdf"},
		{"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"},
		{"<!DOCTYPE html><script>alert(1)</script>", "text/html"},
		{"\x00\x01\x02\x03", "application/octet-stream"},
	} {
		f := put(t, b, "f.jpg", tt.content, &buckets.PutOptions{MIMEType: "image/jpeg"})
		if f.MIMEType != tt.want || f.DeclaredMIMEType != "image/jpeg" {
			t.Errorf("%q: %s, declared %s", tt.content, f.MIMEType, f.DeclaredMIMEType)
		}
	}
}

func TestProgress(t *testing.T) {
	b := demo(t)
	var last int64
	put(t, b, "f", string(noise(4, 1_000_000)), &buckets.PutOptions{Progress: func(n int64) {
		if n <= last {
			t.Errorf("progress went from %d to %d", last, n)
		}
		last = n
	}})
	if last != 1_000_000 {
		t.Errorf("progress ended at %d", last)
	}
}

// A body that is cut off is not a shorter file.
func TestBodyCutOff(t *testing.T) {
	b := demo(t)
	for _, n := range []int{0, 10, 5000, 300_000} {
		body := io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(io.ErrUnexpectedEOF))
		if f, err := b.Put(t.Context(), "f", body, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut off after %d bytes: %+v, %v", n, f, err)
		}
	}
}
