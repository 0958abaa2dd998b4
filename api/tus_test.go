package api_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// A tusUpload is an upload by the tus protocol.
type tusUpload struct {
	*world
	url    string // path
	bearer string
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// send sends a tus request; header is pairs of names and values.
func (u *tusUpload) send(method, path string, body io.Reader, header ...string) *answer {
	u.t.Helper()
	h := append([]string{"Tus-Resumable", "1.0.0"}, header...)
	if u.bearer != "" {
		h = append(h, "Authorization", u.bearer)
	}
	return u.do(method, path, body, h...)
}

func (u *tusUpload) create(status int, header ...string) *answer {
	u.t.Helper()
	a := u.send("POST", "/api/tus/demo", nil, header...)
	if a.StatusCode != status {
		u.t.Fatalf("creation: %d %s", a.StatusCode, a.body)
	}
	if i := strings.Index(a.Header.Get("Location"), "/api/tus/"); i >= 0 {
		u.url = a.Header.Get("Location")[i:]
	}
	return a
}

func (u *tusUpload) patch(status int, offset int, body io.Reader, header ...string) *answer {
	u.t.Helper()
	a := u.send("PATCH", u.url, body, append([]string{"Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream"}, header...)...)
	if a.StatusCode != status {
		u.t.Fatalf("PATCH at %d: %d %s", offset, a.StatusCode, a.body)
	}
	if a.Header.Get("Tus-Resumable") != "1.0.0" {
		u.t.Errorf("PATCH: no Tus-Resumable in %v", a.Header)
	}
	return a
}

func (u *tusUpload) wantOffset(want int) *answer {
	u.t.Helper()
	a := u.send("HEAD", u.url, nil)
	if a.StatusCode != 200 || a.Header.Get("Upload-Offset") != strconv.Itoa(want) || a.Header.Get("Cache-Control") != "no-store" {
		u.t.Errorf("HEAD: %d %v, want offset %d", a.StatusCode, a.Header, want)
	}
	return a
}

func TestTus(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	o := w.do("OPTIONS", "/api/tus/demo", nil)
	if got := o.Header.Get("Tus-Extension"); got != "creation,creation-with-upload,creation-defer-length,checksum,checksum-trailer,expiration,termination,concatenation,concatenation-unfinished" {
		t.Errorf("extensions %s", got)
	}
	if o.StatusCode != 200 || o.Header.Get("Tus-Version") != "1.0.0" || !strings.Contains(o.Header.Get("Tus-Extension"), "creation-with-upload") || !strings.Contains(o.Header.Get("Tus-Checksum-Algorithm"), "sha1") {
		t.Errorf("OPTIONS: %d %v", o.StatusCode, o.Header)
	}
	content := noise(1_000_000)
	meta := "filename " + b64("naïve.bin") + ",filetype " + b64("image/x-none") + ",folder " + b64("in") + ",note " + b64("hello") + ",empty"
	a := u.create(201, "Upload-Length", "1000000", "Upload-Metadata", meta)
	if _, err := time.Parse(time.RFC1123, a.Header.Get("Upload-Expires")); err != nil {
		t.Errorf("Upload-Expires: %v", err)
	}
	if h := u.wantOffset(0); h.Header.Get("Upload-Length") != "1000000" || h.Header.Get("Upload-Metadata") != meta {
		t.Errorf("HEAD: %v", h.Header)
	}
	u.patch(204, 0, bytes.NewReader(content[:400_000]))
	if a := u.patch(409, 0, bytes.NewReader(content[:1])); a.Header.Get("Upload-Offset") != "400000" {
		t.Errorf("of another offset: %v", a.Header)
	}
	u.patch(413, 400_000, bytes.NewReader(content)) // beyond the length
	u.wantOffset(400_000)
	// A request that breaks off keeps what has come.
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 400000\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 600000\r\n\r\n", u.url, w.url[len("http://"):])
	conn.Write(content[400_000:500_000])
	conn.Close()
	at := 400_000
	for range 200 {
		if at > 400_000 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		at, _ = strconv.Atoi(u.send("HEAD", u.url, nil).Header.Get("Upload-Offset")) // which ends what goes on
	}
	u.wantOffset(at)
	// A method that proxies let through.
	a = u.send("POST", u.url, bytes.NewReader(content[at:]), "X-HTTP-Method-Override", "PATCH", "Upload-Offset", strconv.Itoa(at), "Content-Type", "application/offset+octet-stream")
	id := a.Header.Get("X-File-Id")
	if a.StatusCode != 204 || id == "" || a.Header.Get("Content-Location") != "/api/files/demo/"+id || a.Header.Get("Upload-Offset") != "1000000" {
		t.Fatalf("the end: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if h := u.wantOffset(1_000_000); h.Header.Get("X-File-Id") != id {
		t.Errorf("HEAD after the end: %v", h.Header)
	}
	var f client.File
	json.Unmarshal(w.want(200, "", "GET", "/api/files/demo/"+id, nil).body, &f)
	if f.Path != "in/naïve.bin" || f.DeclaredMIMEType != "image/x-none" || f.Metadata["note"] != "hello" || f.Metadata["empty"] != "" || f.Checksums["sha256"] == "" {
		t.Errorf("%+v", f)
	}
	if got := w.want(200, "", "GET", "/api/files/demo/"+id+"/download", nil); !bytes.Equal(got.body, content) {
		t.Error("other bytes")
	}
	u.patch(204, 1_000_000, nil)
	u.patch(403, 1_000_000, strings.NewReader("x"))
	if a := u.send("DELETE", u.url, nil); a.StatusCode != 204 {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
	if a := u.send("HEAD", u.url, nil); a.StatusCode != 404 || a.Header.Get("Upload-Offset") != "" {
		t.Errorf("HEAD of what is gone: %d %v", a.StatusCode, a.Header)
	}
	w.want(200, "", "GET", "/api/files/demo/"+id, nil) // the file stays
}

func TestTusCreation(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	for what, c := range map[string]struct {
		status int
		header []string
	}{
		"no length":          {400, nil},
		"both lengths":       {400, []string{"Upload-Length", "1", "Upload-Defer-Length", "1"}},
		"another defer":      {400, []string{"Upload-Defer-Length", "2"}},
		"negative":           {400, []string{"Upload-Length", "-1"}},
		"no number":          {400, []string{"Upload-Length", "x"}},
		"bad base64":         {400, []string{"Upload-Length", "1", "Upload-Metadata", "a !"}},
		"a key twice":        {400, []string{"Upload-Length", "1", "Upload-Metadata", "a YQ==,a YQ=="}},
		"large metadata":     {400, []string{"Upload-Length", "1", "Upload-Metadata", "a " + strings.Repeat("YWFh", 3000)}},
		"a bad name":         {400, []string{"Upload-Length", "1", "Upload-Metadata", "filename " + b64("a/b")}},
		"a line in the name": {400, []string{"Upload-Length", "1", "Upload-Metadata", "filename " + b64("a\r\nX: y")}},
	} {
		if a := u.send("POST", "/api/tus/demo", nil, c.header...); a.StatusCode != c.status {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
	if a := w.want(412, "tus-version", "POST", "/api/tus/demo", nil, "Upload-Length", "1"); a.Header.Get("Tus-Version") != "1.0.0" {
		t.Errorf("%v", a.Header)
	}
	w.want(415, "content-type-unsupported", "POST", "/api/tus/demo", strings.NewReader("x"), "Tus-Resumable", "1.0.0", "Upload-Length", "1")
	// With all of its bytes, with none, and where Alyx's SDK looks.
	for _, path := range []string{"/api/tus/demo", "/api/tus/demo/", "/api/files/demo/tus"} {
		a := u.send("POST", path, strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", "application/offset+octet-stream")
		if a.StatusCode != 201 || a.Header.Get("Upload-Offset") != "5" || a.Header.Get("X-File-Id") == "" {
			t.Errorf("%s: %d %v %s", path, a.StatusCode, a.Header, a.body)
		}
	}
	if a := u.create(201, "Upload-Length", "0"); a.Header.Get("X-File-Id") == "" {
		t.Errorf("empty: %v", a.Header)
	}
	// The length may come later.
	u.create(201, "Upload-Defer-Length", "1")
	if h := u.wantOffset(0); h.Header.Get("Upload-Defer-Length") != "1" || h.Header.Get("Upload-Length") != "" {
		t.Errorf("%v", h.Header)
	}
	u.patch(204, 0, strings.NewReader("hel"))
	if a := u.patch(204, 3, strings.NewReader("lo"), "Upload-Length", "5"); a.Header.Get("X-File-Id") == "" {
		t.Errorf("%v", a.Header)
	}
}

// What JavaScript clients write for what is absent is left out, where no value
// can be meant by it.
func TestTusAbsent(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		what       string
		meta       [][2]string
		name, mime string
		metadata   string
	}{
		{"Uppy without configuration", [][2]string{{"relativePath", "null"}, {"name", "a.txt"}, {"type", "text/plain"}, {"filetype", "text/plain"}, {"filename", "a.txt"}}, "a.txt", "text/plain", ""},
		{"a file of a folder", [][2]string{{"relativePath", "d/null"}, {"filename", "null"}}, "null", "", `{"relativePath":"d/null"}`},
		{"a file called null", [][2]string{{"filename", "null"}, {"name", "null"}, {"relativePath", "null"}}, "null", "", ""},
		{"a file called undefined", [][2]string{{"filename", "undefined"}, {"relativePath", "undefined"}}, "undefined", "", ""},
		{"no type", [][2]string{{"filename", "b"}, {"filetype", "null"}}, "b", "", ""},
		{"no type, of another word", [][2]string{{"filename", "c"}, {"type", "undefined"}, {"contentType", "null"}}, "c", "", ""},
		{"no file to be a version of", [][2]string{{"filename", "d"}, {"fileId", "null"}}, "d", "", ""},
		{"one's own word", [][2]string{{"filename", "e"}, {"note", "null"}}, "e", "", `{"note":"null"}`},
	} {
		var pairs []string
		for _, p := range c.meta {
			pairs = append(pairs, p[0]+" "+b64(p[1]))
		}
		for protocol, send := range map[string]func(meta string) *answer{
			"tus": func(meta string) *answer {
				return (&tusUpload{world: w}).send("POST", "/api/tus/demo", nil, "Upload-Length", "0", "Upload-Metadata", meta)
			},
			"the IETF's": func(meta string) *answer {
				return w.do("POST", "/api/files/demo", nil, "Upload-Complete", "?1", "Upload-Metadata", meta)
			},
		} {
			a := send(strings.Join(pairs, ","))
			id := a.Header.Get("X-File-Id")
			var f client.File
			json.Unmarshal(w.want(200, "", "GET", "/api/files/demo/"+id, nil).body, &f)
			metadata, _ := json.Marshal(f.Metadata)
			if len(f.Metadata) == 0 {
				metadata = nil
			}
			if f.Name != c.name || f.DeclaredMIMEType != c.mime || string(metadata) != c.metadata {
				t.Errorf("%s over %s: %+v", c.what, protocol, f)
			}
			w.do("DELETE", "/api/files/demo/"+id+"?permanent=true", nil)
		}
	}
}

func TestTusConcatenation(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	content := noise(700_000)
	var urls []string
	var early string // a whole that waits for its parts
	for _, p := range [][]byte{content[:250_000], content[250_000:]} {
		u.create(201, "Upload-Length", strconv.Itoa(len(p)), "Upload-Concat", "partial")
		urls = append(urls, u.url)
		if len(urls) == 2 { // an unfinished part
			a := u.send("POST", "/api/tus/demo", nil, "Upload-Concat", "final;"+strings.Join(urls, " "))
			if a.StatusCode != 201 || a.Header.Get("Upload-Offset") != "" || a.Header.Get("X-File-Id") != "" {
				t.Errorf("joined early: %d %v", a.StatusCode, a.Header)
			}
			early = a.Header.Get("Location")[len(w.url):]
			if a := u.send("HEAD", early, nil); a.StatusCode != 200 || a.Header.Get("Upload-Offset") != "" || a.Header.Get("Upload-Length") != "700000" {
				t.Errorf("HEAD of a whole that waits: %d %v", a.StatusCode, a.Header)
			}
			if a := u.send("PATCH", early, strings.NewReader("x"), "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream"); a.StatusCode != 403 {
				t.Errorf("PATCH of a whole that waits: %d %s", a.StatusCode, a.body)
			}
		}
		if a := u.patch(204, 0, bytes.NewReader(p)); a.Header.Get("X-File-Id") != "" {
			t.Error("a part became a file")
		}
		if h := u.wantOffset(len(p)); h.Header.Get("Upload-Concat") != "partial" {
			t.Errorf("HEAD of a part: %v", h.Header)
		}
	}
	for range 2 { // the last part has made it a file, of which there is one
		a := u.send("HEAD", early, nil)
		if id := a.Header.Get("X-File-Id"); id == "" || a.Header.Get("Upload-Offset") != "700000" {
			t.Errorf("HEAD of a whole that has waited: %d %v", a.StatusCode, a.Header)
		} else if got := w.want(200, "", "GET", "/api/files/demo/"+id+"/download", nil); !bytes.Equal(got.body, content) {
			t.Error("other bytes of what has waited")
		}
	}
	if n := strings.Count(string(w.want(200, "", "GET", "/api/files/demo", nil).body), `"manifest_id"`); n != 1 {
		t.Errorf("%d files of one whole", n)
	}
	if a := u.send("DELETE", early, nil); a.StatusCode != 204 {
		t.Errorf("DELETE of a whole: %d", a.StatusCode)
	}
	concat := "final;" + w.url + urls[0] + " " + urls[1] // absolute and relative
	a := u.create(201, "Upload-Concat", concat, "Upload-Metadata", "filename "+b64("whole.bin"))
	id := a.Header.Get("X-File-Id")
	if got := w.want(200, "", "GET", "/api/files/demo/"+id+"/download", nil); !bytes.Equal(got.body, content) {
		t.Error("other bytes")
	}
	if h := u.wantOffset(len(content)); h.Header.Get("Upload-Concat") != concat || h.Header.Get("Upload-Length") != "700000" {
		t.Errorf("HEAD of the whole: %v", h.Header)
	}
	u.patch(403, len(content), strings.NewReader("x"))
	var joined, sent client.File
	json.Unmarshal(w.want(200, "", "GET", "/api/files/demo/"+id, nil).body, &joined)
	json.Unmarshal(w.want(201, "", "POST", "/api/files/demo?name=sent", bytes.NewReader(content)).body, &sent)
	if joined.Checksums["root"] != sent.Checksums["root"] || *sent.NewBytes != 0 {
		t.Errorf("joined %v, sent %v with %d new bytes", joined.Checksums, sent.Checksums, *sent.NewBytes)
	}
	for what, c := range map[string]string{"nothing": "final;", "a file": "final;/api/tus/demo/" + id, "none such": "final;/api/tus/demo/" + missing("u_"),
		"another bucket": "final;" + strings.ReplaceAll(urls[0], "demo", "other"), "a whole": "final;" + u.url, "another word": "first"} {
		if a := u.send("POST", "/api/tus/demo", nil, "Upload-Concat", c); a.StatusCode != 400 && a.StatusCode != 404 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
}

func TestTusChecksum(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	u.create(201, "Upload-Length", "10")
	sum := func(s string) string {
		h := sha1.Sum([]byte(s))
		return "sha1 " + base64.StdEncoding.EncodeToString(h[:])
	}
	u.patch(460, 0, strings.NewReader("hello"), "Upload-Checksum", sum("other"))
	u.wantOffset(0)
	u.patch(400, 0, strings.NewReader("hello"), "Upload-Checksum", "rot13 YQ==")
	u.patch(460, 0, strings.NewReader("hello"), "Upload-Checksum", "sha1 YQ==")
	u.patch(204, 0, strings.NewReader("hello"), "Upload-Checksum", sum("hello"))
	// After the bytes, in the trailer.
	late := func(status int, body, value string) {
		t.Helper()
		a := w.raw(fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 5\r\nContent-Type: application/offset+octet-stream\r\n"+
			"Trailer: Upload-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n", u.url, w.url[len("http://"):], len(body), body, value), false)
		if a.StatusCode != status {
			t.Errorf("trailer %q: %d %s", value, a.StatusCode, a.body)
		}
	}
	late(460, "wor", "Upload-Checksum: "+sum("other")+"\r\n")
	late(400, "wor", "")
	late(400, "wor", "Upload-Checksum: rot13 YQ==\r\n")
	u.wantOffset(5)
	late(204, "wor", "Upload-Checksum: "+sum("wor")+"\r\n")
	a := u.patch(204, 8, strings.NewReader("ld"), "Upload-Checksum", sum("ld"))
	if got := w.want(200, "", "GET", "/api/files/demo/"+a.Header.Get("X-File-Id")+"/download", nil); string(got.body) != "helloworld" {
		t.Errorf("read %q", got.body)
	}
}

// CVE-2026-35412 Directus, CVE-2026-29188 File Browser, Supabase's HEAD: an
// upload is its owner's alone, and overwrites and deletes nothing of others.
func TestTusIsOnesOwn(t *testing.T) {
	w := secured(t, strings.ReplaceAll(ownersSchema, "docs:", "demo:"))
	ann, bob := &tusUpload{world: w, bearer: token(t, "ann", nil)}, &tusUpload{world: w, bearer: token(t, "bob", nil)}
	f := w.putAs("ann", "demo", "f", "ann's")
	ann.create(201, "Upload-Length", "5")
	bob.url = ann.url
	for _, method := range []string{"HEAD", "PATCH", "DELETE"} {
		a := bob.send(method, ann.url, nil, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
		gone := bob.send(method, "/api/tus/demo/"+missing("u_"), nil, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
		if a.StatusCode != 404 || plain(a) != plain(gone) || fmt.Sprint(headersOf(a)) != fmt.Sprint(headersOf(gone)) {
			t.Errorf("%s by bob: %d %s", method, a.StatusCode, a.body)
		}
	}
	ann.wantOffset(0)
	if a := bob.send("POST", "/api/tus/demo", nil, "Upload-Length", "1", "Upload-Metadata", "fileId "+b64(f.ID)); a.StatusCode != 404 {
		t.Errorf("bob replaces ann's file: %d %s", a.StatusCode, a.body)
	}
	if a := (&tusUpload{world: w}).send("POST", "/api/tus/demo", nil, "Upload-Length", "1"); a.StatusCode != 401 {
		t.Errorf("by nobody: %d %s", a.StatusCode, a.body)
	}
	for _, id := range []string{f.ID, f.ManifestID, "..", "%2e%2e", "u_%00", missing("u_") + "%2f.."} {
		if a := ann.send("DELETE", "/api/tus/demo/"+id, nil); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("DELETE %s: %d", id, a.StatusCode)
		}
	}
	if got := w.contentAs("ann", "demo", f.ID); got != "ann's" {
		t.Errorf("ann's file holds %q", got)
	}
}

// An upload that was not ended in time is told from one that never was.
func TestTusExpires(t *testing.T) {
	w := secured(t, `buckets: {demo: {upload_expiry: 50ms, rules: {create: "true", read: "true"}}}`)
	ann := &tusUpload{world: w, bearer: token(t, "ann", nil)}
	ann.create(201, "Upload-Length", "5")
	if a := ann.patch(204, 0, strings.NewReader("he")); a.Header.Get("Upload-Expires") == "" {
		t.Errorf("PATCH: %v", a.Header)
	}
	time.Sleep(60 * time.Millisecond)
	for range 2 { // before it was swept, and after
		if a := ann.patch(410, 2, strings.NewReader("llo")); a.code() != "upload-expired" || a.Header.Get("Upload-Offset") != "" {
			t.Errorf("%v %s", a.Header, a.body)
		}
		if a := ann.send("HEAD", ann.url, nil); a.StatusCode != 410 {
			t.Errorf("HEAD: %d", a.StatusCode)
		}
		bob := &tusUpload{world: w, bearer: token(t, "bob", nil)}
		if a := bob.send("HEAD", ann.url, nil); a.StatusCode != 404 {
			t.Errorf("HEAD by bob: %d", a.StatusCode)
		}
		if _, err := w.store.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(60 * time.Millisecond)
	w.store.Sweep(t.Context())
	if a := ann.send("HEAD", ann.url, nil); a.StatusCode != 404 {
		t.Errorf("HEAD of what is forgotten: %d", a.StatusCode)
	}
}

// A PATCH that hangs does not keep the next one out.
func TestTusHandover(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	u.create(201, "Upload-Length", "10")
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 10\r\n\r\nhello",
		u.url, w.url[len("http://"):])
	at, id := 0, ""
	for range 100 { // until the first request is there
		a := u.send("PATCH", u.url, strings.NewReader("helloworld"[at:]), "Upload-Offset", strconv.Itoa(at), "Content-Type", "application/offset+octet-stream")
		if id = a.Header.Get("X-File-Id"); id != "" {
			break
		}
		at, _ = strconv.Atoi(a.Header.Get("Upload-Offset"))
	}
	if got := w.want(200, "", "GET", "/api/files/demo/"+id+"/download", nil); string(got.body) != "helloworld" {
		t.Errorf("read %q", got.body)
	}
	if resp, err := http.ReadResponse(newReader(conn), nil); err != nil || resp.StatusCode < 400 {
		t.Errorf("the request that hung: %v %v", resp, err)
	}
}

// Who sends a few bytes now and then is dropped, and what has come is kept.
func TestDrip(t *testing.T) {
	w := newWorld(t)
	u := &tusUpload{world: w}
	u.create(201, "Upload-Length", "100000")
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n",
		u.url, w.url[len("http://"):])
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { // never silent, and never done
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				conn.Write([]byte("x"))
			}
		}
	})
	resp, err := http.ReadResponse(newReader(conn), nil)
	close(stop)
	all.Wait()
	if err != nil || resp.StatusCode != 408 {
		t.Fatalf("%v %v", resp, err)
	}
	at, _ := strconv.Atoi(resp.Header.Get("Upload-Offset"))
	if at == 0 {
		t.Error("nothing is kept")
	}
	u.wantOffset(at)
}
