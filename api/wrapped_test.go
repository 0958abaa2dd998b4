package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
)

// A hidingWriter is what many a middleware has: it notes the status, and hides the
// writer that it wraps.
type hidingWriter struct {
	http.ResponseWriter
	status int
}

func (w *hidingWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// An openWriter is one as it should be.
type openWriter struct{ hidingWriter }

func (w *openWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func hide(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&hidingWriter{ResponseWriter: w}, r)
	})
}

func wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&openWriter{hidingWriter{ResponseWriter: w}}, r)
	})
}

// TestBehindMiddleware has middleware that hides the connection before the server:
// transfers go on as long as net/http lets them, and the log says once what to do.
func TestBehindMiddleware(t *testing.T) {
	const size = 200_000
	upload := func(c net.Conn, rate int64) string {
		fmt.Fprintf(c, "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)
		go trickle(c, strings.NewReader(strings.Repeat("0", size)), rate)
		return readStatus(c)
	}
	download := func(c net.Conn, rate int64) string {
		io.WriteString(c, "GET /f HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
		if err != nil {
			return "cut"
		}
		if trickle(io.Discard, resp.Body, rate) != size {
			return "cut"
		}
		return "200"
	}
	for name, c := range map[string]struct {
		around  func(http.Handler) http.Handler
		timeout time.Duration // of the http.Server for reading, twice that for writing
		slow    [2]string     // how an upload and a download of 10 bytes a second end
		fair    [2]string     // of 1,000
		told    bool
	}{
		"nothing between":               {func(h http.Handler) http.Handler { return h }, 0, [2]string{"408", "cut"}, [2]string{"200", "200"}, false},
		"a middleware with Unwrap":      {wrap, 0, [2]string{"408", "cut"}, [2]string{"200", "200"}, false},
		"one with Unwrap, and timeouts": {wrap, time.Minute, [2]string{"408", "cut"}, [2]string{"200", "200"}, false},
		"one without":                   {hide, 0, [2]string{"200", "200"}, [2]string{"200", "200"}, true},
		"one without, around one with":  {func(h http.Handler) http.Handler { return hide(wrap(h)) }, 0, [2]string{"200", "200"}, [2]string{"200", "200"}, true},
		"one without, and timeouts":     {hide, time.Minute, [2]string{"408", "cut"}, [2]string{"408", "cut"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &safeBuffer{}
				s := api.New(nil, &api.Options{Log: logTo(log)})
				s.Answer(func(w http.ResponseWriter, r *http.Request) error {
					if r.Method == http.MethodPost {
						_, err := api.ReadBody(r)
						if err == nil {
							w.WriteHeader(http.StatusOK)
						}
						return err
					}
					w.Header().Set("Content-Length", strconv.Itoa(size))
					w.Write(make([]byte, size)) // a client that is gone needs no answer
					return nil
				})
				n := &pipeNet{conns: make(chan net.Conn), closed: make(chan struct{})}
				srv := &http.Server{Handler: c.around(s), ReadTimeout: c.timeout, WriteTimeout: 2 * c.timeout}
				go srv.Serve(n)
				for i, talk := range []func(c net.Conn, rate int64) string{upload, download} {
					for rate, want := range map[int64]string{10: c.slow[i], 1000: c.fair[i]} {
						conn := n.dial("192.0.2.1")
						if got := talk(conn, rate); got != want {
							t.Errorf("%s at %d bytes a second: %s, want %s", []string{"upload", "download"}[i], rate, got, want)
						}
						conn.Close()
					}
				}
				srv.Close()
				synctest.Wait()
				told := strings.Count(log.String(), "Unwrap() http.ResponseWriter")
				if want := map[bool]int{true: 1}[c.told]; told != want {
					t.Errorf("told %d times, want %d:\n%s", told, want, log)
				}
				if c.told && (!strings.Contains(log.String(), "type=*api_test.hidingWriter") || !strings.Contains(log.String(), fmt.Sprint("read_timeout=", c.timeout))) {
					t.Errorf("the log lacks the type or the timeouts:\n%s", log)
				}
			})
		})
	}
}

