package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

// A resumable is an upload by the IETF's protocol.
type resumable struct {
	*world
	url string // path
}

const partial = "application/partial-upload"

// create begins an upload, at some path and by some method.
func (u *resumable) create(status int, method, path string, body io.Reader, header ...string) *answer {
	u.t.Helper()
	a := u.do(method, path, body, header...)
	if a.StatusCode != status {
		u.t.Fatalf("creation: %d %s", a.StatusCode, a.body)
	}
	if i := strings.Index(a.Header.Get("Location"), "/api/uploads/"); i >= 0 {
		u.url = a.Header.Get("Location")[i:]
	}
	return a
}

func (u *resumable) patch(status, offset int, complete, body string, header ...string) *answer {
	u.t.Helper()
	a := u.do("PATCH", u.url, strings.NewReader(body), append([]string{"Upload-Offset", strconv.Itoa(offset), "Upload-Complete", complete, "Content-Type", partial}, header...)...)
	if a.StatusCode != status {
		u.t.Fatalf("PATCH at %d: %d %s", offset, a.StatusCode, a.body)
	}
	return a
}

// stands fails unless HEAD tells an offset, and whether the upload is complete.
func (u *resumable) stands(offset int, complete string) *answer {
	u.t.Helper()
	a := u.do("HEAD", u.url, nil)
	h := a.Header
	if a.StatusCode != 204 || h.Get("Upload-Offset") != strconv.Itoa(offset) || h.Get("Upload-Complete") != complete || h.Get("Cache-Control") != "no-store" || h.Get("Upload-Limit") == "" {
		u.t.Errorf("HEAD: %d %v, want offset %d and %s", a.StatusCode, h, offset, complete)
	}
	return a
}

func (u *resumable) gone() {
	u.t.Helper()
	if a := u.do("HEAD", u.url, nil); a.StatusCode != 404 || a.Header.Get("Upload-Offset") != "" {
		u.t.Errorf("HEAD of what is gone: %d %v", a.StatusCode, a.Header)
	}
}

func (u *resumable) holds(id, want string) *client.File {
	u.t.Helper()
	if got := u.want(200, "", "GET", "/api/files/demo/"+id+"/download", nil); string(got.body) != want {
		u.t.Errorf("%s holds %d bytes, want %d", id, len(got.body), len(want))
	}
	f := new(client.File)
	json.Unmarshal(u.want(200, "", "GET", "/api/files/demo/"+id, nil).body, f)
	return f
}

