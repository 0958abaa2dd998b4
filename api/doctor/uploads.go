package doctor

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	wholeUpload = 48 << 20 // of which all but the last sixth is sent before the kill
	smallUpload = 768 << 10
	hugeUpload  = 5 << 30 // stated, never sent
	settle      = 5 * time.Second
)

// sendTus sends a request of the tus protocol.
func (p *patient) sendTus(ctx context.Context, method, path string, body io.Reader, size int64, header ...string) (*answer, error) {
	return p.sendRequest(ctx, method, path, body, size, append([]string{"Tus-Resumable", "1.0.0"}, header...)...)
}

func (p *patient) sendPatch(ctx context.Context, path string, offset int64, body io.Reader, size int64, header ...string) (*answer, error) {
	return p.sendTus(ctx, "PATCH", path, body, size, append([]string{"Upload-Offset", strconv.FormatInt(offset, 10),
		"Content-Type", "application/offset+octet-stream"}, header...)...)
}

var metadata = "filename " + base64.StdEncoding.EncodeToString([]byte("cairn-doctor.bin"))

// beginUpload creates an upload and returns its path. A negative size is not
// stated.
func (p *patient) beginUpload(ctx context.Context, size int64) (string, *answer, error) {
	length := []string{"Upload-Length", strconv.FormatInt(size, 10)}
	if size < 0 {
		length = []string{"Upload-Defer-Length", "1"}
	}
	a, err := p.sendTus(ctx, "POST", "/api/tus/"+url.PathEscape(p.opts.Bucket), nil, 0, append(length, "Upload-Metadata", metadata)...)
	if err != nil {
		return "", nil, err
	}
	path := p.locationOf(a)
	if a.status != http.StatusCreated || path == "" {
		return "", a, fmt.Errorf("an upload cannot begin: %s", a)
	}
	return path, a, nil
}

// endUpload cancels an upload.
func (p *patient) endUpload(ctx context.Context, path string) {
	p.sendTus(context.WithoutCancel(ctx), "DELETE", path, nil, 0) // what stays expires
}

// checkHeaders checks that headers of requests reach the server and those of
// answers come back.
func (p *patient) checkHeaders(ctx context.Context) []Check {
	path, a, err := p.beginUpload(ctx, smallUpload)
	if a != nil && a.status == http.StatusPreconditionFailed && a.isFromServer() {
		return fault("headers", "Tus-Resumable does not reach the server")
	}
	if err != nil {
		return fault("headers", "%v", err)
	}
	defer p.endUpload(ctx, path)
	out := p.checkLocation(a)
	a, err = p.sendTus(ctx, "HEAD", path, nil, 0)
	if err != nil {
		return append(out, fault("headers", "%v", err)...)
	}
	for name, want := range map[string]string{"Upload-Offset": "0", "Upload-Length": strconv.Itoa(smallUpload), "Upload-Metadata": metadata, "Tus-Resumable": "1.0.0"} {
		if got := a.header.Get(name); got != want {
			return append(out, fault("headers", "HEAD of an upload: %s, with %s %q for %q", a, name, got, want)...)
		}
	}
	return append(out, good("headers", "Upload-* and Tus-* pass in both directions")...)
}

func (p *patient) basePath() string { return strings.TrimRight(p.base.Path, "/") }

// locationOf returns the path of an answer's Location on the server, "" without
// one. checkLocation says whether what stands before it is right.
func (p *patient) locationOf(a *answer) string {
	u, err := p.base.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return ""
	}
	if path, ok := strings.CutPrefix(u.Path, p.basePath()); ok {
		return path
	}
	return u.Path[max(strings.Index(u.Path, "/api/"), 0):]
}

