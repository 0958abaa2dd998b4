package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// surround puts around next what every request needs.
func (s *Server) surround(next http.Handler) http.Handler {
	return s.withClient(s.withMount(s.wrapHandler(next)))
}

// wrapHandler gives every request an ID, a line in the log, deadlines, and an
// answer even if its handler panics.
func (s *Server) wrapHandler(next http.Handler) http.Handler {
	next = s.guardRequests(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := chooseRequestID(r)
		r = withNote(r, &requestNote{id: id, method: r.Method})
		if s.servesAlyx() && !acceptsType(r, client.ProblemType) {
			r = r.WithContext(context.WithValue(r.Context(), alyxKey{}, true))
		}
		control := http.NewResponseController(w)
		body := &deadlineBody{ReadCloser: r.Body, control: control, window: s.opts.IdleTimeout, least: s.opts.MinBytes, ended: r.Body == http.NoBody,
			length: r.ContentLength, patient: r.Header.Get("Expect") != "" || r.ProtoMajor > 1, slots: s.lingers, streamed: r.ProtoMajor > 1}
		r.Body = body
		body.notice = func(err error) { s.noticeWrapped(w, r, err) }
		rec := &recorder{ResponseWriter: w, control: control, timeout: s.opts.IdleTimeout, body: body}
		rec.Header().Set("X-Request-ID", id)
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		end, ok := beginAnswer(r)
		defer end()
		s.underWay.Add(1)
		defer s.underWay.Add(-1)
		defer s.finishRequest(rec, r, time.Now())
		if !ok {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(rec, r)
	})
}

// finishRequest sends what is left of an answer, logs the request, and recovers
// a panic of its handler.
func (s *Server) finishRequest(rec *recorder, r *http.Request, start time.Time) {
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		s.log.Error("panic", "request", requestIDOf(r), "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		if rec.status == 0 {
			writeProblem(rec, r, problemOf(errPanic), errPanic)
			p = nil
		}
	}
	sent := p == nil && rec.sendRest()
	s.logRequest(rec, r, start, !sent)
	if p != nil {
		panic(http.ErrAbortHandler) // a half-sent answer must not look whole
	}
	rec.extendDeadline() // for what net/http still holds
	rec.body.finishAnswer()
}

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func chooseRequestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-ID"); goodRequestID.MatchString(id) {
		return id
	}
	var p [8]byte
	rand.Read(p[:])
	return hex.EncodeToString(p[:])
}

// A deadlineBody limits how long the server waits for a body. Each window of
// time spent in Read must bring a number of bytes: a slow upload may take
// hours, one that stalls or drips is cut off.
type deadlineBody struct {
	io.ReadCloser
	control *http.ResponseController
	notice  func(error) // takes the outcome of setting a deadline
	window  time.Duration
	least   int64 // bytes that each window must bring

	waited time.Duration // spent in Read in this window
	got    int64         // bytes read in this window
	read   int64         // bytes read in all
	ended  bool          // the body has ended, or the answer has begun

	length  int64 // of the body, -1 if it is not known
	patient bool  // the client reads while it writes
	slots   lingerSlots
	lingers bool // see prepareAnswer

	// streamed says that the request is a stream of HTTP/2, which a deadline that
	// passes ends for good, also while nobody waits. So each is cleared after what it
	// was for: work in between may take as long as it does.
	streamed bool
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	start := time.Now()
	if !b.streamed {
		b.control.SetWriteDeadline(start.Add(b.window)) // for a 100 Continue, which net/http writes now
	}
	b.notice(b.control.SetReadDeadline(start.Add(b.window - b.waited)))
	n, err := b.ReadCloser.Read(p)
	if b.streamed {
		b.control.SetReadDeadline(time.Time{})
	}
	b.waited += time.Since(start)
	b.read += int64(n)
	if b.got += int64(n); b.got >= b.least {
		b.waited, b.got = 0, 0
	}
	if err == io.EOF {
		b.ended = true
		b.control.SetReadDeadline(time.Time{}) // else net/http would take it for the end of the connection
	}
	return n, err
}

// A recorder notes the status and the size of an answer, and sets deadlines for
// writes.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	body    *deadlineBody // of the request
	status  int
	bytes   int64
	failed  bool // the client has gone, or has not taken the answer in time
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		w.body.prepareAnswer(w.Header())
	}
	w.extendDeadline()
	w.ResponseWriter.WriteHeader(status)
	w.clearDeadline()
}

// writePiece is what a client must take of an answer within the timeout, with what
// the kernel queues (sendQueue): whoever reads slowly is not cut off, who reads next
// to nothing is.
const writePiece = 16 << 10

func (w *recorder) Write(p []byte) (n int, err error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	for len(p) > 0 && err == nil {
		var k int
		w.extendDeadline()
		k, err = w.ResponseWriter.Write(p[:min(len(p), writePiece)])
		n, p = n+k, p[k:]
	}
	w.clearDeadline()
	w.bytes += int64(n)
	w.failed = w.failed || err != nil && !errors.Is(err, http.ErrBodyNotAllowed)
	return n, err
}

// sendRest sends what net/http holds of an answer whose length is known, and
// reports whether all writes went well.
func (w *recorder) sendRest() bool {
	if !w.failed && w.Header().Get("Content-Length") != "" {
		err := w.FlushError()
		w.failed = err != nil && !errors.Is(err, http.ErrNotSupported)
	}
	return !w.failed
}

// FlushError sends what net/http holds, for http.ResponseController.
func (w *recorder) FlushError() error {
	w.extendDeadline()
	defer w.clearDeadline()
	return w.control.Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guardRequests refuses requests with oversized headers and, in dev mode,
// those that a web page of another origin can have sent.
func (s *Server) guardRequests(next http.Handler) http.Handler {
	return s.handlerOf(func(w http.ResponseWriter, r *http.Request) error {
		if headerSize(r) > maxHeader {
			return errHeaders
		}
		if s.opts.Dev {
			if err := sameOrigin(r); err != nil {
				return err
			}
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

func headerSize(r *http.Request) int {
	n := len(r.RequestURI)
	for k, vs := range r.Header {
		for _, v := range vs {
			n += len(k) + len(v)
		}
	}
	return n
}

// sameOrigin refuses requests that a page of another origin can have sent:
// through a host name that was rebound to this machine, a form, or a script.
func sameOrigin(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errForeignHost
	}
	if o := r.Header.Get("Origin"); o != "" {
		u, err := url.Parse(o)
		if err != nil || u.Host != r.Host {
			return errForeignOrigin
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return errForeignOrigin
}

// allowHeader is the value of an Allow header.
func allowHeader(on methods) string {
	names := slices.Collect(maps.Keys(on))
	if on["GET"] != nil {
		names = append(names, "HEAD")
	}
	names = append(names, "OPTIONS")
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
