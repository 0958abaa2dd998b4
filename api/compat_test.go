package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// members returns members of an answer, absent ones as "-".
func (a *answer) members(names ...string) string {
	var v map[string]any
	json.Unmarshal(a.body, &v) // a body that is no object has no members
	var out []string
	for _, n := range names {
		m, ok := v[n]
		if !ok {
			m = "-"
		}
		out = append(out, fmt.Sprint(m))
	}
	return strings.Join(out, " ")
}

// The same requests with the switch and without it.
func TestCompatSpelling(t *testing.T) {
	race.LeaveOut(t)
	admin := map[string]any{"role": "admin"}
	for what, c := range map[string]struct {
		do      func(w *world) string
		off, on string
	}{
		"type of a text": {func(w *world) string {
			f := w.putAs("ann", "docs", "a.txt", "text")
			return w.do("GET", "/api/files/docs/"+f.ID, nil).members("mime_type", "compressed", "checksum", "original_size")
		}, "text/plain - - -", "text/plain; charset=utf-8 false 982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1 -"},
		"type of an image": {func(w *world) string {
			return w.do("GET", "/api/files/docs/"+w.putAs("ann", "docs", "a.png", png).ID, nil).members("mime_type")
		}, "image/png", "image/png"},
		"versions": {func(w *world) string {
			a := w.do("GET", "/api/files/docs/"+w.putAs("ann", "docs", "a.txt", "text").ID+"/versions", nil)
			return fmt.Sprint(strings.Contains(string(a.body), `"mime_type":"text/plain; charset=utf-8"`), a.members("items", "total"))
		}, "false- -", "true- -"},
		"a first page": {func(w *world) string {
			w.putAs("ann", "docs", "a.txt", "text")
			a := w.do("GET", "/api/files/docs", nil)
			return a.members("total", "offset", "limit", "page", "perPage") + fmt.Sprint(strings.Count(string(a.body), `"manifest_id"`))
		}, "1 - - - -1", "1 0 100 1 1002"},
		"more than a page takes": {func(w *world) string {
			a := w.do("GET", "/api/files/docs?limit=5000&offset=2000", nil)
			return fmt.Sprint(a.StatusCode, " ", a.members("limit", "page"))
		}, "400 - -", "200 1000 3"},
		"a prefix of types": {func(w *world) string {
			return fmt.Sprint(w.do("GET", "/api/files/docs?mime_type=image", nil).StatusCode)
		}, "400", "200"},
		"DELETE": {func(w *world) string {
			f := w.putAs("ann", "docs", "a.txt", "text")
			a := w.do("DELETE", "/api/files/docs/"+f.ID, nil, "Authorization", token(w.t, "ann", nil))
			b := w.do("GET", "/api/files/docs/"+f.ID+"?trashed=true", nil, "Authorization", token(w.t, "ann", nil))
			return fmt.Sprint(a.StatusCode, len(a.body) > 0, b.StatusCode)
		}, "200 true 200", "204 false 404"},
		"DELETE to the trash": {func(w *world) string {
			f := w.putAs("ann", "docs", "a.txt", "text")
			a := w.do("DELETE", "/api/files/docs/"+f.ID+"?permanent=false", nil, "Authorization", token(w.t, "ann", nil))
			b := w.do("GET", "/api/files/docs/"+f.ID+"?trashed=true", nil, "Authorization", token(w.t, "ann", nil))
			return fmt.Sprint(a.StatusCode, len(a.body) > 0, b.StatusCode)
		}, "200 true 200", "204 false 200"},
		"DELETE of a version": {func(w *world) string {
			f := w.putAs("ann", "docs", "a.txt", "text")
			return fmt.Sprint(w.do("DELETE", "/api/files/docs/"+f.ManifestID, nil, "Authorization", token(w.t, "ann", nil)).StatusCode)
		}, "409", "409"},
		"a refusal": {func(w *world) string {
			a := w.do("GET", "/api/files/docs/f_none", nil)
			return fmt.Sprint(a.StatusCode, " ", a.members("code", "message", "error", "details"), a.members("request_id") == a.Header.Get("X-Request-ID"))
		}, "404 file-not-found - no such file map[]false", "404 FILE_NOT_FOUND no such file no such file -true"},
		"who is not known": {func(w *world) string {
			a := w.do("POST", "/api/files/docs?name=x", strings.NewReader("x"))
			return fmt.Sprint(a.StatusCode, " ", a.members("code"), a.Header.Get("WWW-Authenticate") != "")
		}, "401 unauthenticatedtrue", "401 UNAUTHORIZEDtrue"},
		"a signed URL that has ended": {func(w *world) string {
			f := w.putAs("ann", "docs", "a.txt", "text")
			path := relative(w.signAs("ann", "docs", f.ID, `{"max_uses": 1}`))
			w.do("GET", path, nil)
			return w.do("GET", path, nil).members("code")
		}, "signed-url-expired", "TOKEN_EXPIRED"},
		"a batch": {func(w *world) string {
			a := w.do("DELETE", "/api/files/docs/batch", strings.NewReader(`{"ids":["x"]}`), "Authorization", token(w.t, "ann", nil), "Content-Type", j)
			return fmt.Sprint(a.StatusCode, " ", a.members("deleted", "failed"))
		}, "404 - -", "200 0 [map[code:FILE_NOT_FOUND error:no such file id:x]]"},
		"sums": {func(w *world) string {
			w.putAs("ann", "docs", "a.txt", "text")
			return w.do("GET", "/api/admin/storage/stats", nil, "Authorization", token(w.t, "root", admin)).members("buckets")
		}, "-", "[map[bucket:docs fileCount:1 totalBytes:4] map[bucket:images fileCount:0 totalBytes:0]]"},
		"buckets": {func(w *world) string {
			return w.do("GET", "/api/admin/schema", nil, "Authorization", token(w.t, "root", admin)).members("buckets")
		}, "-", "[map[backend:local maxFileSize:1e+06 name:docs] map[allowedTypes:[image/*] backend:local name:images]]"},
		"a name in Latin-1": {func(w *world) string {
			return w.tusName("/api/tus/docs", "filename "+btoa("résumé.txt"))
		}, "400", "résumé.txt"},
		"a name in UTF-8": {func(w *world) string {
			return w.tusName("/api/tus/docs", "filename "+btoa("r\u00c3\u00a9sum\u00c3\u00a9.txt"))
		}, "résumé.txt", "résumé.txt"},
		"keys with a meaning of their own, where Alyx's client sends them": {func(w *world) string {
			return w.tusName("/api/files/docs/tus", "filename "+btoa("a")+",folder "+btoa("deep")+",type "+btoa("invoice"))
		}, "deep/a", "a"},
		"keys with a meaning of their own": {func(w *world) string {
			return w.tusName("/api/tus/docs", "name "+btoa("a")+",folder "+btoa("deep")+",type "+btoa("text/plain"))
		}, "deep/a", "deep/a"},
	} {
		t.Run(what, func(t *testing.T) {
			for config, want := range map[string]string{testConfig: c.off, alyxConfig: c.on} {
				if got := c.do(securedBy(t, config, alyxSchema)); got != want {
					t.Errorf("with %q:\n%s, want\n%s", strings.TrimPrefix(config, testConfig), got, want)
				}
			}
		})
	}
}

