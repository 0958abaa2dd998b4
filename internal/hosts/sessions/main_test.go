package main

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cairn-store/cairn"
)

// A browser is somebody who uses the host, and follows the URLs that it gets.
type browser struct {
	t      *testing.T
	base   string
	cookie *http.Cookie
}

// send sends a request to a path, or to a URL of an answer, and fails unless it has
// the status.
func (b *browser) send(status int, method, ref string, body io.Reader, header ...string) (*http.Response, []byte) {
	b.t.Helper()
	base, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	u, err := base.Parse(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		b.t.Fatalf("%s %s: %d, want %d: %s, %v", method, ref, resp.StatusCode, status, text, err)
	}
	return resp, text
}

// signIn returns a browser of somebody.
func signIn(t *testing.T, base, name string) *browser {
	t.Helper()
	b := &browser{t: t, base: base}
	const form = "application/x-www-form-urlencoded"
	b.send(401, "POST", "/login", strings.NewReader("name="+name+"&password=guess"), "Content-Type", form)
	resp, _ := b.send(204, "POST", "/login", strings.NewReader("name="+name+"&password="+url.QueryEscape(name+"'s password")), "Content-Type", form)
	b.cookie = resp.Cookies()[0]
	return b
}

type file struct {
	ID, Owner, Name string
	Links           struct{ Download string }
}

func (b *browser) decode(text []byte, v any) {
	b.t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
}

const files = "/storage/api/files/files"

// uploadForm uploads by a form, as a page does.
func (b *browser) uploadForm(name, content string, fields ...string) (out file) {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		w.WriteField(fields[i], fields[i+1])
	}
	part, err := w.CreateFormFile("file", name)
	if err != nil {
		b.t.Fatal(err)
	}
	io.WriteString(part, content)
	w.Close()
	resp, text := b.send(201, "POST", files, &body, "Content-Type", w.FormDataContentType())
	b.decode(text, &out)
	if want := files + "/" + out.ID; resp.Header.Get("Location") != want {
		b.t.Errorf("Location %s, want %s", resp.Header.Get("Location"), want)
	}
	return out
}

// uploadTus uploads in two requests, where the host says.
func (b *browser) uploadTus(content string) (at string) {
	b.t.Helper()
	resp, _ := b.send(201, "POST", "/storage/api/tus/files", nil, "Tus-Resumable", "1.0.0", "Upload-Length", fmt.Sprint(len(content)), "Upload-Metadata", "filename YnkgdHVz")
	at = resp.Header.Get("Location")
	half := len(content) / 2
	for _, piece := range [][2]int{{0, half}, {half, len(content)}} {
		resp, _ = b.send(204, "PATCH", at, strings.NewReader(content[piece[0]:piece[1]]), "Tus-Resumable", "1.0.0",
			"Upload-Offset", fmt.Sprint(piece[0]), "Content-Type", "application/offset+octet-stream")
	}
	return resp.Header.Get("Content-Location")
}

