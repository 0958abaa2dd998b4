// Package tus implements the tus protocol 1.0.0 (https://tus.io) for resumable
// uploads, with all its extensions. It keeps no state of its own: its uploads
// are those of package buckets.
package tus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

// Version is that of the protocol.
const Version = "1.0.0"

const (
	extensions  = "creation,creation-with-upload,creation-defer-length,checksum,checksum-trailer,expiration,termination,concatenation,concatenation-unfinished"
	contentType = "application/offset+octet-stream"
	finalPrefix = "final;" // of Upload-Concat, before the URLs of the parts
)

// Errors of requests, as opposed to errors of the store.
var (
	ErrVersion     = errors.New("Tus-Resumable is not 1.0.0")
	ErrContentType = errors.New("Content-Type is not " + contentType)
	ErrHeader      = errors.New("header is not valid")
	ErrChecksum    = errors.New("content does not have the checksum of Upload-Checksum")
)

// A Handler answers requests about the uploads of a bucket.
type Handler struct {
	// URL returns the URL of an upload, as the sender of r sees the server and may
	// send to it. FileURL returns that of the file that an upload has become.
	URL     func(r *http.Request, up *upload.Upload) string
	FileURL func(r *http.Request, f *buckets.File) string
	// Read says how Upload-Metadata is read.
	Read Reading
}

// checkVersion sets the headers that every answer has, and checks the
// protocol's version.
func checkVersion(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Tus-Resumable", Version)
	h.Set("Cache-Control", "no-store")
	if v := r.Header.Values("Tus-Resumable"); len(v) != 1 || v[0] != Version {
		h.Set("Tus-Version", Version)
		return ErrVersion
	}
	return nil
}