// tusName uploads a text by tus and returns the path that it got, or the status of
// the refusal.
func (w *world) tusName(at, metadata string) string {
	h := []string{"Tus-Resumable", "1.0.0", "Authorization", token(w.t, "ann", nil), "Content-Type", "application/offset+octet-stream"}
	a := w.do("POST", at, strings.NewReader("text"), append(h, "Upload-Length", "4", "Upload-Metadata", metadata)...)
	if a.StatusCode != 201 {
		return fmt.Sprint(a.StatusCode)
	}
	return w.do("GET", "/api/files/docs/"+a.Header.Get("X-File-Id"), nil).members("path")
}

// A batch deletes what its sender could delete by itself, for the same reasons and
// with the same words; nobody learns more from it.
func TestAlyxBatch(t *testing.T) {
	const rules = `buckets: {docs: {rules: {create: auth.id != null, read: auth.id == file.owner || file.name.startsWith("open"), delete: auth.id == file.owner}}}`
	for _, who := range []string{"ann", "bob", "root"} {
		for _, query := range []string{"", "?permanent=false", "?permanent=true"} {
			one, many := securedBy(t, alyxConfig, rules), securedBy(t, alyxConfig, rules)
			bearer := token(t, who, map[string]any{"role": map[bool]string{true: "admin", false: "user"}[who == "root"]})
			var ids [2][]string
			for i, w := range []*world{one, many} {
				secret, open, gone := w.putAs("ann", "docs", "secret", "x"), w.putAs("ann", "docs", "open", "x"), w.putAs("ann", "docs", "gone", "x")
				w.want(204, "", "DELETE", "/api/files/docs/"+gone.ID+"?permanent=false", nil, "Authorization", token(t, "ann", nil))
				ids[i] = []string{secret.ID, open.ID, gone.ID, open.ID, missing("f_"), "none", open.ManifestID}
			}
			deleted, singles := 0, []string{}
			for _, id := range ids[0] {
				a := one.do("DELETE", "/api/files/docs/"+id+query, nil, "Authorization", bearer)
				if a.StatusCode == 204 {
					deleted++
				} else {
					singles = append(singles, a.members("code", "error"))
				}
			}
			body, _ := json.Marshal(map[string]any{"ids": ids[1]})
			a := many.want(200, "", "DELETE", "/api/files/docs/batch"+query, strings.NewReader(string(body)), "Authorization", bearer, "Content-Type", j)
			var got struct {
				Deleted int
				Failed  []struct{ ID, Error, Code string }
			}
			json.Unmarshal(a.body, &got)
			failed := []string{}
			for _, f := range got.Failed {
				failed = append(failed, f.Code+" "+f.Error)
			}
			if got.Deleted != deleted || !slices.Equal(failed, singles) {
				t.Errorf("%s%s: a batch deletes %d and refuses %q, one by one it is %d and %q", who, query, got.Deleted, failed, deleted, singles)
			}
		}
	}
	w := securedBy(t, alyxConfig, rules)
	f := w.putAs("ann", "docs", "open", "x")
	batch := "/api/files/docs/batch"
	a := w.want(200, "", "DELETE", batch, strings.NewReader(`{"ids":["`+f.ID+`"]}`), "Content-Type", j)
	if a.members("deleted") != "0" || !strings.Contains(string(a.body), "FORBIDDEN") {
		t.Errorf("nobody deletes: %s", a.body)
	}
	ann := token(t, "ann", nil)
	ids := strings.Repeat(`"x",`, 1000)
	for _, body := range []string{``, `{}`, `{"ids":[]}`, `{"ids":[` + ids + `"x"]}`, `{"ids":["x"],"all":true}`, `[]`, `{"ids":"x"}`} {
		w.want(400, "INVALID_REQUEST", "DELETE", batch, strings.NewReader(body), "Authorization", ann, "Content-Type", j)
	}
	if a := w.want(200, "", "DELETE", batch, strings.NewReader(`{"ids":[`+strings.TrimSuffix(ids, ",")+`]}`), "Authorization", ann, "Content-Type", j); strings.Count(string(a.body), "FILE_NOT_FOUND") != 1000 {
		t.Errorf("of 1000 it says %.100s", a.body)
	}
	w.want(401, "UNAUTHORIZED", "DELETE", batch, strings.NewReader(`{"ids":["`+f.ID+`"]}`), "Authorization", "Bearer x", "Content-Type", j)
	w.want(405, "METHOD_NOT_ALLOWED", "GET", batch, nil, "Authorization", ann)
	w.want(200, "", "GET", "/api/files/docs/"+f.ID, nil, "Authorization", ann)
	for _, path := range []string{"/api/admin/storage/stats", "/api/admin/schema"} {
		w.want(401, "UNAUTHORIZED", "GET", path, nil)
		w.want(403, "FORBIDDEN", "GET", path, nil, "Authorization", ann)
	}
}

