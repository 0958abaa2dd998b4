package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestUsesOfASignedURL sends a request by a URL that may be used once, and finds
// out whether that was the use. What brings no content is none; but when there
// are no uses left, nothing is answered any more.
func TestUsesOfASignedURL(t *testing.T) {
	w := secured(t, ownersSchema)
	f, empty := w.putAs("ann", "docs", "f", "content"), w.putAs("ann", "docs", "empty", "")
	tag := `"b3-` + f.Checksums["root"] + `"`
	since := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		method, header, value string
		status                int
		counts                bool
	}{
		{"GET", "", "", 200, true},
		{"GET", "Range", "bytes=0-1", 206, true},
		{"GET", "Range", "bytes=0-0,2-3", 206, true},
		{"GET", "Range", "bytes=7-5", 200, true}, // not valid: all comes
		{"GET", "Range", "bytes=7-", 416, false},
		{"GET", "Range", "bytes=-0", 416, false},
		{"GET", "If-None-Match", tag, 304, false},
		{"GET", "If-None-Match", "W/" + tag, 304, false},
		{"GET", "If-None-Match", "*", 304, false},
		{"GET", "If-None-Match", `"other"`, 200, true},
		{"GET", "If-Modified-Since", since, 304, false},
		{"GET", "If-Match", tag, 200, true},
		{"GET", "If-Match", `"other"`, 412, false},
		{"GET", "If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", 412, false},
		{"GET", "If-Unmodified-Since", since, 200, true},
		{"HEAD", "", "", 200, false},
		{"HEAD", "Range", "bytes=0-1", 200, false},
		{"HEAD", "If-None-Match", tag, 304, false},
		{"HEAD", "If-Match", `"other"`, 412, false},
		{"OPTIONS", "", "", 204, false},
		{"POST", "", "", 405, false},
	} {
		for _, operation := range []string{"download", "view"} {
			path := relative(w.signAs("ann", "docs", f.ID, `{"max_uses": 1, "operation": "`+operation+`"}`))
			send := func() int { return w.do(c.method, path, nil, c.header, c.value).StatusCode }
			if c.header == "" {
				send = func() int { return w.do(c.method, path, nil).StatusCode }
			}
			if got := send(); got != c.status {
				t.Errorf("%s %s with %s %s: %d, want %d", operation, c.method, c.header, c.value, got, c.status)
			}
			if got := w.do("GET", path, nil).StatusCode; (got == 403) != c.counts || got != 403 && got != 200 {
				t.Errorf("%s after %s with %s %s: %d", operation, c.method, c.header, c.value, got)
			}
			if got := send(); c.status < 400 && got != 403 && c.method != "OPTIONS" || c.status >= 400 && c.status != 405 && got != 403 {
				t.Errorf("%s %s with %s %s, used up: %d", operation, c.method, c.header, c.value, got)
			}
		}
	}
	path := relative(w.signAs("ann", "docs", empty.ID, `{"max_uses": 1}`))
	w.want(416, "range-not-satisfiable", "GET", path, nil, "Range", "bytes=0-")
	w.want(200, "", "HEAD", path, nil)
	w.want(200, "", "GET", path, nil)
	w.want(403, "signed-url-expired", "GET", path, nil)
	if a := w.do("HEAD", path, nil); a.StatusCode != 403 {
		t.Errorf("HEAD, used up: %d", a.StatusCode)
	}
}

// Uses are counted right when they come together.
func TestUsesTogether(t *testing.T) {
	w := secured(t, ownersSchema)
	f := w.putAs("ann", "docs", "f", "content")
	path := relative(w.signAs("ann", "docs", f.ID, `{"max_uses": 3}`))
	var all sync.WaitGroup
	var served, refused atomic.Int32
	for range 20 {
		all.Go(func() {
			switch a := w.do("GET", path, nil); {
			case a.StatusCode == 200 && string(a.body) == "content":
				served.Add(1)
			case a.StatusCode == 403 && a.code() == "signed-url-expired" && a.Header.Get("ETag") == "":
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if served.Load() != 3 || refused.Load() != 17 {
		t.Errorf("%d were served, %d refused", served.Load(), refused.Load())
	}
}

// An upload is a use when it has made something.
func TestUsesOfAnUploadURL(t *testing.T) {
	w := secured(t, ownersSchema)
	w.putAs("ann", "docs", "taken", "x")
	path := relative(w.signAs("ann", "docs", "", `{"max_uses": 1, "max_size": 5, "mime_types": ["text/plain"]}`))
	send := func(status int, code, name, content string, header ...string) *answer {
		t.Helper()
		return w.want(status, code, "POST", path+"&name="+name, strings.NewReader(content), append(header, "Content-Type", "text/plain")...)
	}
	send(413, "file-too-large", "a", "123456")
	send(412, "precondition-failed", "taken", "1", "If-None-Match", "*")
	send(400, "invalid-request", "a", "1", "X", "", "If-None-Match", "*", "Idempotency-Key", strings.Repeat("k", 300))
	send(201, "", "a", "1", "Idempotency-Key", "k")
	if a := send(201, "", "a", "1", "Idempotency-Key", "k"); a.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("sent again: %v", a.Header)
	}
	send(403, "signed-url-expired", "b", "1")
	// It is refused before the content is there.
	a := w.raw("POST "+path+"&name=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", false)
	if a.StatusCode != 403 {
		t.Errorf("used up: %d %s", a.StatusCode, a.body)
	}
}

// Limits that say 0 are refused: 0 would be no limit.
func TestLimitsOfZero(t *testing.T) {
	w := secured(t, ownersSchema)
	f := w.putAs("ann", "docs", "f", "content")
	file, upload := "/api/files/docs/"+f.ID+"/sign", "/api/files/docs/_sign-upload"
	for _, value := range []string{"0", "-0", "-1", "0.5", "1.5", "0e1", `"1"`, `""`, "true", "[1]", "9223372036854775808", "1e30"} {
		for path, members := range map[string][]string{file: {"max_uses", "version", "expires_in"}, upload: {"max_uses", "max_size", "expires_in"},
			"/api/files/docs/" + f.ID + "/copy": {"version"}} {
			for _, m := range members {
				if m == "expires_in" && (value == `"1"` || value == "1.5") {
					continue // a number of seconds as text
				}
				body := fmt.Sprintf(`{"%s": %s}`, m, value)
				w.want(400, "invalid-request", "POST", path, strings.NewReader(body), "Content-Type", "application/json", "Authorization", token(t, "ann", nil))
			}
		}
	}
	for path, body := range map[string]string{file: `{"max_uses": null, "version": null, "operation": "download"}`, upload: `{"max_size": 1, "max_uses": 1}`} {
		w.want(200, "", "POST", path, strings.NewReader(body), "Content-Type", "application/json", "Authorization", token(t, "ann", nil))
	}
}
