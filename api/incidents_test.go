package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// Security incidents of other file servers, one test each: that of the same
// name could not happen here.

const ownersSchema = `
buckets:
  docs:    {rules: {create: auth.id != null, read: auth.id == file.owner, update: auth.id == file.owner, delete: auth.id == file.owner}, file_rules: true}
  do:      {rules: {create: auth.id != null, read: auth.id == file.owner}}
  public:  {rules: {create: auth.id != null, read: "true"}}
`

func (w *world) contentAs(sub, bucket, id string) string {
	w.t.Helper()
	return string(w.want(200, "", "GET", "/api/files/"+bucket+"/"+id+"/download", nil, "Authorization", token(w.t, sub, nil)).body)
}

func (w *world) signAs(sub, bucket, id, body string) *client.SignedURL {
	w.t.Helper()
	m := &matrix{world: w}
	return m.sign(token(w.t, sub, nil), bucket, id, body)
}

// relative is a signed URL without its host, and with its parts changed.
func relative(u *client.SignedURL, change ...string) string {
	return strings.NewReplacer(change...).Replace(u.URL[strings.Index(u.URL, "/api/"):])
}

func TestIncidents(t *testing.T) {
	race.LeaveOut(t)
	t.Run("CVE-2026-35412 Directus: an upload overwrites any file by its ID", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "ann's")
		bob := token(t, "bob", nil)
		for _, id := range []string{f.ID, f.ManifestID} {
			if a := w.do("PUT", "/api/files/docs/"+id, strings.NewReader("bob's"), "Authorization", bob); a.StatusCode != 404 && a.StatusCode != 405 {
				t.Errorf("PUT %s: %d", id, a.StatusCode)
			}
		}
		// By name the folder's file is not overwritten either.
		w.want(404, "file-not-found", "POST", "/api/files/docs?name=f&on_conflict=version", strings.NewReader("bob's"), "Authorization", bob)
		if got := w.contentAs("ann", "docs", f.ID); got != "ann's" {
			t.Errorf("ann's file holds %q", got)
		}
	})
	t.Run("CVE-2026-54094 File Browser: symlinks lead out of the data directory", func(t *testing.T) {
		opts := &local.Options{Buckets: map[string]buckets.Policy{"b": {Domain: "local"}}}
		put := func(dir string) (*buckets.File, error) {
			store, err := local.Open(t.Context(), dir, opts)
			if err != nil {
				return nil, err
			}
			defer store.Close()
			b, err := store.Bucket("b")
			if err != nil {
				return nil, err
			}
			return b.Put(t.Context(), "f", strings.NewReader("content"), nil)
		}
		dir, outside := t.TempDir(), t.TempDir()
		if err := os.Symlink(outside, filepath.Join(dir, "packs")); err != nil {
			t.Skipf("no symlinks here: %v", err)
		}
		_, err := put(dir)
		if left, _ := os.ReadDir(outside); len(left) > 0 || err == nil {
			t.Errorf("written through a linked directory: %v, %v", left, err)
		}

		dir = t.TempDir()
		f, err := put(dir)
		if err != nil {
			t.Fatal(err)
		}
		packs, _ := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
		for i, p := range packs {
			moved := filepath.Join(outside, fmt.Sprint(i))
			if err := errors.Join(os.Rename(p, moved), os.Symlink(moved, p)); err != nil {
				t.Fatal(err)
			}
		}
		store, err := local.Open(t.Context(), dir, opts)
		if err != nil {
			return // refused as a whole
		}
		defer store.Close()
		b, err := store.Bucket("b")
		if err != nil {
			t.Fatal(err)
		}
		if o, err := b.Open(t.Context(), f.ID, nil); err == nil {
			if p, err := io.ReadAll(o); err == nil {
				t.Errorf("%d packs: read %q through a link", len(packs), p)
			}
			o.Close()
		}
	})
	t.Run("CVE-2026-39822 Go: os.Root escapes through a symlink with a slash at its end", func(t *testing.T) {
		// What we build has the correction. A program that embeds Cairn may be built by an
		// older Go, so no name of a file may end in a slash.
		text, err := os.ReadFile("../go.mod")
		var minor, patch int
		if _, at, ok := strings.Cut(string(text), "\ntoolchain go1."); ok {
			fmt.Sscanf(at, "%d.%d", &minor, &patch)
		}
		if err != nil || minor < 26 || minor == 26 && patch < 5 {
			t.Errorf("go.mod names the toolchain 1.%d.%d, %v; 1.26.5 has the correction", minor, patch, err)
		}
		dir := t.TempDir()
		disk, err := diskbackend.Open(filepath.Join(dir, "packs"), nil)
		if err == nil {
			err = os.Symlink(t.TempDir(), filepath.Join(dir, "packs", "link"))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		for _, key := range []string{"link/", "link/x/", "link//"} {
			_, stat := disk.Stat(t.Context(), key)
			_, create := disk.Create(t.Context(), key)
			if !errors.Is(stat, fs.ErrInvalid) || !errors.Is(create, fs.ErrInvalid) {
				t.Errorf("%q: %v, %v", key, stat, create)
			}
		}
		for info, err := range disk.List(t.Context(), "link/") {
			if err == nil {
				t.Errorf("listed %q through a link", info.Key)
			}
		}
	})
	t.Run("CVE-2026-54097 File Browser: what begins with the same bytes is taken for one's own", func(t *testing.T) {
		w := secured(t, ownersSchema)
		do, docs := w.putAs("a", "do", "f", "x"), w.putAs("ab", "docs", "f", "x")
		short, long := w.signAs("a", "do", do.ID, `{}`), w.signAs("ab", "docs", docs.ID, `{}`)
		a := w.want(200, "", "GET", "/api/files/do/_grants", nil, "Authorization", token(t, "a", nil))
		if strings.Contains(string(a.body), long.GrantID) || !strings.Contains(string(a.body), short.GrantID) {
			t.Errorf("grants of bucket do: %s", a.body)
		}
		w.want(204, "", "DELETE", "/api/files/do/_grants/"+short.GrantID, nil, "Authorization", token(t, "a", nil))
		w.want(200, "", "GET", relative(long), nil)
		w.want(403, "signed-url-invalid", "GET", relative(short), nil)
		w.want(404, "grant-not-found", "DELETE", "/api/files/docs/_grants/"+long.GrantID, nil, "Authorization", token(t, "a", nil))
	})
	t.Run("GHSA-j9jx-hp4c-ghhh File Browser: shared access sees other paths than direct access", func(t *testing.T) {
		w := secured(t, ownersSchema)
		other := w.putAs("ann", "docs", "g", "secret")
		u := w.signAs("ann", "docs", other.ID, `{}`)
		for _, path := range []string{relative(u, "/docs/", "/public/"), relative(u, "/docs/", "/docs//"), relative(u, "/docs/", "/docs/./"),
			relative(u, other.ID, other.ID+"/.."), relative(u, other.ID, "..%2f"+other.ID), relative(u, "/download", "/view"), relative(u, "/download", "/DOWNLOAD")} {
			if a := w.do("GET", path, nil); a.StatusCode == 200 {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	})
	t.Run("CVE-2026-30914 SFTPGo: layers normalise paths differently", func(t *testing.T) {
		w := secured(t, ownersSchema)
		ann := token(t, "ann", nil)
		f := w.putAs("ann", "docs", "f", "x")
		for _, id := range []string{"..", ".", "%2e%2e", "%2e", f.ID + "%2f..", f.ID + "%00", "%2f" + f.ID, "%5c" + f.ID, f.ID + "%5c", strings.ToUpper(f.ID), "/" + f.ID, f.ID + "/", f.ID + "%20"} {
			for _, route := range []string{"", "/download", "/versions", "/manifest"} {
				if a := w.do("GET", "/api/files/docs/"+id+route, nil, "Authorization", ann); a.StatusCode != 404 && a.StatusCode != 400 {
					t.Errorf("GET %s%s: %d %.100s", id, route, a.StatusCode, a.body)
				}
			}
		}
		for _, name := range []string{"..", ".", "a%2fb", "a%5cb", "a%00b", "a%0ab", ""} {
			if a := w.do("POST", "/api/files/public?name="+name, strings.NewReader("x"), "Authorization", ann); a.StatusCode != 400 {
				t.Errorf("name %q: %d %s", name, a.StatusCode, a.body)
			}
		}
		// NFC and NFD are one name.
		w.want(201, "", "POST", "/api/files/public?on_conflict=fail&name=na%C3%AFve", strings.NewReader("x"), "Authorization", ann)
		w.want(409, "name-taken", "POST", "/api/files/public?on_conflict=fail&name=nai%CC%88ve", strings.NewReader("x"), "Authorization", ann)
	})
	t.Run("versitygw 2225: the source of a copy is decoded differently by who checks and who copies", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "secret")
		bob := token(t, "bob", nil)
		for _, id := range []string{f.ID, f.ManifestID, f.ID[:2] + "%30" + f.ID[3:], "%66" + f.ID[1:], "..%2fdocs%2f" + f.ID} {
			for _, from := range []string{"docs", "public"} {
				a := w.do("POST", "/api/files/"+from+"/"+id+"/copy", strings.NewReader(`{"bucket": "public"}`), "Authorization", bob, "Content-Type", "application/json")
				if a.StatusCode != 404 && a.StatusCode != 400 {
					t.Errorf("copy of %s/%s: %d %s", from, id, a.StatusCode, a.body)
				}
			}
		}
	})
	t.Run("Supabase 1135: a token for reading is taken for writing", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "ann's")
		read, write := w.signAs("ann", "docs", f.ID, `{"operation": "download"}`), w.signAs("ann", "docs", f.ID, `{"operation": "upload"}`)
		w.want(403, "signed-url-scope", "PUT", "/api/files/docs/"+f.ID+"?token="+read.Token, strings.NewReader("x"))
		w.want(403, "signed-url-scope", "GET", "/api/files/docs/"+f.ID+"/download?token="+write.Token, nil)
		w.want(403, "signed-url-scope", "DELETE", "/api/files/docs/"+f.ID+"?token="+write.Token, nil)
		w.want(403, "signed-url-scope", "POST", "/api/files/docs?name=x&token="+write.Token, strings.NewReader("x"))
	})
	t.Run("Supabase 520: the caller puts claims of his own into a signed token", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "x")
		ann := token(t, "ann", nil)
		for _, body := range []string{`{"role": "admin"}`, `{"operation": "download", "owner": "bob"}`, `{"bucket": "public"}`, `{"file": "f_x"}`, `{"claims": {}}`} {
			w.want(400, "invalid-request", "POST", "/api/files/docs/"+f.ID+"/sign", strings.NewReader(body), "Authorization", ann, "Content-Type", "application/json")
			w.want(400, "invalid-request", "POST", "/api/files/docs/_sign-upload", strings.NewReader(body), "Authorization", ann, "Content-Type", "application/json")
		}
		w.want(400, "invalid-request", "GET", "/api/files/docs/"+f.ID+"/sign?role=admin", nil, "Authorization", ann)
	})
	t.Run("Supabase 1211, CVE-2023-28434 MinIO: conditions of a signed upload are not enforced", func(t *testing.T) {
		w := secured(t, ownersSchema)
		u := w.signAs("ann", "docs", "", `{"name": "a.txt", "folder": "in", "max_size": 5, "mime_types": ["text/plain"]}`)
		post := func(status int, code, query, body string) {
			t.Helper()
			w.want(status, code, "POST", "/api/files/docs?token="+url.QueryEscape(u.Token)+query, strings.NewReader(body), "Content-Type", "text/plain")
		}
		post(403, "signed-url-scope", "&name=b.txt&folder=in", "x")
		post(403, "signed-url-scope", "&name=a.txt", "x")
		post(413, "file-too-large", "&name=a.txt&folder=in", "123456")
		post(415, "type-not-allowed", "&name=a.txt&folder=in", "%PDF-")
		w.want(403, "signed-url-invalid", "POST", "/api/files/public?name=a.txt&folder=in&token="+u.Token, strings.NewReader("x"))
		a := w.want(413, "file-too-large", "POST", "/api/files/docs?name=a.txt&folder=in&token="+u.Token, &endlessBody{strings.NewReader("123456789")})
		if strings.Contains(string(a.body), "f_") {
			t.Error("something was stored")
		}
		post(201, "", "&name=a.txt&folder=in", "12345")
	})
	t.Run("Supabase 839: values of the caller break headers", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "public", "f", "x")
		for _, name := range []string{"a\r\nX-Evil: 1", "a\x00b", "a\"; filename=evil", "caf\u00e9", strings.Repeat("a", 10_000), "\u202egnp.exe"} {
			a := w.do("GET", "/api/files/public/"+f.ID+"/download?filename="+url.QueryEscape(name), nil)
			d := a.Header.Get("Content-Disposition")
			if a.StatusCode != 200 || a.Header.Get("X-Evil") != "" || strings.ContainsAny(d, "\r\n\x00") || strings.Count(d, `"`) > 2 {
				t.Errorf("filename %.20q: %d %.200q", name, a.StatusCode, d)
			}
			for _, c := range d {
				if c > 0x7e {
					t.Errorf("filename %.20q: %.200q is not plain", name, d)
				}
			}
		}
	})
	t.Run("Supabase TUS: HEAD needs a token but no permission", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "x")
		for _, route := range []string{"", "/download", "/view", "/versions", "/versions/1/download"} {
			if a := w.do("HEAD", "/api/files/docs/"+f.ID+route, nil, "Authorization", token(t, "bob", nil)); a.StatusCode != 404 || a.Header.Get("ETag") != "" {
				t.Errorf("HEAD %s: %d %v", route, a.StatusCode, a.Header)
			}
		}
	})
	t.Run("CVE-2026-71309 rclone: a tenant names another's bucket by some encoding", func(t *testing.T) {
		w := secured(t, ownersSchema)
		w.putAs("ann", "docs", "f", "x")
		for _, b := range []string{"public/..%2fdocs", "public%2f..%2fdocs", "%64ocs%2f", "docs%00", "DOCS", "docs.", "docs%20", "./docs", "%2e/docs", ";/docs", "public;docs"} {
			a := w.do("GET", "/api/files/"+b, nil, "Authorization", token(t, "bob", nil))
			if a.StatusCode == 200 && strings.Contains(string(a.body), `"f_`) {
				t.Errorf("%s: %s", b, a.body)
			}
		}
	})
	t.Run("GHSA-mfvx-7rcj-9m5g rclone: profiles and stack traces are open", func(t *testing.T) {
		w := secured(t, ownersSchema)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/metrics", "/api/admin/keys", "/api/admin/"} {
			if a := w.do("GET", path, nil); a.StatusCode != 404 && a.StatusCode != 401 {
				t.Errorf("%s: %d", path, a.StatusCode)
			}
		}
	})
	t.Run("CVE-2026-71310 rclone: our client and a hostile server", func(t *testing.T) {
		for what, answer := range map[string]string{
			"huge headers":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 20<<20) + "\r\n\r\n",
			"no JSON":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
			"null":            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
			"a huge refusal":  "HTTP/1.1 500 No\r\n\r\n" + strings.Repeat("a", 1<<20),
			"nothing":         "",
			"a wrong length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
			"endless cursors": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n{\"files\": [], \"next_cursor\": \"same\"}",
		} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					buf := make([]byte, 4096)
					conn.Read(buf)
					conn.Write([]byte(answer))
					conn.Close()
				}
			}()
			c, err := client.New("http://"+ln.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stat(t.Context(), "b", "f", nil); err == nil && what != "null" && what != "endless cursors" {
				t.Errorf("%s: no error", what)
			}
			n := 0
			for _, err := range c.List(t.Context(), "b", nil) {
				if n++; err != nil || n > 1000 {
					break
				}
			}
			ln.Close()
		}
	})
	t.Run("GHSA-6q22-g298-grjh Directus: the health check multiplies work", func(t *testing.T) {
		w := secured(t, ownersSchema)
		for range 100 {
			w.putAs("ann", "public", "f", "x")
		}
		reads := testing.AllocsPerRun(10, func() { w.want(200, "", "GET", "/healthz", nil) })
		if reads > 5000 {
			t.Errorf("a health check allocates %f times", reads)
		}
	})
	t.Run("CVE-2022-22116 Directus: stored scripts run on the API's origin", func(t *testing.T) {
		w := secured(t, ownersSchema)
		for name, content := range map[string]string{
			"a.html": "<html><script>alert(1)</script>", "a.svg": `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`,
			"a.xml": `<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>`, "a.png": "<html><script>alert(1)</script>",
			"a.js": "alert(1)", "a.pdf": "<script>alert(1)</script>"} {
			f := w.putAs("ann", "public", name, content)
			for _, route := range []string{"/view", "/download"} {
				a := w.want(200, "", "GET", "/api/files/public/"+f.ID+route, nil)
				h := a.Header
				inline := strings.HasPrefix(h.Get("Content-Disposition"), "inline")
				if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox; default-src 'none'") ||
					inline && h.Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("%s%s: %v", name, route, h)
				}
			}
		}
	})
	t.Run("CVE-2025-55746 Directus: uploads and changes without a token", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "x")
		w.want(401, "unauthenticated", "POST", "/api/files/docs?name=g", strings.NewReader("x"))
		w.want(404, "file-not-found", "PUT", "/api/files/docs/"+f.ID, strings.NewReader("x"))
		w.want(404, "file-not-found", "PATCH", "/api/files/docs/"+f.ID, strings.NewReader(`{"name": "x"}`), "Content-Type", "application/json")
	})
	t.Run("CVE-2022-41725, CVE-2023-24536, CVE-2023-45290 Go: forms of many parts, long headers, no end", func(t *testing.T) {
		w := secured(t, ownersSchema)
		ann := token(t, "ann", nil)
		many := strings.Repeat("--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n", 10_000) + "--B--\r\n"
		long := "--B\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("a", 20<<20) + "\"\r\n\r\nx\r\n--B--\r\n"
		preamble := strings.Repeat("no boundary in sight\r\n", 1<<20)
		for what, body := range map[string]string{"many parts": many, "a long header": long, "a long preamble": preamble} {
			a := w.do("POST", "/api/files/docs", strings.NewReader(body), "Authorization", ann, "Content-Type", "multipart/form-data; boundary=B")
			if a.StatusCode != 400 && a.StatusCode != 413 {
				t.Errorf("%s: %d", what, a.StatusCode)
			}
		}
	})
	t.Run("content addressing: a digest opens nothing", func(t *testing.T) {
		w := secured(t, ownersSchema)
		secret, mine := w.putAs("ann", "docs", "f", "ann's secret"), w.putAs("bob", "docs", "g", "bob's own")
		var c client.Chunk
		a := w.want(200, "", "GET", "/api/files/docs/"+secret.ID+"/manifest", nil, "Authorization", token(t, "ann", nil))
		if err := json.Unmarshal(bytes.TrimSpace(a.body), &c); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{secret.ID, mine.ID} {
			w.want(404, "file-not-found", "GET", "/api/files/docs/"+id+"/chunks/"+c.Digest, nil, "Authorization", token(t, "bob", nil))
		}
		// Nor does storing the same bytes tell that they were there.
		b := w.want(201, "", "POST", "/api/files/docs?name=h", strings.NewReader("ann's secret"), "Authorization", token(t, "bob", nil))
		if strings.Contains(string(b.body), "new_bytes") || strings.Contains(string(b.body), "stored_bytes") {
			t.Errorf("physical sizes are shown: %s", b.body)
		}
	})
}

// An endlessBody hides its length.
type endlessBody struct{ *strings.Reader }

func (e *endlessBody) Len() int { return -1 }
