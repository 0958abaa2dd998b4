package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
)

// inProcess is the transport of a client whose server is in this process. It
// holds each answer in memory.
type inProcess struct{ server *api.Server }

// RoundTrip has the server answer r as a request of the store's owner.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := api.WithPrincipal(r, &access.Principal{Operator: true})
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	a := &answer{header: make(http.Header), status: http.StatusOK}
	if err := a.answerTo(in, t.server); err != nil {
		return nil, err
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r}, nil
}

// An answer is an http.ResponseWriter in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// answerTo lets h answer r. A handler that gives up half-way panics, which
// breaks the connection where there is one.
func (a *answer) answerTo(r *http.Request, h http.Handler) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = fmt.Errorf("the answer broke off after %d bytes: %w", a.body.Len(), io.ErrUnexpectedEOF)
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(a, r)
	return nil
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
