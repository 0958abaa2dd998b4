package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// A gate stands before a service, and can be closed to packs.
type gate struct {
	closed atomic.Bool
	packs  atomic.Int64 // that went through
}

// newGate stands before s, which leads through it from then on.
func newGate(t *testing.T, s *s3test.Server) *gate {
	t.Helper()
	to, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/packs/") {
			if g.closed.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			g.packs.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.Endpoint = srv.URL
	return g
}

const journalSchema = `buckets:
  demo: {acknowledge: journal, digests: [sha256], rules: {create: "true", read: "true"}}
`

// TestKillJournal kills the server while packs wait to be sent. Every file
// that it acknowledged is there after a plain restart and, once the packs have
// been sent, in S3.
func TestKillJournal(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	bin := buildCairn(t)
	s := s3test.Fake(t)
	g := newGate(t, s)
	flags := s3Config(t, s, journalSchema)
	dir := flags[1]
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	var all []ack
	for round := range soak(1) {
		g.closed.Store(true)
		srv := start(t, bin, dir, flags[2:]...)
		var wg sync.WaitGroup
		var n atomic.Int64
		enough := make(chan struct{})
		for range 4 {
			seed := r.Uint64()
			wg.Go(func() {
				upload(srv.url, seed, func(a ack) {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, a)
					if n.Add(1) == 60 {
						close(enough)
					}
				})
			})
		}
		<-enough // though no pack can have been sent
		srv.kill()
		wg.Wait()
		if sent := g.packs.Load(); round == 0 && sent > 0 {
			t.Fatalf("%d packs were sent through a closed gate", sent)
		}
		if out, err := exec.Command(bin, append([]string{"check", "--json"}, flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("check: %v\n%s", err, out)
		}
		srv = start(t, bin, dir, flags[2:]...)
		for _, a := range all {
			if got := download(t, srv.url, a.id); got != a.sha256 {
				t.Errorf("file %s reads back as %s, want %s", a.id, got, a.sha256)
			}
		}
		g.closed.Store(false)
		drained(t, dir)
		srv.kill()
	}

	elsewhere := filepath.Join(t.TempDir(), "data")
	rebuilt := append([]string{"check", "--repair", "--take-ownership", "--data", elsewhere}, flags[2:]...)
	if out, err := exec.Command(bin, rebuilt...).CombinedOutput(); err != nil {
		t.Fatalf("rebuild from S3 alone: %v\n%s", err, out)
	}
	srv := start(t, bin, elsewhere, flags[2:]...)
	defer srv.kill()
	for _, a := range all {
		if got := download(t, srv.url, a.id); got != a.sha256 {
			t.Errorf("file %s reads back from S3 as %s, want %s", a.id, got, a.sha256)
		}
	}
}

// drained waits until no pack waits to be sent.
func drained(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for range 600 {
		left, _ = filepath.Glob(filepath.Join(dir, "journal", "far", "packs", "*", "*"))
		if len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("packs wait for a minute: %v", left)
}
