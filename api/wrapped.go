package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// noticeWrapped logs once for a Server, by the error of a deadline that was set,
// that something between net/http and here hides the connection. Then senders that
// are slow are not cut off here, and those that net/http's own timeouts cut off
// are so however fast they are. Requests go on: there is nothing better to do.
func (s *Server) noticeWrapped(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, http.ErrNotSupported) {
		return
	}
	srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return // a program calls the handler itself, and there is no connection
	}
	s.wrappedTold.Do(func() {
		for { // find the one that hides
			u, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				break
			}
			w = u.Unwrap()
		}
		s.log.Warn("the time of slow requests cannot be bounded or extended: a middleware wraps http.ResponseWriter and hides what is in it. "+
			"Give its type a method Unwrap() http.ResponseWriter that returns the wrapped one. "+
			"Until then leave ReadTimeout and WriteTimeout of the http.Server at 0: they end long uploads and downloads",
			"type", fmt.Sprintf("%T", w), "read_timeout", srv.ReadTimeout, "write_timeout", srv.WriteTimeout)
	})
}

// flushAnswer sends what was written. Where a middleware hides how, it goes with what
// follows.
func flushAnswer(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// extendDeadline gives the next write its time. It does nothing where there is no
// connection.
func (w *recorder) extendDeadline() {
	w.body.notice(w.control.SetWriteDeadline(time.Now().Add(w.timeout)))
}

// clearDeadline ends the time of a write, where one that passes later would end the
// stream.
func (w *recorder) clearDeadline() {
	if w.body.streamed {
		w.control.SetWriteDeadline(time.Time{})
	}
}
