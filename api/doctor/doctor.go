// Package doctor sends requests to the public URL of a server as clients do,
// and reports what a proxy in between changes. It leaves nothing behind.
package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options are choices of Examine; nil and zero values mean the defaults.
type Options struct {
	HTTP   *http.Client // http.DefaultClient
	Token  string       // sent as a bearer token; "" sends none
	Bucket string       // to try uploads in; demo by default
	Origin string       // of pages that are to use the server; "" leaves that out

	// Slow is how long a slow body takes; 65 seconds by default, longer than
	// the usual limits of 30 and 60.
	Slow time.Duration
}

// A Status is the result of a check.
type Status string

const (
	Good  Status = "good"
	Fault Status = "fault"
	Note  Status = "note" // clients work, with some loss
)

// A Check is one property that clients rely on, and whether it holds.
type Check struct {
	Name   string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Nginx  string `json:"nginx,omitempty"` // settings that mend it
	Caddy  string `json:"caddy,omitempty"`
}

// A Report is what Examine found.
type Report struct {
	URL    string  `json:"url"`
	Good   bool    `json:"good"` // no check found a fault
	Checks []Check `json:"checks"`
}

// longest is how long a check may take, with 40 MiB over a slow line.
const longest = 15 * time.Minute

// A patient is the server under examination.
type patient struct {
	base *url.URL
	opts Options
	caps capabilities
}

type capabilities struct {
	Chunker     string   `json:"chunker"`
	Protocols   []string `json:"protocols"`
	MaxFileSize int64    `json:"max_file_size"`
}

// Examine probes the server at base. It fails only if no server answers there
// or ctx ends.
func Examine(ctx context.Context, base string, opts *Options) (*Report, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q: want a URL such as https://files.example.com", base)
	}
	p := &patient{base: u}
	if opts != nil {
		p.opts = *opts
	}
	if p.opts.HTTP == nil {
		p.opts.HTTP = http.DefaultClient
	}
	if p.opts.Bucket == "" {
		p.opts.Bucket = "demo"
	}
	if p.opts.Slow == 0 {
		p.opts.Slow = 65 * time.Second
	}
	if err := p.reachServer(ctx); err != nil {
		return nil, err
	}
	r := &Report{URL: base, Good: true}
	slow := make(chan []Check, 1)
	go func() { slow <- p.checkSlowBody(ctx) }()
	for _, probe := range []func(context.Context) []Check{p.checkHeaders, p.checkResume, p.checkBodyLimit, p.checkChunkedBody, p.checkContent, p.checkInterim, p.checkCORS} {
		cctx, cancel := context.WithTimeout(ctx, longest)
		r.Checks = append(r.Checks, probe(cctx)...)
		cancel()
	}
	r.Checks = append(r.Checks, <-slow...)
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Status == Fault {
			r.Good = false
			c.Nginx, c.Caddy = remedyFor(c.Name)
		}
	}
	return r, ctx.Err()
}

// reachServer reads the capabilities of the bucket.
func (p *patient) reachServer(ctx context.Context) error {
	a, err := p.sendRequest(ctx, "GET", "/api/files/"+url.PathEscape(p.opts.Bucket)+"/_capabilities", nil, 0)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, &p.caps); a.status != http.StatusOK || err != nil || p.caps.Chunker == "" {
		return fmt.Errorf("there is no Cairn with a bucket %q: answer %s", p.opts.Bucket, a)
	}
	return nil
}

// An answer is a response with the first bytes of its body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// isFromServer reports whether Cairn itself sent the answer, rather than a
// proxy.
func (a *answer) isFromServer() bool {
	if a.status >= 400 {
		return strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json")
	}
	return a.header.Get("X-Request-Id") != "" || a.header.Get("X-Content-Type-Options") != ""
}

