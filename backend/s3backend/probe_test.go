package s3backend_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/internal/s3test"
)

func TestProbe(t *testing.T) {
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		b := s.Open(t)
		found, err := b.Probe(t.Context(), true)
		if err != nil || len(found) < 10 {
			t.Fatal(found, err)
		}
		for _, f := range found {
			if !f.OK && !(s.SingleWriter && f.Name == backend.ConditionalPut) {
				t.Errorf("%s: %s", f.Name, f.Detail)
			}
		}
		for info, err := range b.List(t.Context(), "") {
			t.Errorf("after the probe: listed %v, error %v, want no object", info, err)
		}
	})
}

// A service that lacks something is told apart from one that has it.
func TestProbeFinds(t *testing.T) {
	s := s3test.Fake(t)
	for _, c := range []struct {
		name    string
		refused bool
		change  func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error)
	}{
		{"read after write", true, func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "whole1") {
				return answer(r, 404, "<Error><Code>NoSuchKey</Code></Error>"), nil
			}
			return send()
		}},
		{"ranges", true, func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/ranges") {
				r.Header.Del("Range")
			}
			return send()
		}},
		{"conditional put", false, func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			r.Header.Del("If-None-Match")
			return send()
		}},
		{"conditional put", false, func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if r.Header.Get("If-None-Match") != "" {
				return answer(r, 501, "<Error><Code>NotImplemented</Code></Error>"), nil
			}
			return send()
		}},
		{"metadata", true, func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			resp, err := send()
			if err == nil {
				resp.Header.Del("X-Amz-Meta-Cairn-Writer")
			}
			return resp, err
		}},
	} {
		o := s.Options(t)
		o.Attempts = 1
		o.Wrap = func(next aws.HTTPClient) aws.HTTPClient {
			return client(func(r *http.Request) (*http.Response, error) {
				return c.change(r, func() (*http.Response, error) { return next.Do(r) })
			})
		}
		found, err := s3test.Open(t, o).Probe(t.Context(), false)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var lacks []string
		for _, f := range found {
			if !f.OK {
				lacks = append(lacks, f.Name)
			}
		}
		if len(lacks) != 1 || lacks[0] != c.name || (backend.Refuse(found) != nil) != c.refused {
			t.Errorf("%s: lacks %q, refused: %v", c.name, lacks, backend.Refuse(found))
		}
	}
}

type client func(*http.Request) (*http.Response, error)

func (c client) Do(r *http.Request) (*http.Response, error) { return c(r) }

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader([]byte(body)))}
}
