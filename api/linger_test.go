package api_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
)

// TestAnswersBeforeTheEnd sends requests that are answered before all of them
// has come, as a client does that writes all of a request before it reads. The
// body comes in pieces over a second, so that it does not fit what the network
// holds.
func TestAnswersBeforeTheEnd(t *testing.T) {
	w := securedBy(t, testConfig, `buckets: {b: {max_file_size: 1KB, allowed_types: [text/plain], rules: {create: auth.id == "ann", read: "true", update: "true"}}}`)
	f := w.putAs("ann", "b", "f", "x")
	patient := api.New(w.store, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		patient.ServeHTTP(w, api.WithPrincipal(r, &access.Principal{ID: r.Header.Get("X-Who")}))
	}))
	defer srv.Close()
	w.url = srv.URL
	const ann = "X-Who: ann\r\n"
	const known, chunked = "Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"
	var all sync.WaitGroup
	for _, c := range []struct {
		request, header string
		status          int
	}{
		{"POST /api/files/b?name=g", ann + known, 413},
		{"POST /api/files/b?name=g", ann + chunked, 413},
		{"POST /api/files/b?name=g", ann + "Content-Length: 300000\r\n", 413},
		{"POST /api/files/b?name=g", ann + "Content-Length: 200000\r\n", 413},
		{"PUT /api/files/b/" + f.ID, ann + known, 413},
		{"PUT /api/files/b/" + f.ID, ann + chunked, 413},
		{"POST /api/files/b/" + f.ID + "/append", ann + chunked, 413},
		{"PATCH /api/files/b/" + f.ID, ann + known + "Content-Type: application/json\r\n", 413},
		{"POST /api/files/b?name=g", ann + chunked + "Content-Type: multipart/form-data; boundary=x\r\n", 400},
		{"POST /api/files/b?name=g", ann + known + "Upload-Complete: ?1\r\n", 413},
		{"POST /api/tus/b", ann + known + "Tus-Resumable: 1.0.0\r\nUpload-Length: 1000000\r\nContent-Type: application/offset+octet-stream\r\n", 413},
		{"POST /api/files/b/_sessions", ann + "Content-Length: 1048576\r\n", 400},
		{"POST /api/files/b?name=g", known, 401},
		{"POST /api/files/b?name=g&tags=x", ann + known, 400},
		{"POST /api/files/none?name=g", ann + known, 404},
		{"DELETE /api/files/b/" + f.ID, ann + known, 403},
		{"PUT /nothing", chunked, 404},
		{"POST /healthz", known, 405},
		{"GET /healthz", known, 200},
		{"GET /api/files/b/" + f.ID + "/download", chunked, 200},
		{"OPTIONS /api/files/b", known, 204},
	} {
		all.Go(func() {
			if status, err := w.writeBeforeReading(c.request, c.header); err != nil || status != c.status {
				t.Errorf("%s with %q: %d, %v, want %d", c.request, c.header, status, err, c.status)
			}
		})
	}
	all.Wait()
}

// writeBeforeReading sends a request of the length that its header says, or of a
// million bytes, and returns the status of the answer.
func (w *world) writeBeforeReading(request, header string) (int, error) {
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	length, piece, end := 1_000_000, "%s", ""
	if _, text, ok := strings.Cut(header, "Content-Length: "); ok {
		fmt.Sscan(text, &length)
	} else {
		piece, end = "C350\r\n%s\r\n", "0\r\n\r\n" // 50,000 bytes
	}
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n", request, header)
	for n := 0; n < length; n += 50_000 {
		time.Sleep(50 * time.Millisecond)
		if _, err := fmt.Fprintf(conn, piece, strings.Repeat("x", min(50_000, length-n))); err != nil {
			return 0, fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
	io.WriteString(conn, end)
	resp, err := http.ReadResponse(newReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return resp.StatusCode, err
}

// A client that waits for permission to send gets its answer at once, and one
// that goes on for ever is cut off.
func TestLingerIsBounded(t *testing.T) {
	w := newWorld(t)
	a := w.raw("POST /api/files/none HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n", false)
	if a.StatusCode != 404 || !a.Close {
		t.Errorf("%d, close is %v", a.StatusCode, a.Close)
	}
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /api/files/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
	sent, err := io.Copy(conn, zeros{})
	if err == nil || sent > 64<<20 { // the network holds some
		t.Errorf("%d bytes were taken, %v", sent, err)
	}
}