// Records with on_delete: restrict keep their files, however they are deleted.
func TestCompatKeepsReferenced(t *testing.T) {
	w := &hosted{world: securedBy(t, alyxConfig, hostSchema)}
	var err error
	if w.c, err = client.New(w.url, &client.Options{Token: strings.TrimPrefix(token(t, "host", map[string]any{"role": "admin"}), "Bearer ")}); err != nil {
		t.Fatal(err)
	}
	w.open(nil)
	f := w.putAs("ann", "docs", "a.txt", "a")
	w.set("1", "scan", f.ID)
	for _, bearer := range []string{token(t, "ann", nil), token(t, "root", map[string]any{"role": "admin"})} {
		w.want(409, "CONFLICT", "DELETE", "/api/files/docs/"+f.ID, nil, "Authorization", bearer)
		a := w.want(200, "", "DELETE", "/api/files/docs/batch", strings.NewReader(`{"ids":["`+f.ID+`"]}`), "Authorization", bearer, "Content-Type", j)
		if a.members("deleted") != "0" || !strings.Contains(string(a.body), "on_delete: restrict") {
			t.Errorf("%s", a.body)
		}
	}
	w.want(200, "", "GET", "/api/files/docs/"+f.ID, nil, "Authorization", token(t, "ann", nil))
}

