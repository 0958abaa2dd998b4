package main

import (
	"log/slog"
	"net/http"
)

// A statusWriter notes the status of an answer. It has no method Unwrap, as many that
// are found in the wild: Cairn goes on, and logs once what to do.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// logRequests logs each request.
func logRequests(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		log.Info("host", "method", r.Method, "path", r.URL.Path, "status", rec.status)
	})
}