// hash is a digest field of content.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func TestRUFH(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	for _, path := range []string{"/api/files/demo", "/api/files/demo/"} {
		if a := u.do("OPTIONS", path, nil); a.StatusCode != 204 || a.Header.Get("Upload-Limit") != "min-size=0, max-age=86400" || !strings.Contains(a.Header.Get("Allow"), "POST") {
			t.Errorf("OPTIONS: %d %v", a.StatusCode, a.Header)
		}
		// All at once, and empty.
		a := u.create(201, "POST", path, strings.NewReader("hello"), "Upload-Complete", "?1", "Content-Disposition", `inline; filename="a b.txt"; filename*=UTF-8''na%C3%AFve.txt`, "Content-Type", "text/x-note")
		id := a.Header.Get("X-File-Id")
		if a.Header.Get("Upload-Complete") != "?1" || a.Header.Get("Content-Location") != "/api/files/demo/"+id || a.Header.Get("Location") != "/api/files/demo/"+id {
			t.Errorf("answer %v", a.Header)
		}
		var f client.File
		json.Unmarshal(a.body, &f)
		if f.ID != id || f.DeclaredMIMEType != "text/x-note" || !strings.HasPrefix(f.Name, "naïve") {
			t.Errorf("made %s", a.body)
		}
		u.holds(id, "hello")
		if a := u.create(201, "POST", path, nil, "Upload-Complete", "?1"); a.Header.Get("X-File-Id") == "" {
			t.Errorf("empty: %v", a.Header)
		}
	}
	// In pieces, the length told late.
	a := u.create(201, "POST", "/api/files/demo?folder=in&name=f", nil, "Upload-Complete", "?0")
	if a.Header.Get("Upload-Complete") != "?0" || a.Header.Get("Upload-Limit") == "" || len(a.body) > 0 {
		t.Errorf("creation: %v %s", a.Header, a.body)
	}
	if h := u.stands(0, "?0"); h.Header.Get("Upload-Length") != "" {
		t.Errorf("HEAD: %v", h.Header)
	}
	if a := u.patch(204, 0, "?0", "hello"); a.Header.Get("Upload-Complete") != "?0" || a.Header.Get("Upload-Offset") != "5" {
		t.Errorf("append: %v", a.Header)
	}
	u.patch(204, 5, "?0", ", ", "Upload-Length", "12")
	if h := u.stands(7, "?0"); h.Header.Get("Upload-Length") != "12" {
		t.Errorf("HEAD: %v", h.Header)
	}
	if a := u.do("GET", u.url, nil); a.StatusCode != 204 || a.Header.Get("Upload-Offset") != "7" {
		t.Errorf("GET: %d %v", a.StatusCode, a.Header)
	}
	u.patch(204, 7, "?0", "world")
	u.stands(12, "?0") // the length does not end it
	a = u.patch(201, 12, "?1", "")
	id := a.Header.Get("X-File-Id")
	if a.Header.Get("Upload-Complete") != "?1" || a.Header.Get("Content-Location") != "/api/files/demo/"+id {
		t.Errorf("the end: %v", a.Header)
	}
	if f := u.holds(id, "hello, world"); f.Path != "in/f" {
		t.Errorf("path %s", f.Path)
	}
	if h := u.stands(12, "?1"); h.Header.Get("X-File-Id") != id || h.Header.Get("Content-Location") != "/api/files/demo/"+id {
		t.Errorf("HEAD after the end: %v", h.Header)
	}
	if again := u.patch(201, 12, "?1", ""); !strings.Contains(string(again.body), `"version":1,`) || again.Header.Get("X-File-Id") != id {
		t.Errorf("answered again: %s, was %s", again.body, a.body)
	}
	if a := u.patch(400, 12, "?1", "x"); a.code() != "completed-upload" || !strings.Contains(string(a.body), `"https://iana.org/assignments/http-problem-types#completed-upload"`) {
		t.Errorf("beyond the end: %s", a.body)
	}
	if a := u.do("DELETE", u.url, nil); a.StatusCode != 204 {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
	u.gone()
	u.holds(id, "hello, world")
	// A version, on a condition.
	etag := u.want(200, "", "GET", "/api/files/demo/"+id, nil).Header.Get("ETag")
	u.create(412, "PUT", "/api/files/demo/"+id, nil, "Upload-Complete", "?0", "If-Match", `"b3-00"`)
	u.create(201, "PUT", "/api/files/demo/"+id, strings.NewReader("new"), "Upload-Complete", "?0", "If-Match", etag)
	u.holds(id, "hello, world")
	if a := u.patch(200, 3, "?1", "er"); a.Header.Get("X-File-Id") != id {
		t.Errorf("version: %v", a.Header)
	}
	if f := u.holds(id, "newer"); f.Version != 2 {
		t.Errorf("version %d", f.Version)
	}
	// By methods that proxies let through.
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0")
	if a := u.do("POST", u.url, strings.NewReader("x"), "X-HTTP-Method-Override", "PATCH", "Upload-Offset", "0", "Upload-Complete", "?1", "Content-Type", partial); a.StatusCode != 201 {
		t.Errorf("POST for PATCH: %d %s", a.StatusCode, a.body)
	}
	if a := u.do("POST", u.url, nil, "X-HTTP-Method-Override", "DELETE"); a.StatusCode != 204 {
		t.Errorf("POST for DELETE: %d", a.StatusCode)
	}
	u.gone()
}

