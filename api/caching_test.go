package api_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

const cachingSchema = `
buckets:
  open:     {rules: {create: "true", read: "true", update: "true", delete: "true"}}
  constant: {rules: {create: "true", read: "false", download: "1 < 2", update: "true", delete: "true"}}
  kept:     {cache_control: "Max-Age=60 ,public", rules: {create: "true", read: "true", update: "true", delete: "true"}}
  fleeting: {cache_control: no-store, rules: {create: "true", read: "true", update: "true", delete: "true"}}
  own:      {cache_control: "private, max-age=9", rules: {create: "true", read: "true", update: "true", delete: "true"}}
  ruled:    {file_rules: true, cache_control: "public, max-age=60", rules: {create: "true", read: "true", update: "true", delete: "true"}}
  users:    {cache_control: "public, max-age=60, s-maxage=600", rules: {create: "true", read: auth.id != null, update: "true", delete: "true"}}
  shut:     {cache_control: "max-age=60", rules: {create: "true", read: "true", download: auth.id != null, update: "true", delete: "true"}}
  tagged:   {cache_control: "public, max-age=60", rules: {create: "true", read: '"open" in file.tags', update: "true", delete: "true"}}
  timed:    {cache_control: "public", rules: {create: "true", read: 'request.time < timestamp("2100-01-01T00:00:00Z")', update: "true", delete: "true"}}
  near:     {cache_control: "public", rules: {create: "true", read: 'request.ip != "192.0.2.1"', update: "true", delete: "true"}}
  nobody:   {cache_control: "public", rules: {create: "true", read: auth.id == null, update: "true", delete: "true"}}
  disabled: {enabled: false, cache_control: "public", rules: {create: "true", read: "true", update: "true", delete: "true"}}
`

