package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// A path addresses the file that has it, however the URL spells it, and nothing
// that is only near it.
func TestAtPath(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 255)
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 200)+"/", 5), "/")
	for _, p := range []string{"f.txt", "a/b/c.txt", "a b/+ é%.txt", "q?#&=;:@!$'()*,[]", "日本/語.txt", "ångström", "f_0123", "_at", "d/_at/x", long, deep + "/f"} {
		folder, name := "", p
		if i := strings.LastIndex(p, "/"); i >= 0 {
			folder, name = p[:i], p[i+1:]
		}
		if _, err := w.c.Upload(t.Context(), "demo", name, strings.NewReader(p), &client.UploadOptions{Folder: folder}); err != nil {
			t.Fatal(err)
		}
	}
	gone := w.put("gone", []byte("gone"))
	w.want(200, "", "DELETE", "/api/files/demo/"+gone.ID, nil)
	other := w.put("moved", []byte("moved"))
	if _, err := w.c.Update(t.Context(), "demo", other.ID, map[string]any{"name": "here"}); err != nil {
		t.Fatal(err)
	}
	var missing []byte
	for _, tt := range []struct{ url, content string }{
		{"none", ""}, // the first, that all others are compared with
		{"f.txt", "f.txt"},
		{"%66.txt", "f.txt"},
		{"f%2etxt", "f.txt"},
		{"F.txt", ""},
		{"f.txt/", ""},
		{"f.txt%2F", ""},
		{"/f.txt", ""},
		{"%2Ff.txt", ""},
		{"./f.txt", ""},
		{"%2e/f.txt", ""},
		{"a/../f.txt", ""},
		{"a/%2E%2e/f.txt", ""},
		{"a/b/..%2f..%2ff.txt", ""},
		{"f.txt%00", ""},
		{"%00", ""},
		{"f.txt%0A", ""},
		{"f.txt%20", ""},
		{"f.txt.", ""},
		{"f%ff.txt", ""},
		{"", ""},
		{"/", ""},
		{"//", ""},
		{".", ""},
		{"..", ""},
		{"a", ""},
		{"a/b", ""},
		{"a/b/", ""},
		{"a/b/c.txt", "a/b/c.txt"},
		{"a%2Fb/c.txt", ""},
		{"a/b%2fc.txt", ""},
		{"a%5Cb%5Cc.txt", ""},
		{"a//b/c.txt", ""},
		{"a/b//c.txt", ""},
		{"a/./b/c.txt", ""},
		{"a/x/../b/c.txt", ""},
		{"a/b/c.txt/..", ""},
		{"a%20b/+%20%C3%A9%25.txt", "a b/+ é%.txt"},
		{"a%20b/%2B%20e%CC%81%25.txt", "a b/+ é%.txt"},
		{"a+b/+%20%C3%A9%25.txt", ""},
		{"a%20b/+%20%C3%A9%2525.txt", ""},
		{"q%3F%23&=;:@!$'()*,[]", "q?#&=;:@!$'()*,[]"},
		{"q%3f%23%26%3d%3b%3a%40%21%24%27%28%29%2a%2c%5b%5d", "q?#&=;:@!$'()*,[]"},
		{"%E6%97%A5%E6%9C%AC/%E8%AA%9E.txt", "日本/語.txt"},
		{"%C3%A5ngstr%C3%B6m", "ångström"},   // NFC
		{"a%CC%8Angstro%CC%88m", "ångström"}, // NFD
		{"%E2%84%ABngstr%C3%B6m", ""},        // the sign Å is a capital
		{"%C3%A5ngstr%C3%B6m%E2%80%8B", ""},  // a space of no width
		{"f_0123", "f_0123"},                 // a path, not an ID
		{gone.ID, ""},                        // an ID, not a path
		{"_at", "_at"},
		{"_at/", ""},
		{"d/_at/x", "d/_at/x"},
		{long, long},
		{long + "x", ""},
		{deep + "/f", deep + "/f"},
		{strings.Repeat("x", 40_000), ""},
		{strings.Repeat("x/", 20_000) + "x", ""},
		{strings.Repeat("%00", 10_000), ""},
		{"gone", ""},
		{"gone?trashed=true", ""},
		{"moved", ""},
		{"here", "moved"},
		{"here?version=1", "moved"},
	} {
		url := "/api/files/demo/_at/" + tt.url
		a := w.raw("GET "+url+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", false)
		if tt.content != "" {
			if a.StatusCode != 200 || string(a.body) != tt.content || a.Header.Get("Cache-Control") != "private, no-cache" {
				t.Errorf("%.100s: %d %.200s %q", tt.url, a.StatusCode, a.body, a.Header.Get("Cache-Control"))
			}
			continue
		}
		body := regexp.MustCompile(`"(instance|timestamp)":"[^"]*"`).ReplaceAll(a.body, nil)
		if missing == nil {
			missing = body
		}
		if a.StatusCode != 404 || string(body) != string(missing) {
			t.Errorf("%.100s: %d %.300s, want 404 %s", tt.url, a.StatusCode, body, missing)
		}
	}
	a := w.want(404, "file-not-found", "GET", "/api/files/demo/"+gone.ID+"/download", nil)
	if body := regexp.MustCompile(`"(instance|timestamp)":"[^"]*"`).ReplaceAll(a.body, nil); string(body) != string(missing) {
		t.Errorf("by path: %s, by ID: %s", missing, body)
	}
}