// use uses the host as its users do.
func use(t *testing.T, base string) {
	ann, bob, nobody := signIn(t, base, "ann"), signIn(t, base, "bob"), &browser{t: t, base: base}

	diary := ann.uploadForm("diary.txt", "dear diary")
	if diary.Owner != "ann" {
		t.Errorf("the owner is %q", diary.Owner)
	}
	if _, text := ann.send(200, "GET", diary.Links.Download, nil); string(text) != "dear diary" {
		t.Errorf("download: %s", text)
	}
	pieces := ann.uploadTus("one half, another half")
	if _, text := ann.send(200, "GET", pieces+"/download", nil); string(text) != "one half, another half" {
		t.Errorf("by tus: %s", text)
	}
	unfinished, _ := ann.send(201, "POST", "/storage/api/tus/files", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "5")

	// Nobody else sees, reads or changes anything.
	at := files + "/" + diary.ID
	for who, b := range map[string]*browser{"bob": bob, "nobody": nobody} {
		b.send(404, "GET", at, nil)
		b.send(404, "GET", at+"/download", nil)
		b.send(404, "PUT", at, strings.NewReader("x"))
		b.send(404, "DELETE", at, nil)
		b.send(404, "HEAD", unfinished.Header.Get("Location"), nil, "Tus-Resumable", "1.0.0")
		b.send(404, "GET", files+"/f_000000000000000000000000000000000000", nil)
		if who == "nobody" {
			b.send(401, "POST", files+"?name=x", strings.NewReader("x"))
		}
	}
	listed := func(b *browser) (names []string) {
		var page struct{ Files []file }
		_, text := b.send(200, "GET", files, nil)
		b.decode(text, &page)
		for _, f := range page.Files {
			names = append(names, f.Name)
		}
		return names
	}
	if got := fmt.Sprint(listed(ann), listed(bob), listed(nobody)); got != "[by tus diary.txt] [] []" {
		t.Errorf("listings %s", got)
	}
	shared := ann.uploadForm("shared.txt", "for all", "tags", `["shared"]`)
	if _, text := bob.send(200, "GET", shared.Links.Download, nil); string(text) != "for all" {
		t.Errorf("shared: %s", text)
	}
	bob.send(403, "DELETE", files+"/"+shared.ID, nil) // he may know that it is there

	// A signed URL opens what it names to whoever has it.
	var signed struct{ URL string }
	_, text := ann.send(200, "POST", at+"/sign", strings.NewReader(`{"operation": "download", "expires_in": "1m"}`), "Content-Type", "application/json")
	ann.decode(text, &signed)
	if _, text := nobody.send(200, "GET", signed.URL, nil); string(text) != "dear diary" {
		t.Errorf("signed: %s", text)
	}
	bob.send(404, "POST", at+"/sign", strings.NewReader(`{}`), "Content-Type", "application/json")

	// A page of another site has the browser send the cookie, in vain.
	ann.send(403, "POST", files+"?name=planted", strings.NewReader("x"), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	ann.send(403, "POST", "/logout", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")

	ann.send(200, "DELETE", files+"/"+shared.ID, nil)
	ann.send(204, "POST", "/logout", nil)
	ann.send(401, "GET", at, nil)
	bob.send(403, "GET", "/storage/api/admin/keys", nil)
}

// A lockedBuffer takes a log.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func TestHost(t *testing.T) {
	opts, err := cairn.Parse(nil, []byte(buckets))
	if err != nil {
		t.Fatal(err)
	}
	store, err := cairn.Open(t.Context(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	srv := httptest.NewServer(newHandler(store, newSessions(), slog.New(slog.NewTextHandler(log, nil))))
	use(t, srv.URL)
	srv.Close()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	// The middleware hides the connection, which is told once.
	if n := strings.Count(log.text.String(), "type=*main.statusWriter"); n != 1 {
		t.Errorf("told %d times of the middleware:\n%s", n, log.text.String())
	}
}

// maxModules bounds what the host links.
const maxModules = 48

// The binary serves, ends when it is told to, and links neither the SDK of AWS nor
// what reads tokens.
func TestBinary(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sessions")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		for _, none := range []string{"github.com/aws/", "github.com/go-jose/", "github.com/jackc/", "github.com/spf13/"} {
			if strings.HasPrefix(m.Path+"/", none) {
				t.Errorf("the binary links %s", m.Path)
			}
		}
	}
	if len(info.Deps) > maxModules {
		t.Errorf("the binary links %d modules, want at most %d", len(info.Deps), maxModules)
	}
	size, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d modules, %.1f MB", len(info.Deps), float64(size.Size())/1e6)

	cmd := exec.Command(name, t.TempDir(), "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // fails if it has ended
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	use(t, strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	tellMemory(t, cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// tellMemory logs what a process takes, where Linux says it.
func tellMemory(t *testing.T, pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