// Options answers with what the server supports.
func (t *Handler) Options(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	h := w.Header()
	h.Set("Tus-Resumable", Version)
	h.Set("Tus-Version", Version)
	h.Set("Tus-Extension", extensions)
	h.Set("Tus-Checksum-Algorithm", algorithms)
	if n := b.Policy().Limits.MaxFileSize; n > 0 {
		h.Set("Tus-Max-Size", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// Create begins an upload. The request may bring its first bytes.
func (t *Handler) Create(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	opts, name, err := t.readCreation(r)
	if err != nil {
		return err
	}
	if urls, ok := strings.CutPrefix(r.Header.Get("Upload-Concat"), finalPrefix); ok {
		return t.concatParts(w, r, b, name, opts, urls)
	}
	at := &appending{Handler: t, w: w, r: r, b: b}
	hasBody := r.ContentLength != 0
	if hasBody && !isOffsetStream(r) {
		return ErrContentType
	}
	if at.sum, err = readChecksum(r); err != nil {
		return err
	}
	if !hasBody && at.sum != nil {
		if err := at.sum.verify(); err != nil {
			return err
		}
	}
	if opts.SizeKnown && r.ContentLength > opts.Size {
		return fmt.Errorf("%d bytes of %d: %w", r.ContentLength, opts.Size, buckets.ErrOverrun)
	}
	if at.up, err = b.Begin(r.Context(), name, opts); err != nil {
		return err
	}
	t.setLocation(w, r, at.up)
	if hasBody {
		if err := at.appendBody(); err != nil {
			return err
		}
	}
	if err := t.finishUpload(w, r, b, at.up); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (t *Handler) setLocation(w http.ResponseWriter, r *http.Request, up *upload.Upload) {
	w.Header().Set("Location", t.URL(r, up))
	t.setUploadHeaders(w, r, up)
}

// concatParts makes a file of partial uploads, which urls names.
func (t *Handler) concatParts(w http.ResponseWriter, r *http.Request, b *upload.Bucket, name string, opts *upload.Options, urls string) error {
	if r.ContentLength != 0 {
		return fmt.Errorf("%w: a final upload has the content of its parts, and brings none", ErrHeader)
	}
	var ids []string
	for _, text := range strings.Fields(urls) {
		u, err := url.Parse(text)
		if strings.Contains(text, ",") { // else the last of a list would stand for all
			return fmt.Errorf("%w: Upload-Concat: %.80q: want spaces between URLs", ErrHeader, text)
		}
		if err != nil || path.Base(path.Dir(u.Path)) != b.Name() && path.Base(path.Dir(u.Path)) != "tus" {
			return buckets.ErrNoUpload // not an upload of this bucket
		}
		ids = append(ids, path.Base(u.Path))
	}
	up, err := b.Concat(r.Context(), name, ids, opts)
	if err != nil {
		return err
	}
	t.setLocation(w, r, up)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// readCreation reads the name and options of a new upload.
func (t *Handler) readCreation(r *http.Request) (*upload.Options, string, error) {
	meta := strings.Join(r.Header.Values("Upload-Metadata"), ",") // a list may stand in several lines
	opts, name, err := ParseMetadata(meta, t.Read)
	if err != nil {
		return nil, "", err
	}
	concat, _, err := readOne(r.Header, "Upload-Concat")
	if err != nil {
		return nil, "", err
	}
	if opts.Size, opts.SizeKnown, err = readNumber(r.Header, "Upload-Length"); err != nil {
		return nil, "", err
	}
	deferred, isDeferred, err := readOne(r.Header, "Upload-Defer-Length")
	if err != nil {
		return nil, "", err
	}
	opts.Header = kept{meta, concat}.String()
	opts.Partial = concat == "partial"
	final := strings.HasPrefix(concat, finalPrefix)
	switch {
	case concat != "" && !opts.Partial && !final || final && (opts.SizeKnown || isDeferred):
		return nil, "", fmt.Errorf("%w: Upload-Concat: want partial, or final;URL URL and no length", ErrHeader)
	case final:
	case opts.SizeKnown == isDeferred:
		return nil, "", fmt.Errorf("%w: want either Upload-Length or Upload-Defer-Length", ErrHeader)
	case isDeferred && deferred != "1":
		return nil, "", fmt.Errorf("%w: Upload-Defer-Length %.20q: want 1", ErrHeader, deferred)
	}
	return opts, name, nil
}

// readOne returns the value of a header that may be there once.
func readOne(h http.Header, name string) (value string, there bool, err error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", false, fmt.Errorf("%w: %s is there %d times", ErrHeader, name, len(values))
	}
}

// readNumber returns the number in a header that may be there once.
func readNumber(h http.Header, name string) (n int64, there bool, err error) {
	text, there, err := readOne(h, name)
	if err != nil || !there {
		return 0, false, err
	}
	u, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %s %.30q: want a number of bytes", ErrHeader, name, text)
	}
	return int64(u), true, nil
}

func isOffsetStream(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == contentType
}

// setUploadHeaders sets the headers that describe the state of an upload.
func (t *Handler) setUploadHeaders(w http.ResponseWriter, r *http.Request, up *upload.Upload) {
	h := w.Header()
	if !up.Waiting {
		h.Set("Upload-Offset", strconv.FormatInt(up.Offset, 10))
	}
	h.Del("Upload-Expires")
	if up.File == nil {
		h.Set("Upload-Expires", up.ExpiresAt.UTC().Format(http.TimeFormat))
		return
	}
	h.Set("X-File-Id", up.File.ID)
	h.Set("Content-Location", t.FileURL(r, up.File))
}

// findUpload finds an upload of this protocol, and what was kept of its
// creation.
func findUpload(r *http.Request, b *upload.Bucket, id string) (*upload.Upload, kept, error) {
	up, err := b.Find(r.Context(), id)
	if err != nil {
		return nil, kept{}, err
	}
	k, ok := parseKept(up.Header)
	if !ok {
		return nil, kept{}, buckets.ErrNoUpload // another protocol's
	}
	return up, k, nil
}

// Head answers with the state of an upload. One whose bytes have all come is
// made a file first: a client that sees them all there sends nothing more.
func (t *Handler) Head(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	_, k, err := findUpload(r, b, id)
	if err != nil {
		return err
	}
	up, err := b.Settle(r.Context(), id) // the client has given up the request that still sends
	switch {
	case err != nil:
	case up.Waiting:
		up, err = b.Join(r.Context(), id)
	case up.File == nil && !up.Partial:
		err = t.finishUpload(w, r, b, up)
	}
	if err != nil {
		return err
	}
	t.setUploadHeaders(w, r, up)
	h := w.Header()
	if up.Length >= 0 {
		h.Set("Upload-Length", strconv.FormatInt(up.Length, 10))
	} else if !up.Waiting {
		h.Set("Upload-Defer-Length", "1")
	}
	if k.Metadata != "" {
		h.Set("Upload-Metadata", k.Metadata)
	}
	if k.Concat != "" {
		h.Set("Upload-Concat", k.Concat)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// Patch appends the body to an upload. With its last byte the upload becomes a
// file.
func (t *Handler) Patch(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	if !isOffsetStream(r) {
		return ErrContentType
	}
	at := &appending{Handler: t, w: w, r: r, b: b}
	var there bool
	var err error
	if at.offset, there, err = readNumber(r.Header, "Upload-Offset"); err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%w: Upload-Offset is missing", ErrHeader)
	}
	if at.length, at.lengthKnown, err = readNumber(r.Header, "Upload-Length"); err != nil {
		return err
	}
	if at.sum, err = readChecksum(r); err != nil {
		return err
	}
	var k kept
	if at.up, k, err = findUpload(r, b, id); err != nil {
		return err
	}
	if strings.HasPrefix(k.Concat, finalPrefix) {
		return buckets.ErrComplete
	}
	complete := at.up.File != nil
	if !complete {
		if err = at.appendBody(); err == nil {
			err = t.finishUpload(w, at.r, b, at.up)
		}
		if errors.Is(err, buckets.ErrComplete) && r.ContentLength == 0 { // by another request, since it was found
			complete = true
			at.up, _, err = findUpload(at.r, b, id)
		}
	}
	if complete && err == nil {
		err = at.checkAgain()
	}
	if err != nil {
		return err
	}
	t.setUploadHeaders(w, at.r, at.up)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkAgain checks a request to an upload that is complete. It is to state
// what is so already, and to bring nothing.
func (a *appending) checkAgain() error {
	n, _ := io.ReadFull(a.r.Body, make([]byte, 1))
	switch up := a.up; {
	case a.offset != up.Offset:
		a.setUploadHeaders(a.w, a.r, up)
		return &buckets.OffsetError{Stands: up.Offset, Given: a.offset}
	case a.lengthKnown && a.length != up.Length:
		return fmt.Errorf("length %d, it was %d: %w", a.length, up.Length, buckets.ErrLength)
	case n > 0:
		return buckets.ErrComplete
	}
	return nil
}

// An appending is a request that brings bytes of an upload.
type appending struct {
	*Handler
	w           http.ResponseWriter
	r           *http.Request
	b           *upload.Bucket
	up          *upload.Upload
	offset      int64
	length      int64 // of the whole, if it is known now
	lengthKnown bool
	sum         *sum // that the body must have, nil for any
}

// appendBody appends the body to the upload, unless the body lacks its
// checksum.
func (a *appending) appendBody() error {
	body := &stoppable{r: a.r.Body}
	control := http.NewResponseController(a.w)
	opts := &upload.AppendOptions{Length: a.length, LengthKnown: a.lengthKnown, Size: max(a.r.ContentLength, 0), Interrupt: func() {
		body.stopped.Store(true)
		control.SetReadDeadline(time.Now()) // if that is not supported, the body ends with the next bytes or the connection
	}}
	var in io.Reader = body
	if a.sum != nil {
		in = io.TeeReader(body, a.sum)
		opts.Verify = a.sum.verify
	}
	now, err := a.b.Append(a.r.Context(), a.up.ID, a.offset, in, opts)
	if body.stopped.Load() {
		// net/http may take the deadline for the end of the connection, so the
		// context does not tell whether the client is there.
		a.w.Header().Set("Connection", "close")
		a.r = a.r.WithContext(context.WithoutCancel(a.r.Context()))
		if errors.Is(err, context.Canceled) {
			err = buckets.ErrInterrupted
		}
	}
	if now != nil {
		a.setUploadHeaders(a.w, a.r, now)
		a.up = now
	}
	return err
}

// A stoppable is a body that another goroutine can stop.
type stoppable struct {
	r       io.Reader
	stopped atomic.Bool
}

func (s *stoppable) Read(p []byte) (int, error) {
	if s.stopped.Load() {
		return 0, buckets.ErrInterrupted
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF && s.stopped.Load() {
		err = buckets.ErrInterrupted
	}
	return n, err
}

// finishUpload commits an upload that is complete. A partial upload it joins
// to the uploads that wait for it.
func (t *Handler) finishUpload(w http.ResponseWriter, r *http.Request, b *upload.Bucket, up *upload.Upload) error {
	if up.Length < 0 || up.Offset < up.Length {
		return nil
	}
	if up.Partial {
		return b.JoinAll(context.WithoutCancel(r.Context()), up.ID)
	}
	now, err := b.Commit(r.Context(), up.ID)
	if err != nil {
		return err
	}
	*up = *now
	t.setUploadHeaders(w, r, up)
	return nil
}

// Post refuses a POST that X-HTTP-Method-Override does not make another method.
func (t *Handler) Post(http.ResponseWriter, *http.Request, *upload.Bucket, string) error {
	return fmt.Errorf("%w: POST to an upload needs X-HTTP-Method-Override: PATCH, DELETE or HEAD", ErrHeader)
}

// Delete cancels an upload. If it has become a file, the file stays.
func (t *Handler) Delete(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	if _, _, err := findUpload(r, b, id); err != nil {
		return err
	}
	if err := b.Cancel(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
