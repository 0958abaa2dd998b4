package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
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

// NewProxies are trusted ones.
func NewProxies(list ...string) any {
	ps, err := parseProxies(list)
	if err != nil {
		panic(err)
	}
	return ps
}

func ClientOf(ps any, r *http.Request) string { return ps.(proxies).clientIP(r) }
func ByHTTPS(ps any, r *http.Request) bool    { return ps.(proxies).byHTTPS(r) }

func ContentRange(value string) (from, size int64, err error) { return contentRange(value) }

// Answer has h answer all requests, inside what surrounds every handler.
func (s *Server) Answer(h func(w http.ResponseWriter, r *http.Request) error) {
	s.handler = s.surround(s.handlerOf(h))
}

// AnswerWorking has the server answer all requests with what do finds, line by
// line.
func (s *Server) AnswerWorking(do func(found func(any))) {
	s.Answer(func(w http.ResponseWriter, r *http.Request) error {
		return s.answerWorking(w, r, "work", func(ctx context.Context, k *worker) (any, error) {
			do(func(v any) { k.tell(ctx, v) })
			return "report", ctx.Err()
		})
	})
}

// ReadBody reads a body as handlers do.
func ReadBody(r *http.Request) (int64, error) {
	n, err := io.Copy(io.Discard, r.Body)
	return n, bodyError(err)
}

const MaxSummed = maxSummed

// A SessionLog sums up requests that nobody has sent, of sessions that expire after
// a day.
type SessionLog struct{ *sessionLog }

func NewSessionLog(log *slog.Logger) SessionLog {
	return SessionLog{newSessionLog(log, func(string) time.Duration { return 24 * time.Hour })}
}

// Add adds a request of a session.
func (l SessionLog) Add(id string) {
	l.add(&requestNote{session: id}, &recorder{status: 200, body: &deadlineBody{}}, false, time.Now())
}

func (l SessionLog) EndAll()  { l.endAll() }
func (l SessionLog) Len() int { return l.order.Len() }
