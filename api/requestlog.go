package api

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
)

// A requestNote gathers what the log says of a request, beside what its recorder
// counts.
type requestNote struct {
	id      string
	method  string            // as it counts, see overrideMethod; "" is the request's own
	route   string            // the pattern of its path, "" where there is none
	bucket  string            // that the path names
	session string            // ID of the session that the path names
	who     *access.Principal // nil while nobody knows
	behind  *access.Principal // the operator who asked to count as who
	code    string            // of the problem that it was answered with
	err     error             // what that was about
	gone    bool              // the client did not wait for the answer
	told    bool              // whoever asked has been told all about a failure
}

type noteKey struct{}

// noteOf returns the note of a request; one that did not come through wrapHandler
// gets a new one, which nobody reads.
func noteOf(r *http.Request) *requestNote {
	if n, ok := r.Context().Value(noteKey{}).(*requestNote); ok {
		return n
	}
	return &requestNote{}
}

func withNote(r *http.Request, n *requestNote) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), noteKey{}, n))
}

func requestIDOf(r *http.Request) string { return noteOf(r).id }

// patternVariable is a variable of a route with what it may be.
var patternVariable = regexp.MustCompile(`\{(\w+):[^}]*\}`)

// patternOf returns a route's path as the log shows it: {id}, whatever {id} may be.
func patternOf(path string) string { return patternVariable.ReplaceAllString(path, "{$1}") }

// isProbe reports whether a route is asked by what watches the server, every few
// seconds for as long as it runs.
func isProbe(route string) bool { return route == "/healthz" || route == "/readyz" }

// logRequest writes the line of a request. Requests that belong together, and those
// of what watches the server, are told at level debug.
func (s *Server) logRequest(rec *recorder, r *http.Request, start time.Time, cut bool) {
	n := noteOf(r)
	level, err := slog.LevelInfo, n.err
	switch failed := rec.status >= 500 && rec.status != http.StatusNotImplemented && !n.gone && !n.told; {
	case isProbe(n.route), s.sessions.add(n, rec, cut, start):
		level = slog.LevelDebug
	case failed:
		level = slog.LevelError
	case !s.log.Enabled(r.Context(), slog.LevelDebug):
		err = nil // the answer has said it, to whom it concerns
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("request", n.id)
	add("method", r.Method)
	if n.method != r.Method {
		add("as_method", n.method)
	}
	add("route", n.route)
	add("path", r.URL.Path)
	attrs = append(attrs, n.sender()...)
	attrs = append(attrs, slog.Int64("in", rec.body.read), slog.Int64("out", rec.bytes), slog.Int("status", rec.status))
	add("code", n.code)
	attrs = append(attrs, slog.Int64("ms", time.Since(start).Milliseconds()), slog.Bool("cut", cut || n.gone))
	add("remote", r.RemoteAddr)
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// sender says who sent the request: a user, an API key or a signed URL, by their IDs.
func (n *requestNote) sender() (attrs []slog.Attr) {
	for _, p := range []struct {
		who    *access.Principal
		prefix string
	}{{n.who, ""}, {n.behind, "behind_"}} {
		if p.who == nil {
			continue
		}
		if key, ok := strings.CutPrefix(p.who.ID, access.KeyOwner); ok {
			attrs = append(attrs, slog.String(p.prefix+"key", key))
		} else if p.who.ID != "" {
			attrs = append(attrs, slog.String(p.prefix+"user", p.who.ID))
		}
		if p.who.Grant != nil {
			attrs = append(attrs, slog.String(p.prefix+"grant", p.who.Grant.ID))
		}
	}
	return attrs
}