// What caches are told, by the rules, the bucket, the file, the URL and who
// asks. Only what everybody may download, by a rule that looks at nothing, is
// ever public.
func TestCaching(t *testing.T) {
	race.LeaveOut(t)
	w := secured(t, cachingSchema)
	ann, admin := token(t, "ann", nil), token(t, "root", map[string]any{"role": "admin"})
	const forever, private = "max-age=31536000, immutable", "private, no-cache"
	for _, tt := range []struct{ bucket, file, byID, version, atPath string }{
		{"open", "", "public, no-cache", "public, " + forever, "public, no-cache"},
		{"open", "max-age=5", "max-age=5", "public, " + forever, "public, no-cache"},
		{"open", "public, max-age=5, stale-while-revalidate=60", "public, max-age=5, stale-while-revalidate=60", "public, " + forever, "public, no-cache"},
		{"open", "private", "private", "private, " + forever, private},
		{"open", "no-store", "no-store", "no-store", "no-store"},
		{"open", "NO-CACHE", "public, no-cache", "public, no-cache", "public, no-cache"},
		{"constant", "", "public, no-cache", "public, " + forever, "public, no-cache"},
		{"kept", "", "max-age=60, public", "public, " + forever, "public, no-cache"},
		{"kept", "no-cache, max-age=5", "no-cache, max-age=5", "no-cache, max-age=5", "public, no-cache"},
		{"fleeting", "", "no-store", "no-store", "no-store"},
		{"fleeting", "max-age=5", "max-age=5", "public, " + forever, "public, no-cache"},
		{"own", "", "private, max-age=9", "private, " + forever, private},
		{"ruled", "", "public, max-age=60", "private, " + forever, "public, no-cache"},
		{"users", "", "private, max-age=60", "private, " + forever, private},
		{"users", "s-maxage=5, no-store, public", "private, no-store", "private, no-store", "private, no-store"},
		{"users", "immutable, max-age=5", "private, immutable, max-age=5", "private, " + forever, private},
		{"shut", "", "private, max-age=60", "private, " + forever, private},
		{"tagged", "", "private, max-age=60", "private, " + forever, private},
		{"timed", "", "private", "private, " + forever, private},
		{"near", "", "private", "private, " + forever, private},
		{"nobody", "", "private", "private, " + forever, private},
		{"disabled", "", "private", "private, " + forever, private},
	} {
		what := tt.bucket + " " + tt.file
		f := new(client.File)
		a := w.want(201, "", "POST", "/api/files/"+tt.bucket+"?name=f&tags="+url.QueryEscape(`["open"]`)+"&cache_control="+url.QueryEscape(tt.file), strings.NewReader("x"), "Authorization", admin)
		if err := json.Unmarshal(a.body, f); err != nil {
			t.Fatal(err)
		}
		by := "/api/files/" + tt.bucket + "/"
		for who, bearer := range map[string]string{"anonymous": "", "ann": ann, "operator": admin} {
			for path, want := range map[string]string{
				f.ID + "/download": tt.byID, f.ID + "/view": tt.byID, f.ID + "/download?filename=x": tt.byID,
				f.ManifestID + "/download": tt.version, f.ManifestID + "/view": tt.version, f.ID + "/versions/1/download": tt.version, f.ID + "/download?version=1": tt.version,
				"_at/" + f.Path: tt.atPath, "_at/" + f.Path + "?as=view": tt.atPath, "_at/" + f.Path + "?version=1": tt.atPath,
			} {
				for _, header := range [][]string{nil, {"Range", "bytes=0-0"}, {"If-None-Match", etag(f)}} {
					var sent []string
					if sent = append(sent, header...); bearer != "" {
						sent = append(sent, "Authorization", bearer)
					}
					a := w.do("GET", by+path, nil, sent...)
					if a.StatusCode >= 400 {
						if a.Header.Get("Cache-Control") != "no-store" {
							t.Errorf("%s, %s, %s: %d with %q", what, who, path, a.StatusCode, a.Header.Get("Cache-Control"))
						}
						continue
					}
					if got := a.Header.Get("Cache-Control"); got != want {
						t.Errorf("%s, %s, %s %q: %q, want %q", what, who, path, header, got, want)
					}
					if !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Authorization") {
						t.Errorf("%s, %s, %s: Vary %q", what, who, path, a.Header.Values("Vary"))
					}
				}
			}
			if a := w.do("GET", by+f.ID, nil, "Authorization", bearer); bearer != "" && a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: what is known of the file: %q", what, who, a.Header.Get("Cache-Control"))
			}
		}
		if tt.bucket == "disabled" {
			w.want(200, "", "DELETE", by+f.ID+"?permanent=false", nil, "Authorization", admin)
			continue
		}
		u := w.sign(admin, tt.bucket, f.ID, `{"operation": "download"}`).URL
		if a := w.want(200, "", "GET", u[strings.Index(u, "/api"):], nil); a.Header.Get("Cache-Control") != private {
			t.Errorf("%s, by a signed URL: %q", what, a.Header.Get("Cache-Control"))
		}
		as := w.do("GET", by+f.ID+"/download", nil, "Authorization", admin, "X-Cairn-As", `{"id": "ann"}`)
		if c := as.Header.Get("Cache-Control"); as.Header.Get("X-Cairn-Decision") == "" || !strings.HasPrefix(c, "private") && c != "no-store" {
			t.Errorf("%s, with decisions %q: %q", what, as.Header.Get("X-Cairn-Decision"), c)
		}
		w.want(200, "", "DELETE", by+f.ID, nil, "Authorization", admin)
		for _, id := range []string{f.ID, f.ManifestID} {
			a := w.want(200, "", "GET", by+id+"/download?trashed=true", nil, "Authorization", admin)
			if a.Header.Get("Cache-Control") != private {
				t.Errorf("%s, in the trash: %q", what, a.Header.Get("Cache-Control"))
			}
		}
	}
}

// A file's own rule takes it out of shared caches, or lets it into them.
func TestCachingByFileRules(t *testing.T) {
	w := secured(t, `buckets: {b: {file_rules: true, cache_control: "public, max-age=60", rules: {create: "true", read: auth.id != null, update: "true"}}}`)
	admin := token(t, "root", map[string]any{"role": "admin"})
	f := w.putAs("ann", "b", "f", "x")
	for _, tt := range []struct{ access, want string }{
		{`{}`, "private, max-age=60"},
		{`{"read": "true"}`, "public, max-age=60"},
		{`{"download": "true"}`, "public, max-age=60"},
		{`{"read": "true", "download": "auth.id != null"}`, "private, max-age=60"},
		{`{"download": "file.size > 0"}`, "private, max-age=60"},
		{`{"download": "false"}`, "private, max-age=60"},
	} {
		w.want(200, "", "PATCH", "/api/files/b/"+f.ID, strings.NewReader(`{"access": `+tt.access+`}`), "Authorization", admin, "Content-Type", "application/json")
		if a := w.want(200, "", "GET", "/api/files/b/"+f.ID+"/download", nil, "Authorization", admin); a.Header.Get("Cache-Control") != tt.want {
			t.Errorf("%s: %q, want %q", tt.access, a.Header.Get("Cache-Control"), tt.want)
		}
		if a := w.want(200, "", "GET", "/api/files/b/"+f.ManifestID+"/download", nil, "Authorization", admin); strings.Contains(a.Header.Get("Cache-Control"), "public") {
			t.Errorf("%s: a version is %q", tt.access, a.Header.Get("Cache-Control"))
		}
	}
}

