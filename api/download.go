package api

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// sandbox is the Content-Security-Policy of content: a browser shows it and
// runs none of it.
const sandbox = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'"

func downloadFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	return serveContent(w, r, b, "attachment")
}

// viewFile answers with content that a browser may show.
func viewFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	return serveContent(w, r, b, "inline")
}

// serveContent answers with the bytes of a file. disposition is the route's,
// which a signed URL may replace.
func serveContent(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, disposition string) error {
	opts, pinned, err := getOptions(r)
	if err != nil {
		return err
	}
	q := queryOf(r)
	name := q.readText("filename")
	if q.err != nil {
		return q.err
	}
	if b, err = viaRecord(r, b); err != nil {
		return err
	}
	opts.Uncounted = true
	o, err := b.Open(r.Context(), mux.Vars(r)["id"], opts)
	if err != nil {
		return err
	}
	d := &delivery{ResponseWriter: w, src: contentSource{src: o}}
	defer d.src.close()
	if r.Method != http.MethodHead {
		d.use = func() error { return b.CountUse(r.Context()) }
	}
	if g := principalOf(r).Grant; g != nil && g.Disposition != "" {
		disposition = g.Disposition
	}
	listed := b.Policy().InlineTypes
	contentType := mediatype.Served(o.MIMEType, listed)
	if disposition == "inline" {
		var shown bool
		if contentType, shown = inlineType(o.MIMEType, listed); !shown {
			disposition = "attachment"
		}
	}
	w.Header().Set("Content-Type", contentType)
	setContentHeaders(w.Header(), r, &o.File, name, disposition)
	setCaching(w.Header(), r, b, o, pinned)
	var compared time.Time
	d.modified, compared = modifiedAt(&o.File, opts, pinned)
	http.ServeContent(d, simplifyHeaders(r, o.Size), "", compared, &d.src)
	return d.endAnswer(o.Size)
}

// maxAhead is how far Last-Modified may be ahead of the clock, as it is after
// changes of a content within one second.
const maxAhead = 10 * time.Second

// modifiedAt returns what Last-Modified says of a file, and the time that
// conditions on it are compared with.
func modifiedAt(f *buckets.File, opts *buckets.GetOptions, pinned bool) (said, compared time.Time) {
	said = f.ModifiedAt
	if pinned || opts.Version != 0 {
		said = f.VersionCreatedAt
	}
	if opts.ByPath && f.UpdatedAt.After(said) {
		said = f.UpdatedAt // another file may have had the path until then
	}
	compared = said
	if now := time.Now(); said.After(now.Add(maxAhead)) {
		said = now
	}
	return said, compared
}

func setContentHeaders(h http.Header, r *http.Request, f *buckets.File, name, disposition string) {
	g := principalOf(r).Grant
	if name == "" || g != nil {
		name = f.Name
	}
	if g != nil && g.Filename != "" {
		name = g.Filename
	}
	h.Set("Content-Disposition", contentDisposition(disposition, name))
	h.Set("Content-Security-Policy", sandbox)
	h.Set("Cross-Origin-Resource-Policy", "same-site")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "none")
	h.Set("ETag", entityTag(f))
	h.Set("Accept-Ranges", "bytes")
	if sum, err := hex.DecodeString(f.Checksums["sha256"]); err == nil && len(sum) > 0 {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
}

// getOptions reads which version a request names. pinned says that its URL
// names this version for ever.
func getOptions(r *http.Request) (opts *buckets.GetOptions, pinned bool, err error) {
	vars, q := mux.Vars(r), queryOf(r)
	opts = &buckets.GetOptions{Trashed: q.readFlag("trashed")}
	opts.ByPath = isAtPath(r)
	_, pinned = manifest.ParseVersionID(vars["id"])
	if _, ok := vars["n"]; ok {
		if opts.Version, err = versionOf(r); err != nil {
			return nil, false, err
		}
	} else {
		opts.Version = q.readNumber("version", 0, 1, math.MaxUint64)
	}
	return opts, !opts.ByPath && (pinned || opts.Version != 0), q.err
}

// A delivery is the http.ResponseWriter that http.ServeContent gets. It sends
// the status only after the first bytes have been read and verified, and the use
// of a signed URL is counted, so that damage in them is answered as an error. Damage that is met later breaks the
// connection, so that the client sees that the answer is incomplete.
type delivery struct {
	http.ResponseWriter
	src      contentSource
	status   int
	sent     bool
	modified time.Time    // what Last-Modified says
	use      func() error // counts a use, nil for none
	refused  error        // of use
}

// A contentSource is what http.ServeContent reads. For an answer of several
// ranges ServeContent reads it in a goroutine of its own, which it does not
// wait for when the client has gone. So mu makes calls come one after another,
// and after close they fail.
type contentSource struct {
	mu     sync.Mutex
	src    io.ReadSeekCloser
	err    error // of src
	closed bool
}

