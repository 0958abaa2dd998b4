package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

const formType = "multipart/form-data; boundary=B"

// form is a multipart body of parts given as header and content.
func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n", parts[i], parts[i+1])
	}
	return b.String() + "--B--\r\n"
}

func TestForms(t *testing.T) {
	w := newWorld(t)
	many := strings.Repeat("--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n", 10_000) + "--B--\r\n"
	whole := form(`name="file"; filename="a.txt"`, strings.Repeat("hello ", 10_000))
	for _, c := range []struct{ name, body, code string }{
		{"10,000 parts", many, "invalid-multipart"},
		{"no file", form(`name="name"`, "x"), "invalid-multipart"},
		{"empty", "", "invalid-multipart"},
		{"not a form", "hello", "invalid-multipart"},
		{"cut in the file", whole[:len(whole)-500], "invalid-multipart"},
		{"cut at the end", whole[:len(whole)-8], "invalid-multipart"},
		{"no name", form(`name="file"; filename=""`, "x"), "invalid-request"},
		{"a field called file", form(`name="file"`, "x"), "invalid-multipart"},
		{"a file called otherwise", form(`name="filepond"; filename="a"`, strings.Repeat("x", 1<<20)), "invalid-multipart"},
		{"two files", form(`name="file"; filename="a"`, "x", `name="file"; filename="b"`, "x"), "invalid-multipart"},
		{"a thumbnail after the file", form(`name="file"; filename="a"`, "x", `name="thumb"; filename="b"`, "x"), "invalid-multipart"},
		{"a bad field after the file", form(`name="file"; filename="a"`, "x", `name="tags"`, "x"), "invalid-metadata"},
		{"a bad name after the file", form(`name="file"; filename="a"`, "x", `name="name"`, "x/y"), "invalid-name"},
		{"digests after the file", form(`name="file"; filename="a"`, "x", `name="digests"`, "md5"), "invalid-multipart"},
		{"cut in a field after the file", form(`name="file"; filename="a"`, "x", `name="note"`, strings.Repeat("x", 80))[:170], "invalid-multipart"},
		{"many fields after the file", strings.TrimSuffix(form(`name="file"; filename="a"`, "x"), "--B--\r\n") + many, "invalid-multipart"},
		{"metadata of no key", form(`name="metadata[]"`, "x", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"metadata of two keys", form(`name="metadata[a][b]"`, "x", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"metadata without its end", form(`name="metadata[a"`, "x", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"bad metadata", form(`name="metadata"`, "[1]", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"bad tags", form(`name="tags"`, "1", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"metadata that is not UTF-8", form(`name="metadata"`, "{\"k\":\"\xef\"}", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"metadata that is not UTF-8, after the file", form(`name="file"; filename="a"`, "x", `name="metadata[k]"`, "\xef"), "invalid-metadata"},
		{"a key of metadata that is not UTF-8", form("name=\"metadata[\xef]\"", "v", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"tags that are not UTF-8", form(`name="tags"`, "[\"\xef\"]", `name="file"; filename="a"`, "x"), "invalid-metadata"},
		{"a name that is not UTF-8", form("name=\"file\"; filename=\"\xef.txt\"", "x"), "invalid-name"},
		{"a name in no quotes, with a space", form(`name=file; filename=a b.txt`, "x"), "invalid-multipart"},
		{"two names", form(`name="file"; filename="a"; filename="b"`, "x"), "invalid-multipart"},
		{"a field whose name cannot be read", form(`name="file"; filename="a"`, "x", `name="folder`, "x"), "invalid-multipart"},
		{"bad conflict", form(`name="on_conflict"`, "maybe", `name="file"; filename="a"`, "x"), "invalid-request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.want(400, c.code, "POST", "/api/files/demo", strings.NewReader(c.body), "Content-Type", formType)
			w.empty()
		})
	}
	w.t = t
	w.want(413, "body-too-large", "POST", "/api/files/demo", strings.NewReader(form(`name="name"`, strings.Repeat("x", 1<<20))), "Content-Type", formType)
	for what, part := range map[string]string{"another part": `name="upload"; filename="a"`, "a part without a file name": `name="upload"`, "no file name": `name="file"`} {
		a := w.do("POST", "/api/files/demo", strings.NewReader(form(part, strings.Repeat("x", 1<<20))), "Content-Type", formType)
		if a.StatusCode/100 != 4 || !strings.Contains(string(a.body), `part \"file\"`) && !strings.Contains(string(a.body), `called \"file\"`) {
			t.Errorf("a large file in %s: %d %s", what, a.StatusCode, a.body)
		}
	}
	for _, kind := range []string{"", "; boundary", "; boundary=", "; boundary=B; boundary=C", "; boundary=\"B", "; boundary=B C", ";; boundary=B", " ; =B", "; boundary=B, text/plain"} {
		for _, name := range []string{"multipart/form-data", "Multipart/Form-Data "} {
			w.want(400, "invalid-multipart", "POST", "/api/files/demo?name=f", strings.NewReader(whole), "Content-Type", name+kind)
			w.want(415, "content-type-unsupported", "POST", "/api/files/demo?name=f", strings.NewReader(whole), "Content-Type", name+kind, "Upload-Complete", "?1")
		}
	}
	w.empty()
	a := w.want(201, "", "POST", "/api/files/demo", strings.NewReader(form(`name="folder"`, "x/y", `name="metadata"`, `{"k":1}`,
		`name="tags"`, `["t"]`, `name="file"; filename="a.txt"`, "hello")), "Content-Type", formType)
	for _, s := range []string{`"path":"x/y/a.txt"`, `"metadata":{"k":1}`, `"tags":["t"]`, `"mime_type":"text/plain"`, `"new_bytes":5`} {
		if !bytes.Contains(a.body, []byte(s)) {
			t.Errorf("no %s in %s", s, a.body)
		}
	}
}

// What a form says of the file may stand before it and after it.
func TestFormOrder(t *testing.T) {
	w := newWorld(t)
	const file = `name="file"; filename="a.txt"`
	for _, c := range []struct {
		what     string
		parts    []string
		path     string
		metadata string
		tags     string
	}{
		{"FilePond: JSON in a field of the file's name", []string{`name="file"`, `{"caption":"x"}`, file, "hello"}, "a.txt", "", ""},
		{"FilePond: and after it", []string{file, "hello", `name="file"`, `{"caption":"x"}`}, "a.txt", "", ""},
		{"a field that is not ours", []string{file, "hello", `name="csrf"`, "x"}, "a.txt", "", ""},
		{"metadata before", []string{`name="metadata"`, `{"k":1}`, file, "hello"}, "a.txt", `{"k":1}`, ""},
		{"metadata after", []string{file, "hello", `name="metadata"`, `{"k":1}`}, "a.txt", `{"k":1}`, ""},
		{"keys of metadata before", []string{`name="metadata[k]"`, "1", `name="metadata[l m]"`, "", file, "hello"}, "a.txt", `{"k":"1","l m":""}`, ""},
		{"keys of metadata after", []string{file, "hello", `name="metadata[k]"`, "1", `name="metadata[l]"`, "2"}, "a.txt", `{"k":"1","l":"2"}`, ""},
		{"both sorts of metadata", []string{`name="metadata[k]"`, "1", `name="metadata"`, `{"l":2}`, file, "hello"}, "a.txt", `{"k":"1","l":2}`, ""},
		{"both sorts, on both sides", []string{`name="metadata"`, `{"l":2}`, file, "hello", `name="metadata[k]"`, "1"}, "a.txt", `{"k":"1","l":2}`, ""},
		{"tags before", []string{`name="tags"`, `["t"]`, file, "hello"}, "a.txt", "", `["t"]`},
		{"tags after", []string{file, "hello", `name="tags"`, `["t"]`}, "a.txt", "", `["t"]`},
		{"a name before", []string{`name="name"`, "b.txt", file, "hello"}, "b.txt", "", ""},
		{"a name after", []string{file, "hello", `name="name"`, "b.txt"}, "b.txt", "", ""},
		{"a folder before", []string{`name="folder"`, "x/y", file, "hello"}, "x/y/a.txt", "", ""},
		{"a folder after", []string{file, "hello", `name="folder"`, "x/y"}, "x/y/a.txt", "", ""},
		{"everything after", []string{file, "hello", `name="folder"`, "z", `name="name"`, "c.txt", `name="metadata[k]"`, "1", `name="tags"`, `["t"]`}, "z/c.txt", `{"k":"1"}`, `["t"]`},
		{"an empty form field", []string{file, "hello", `name="name"`, "", `name="folder"`, ""}, "", "", ""},
	} {
		a := w.do("POST", "/api/files/demo", strings.NewReader(form(c.parts...)), "Content-Type", formType)
		if c.path == "" {
			if a.StatusCode != 400 || a.code() != "invalid-name" {
				t.Errorf("%s: %d %s", c.what, a.StatusCode, a.body)
			}
			continue
		}
		var f client.File
		json.Unmarshal(a.body, &f)
		metadata, tags := "", ""
		if len(f.Metadata) > 0 {
			p, _ := json.Marshal(f.Metadata)
			metadata = string(p)
		}
		if len(f.Tags) > 0 {
			p, _ := json.Marshal(f.Tags)
			tags = string(p)
		}
		if a.StatusCode != 201 || f.Path != c.path || metadata != c.metadata || tags != c.tags || f.Version != 1 {
			t.Errorf("%s: %d %s", c.what, a.StatusCode, a.body)
		}
		if got := w.want(200, "", "GET", "/api/files/demo/"+f.ID+"/download", nil); string(got.body) != "hello" {
			t.Errorf("%s: read %q", c.what, got.body)
		}
		w.want(204, "", "DELETE", "/api/files/demo/"+f.ID+"?permanent=true", nil)
	}
	// Of a version, what to do about a name that is taken, and conditions.
	f := w.put("a.txt", []byte("one"))
	for _, c := range []struct {
		method, path string
		status       int
		version      uint64
		parts        []string
	}{
		{"PUT", "/" + f.ID, 200, 2, []string{file, "two", `name="metadata[k]"`, "2"}},
		{"POST", "", 201, 3, []string{file, "three", `name="on_conflict"`, "version"}},
		{"POST", "", 409, 0, []string{file, "four", `name="on_conflict"`, "fail"}},
		{"POST", "", 400, 0, []string{file, "four", `name="on_conflict"`, "perhaps"}},
		{"POST", "", 200, 3, []string{file, "three", `name="skip_unchanged"`, "true", `name="on_conflict"`, "version"}},
	} {
		a := w.do(c.method, "/api/files/demo"+c.path, strings.NewReader(form(c.parts...)), "Content-Type", formType)
		var got client.File
		json.Unmarshal(a.body, &got)
		if a.StatusCode != c.status || c.version > 0 && (got.ID != f.ID || got.Version != c.version || got.Metadata["k"] != "2") {
			t.Errorf("%s %q: %d %s", c.method, c.parts, a.StatusCode, a.body)
		}
	}
	w.want(412, "precondition-failed", "POST", "/api/files/demo", strings.NewReader(form(file, "x", `name="on_conflict"`, "version")),
		"Content-Type", formType, "If-None-Match", "*")
}

// Rules and limits decide about what a form says after the file as well.
func TestFormIsAskedAgain(t *testing.T) {
	w := secured(t, `buckets: {docs: {allowed_extensions: [txt], rules: {create: "upload.folder == 'mine' || upload.folder == ''", read: "true"}}}`)
	post := func(status int, code string, parts ...string) {
		t.Helper()
		w.want(status, code, "POST", "/api/files/docs", strings.NewReader(form(parts...)), "Content-Type", formType, "Authorization", token(t, "ann", nil))
	}
	const file = `name="file"; filename="a.txt"`
	post(201, "", file, "x", `name="folder"`, "mine")
	post(403, "access-denied", file, "x", `name="folder"`, "yours")
	post(415, "type-not-allowed", file, "x", `name="name"`, "a.exe")
	if n := strings.Count(string(w.want(200, "", "GET", "/api/files/docs", nil, "Authorization", token(t, "ann", nil)).body), `"manifest_id"`); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"..", ".", "a/b", `a\b`, "a\x00b", "a\r\nb", "\u202egpj.exe", strings.Repeat("x", 300), "\xff"} {
		w.want(400, "invalid-name", "POST", "/api/files/demo?name="+url.QueryEscape(name), strings.NewReader("x"))
	}
	w.want(400, "invalid-name", "POST", "/api/files/demo?name=a&folder=x/../y", strings.NewReader("x"))
	w.empty()
	for _, name := range []string{"%2f", "a%2fb.txt", `q"uote`, "é", "semi;colon"} {
		a := w.want(201, "", "POST", "/api/files/demo?name="+url.QueryEscape(name), strings.NewReader("x"))
		d := w.do("GET", a.Header.Get("Location")+"/download", nil)
		if string(d.body) != "x" || strings.ContainsAny(d.Header.Get("Content-Disposition"), "/\r\n") {
			t.Errorf("%q: %q, %q", name, d.body, d.Header.Get("Content-Disposition"))
		}
	}
	for _, id := range []string{"%2e%2e", "..%2f..", "f_", "f_x", "m_%00", strings.Repeat("f", 5000), "%2f"} {
		w.want(404, "file-not-found", "GET", "/api/files/demo/"+id, nil)
	}
	w.want(404, "bucket-not-found", "GET", "/api/files/nope", nil)
	w.want(404, "not-found", "GET", "/api/files/demo/../../x", nil)
	w.want(404, "not-found", "GET", "/", nil)
	if a := w.want(405, "method-not-allowed", "PUT", "/api/files/demo", nil); a.Header.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
		t.Errorf("Allow is %q", a.Header.Get("Allow"))
	}
}

func TestLyingLengths(t *testing.T) {
	w := newWorld(t)
	host := "Host: 127.0.0.1\r\n"
	short := "POST /api/files/demo?name=a HTTP/1.1\r\n" + host + "Content-Length: 100000\r\n\r\nshort"
	if a := w.raw(short, true); a.StatusCode != 400 || a.code() != "incomplete-body" {
		t.Errorf("short: %d %s", a.StatusCode, a.body)
	}
	chunked := "POST /api/files/demo?name=a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"
	if a := w.raw(chunked, true); a.StatusCode != 400 || a.code() != "incomplete-body" {
		t.Errorf("chunked: %d %s", a.StatusCode, a.body)
	}
	w.empty()
	header := "GET /api/files/demo HTTP/1.1\r\n" + host + "X-A: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"
	if a := w.raw(header, false); a.StatusCode != 431 || a.code() != "headers-too-large" {
		t.Errorf("header: %d %s", a.StatusCode, a.body)
	}
	long := "POST /api/files/demo?name=a HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\nlonger than that"
	if a := w.raw(long, false); a.StatusCode != 201 || !bytes.Contains(a.body, []byte(`"size":2,`)) {
		t.Errorf("long: %d %s", a.StatusCode, a.body)
	}
}

func TestForeignPages(t *testing.T) {
	w := newWorld(t)
	w.want(403, "foreign-host", "GET", "/api/files/demo", nil, "Host", "evil.example")
	w.want(403, "foreign-host", "GET", "/healthz", nil, "Host", "127.0.0.1.evil.example")
	w.want(403, "foreign-origin", "POST", "/api/files/demo?name=a", strings.NewReader("x"), "Origin", "http://evil.example")
	w.want(403, "foreign-origin", "GET", "/api/files/demo", nil, "Origin", "null")
	w.want(403, "foreign-origin", "GET", "/api/files/demo", nil, "Sec-Fetch-Site", "cross-site")
	w.want(200, "", "GET", "/api/files/demo", nil, "Origin", w.url)
	w.want(200, "", "GET", "/healthz", nil, "Host", "localhost:1")
}

// What looks like something else is served as what it is, and not run.
func TestDisguises(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ name, declared, content string }{
		{"a.png", "image/png", "<html><script>alert(1)</script></html>"},
		{"a.svg", "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`},
		{"a.xml", "text/xml", `<?xml version="1.0"?><x/>`},
		{"a.txt", "text/html", "MZ\x90\x00\x03\x00\x00\x00"},
		{"empty", "image/png", ""},
	} {
		a := w.want(201, "", "POST", "/api/files/demo?name="+c.name, strings.NewReader(c.content), "Content-Type", c.declared)
		v := w.do("GET", a.Header.Get("Location")+"/view", nil)
		h := v.Header
		if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") && h.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s is shown as %s", c.name, h.Get("Content-Type"))
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox; default-src 'none'") {
			t.Errorf("%s: %v", c.name, h)
		}
		if string(v.body) != c.content {
			t.Errorf("%s: %q", c.name, v.body)
		}
	}
}

// A misspelt member is refused: what it should have limited would not be.
func TestUnknownMembers(t *testing.T) {
	w := newWorld(t)
	f := new(client.File)
	if err := json.Unmarshal(w.want(201, "", "POST", "/api/files/demo?name=f", strings.NewReader("x")).body, f); err != nil {
		t.Fatal(err)
	}
	for path, bodies := range map[string][]string{
		"PATCH /api/files/demo/" + f.ID:          {`{"acess": {"read": "false"}}`, `{"name": "g"} {}`, `{"name": "g"`},
		"POST /api/files/demo/" + f.ID + "/copy": {`{"on_confict": "fail"}`},
		"POST /api/files/demo/" + f.ID + "/sign": {`{"max_use": 1}`, `{"ips": "10.0.0.1"}`},
		"POST /api/admin/keys":                   {`{"operator": true, "expires": "1h"}`, `{"operator": true} x`},
		"POST /api/admin/migrate":                {`{"bucket": "demo"}`, `{"to": "local"}`, `{"bucket": "demo", "to": "local", "fast": true}`},
		"POST /api/admin/signing-keys":           {`{"drop": true}`},
		"POST /api/admin/explain":                {`{"bucket": "demo", "operation": "read", "file": "f"}`},
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, body := range bodies {
			w.want(400, "invalid-request", method, path, strings.NewReader(body), "Content-Type", "application/json")
		}
	}
	keys := w.want(200, "", "GET", "/api/admin/keys", nil)
	if strings.Contains(string(keys.body), `"id"`) {
		t.Errorf("keys were made: %s", keys.body)
	}
}