// What a file's Cache-Control may be, however it is set.
func TestCacheControlOfFiles(t *testing.T) {
	w := newWorld(t)
	for value, want := range map[string]string{
		"": "", " ": "", "no-store": "no-store", "Max-Age=0": "max-age=0", "public,max-age=1 ,\timmutable": "public, max-age=1, immutable",
		"s-maxage=1, stale-if-error=2, stale-while-revalidate=3":           "s-maxage=1, stale-if-error=2, stale-while-revalidate=3",
		"must-revalidate, proxy-revalidate, must-understand, no-transform": "must-revalidate, proxy-revalidate, must-understand, no-transform",
		"x": "!", "max-age": "!", "max-age=": "!", "max-age=-1": "!", "max-age=1.5": "!", "max-age=\"1\"": "!", "max-age=9999999999": "!", "max-age=1 2": "!",
		"max-age=1, max-age=2": "!", "no-store, no-store": "!", "public, private": "!", "private=\"Set-Cookie\"": "!", "no-cache=x": "!", "public=1": "!",
		"no-store,": "!", ",": "!", ", no-store": "!", "no-store; max-age=1": "!", "no-store\r\nX: y": "!", "no-store\x00": "!", "no-störe": "!", "max-age=٣": "!",
		strings.Repeat("x", 300): "!", strings.Repeat(" ", 300) + "no-store": "!",
	} {
		status, code := 201, ""
		if want == "!" {
			status, code = 400, "invalid-request"
		}
		get := func(a *answer) string {
			f := new(client.File)
			if err := json.Unmarshal(a.body, f); err != nil || status != 201 {
				return "!"
			}
			return f.CacheControl
		}
		patch, err := json.Marshal(map[string]string{"cache_control": value})
		if err != nil {
			t.Fatal(err)
		}
		const asJSON = "application/json"
		f := w.put("f", []byte("x"))
		if got := get(w.want(status, code, "POST", "/api/files/demo?name=q&cache_control="+url.QueryEscape(value), strings.NewReader("x"))); got != want {
			t.Errorf("query, %.50q: %q, want %q", value, got, want)
		}
		patched := w.do("PATCH", "/api/files/demo/"+f.ID, strings.NewReader(string(patch)), "Content-Type", asJSON)
		if wantStatus := map[bool]int{true: 400, false: 200}[want == "!"]; patched.StatusCode != wantStatus || get(patched) != want {
			t.Errorf("patch, %.50q: %d %s", value, patched.StatusCode, patched.body)
		}
		var session struct {
			Name         string `json:"name"`
			CacheControl string `json:"cache_control"`
		}
		session.Name, session.CacheControl = "s", value
		body, err := json.Marshal(session)
		if err != nil {
			t.Fatal(err)
		}
		w.want(status, code, "POST", "/api/files/demo/_sessions", strings.NewReader(string(body)), "Content-Type", asJSON)
	}
	f, err := w.c.Put(t.Context(), "demo", "big", strings.NewReader(strings.Repeat("x", 1<<20)), &client.PutOptions{UploadOptions: client.UploadOptions{CacheControl: "max-age=7"}})
	if err != nil || f.CacheControl != "max-age=7" {
		t.Errorf("by a session: %+v, %v", f, err)
	}
	again, err := w.c.Replace(t.Context(), "demo", f.ID, strings.NewReader("y"), nil)
	if err != nil || again.CacheControl != "max-age=7" {
		t.Errorf("a version of it: %+v, %v", again, err)
	}
	c, err := w.c.Copy(t.Context(), "demo", f.ID, nil)
	if err != nil || c.CacheControl != "max-age=7" {
		t.Errorf("a copy of it: %+v, %v", c, err)
	}
	cleared, err := w.c.Update(t.Context(), "demo", f.ID, map[string]any{"cache_control": nil})
	if err != nil || cleared.CacheControl != "" {
		t.Errorf("cleared: %+v, %v", cleared, err)
	}
	up := w.want(201, "", "POST", "/api/tus/demo", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "0", "Upload-Metadata", "filename Zg==,cache_control bm8tc3RvcmU=")
	var all []string
	for f, err := range w.c.List(t.Context(), "demo", nil) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f.CacheControl)
	}
	if !slices.Contains(all, "no-store") {
		t.Errorf("by tus (%d): %q", up.StatusCode, all)
	}
}
