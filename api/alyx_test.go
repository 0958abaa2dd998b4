package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/schema"
)

// Defects of the file storage that Alyx had before: that of the same number
// is not here.
func TestDefects(t *testing.T) {
	t.Run("1: no route asks who it is, and auth.id != null is an error", func(t *testing.T) {
		w := secured(t, `buckets: {b: {rules: {create: auth.id != null, read: auth.id != null}}}`)
		w.want(401, "unauthenticated", "POST", "/api/files/b?name=f", strings.NewReader("x"))
		w.want(401, "unauthenticated", "GET", "/api/files/b", nil)
		w.putAs("ann", "b", "f", "x")
	})
	t.Run("3: the uploader's metadata is a rule", func(t *testing.T) {
		w := secured(t, ownersSchema)
		ann := token(t, "ann", nil)
		meta := url.QueryEscape(`{"file_security": true, "read": "true", "download": "true", "delete": "true", "access": {"read": "true"}}`)
		a := w.want(201, "", "POST", "/api/files/docs?name=f&metadata="+meta, strings.NewReader("x"), "Authorization", ann)
		var f struct{ ID string }
		json.Unmarshal(a.body, &f)
		for _, method := range []string{"GET", "DELETE"} {
			w.want(404, "file-not-found", method, "/api/files/docs/"+f.ID, nil, "Authorization", token(t, "bob", nil))
		}
	})
	t.Run("8: signed URLs do nothing", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "one")
		ann, bob := token(t, "ann", nil), token(t, "bob", nil)
		u := w.signAs("ann", "docs", f.ID, `{"operation": "download", "expires_in": "60s"}`)
		if !strings.HasPrefix(u.URL, w.url+"/api/files/docs/") {
			t.Errorf("URL %s", u.URL)
		}
		if left := time.Until(u.ExpiresAt.Time); left > time.Minute || left < 50*time.Second {
			t.Errorf("expires in %s", left)
		}
		if a := w.want(200, "", "GET", relative(u), nil); string(a.body) != "one" { // the rules are not asked again
			t.Errorf("read %q", a.body)
		}
		for _, expiry := range []string{"-1m", "0", "0s", "87600h", "8d", "soon", "1e9", ""} {
			a := w.do("GET", "/api/files/docs/"+f.ID+"/sign?operation=download&expiry="+expiry, nil, "Authorization", ann)
			if a.StatusCode != 400 {
				t.Errorf("expiry %q: %d %s", expiry, a.StatusCode, a.body)
			}
		}
		w.want(404, "file-not-found", "POST", "/api/files/docs/"+f.ID+"/sign", strings.NewReader(`{}`), "Authorization", bob, "Content-Type", "application/json")
		if a := w.do("HEAD", "/api/files/docs/"+f.ID+"/sign", nil, "Authorization", ann); a.StatusCode != 405 {
			t.Errorf("HEAD signs: %d", a.StatusCode)
		}
		// Signing needs the right to download, not to read.
		w = secured(t, `buckets: {b: {rules: {create: "true", read: "true", download: "false"}}}`)
		f = w.putAs("ann", "b", "f", "x")
		w.want(403, "access-denied", "POST", "/api/files/b/"+f.ID+"/sign", strings.NewReader(`{}`), "Authorization", ann, "Content-Type", "application/json")
	})
	t.Run("9: files above 10 MB are refused", func(t *testing.T) {
		w := secured(t, `buckets: {b: {max_file_size: 30MB, rules: {create: "true", read: "true"}}}`)
		f := w.putAs("ann", "b", "f", strings.Repeat("0123456789abcdef", 20<<20/16))
		if f.Size != 20<<20 {
			t.Errorf("%d bytes", f.Size)
		}
		w.want(413, "file-too-large", "POST", "/api/files/b?name=g", strings.NewReader(strings.Repeat("0123456789abcdef", 31e6/16)))
	})
	t.Run("10: a fixed list refuses what the bucket allows", func(t *testing.T) {
		w := secured(t, `buckets: {b: {allowed_types: [application/json, application/zip, image/svg+xml, video/*], type_check: strict, rules: {create: "true"}}}`)
		for name, c := range map[string][2]string{
			"a.json": {"application/json; charset=utf-8", `{"a": 1}`}, "a.zip": {"application/zip", "PK\x03\x04\x14\x00\x00\x00\x00\x00"},
			"a.svg": {"image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"/>`}, "a.webm": {"video/webm", "\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x82\x84webm"}} {
			w.want(201, "", "POST", "/api/files/b?name="+name, strings.NewReader(c[1]), "Content-Type", c[0])
		}
		w.want(415, "type-not-allowed", "POST", "/api/files/b?name=a.txt", strings.NewReader("text"), "Content-Type", "text/plain")
		w.want(422, "type-mismatch", "POST", "/api/files/b?name=a.json", strings.NewReader("PK\x03\x04\x14\x00\x00\x00\x00\x00"), "Content-Type", "application/json")
	})
	t.Run("12: no ranges, validators or conditions", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "public", "f", "0123456789")
		a := w.want(206, "", "GET", "/api/files/public/"+f.ID+"/download", nil, "Range", "bytes=2-4")
		if string(a.body) != "234" || a.Header.Get("ETag") == "" || a.Header.Get("Last-Modified") == "" {
			t.Errorf("%q %v", a.body, a.Header)
		}
		w.want(304, "", "GET", "/api/files/public/"+f.ID+"/download", nil, "If-None-Match", a.Header.Get("ETag"))
	})
	t.Run("15: compression is not wired", func(t *testing.T) {
		text := strings.Repeat("compress me, please; ", 10_000)
		for codec, most := range map[string]int64{"none": 1 << 30, "gzip": 20_000, "zstd": 20_000, "true": 20_000} {
			w := secured(t, `buckets: {b: {compression: `+codec+`, rules: {create: "true", read: "true"}}}`)
			a := w.want(201, "", "POST", "/api/files/b?name=f", strings.NewReader(text), "Authorization", token(t, "root", map[string]any{"role": "admin"}))
			var f struct {
				ID     string
				Size   int64
				Stored int64 `json:"stored_bytes"`
			}
			json.Unmarshal(a.body, &f)
			if f.Size != int64(len(text)) || f.Stored > most || codec == "none" && f.Stored < f.Size {
				t.Errorf("%s: %+v", codec, f)
			}
			d := w.want(200, "", "GET", "/api/files/b/"+f.ID+"/download", nil)
			if string(d.body) != text || d.Header.Get("Content-Length") != fmt.Sprint(len(text)) {
				t.Errorf("%s: %d bytes come back, %s announced", codec, len(d.body), d.Header.Get("Content-Length"))
			}
		}
	})
	t.Run("17: max_total_size is not enforced, and there is no quota of users", func(t *testing.T) {
		w := secured(t, `buckets: {b: {max_total_size: 10, max_owner_size: 6, rules: {create: "true", read: "true"}}}`)
		w.putAs("ann", "b", "f", "12345")
		w.want(403, "quota-exceeded", "POST", "/api/files/b?name=g", strings.NewReader("12"), "Authorization", token(t, "ann", nil))
		w.putAs("bob", "b", "g", "12345")
		w.want(403, "quota-exceeded", "POST", "/api/files/b?name=h", strings.NewReader("1"), "Authorization", token(t, "cid", nil))
	})
	t.Run("20: a missing rule allows, list does not filter, proxies are trusted", func(t *testing.T) {
		w := secured(t, `buckets: {none: {rules: {create: "true"}}, owners: {rules: {create: "true", list: auth.id == file.uploader_id}}, near: {rules: {create: "true", read: request.ip == '192.0.2.1'}}}`)
		f := w.putAs("ann", "none", "f", "x")
		w.want(404, "file-not-found", "GET", "/api/files/none/"+f.ID, nil, "Authorization", token(t, "ann", nil))
		w.putAs("ann", "owners", "f", "x")
		a := w.want(200, "", "GET", "/api/files/owners", nil, "Authorization", token(t, "bob", nil))
		if strings.Contains(string(a.body), "f_") {
			t.Errorf("bob lists %s", a.body)
		}
		w.putAs("ann", "near", "f", "x")
		w.want(401, "unauthenticated", "GET", "/api/files/near", nil, "X-Forwarded-For", "192.0.2.1")
		behind := securedBy(t, testConfig+"\nserver: {trusted_proxies: [127.0.0.1]}\n", `buckets: {near: {rules: {read: request.ip == '192.0.2.1'}}}`)
		behind.want(200, "", "GET", "/api/files/near", nil, "X-Forwarded-For", "192.0.2.1")
	})
	t.Run("21: lists take wildcards, page by offset and time", func(t *testing.T) {
		w := secured(t, ownersSchema)
		for _, name := range []string{"a%25b", "axb", "a_b"} {
			w.putAs("ann", "public", name, "x")
		}
		for prefix, want := range map[string]int{"a%25": 1, "a_": 1, "a": 3, "%25": 0} {
			a := w.want(200, "", "GET", "/api/files/public?prefix="+prefix, nil)
			if got := strings.Count(string(a.body), `"manifest_id"`); got != want {
				t.Errorf("prefix %q: %d files", prefix, got)
			}
		}
		for _, limit := range []string{"0", "-1", "1001", "x"} {
			w.want(400, "invalid-request", "GET", "/api/files/public?limit="+limit, nil)
		}
	})
	t.Run("22: every refusal is a 500", func(t *testing.T) {
		w := secured(t, `buckets: {b: {max_file_size: 1, rules: {create: auth.id != null, read: "true"}}, typed: {allowed_types: [image/png], rules: {create: "true"}}}`)
		w.want(401, "unauthenticated", "POST", "/api/files/b?name=f", strings.NewReader("x"))
		w.want(413, "file-too-large", "POST", "/api/files/b?name=f", strings.NewReader("xx"), "Authorization", token(t, "ann", nil))
		w.want(415, "type-not-allowed", "POST", "/api/files/typed?name=f", strings.NewReader("xx"))
		w.want(404, "bucket-not-found", "GET", "/api/files/none", nil)
		w.want(404, "file-not-found", "GET", "/api/files/b/none", nil)
	})
	t.Run("24: a missing backend is found at the first request", func(t *testing.T) {
		cfg, err := schema.ParseConfig("alyx.yml", []byte(testConfig), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := schema.Parse("schema.yaml", []byte("buckets:\n  b: {backend: nonesuch}\n"), cfg); err == nil || !strings.Contains(err.Error(), "schema.yaml:2:16: ") {
			t.Errorf("%v", err)
		}
	})
	t.Run("25: a second upload of the same name fails at its end", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f, g := w.putAs("ann", "docs", "f.txt", "x"), w.putAs("ann", "docs", "f.txt", "y")
		if f.Name != "f.txt" || g.Name != "f (2).txt" {
			t.Errorf("names %q and %q", f.Name, g.Name)
		}
	})
}
