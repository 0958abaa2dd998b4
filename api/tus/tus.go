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
	// Base returns how the URLs of the server begin, as the sender of r sees
	// it.
	Base func(r *http.Request) string
}

// checkVersion sets the headers that every answer has, and checks the
// protocol's version.
func checkVersion(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Tus-Resumable", Version)
	h.Set("Cache-Control", "no-store")
	if r.Header.Get("Tus-Resumable") != Version {
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
	opts, name, err := readCreation(r)
	if err != nil {
		return err
	}
	if urls, ok := strings.CutPrefix(r.Header.Get("Upload-Concat"), "final;"); ok {
		return t.concatParts(w, r, b, name, opts, urls)
	}
	hasBody := r.ContentLength != 0
	if hasBody && !isOffsetStream(r) {
		return ErrContentType
	}
	up, err := b.Begin(r.Context(), name, opts)
	if err != nil {
		return err
	}
	t.setLocation(w, r, up)
	if hasBody {
		if up, err = t.appendBody(w, r, b, up, 0, 0); err != nil {
			return err
		}
	}
	if err := t.finishUpload(w, r, b, up); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (t *Handler) setLocation(w http.ResponseWriter, r *http.Request, up *upload.Upload) {
	w.Header().Set("Location", t.Base(r)+"/api/tus/"+up.Bucket+"/"+up.ID)
	setUploadHeaders(w, up)
}

// concatParts makes a file of partial uploads, which urls names.
func (t *Handler) concatParts(w http.ResponseWriter, r *http.Request, b *upload.Bucket, name string, opts *upload.Options, urls string) error {
	var ids []string
	for _, text := range strings.Fields(urls) {
		u, err := url.Parse(text)
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
func readCreation(r *http.Request) (*upload.Options, string, error) {
	meta := r.Header.Get("Upload-Metadata")
	opts, name, err := ParseMetadata(meta)
	if err != nil {
		return nil, "", err
	}
	length, deferred, concat := r.Header.Get("Upload-Length"), r.Header.Get("Upload-Defer-Length"), r.Header.Get("Upload-Concat")
	opts.Header = kept{meta, concat}.String()
	opts.Partial = concat == "partial"
	final := strings.HasPrefix(concat, "final;")
	if concat != "" && !opts.Partial && !final || final && length+deferred != "" {
		return nil, "", fmt.Errorf("%w: Upload-Concat: want partial, or final;URL URL and no length", ErrHeader)
	}
	switch {
	case final:
	case length != "" && deferred != "", length == "" && deferred == "":
		return nil, "", fmt.Errorf("%w: want either Upload-Length or Upload-Defer-Length", ErrHeader)
	case deferred != "" && deferred != "1":
		return nil, "", fmt.Errorf("%w: Upload-Defer-Length %.20q: want 1", ErrHeader, deferred)
	case length != "":
		if opts.Size, err = parseNumber("Upload-Length", length); err != nil {
			return nil, "", err
		}
		opts.SizeKnown = true
	}
	return opts, name, nil
}

func parseNumber(header, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || text[0] == '+' {
		return 0, fmt.Errorf("%w: %s %.30q: want a number", ErrHeader, header, text)
	}
	return n, nil
}

func isOffsetStream(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == contentType
}

// setUploadHeaders sets the headers that describe the state of an upload.
func setUploadHeaders(w http.ResponseWriter, up *upload.Upload) {
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
	h.Set("Content-Location", "/api/files/"+up.Bucket+"/"+up.File.ID)
}

// Head answers with the state of an upload.
func (t *Handler) Head(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	up, err := b.Settle(r.Context(), id) // the client has given up the request that still sends
	if err == nil && up.Waiting {
		up, err = b.Join(r.Context(), id)
	}
	if err != nil {
		return err
	}
	setUploadHeaders(w, up)
	h := w.Header()
	if up.Length >= 0 {
		h.Set("Upload-Length", strconv.FormatInt(up.Length, 10))
	} else if !up.Waiting {
		h.Set("Upload-Defer-Length", "1")
	}
	k := parseKept(up.Header)
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
	offset, err := parseNumber("Upload-Offset", r.Header.Get("Upload-Offset")+"")
	if r.Header.Get("Upload-Offset") == "" || err != nil {
		return fmt.Errorf("%w: Upload-Offset is missing or no number", ErrHeader)
	}
	var length int64
	if text := r.Header.Get("Upload-Length"); text != "" {
		if length, err = parseNumber("Upload-Length", text); err != nil {
			return err
		}
	}
	up, err := b.Find(r.Context(), id)
	if err != nil {
		return err
	}
	if up.File != nil && offset == up.Offset && r.ContentLength == 0 {
		setUploadHeaders(w, up)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if up.File != nil || strings.HasPrefix(parseKept(up.Header).Concat, "final;") {
		return buckets.ErrComplete
	}
	if up.Length >= 0 && r.ContentLength > up.Length-offset {
		return fmt.Errorf("%d bytes at %d of %d: %w", r.ContentLength, offset, up.Length, buckets.ErrTooLarge)
	}
	if up, err = t.appendBody(w, r, b, up, offset, length); err != nil {
		return err
	}
	if err := t.finishUpload(w, r, b, up); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendBody appends the body of r to an upload, unless the body lacks the
// checksum that r states.
func (t *Handler) appendBody(w http.ResponseWriter, r *http.Request, b *upload.Bucket, up *upload.Upload, offset, length int64) (*upload.Upload, error) {
	body := &stoppable{r: r.Body}
	control := http.NewResponseController(w)
	opts := &upload.AppendOptions{Length: length, Interrupt: func() {
		body.stopped.Store(true)
		control.SetReadDeadline(time.Now()) // if that is not supported, the body ends with the next bytes or the connection
	}}
	sum, err := readChecksum(r)
	if err != nil {
		return up, err
	}
	var in io.Reader = body
	if sum != nil {
		in = io.TeeReader(body, sum)
		opts.Verify = sum.verify
	}
	now, err := b.Append(r.Context(), up.ID, offset, in, opts)
	if body.stopped.Load() { // net/http may take the deadline for the end of the connection
		w.Header().Set("Connection", "close")
	}
	if now != nil {
		setUploadHeaders(w, now)
		up = now
	}
	return up, err
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
	f, err := b.Commit(r.Context(), up.ID)
	if err != nil {
		return err
	}
	up.File = f
	setUploadHeaders(w, up)
	return nil
}

// Post runs the method of X-HTTP-Method-Override, for clients that cannot send
// PATCH, DELETE or HEAD.
func (t *Handler) Post(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	switch r.Header.Get("X-HTTP-Method-Override") {
	case http.MethodPatch:
		return t.Patch(w, r, b, id)
	case http.MethodDelete:
		return t.Delete(w, r, b, id)
	case http.MethodHead:
		return t.Head(w, r, b, id)
	}
	return fmt.Errorf("%w: POST to an upload needs X-HTTP-Method-Override: PATCH, DELETE or HEAD", ErrHeader)
}

// Delete cancels an upload. If it has become a file, the file stays.
func (t *Handler) Delete(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	if err := checkVersion(w, r); err != nil {
		return err
	}
	if err := b.Cancel(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