// What a program answers itself, without a connection, has nothing to be told of.
func TestWithoutConnection(t *testing.T) {
	log := &safeBuffer{}
	w := newWorld(t)
	s := api.New(w.store, &api.Options{Log: logTo(log)})
	rec := httptest.NewRecorder()
	s.ServeHTTP(&hidingWriter{ResponseWriter: rec}, api.WithPrincipal(httptest.NewRequest("GET", "/api/files/demo", nil), &access.Principal{Operator: true}))
	if rec.Code != 200 || strings.Contains(log.String(), "Unwrap") {
		t.Errorf("%d\n%s", rec.Code, log)
	}
}

// What takes long is not given up because its lines cannot be sent at once.
func TestLongWorkBehindMiddleware(t *testing.T) {
	w := newWorld(t)
	for name, around := range map[string]func(http.Handler) http.Handler{"with Unwrap": wrap, "without": hide} {
		s := api.New(w.store, nil)
		s.AnswerWorking(func(found func(any)) {
			for i := range 3 {
				found(i)
			}
		})
		srv := httptest.NewServer(around(s))
		resp, err := http.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || strings.Count(string(text), `"found"`) != 3 || !strings.Contains(string(text), `"report":"report"`) {
			t.Errorf("%s: %s, %v", name, text, err)
		}
		srv.Close()
	}
	// A whole server, too: the store is checked, a file moves, and uploads resume.
	srv := httptest.NewServer(hide(api.New(w.store, &api.Options{Dev: true})))
	defer srv.Close()
	w.url = srv.URL
	f := w.put("file", noise(1<<20))
	if a := w.want(200, "", "POST", "/api/admin/storage/check", strings.NewReader("{}"), "Content-Type", "application/json"); !strings.Contains(string(a.body), `"report"`) {
		t.Errorf("check: %s", a.body)
	}
	if a := w.want(200, "", "GET", "/api/files/demo/"+f.ID+"/download", nil); len(a.body) != 1<<20 {
		t.Errorf("%d bytes", len(a.body))
	}
	up := w.want(201, "", "POST", "/api/tus/demo", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "10").Header.Get("Location")
	for _, offset := range []string{"0", "5"} {
		w.want(204, "", "PATCH", strings.TrimPrefix(up, srv.URL), strings.NewReader("hello"), "Tus-Resumable", "1.0.0", "Upload-Offset", offset, "Content-Type", offsetStream)
	}
	a := w.want(201, "", "POST", "/api/files/demo?name=x", strings.NewReader("hello"), "Upload-Complete", "?1", "Upload-Draft-Interop-Version", "8")
	if a.Header.Get("Content-Location") == "" {
		t.Errorf("headers %v", a.Header)
	}
}

// An upload that has lost its connection goes on: with Unwrap at once, without when
// the connection is known to have ended.
func TestResumeBehindMiddleware(t *testing.T) {
	for name, c := range map[string]struct {
		around func(http.Handler) http.Handler
		hangUp bool
	}{"with Unwrap": {wrap, false}, "without": {hide, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			srv := httptest.NewServer(c.around(api.New(w.store, &api.Options{Dev: true})))
			defer srv.Close()
			w.url = srv.URL
			at := strings.TrimPrefix(w.want(201, "", "POST", "/api/tus/demo", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "10").Header.Get("Location"), srv.URL)
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: %s\r\nContent-Length: 10\r\n\r\nhello",
				at, srv.Listener.Addr(), offsetStream)
			if c.hangUp {
				defer time.AfterFunc(50*time.Millisecond, func() { conn.Close() }).Stop()
			}
			var a *answer
			for range 10 { // the request that has lost its connection may come later than these
				a = w.want(200, "", "HEAD", at, nil, "Tus-Resumable", "1.0.0")
				from := a.Header.Get("Upload-Offset") // of the five bytes, what had come by then
				n, err := strconv.Atoi(from)
				if err != nil || n > 5 {
					t.Fatalf("offset %q", from)
				}
				a = w.do("PATCH", at, strings.NewReader("helloworld"[n:]), "Tus-Resumable", "1.0.0", "Upload-Offset", from, "Content-Type", offsetStream)
				if a.StatusCode == 204 {
					break
				}
			}
			got := w.want(200, "", "GET", a.Header.Get("Content-Location")+"/download", nil)
			if string(got.body) != "helloworld" {
				t.Errorf("%q", got.body)
			}
		})
	}
}
