package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resumedBy sends requests of the tus protocol as sub; "" is nobody.
func resumedBy(w *world, sub string) *tusUpload {
	u := &tusUpload{world: w}
	if sub != "" {
		u.bearer = token(w.t, sub, nil)
	}
	return u
}

// begin creates an upload in a bucket, and returns its path.
func (u *tusUpload) begin(bucket string, header ...string) string {
	u.t.Helper()
	a := u.send("POST", "/api/tus/"+bucket, nil, header...)
	if a.StatusCode != 201 {
		u.t.Fatalf("creation in %s: %d %s", bucket, a.StatusCode, a.body)
	}
	at := strings.Index(a.Header.Get("Location"), "/api/tus/")
	if at < 0 {
		u.t.Fatalf("Location %q", a.Header.Get("Location"))
	}
	u.url = a.Header.Get("Location")[at:]
	return u.url
}

func (u *tusUpload) bytesAt(offset int, body io.Reader) *answer {
	return u.send("PATCH", u.url, body, "Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream")
}

// Security incidents of other servers by way of resumable uploads.
func TestTusIncidents(t *testing.T) {
	t.Run("CVE-2026-35412 Directus: a resumable upload overwrites any file by its ID", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "docs", "f", "ann's")
		bob := resumedBy(w, "bob")
		for _, id := range []string{f.ID, f.ManifestID, "f_x"} {
			if a := bob.send("POST", "/api/tus/docs", nil, "Upload-Length", "5", "Upload-Metadata", "fileId "+b64(id)); a.StatusCode != 404 {
				t.Errorf("an upload in place of %s: %d %s", id, a.StatusCode, a.body)
			}
		}
		// Nor does a right that ends meanwhile carry on to the commit.
		shared := w.putAs("ann", "docs", "shared", "ann's")
		ann := token(t, "ann", nil)
		access := func(text string) {
			w.want(200, "", "PATCH", "/api/files/docs/"+shared.ID, strings.NewReader(text), "Authorization", ann, "Content-Type", "application/json")
		}
		access(`{"access": {"update": "true"}}`)
		bob.begin("docs", "Upload-Length", "5", "Upload-Metadata", "fileId "+b64(shared.ID))
		if a := bob.bytesAt(0, strings.NewReader("bob")); a.StatusCode != 204 {
			t.Errorf("allowed: %d %s", a.StatusCode, a.body)
		}
		access(`{"access": null}`)
		access(`{"access": {}}`)
		if a := bob.bytesAt(3, strings.NewReader("'s")); a.StatusCode != 404 {
			t.Errorf("not allowed any more: %d %s", a.StatusCode, a.body)
		}
		for _, id := range []string{f.ID, shared.ID} {
			if got := w.contentAs("ann", "docs", id); got != "ann's" {
				t.Errorf("ann's file holds %q", got)
			}
		}
	})
	t.Run("CVE-2026-29188 File Browser: DELETE of an upload removes a file", func(t *testing.T) {
		w := secured(t, ownersSchema)
		f := w.putAs("ann", "public", "f", "x") // which has no rule for delete
		ann := resumedBy(w, "ann")
		ann.begin("public", "Upload-Length", "1")
		a := ann.bytesAt(0, strings.NewReader("y"))
		made := a.Header.Get("X-File-Id")
		if a.StatusCode != 204 || made == "" {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		for _, id := range []string{ann.url, "/api/tus/public/" + f.ID, "/api/tus/public/" + f.ManifestID, "/api/files/public/tus/" + made} {
			ann.send("DELETE", id, nil)
			ann.send("POST", id, nil, "X-HTTP-Method-Override", "DELETE")
		}
		for _, id := range []string{f.ID, made} {
			w.want(200, "", "GET", "/api/files/public/"+id, nil)
		}
	})
	t.Run("Supabase 1039, tus-node d2489f2: IDs of uploads lead elsewhere", func(t *testing.T) {
		w := secured(t, ownersSchema)
		ann := resumedBy(w, "ann")
		url := ann.begin("docs", "Upload-Length", "1")
		id := url[strings.LastIndex(url, "/")+1:]
		for _, evil := range []string{"..%2f" + id, "%2e%2e", "..", id + "%2f..", id + "%00", id + "%2f", "%5c" + id, id + "%20", strings.ToUpper(id), id[:len(id)-1], id + "0", "../public/" + id, "..%2fpublic%2f" + id} {
			for _, method := range []string{"HEAD", "PATCH", "DELETE"} {
				a := ann.send(method, "/api/tus/docs/"+evil, nil, "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
				if a.StatusCode != 404 && a.StatusCode != 400 {
					t.Errorf("%s %s: %d %s", method, evil, a.StatusCode, a.body)
				}
			}
		}
		// An upload is its bucket's alone.
		if a := ann.send("HEAD", "/api/tus/public/"+id, nil); a.StatusCode != 404 {
			t.Errorf("in another bucket: %d", a.StatusCode)
		}
		if a := ann.send("HEAD", url, nil); a.StatusCode != 200 || a.Header.Get("Upload-Offset") != "0" {
			t.Errorf("afterwards: %d %v", a.StatusCode, a.Header)
		}
	})
	t.Run("Supabase TUS: HEAD of an upload needs a token but no permission", func(t *testing.T) {
		w := secured(t, ownersSchema)
		url := resumedBy(w, "ann").begin("docs", "Upload-Length", "1")
		for _, sub := range []string{"bob", ""} {
			if a := resumedBy(w, sub).send("HEAD", url, nil); a.StatusCode != 404 || a.Header.Get("Upload-Length") != "" {
				t.Errorf("HEAD by %q: %d %v", sub, a.StatusCode, a.Header)
			}
		}
	})
}

// Defects of the resumable uploads that Alyx had before, numbered as in
// TestDefects.
func TestTusDefects(t *testing.T) {
	t.Run("2: resumable uploads ask no rule", func(t *testing.T) {
		w := secured(t, `buckets: {mine: {rules: {create: auth.id == 'ann'}}}`)
		for sub, want := range map[string]int{"": 401, "bob": 403} {
			if a := resumedBy(w, sub).send("POST", "/api/tus/mine", nil, "Upload-Length", "1"); a.StatusCode != want {
				t.Errorf("creation by %q: %d %s", sub, a.StatusCode, a.body)
			}
		}
		ann := resumedBy(w, "ann")
		ann.begin("mine", "Upload-Length", "2")
		for _, sub := range []string{"", "bob"} {
			other := resumedBy(w, sub)
			other.url = ann.url
			if a := other.bytesAt(0, strings.NewReader("x")); a.StatusCode != 404 {
				t.Errorf("bytes by %q: %d", sub, a.StatusCode)
			}
			if a := other.send("DELETE", ann.url, nil); a.StatusCode != 404 {
				t.Errorf("DELETE by %q: %d", sub, a.StatusCode)
			}
		}
		ann.wantOffset(0)
	})
	t.Run("4: what an interrupted request brought is in the file twice", func(t *testing.T) {
		w := newWorld(t)
		u, content := &tusUpload{world: w}, noise(300_000)
		u.begin("demo", "Upload-Length", strconv.Itoa(len(content)))
		host := w.url[len("http://"):]
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 300000\r\n\r\n", u.url, host)
		conn.Write(content[:200_000])
		conn.Close()
		at := 0
		for range 500 {
			if at > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
			at, _ = strconv.Atoi(u.send("HEAD", u.url, nil).Header.Get("Upload-Offset")) // which ends what goes on
		}
		a := u.bytesAt(at, bytes.NewReader(content[at:]))
		if a.StatusCode != 204 {
			t.Fatalf("the rest: %d %s", a.StatusCode, a.body)
		}
		if got := w.want(200, "", "GET", "/api/files/demo/"+a.Header.Get("X-File-Id")+"/download", nil).body; !bytes.Equal(got, content) {
			t.Errorf("%d other bytes", len(got))
		}
	})
	t.Run("5: Location leads to no route", func(t *testing.T) {
		w := newWorld(t)
		u := &tusUpload{world: w}
		url := u.begin("demo", "Upload-Length", "3")
		for _, path := range []string{url, strings.Replace(url, "/api/tus/demo/", "/api/files/demo/tus/", 1)} {
			if a := u.send("HEAD", path, nil); a.StatusCode != 200 {
				t.Errorf("HEAD %s: %d", path, a.StatusCode)
			}
		}
	})
	t.Run("6: the protocol has gaps", func(t *testing.T) {
		w := newWorld(t)
		u := &tusUpload{world: w}
		meta := "filename " + b64("a")
		u.begin("demo", "Upload-Length", "3", "Upload-Metadata", meta)
		h := u.wantOffset(0).Header
		if h.Get("Upload-Length") != "3" || h.Get("Upload-Metadata") != meta || h.Get("Upload-Expires") == "" {
			t.Errorf("HEAD: %v", h)
		}
		for what, c := range map[string]struct {
			status int
			answer *answer
		}{
			"no version":            {412, w.do("HEAD", u.url, nil)},
			"DELETE of no version":  {412, w.do("DELETE", u.url, nil)},
			"another offset":        {409, u.bytesAt(1, strings.NewReader("x"))},
			"too much":              {413, u.bytesAt(0, strings.NewReader("xxxx"))},
			"another type":          {415, u.send("PATCH", u.url, strings.NewReader("x"), "Upload-Offset", "0", "Content-Type", "text/plain")},
			"OPTIONS":               {200, w.do("OPTIONS", "/api/tus/demo", nil)},
			"OPTIONS of one upload": {200, w.do("OPTIONS", u.url, nil)},
		} {
			if c.answer.StatusCode != c.status || c.answer.Header.Get("Tus-Resumable") == "" {
				t.Errorf("%s: %d, want %d", what, c.answer.StatusCode, c.status)
			}
		}
		empty := u.send("POST", "/api/tus/demo", nil, "Upload-Length", "0")
		if id := empty.Header.Get("X-File-Id"); empty.StatusCode != 201 || id == "" {
			t.Errorf("an empty upload: %d %v", empty.StatusCode, empty.Header)
		}
	})
	t.Run("7: browsers cannot send resumable uploads", func(t *testing.T) {
		w := securedBy(t, testConfig+"\nserver: {cors: {allowed_origins: ['https://app.example.com']}}\n", ownersSchema)
		for _, method := range []string{"POST", "HEAD", "PATCH", "DELETE"} {
			a := w.do("OPTIONS", "/api/tus/docs/x", nil, "Origin", "https://app.example.com", "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "authorization,content-type,tus-resumable,upload-length,upload-metadata,upload-offset")
			if a.StatusCode/100 != 2 || a.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
				t.Errorf("%s: %d %v", method, a.StatusCode, a.Header)
			}
		}
		a := w.do("OPTIONS", "/api/tus/docs/x", nil, "Origin", "https://evil.example.com", "Access-Control-Request-Method", "PATCH")
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("any page: %v", a.Header)
		}
	})
	t.Run("11: what comes by a resumable upload runs on the API's origin", func(t *testing.T) {
		w := newWorld(t)
		u := &tusUpload{world: w}
		page := "<html><script>alert(1)</script>"
		u.begin("demo", "Upload-Length", strconv.Itoa(len(page)), "Upload-Metadata", "filename "+b64(`a"; filename="x.png`)+",filetype "+b64("image/png"))
		id := u.bytesAt(0, strings.NewReader(page)).Header.Get("X-File-Id")
		h := w.want(200, "", "GET", "/api/files/demo/"+id+"/view", nil).Header
		if d := h.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment; ") || strings.Contains(d, `"; filename="`) ||
			h.Get("Content-Type") != "text/html" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") {
			t.Errorf("%v", h)
		}
	})
}