// checkLocation checks that clients can use the URL of an upload.
func (p *patient) checkLocation(a *answer) []Check {
	u, err := p.base.Parse(a.header.Get("Location"))
	if err != nil || u.Scheme != p.base.Scheme || u.Host != p.base.Host || !strings.HasPrefix(u.Path, p.basePath()+"/") {
		return fault("location", "uploads are told to go on at %q, where clients of %s may not get: let the proxy pass Host and X-Forwarded-Proto and list it in server.trusted_proxies, or set server.public_url to %s",
			a.header.Get("Location"), p.base, p.base)
	}
	return good("location", "the server names URLs as clients see them")
}

// A dribble is a body that stalls: it gives some bytes, then none until it is
// closed.
type dribble struct {
	r     io.Reader
	empty chan struct{} // closed when all bytes are taken
	quit  <-chan struct{}
	done  atomic.Bool
}

func (d *dribble) Read(b []byte) (int, error) {
	n, err := d.r.Read(b)
	if err != io.EOF {
		return n, err
	}
	if !d.done.Swap(true) {
		close(d.empty)
	}
	<-d.quit
	return 0, io.ErrUnexpectedEOF
}

// killPatch sends the first bytes of a PATCH, holds it for a time and breaks off:
// then the error is context.Canceled. If an answer comes before that, it returns
// the answer.
func (p *patient) killPatch(ctx context.Context, path string, size, send int64, hold time.Duration) (*answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := &dribble{r: bytes.NewReader(randomBytes(send)), empty: make(chan struct{}), quit: ctx.Done()}
	type result struct {
		a   *answer
		err error
	}
	done := make(chan result, 1)
	go func() {
		a, err := p.sendPatch(ctx, path, 0, body, size)
		done <- result{a, err}
	}()
	select {
	case r := <-done:
		return r.a, r.err
	case <-body.empty:
	}
	turn := make(chan error, 1)
	go func() { turn <- p.waitTurn(ctx, hold) }()
	select {
	case r := <-done:
		return r.a, r.err
	case err := <-turn:
		if err != nil {
			return nil, err
		}
	}
	cancel()
	<-done
	return nil, context.Canceled
}

// waitTurn waits for a time, and then until the server has answered an upload
// that began after it. By then what was sent before has arrived, if nothing keeps
// it back: a slow line or server, or a machine under load, slows both.
func (p *patient) waitTurn(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	path, _, err := p.beginUpload(ctx, smallUpload)
	if err != nil {
		return err
	}
	defer p.endUpload(ctx, path)
	_, err = p.sendPatch(ctx, path, 0, bytes.NewReader(randomBytes(smallUpload/2)), smallUpload/2)
	return err
}

// checkResume breaks an upload off, asks for its offset, and continues.
func (p *patient) checkResume(ctx context.Context) []Check {
	size := int64(wholeUpload)
	if p.caps.MaxFileSize > 0 {
		size = min(size, p.caps.MaxFileSize)
	}
	var out []Check
	for {
		checks, refused := p.resumeUpload(ctx, size)
		out = append(out, checks...)
		if !refused || size <= smallUpload {
			return out
		}
		size = smallUpload // a small body shows buffering too
	}
}

