package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
)

// Every key of a bucket does something: a schema that parses and is ignored
// would be a promise broken.
func TestEveryKeyOfABucket(t *testing.T) {
	race.LeaveOut(t)
	const all = `rules: {create: "true", read: "true", update: "true", delete: "true"}`
	type test func(t *testing.T, w *world)
	post := func(w *world, status int, code, query, body string, h ...string) map[string]any {
		w.t.Helper()
		a := w.want(status, code, "POST", "/api/files/b?"+query, strings.NewReader(body), h...)
		var f map[string]any
		json.Unmarshal(a.body, &f)
		return f
	}
	get := func(w *world, path string) map[string]any {
		w.t.Helper()
		var out map[string]any
		json.Unmarshal(w.want(200, "", "GET", "/api/files/b"+path, nil).body, &out)
		return out
	}
	capability := func(name string, want any) test {
		return func(t *testing.T, w *world) {
			if got := get(w, "/_capabilities")[name]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	}
	admin := func(t *testing.T) []string {
		return []string{"Authorization", token(t, "root", map[string]any{"role": "admin"})}
	}
	tests := map[string]struct {
		keys string
		test test
	}{
		"backend": {"backend: local", func(t *testing.T, w *world) {
			post(w, 201, "", "name=f", "x")
			if packs, _ := filepath.Glob(filepath.Join(w.dir, "backend", "packs", "*", "*")); len(packs) == 0 {
				t.Error("no pack in the backend")
			}
			if _, err := os.Stat(filepath.Join(w.dir, "packs")); err == nil {
				t.Error("packs elsewhere")
			}
		}},
		"acknowledge": {"acknowledge: remote", func(t *testing.T, w *world) {
			post(w, 201, "", "name=f", "x")
			// Of a directory: in cmd/cairn a test kills servers that answer early for S3.
			cfg, _ := schema.ParseConfig("alyx.yml", nil, nil)
			if _, err := schema.Parse("schema.yaml", []byte("buckets: {b: {acknowledge: journal}}"), cfg); err == nil {
				t.Error("a directory is answered for before it is written")
			}
		}},
		"enabled":        {"enabled: false", func(t *testing.T, w *world) { post(w, 403, "bucket-disabled", "name=f", "x") }},
		"max_file_size":  {"max_file_size: 3", func(t *testing.T, w *world) { post(w, 413, "file-too-large", "name=f", "1234") }},
		"max_total_size": {"max_total_size: 3", func(t *testing.T, w *world) { post(w, 403, "quota-exceeded", "name=f", "1234") }},
		"max_owner_size": {"max_owner_size: 3", func(t *testing.T, w *world) {
			post(w, 403, "quota-exceeded", "name=f", "1234", "Authorization", token(t, "ann", nil))
		}},
		"max_composed_size": {"max_composed_size: 3", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "12")["id"].(string)
			body := fmt.Sprintf(`{"name": "n", "pieces": [{"file": "%s"}, {"file": "%s"}]}`, id, id)
			w.want(413, "file-too-large", "POST", "/api/files/b/_compose", strings.NewReader(body), "Content-Type", "application/json")
		}},
		"allowed_types":      {"allowed_types: [image/*]", func(t *testing.T, w *world) { post(w, 415, "type-not-allowed", "name=f", "text") }},
		"allowed_extensions": {"allowed_extensions: [pdf]", func(t *testing.T, w *world) { post(w, 415, "type-not-allowed", "name=f.txt", "text") }},
		"type_check": {"type_check: strict", func(t *testing.T, w *world) {
			post(w, 422, "type-mismatch", "name=f.png", "GIF89a", "Content-Type", "image/png")
		}},
		"compression": {"compression: none", func(t *testing.T, w *world) {
			if f := post(w, 201, "", "name=f", strings.Repeat("x", 100_000), admin(t)...); f["stored_bytes"].(float64) < 100_000 {
				t.Errorf("stored in %v bytes", f["stored_bytes"])
			}
		}},
		"chunking": {"chunking: fine", func(t *testing.T, w *world) {
			if c := get(w, "/_capabilities")["chunker"].(string); !strings.Contains(c, "4096") {
				t.Errorf("chunker %s", c)
			}
		}},
		"digests": {"digests: [md5]", func(t *testing.T, w *world) {
			if sum := post(w, 201, "", "name=f", "")["checksums"].(map[string]any)["md5"]; sum != "d41d8cd98f00b204e9800998ecf8427e" {
				t.Errorf("md5 %v", sum)
			}
		}},
		"dedup": {"dedup: bucket", capability("dedup_scope", "bucket")},
		"versioning": {"versioning: false", func(t *testing.T, w *world) {
			post(w, 201, "", "name=f", "1")
			if f := post(w, 201, "", "name=f&on_conflict=version", "2"); f["versions_count"].(float64) != 1 || f["version"].(float64) != 2 {
				t.Errorf("%v", f)
			}
		}},
		"trash": {"trash: off", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "1")["id"].(string)
			w.want(204, "", "DELETE", "/api/files/b/"+id, nil)
			w.want(404, "file-not-found", "POST", "/api/files/b/"+id+"/restore", nil)
		}},
		"upload_expiry": {"upload_expiry: 90s", capability("upload_expiry", 90)},
		"max_uploads": {"max_uploads: 2", func(t *testing.T, w *world) {
			ann, bob := token(t, "ann", nil), token(t, "bob", nil)
			var first string
			for range 2 {
				first = w.want(201, "", "POST", "/api/files/b", nil, "Upload-Complete", "?0", "Authorization", ann).Header.Get("Location")
			}
			a := w.want(429, "too-many-uploads", "POST", "/api/tus/b", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "1", "Authorization", ann)
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			w.want(201, "", "POST", "/api/files/b", nil, "Upload-Complete", "?0", "Authorization", bob)
			w.want(204, "", "DELETE", strings.TrimPrefix(first, w.url), nil, "Authorization", ann)
			done := w.want(201, "", "POST", "/api/files/b", nil, "Upload-Complete", "?1", "Authorization", ann) // ends at once
			w.want(201, "", "POST", "/api/files/b", nil, "Upload-Complete", "?0", "Authorization", ann)
			w.want(200, "", "GET", done.Header.Get("Content-Location"), nil, "Authorization", ann)
		}},
		"upload_limits": {"upload_limits: {max_append_size: 4, min_append_size: 2, min_size: 3}", func(t *testing.T, w *world) {
			if got := w.want(204, "", "OPTIONS", "/api/files/b", nil).Header.Get("Upload-Limit"); !strings.Contains(got, "min-size=3, max-append-size=4, min-append-size=2") {
				t.Errorf("Upload-Limit: %s", got)
			}
			post(w, 413, "append-too-large", "", "12345", "Upload-Complete", "?0")
			post(w, 400, "append-too-small", "", "1", "Upload-Complete", "?0")
			post(w, 400, "append-too-small", "", "12", "Upload-Complete", "?0", "Upload-Length", "2")
			post(w, 201, "", "", "1", "Upload-Complete", "?1")
		}},
		"signed_url_ttl": {"signed_url_ttl: 1h", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "1")["id"].(string)
			w.want(200, "", "GET", "/api/files/b/"+id+"/sign?expiry=1h", nil)
			w.want(400, "invalid-request", "GET", "/api/files/b/"+id+"/sign?expiry=61m", nil)
		}},
		"inline_types": {"inline_types: [application/zip]", func(t *testing.T, w *world) {
			for body, want := range map[string]string{"PK\x03\x04\x14\x00\x00\x00\x00\x00": "inline", "GIF89a": "attachment"} {
				id := post(w, 201, "", "name=f", body)["id"].(string)
				if d := w.want(200, "", "GET", "/api/files/b/"+id+"/view", nil).Header.Get("Content-Disposition"); !strings.HasPrefix(d, want) {
					t.Errorf("%q is shown as %s", body, d)
				}
			}
		}},
		"cache_control": {"cache_control: 'max-age=60, public'", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "1")["id"].(string)
			if c := w.want(200, "", "GET", "/api/files/b/"+id+"/download", nil).Header.Get("Cache-Control"); !strings.Contains(c, "max-age=60") {
				t.Errorf("Cache-Control: %s", c)
			}
		}},
		"file_rules": {"file_rules: true", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "1")["id"].(string)
			w.want(200, "", "PATCH", "/api/files/b/"+id, strings.NewReader(`{"access": {"download": "false"}}`), "Content-Type", "application/json")
			w.want(401, "unauthenticated", "GET", "/api/files/b/"+id+"/download", nil)
		}},
		"link_policy": {"link_policy: read", func(t *testing.T, w *world) {
			// What follows from it is tested where links are made.
			cfg, _ := schema.ParseConfig("alyx.yml", nil, nil)
			for text, want := range map[string]bool{"buckets: {b: {}}": false, "buckets: {b: {link_policy: read}}": true} {
				s, err := schema.Parse("schema.yaml", []byte(text), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if p, err := buckets.Policies(s); err != nil || p["b"].Access.LinkByRead != want {
					t.Errorf("%s: %v, %v", text, p["b"].Access.LinkByRead, err)
				}
			}
		}},
		"rules": {`rules: {create: upload.name == "a"}`, func(t *testing.T, w *world) {
			post(w, 201, "", "name=a", "x")
			post(w, 401, "unauthenticated", "name=b", "x")
			w.want(401, "unauthenticated", "GET", "/api/files/b", nil)
		}},
		"transforms": {"transforms: {}", func(t *testing.T, w *world) {
			id := post(w, 201, "", "name=f", "1")["id"].(string)
			w.want(501, "transform-not-available", "GET", "/api/files/b/"+id+"/preview?"+url.Values{"width": {"10"}}.Encode(), nil)
		}},
	}
	reserved := map[string]bool{"encryption": true, "antivirus": true}
	for key := range bucketKeys(t) {
		c, ok := tests[key]
		if reserved[key] {
			cfg, _ := schema.ParseConfig("alyx.yml", nil, nil)
			if _, err := schema.Parse("schema.yaml", []byte("buckets: {b: {"+key+": {enabled: true}}}"), cfg); err == nil {
				t.Errorf("%s, which is not there yet, may be enabled", key)
			}
			continue
		}
		if !ok {
			t.Errorf("key %s does nothing that a test shows", key)
			continue
		}
		t.Run(key, func(t *testing.T) {
			text := "buckets: {b: {" + c.keys + ", " + all + "}}"
			if key == "rules" {
				text = "buckets: {b: {" + c.keys + "}}"
			}
			c.test(t, secured(t, text))
		})
	}
}

// bucketKeys returns the keys that a bucket of schema.yaml may have.
func bucketKeys(t *testing.T) map[string]any {
	t.Helper()
	var doc struct {
		Properties struct {
			Buckets struct {
				AdditionalProperties struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(schema.JSONSchema(), &doc); err != nil {
		t.Fatal(err)
	}
	keys := doc.Properties.Buckets.AdditionalProperties.Properties
	if len(keys) == 0 {
		t.Fatal("the JSON Schema has no keys of a bucket")
	}
	return keys
}