func (s *contentSource) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, fs.ErrClosed
	}
	n, err := s.src.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *contentSource) Seek(off int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, fs.ErrClosed
	}
	n, err := s.src.Seek(off, whence)
	if err != nil {
		s.err = err
	}
	return n, err
}

// expect tells the source how many bytes will be read, so that it may fetch
// them ahead.
func (s *contentSource) expect(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.src.(interface{ Expect(int64) }); ok && !s.closed {
		c.Expect(n)
	}
}

// failure returns the error that the source has met, if any.
func (s *contentSource) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// close closes the source when no call is under way.
func (s *contentSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.src.Close()
}

func (d *delivery) WriteHeader(status int) { d.status = status }

func (d *delivery) Write(p []byte) (int, error) {
	if d.status >= 400 {
		return len(p), nil // endAnswer returns an error in place of this text
	}
	if err := d.sendStatus(); err != nil {
		return 0, err
	}
	return d.ResponseWriter.Write(p)
}

// sendStatus sends the status once. Where it brings content, that is a use of a
// signed URL, and refused is the error if there was none left.
func (d *delivery) sendStatus() error {
	if d.sent || d.refused != nil {
		return d.refused
	}
	if d.status == 0 {
		d.status = http.StatusOK
	}
	if d.use != nil && d.status < 300 {
		if d.refused = d.use(); d.refused != nil {
			return d.refused
		}
	}
	if h := d.Header(); h.Get("Last-Modified") != "" {
		h.Set("Last-Modified", d.modified.UTC().Format(http.TimeFormat))
	}
	d.sent = true
	d.ResponseWriter.WriteHeader(d.status)
	return nil
}

// buffers holds buffers of what a recorder writes at a time.
var buffers = sync.Pool{New: func() any { p := make([]byte, writePiece); return &p }}

// ReadFrom copies in pieces of what a recorder writes at a time.
func (d *delivery) ReadFrom(r io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// Of one range ServeContent gives the source itself, limited to what it
	// sends; of several it gives a pipe.
	if part, ok := r.(*io.LimitedReader); ok && part.R == io.Reader(&d.src) {
		d.src.expect(part.N)
	}
	return io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{r}, *buf)
}

// endAnswer ends the answer about a content of size bytes, or returns what it is
// to be in place of what http.ServeContent has said.
func (d *delivery) endAnswer(size int64) error {
	err := d.src.failure()
	switch {
	case err != nil && !d.sent:
		return err
	case err != nil:
		return &brokenError{err}
	case d.status == http.StatusPreconditionFailed:
		return buckets.ErrPrecondition
	case d.status == http.StatusRequestedRangeNotSatisfiable:
		d.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return errRange
	}
	return d.sendStatus()
}

// A brokenError is a failure after the first bytes of an answer.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// inlineType returns the type under which content of type found goes, and
// whether a browser may show it: what the bucket lists or, if it has no list,
// what cannot run. Text is shown as text.
func inlineType(found string, listed []string) (string, bool) {
	served := mediatype.Served(found, listed)
	if listed != nil {
		return served, slices.ContainsFunc(listed, func(l string) bool {
			return mediatype.Covers(l, found) || mediatype.Covers(l, served) || mediatype.Canonical(l) == found
		})
	}
	switch found {
	case "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/avif", "image/vnd.microsoft.icon", "image/x-icon",
		"audio/wav", "audio/webm", "audio/ogg", "audio/mpeg", "audio/flac", "audio/mp4", "audio/x-m4a", "audio/aac",
		"video/mp4", "video/x-m4v", "video/webm", "video/ogg", "application/pdf":
		return served, true
	}
	if mediatype.IsShownAsText(found) {
		return "text/plain; charset=utf-8", true
	}
	return served, false
}

// contentDisposition formats the header as in RFC 6266: an ASCII name for old
// clients, and the exact name encoded as in RFC 8187.
func contentDisposition(kind, name string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return -1
		case r > 0x7e || strings.ContainsRune(`"\/%`, r):
			return '_'
		}
		return r
	}, name)
	if plain = strings.TrimLeft(plain, ". "); plain == "" {
		plain = "file"
	}
	out := kind + `; filename="` + plain + `"`
	if plain == name {
		return out
	}
	exact := names.Strip(name)
	if v := mime.FormatMediaType("a", map[string]string{"filename": "\u00e9" + exact}); v != "" {
		// FormatMediaType escapes as RFC 8187 wants when a character is not ASCII.
		out += "; filename*=utf-8''" + strings.TrimPrefix(v, "a; filename*=utf-8''%C3%A9")
	}
	return out
}

// downloadChunk answers with one chunk of a file.
func downloadChunk(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	opts, _, err := getOptions(r)
	if err != nil {
		return err
	}
	p, err := b.Chunk(r.Context(), mux.Vars(r)["id"], mux.Vars(r)["digest"], opts)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(p)))
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	w.Write(p) // a client that is gone needs no answer
	return nil
}

// isBroken reports an answer that failed after its first bytes.
func isBroken(err error) bool {
	var b *brokenError
	return errors.As(err, &b)
}
