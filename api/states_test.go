package api_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
)

// fileStates are those that a file may be in: each with what makes a file of
// ann's be in it.
var fileStates = map[string]func(m *matrix){
	"active":  (*matrix).refreshFile,
	"trashed": func(m *matrix) { m.refreshFile(); m.remove("") },
	"purged":  func(m *matrix) { m.refreshFile(); m.remove("?permanent=true") },
	// Trashed first: what the trash has kept is gone too.
	"purged from the trash": func(m *matrix) { m.refreshFile(); m.remove(""); m.remove("?permanent=true") },
	"never there": func(m *matrix) {
		m.f, m.first, m.digest = &client.File{ID: missing("f_")}, missing("m_"), digestOf([]byte("two!"))
		m.grant = &client.SignedURL{GrantID: missing("g_")}
	},
}

// remove deletes ann's file.
func (m *matrix) remove(query string) {
	m.t.Helper()
	a := m.do("DELETE", "/api/files/"+m.bucket+"/"+m.f.ID+query, nil, "Authorization", token(m.t, "ann", nil))
	if a.StatusCode >= 300 {
		m.t.Fatalf("delete: %d %s", a.StatusCode, a.body)
	}
}

// newMatrixIn is newMatrix with the file in a state.
func newMatrixIn(t *testing.T, bucket, state string) *matrix {
	t.Helper()
	m := &matrix{world: secured(t, matrixSchema), bucket: bucket}
	fileStates[state](m)
	m.refreshUploads()
	closed, err := schema.Parse("schema.yaml", []byte(strings.Replace(matrixSchema, "enabled: true", "enabled: false", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.store.ApplySchema(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	return m
}

var (
	anyID     = regexp.MustCompile(`\b[fmugs]_[0-9a-v]{36}(\.[\w.%-]+)?`) // and the MAC behind a grant's
	anyTime   = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ GMT`)
	anyAge    = regexp.MustCompile(`max-age=86\d{3}\b`) // seconds that are left of a new upload's day
	anyPort   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	anyMember = regexp.MustCompile(`"instance":"[^"]*"`)
)

// toldBy is all that an answer tells: status, headers with their values, and
// body. What differs between any two answers is made the same: the request's
// number, IDs, which the requests have named or which are new, and times.
func toldBy(a *answer) string {
	h := maps.Clone(a.Header)
	delete(h, "X-Request-Id")
	delete(h, "Date")
	if a.Header.Get("Content-Length") == fmt.Sprint(len(a.body)) {
		delete(h, "Content-Length") // a time may be shorter than another
	}
	var out strings.Builder
	fmt.Fprintln(&out, a.StatusCode)
	for _, k := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintln(&out, k, h[k])
	}
	out.Write(a.body)
	text := anyMember.ReplaceAllString(out.String(), "")
	for _, re := range []*regexp.Regexp{anyID, anyTime, anyAge, anyPort} {
		text = re.ReplaceAllString(text, "*")
	}
	return text
}

// A variant is what a curious caller adds to a request.
type variant struct {
	query  string
	header []string
}

func variants() []variant {
	root := strings.Repeat("0", 64)
	return []variant{
		{}, {query: "trashed=true"}, {query: "state=trashed&offset=0&limit=10"}, {query: "delimiter=%2F&offset=0"}, {query: "search=f&order=size"},
		{header: []string{"If-Match", `"b3-` + root + `", "b3-1` + root[1:] + `"`}}, {header: []string{"If-None-Match", "*", "Range", "bytes=0-1"}},
		{header: []string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT", "Idempotency-Key", "k"}}, {header: []string{"Upload-Complete", "?0"}},
	}
}

// answers are what a caller is told by every call and variant, in their order.
func (m *matrix) answers(bearer string, ask []variant, left func(c *call) bool) (names, told []string) {
	m.t.Helper()
	for _, c := range calls() {
		if c.open() || left != nil && left(&c) {
			continue
		}
		for _, v := range ask {
			path := m.path(c, true)
			if v.query != "" {
				path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + v.query
			}
			with := c
			with.header = slices.Concat(c.header, v.header)
			names = append(names, fmt.Sprint(c.method, " ", c.path, " ", v))
			told = append(told, toldBy(m.send(with, path, bearer)))
		}
	}
	return names, told
}

// Those who may not know of a file are told by no call whether it is active, in
// the trash, gone, or never was: every answer is the same, byte for byte and
// header for header, but for IDs and times. Every call of the matrix is tried,
// so every route is.
func TestStatesTellNothing(t *testing.T) {
	race.LeaveOut(t)
	// mayKnow reports whether somebody else may see ann's active file. In the
	// trash nobody else may.
	mayKnow := func(bucket, who, state string) bool {
		return state == "active" && (bucket == "public" || bucket == "listed" && who == "bob")
	}
	for _, bucket := range []string{"private", "listed", "public", "closing"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			ask := variants()
			if bucket != "private" {
				ask = ask[:5]
			}
			var names []string
			never := make(map[string][]string)
			for _, state := range append([]string{"never there"}, slices.Sorted(maps.Keys(fileStates))...) {
				m := newMatrixIn(t, bucket, state)
				for _, who := range []string{"bob", "anonymous"} {
					bearer := ""
					if who == "bob" {
						bearer = token(t, who, nil)
					}
					var told []string
					names, told = m.answers(bearer, ask, nil)
					if never[who] == nil {
						never[who] = told
					}
					for i := range names {
						if told[i] != never[who][i] && !mayKnow(bucket, who, state) {
							t.Errorf("%s: %s: a file that is %s:\n%s\nnone:\n%s", who, names[i], state, told[i], never[who][i])
						}
					}
				}
			}
		})
	}
}

// The owner of a file that is gone learns of it what is learned of none; what
// is left are the signed URLs, until they end.
func TestPurgedIsNeverThere(t *testing.T) {
	race.LeaveOut(t)
	left := func(c *call) bool { return strings.Contains(c.path, "_grants") }
	_, never := newMatrixIn(t, "private", "never there").answers(token(t, "ann", nil), variants()[:5], left)
	for _, state := range []string{"purged", "purged from the trash"} {
		names, told := newMatrixIn(t, "private", state).answers(token(t, "ann", nil), variants()[:5], left)
		for i := range names {
			if told[i] != never[i] {
				t.Errorf("%s: a file that is %s:\n%s\nnone:\n%s", names[i], state, told[i], never[i])
			}
		}
	}
}

// What the owner is told of a file in the trash: routes for active files do not
// find it, those that name the trash do.
func TestOwnerAndTrash(t *testing.T) {
	// found are the answers, by call, to one who asks for the trash too.
	found := map[string]int{
		"GET FILE": 200, "HEAD FILE": 200, "GET VERSION": 200, "GET FILE/download": 200, "HEAD FILE/download": 200, "GET VERSION/download": 200,
		"GET FILE/download?version=1": 200, "GET FILE/view": 200, "GET FILE/manifest": 200, "GET FILE/chunks/DIGEST": 200,
		"GET FILE/versions/1": 200, "GET FILE/versions/1/download": 200, "GET FILE/versions/1/view": 200,
		"GET FILE/preview?width=10": 501, // as one in use
	}
	// always are the answers whatever is asked for.
	always := map[string]int{"GET FILE/versions": 200, "GET FILE/references": 200, "POST FILE/restore": 200, "DELETE FILE?permanent=true": 204, "DELETE VERSION": 204, "DELETE FILE/versions/1": 204}
	m := newMatrixIn(t, "private", "trashed")
	ann := token(t, "ann", nil)
	for _, c := range calls() {
		if !strings.Contains(c.path+c.body, "FILE") && !strings.Contains(c.path, "VERSION") || c.op == "none" {
			continue
		}
		name := c.method + " " + strings.TrimPrefix(c.path, "/api/files/BUCKET/")
		for _, query := range []string{"", "trashed=true"} {
			path := m.path(c, true)
			if query != "" {
				path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + query
			}
			want := 404
			if n := found[name]; n != 0 && query != "" {
				want = n
			}
			if n := always[name]; n != 0 {
				want = n
			}
			a := m.send(c, path, ann)
			if refused := a.StatusCode == 400 && query != "" && want == 404; a.StatusCode != want && !refused {
				t.Errorf("%s, %s: %d, want %d: %s", name, query, a.StatusCode, want, a.body)
			}
			if want == 200 && c.method == "POST" || want == 204 {
				fileStates["trashed"](m)
			}
		}
	}
}

// A signed URL opens what it was signed for while that is active. The bearer of
// one whose file is in the trash, or gone, or whose version is, is told the same.
func TestSignedURLAcrossStates(t *testing.T) {
	m := newMatrix(t, "private")
	ann := token(t, "ann", nil)
	file, version := "/api/files/private/"+m.f.ID, "/api/files/private/"+m.first
	urls := []struct {
		what, method, path, token string
		left                      int // status when only the first version is gone
	}{
		{"download", "GET", file + "/download", m.sign(ann, "private", m.f.ID, `{"operation": "download", "max_uses": 9}`).Token, 200},
		{"view", "GET", file + "/view", m.sign(ann, "private", m.f.ID, `{"operation": "view"}`).Token, 200},
		{"download of a version", "GET", version + "/download", m.sign(ann, "private", m.first, `{}`).Token, 404},
		{"view of a version", "GET", version + "/view", m.sign(ann, "private", m.f.ID, `{"operation": "view", "version": 1}`).Token, 404},
		{"upload", "PUT", file, m.sign(ann, "private", m.f.ID, `{"operation": "upload"}`).Token, 200},
	}
	change := func(method, path string) {
		t.Helper()
		if a := m.do(method, path, nil, "Authorization", ann); a.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, a.StatusCode, a.body)
		}
	}
	gone := make(map[string]string) // what each bearer is told of a file that is not to be had
	ask := func(state string, want func(i int) int) {
		t.Helper()
		for i, u := range urls {
			a := m.do(u.method, u.path+"?token="+u.token, strings.NewReader("new"))
			if a.StatusCode != want(i) {
				t.Errorf("%s, %s: %d, want %d: %s", u.what, state, a.StatusCode, want(i), a.body)
			}
			told := toldBy(a)
			if gone[u.what] == "" && want(i) == 404 {
				gone[u.what] = told
			}
			if want(i) == 404 && told != gone[u.what] {
				t.Errorf("%s, %s:\n%s\nbefore:\n%s", u.what, state, told, gone[u.what])
			}
			if a := m.do(u.method, u.path+"?trashed=true&token="+u.token, strings.NewReader("new")); u.method == "GET" && a.code() != "signed-url-scope" {
				t.Errorf("%s, %s, of the trash: %d %s", u.what, state, a.StatusCode, a.body)
			}
		}
	}
	always := func(status int) func(int) int { return func(int) int { return status } }
	ask("active", always(200))
	change("DELETE", file)
	ask("trashed", always(404))
	a := m.do("POST", file+"/sign", strings.NewReader(`{}`), "Authorization", ann, "Content-Type", "application/json")
	if a.code() != "file-not-found" {
		t.Errorf("signed in the trash: %d %s", a.StatusCode, a.body)
	}
	change("POST", file+"/restore")
	ask("restored", always(200))
	change("DELETE", version)
	ask("without its first version", func(i int) int { return urls[i].left })
	change("DELETE", file+"?permanent=true")
	ask("purged", always(404))
}
