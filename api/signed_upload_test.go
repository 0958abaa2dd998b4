package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

const dropSchema = `buckets: {drop: {rules: {create: "auth.id == 'ann'", read: "auth.id == 'ann'", update: "auth.id == 'ann'", delete: "auth.id == 'ann'"}}}`

// signUpload signs an upload as ann: of a new file, or of a version of id.
func (w *world) signUpload(id, body string) (path, tok string) {
	w.t.Helper()
	at := "/api/files/drop/_sign-upload"
	if id != "" {
		at = "/api/files/drop/" + id + "/sign"
	}
	a := w.do("POST", at, strings.NewReader(body), "Content-Type", "application/json", "Authorization", token(w.t, "ann", nil))
	var s client.SignedURL
	if err := json.Unmarshal(a.body, &s); err != nil || a.StatusCode != 200 {
		w.t.Fatalf("sign: %d %s", a.StatusCode, a.body)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.RequestURI(), s.Token
}

// A signedUpload begins an upload of "hello" by a signed URL, and goes on with it
// where Location says.
type signedUpload struct {
	method string // of the creation
	path   func(path, token string) string
	begin  []string // headers of the creation
	body   string   // that the creation brings
	patch  func(offset string, end bool) []string
	asks   int // status of HEAD
	ends   int // status of the last append
}

func signedUploads() map[string]signedUpload {
	plain := func(path, _ string) string { return path }
	at := func(base string) func(path, token string) string {
		return func(_, token string) string { return base + "?token=" + url.QueryEscape(token) }
	}
	rufhPatch := func(offset string, end bool) []string {
		return []string{"Upload-Offset", offset, "Upload-Complete", map[bool]string{true: "?1", false: "?0"}[end], "Content-Type", partial}
	}
	tusPatch := func(offset string, end bool) []string {
		return []string{"Tus-Resumable", "1.0.0", "Upload-Offset", offset, "Content-Type", offsetStream}
	}
	tus := []string{"Tus-Resumable", "1.0.0", "Upload-Length", "5"}
	return map[string]signedUpload{
		"IETF":                {"POST", plain, []string{"Upload-Complete", "?0"}, "", rufhPatch, 204, 201},
		"IETF with bytes":     {"POST", plain, []string{"Upload-Complete", "?0", "Upload-Length", "5"}, "he", rufhPatch, 204, 201},
		"tus":                 {"POST", at("/api/tus/drop"), tus, "", tusPatch, 200, 204},
		"tus with bytes":      {"POST", at("/api/tus/drop/"), append(tus, "Content-Type", offsetStream), "he", tusPatch, 200, 204},
		"tus at Alyx's path":  {"POST", at("/api/files/drop/tus"), tus, "", tusPatch, 200, 204},
		"tus without length":  {"POST", at("/api/tus/drop"), []string{"Tus-Resumable", "1.0.0", "Upload-Defer-Length", "1"}, "", func(o string, end bool) []string { return append(tusPatch(o, end), "Upload-Length", "5") }, 200, 204},
		"IETF, of a version":  {"PUT", plain, []string{"Upload-Complete", "?0"}, "", rufhPatch, 204, 200},
		"IETF, unknown words": {"POST", plain, []string{"Upload-Complete", "?0", "Upload-Draft-Interop-Version", "6"}, "he", rufhPatch, 204, 201},
	}
}

// Whatever begins by a signed URL goes on by its token alone, which Location
// carries, and by no other.
func TestSignedUploadGoesOn(t *testing.T) {
	w := secured(t, dropSchema)
	_, other := w.signUpload("", `{}`)
	for what, c := range signedUploads() {
		id := ""
		if c.method == "PUT" {
			id = w.putAs("ann", "drop", "versions", "old").ID
		}
		path, tok := w.signUpload(id, `{"operation": "upload", "max_uses": 1, "max_size": 5}`)
		begun := w.do(c.method, c.path(path, tok), strings.NewReader(c.body), append([]string{"Upload-Metadata", "filename Zg=="}, c.begin...)...)
		where := strings.TrimPrefix(begun.Header.Get("Location"), w.url)
		if begun.StatusCode != 201 || !strings.HasSuffix(where, "?token="+url.QueryEscape(tok)) {
			t.Errorf("%s: %d %s at %q", what, begun.StatusCode, begun.body, where)
			continue
		}
		bare, _, _ := strings.Cut(where, "?")
		for by, status := range map[string]int{"": 404, "?token=" + url.QueryEscape(other): 404, "?token=x": 403} {
			for _, method := range []string{"HEAD", "PATCH", "DELETE"} {
				if a := w.do(method, bare+by, nil, c.patch("0", true)...); a.StatusCode != status {
					t.Errorf("%s: %s by %q: %d %s", what, method, by, a.StatusCode, a.body)
				}
			}
		}
		head := func(offset int) *answer {
			a := w.do("HEAD", where, nil, "Tus-Resumable", "1.0.0")
			if a.StatusCode != c.asks || a.Header.Get("Upload-Offset") != fmt.Sprint(offset) {
				t.Errorf("%s: HEAD: %d %v, want offset %d", what, a.StatusCode, a.Header, offset)
			}
			return a
		}
		head(len(c.body))
		if a := w.do("PATCH", where, strings.NewReader("hello"[len(c.body):3]), c.patch(fmt.Sprint(len(c.body)), false)...); a.StatusCode != 204 {
			t.Errorf("%s: append: %d %s", what, a.StatusCode, a.body)
		}
		head(3)
		end := w.do("PATCH", where, strings.NewReader("lo"), c.patch("3", true)...)
		if end.StatusCode != c.ends {
			t.Errorf("%s: the end: %d %s", what, end.StatusCode, end.body)
		}
		if got := w.contentAs("ann", "drop", head(5).Header.Get("X-File-Id")); got != "hello" {
			t.Errorf("%s: read %q", what, got)
		}
		// The URL was for one upload.
		if a := w.do(c.method, c.path(path, tok), strings.NewReader("hello"), append(c.begin, "Content-Type", offsetStream)...); a.StatusCode == 201 && a.Header.Get("X-File-Id") != "" {
			t.Errorf("%s: used twice: %d %s", what, a.StatusCode, a.body)
		}
		if a := w.do("DELETE", where, nil, "Tus-Resumable", "1.0.0"); a.StatusCode != 204 {
			t.Errorf("%s: DELETE: %d %s", what, a.StatusCode, a.body)
		}
	}
}

// What was signed bounds an upload while it goes on, not only at its begin.
func TestSignedUploadIsBounded(t *testing.T) {
	w := secured(t, dropSchema)
	begin := func(sign string, header ...string) (string, *answer) {
		path, _ := w.signUpload("", sign)
		a := w.do("POST", path+"&name=f", nil, append([]string{"Upload-Complete", "?0"}, header...)...)
		return strings.TrimPrefix(a.Header.Get("Location"), w.url), a
	}
	patch := func(at, body string, unsized bool, complete string) *answer {
		var r io.Reader = strings.NewReader(body)
		if unsized {
			r = io.MultiReader(r)
		}
		return w.do("PATCH", at, r, "Upload-Offset", "0", "Upload-Complete", complete, "Content-Type", partial)
	}
	if _, a := begin(`{"max_size": 4}`, "Upload-Length", "5"); a.StatusCode != 413 {
		t.Errorf("a length above what was signed: %d %s", a.StatusCode, a.body)
	}
	if _, a := begin(`{"name": "g"}`); a.StatusCode != 403 {
		t.Errorf("another name: %d %s", a.StatusCode, a.body)
	}
	if _, a := begin(`{"folder": "in"}`); a.StatusCode != 403 {
		t.Errorf("another folder: %d %s", a.StatusCode, a.body)
	}
	for _, unsized := range []bool{false, true} {
		for _, complete := range []string{"?0", "?1"} {
			at, _ := begin(`{"max_size": 4}`)
			if a := patch(at, "hello", unsized, complete); a.StatusCode != 413 {
				t.Errorf("more than was signed: %d %s", a.StatusCode, a.body)
			}
		}
	}
	at, _ := begin(`{"max_size": 4}`)
	if a := w.do("PATCH", at, strings.NewReader("hell"), "Upload-Offset", "0", "Upload-Complete", "?0", "Upload-Length", "5", "Content-Type", partial); a.StatusCode != 413 {
		t.Errorf("a length above what was signed, told late: %d %s", a.StatusCode, a.body)
	}
	at, _ = begin(`{"mime_types": ["image/png"]}`, "Content-Type", "image/png")
	if a := patch(at, "hello", false, "?1"); a.StatusCode/100 != 4 || a.Header.Get("X-File-Id") != "" {
		t.Errorf("another type: %d %s", a.StatusCode, a.body)
	}
	// Two may begin by a URL for one; the second to end is refused.
	path, tok := w.signUpload("", `{"max_uses": 1}`)
	var both []string
	for range 2 {
		a := w.do("POST", path+"&name=f", nil, "Upload-Complete", "?0")
		both = append(both, strings.TrimPrefix(a.Header.Get("Location"), w.url))
	}
	if a := patch(both[0], "hello", false, "?1"); a.StatusCode != 201 {
		t.Errorf("the first to end: %d %s", a.StatusCode, a.body)
	}
	if a := patch(both[1], "hello", false, "?1"); a.StatusCode != 403 || !strings.HasPrefix(a.code(), "signed-url-") {
		t.Errorf("the second to end: %d %s", a.StatusCode, a.body)
	}
	// Ended grants end what they began.
	at, _ = begin(`{}`)
	id := strings.SplitN(strings.SplitN(at, "token=", 2)[1], ".", 2)[0]
	w.want(204, "", "DELETE", "/api/files/drop/_grants/"+id, nil, "Authorization", token(w.t, "ann", nil))
	if a := patch(at, "hello", false, "?1"); a.StatusCode != 403 || a.code() != "signed-url-invalid" {
		t.Errorf("of a grant that was revoked: %d %s", a.StatusCode, a.body)
	}
	// Other ways to bring content are refused at once.
	for _, c := range [][]string{
		{"POST", "/api/files/drop/_sessions", `{"name": "f"}`, "application/json"},
		{"POST", "/api/files/drop/_compose", `{"name": "f", "pieces": [{"data": "YQ=="}]}`, "application/json"},
	} {
		w.want(403, "signed-url-scope", c[0], c[1]+"?token="+url.QueryEscape(tok), strings.NewReader(c[2]), "Content-Type", c[3])
	}
	for what, header := range map[string][]string{
		"a part":                {"Upload-Length", "5", "Upload-Concat", "partial"},
		"a version by fileId":   {"Upload-Length", "5", "Upload-Metadata", "fileId " + b64(w.putAs("ann", "drop", "mine", "x").ID)},
		"a file of another one": {"Upload-Length", "5", "Upload-Metadata", "filename " + b64("g")},
	} {
		_, tok := w.signUpload("", `{"name": "f"}`)
		a := w.do("POST", "/api/tus/drop?token="+url.QueryEscape(tok), nil, append(header, "Tus-Resumable", "1.0.0")...)
		if a.StatusCode != 403 && a.StatusCode != 404 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
}