// A charset is in answers alone: rules, allowed_types and the check of what is
// declared know none, also where it is declared.
func TestCompatCharset(t *testing.T) {
	const rules = `buckets: {docs: {allowed_types: [text/plain], type_check: strict, rules: {create: upload.mime_type == 'text/plain', read: file.mime_type == 'text/plain'}}}`
	for _, config := range []string{testConfig, alyxConfig} {
		w := securedBy(t, config, rules)
		h := []string{"Authorization", token(t, "ann", nil)}
		body, form := (&alyxForm{name: "a.txt", mimeType: "text/plain; charset=utf-8", content: "text"}).encode()
		w.want(201, "", "POST", "/api/files/docs", strings.NewReader(body), append(h, "Content-Type", form)...)
		w.want(201, "", "POST", "/api/files/docs?name=b.txt", strings.NewReader("text"), append(h, "Content-Type", "text/plain;charset=UTF-8")...)
		for _, at := range []string{"/api/tus/docs", "/api/files/docs/tus"} {
			if got := w.tusName(at, "filename "+btoa("c.txt")+",filetype "+btoa("text/plain;charset=utf-8")); !strings.HasPrefix(got, "c") {
				t.Errorf("by tus: %s", got)
			}
		}
		if a := w.want(200, "", "GET", "/api/files/docs", nil, h...); a.members("total") != "4" {
			t.Errorf("%s", a.body)
		}
	}
}

// What a browser is shown, and by which headers, is the same with the switch.
func TestCompatView(t *testing.T) {
	const rules = `buckets: {docs: {rules: {create: auth.id != null, read: "true"}}}`
	seen := make(map[string]string)
	for _, config := range []string{testConfig, alyxConfig} {
		w := securedBy(t, config, rules)
		for name, content := range map[string]string{"a.html": "<!doctype html><script>alert(1)</script>", "a.svg": `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`,
			"a.txt": "<script>", "a.png": png, "a.js": "alert(1)", "a.pdf": "%PDF-1.4\n", "a": "\x00\x01"} {
			f := w.putAs("ann", "docs", name, content)
			for _, action := range []string{"view", "download"} {
				a := w.do("GET", "/api/files/docs/"+f.ID+"/"+action, nil)
				for _, of := range []string{"Date", "Last-Modified", "X-Request-Id"} {
					a.Header.Del(of)
				}
				got := fmt.Sprint(a.StatusCode, a.Header, string(a.body))
				if before, ok := seen[name+action]; ok && got != before {
					t.Errorf("%s of %s:\n%s, without the switch\n%s", action, name, got, before)
				}
				seen[name+action] = got
			}
		}
	}
}

// Who may do what does not depend on the switch: each call of the matrix, by those
// who may not and by whom it is for, is answered by the same status.
func TestCompatChangesNoRules(t *testing.T) {
	race.LeaveOut(t)
	off, on := newMatrix(t, "private"), newMatrixBy(t, alyxConfig, "private")
	for who, bearer := range map[string]string{"nobody": "", "bob": token(t, "bob", nil), "ann": token(t, "ann", nil)} {
		for _, c := range calls() {
			if c.method == "DELETE" && who == "ann" {
				continue // TestCompatSpelling
			}
			for _, there := range []bool{true, false} {
				a, b := off.send(c, off.path(c, there), bearer), on.send(c, on.path(c, there), bearer)
				if a.StatusCode != b.StatusCode {
					t.Errorf("%s %s there: %v, by %s: %d, with the switch %d", c.method, c.path, there, who, a.StatusCode, b.StatusCode)
				}
			}
		}
	}
}