// What is no structured field counts as not there.
func TestRUFHMalformed(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	for _, v := range []string{"1", "true", "?2", "?", `"?1"`, "?0, ?1"} {
		// A plain upload without a name.
		u.want(400, "invalid-request", "POST", "/api/files/demo", strings.NewReader("x"), "Upload-Complete", v)
	}
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Upload-Length", "-5")
	for _, c := range [][]string{{"x", "?0"}, {"-1", "?0"}, {"0.0", "?0"}, {`"0"`, "?0"}, {"", "?0"}, {"0", "1"}, {"0", ""}, {"9999999999999999", "?0"}} {
		a := u.do("PATCH", u.url, strings.NewReader("x"), "Content-Type", partial, "Upload-Offset", c[0], "Upload-Complete", c[1])
		if a.StatusCode != 400 || a.code() != "invalid-request" {
			t.Errorf("%q: %d %s", c, a.StatusCode, a.body)
		}
	}
	if a := u.do("PATCH", u.url, strings.NewReader("x"), "Upload-Offset", "0", "Upload-Complete", "?0"); a.StatusCode != 415 {
		t.Errorf("of no type: %d", a.StatusCode)
	}
	u.patch(204, 0, "?0", "x", "Upload-Length", "five")
	u.stands(1, "?0")
	u.create(415, "POST", "/api/files/demo", strings.NewReader("--b"), "Upload-Complete", "?0", "Content-Type", "multipart/form-data; boundary=b")
}

func TestRUFHLengths(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	inconsistent := func(a *answer) {
		t.Helper()
		if a.code() != "inconsistent-upload-length" || a.Header.Get("Upload-Complete") != "?0" || !strings.Contains(string(a.body), `"https://iana.org/assignments/http-problem-types#inconsistent-upload-length"`) {
			t.Errorf("%v %s", a.Header, a.body)
		}
	}
	inconsistent(u.create(400, "POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?1", "Upload-Length", "6"))
	u.create(201, "POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?0", "Upload-Length", "10")
	inconsistent(u.patch(400, 5, "?0", "x", "Upload-Length", "11"))
	inconsistent(u.patch(400, 5, "?1", "x"))
	u.stands(5, "?0")
	a := u.patch(409, 4, "?0", "x")
	if a.code() != "upload-offset-mismatch" || a.Header.Get("Upload-Offset") != "5" || a.Header.Get("Upload-Complete") != "?0" ||
		!strings.Contains(string(a.body), `"expected-offset":5,"provided-offset":4`) || !strings.Contains(string(a.body), `"https://iana.org/assignments/http-problem-types#mismatching-upload-offset"`) {
		t.Errorf("%v %s", a.Header, a.body)
	}
	u.stands(5, "?0")
	// Beyond its length it ends, be the size of the content told or not.
	for _, body := range []io.Reader{strings.NewReader("123456"), io.MultiReader(strings.NewReader("123456"))} {
		u.create(201, "POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?0", "Upload-Length", "10")
		if a := u.do("PATCH", u.url, body, "Upload-Offset", "5", "Upload-Complete", "?0", "Content-Type", partial); a.StatusCode != 413 {
			t.Errorf("beyond the length: %d %s", a.StatusCode, a.body)
		}
		if a := u.do("GET", u.url, nil); a.StatusCode != 410 || a.code() != "upload-invalid" {
			t.Errorf("an upload that got too much: %d %s", a.StatusCode, a.body)
		}
	}
	// Content of no told size may end too early.
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Upload-Length", "10")
	a = u.do("PATCH", u.url, io.MultiReader(strings.NewReader("hello")), "Upload-Offset", "0", "Upload-Complete", "?1", "Content-Type", partial)
	inconsistent(a)
	u.stands(5, "?0")
	a = u.do("PATCH", u.url, io.MultiReader(strings.NewReader("world")), "Upload-Offset", "5", "Upload-Complete", "?1", "Content-Type", partial)
	u.holds(a.Header.Get("X-File-Id"), "helloworld")
}

