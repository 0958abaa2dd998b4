package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
)

// inProcess is the transport of a client whose server is in this process. An
// answer is read while it is written.
type inProcess struct{ server *api.Server }

// RoundTrip has the server answer r as a request of the store's owner.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := api.WithPrincipal(r.WithContext(ctx), &access.Principal{Operator: true})
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	a := newAnswer(r.Method == http.MethodHead)
	body := &answerBody{PipeReader: a.reader, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(body.ended)
		defer in.Body.Close()
		a.end(a.answerTo(in, t.server))
	}()
	select {
	case <-a.begun:
	case <-r.Context().Done():
	}
	if err := r.Context().Err(); err != nil {
		body.Close()
		return nil, err
	}
	return &http.Response{Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, Body: body, ContentLength: a.length(), Request: r}, nil
}

// An answerBody is the body of an answer. Its Close waits for the handler.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

func (b *answerBody) Close() error {
	b.PipeReader.Close()
	b.cancel()
	<-b.ended
	return nil
}

// An answer is an http.ResponseWriter whose bytes go through a pipe.
type answer struct {
	header http.Header
	sent   http.Header // as it was when the answer began
	status int
	count  int64
	bare   bool // without a body
	reader *io.PipeReader
	writer *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
}

func newAnswer(bare bool) *answer {
	a := &answer{header: make(http.Header), bare: bare, begun: make(chan struct{})}
	a.reader, a.writer = io.Pipe()
	return a
}

// answerTo lets h answer r. A handler that gives up half-way panics, which
// breaks the connection where there is one.
func (a *answer) answerTo(r *http.Request, h http.Handler) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = fmt.Errorf("the answer broke off after %d bytes: %w", a.count, io.ErrUnexpectedEOF)
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(a, r)
	return nil
}

// end ends the answer, with an error if it broke off.
func (a *answer) end(err error) {
	a.WriteHeader(http.StatusOK)
	a.writer.CloseWithError(err)
}

func (a *answer) length() int64 {
	n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK {
		return // an interim answer
	}
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.bare {
		return len(p), nil
	}
	n, err := a.writer.Write(p)
	a.count += int64(n)
	return n, err
}

// Flush lets the client see that the answer has begun.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }
