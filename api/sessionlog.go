package api

import (
	"container/list"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// maxSummed is how many sessions are summed up at a time. Of more, those that wait
// longest for a request get their line, and later ones begin another sum.
const maxSummed = 1024

// sessionLog sums up the requests that bring the chunks of a session, so that an
// upload has one line in the log, however many requests it took.
type sessionLog struct {
	log    *slog.Logger
	expiry func(bucket string) time.Duration // of an upload that nobody goes on with
	// mu guards what follows.
	mu    sync.Mutex
	order list.List // of *sessionSum, that with the latest request first
	sums  map[string]*list.Element
	timer *time.Timer   // fires when the oldest may have expired; nil while there is none
	ended []*sessionSum // whose lines unlock writes
}

// A sessionSum sums up the requests of a session.
type sessionSum struct {
	id, bucket       string
	sender           []slog.Attr // of the first request
	requests, failed int
	in, out          int64
	first, last      time.Time
	expiry           time.Duration
	how              string // it ended
}

// How the sums of sessions end.
const (
	sumCommitted = "committed"
	sumCancelled = "cancelled"
	sumExpired   = "expired"
	sumStopped   = "server stops"
	sumCrowded   = "more sessions are open than are summed up"
)

func newSessionLog(log *slog.Logger, expiry func(bucket string) time.Duration) *sessionLog {
	return &sessionLog{log: log, expiry: expiry, sums: make(map[string]*list.Element)}
}

// uploadExpiry is how long an upload of a bucket is kept that nobody goes on with.
func (s *Server) uploadExpiry(bucket string) time.Duration {
	b, err := s.store.Bucket(bucket)
	if err != nil {
		return time.Hour // it is gone, and so will be the upload
	}
	return b.Policy().UploadExpiry
}

// add adds a request to the sum of its session, and ends the sum if the request has
// ended the session. It reports whether the request needs no line of its own: it
// only brought a part, and nothing went wrong.
func (l *sessionLog) add(n *requestNote, rec *recorder, cut bool, start time.Time) bool {
	if n.session == "" {
		return false
	}
	l.mu.Lock()
	defer l.unlock()
	well := rec.status < 300 && !cut
	switch {
	case rec.status == http.StatusGone:
		l.end(n.session, sumExpired)
	case !well:
		if e := l.sums[n.session]; e != nil {
			e.Value.(*sessionSum).failed++
			l.count(e, n, rec)
		}
	case n.route == patternOf(sessionRoute+"/commit"):
		l.end(n.session, sumCommitted)
	case n.route == patternOf(sessionRoute) && n.method == http.MethodDelete:
		l.end(n.session, sumCancelled)
	default:
		l.count(l.find(n, start), n, rec)
		return true
	}
	return false
}

// find returns the sum of a request's session, which may begin with it. The caller
// holds mu.
func (l *sessionLog) find(n *requestNote, start time.Time) *list.Element {
	if e := l.sums[n.session]; e != nil {
		return e
	}
	if len(l.sums) == maxSummed {
		l.end(l.order.Back().Value.(*sessionSum).id, sumCrowded)
	}
	sum := &sessionSum{id: n.session, bucket: n.bucket, sender: n.sender(), first: start, expiry: l.expiry(n.bucket)}
	e := l.order.PushFront(sum)
	l.sums[n.session] = e
	return e
}

// count adds what a request has moved to a sum. The caller holds mu.
func (l *sessionLog) count(e *list.Element, n *requestNote, rec *recorder) {
	sum := e.Value.(*sessionSum)
	sum.requests++
	sum.in += rec.body.read
	sum.out += rec.bytes
	sum.last = time.Now()
	l.order.MoveToFront(e)
	l.await()
}

// await sets the timer to when the session that waits longest may have expired. The
// caller holds mu.
func (l *sessionLog) await() {
	e := l.order.Back()
	if e == nil || l.timer != nil {
		return
	}
	sum := e.Value.(*sessionSum)
	l.timer = time.AfterFunc(max(time.Until(sum.last.Add(sum.expiry)), time.Second), l.endExpired)
}

// endExpired ends the sums of sessions that nobody has gone on with until they
// expired.
func (l *sessionLog) endExpired() {
	l.mu.Lock()
	defer l.unlock()
	l.timer = nil
	for e := l.order.Back(); e != nil; {
		before := e.Prev()
		if sum := e.Value.(*sessionSum); time.Since(sum.last) >= sum.expiry {
			l.end(sum.id, sumExpired)
		}
		e = before
	}
	l.await()
}

// endAll ends all sums: nobody will add to them.
func (l *sessionLog) endAll() {
	l.mu.Lock()
	defer l.unlock()
	for l.order.Len() > 0 {
		l.end(l.order.Back().Value.(*sessionSum).id, sumStopped)
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// end forgets a session, if there is a sum, and leaves its line to unlock. The caller
// holds mu.
func (l *sessionLog) end(id, how string) {
	e := l.sums[id]
	if e == nil {
		return
	}
	delete(l.sums, id)
	sum := l.order.Remove(e).(*sessionSum)
	sum.how = how
	l.ended = append(l.ended, sum)
}

// unlock unlocks mu, and then writes the lines of sessions that have ended: no request
// waits for the log of another.
func (l *sessionLog) unlock() {
	ended := l.ended
	l.ended = nil
	l.mu.Unlock()
	for _, sum := range ended {
		attrs := append([]any{"upload", sum.id, "bucket", sum.bucket}, anyOf(sum.sender)...)
		l.log.Info("session", append(attrs, "requests", sum.requests, "failed", sum.failed, "in", sum.in, "out", sum.out,
			"ms", sum.last.Sub(sum.first).Milliseconds(), "ended", sum.how)...)
	}
}

func anyOf(attrs []slog.Attr) (out []any) {
	for _, a := range attrs {
		out = append(out, a)
	}
	return out
}
