// Package client is a client of the HTTP API of a Cairn server. Put and
// Download send and receive only chunks that the other side lacks, and try
// again when the network fails.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Client sends requests to one server. Its methods may run concurrently.
type Client struct {
	base     *url.URL
	http     *http.Client
	token    string
	patience time.Duration
}

// Options are choices of New; nil and zero values mean the defaults.
type Options struct {
	HTTP  *http.Client // by default as http.DefaultClient, with more idle connections
	Token string       // sent as a bearer token; "" sends none

	// Patience is how long Put and Download try again while nothing moves; 2
	// minutes by default. It counts for a server that has answered before.
	Patience time.Duration
}

const idleConnections = 64 // to the server

// New returns a client of the server at base, such as "http://127.0.0.1:8090".
func New(base string, opts *Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server %q: want an address such as http://127.0.0.1:8090: %w", base, fs.ErrInvalid)
	}
	if opts == nil {
		opts = &Options{}
	}
	c := &Client{base: u, http: opts.HTTP, token: opts.Token, patience: opts.Patience}
	if c.patience == 0 {
		c.patience = 2 * time.Minute
	}
	if c.http == nil {
		c.http = http.DefaultClient
		if t, ok := http.DefaultTransport.(*http.Transport); ok {
			t = t.Clone()
			t.MaxIdleConnsPerHost = idleConnections
			c.http = &http.Client{Transport: t}
		}
	}
	return c, nil
}

// An Error is a refusal by the server. Its status decides whether errors.Is
// reports it as fs.ErrNotExist, fs.ErrPermission or fs.ErrExist.
type Error struct {
	Status    int    `json:"status"`
	Code      string `json:"code"` // as listed in api/ERRORS.md
	Detail    string `json:"detail"`
	RequestID string `json:"instance"`

	Details    json.RawMessage `json:"details"` // by code
	RetryAfter time.Duration   `json:"-"`       // of the server's Retry-After, 0 without it
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s (%d %s)", e.Detail, e.Status, e.Code)
}

// Is implements errors.Is.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone
	case fs.ErrPermission:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	case fs.ErrExist:
		return e.Code == "name-taken"
	}
	return false
}

// hasCode reports whether err is a refusal with a code.
func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// A request is one call of the API. body may be nil.
type request struct {
	method string
	admin  bool     // below /api/admin, not /api/files
	path   []string // elements after that
	query  url.Values
	header http.Header
	body   io.Reader
	size   int64 // of body, -1 when unknown
}

// escapeElement escapes an element of a path, also one that would name another
// place.
func escapeElement(e string) string {
	if e == "." || e == ".." {
		return strings.ReplaceAll(e, ".", "%2E")
	}
	return url.PathEscape(e)
}

// sendRequest sends a request. An answer with a status other than 2xx is an
// *Error.
func (c *Client) sendRequest(ctx context.Context, q *request) (*http.Response, error) {
	u := c.base.JoinPath("api", "files")
	if q.admin {
		u = c.base.JoinPath("api", "admin")
	}
	raw := u.EscapedPath()
	for _, e := range q.path {
		raw += "/" + escapeElement(e)
	}
	var err error
	if u.Path, err = url.PathUnescape(raw); err != nil {
		return nil, err
	}
	u.RawPath = raw
	u.RawQuery = q.query.Encode()
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), q.body)
	if err != nil {
		return nil, err
	}
	if q.header != nil {
		r.Header = q.header.Clone()
	}
	r.Header.Add("Accept", ProblemType+", */*;q=0.1")
	if q.body != nil && r.ContentLength == 0 && r.Body != http.NoBody {
		r.ContentLength = q.size
		if q.size == 0 {
			r.Body = http.NoBody
		}
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &Error{}
	p, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // without a body the status has to do
	if json.Unmarshal(p, e) != nil {
		e.Detail = strings.TrimSpace(string(p))
	}
	e.Status, e.RetryAfter = resp.StatusCode, retryAfter(resp.Header)
	return nil, e
}

// ProblemType is the media type of refusals. Who takes it is answered in Cairn's own
// spelling also by a server that is set up for Alyx's clients.
const ProblemType = "application/problem+json"

const (
	maxAnswer  = 64 << 20 // bytes of JSON
	maxRefusal = 2 << 20  // bytes of an error, which may list 10,000 digests
)

// callJSON sends a request and decodes the answer into out, unless out is nil.
func (c *Client) callJSON(ctx context.Context, q *request, out any) error {
	resp, err := c.sendRequest(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	p, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		err = &brokenError{err}
	} else {
		err = json.Unmarshal(p, out)
	}
	if err != nil {
		return fmt.Errorf("answer to %s %s: %w", q.method, resp.Request.URL.Path, err)
	}
	return nil
}

func (c *Client) callFile(ctx context.Context, q *request) (*File, error) {
	f := new(File)
	if err := c.callJSON(ctx, q, f); err != nil {
		return nil, err
	}
	return f, nil
}

// withJSON gives the request a JSON body.
func (q *request) withJSON(v any) *request {
	p, err := json.Marshal(v)
	if err != nil {
		panic(err) // callers pass plain structs and maps
	}
	if q.header == nil {
		q.header = make(http.Header)
	}
	q.header.Set("Content-Type", "application/json")
	return q.withBody(p)
}

func (q *request) withBody(p []byte) *request {
	q.body, q.size = bytes.NewReader(p), int64(len(p))
	return q
}
