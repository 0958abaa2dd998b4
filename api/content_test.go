package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

func TestDownload(t *testing.T) {
	w := newWorld(t)
	content := noise(300_000)
	f := w.put("f", content)
	sum := sha256.Sum256(content)
	path := "/api/files/demo/" + f.ID + "/download"
	all := w.want(200, "", "GET", path, nil)
	if !bytes.Equal(all.body, content) || all.Header.Get("ETag") != `"b3-`+f.Checksums["root"]+`"` ||
		all.Header.Get("Repr-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
		t.Errorf("%d bytes, %v", len(all.body), all.Header)
	}
	if a := w.want(200, "", "HEAD", path, nil, "Range", "bytes=0-1"); a.Header.Get("Content-Length") != "300000" {
		t.Errorf("HEAD: %v", a.Header)
	}
}

func TestSeveralRanges(t *testing.T) {
	w := newWorld(t)
	content := noise(5 << 20)
	f := w.put("f", content)
	a := w.want(206, "", "GET", "/api/files/demo/"+f.ID+"/download", nil, "Range", "bytes=0-1999999,4000000-4000000,3000000-5242879")
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for _, want := range [][]byte{content[:2_000_000], content[4_000_000:4_000_001], content[3_000_000:]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes and %v, want %d bytes of the file", len(got), err, len(want))
		}
	}
}

func TestVersions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	f1 := w.put("f", []byte("one"))
	f2, err := w.c.Replace(ctx, "demo", f1.ID, strings.NewReader("two"), &client.UploadOptions{IfMatch: f1.Checksums["root"]})
	if err != nil || f2.Version != 2 || f2.ID != f1.ID || f2.ManifestID == f1.ManifestID {
		t.Fatalf("%+v, %v", f2, err)
	}
	path := "/api/files/demo/" + f1.ID
	w.want(412, "precondition-failed", "PUT", path, strings.NewReader("x"), "If-Match", `"b3-`+f1.Checksums["root"]+`"`)
	w.want(412, "precondition-failed", "PUT", path, strings.NewReader("x"), "If-Match", `W/"b3-`+f2.Checksums["root"]+`"`)
	w.want(200, "", "PUT", path, strings.NewReader("three"), "If-Match", `"x", "b3-`+f1.Checksums["root"]+`", "b3-`+f2.Checksums["root"]+`"`)
	read := func(path, want string) {
		t.Helper()
		if a := w.want(200, "", "GET", path, nil); string(a.body) != want {
			t.Errorf("%s: %q, want %q", path, a.body, want)
		}
	}
	read(path+"/download", "three")
	read(path+"/download?version=1", "one")
	read(path+"/versions/2/download", "two")
	read("/api/files/demo/"+f1.ManifestID+"/download", "one")
	if a := w.do("GET", "/api/files/demo/"+f1.ManifestID+"/download", nil); !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("pinned: %v", a.Header)
	}
	w.want(405, "method-not-allowed", "PUT", "/api/files/demo/"+f1.ManifestID, strings.NewReader("x"))
	w.want(405, "method-not-allowed", "PATCH", "/api/files/demo/"+f1.ManifestID, strings.NewReader("{}"))
	w.want(200, "", "POST", path+"/versions/1/restore", nil)
	read(path+"/download", "one")
	n := 0
	for _, err := range w.c.Versions(ctx, "demo", f1.ID) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 4 {
		t.Errorf("%d versions", n)
	}
	w.want(204, "", "DELETE", path+"/versions/2", nil)
	w.want(404, "version-not-found", "GET", path+"/versions/2", nil)
	w.want(404, "version-not-found", "GET", path+"/versions/0", nil)
	w.want(204, "", "DELETE", "/api/files/demo/"+f1.ManifestID, nil)
	if a := w.want(200, "", "GET", path+"/versions/4/diff?from=3", nil); !bytes.Contains(a.body, []byte(`"added_bytes":3,"removed_bytes":5`)) {
		t.Errorf("diff: %s", a.body)
	}
}

