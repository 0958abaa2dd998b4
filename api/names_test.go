package api_test

import (
	"mime"
	"net/url"
	"strings"
	"testing"
	"unicode"
)

// A name reaches a browser as it is, whatever its letters and marks. Of one that
// a request asks for, only what a file could be called does.
func TestNamesInHeaders(t *testing.T) {
	w := newWorld(t)
	at := w.want(201, "", "POST", "/api/files/demo?name=f", strings.NewReader("x")).Header.Get("Location")
	for name, want := range map[string]string{ // "" is the same
		"report (2).pdf": "", `quote"semi;colon.txt`: "", "percent%41.txt": "", "café.txt": "",
		"שלום.txt": "", "דוח 2024\u200f.pdf": "", "\u200einvoice.pdf": "", "تقرير\u061c 12.pdf": "", "می\u200cخواهم.txt": "",
		"👨\u200d👩\u200d👧.png": "", "❤\ufe0f.png": "", "\uf8ff.txt": "", "語.txt": "",
	} {
		if want == "" {
			want = name
		}
		id := w.want(201, "", "POST", "/api/files/demo?name="+url.QueryEscape(name), strings.NewReader("x")).Header.Get("Location")
		for _, target := range []string{id + "/download", id + "/view", at + "/download?filename=" + url.QueryEscape(name)} {
			wantFilename(t, w.want(200, "", "GET", target, nil).Header.Get("Content-Disposition"), want)
		}
	}
	for asked, want := range map[string]string{
		"photo\u202egpj.exe": "photogpj.exe", "a\r\nSet-Cookie: x": "aSet-Cookie: x", "../../etc/passwd": "....etcpasswd",
		"a\u2066b\u2069": "ab", "\ufeffa\u2028b": "ab", "a\U000e0067b": "ab", "a\x1b[31mb": "a[31mb", "דוח\u200f.pdf": "דוח\u200f.pdf",
	} {
		wantFilename(t, w.want(200, "", "GET", at+"/download?filename="+url.QueryEscape(asked), nil).Header.Get("Content-Disposition"), want)
	}
}

// Nor does a log have what would drive a terminal or look like a line of its own.
func TestNamesInLogs(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a\x1b[31m", "a\nlevel=ERROR msg=forged", "photo\u202egpj.exe", "a\u2028b", "a\u009b1m", "\u200fדוח.pdf"} {
		w.do("POST", "/api/files/demo?on_conflict=fail&name="+url.QueryEscape(name), strings.NewReader("x"), "Idempotency-Key", "k")
		w.do("GET", "/api/files/demo/_at/"+url.PathEscape(name), nil, "User-Agent", "agent \u009b1m")
		w.do("GET", "/api/files/demo/"+url.PathEscape(name)+"/download", nil)
	}
	if w.logged() == "" {
		t.Error("nothing is logged")
	}
	for line := range strings.Lines(w.logged()) {
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !strings.HasPrefix(line, "time=") {
			t.Errorf("raw at %d: %q", i, line)
		}
	}
}

// wantFilename checks what a Content-Disposition calls a file, for old clients
// too.
func wantFilename(t *testing.T, header, want string) {
	t.Helper()
	plain, exact, _ := strings.Cut(header, "; filename*=")
	for _, r := range header {
		if r < ' ' || r > '~' {
			t.Errorf("%q has %U", header, r)
		}
	}
	if exact == "" {
		exact = plain
	} else {
		exact = `attachment; filename*=` + exact
	}
	if _, p, err := mime.ParseMediaType(exact); err != nil || p["filename"] != want {
		t.Errorf("%q: %q, want %q, %v", header, p["filename"], want, err)
	}
	if _, p, err := mime.ParseMediaType(plain); err != nil || p["filename"] == "" || strings.ContainsAny(p["filename"], `/\`) {
		t.Errorf("%q, for old clients: %q, %v", header, p["filename"], err)
	}
}
