package doctor_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/doctor"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

func serve(t *testing.T) (*httptest.Server, *buckets.Store) { return serveUpTo(t, nil) }

// serveUpTo serves a bucket of a policy; nil is the usual one.
func serveUpTo(t *testing.T, p *buckets.Policy) (*httptest.Server, *buckets.Store) {
	var opts *local.Options
	if p != nil {
		opts = &local.Options{Buckets: map[string]buckets.Policy{"demo": *p}}
	}
	store, err := local.Open(t.Context(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	return srv, store
}

func examine(t *testing.T, url string) *doctor.Report {
	t.Helper()
	r, err := doctor.Examine(t.Context(), url, &doctor.Options{Slow: 800 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Checks {
		t.Logf("%s %s: %s", c.Status, c.Name, c.Detail)
	}
	return r
}

// faults names the checks that found one.
func faults(r *doctor.Report) (names []string) {
	for _, c := range r.Checks {
		if c.Status == doctor.Fault {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestNothingWrong(t *testing.T) {
	race.LeaveOut(t)
	srv, store := serve(t)
	if r := examine(t, srv.URL); !r.Good || len(faults(r)) > 0 {
		t.Errorf("faults: %v", faults(r))
	}
	b, err := store.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	if u, err := b.Usage(t.Context()); err != nil || u.Versions != 0 {
		t.Errorf("left behind: %+v, %v", u, err)
	}
	if _, err := doctor.Examine(t.Context(), srv.URL, &doctor.Options{Bucket: "nope"}); err == nil {
		t.Error("no bucket, no error")
	}
}

var errLength = errors.New("no length")

// Each thing that a proxy may do wrong is found, and nothing else.
func TestFaults(t *testing.T) {
	proxies := map[string]struct {
		request func(r *http.Request) error
		answer  func(r *http.Response) error
		host    bool // is not passed on
		want    []string
	}{
		"keeps bodies": {request: func(r *http.Request) error {
			p, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(p))
			return err
		}, want: []string{"request-buffering"}},
		"another host": {host: true, want: []string{"location"}},
		"strips Tus-Resumable": {request: func(r *http.Request) error {
			r.Header.Del("Tus-Resumable")
			return nil
		}, want: []string{"headers"}},
		"strips Upload-Offset": {answer: func(r *http.Response) error {
			r.Header.Del("Upload-Offset")
			return nil
		}, want: []string{"headers", "resume"}},
		"ignores ranges": {request: func(r *http.Request) error {
			r.Header.Del("Range")
			return nil
		}, want: []string{"ranges"}},
		"weak tags": {answer: func(r *http.Response) error {
			if tag := r.Header.Get("ETag"); tag != "" {
				r.Header.Set("ETag", "W/"+tag)
			}
			return nil
		}, want: []string{"etag"}},
		"wants lengths": {request: func(r *http.Request) error {
			if r.ContentLength < 0 {
				return errLength
			}
			return nil
		}, want: []string{"chunked-body"}},
	}
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, _ := serve(t)
			to, err := url.Parse(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			rp := &httputil.ReverseProxy{ModifyResponse: p.answer, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				if !p.host {
					r.Out.Host = r.In.Host
				}
			}}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if p.request != nil {
					if err := p.request(r); err != nil {
						w.WriteHeader(http.StatusLengthRequired)
						return
					}
				}
				rp.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			r := examine(t, proxy.URL)
			if got := faults(r); !slices.Equal(got, p.want) || r.Good {
				t.Errorf("faults %v, want %v", got, p.want)
			}
		})
	}
}

// A server below a path is found there, and where its answers lack the path that
// is said.
func TestBelowPath(t *testing.T) {
	for name, c := range map[string]struct {
		prefix string
		want   []string
	}{"mounted": {"/storage", nil}, "says another path": {"/elsewhere", []string{"location"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, store := serve(t)
			srv := httptest.NewServer(http.StripPrefix("/storage", api.New(store, &api.Options{Dev: true, Prefix: c.prefix})))
			defer srv.Close()
			if got := faults(examine(t, srv.URL+"/storage/")); !slices.Equal(got, c.want) {
				t.Errorf("faults %v, want %v", got, c.want)
			}
		})
	}
}

// What is slow is not broken: a server or a machine under load hands on what it
// has read in its own time.
func TestSlowIsNoFault(t *testing.T) {
	for name, slow := range map[string]func(r *http.Request) io.Reader{
		"every request waits": func(r *http.Request) io.Reader {
			time.Sleep(300 * time.Millisecond)
			return r.Body
		},
		"bodies begin late": func(r *http.Request) io.Reader { return &lateReader{r: r.Body, first: 1200 * time.Millisecond} },
		"bodies trickle":    func(r *http.Request) io.Reader { return &lateReader{r: r.Body, each: 10 * time.Millisecond} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A body that fits into the buffers of connections: it has left the
			// client at once, wherever it is.
			srv, _ := serveUpTo(t, &buckets.Policy{Domain: "local", Limits: buckets.Limits{MaxFileSize: 1 << 20}})
			to, err := url.Parse(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			rp := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host
				if r.In.ContentLength != 0 {
					r.Out.Body = io.NopCloser(slow(r.In))
				}
			}}
			proxy := httptest.NewServer(rp)
			defer proxy.Close()
			if r := examine(t, proxy.URL); !r.Good {
				t.Errorf("faults %v", faults(r))
			}
		})
	}
}

// A lateReader waits before the first and before each Read.
type lateReader struct {
	r           io.Reader
	first, each time.Duration
}

func (l *lateReader) Read(p []byte) (int, error) {
	time.Sleep(l.first + l.each)
	l.first = 0
	return l.r.Read(p)
}

// nginxOn runs nginx with a server block, and returns its URL.
func nginxOn(t *testing.T, block string) string {
	bin := os.Getenv("CAIRN_NGINX")
	if bin == "" {
		t.Skip("CAIRN_NGINX names no nginx")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	var paths strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s;\n", name, filepath.Join(dir, name))
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	conf := fmt.Sprintf("%sdaemon off;\npid %s/pid;\nerror_log %[2]s/error.log;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n",
		user, dir, &paths, strings.NewReplacer("listen 80;", "listen "+addr+";").Replace(block))
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(conf), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", name, "-e", filepath.Join(dir, "error.log"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return "http://" + addr
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("nginx did not start")
	return ""
}

func TestNginxAsRecommended(t *testing.T) {
	race.LeaveOut(t)
	srv, _ := serve(t)
	url := nginxOn(t, strings.Replace(doctor.Nginx(), "127.0.0.1:8090", srv.Listener.Addr().String(), 1))
	if r := examine(t, url); !r.Good {
		t.Errorf("faults: %v", faults(r))
	}
}

func TestNginxByDefault(t *testing.T) {
	race.LeaveOut(t)
	srv, _ := serve(t)
	block := "server { listen 80; %s location / { proxy_pass " + srv.URL + "; %s } }"
	r := examine(t, nginxOn(t, fmt.Sprintf(block, "", "")))
	if got, want := faults(r), []string{"body-size", "request-buffering"}; !slices.Equal(got, want) {
		t.Errorf("faults %v, want %v", got, want)
	}
	for _, c := range r.Checks {
		if c.Status != doctor.Fault {
			continue
		}
		for line := range strings.SplitSeq(c.Nginx, "\n") {
			if line == "" || !strings.Contains(doctor.Nginx(), line) {
				t.Errorf("%s: %q is not among the recommended settings", c.Name, line)
			}
		}
	}
	// Newer ones than Debian's may know of interim answers.
	r = examine(t, nginxOn(t, fmt.Sprintf(block, "client_max_body_size 0;", "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; proxy_request_buffering off; proxy_set_header Host $http_host;")))
	if got := faults(r); len(got) > 0 && !slices.Equal(got, []string{"interim"}) {
		t.Errorf("faults %v, want [interim] or none", got)
	}
	r = examine(t, nginxOn(t, fmt.Sprintf(block, "client_max_body_size 0;", "proxy_set_header Host $http_host;")))
	if got, want := faults(r), []string{"request-buffering"}; !slices.Equal(got, want) {
		t.Errorf("faults %v, want %v", got, want)
	}
}

// The settings stand in the manual as they are tested.
func TestManual(t *testing.T) {
	p, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{doctor.Nginx(), doctor.Caddy()} {
		if !strings.Contains(string(p), want) {
			t.Errorf("docs/proxies.md lacks\n%s", want)
		}
	}
}