func TestTrashCopyPatch(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	f := w.put("f.txt", []byte("hello"))
	path := "/api/files/demo/" + f.ID
	json := []string{"Content-Type", "application/json"}
	w.want(200, "", "PATCH", path, strings.NewReader(`{"name":"g.txt","folder":"x","metadata":{"a":1,"b":{"c":2}},"tags":["t"]}`), json...)
	a := w.want(200, "", "PATCH", path, strings.NewReader(`{"metadata":{"a":null,"b":{"d":3}}}`), json...)
	if !bytes.Contains(a.body, []byte(`"metadata":{"b":{"c":2,"d":3}}`)) || !bytes.Contains(a.body, []byte(`"path":"x/g.txt"`)) {
		t.Errorf("patched: %s", a.body)
	}
	w.want(400, "invalid-request", "PATCH", path, strings.NewReader(`{`), json...)
	w.want(400, "invalid-request", "PATCH", path, strings.NewReader(`{}`))
	w.want(400, "invalid-name", "PATCH", path, strings.NewReader(`{"name":".."}`), json...)
	w.want(413, "body-too-large", "PATCH", path, strings.NewReader(`{"name":"`+strings.Repeat("x", 1<<20)+`"}`), json...)
	c, err := w.c.Copy(ctx, "demo", f.ID, &client.CopyOptions{Bucket: "other", Name: "c"})
	if err != nil || c.Bucket != "other" || c.Path != "x/c" || c.Checksums["root"] != f.Checksums["root"] {
		t.Errorf("copy: %+v, %v", c, err)
	}
	w.want(404, "file-not-found", "GET", "/api/files/other/"+f.ID, nil) // of another bucket
	w.want(200, "", "DELETE", path, nil)
	w.want(404, "file-not-found", "GET", path+"/download", nil)
	w.want(404, "file-not-found", "DELETE", path, nil)
	w.want(200, "", "POST", path+"/restore", nil)
	w.want(409, "not-trashed", "POST", path+"/restore", nil)
	w.want(204, "", "DELETE", path+"?permanent=true", nil)
	if _, err := w.c.Stat(ctx, "demo", f.ID, &client.GetOptions{Trashed: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("purged: %v", err)
	}
	w.want(501, "transform-not-available", "GET", "/api/files/demo/"+w.put("p", nil).ID+"/preview", nil)
}

func TestConflictsAndLists(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.put("f"+strconv.Itoa(i), []byte("x"))
	}
	a := w.want(201, "", "POST", "/api/files/demo?name=f1", strings.NewReader("y"))
	if !bytes.Contains(a.body, []byte(`"name":"f1 (2)"`)) {
		t.Errorf("a second f1: %s", a.body)
	}
	w.want(409, "name-taken", "POST", "/api/files/demo?name=f1&on_conflict=fail", strings.NewReader("y"))
	w.want(412, "precondition-failed", "POST", "/api/files/demo?name=f1", strings.NewReader("y"), "If-None-Match", "*")
	w.want(200, "", "POST", "/api/files/demo?name=f1&on_conflict=version&skip_unchanged=true", strings.NewReader("x"))
	w.want(400, "unsupported-checksum", "POST", "/api/files/demo?name=z&digests=crc", strings.NewReader("x"))
	n, cursor, pages := 0, "", 0
	for ok := true; ok; ok = cursor != "" {
		a := w.want(200, "", "GET", "/api/files/demo?limit=10&prefix=f&cursor="+cursor, nil)
		n += bytes.Count(a.body, []byte(`"manifest_id"`))
		_, rest, _ := strings.Cut(string(a.body), `"next_cursor":"`)
		cursor, _, _ = strings.Cut(rest, `"`)
		pages++
	}
	if n != 26 || pages != 3 {
		t.Errorf("%d files on %d pages", n, pages)
	}
	if a := w.want(200, "", "GET", "/api/files/demo?offset=20&limit=10", nil); !bytes.Contains(a.body, []byte(`"total":26,"offset":20,"limit":10`)) {
		t.Errorf("by offset: ...%.100s", a.body[max(0, len(a.body)-100):])
	}
	w.want(400, "invalid-cursor", "GET", "/api/files/demo?cursor=!", nil)
	w.want(400, "invalid-request", "GET", "/api/files/demo?limit=0", nil)
	w.want(400, "invalid-request", "GET", "/api/files/demo?state=odd", nil)
}

