package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/internal/race"
)

// A mounting is how a program serves the API below a path.
type mounting struct {
	path   string // as clients see it
	prefix string // Options.Prefix
	mount  func(h http.Handler) http.Handler
	public bool // needs Server.PublicURL: what a proxy has cut, nobody else knows
}

func mountings() map[string]mounting {
	strip := func(pattern, prefix string) func(h http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			m := http.NewServeMux()
			m.Handle(pattern, http.StripPrefix(prefix, h))
			return m
		}
	}
	whole := func(pattern string) func(h http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			m := http.NewServeMux()
			m.Handle(pattern, h)
			return m
		}
	}
	return map[string]mounting{
		"at the root":              {"", "", func(h http.Handler) http.Handler { return h }, false},
		"StripPrefix":              {"/storage", "", strip("/storage/", "/storage"), false},
		"StripPrefix and Prefix":   {"/storage", "/storage", strip("/storage/", "/storage"), false},
		"Prefix":                   {"/storage", "/storage", whole("/storage/"), false},
		"Prefix without a slash":   {"/storage", "storage", whole("/storage/"), false},
		"Prefix with one too many": {"/storage", "/storage/", whole("/storage/"), false},
		"several segments":         {"/v1/my%20own/storage", "/v1/my own/storage", whole("/v1/my%20own/storage/"), false},
		"several, stripped":        {"/v1/my%20own/storage", "", strip("/v1/my%20own/storage/", "/v1/my own/storage"), false},
		"below another /api":       {"/api", "/api", whole("/api/"), false},
		"stripped of /api":         {"/api", "/api", strip("/api/", "/api"), false},
		"stripped twice":           {"/a/b", "", func(h http.Handler) http.Handler { return http.StripPrefix("/a", http.StripPrefix("/b", h)) }, false},
		"with a wildcard": {"/tenants/7/storage", "", func(h http.Handler) http.Handler {
			m := http.NewServeMux()
			m.HandleFunc("/tenants/{n}/storage/", func(w http.ResponseWriter, r *http.Request) {
				http.StripPrefix("/tenants/"+r.PathValue("n")+"/storage", h).ServeHTTP(w, r)
			})
			return m
		}, false},
		"gorilla": {"/storage", "/storage", func(h http.Handler) http.Handler {
			m := mux.NewRouter()
			m.PathPrefix("/storage/").Handler(h)
			return m
		}, false},
		"gorilla, stripped": {"/storage", "", func(h http.Handler) http.Handler {
			m := mux.NewRouter()
			m.PathPrefix("/storage/").Handler(http.StripPrefix("/storage", h))
			return m
		}, false},
		// As a proxy does: the request line lacks the path too.
		"a proxy that cuts": {"/files", "", func(h http.Handler) http.Handler {
			return http.StripPrefix("/files", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RequestURI = r.URL.RequestURI()
				h.ServeHTTP(w, r)
			}))
		}, true},
		"a proxy that puts another path": {"/files", "/storage", func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RequestURI = strings.Replace(r.RequestURI, "/files", "/storage", 1)
				u, err := url.ParseRequestURI(r.RequestURI)
				if err != nil {
					panic(err)
				}
				r.URL = u
				h.ServeHTTP(w, r)
			})
		}, true},
	}
}

// serveMounted has w talk to its store by another server, which is mounted. By a
// public URL the server knows where clients see it: the whole of it, or scheme and
// host.
func (w *world) serveMounted(m mounting, public string) {
	srv := httptest.NewUnstartedServer(nil)
	opts := w.opts
	opts.Prefix = m.prefix
	w.url = "http://" + srv.Listener.Addr().String() + m.path
	switch public {
	case "whole":
		opts.Server.PublicURL = w.url + "/"
	case "host":
		opts.Server.PublicURL = "http://" + srv.Listener.Addr().String()
	}
	srv.Config.Handler = m.mount(api.New(w.store, &opts))
	srv.Start()
	w.t.Cleanup(srv.Close)
}

