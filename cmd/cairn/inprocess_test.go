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
			defer func() {
				if p := recover(); p != nil && p != c.panics {
					t.Errorf("panic %v", p)
				}
			}()
			a := &answer{header: make(http.Header)}
			err := a.answerTo(httptest.NewRequest("GET", "/", nil), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "some")
				if c.panics != nil {
					panic(c.panics)
				}
			}))
			if !errors.Is(err, c.want) || a.body.String() != "some" {
				t.Errorf("%v with %q", err, a.body.String())
			}
		})
	}
}