// What a request by ID may say, one by path may say too, and is answered alike.
func TestAtPathAsByID(t *testing.T) {
	w := newWorld(t)
	v1 := w.put("d.txt", []byte("0123456789"))
	v2, err := w.c.Replace(t.Context(), "demo", v1.ID, strings.NewReader("abcdefghij"), nil)
	if err != nil {
		t.Fatal(err)
	}
	by := "/api/files/demo/" + v1.ID
	for as, id := range map[string]string{"": by + "/download", "as=download": by + "/download", "as=view": by + "/view", "as=json": by} {
		for _, query := range []string{"", "version=1", "version=2", "version=3", "version=0", "version=x", "filename=n%0D%0A.txt", "trashed=true", "_=1"} {
			for _, header := range [][]string{nil, {"Range", "bytes=2-4"}, {"Range", "bytes=0-1,5-6"}, {"Range", "bytes=20-"}, {"Range", "lines=1"},
				{"If-None-Match", etag(v2)}, {"If-None-Match", etag(v1)}, {"If-Match", etag(v1)}, {"If-Match", "*"},
				{"If-Range", etag(v2), "Range", "bytes=1-1"}, {"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}} {
				for _, method := range []string{"GET", "HEAD"} {
					one, two := w.do(method, id+"?"+query, nil, header...), w.do(method, "/api/files/demo/_at/d.txt?"+as+"&"+query, nil, header...)
					what := fmt.Sprintf("%s %q %q %q", method, as, query, header)
					if one.StatusCode != two.StatusCode || one.code() != two.code() || len(one.body) != len(two.body) {
						t.Errorf("%s: by ID %d %.200s, by path %d %.200s", what, one.StatusCode, one.body, two.StatusCode, two.body)
					}
					for _, h := range []string{"ETag", "Content-Length", "Content-Disposition", "Content-Range", "Last-Modified", "Vary", "Repr-Digest", "Accept-Ranges", "Content-Security-Policy"} {
						if one.Header.Get(h) != two.Header.Get(h) && !strings.HasPrefix(one.Header.Get("Content-Type"), "multipart/") {
							t.Errorf("%s: %s by ID %q, by path %q", what, h, one.Header.Get(h), two.Header.Get(h))
						}
					}
					if c := two.Header.Get("Cache-Control"); strings.Contains(c, "immutable") || strings.Contains(c, "max-age") {
						t.Errorf("%s: Cache-Control %q", what, c)
					}
				}
			}
		}
	}
	for _, as := range []string{"x", "JSON", "download,view", "preview"} {
		w.want(400, "invalid-request", "GET", "/api/files/demo/_at/d.txt?as="+as, nil)
		w.want(400, "invalid-request", "GET", "/api/files/demo/_at/none?as="+as, nil)
	}
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE"} {
		w.want(405, "method-not-allowed", method, "/api/files/demo/_at/d.txt", nil)
	}
	a := w.want(200, "", "GET", "/api/files/demo/_at/d.txt?as=json", nil)
	for path, want := range map[string]bool{"d.txt": true, "": false, "..": false, "../demo/_at/d.txt": false, "./d.txt": false, "d.txt/": false, "x%2Fd.txt": false} {
		if f, err := w.c.StatPath(t.Context(), "demo", path, nil); (err == nil && f.ID == v1.ID) != want || !want && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("client, path %q: %+v, %v", path, f, err)
		}
	}
	f := new(client.File)
	if err := json.Unmarshal(a.body, f); err != nil || f.ID != v1.ID || f.ManifestID != v2.ManifestID {
		t.Errorf("%s, %v", a.body, err)
	}
}

func etag(f *client.File) string { return `"b3-` + f.Checksums["root"] + `"` }
