package s3test

import (
	"maps"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend/s3backend"
)

// A Counter counts the requests that a backend makes.
type Counter struct {
	mu sync.Mutex
	n  map[string]int // by method, where LIST is a GET without a key; guarded by mu
}

// Watch returns a Counter of the requests of a backend opened with o.
func Watch(o *s3backend.Options) *Counter {
	c := &Counter{n: make(map[string]int)}
	o.Wrap = func(next aws.HTTPClient) aws.HTTPClient { return &counting{c, next} }
	return c
}

// Take returns the requests since the last Take, by method.
func (c *Counter) Take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := maps.Clone(c.n)
	clear(c.n)
	return out
}

type counting struct {
	c    *Counter
	next aws.HTTPClient
}

func (c *counting) Do(r *http.Request) (*http.Response, error) {
	kind := r.Method
	if kind == http.MethodGet && r.URL.Query().Has("list-type") {
		kind = "LIST"
	}
	c.c.mu.Lock()
	c.c.n[kind]++
	c.c.mu.Unlock()
	return c.next.Do(r)
}
