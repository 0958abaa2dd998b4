package api_test

import (
	"strings"
	"sync"
	"testing"
)

// One request that comes several times at once does its work once. The others
// are told where the upload stands, that it is locked, or, where they bring
// nothing, what the first one is told.
func TestSentTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("hello", 60_000)
	end := func(offset, complete, kind string) []string {
		return []string{"Upload-Offset", offset, "Upload-Complete", complete, "Content-Type", kind, "Tus-Resumable", "1.0.0"}
	}
	tus := func() string { return (&tusUpload{world: w}).begin("demo", "Upload-Length", "300000") }
	started := func() string {
		u := (&tusUpload{world: w}).begin("demo", "Upload-Defer-Length", "1")
		if a := w.do("PATCH", u, strings.NewReader("hello"), end("0", "?0", offsetStream)...); a.StatusCode != 204 {
			t.Fatal(a.Status)
		}
		return u
	}
	rufh := func(body string) string {
		v := &resumable{world: w}
		v.create(201, "POST", "/api/files/demo?name=f", strings.NewReader(body), "Upload-Complete", "?0")
		return v.url
	}
	for what, c := range map[string]struct {
		begin  func() string
		header []string
		body   string
		others string // status that others may have
	}{
		"tus":                       {tus, end("0", "?1", offsetStream), big, "409 423"},
		"tus, the end alone":        {started, append(end("5", "?1", offsetStream), "Upload-Length", "5"), "", "204 423"},
		"the IETF's":                {func() string { return rufh("") }, end("0", "?1", partial), big, "409 423"},
		"the IETF's, the end alone": {func() string { return rufh("hello") }, end("5", "?1", partial), "", "201 423"},
	} {
		for range 10 {
			url := c.begin()
			var all sync.WaitGroup
			var mu sync.Mutex
			seen := make(map[string]int)
			for range 4 {
				all.Go(func() {
					a := w.do("PATCH", url, strings.NewReader(c.body), c.header...)
					mu.Lock()
					defer mu.Unlock()
					seen[a.Status[:3]]++
				})
			}
			all.Wait()
			if c.body != "" && seen["201"]+seen["204"] > 1 {
				t.Errorf("%s: done %v", what, seen)
			}
			for status := range seen {
				if status != "201" && status != "204" && !strings.Contains(c.others, status) {
					t.Errorf("%s: %v", what, seen)
				}
			}
		}
	}
}
