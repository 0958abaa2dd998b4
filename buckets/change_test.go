package buckets_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/internal/race"
)

func TestUpdate(t *testing.T) {
	b := bucket(t, open(t, twoBuckets()), "a")
	f := put(t, b, "f", "one", &buckets.PutOptions{Metadata: map[string]any{"a": "b"}, Tags: []string{"x"}})
	other := put(t, b, "taken", "two", &buckets.PutOptions{Folder: "d"})
	g, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("g")})
	must(t, err)
	if g.ID != f.ID || g.ManifestID != f.ManifestID || g.Version != 1 || g.Path() != "g" || g.Metadata["a"] != "b" || !slices.Equal(g.Tags, []string{"x"}) {
		t.Errorf("renamed: %+v", g)
	}
	g, err = b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("/d/e/")})
	must(t, err)
	if g.Path() != "d/e/g" {
		t.Errorf("moved to %q", g.Path())
	}
	for path, want := range map[string]error{"f": buckets.ErrNoFile, "g": buckets.ErrNoFile, "d/e/g": nil} {
		_, err := b.StatPath(t.Context(), path)
		wantErr(t, path, err, want)
	}
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("taken"), Folder: ptr("d")})
	wantErr(t, "a taken path", err, buckets.ErrExist)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("taken")})
	wantErr(t, "free in its folder", err, nil)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("d")})
	wantErr(t, "a move onto a file", err, buckets.ErrExist)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("taken")})
	wantErr(t, "its own name", err, nil)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("a/../b")})
	wantErr(t, "a bad folder", err, buckets.ErrName)
	g, err = b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr(""), Tags: &[]string{}, Access: &map[string]string{"read": "auth.id != null"}})
	must(t, err)
	if g.Path() != "taken" || len(g.Tags) != 0 || g.Access["read"] != "auth.id != null" {
		t.Errorf("%+v", g)
	}
	if again := stat(t, b, f.ID, nil); !reflect.DeepEqual(again, g) {
		t.Errorf("Stat tells otherwise:\n%+v\n%+v", again, g)
	}
	_, err = b.Update(t.Context(), f.ManifestID, &buckets.Patch{Name: ptr("h")})
	wantErr(t, "of a version", err, buckets.ErrNoFile)
	_, err = b.Delete(t.Context(), other.ID, nil)
	must(t, err)
	_, err = b.Update(t.Context(), other.ID, &buckets.Patch{Name: ptr("h")})
	wantErr(t, "in the trash", err, buckets.ErrNoFile)
	if _, err := b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("d")}); err != nil {
		t.Errorf("a name that the trash holds: %v", err)
	}
	wantUsage(t, b, 1, 2, 3, 1, 3)
}

// The examples of RFC 7396, appendix A, as far as both sides are objects.
func TestMergePatch(t *testing.T) {
	b := demo(t)
	for _, tt := range []struct{ original, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":"foo"}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{`{"a":{"b":{"c":1,"d":2}}}`, `{"a":{"b":{"c":null}}}`, `{"a":{"b":{"d":2}}}`},
		{`{"a":1}`, `{}`, `{"a":1}`},
	} {
		f := put(t, b, "f", "x", &buckets.PutOptions{Metadata: object(t, tt.original)})
		g, err := b.Update(t.Context(), f.ID, &buckets.Patch{Metadata: object(t, tt.patch)})
		must(t, err)
		if want := object(t, tt.want); !reflect.DeepEqual(g.Metadata, want) {
			t.Errorf("%s with %s: %v, want %v", tt.original, tt.patch, g.Metadata, want)
		}
		if again := stat(t, b, f.ID, nil); !reflect.DeepEqual(again.Metadata, g.Metadata) {
			t.Errorf("%s with %s: then %v", tt.original, tt.patch, again.Metadata)
		}
	}
}

func object(t *testing.T, s string) (m map[string]any) {
	t.Helper()
	must(t, json.Unmarshal([]byte(s), &m))
	return m
}