func (p *patient) resumeUpload(ctx context.Context, size int64) (out []Check, refused bool) {
	path, _, err := p.beginUpload(ctx, size+1) // so that it makes no file
	if err != nil {
		return note("resume", "not tried: %v", err), false
	}
	defer p.endUpload(ctx, path)
	send := size * 5 / 6
	a, err := p.killPatch(ctx, path, size, send, time.Second)
	if ctx.Err() != nil {
		return nil, false
	}
	if a != nil && a.status == http.StatusRequestEntityTooLarge && !a.isFromServer() {
		return fault("body-size", "a body of %d MiB was refused: %s", size>>20, a), true
	}
	if a != nil {
		return fault("resume", "a PATCH was answered before its end: %s", a), true
	}
	if !errors.Is(err, context.Canceled) {
		// Some proxies refuse by closing; to clients it is the same.
		return fault("body-size", "a body of %d MiB was cut off: %v", size>>20, err), true
	}
	at, err := p.settledOffset(ctx, path, send)
	switch {
	case err != nil:
		return fault("resume", "%v", err), false
	case at == 0 && p.keepsBodies(ctx):
		return fault("request-buffering", "of an upload killed after %s nothing had reached the server: a proxy keeps bodies until they are whole, so every resume begins at 0", bytesText(send)), false
	case at < send/2: // proxies and kernels may hold as much
		out = note("request-buffering", "of an upload killed after %s %s had reached the server", bytesText(send), bytesText(at))
	}
	rest := min(size-at-1, 1<<20) // less than all of it, so that no file is made
	a, err = p.sendPatch(ctx, path, at, bytes.NewReader(randomBytes(rest)), rest)
	if err != nil || a.status != http.StatusNoContent || a.header.Get("Upload-Offset") != strconv.FormatInt(at+rest, 10) {
		return append(out, fault("resume", "an upload does not go on where it was: %v", errors.Join(err, fmt.Errorf("%v", a)))...), false
	}
	if out == nil {
		out = good("resume", "an upload killed after %s went on at %s", bytesText(send), bytesText(at))
	}
	return out, false
}

// keepsBodies reports whether nothing of another upload, which is held longer
// before it is killed, reaches the server either.
func (p *patient) keepsBodies(ctx context.Context) bool {
	path, _, err := p.beginUpload(ctx, smallUpload)
	if err != nil {
		return true
	}
	defer p.endUpload(ctx, path)
	if _, err := p.killPatch(ctx, path, smallUpload, smallUpload/2, 3*time.Second); !errors.Is(err, context.Canceled) {
		return true
	}
	at, err := p.settledOffset(ctx, path, smallUpload/2)
	return err != nil || at == 0
}

