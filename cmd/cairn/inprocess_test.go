package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// An answer that breaks off in this process is an error, as over a connection.
func TestAnswerBreaksOff(t *testing.T) {
	for name, c := range map[string]struct {
		panics any
		want   error
	}{
		"whole":      {nil, nil},
		"breaks off": {http.ErrAbortHandler, io.ErrUnexpectedEOF},
		"mistake":    {"mistake", nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswer(false)
			go func() {
				defer func() {
					if p := recover(); p != nil {
						if p != c.panics {
							t.Errorf("panic %v", p)
						}
						a.end(nil)
					}
				}()
				a.end(a.answerTo(httptest.NewRequest("GET", "/", nil), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					io.WriteString(w, "some")
					if c.panics != nil {
						panic(c.panics)
					}
				})))
			}()
			if p, err := io.ReadAll(a.reader); !errors.Is(err, c.want) || string(p) != "some" {
				t.Errorf("%v with %q", err, p)
			}
		})
	}
}

// An answer is read while it is written, and its header is that of its begin.
func TestAnswerIsStreamed(t *testing.T) {
	a := newAnswer(false)
	read := make(chan struct{})
	go func() {
		a.end(a.answerTo(httptest.NewRequest("GET", "/", nil), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "8")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("Late", "yes")
			io.WriteString(w, "some")
			<-read
			io.WriteString(w, "more")
		})))
	}()
	<-a.begun
	if a.status != http.StatusCreated || a.sent.Get("Late") != "" || a.length() != 8 {
		t.Errorf("%d %v", a.status, a.sent)
	}
	p := make([]byte, 4)
	if _, err := io.ReadFull(a.reader, p); err != nil || string(p) != "some" {
		t.Fatalf("%q, %v", p, err)
	}
	close(read)
	if p, err := io.ReadAll(a.reader); err != nil || string(p) != "more" {
		t.Errorf("%q, %v", p, err)
	}
}
