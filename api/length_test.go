package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// oldRequest is a call as HTTP/1.0 has it, with more headers.
func (m *matrix) oldRequest(c call, bearer, body string, header ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s HTTP/1.0\r\nHost: x\r\n", c.method, m.path(c, true))
	header = append(header, c.header...)
	if bearer != "" {
		header = append(header, "Authorization", bearer)
	}
	if c.contentType != "" {
		header = append(header, "Content-Type", c.contentType)
	}
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&out, "%s: %s\r\n", header[i], header[i+1])
	}
	return out.String() + "\r\n" + body
}

// Every call with a body works however its length is told, and is refused where
// the body cannot be told from none. Calls without a body need no length.
func TestBodiesWithoutLength(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	for _, c := range calls() {
		bearer := token(t, "ann", map[string]any{"role": "admin"})
		want := func(what string, a *answer, status int) {
			t.Helper()
			if a.StatusCode != status {
				t.Errorf("%s %s, %s: %d %s, want %d", c.method, c.path, what, a.StatusCode, a.body, status)
			}
			if c.method != "GET" && c.method != "HEAD" && c.method != "OPTIONS" && a.StatusCode < 300 {
				m.refresh()
			}
		}
		body := m.fill(c.body, true)
		if c.method == "PUT" && strings.Contains(c.path, "_sessions") {
			body = string(m.chunk)
		}
		if c.body == "" && c.contentType == "" {
			want("HTTP/1.0", m.raw(m.oldRequest(c, bearer, ""), false), c.status)
			continue
		}
		want("HTTP/1.0 without length", m.raw(m.oldRequest(c, bearer, body), false), 411)
		want("HTTP/1.0 in chunks", m.raw(m.oldRequest(c, bearer, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body), "Transfer-Encoding", "chunked"), false), 411)
		m.unharmed()
		want("HTTP/1.0 with length", m.raw(m.oldRequest(c, bearer, body, "Content-Length", fmt.Sprint(len(body))), false), c.status)
		body = m.fill(c.body, true)
		if c.method == "PUT" && strings.Contains(c.path, "_sessions") {
			body = string(m.chunk)
		}
		h := append([]string{"Authorization", bearer, "Content-Type", c.contentType}, c.header...)
		want("HTTP/1.1 in chunks", m.do(c.method, m.path(c, true), io.MultiReader(strings.NewReader(body)), h...), c.status)
	}
}

// An empty file is stored where a length of 0 is said, or where HTTP/1.1 says it
// by saying nothing.
func TestEmptyBodies(t *testing.T) {
	w := newWorld(t)
	for name, request := range map[string]string{
		"a": "POST /api/files/demo?name=a HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
		"b": "POST /api/files/demo?name=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"c": "POST /api/files/demo?name=c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		if a := w.raw(request, false); a.StatusCode != http.StatusCreated {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	n := 0
	for f, err := range w.c.List(t.Context(), "demo", &client.ListOptions{}) {
		if n++; err != nil || f.Size != 0 {
			t.Errorf("%+v, %v", f, err)
		}
	}
	if n != 3 {
		t.Errorf("%d files, want 3", n)
	}
}