func (a *answer) String() string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	var problem struct{ Detail string }
	if json.Unmarshal(a.body, &problem) == nil && problem.Detail != "" {
		text += ": " + problem.Detail
	}
	if by := a.header.Get("Server"); by != "" {
		text += fmt.Sprintf(" (by %.40s)", by)
	}
	return text
}

// sendRequest sends a request. header is pairs of names and values. With a
// size of -1 the body is sent in chunks.
func (p *patient) sendRequest(ctx context.Context, method, path string, body io.Reader, size int64, header ...string) (*answer, error) {
	ref, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	u := p.base.JoinPath(ref.Path)
	u.RawQuery = ref.RawQuery
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.ContentLength = size
	}
	if p.opts.Token != "" {
		r.Header.Set("Authorization", "Bearer "+p.opts.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := p.opts.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return &answer{resp.StatusCode, resp.Header, text}, err
}

func good(name, format string, args ...any) []Check {
	return []Check{{Name: name, Status: Good, Detail: fmt.Sprintf(format, args...)}}
}

func fault(name, format string, args ...any) []Check {
	return []Check{{Name: name, Status: Fault, Detail: fmt.Sprintf(format, args...)}}
}

func note(name, format string, args ...any) []Check {
	return []Check{{Name: name, Status: Note, Detail: fmt.Sprintf(format, args...)}}
}

// randomBytes returns bytes that are stored nowhere and do not compress.
func randomBytes(n int64) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

// checkContent uploads a small file, reads it by ranges and conditions, and
// removes it.
func (p *patient) checkContent(ctx context.Context) []Check {
	const size = 100 << 10
	sent := randomBytes(size)
	dir := "/api/files/" + url.PathEscape(p.opts.Bucket)
	a, err := p.sendRequest(ctx, "POST", dir+"?name=cairn-doctor.bin", bytes.NewReader(sent), size, "Content-Type", "application/octet-stream")
	if err != nil {
		return fault("simple-upload", "%v", err)
	}
	var f struct{ ID string }
	if err := json.Unmarshal(a.body, &f); err != nil || a.status != http.StatusCreated {
		return fault("simple-upload", "a file of 100 KiB was not taken: %s", a)
	}
	file := dir + "/" + f.ID
	defer func() {
		// If it cannot be purged, it lies in the trash, or a check below
		// reports it.
		p.sendRequest(context.WithoutCancel(ctx), "DELETE", file+"?permanent=true", nil, 0)
	}()
	out := good("simple-upload", "a file of 100 KiB was taken")
	a, err = p.sendRequest(ctx, "GET", file+"/download", nil, 0, "Range", "bytes=1000-1999", "Accept-Encoding", "gzip")
	switch {
	case err != nil:
		return append(out, fault("ranges", "%v", err)...)
	case a.status != http.StatusPartialContent || !bytes.Equal(a.body, sent[1000:2000]):
		out = append(out, fault("ranges", "asked for bytes 1000 to 1999, got %s with %d bytes: downloads cannot be resumed", a, len(a.body))...)
	default:
		out = append(out, good("ranges", "parts of a file can be read")...)
	}
	return append(out, p.checkETag(ctx, file)...)
}

func (p *patient) checkETag(ctx context.Context, file string) []Check {
	a, err := p.sendRequest(ctx, "GET", file+"/download", nil, 0, "Accept-Encoding", "gzip")
	if err != nil {
		return fault("etag", "%v", err)
	}
	tag := a.header.Get("ETag")
	if !strings.HasPrefix(tag, `"`) {
		return fault("etag", "a download has the ETag %q, not a strong one: resumed downloads and If-Match fail", tag)
	}
	if a, err = p.sendRequest(ctx, "GET", file+"/download", nil, 0, "If-None-Match", tag); err != nil || a.status != http.StatusNotModified {
		return fault("etag", "If-None-Match is not heeded: %v", errors.Join(err, fmt.Errorf("%v", a)))
	}
	return good("etag", "strong, and If-None-Match is heeded")
}