// Cairn's own clients are answered in its own spelling, with the switch too: they read
// codes, and what they delete goes to the trash.
func TestCompatOwnClients(t *testing.T) {
	w := securedBy(t, alyxConfig, alyxSchema)
	c, err := client.New(w.url, &client.Options{Token: strings.TrimPrefix(token(t, "ann", nil), "Bearer ")})
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Put(t.Context(), "docs", "a.txt", strings.NewReader("text"), nil)
	if err != nil || f.MIMEType != "text/plain" {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := c.Delete(t.Context(), "docs", f.ID); err != nil {
		t.Fatal(err)
	}
	if back, err := c.Undelete(t.Context(), "docs", f.ID); err != nil || back.State != "active" {
		t.Errorf("%+v, %v", back, err)
	}
	wantCode(t, c.Delete(t.Context(), "docs", "f_none"), "file-not-found")
	a := w.want(404, "file-not-found", "GET", "/api/files/docs/f_none", nil, "Accept", "text/html, Application/Problem+JSON;q=0.5")
	if a.members("message", "request_id") != "- -" {
		t.Errorf("%s", a.body)
	}
}

// Filters are prefixes of types, and what is new comes first.
func TestAlyxListing(t *testing.T) {
	w := securedBy(t, alyxConfig, alyxSchema, tick)
	for _, f := range [][2]string{{"b.png", png}, {"a.txt", "text"}, {"c.pdf", "%PDF-1.4\n"}, {"d.docx", "PK\x03\x04"}} {
		w.putAs("ann", "docs", f[0], f[1])
	}
	name := regexp.MustCompile(`"name":"([^"]*)"`)
	for query, want := range map[string]string{"": "d.docx c.pdf a.txt b.png", "order=name": "a.txt b.png c.pdf d.docx", "mime_type=image/": "b.png", "mime_type=IMAGE": "b.png",
		"mime_type=image/*": "b.png", "mime_type=application/": "d.docx c.pdf", "mime_type=application/p": "c.pdf", "mime_type=text/plain%3B+charset%3Dutf-8": "a.txt",
		"mime_type=other": "", "mime_type=": "d.docx c.pdf a.txt b.png", "search=.P": "c.pdf b.png", "search=.p&mime_type=image": "b.png", "search=%25": "", "limit=1": "d.docx",
		"limit=2&offset=1": "c.pdf a.txt", "offset=9": ""} {
		a := w.want(200, "", "GET", "/api/files/docs?"+query, nil)
		var names []string
		for _, m := range name.FindAllStringSubmatch(string(a.body), -1) {
			names = append(names, m[1])
		}
		half := names[:len(names)/2] // files, and items, which are the same
		if got := strings.Join(half, " "); got != want || !slices.Equal(half, names[len(names)/2:]) {
			t.Errorf("%s: %s, want %s", query, names, want)
		}
	}
	// Cursors go on in the order that the first page had.
	var pages []string
	for cursor := ""; ; {
		a := w.want(200, "", "GET", "/api/files/docs?limit=1&cursor="+cursor, nil)
		pages = append(pages, name.FindStringSubmatch(string(a.body))[1])
		if cursor = a.members("next_cursor"); cursor == "<nil>" {
			break
		}
	}
	if !slices.Equal(pages, []string{"d.docx", "c.pdf", "a.txt", "b.png"}) {
		t.Errorf("by cursor %s", pages)
	}
}

// A crowd is a store that lists more files than an order by time takes.
type crowd struct {
	manifest.Store
	n int
}

// List implements manifest.Store.
func (c *crowd) List(_ context.Context, _ string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return func(yield func(*manifest.Listed, error) bool) {
		for i := range c.n {
			key := fmt.Sprintf("%06d", i)
			f := &manifest.File{ID: manifest.NewFileID(), Bucket: "docs", Name: key, CreatedAt: time.UnixMilli(int64(i))}
			m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, MIMEType: "text/plain"}
			if key > r.After && !yield(&manifest.Listed{File: f, Current: m, Key: key}, nil) {
				return
			}
		}
	}
}

// A listing that is too long for the order of time is by name. One file of it is
// refused: Alyx's client takes that for what it has sent.
func TestAlyxLongListing(t *testing.T) {
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: crashfs.New().VFS()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	chunks, err := cas.Open(t.Context(), membackend.New(nil), db.Index("d"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := buckets.New(t.Context(), &crowd{db, 10_001}, map[string]*cas.Store{"d": chunks}, map[string]buckets.Policy{"docs": {Domain: "d"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv := httptest.NewServer(api.New(s, &api.Options{Dev: true, Server: schema.Server{Compat: schema.CompatAlyx}}))
	defer srv.Close()
	w := &world{t: t, url: srv.URL}
	a := w.want(200, "", "GET", "/api/files/docs?limit=2&offset=2", nil)
	if got := a.members("total", "total_at_least", "page"); got != "10000 10000 2" || !strings.Contains(string(a.body), `"name":"000002"`) {
		t.Errorf("%s: %s", got, a.body)
	}
	a = w.want(200, "", "GET", "/api/files/docs?limit=2&cursor="+a.members("next_cursor"), nil)
	if a.members("total") != "-" || !strings.Contains(string(a.body), `"name":"000004"`) {
		t.Errorf("%s", a.body)
	}
	w.want(422, "INVALID_REQUEST", "GET", "/api/files/docs?limit=1", nil)
	w.want(400, "INVALID_REQUEST", "GET", "/api/files/docs?cursor=x", nil)
	if a := w.do("GET", "/api/files/docs?order=-created", nil); a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("an order that is asked for: %d", a.StatusCode)
	}
}