func TestRUFHDigests(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	a := u.create(400, "POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?0", "Content-Digest", hash("other"))
	if a.code() != "digest-mismatch" {
		t.Errorf("%s", a.body)
	}
	u.stands(0, "?0")
	u.patch(204, 0, "?0", "hello", "Content-Digest", hash("hello"))
	u.patch(400, 5, "?0", "world", "Content-Digest", "md5=:AAAA:, "+hash("word"))
	u.patch(204, 5, "?0", "wor", "Content-Digest", "sha-256=nothing")
	u.patch(204, 8, "?0", "l", "Content-Digest", "rot13=:AAAA:")
	a = u.patch(201, 9, "?1", "d", "Content-Digest", hash("d"))
	if a.Header.Get("Repr-Digest") != hash("helloworld") {
		t.Errorf("Repr-Digest %s", a.Header.Get("Repr-Digest"))
	}
	// Of the whole.
	u.create(201, "POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?0", "Repr-Digest", hash("hello!"))
	u.patch(201, 5, "?1", "!")
	u.create(201, "POST", "/api/files/other", strings.NewReader("hello"), "Upload-Complete", "?0", "Repr-Digest", hash("other"))
	if a := u.patch(400, 5, "?1", "!"); a.code() != "digest-mismatch" || a.Header.Get("Upload-Complete") != "?1" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	u.gone()
	u.create(400, "POST", "/api/files/other", strings.NewReader("hello"), "Upload-Complete", "?1", "Repr-Digest", "sha-512=:"+base64.StdEncoding.EncodeToString(make([]byte, 64))+":")
	for want, digest := range map[string]string{"sha-256=10, sha-512=3": hash("hello"), "sha-512=1": "", "sha-256=0": "", "sha-256": ""} {
		if a := u.create(201, "POST", "/api/files/other", strings.NewReader("hello"), "Upload-Complete", "?1", "Want-Repr-Digest", want); a.Header.Get("Repr-Digest") != digest {
			t.Errorf("%s: Repr-Digest %s", want, a.Header.Get("Repr-Digest"))
		}
	}
}

// limited sets limits on the requests of uploads.
func (w *world) limited(p buckets.AppendLimits, most int64) {
	w.t.Helper()
	policy := w.bucket("demo").Policy()
	policy.Appends, policy.Limits.MaxFileSize = p, most
	if err := w.store.SetPolicies(w.t.Context(), map[string]buckets.Policy{"demo": policy, "other": w.bucket("other").Policy()}); err != nil {
		w.t.Fatal(err)
	}
}