// settledOffset waits until the server has taken all bytes of an upload that
// will arrive, and its offset stands still, and returns that.
func (p *patient) settledOffset(ctx context.Context, path string, most int64) (at int64, err error) {
	// To ask ends the request that sends: before that the server must have had
	// the time to read what has come.
	if err := p.waitTurn(ctx, 0); err != nil {
		return 0, err
	}
	last := int64(-1)
	for still := 0; still < 3 && at < most; still++ {
		a, err := p.sendTus(ctx, "HEAD", path, nil, 0)
		if err != nil {
			return 0, err
		}
		if at, err = strconv.ParseInt(a.header.Get("Upload-Offset"), 10, 64); err != nil {
			return 0, fmt.Errorf("HEAD of an upload: %s, without a good Upload-Offset", a)
		}
		if at != last {
			last, still = at, 0
		}
		select {
		case <-time.After(settle / 50):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return at, nil
}

// checkBodyLimit states the length of a huge body and sends nearly none of it.
func (p *patient) checkBodyLimit(ctx context.Context) []Check {
	path, _, err := p.beginUpload(ctx, -1)
	if err != nil {
		return note("body-limit", "not tried: %v", err)
	}
	defer p.endUpload(ctx, path)
	cctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := &dribble{r: bytes.NewReader(randomBytes(1)), empty: make(chan struct{}), quit: cctx.Done()}
	go func() {
		p.waitTurn(cctx, time.Second) // a proxy that refuses does so earlier
		cancel()
	}()
	a, err := p.sendPatch(cctx, path, 0, body, hugeUpload)
	if err == nil && a.status == http.StatusRequestEntityTooLarge && !a.isFromServer() {
		return note("body-limit", "a body of 5 GiB would be refused: %s; chunked uploads and cairn put get along", a)
	}
	return good("body-limit", "a body of 5 GiB would be taken")
}

// checkChunkedBody sends a body without a stated length.
func (p *patient) checkChunkedBody(ctx context.Context) []Check {
	path, _, err := p.beginUpload(ctx, smallUpload)
	if err != nil {
		return note("chunked-body", "not tried: %v", err)
	}
	defer p.endUpload(ctx, path)
	a, err := p.sendPatch(ctx, path, 0, io.MultiReader(bytes.NewReader(randomBytes(64<<10))), -1)
	if err != nil || a.status != http.StatusNoContent {
		return fault("chunked-body", "a body of untold length was refused: %v", errors.Join(err, fmt.Errorf("%v", a)))
	}
	return good("chunked-body", "bodies of untold length pass")
}

// A trickle gives a piece after each gap.
type trickle struct {
	ctx  context.Context // a Reader gets no context otherwise
	gap  time.Duration
	left int // pieces, and the rest of the one at hand
	rest int
}

// slowPiece is what a trickle gives at once. One each slowGap is four times what the
// server wants in a minute of whoever sends slowly.
const (
	slowPiece = 4 << 10
	slowGap   = 4 * time.Second
)

// newTrickle returns a trickle that lasts for d, and its length.
func newTrickle(ctx context.Context, d time.Duration) (*trickle, int64) {
	pieces := max(16, int((d+slowGap-1)/slowGap))
	return &trickle{ctx: ctx, gap: d / time.Duration(pieces), left: pieces}, int64(pieces) * slowPiece
}

func (t *trickle) Read(b []byte) (int, error) {
	if t.rest == 0 {
		if t.left == 0 {
			return 0, io.EOF
		}
		select {
		case <-time.After(t.gap):
		case <-t.ctx.Done():
			return 0, t.ctx.Err()
		}
		t.left--
		t.rest = slowPiece
	}
	n := min(t.rest, len(b))
	for i := range b[:n] {
		b[i] = 'x'
	}
	t.rest -= n
	return n, nil
}

// checkSlowBody sends a body slowly.
func (p *patient) checkSlowBody(ctx context.Context) []Check {
	body, size := newTrickle(ctx, p.opts.Slow)
	path, _, err := p.beginUpload(ctx, size+1) // so that it makes no file
	if err != nil {
		return note("slow-body", "not tried: %v", err)
	}
	defer p.endUpload(ctx, path)
	begun := time.Now()
	a, err := p.sendPatch(ctx, path, 0, body, size)
	if err != nil || a.status != http.StatusNoContent {
		return fault("slow-body", "a body that was sent slowly was cut off after %s: %v", time.Since(begun).Round(time.Second), errors.Join(err, fmt.Errorf("%v", a)))
	}
	return good("slow-body", "a body may take %s", p.opts.Slow)
}

// checkInterim checks that interim answers (104) reach the client.
func (p *patient) checkInterim(ctx context.Context) []Check {
	if !slices.Contains(p.caps.Protocols, "rufh") {
		return nil
	}
	var seen atomic.Bool
	tctx := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		if code == 104 {
			seen.Store(true)
		}
		return nil
	}})
	a, err := p.sendRequest(tctx, "POST", "/api/files/"+url.PathEscape(p.opts.Bucket)+"?name=cairn-doctor.bin", nil, 0,
		"Upload-Complete", "?0", "Upload-Draft-Interop-Version", "8", "Content-Type", "application/octet-stream")
	if err != nil {
		return fault("interim", "%v", err)
	}
	if a.status != http.StatusCreated {
		return note("interim", "not tried: %s", a)
	}
	path := p.locationOf(a)
	if path == "" {
		return note("interim", "not tried: an upload without Location: %s", a)
	}
	// The next request must be able to use the same connection.
	cctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		p.waitTurn(cctx, settle)
		cancel()
	}()
	_, err = p.sendRequest(cctx, "DELETE", path, nil, 0, "Upload-Draft-Interop-Version", "8") // what stays expires
	switch {
	case err != nil && ctx.Err() == nil:
		return fault("interim", "answers 104 are taken for the last ones, and connections hang after them: %v", err)
	case !seen.Load():
		return note("interim", "answers 104 do not pass: clients of the IETF protocol cannot resume an upload whose first request broke off")
	}
	return good("interim", "answers 104 pass")
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
