package api

import (
	"io"
	"net/http"
)

// Routes are the paths and methods that a server answers.
func (s *Server) Routes() map[string][]string {
	out := make(map[string][]string)
	for _, r := range s.routes() {
		for m := range r.methods {
			out[r.path] = append(out[r.path], m)
		}
	}
	return out
}

func ContentRange(value string) (from, size int64, err error) { return contentRange(value) }

// Answer has h answer all requests, inside what surrounds every handler.
func (s *Server) Answer(h func(w http.ResponseWriter, r *http.Request) error) {
	s.handler = s.withMount(s.wrapHandler(s.handlerOf(h)))
}

// ReadBody reads a body as handlers do.
func ReadBody(r *http.Request) (int64, error) {
	n, err := io.Copy(io.Discard, r.Body)
	return n, bodyError(err)
}
