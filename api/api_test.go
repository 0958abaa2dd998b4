package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// A world is a server over a new store, and what to talk to it with.
type world struct {
	t     *testing.T
	dir   string
	store *buckets.Store
	url   string
	log   *safeBuffer
	opts  api.Options // of the server
	c     *client.Client
	now   func() time.Time // nil for the machine's clock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, nil)
}

// newWorldAt is newWorld with a clock in place of the machine's.
func newWorldAt(t *testing.T, now func() time.Time) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &safeBuffer{}, now: now}
	t.Cleanup(func() {
		if t.Failed() {
			for l := range strings.SplitSeq(w.logged(), "\n") {
				if strings.Contains(l, "level=ERROR") {
					t.Log(l)
				}
			}
		}
	})
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	var err error
	w.store, err = local.Open(context.Background(), w.dir, &local.Options{Buckets: map[string]buckets.Policy{
		"demo":  {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}, Digests: []string{"sha256"}},
		"other": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}},
	}, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(w.store, &api.Options{Dev: true, IdleTimeout: 2 * time.Second, Log: logTo(w.log)}))
	w.url = srv.URL
	w.t.Cleanup(func() {
		srv.Close()
		if err := w.store.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
	if w.c, err = client.New(srv.URL, nil); err != nil {
		w.t.Fatal(err)
	}
}

// An answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// code is that of a problem.
func (a *answer) code() string {
	var p struct{ Code string }
	json.Unmarshal(a.body, &p) // a body that is no problem has no code
	return p.Code
}

// do sends a request; header is pairs of names and values. A value is another
// one if its name begins with "+".
func (w *world) do(method, path string, body io.Reader, header ...string) *answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "" {
			continue
		}
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		if name, more := strings.CutPrefix(header[i], "+"); more {
			r.Header.Add(name, header[i+1])
		} else {
			r.Header.Set(name, header[i+1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return &answer{resp, p}
}

// want sends a request and fails unless it is answered by status and, for a
// refusal, code.
func (w *world) want(status int, code, method, path string, body io.Reader, header ...string) *answer {
	w.t.Helper()
	a := w.do(method, path, body, header...)
	if a.StatusCode != status || a.code() != code {
		w.t.Errorf("%s %s: %d %q, want %d %q: %.300s", method, path, a.StatusCode, a.code(), status, code, a.body)
	}
	return a
}

// raw sends bytes as they are, and perhaps no more ever, and returns the answer.
func (w *world) raw(request string, end bool) *answer {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.url[len("http://"):])
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Logf("sending: %v", err)
	}
	if end {
		conn.(*net.TCPConn).CloseWrite()
	}
	resp, err := http.ReadResponse(newReader(conn), nil)
	if err != nil {
		w.t.Fatalf("no answer: %v", err)
	}
	p, _ := io.ReadAll(resp.Body)
	return &answer{resp, p}
}

func (w *world) put(name string, content []byte) *client.File {
	w.t.Helper()
	f, err := w.c.Upload(w.t.Context(), "demo", name, bytes.NewReader(content), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// empty fails if a refused upload has left a file.
func (w *world) empty() {
	w.t.Helper()
	u, err := w.c.Usage(w.t.Context(), "demo")
	if err != nil || u.Files != 0 || u.Versions != 0 {
		w.t.Errorf("left behind: %+v, %v", u, err)
	}
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// flip damages a byte of the only pack, at a place given from its end or
// beginning.
func (w *world) flip(at func(size int64) int64) {
	w.t.Helper()
	packs, err := filepath.Glob(filepath.Join(w.dir, "packs", "*", "*"))
	if err != nil || len(packs) != 1 {
		w.t.Fatalf("packs %v, %v", packs, err)
	}
	p, err := os.ReadFile(packs[0])
	if err != nil {
		w.t.Fatal(err)
	}
	p[at(int64(len(p)))] ^= 1
	if err := os.WriteFile(packs[0], p, 0o600); err != nil {
		w.t.Fatal(err)
	}
}