func TestRUFHLimits(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	u.limited(buckets.AppendLimits{MaxAppend: 10, MinAppend: 3, MinSize: 4}, 100)
	const limit = "max-size=100, min-size=4, max-append-size=10, min-append-size=3, max-age=86400"
	if got := u.do("OPTIONS", "/api/files/demo", nil).Header.Get("Upload-Limit"); got != limit {
		t.Errorf("Upload-Limit %q", got)
	}
	refused := func(a *answer, code string) {
		t.Helper()
		if a.code() != code || !strings.HasPrefix(a.Header.Get("Upload-Limit"), "max-size=100, min-size=4, max-append-size=10") {
			t.Errorf("%v %s, want %s", a.Header, a.body, code)
		}
	}
	refused(u.create(413, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Upload-Length", "101"), "file-too-large")
	refused(u.create(400, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Upload-Length", "3"), "append-too-small")
	refused(u.create(413, "POST", "/api/files/demo", strings.NewReader("12345678901"), "Upload-Complete", "?0"), "append-too-large")
	refused(u.create(400, "POST", "/api/files/demo", strings.NewReader("12"), "Upload-Complete", "?0"), "append-too-small")
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0")
	refused(u.patch(413, 0, "?0", "12345678901"), "append-too-large")
	refused(u.patch(400, 0, "?0", "12"), "append-too-small")
	u.stands(0, "?0")
	if a := u.do("PATCH", u.url, io.MultiReader(strings.NewReader("12345678901")), "Upload-Offset", "0", "Upload-Complete", "?0", "Content-Type", partial); a.StatusCode != 413 {
		t.Errorf("more than said: %d %s", a.StatusCode, a.body)
	}
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0")
	u.patch(204, 0, "?0", "1234567890")
	u.patch(201, 10, "?1", "1")
}

// interims sends a request and returns the interim answers that came.
func (u *resumable) interims(method, path string, body io.Reader, header ...string) (out []http.Header) {
	u.t.Helper()
	var mu sync.Mutex
	ctx := httptrace.WithClientTrace(u.t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		mu.Lock()
		defer mu.Unlock()
		if code == 104 {
			out = append(out, http.Header(h))
		}
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, method, u.world.url+path, body)
	if err != nil {
		u.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	if i := strings.Index(resp.Header.Get("Location"), "/api/uploads/"); i >= 0 {
		u.url = resp.Header.Get("Location")[i:]
	}
	if resp.StatusCode >= 300 || resp.Header.Get("Upload-Draft-Interop-Version") != "" {
		u.t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
	}
	mu.Lock()
	defer mu.Unlock()
	return out
}

// Only those who speak this draft get its interim answers.
func TestRUFHInterim(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	content := string(noise(40 << 20)) // more than is made durable at a time
	for _, version := range []string{"", "5", "6", "7", "9", "x", `"8"`} {
		if got := u.interims("POST", "/api/files/demo", strings.NewReader("hello"), "Upload-Complete", "?0", "Upload-Draft-Interop-Version", version); len(got) > 0 {
			t.Errorf("version %q: %v", version, got)
		}
	}
	got := u.interims("POST", "/api/files/demo", strings.NewReader(content), "Upload-Complete", "?0", "Upload-Draft-Interop-Version", "8")
	if len(got) < 2 {
		t.Fatalf("%d interim answers", len(got))
	}
	for i, h := range got {
		if h.Get("Upload-Draft-Interop-Version") != "8" || h.Get("Upload-Complete") != "" {
			t.Errorf("interim %d: %v", i, h)
		}
		if location := h.Get("Location"); i == 0 && (location != u.world.url+u.url || h.Get("Upload-Limit") == "") || i > 0 && (location != "" || h.Get("Upload-Offset") == "") {
			t.Errorf("interim %d: %v", i, h)
		}
	}
	got = u.interims("PATCH", u.url, strings.NewReader(content), "Upload-Complete", "?1", "Upload-Draft-Interop-Version", "8", "Upload-Offset", strconv.Itoa(len(content)), "Content-Type", partial)
	if len(got) == 0 {
		t.Error("no interim answer")
	}
	for _, h := range got {
		if n, _ := strconv.Atoi(h.Get("Upload-Offset")); n <= len(content) || h.Get("Location") != "" {
			t.Errorf("interim: %v", h)
		}
	}
}

// Whoever asks about an upload, or goes on with it, ends a request that hangs.
func TestRUFHHandover(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	hang := func(offset int, body string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", u.world.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nUpload-Offset: %d\r\nUpload-Complete: ?0\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n%s",
			u.url, u.world.url[len("http://"):], offset, partial, body)
		return conn
	}
	ended := func(conn net.Conn) {
		t.Helper()
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(newReader(conn), nil)
		// 409 if it came late.
		if err != nil || resp.StatusCode != 423 && resp.StatusCode != 404 && resp.StatusCode != 409 {
			t.Errorf("the hanging request: %v %v", resp, err)
		}
	}
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0")
	a := hang(0, "hello")
	var at int
	for range 200 {
		at, _ = strconv.Atoi(u.do("HEAD", u.url, nil).Header.Get("Upload-Offset"))
		if at == 5 {
			break
		}
		a.Close() // HEAD came before the bytes: they come again
		a = hang(at, "hello"[at:])
		time.Sleep(10 * time.Millisecond)
	}
	ended(a)
	b := hang(5, ", w")
	time.Sleep(20 * time.Millisecond)
	at, _ = strconv.Atoi(u.do("HEAD", u.url, nil).Header.Get("Upload-Offset"))
	c := hang(at, "")
	time.Sleep(20 * time.Millisecond)
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0") // another upload is free
	ended(b)
	c.Close()
	d := hang(0, "x")
	time.Sleep(20 * time.Millisecond)
	if a := u.do("DELETE", u.url, nil); a.StatusCode != 204 {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
	ended(d)
	u.gone()
}

// Bytes of a request that breaks off are kept.
func TestRUFHBreaksOff(t *testing.T) {
	u := &resumable{world: newWorld(t)}
	content := noise(300_000)
	conn, err := net.Dial("tcp", u.world.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/files/demo HTTP/1.1\r\nHost: %s\r\nUpload-Complete: ?1\r\nUpload-Draft-Interop-Version: 8\r\nContent-Length: %d\r\n\r\n", u.world.url[len("http://"):], len(content))
	resp, err := http.ReadResponse(newReader(conn), nil)
	if err != nil || resp.StatusCode != 104 {
		t.Fatal(resp, err)
	}
	u.url = resp.Header.Get("Location")[len(u.world.url):]
	conn.Write(content[:200_000])
	conn.Close()
	var at int
	for range 300 {
		if at > 0 {
			break
		}
		at, _ = strconv.Atoi(u.do("HEAD", u.url, nil).Header.Get("Upload-Offset"))
		time.Sleep(10 * time.Millisecond)
	}
	if h := u.stands(at, "?0"); h.Header.Get("Upload-Length") != "300000" {
		t.Errorf("HEAD: %v", h.Header)
	}
	a := u.patch(201, at, "?1", string(content[at:]))
	u.holds(a.Header.Get("X-File-Id"), string(content))
	u.stands(300_000, "?1")
}

func TestRUFHIsOnesOwn(t *testing.T) {
	w := secured(t, strings.ReplaceAll(ownersSchema, "docs:", "demo:"))
	ann, bob := token(t, "ann", nil), token(t, "bob", nil)
	u := &resumable{world: w}
	f := w.putAs("ann", "demo", "f", "ann's")
	u.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Authorization", ann)
	for _, method := range []string{"HEAD", "GET", "PATCH", "DELETE"} {
		h := []string{"Upload-Offset", "0", "Upload-Complete", "?1", "Content-Type", partial, "Authorization", bob}
		if a := w.do(method, u.url, nil, h...); a.StatusCode != 404 || a.Header.Get("Upload-Offset") != "" {
			t.Errorf("%s by bob: %d %v", method, a.StatusCode, a.Header)
		}
	}
	w.want(404, "file-not-found", "PUT", "/api/files/demo/"+f.ID, strings.NewReader("x"), "Upload-Complete", "?1", "Authorization", bob)
	w.want(401, "unauthenticated", "POST", "/api/files/demo", strings.NewReader("x"), "Upload-Complete", "?1")
	for _, id := range []string{f.ID, f.ManifestID, "..", "%2e%2e", "u_%00"} {
		if a := w.do("DELETE", "/api/uploads/demo/"+id, nil, "Authorization", ann); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("DELETE %s: %d", id, a.StatusCode)
		}
	}
	// An upload of the other protocol is none of this one.
	v := &tusUpload{world: w, bearer: ann}
	v.create(201, "Upload-Length", "5")
	w.want(404, "upload-not-found", "GET", strings.Replace(v.url, "/api/tus/", "/api/uploads/", 1), nil, "Authorization", ann)
	if got := w.contentAs("ann", "demo", f.ID); got != "ann's" {
		t.Errorf("ann's file holds %q", got)
	}
}