// eachMounting runs a test in each way to be mounted, with a public URL and
// without.
func eachMounting(t *testing.T, names []string, run func(t *testing.T, m mounting, public string)) {
	for name, m := range mountings() {
		for _, public := range []string{"none", "whole", "host"} {
			if (names == nil || slices.Contains(names, name)) && (public == "whole" || !m.public) {
				t.Run(fmt.Sprintf("%s, public URL: %s", name, public), func(t *testing.T) { run(t, m, public) })
			}
		}
	}
}

// urlsOf are the URLs of the API in an answer: in headers, and anywhere in JSON.
func urlsOf(a *answer) (out []string) {
	add := func(text string) {
		if strings.Contains(text, "/api/") && !strings.HasPrefix(text, "https://github.com/") {
			out = append(out, text)
		}
	}
	for _, vs := range a.Header {
		for _, v := range vs {
			add(v)
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			add(v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for dec := json.NewDecoder(bytes.NewReader(a.body)); ; {
		var v any
		if dec.Decode(&v) != nil {
			return out // the end, or no JSON
		}
		walk(v)
	}
}

// request requests a URL of an answer, as the client that got it.
func (w *world) request(method, ref, bearer string, body string, header ...string) *answer {
	w.t.Helper()
	base, err := url.Parse(w.url + "/")
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := base.Parse(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	to := *w
	to.url = ""
	return to.do(method, u.String(), strings.NewReader(body), append(header, "Authorization", bearer)...)
}

// askFor requests a URL of an answer in the way of its kind.
func (w *world) askFor(ref, bearer string) *answer {
	w.t.Helper()
	u, err := url.Parse(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	if u.Query().Has("token") {
		bearer = ""
	}
	switch {
	case strings.Contains(ref, "/api/tus/"):
		return w.request("HEAD", ref, bearer, "", "Tus-Resumable", "1.0.0")
	case u.Query().Has("token") && !strings.HasSuffix(u.Path, "/download") && !strings.HasSuffix(u.Path, "/view"):
		return w.request("OPTIONS", ref, bearer, "")
	}
	return w.request("GET", ref, bearer, "")
}

// TestURLs calls every route, below a path and not, and requests every URL that
// is in an answer.
func TestURLs(t *testing.T) {
	race.LeaveOut(t)
	ann, admin := token(t, "ann", nil), token(t, "root", map[string]any{"role": "admin"})
	eachMounting(t, []string{"at the root", "Prefix"}, func(t *testing.T, at mounting, public string) {
		m := newMatrix(t, "listed")
		m.serveMounted(at, public)
		found := make(map[string]int)
		for _, c := range calls() {
			bearer := ann
			if c.op == "" {
				bearer = admin
			}
			a := m.send(c, m.path(c, true), bearer)
			if a.StatusCode != c.status {
				t.Errorf("%s %s: %d, want %d: %.300s", c.method, c.path, a.StatusCode, c.status, a.body)
			}
			if c.route == "/api/openapi.json" {
				m.checkDescription(a, at)
				continue
			}
			for _, ref := range urlsOf(a) {
				found[c.method+" "+documented(c.route)]++
				got := m.askFor(ref, bearer)
				trashed := c.method == "DELETE" && got.code() == "file-not-found"
				if got.StatusCode/100 != 2 && !trashed || got.Header.Get("X-Request-Id") == "" {
					t.Errorf("%s %s answers %s: %d %.300s", c.method, c.path, ref, got.StatusCode, got.body)
				}
			}
			if c.op == access.OpUpdate || c.op == access.OpDelete || c.op == "own upload" || c.op == "own grant" || c.op == "" && c.method != "GET" {
				m.refresh()
			}
		}
		// So that a test that finds nothing does not pass.
		for _, want := range []string{"POST /api/files/{bucket}", "GET /api/files/{bucket}", "GET /api/files/{bucket}/{id}/versions", "POST /api/tus/{bucket}",
			"POST /api/files/{bucket}/_sessions", "POST /api/files/{bucket}/_sign-upload", "GET /api/files/{bucket}/{id}/sign", "POST /api/files/{bucket}/{id}/copy",
			"POST /api/files/{bucket}/_compose", "POST /api/admin/hosts/{host}/sessions/{session}/resolve"} {
			if found[want] == 0 {
				t.Errorf("%s: no URL in the answer", want)
			}
		}
	})
}

// checkDescription checks where the description of the API says that it is.
func (m *matrix) checkDescription(a *answer, at mounting) {
	m.t.Helper()
	var doc struct{ Servers []struct{ URL string } }
	want := at.path
	if want == "" {
		want = "/"
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Servers) != 1 || doc.Servers[0].URL != want {
		m.t.Errorf("servers %v, want %s", doc.Servers, want)
	}
}

// TestMounted uploads by each protocol, and by signed URLs, where clients are told
// to, in every way to be mounted.
func TestMounted(t *testing.T) {
	race.LeaveOut(t)
	w := secured(t, matrixSchema)
	base := w.url
	ann := token(t, "ann", nil)
	n := 0
	eachMounting(t, nil, func(t *testing.T, at mounting, public string) {
		w.t = t
		defer func() { w.url = base }()
		w.serveMounted(at, public)
		n++
		name := fmt.Sprint("file", n)
		is := func(a *answer, status int, header string) string {
			t.Helper()
			ref := a.Header.Get(header)
			if a.StatusCode != status || header != "" && !strings.HasPrefix(strings.TrimPrefix(ref, w.url[:len(w.url)-len(at.path)]), at.path+"/api/") {
				t.Fatalf("%d, %s %q: %.300s", a.StatusCode, header, ref, a.body)
			}
			return ref
		}
		read := func(ref, want string, header ...string) {
			t.Helper()
			if a := w.request("GET", ref, ann, "", header...); a.StatusCode != 200 || string(a.body) != want {
				t.Errorf("%s: %d %.300s", ref, a.StatusCode, a.body)
			}
		}
		twice := []string{"Authorization", ann, "Idempotency-Key", name}
		var f client.File
		for range 2 { // the second time an answer is repeated
			a := w.do("POST", "/api/files/private?name="+name, strings.NewReader("hello"), twice...)
			is(a, 201, "Location")
			if err := json.Unmarshal(a.body, &f); err != nil {
				t.Fatal(err)
			}
			read(f.Links.Download, "hello")
			read(f.Links.View, "hello")
		}
		// By tus: in pieces, and joined of two.
		tus := []string{"Authorization", ann, "Tus-Resumable", "1.0.0"}
		var parts []string
		for range 2 {
			up := is(w.do("POST", "/api/tus/private", nil, append(tus, "Upload-Length", "5", "Upload-Concat", "partial")...), 201, "Location")
			is(w.request("PATCH", up, ann, "hello", "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", offsetStream), 204, "")
			parts = append(parts, up)
		}
		whole := is(w.do("POST", "/api/tus/private", nil, append(tus, "Upload-Concat", "final;"+strings.Join(parts, " "))...), 201, "Location")
		read(is(w.request("HEAD", whole, ann, "", "Tus-Resumable", "1.0.0"), 200, "Content-Location")+"/download", "hellohello")
		// By the IETF's protocol.
		up := is(w.do("POST", "/api/files/private", nil, "Authorization", ann, "Upload-Complete", "?0"), 201, "Location")
		done := w.request("PATCH", up, ann, "hello", "Upload-Complete", "?1", "Upload-Offset", "0", "Content-Type", partial)
		read(is(done, 201, "Content-Location")+"/download", "hello")
		is(done, 201, "Location")
		// By signed URLs, which the bearer of none may use: simply, and by tus.
		for _, op := range []string{"download", "view"} {
			if a := w.request("GET", w.sign(ann, "private", f.ID, `{"operation": "`+op+`"}`).URL, "", ""); string(a.body) != "hello" {
				t.Errorf("signed %s: %d %.300s", op, a.StatusCode, a.body)
			}
		}
		version := w.sign(ann, "private", f.ID, `{"operation": "upload"}`)
		is(w.request(version.Method, version.URL, "", "hello again"), 200, "Location")
		sign := func() *client.SignedURL { return w.sign(ann, "private", "", `{}`) }
		is(w.request("POST", sign().URL+"&name=by-url", "", "hello"), 201, "Location")
		resumable := is(w.request("POST", sign().URL+"&name=in-pieces", "", "", "Upload-Complete", "?0"), 201, "Location")
		is(w.request("PATCH", resumable, "", "hello", "Upload-Complete", "?1", "Upload-Offset", "0", "Content-Type", partial), 201, "Location")
		bytus := is(w.do("POST", "/api/tus/private?token="+url.QueryEscape(sign().Token), nil, "Tus-Resumable", "1.0.0", "Upload-Length", "5"), 201, "Location")
		is(w.request("PATCH", bytus, "", "hello", "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", offsetStream), 204, "Content-Location")
		// By chunk list, by our own client.
		c, err := client.New(w.url, &client.Options{Token: strings.TrimPrefix(ann, "Bearer ")})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.Put(t.Context(), "private", "put", bytes.NewReader(noise(1<<20)), nil)
		if err != nil {
			t.Fatal(err)
		}
		read(stored.Links.Download, string(noise(1<<20)))
	})
}

// TestMountedElsewhere has requests whose path or request line nobody believes.
func TestMountedElsewhere(t *testing.T) {
	w := newWorld(t)
	f := w.put("file", []byte("hello"))
	for _, c := range []struct {
		name, prefix string
		uri, path    string // the request line, and what a router has made of it
		forwarded    string
		links        string // "" where there is no such route
	}{
		{"in process", "", "", "/api/files/demo/" + f.ID, "", "/api/files/demo/"},
		{"in process, with Prefix", "/s", "", "/s/api/files/demo/" + f.ID, "", "/s/api/files/demo/"},
		{"with Prefix, and none in the path", "/s", "", "/api/files/demo/" + f.ID, "", "/s/api/files/demo/"},
		{"a URL as request line", "", "http://other.example/s/api/files/demo/" + f.ID, "/api/files/demo/" + f.ID, "", "/s/api/files/demo/"},
		{"a host in the path", "", "//other.example/api/files/demo/" + f.ID, "/api/files/demo/" + f.ID, "", "/api/files/demo/"},
		{"dots", "", "/a/../s/api/files/demo/" + f.ID, "/api/files/demo/" + f.ID, "", "/api/files/demo/"},
		{"dots, escaped", "", "/a/%2E./s/api/files/demo/" + f.ID, "/api/files/demo/" + f.ID, "", "/api/files/demo/"},
		{"no slash between", "", "/sapi/files/demo/" + f.ID, "api/files/demo/" + f.ID, "", ""},
		{"rewritten", "", "/files/" + f.ID, "/api/files/demo/" + f.ID, "", "/api/files/demo/"},
		{"spelt otherwise", "/storage", "/st%6Frage/api/files/demo/" + f.ID, "/st%6Frage/api/files/demo/" + f.ID, "", "/storage/api/files/demo/"},
		{"a longer name", "/s", "/sx/api/files/demo/" + f.ID, "/sx/api/files/demo/" + f.ID, "", ""},
		{"a slash that is escaped", "/a/b", "/a%2Fb/api/files/demo/" + f.ID, "/a%2Fb/api/files/demo/" + f.ID, "", ""},
		{"a header of the client's", "", "/api/files/demo/" + f.ID, "/api/files/demo/" + f.ID, "/evil", "/api/files/demo/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RequestURI = c.uri
			r.URL = &url.URL{RawPath: c.path}
			r.URL.Path, _ = url.PathUnescape(c.path)
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-Prefix", c.forwarded)
			}
			rec := httptest.NewRecorder()
			api.New(w.store, &api.Options{Prefix: c.prefix}).ServeHTTP(rec, api.WithPrincipal(r, &access.Principal{Operator: true}))
			got := new(client.File)
			json.Unmarshal(rec.Body.Bytes(), got) // a refusal has no links
			if c.links == "" && rec.Code == 404 {
				return
			}
			if got.Links.Download != c.links+f.ID+"/download" {
				t.Errorf("%d, links %+v, want %s", rec.Code, got.Links, c.links)
			}
		})
	}
}