// Numbers keep all their digits when something else about the file changes.
func TestMetadataKeepsNumbers(t *testing.T) {
	s := open(t, nil)
	b := bucket(t, s, "demo")
	f := put(t, b, "f", "x", &buckets.PutOptions{Metadata: map[string]any{"n": int64(9007199254740993)}})
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Metadata: map[string]any{"other": "x"}})
	must(t, err)
	_, err = b.Copy(t.Context(), f.ID, b, nil)
	must(t, err)
	n := 0
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		if n++; string(r.Metadata) != `{"n":9007199254740993,"other":"x"}` {
			t.Errorf("%s: %s", r.Name, r.Metadata)
		}
	}
	if n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestDeleteUndeletePurge(t *testing.T) {
	b := demo(t)
	f := put(t, b, "f.txt", "one", &buckets.PutOptions{Folder: "d"})
	put(t, b, "f.txt", "second", &buckets.PutOptions{Folder: "d"})
	gone, err := b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	if gone.State != buckets.Trashed || gone.DeletedAt.IsZero() || gone.Version != 2 || gone.Path() != "d/f.txt" {
		t.Errorf("%+v", gone)
	}
	wantUsage(t, b, 0, 2, 0, 1, 9)
	trashed := &buckets.GetOptions{Trashed: true}
	for _, id := range []string{f.ID, f.ManifestID, gone.ManifestID} {
		_, err := b.Stat(t.Context(), id, nil)
		wantErr(t, "stat", err, buckets.ErrNoFile)
		_, err = b.Open(t.Context(), id, nil)
		wantErr(t, "open", err, buckets.ErrNoFile)
		if f := stat(t, b, id, trashed); f.State != buckets.Trashed {
			t.Errorf("%+v", f)
		}
	}
	if got := read(t, b, f.ID, &buckets.GetOptions{Trashed: true, Version: 1}); got != "one" {
		t.Errorf("in the trash: %q", got)
	}
	_, err = b.StatPath(t.Context(), "d/f.txt")
	wantErr(t, "by path", err, buckets.ErrNoFile)
	_, err = b.Delete(t.Context(), f.ID, nil)
	wantErr(t, "deleted again", err, buckets.ErrNoFile)

	// Its name is free, and taken when it comes back.
	taker := put(t, b, "f.txt", "taker", &buckets.PutOptions{Folder: "d"})
	if taker.ID == f.ID || taker.Version != 1 {
		t.Errorf("%+v", taker)
	}
	back, err := b.Undelete(t.Context(), f.ID)
	must(t, err)
	if back.ID != f.ID || back.Path() != "d/f (2).txt" || back.State != buckets.Active || !back.DeletedAt.IsZero() || back.Version != 2 {
		t.Errorf("%+v", back)
	}
	wantUsage(t, b, 2, 3, 9+5, 0, 0)
	_, err = b.Undelete(t.Context(), f.ID)
	wantErr(t, "not in the trash", err, buckets.ErrNotTrashed)
	_, err = b.Delete(t.Context(), taker.ID, nil)
	must(t, err)
	back, err = b.Undelete(t.Context(), taker.ID)
	must(t, err)
	if back.Path() != "d/f.txt" {
		t.Errorf("its own free name became %q", back.Path())
	}

	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	must(t, b.Purge(t.Context(), f.ID, nil)) // from the trash
	must(t, b.Purge(t.Context(), taker.ID, nil))
	wantUsage(t, b, 0, 0, 0, 0, 0)
	for _, id := range []string{f.ID, f.ManifestID, gone.ManifestID, taker.ID} {
		refuses(t, b, id, buckets.ErrNoFile)
	}
	if got := put(t, b, "f.txt", "anew", &buckets.PutOptions{Folder: "d"}); got.ID == f.ID || got.Version != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCopy(t *testing.T) {
	s := open(t, twoBuckets())
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	content := string(noise(5, 12_000_000)) // segments too
	meta := map[string]any{"k": []any{"v", 1.5}}
	src := put(t, a, "f.bin", content, &buckets.PutOptions{Folder: "d", Metadata: meta, Tags: []string{"t"}, MIMEType: "x/y"})
	put(t, a, "f.bin", "second", &buckets.PutOptions{Folder: "d"})
	before := stored(t, s)
	same, err := a.Copy(t.Context(), src.ID, a, nil)
	must(t, err)
	if same.ID == src.ID || same.Path() != "d/f (2).bin" || same.Version != 1 || read(t, a, same.ID, nil) != "second" ||
		!reflect.DeepEqual(same.Metadata, meta) || !slices.Equal(same.Tags, []string{"t"}) {
		t.Errorf("%+v", same)
	}
	first, err := a.Copy(t.Context(), src.ID, b, &buckets.CopyOptions{Version: 1, Name: "copy", Folder: ptr("")})
	must(t, err)
	if first.Bucket != "b" || first.Path() != "copy" || first.Size != src.Size || first.Checksums["root"] != src.Checksums["root"] ||
		first.DeclaredMIMEType != "x/y" || first.MIMEType != src.MIMEType {
		t.Errorf("%+v", first)
	}
	if first.NewBytes != 0 || first.StoredBytes != 0 || stored(t, s) != before {
		t.Errorf("the copy took %d bytes", stored(t, s)-before)
	}
	byVersion, err := a.Copy(t.Context(), src.ManifestID, b, &buckets.CopyOptions{OnConflict: buckets.ConflictFail})
	must(t, err)
	if byVersion.Path() != "d/f.bin" || byVersion.Size != src.Size {
		t.Errorf("%+v", byVersion)
	}
	_, err = a.Copy(t.Context(), src.ID, b, &buckets.CopyOptions{OnConflict: buckets.ConflictFail})
	wantErr(t, "a taken name", err, buckets.ErrExist)
	over, err := a.Copy(t.Context(), src.ID, b, &buckets.CopyOptions{OnConflict: buckets.ConflictVersion})
	must(t, err)
	if over.ID != byVersion.ID || over.Version != 2 || read(t, b, over.ID, nil) != "second" {
		t.Errorf("%+v", over)
	}
	_, err = a.Copy(t.Context(), src.ID, b, &buckets.CopyOptions{Version: 9})
	wantErr(t, "no such version", err, buckets.ErrNoVersion)
	_, err = a.Copy(t.Context(), src.ID, b, &buckets.CopyOptions{Name: "../x"})
	wantErr(t, "a bad name", err, buckets.ErrName)

	// A copy outlives its original.
	must(t, a.Purge(t.Context(), src.ID, nil))
	if read(t, b, first.ID, nil) != content {
		t.Error("the copy changed")
	}
	n := int64(len(content))
	wantUsage(t, a, 1, 1, 6, 0, 0)
	wantUsage(t, b, 2, 3, 2*n+6, 0, 0)
	_, err = b.Delete(t.Context(), first.ID, nil)
	must(t, err)
	_, err = b.Copy(t.Context(), first.ID, b, nil)
	wantErr(t, "from the trash", err, buckets.ErrNoFile)
}

func TestVersions(t *testing.T) {
	s := open(t, nil)
	b := bucket(t, s, "demo")
	var f *buckets.File
	for i := range 5 {
		f = put(t, b, "f", strings.Repeat("v", i+1), &buckets.PutOptions{MIMEType: fmt.Sprint("x/", i+1)})
	}
	list := func() (got []uint64) {
		for v, err := range b.Versions(t.Context(), f.ID) {
			must(t, err)
			if v.ID != f.ID || v.Size != int64(v.Version) || v.DeclaredMIMEType != fmt.Sprint("x/", v.Version) {
				if v.Version <= 5 {
					t.Errorf("%+v", v)
				}
			}
			got = append(got, v.Version)
		}
		return got
	}
	if got := list(); !slices.Equal(got, []uint64{5, 4, 3, 2, 1}) {
		t.Errorf("versions %v", got)
	}
	before := stored(t, s)
	r, err := b.RestoreVersion(t.Context(), f.ID, 2)
	must(t, err)
	v2 := stat(t, b, f.ID, &buckets.GetOptions{Version: 2})
	if r.Version != 6 || r.Size != 2 || r.ManifestID == v2.ManifestID || !maps.Equal(r.Checksums, v2.Checksums) || r.VersionsCount != 6 ||
		r.DeclaredMIMEType != "x/2" {
		t.Errorf("%+v", r)
	}
	if stored(t, s) != before {
		t.Error("restoring a version took space")
	}
	wantUsage(t, b, 1, 6, 15+2, 0, 0)
	_, err = b.RestoreVersion(t.Context(), f.ID, 9)
	wantErr(t, "no such version", err, buckets.ErrNoVersion)
	wantErr(t, "no such version", b.DeleteVersion(t.Context(), f.ID, 9), buckets.ErrNoVersion)

	must(t, b.DeleteVersion(t.Context(), f.ID, 2))
	if got := read(t, b, f.ID, nil); got != "vv" {
		t.Errorf("the restored version needs the one it came from: %q", got)
	}
	_, err = b.Stat(t.Context(), v2.ManifestID, nil)
	wantErr(t, "a deleted version", err, buckets.ErrNoFile)
	_, err = b.Stat(t.Context(), f.ID, &buckets.GetOptions{Version: 2})
	wantErr(t, "a deleted version", err, buckets.ErrNoVersion)

	must(t, b.DeleteVersion(t.Context(), f.ID, 6)) // the current one
	if now := stat(t, b, f.ID, nil); now.Version != 5 || now.VersionsCount != 4 || read(t, b, f.ID, nil) != "vvvvv" {
		t.Errorf("%+v", now)
	}
	wantUsage(t, b, 1, 4, 1+3+4+5, 0, 0)
	if next := put(t, b, "f", "seven..", nil); next.Version != 7 {
		t.Errorf("number %d was given twice", next.Version)
	}
	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	_, err = b.RestoreVersion(t.Context(), f.ID, 1)
	wantErr(t, "restore in the trash", err, buckets.ErrNoFile)
	for _, n := range []uint64{7, 1, 4, 5} {
		must(t, b.DeleteVersion(t.Context(), f.ID, n))
	}
	wantErr(t, "the last version", b.DeleteVersion(t.Context(), f.ID, 3), buckets.ErrLastVersion)
	if got := list(); !slices.Equal(got, []uint64{3}) {
		t.Errorf("versions %v", got)
	}
	wantUsage(t, b, 0, 1, 0, 1, 3)
	wantErr(t, "by manifest ID", b.DeleteVersion(t.Context(), f.ManifestID, 1), buckets.ErrNoFile)
}

func TestDedupReport(t *testing.T) {
	race.LeaveOut(t)
	s := open(t, nil)
	b := bucket(t, s, "demo")
	r, err := s.Dedup(t.Context())
	must(t, err)
	if r.Files != 0 || r.LogicalBytes != 0 || r.UniqueBytes != 0 || r.Chunks != 0 || r.DedupRatio != 0 {
		t.Errorf("empty: %+v", r)
	}
	x, y := string(noise(6, 10_000)), string(noise(7, 9_000)) // one chunk each
	f := put(t, b, "x", x, nil)
	if f.NewBytes != 10_000 || f.StoredBytes < 10_000 {
		t.Errorf("new %d, stored %d", f.NewBytes, f.StoredBytes)
	}
	if f := put(t, b, "x", y, nil); f.NewBytes != 9_000 {
		t.Errorf("new %d", f.NewBytes)
	}
	if f := put(t, b, "x again", x, nil); f.NewBytes != 0 || f.StoredBytes != 0 {
		t.Errorf("new %d, stored %d", f.NewBytes, f.StoredBytes)
	}
	put(t, b, "empty", "", nil)
	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	r, err = s.Dedup(t.Context())
	must(t, err)
	if r.Files != 3 || r.Manifests != 4 || r.LogicalBytes != 29_000 || r.UniqueBytes != 19_000 || r.Chunks != 3 || r.UniqueChunks != 2 {
		t.Errorf("%+v", r)
	}
	if r.StoredBytes < 19_000 || r.StoredBytes > 25_000 || r.DedupRatio != float64(r.LogicalBytes)/float64(r.StoredBytes) || r.IndexBytes <= 0 {
		t.Errorf("%+v", r)
	}
	big := string(noise(8, 12_000_000))
	put(t, b, "big", big, nil)
	put(t, b, "big again", big, nil)
	u, err := s.Dedup(t.Context())
	must(t, err)
	if u.UniqueBytes != 19_000+12_000_000 || u.LogicalBytes != 29_000+24_000_000 || u.Chunks != 3+2*(u.UniqueChunks-2) {
		t.Errorf("%+v", u)
	}
}