func TestChunksOfAFile(t *testing.T) {
	w := newWorld(t)
	content := noise(400_000)
	f, other := w.put("f", content), w.put("other", []byte("other"))
	list := w.want(200, "", "GET", "/api/files/demo/"+f.ID+"/manifest", nil)
	var got []byte
	for line := range strings.Lines(string(list.body)) {
		digest := strings.Split(line, `"`)[3]
		got = append(got, w.want(200, "", "GET", "/api/files/demo/"+f.ID+"/chunks/"+digest, nil).body...)
		w.want(404, "file-not-found", "GET", "/api/files/demo/"+other.ID+"/chunks/"+digest, nil)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%d bytes of chunks", len(got))
	}
	w.want(404, "file-not-found", "GET", "/api/files/demo/"+f.ID+"/chunks/xyz", nil)
}

// Damage is never served: it is told when nothing was sent yet, and breaks
// the connection off afterwards.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	content := noise(6 << 20)
	f := w.put("f", content)
	w.flip(func(int64) int64 { return 5000 })
	a := w.want(500, "content-damaged", "GET", "/api/files/demo/"+f.ID+"/download", nil)
	if !bytes.Contains(a.body, []byte(`"digest":"`)) || !bytes.Contains(a.body, []byte(`"pack":"`)) {
		t.Errorf("%s", a.body)
	}
	if a := w.want(206, "", "GET", "/api/files/demo/"+f.ID+"/download", nil, "Range", "bytes=-100"); !bytes.Equal(a.body, content[len(content)-100:]) {
		t.Error("what is not damaged does not read")
	}
	w2 := newWorld(t)
	f = w2.put("f", content)
	w2.flip(func(size int64) int64 { return size - 100_000 })
	r, _, err := w2.c.Open(t.Context(), "demo", f.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil || len(got) >= len(content) || !bytes.HasPrefix(content, got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// null in a merge patch takes away; what cannot be without is refused.
func TestPatchNull(t *testing.T) {
	w := secured(t, ownersSchema)
	f := w.putAs("ann", "docs", "f", "x")
	ann := token(t, "ann", nil)
	patch := func(status int, code, bearer, body string) *client.File {
		t.Helper()
		out := new(client.File)
		json.Unmarshal(w.want(status, code, "PATCH", "/api/files/docs/"+f.ID, strings.NewReader(body), "Authorization", bearer, "Content-Type", "application/merge-patch+json").body, out)
		return out
	}
	patch(200, "", ann, `{"access": {"read": "true", "update": "true"}, "tags": ["t"], "folder": "in", "metadata": {"a": 1, "b": 2}}`)
	patch(403, "access-denied", token(t, "bob", nil), `{"access": null}`)
	for body, code := range map[string]string{`{"name": null}`: "invalid-name", `{"metadata": null}`: "invalid-metadata", `{"tags": "t"}`: "invalid-request", `{"access": {"read": 1}}`: "invalid-request"} {
		patch(400, code, ann, body)
	}
	got := patch(200, "", ann, `{"access": null, "tags": null, "folder": null, "metadata": {"a": null}}`)
	if len(got.Access) > 0 || len(got.Tags) > 0 || got.Folder != "" || len(got.Metadata) != 1 {
		t.Errorf("%+v", got)
	}
	w.want(404, "file-not-found", "GET", "/api/files/docs/"+f.ID, nil, "Authorization", token(t, "bob", nil))
}
