package api_test

import (
	"io"
	"strconv"
	"sync"
	"testing"
	"time"
)

const limitSchema = `buckets: {b: {rules: {create: auth.id != null, read: "true"}}}`

func TestRateLimit(t *testing.T) {
	w := securedBy(t, testConfig+`
server: {rate_limit: 1, rate_burst: 5}
`, limitSchema)
	ann, bob := token(t, "ann", nil), token(t, "bob", nil)
	get := func(status int, code, bearer string) *answer {
		t.Helper()
		return w.want(status, code, "GET", "/api/files/b", nil, "Authorization", bearer)
	}
	for range 5 {
		get(200, "", ann)
	}
	a := get(429, "rate-limited", ann)
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 10 {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	get(200, "", bob) // others go on
	for range 50 {    // operators too
		get(200, "", token(t, "root", map[string]any{"role": "admin"}))
	}
	// Those whom nobody believes are counted by where they come from.
	limited := 0
	for range 10 {
		if w.do("GET", "/api/files/b", nil, "Authorization", "Bearer cairn_0123456789abcdef_00").StatusCode == 429 {
			limited++
		}
	}
	if limited < 4 {
		t.Errorf("%d of 10 guesses were limited", limited)
	}
	w.want(429, "rate-limited", "GET", "/api/files/b", nil)
	w.want(200, "", "GET", "/healthz", nil)
}

func TestMaxConcurrent(t *testing.T) {
	w := securedBy(t, testConfig+`
server: {max_concurrent: 2}
`, limitSchema)
	ann := token(t, "ann", nil)
	var all sync.WaitGroup
	var pipes []*io.PipeWriter
	for i := range 2 {
		r, p := io.Pipe()
		pipes = append(pipes, p)
		all.Go(func() {
			w.want(201, "", "POST", "/api/files/b?name="+strconv.Itoa(i), r, "Authorization", ann)
		})
		p.Write([]byte("x")) // the request is under way
	}
	for range 100 { // until both are counted
		if w.do("GET", "/api/files/b", nil, "Authorization", ann).StatusCode == 429 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	a := w.want(429, "too-many-requests", "GET", "/api/files/b", nil, "Authorization", ann)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.want(200, "", "GET", "/api/files/b", nil, "Authorization", token(t, "bob", nil))
	for _, p := range pipes {
		p.Close()
	}
	all.Wait()
	w.want(200, "", "GET", "/api/files/b", nil, "Authorization", ann)
}
