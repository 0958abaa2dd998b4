// Package rufh implements draft-ietf-httpbis-resumable-upload, interop version
// 8, and accepts clients of the interop versions 5 and 6. The header
// Upload-Complete makes an upload resource of any request that creates a file;
// further requests append the rest to it. The package keeps no state of its
// own: its uploads are those of package buckets.
package rufh

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

const (
	interop      = 8
	contentType  = "application/partial-upload"
	statusUpload = 104 // Upload Resumption Supported
)

// Errors of requests, as opposed to errors of the store.
var (
	ErrContentType   = errors.New("Content-Type is not " + contentType)
	ErrHeader        = errors.New("header is missing or not valid")
	ErrComplete      = errors.New("upload is complete already")
	ErrContentDigest = errors.New("content does not have the digest of Content-Digest")
	ErrAppendLarge   = errors.New("more than one request may bring; see Upload-Limit")
	ErrAppendSmall   = errors.New("less than a request may bring that is not the last; see Upload-Limit")
)

// A Handler answers requests about upload resources.
type Handler struct {
	// URL returns the URL of an upload, as the sender of r sees the server and may
	// send to it. FileURL returns that of the file that an upload has become.
	URL     func(r *http.Request, up *upload.Upload) string
	FileURL func(r *http.Request, f *buckets.File) string
	// Answer answers with the file as the target of the creation does.
	Answer func(w http.ResponseWriter, r *http.Request, status int, f *buckets.File) error
	// Final reports whether a request that failed with err would fail again.
	Final func(err error) bool
}

// Wanted reports whether r asks for a resumable upload.
func Wanted(r *http.Request) bool {
	_, ok := parseBoolean(r.Header, "Upload-Complete")
	return ok
}

// A Creation is the file that a request creates.
type Creation struct {
	Name string
	upload.Options
}

// The header of an upload marks it as one of this protocol.
const (
	ofFile    = "rufh"
	ofVersion = "rufh version"
)

// Create begins an upload. The request may bring its first bytes or all of
// them.
func (t *Handler) Create(w http.ResponseWriter, r *http.Request, b *upload.Bucket, c *Creation) error {
	x, err := t.beginExchange(w, r, b)
	if err != nil {
		return err
	}
	x.offset = 0
	if c.Size, c.SizeKnown, err = x.totalLength(); err != nil {
		return err
	}
	c.Header = ofFile
	if c.Replace != "" {
		c.Header = ofVersion
	}
	if err := x.expectWhole(&c.Options); err != nil {
		return err
	}
	if x.up, err = b.Begin(r.Context(), c.Name, &c.Options); err != nil {
		return err
	}
	if x.up.File != nil { // made by the same request, sent before
		x.setUploadHeaders()
		return x.answerFile(x.up.File)
	}
	x.setLimits(x.up)
	h := w.Header()
	h.Set("Location", t.URL(r, x.up))
	if x.version == interop {
		x.sendInterim()
	}
	if r.ContentLength != 0 {
		if err := x.appendBody(); err != nil {
			return err
		}
	}
	if x.complete {
		return x.commitUpload()
	}
	x.setUploadHeaders()
	w.WriteHeader(http.StatusCreated)
	return nil
}

// Patch appends the body to an upload. With its last byte the upload becomes a
// file.
func (t *Handler) Patch(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	x, err := t.beginExchange(w, r, b)
	if err != nil {
		return err
	}
	if x.version != 5 && !isPartial(r) {
		return ErrContentType
	}
	if err := x.findUpload(id); err != nil {
		return err
	}
	if x.offset < 0 || !x.told {
		return fmt.Errorf("%w: an append needs Upload-Offset and Upload-Complete", ErrHeader)
	}
	if x.up.File != nil {
		return x.answerAgain()
	}
	switch err := x.appendBody(); {
	case errors.Is(err, buckets.ErrComplete): // by another request, since it was found
		if err := x.findUpload(id); err != nil {
			return err
		}
		if r.ContentLength == 0 {
			return x.answerAgain()
		}
		return ErrComplete
	case err != nil:
		return err
	case x.complete:
		return x.commitUpload()
	}
	x.setUploadHeaders()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Head answers with the state of an upload. It stops a request that still
// sends to it: the client has given that one up.
func (t *Handler) Head(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	x, err := t.beginExchange(w, r, b)
	if err != nil {
		return err
	}
	if err := x.findUpload(id); err != nil {
		return err
	}
	if x.up, err = b.Settle(r.Context(), id); err != nil {
		return err
	}
	x.setUploadHeaders()
	if h := w.Header(); x.up.Length >= 0 {
		h.Set("Upload-Length", strconv.FormatInt(x.up.Length, 10))
	} else if x.version != 0 && x.version < interop {
		h.Set("Upload-Defer-Length", "1") // else tus-js-client takes the length as known
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Delete cancels an upload. If it has become a file, the file stays.
func (t *Handler) Delete(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error {
	x := &exchange{Handler: t, w: w, r: r, b: b}
	if err := x.findUpload(id); err != nil {
		return err
	}
	if err := b.Cancel(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Post refuses a POST that X-HTTP-Method-Override does not make another method.
func (t *Handler) Post(http.ResponseWriter, *http.Request, *upload.Bucket, string) error {
	return fmt.Errorf("%w: POST to an upload needs X-HTTP-Method-Override: PATCH, DELETE or HEAD", ErrHeader)
}

// Options answers with the limits of uploads.
func (t *Handler) Options(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	x := &exchange{Handler: t, w: w, r: r, b: b}
	x.setLimits(nil)
	w.Header().Set("Accept-Patch", contentType)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setLimits sets Upload-Limit to the limits of the bucket or, if up is not
// nil, of that upload.
func (x *exchange) setLimits(up *upload.Upload) {
	p := x.b.Policy()
	age := p.UploadExpiry
	if up != nil {
		age = time.Until(up.ExpiresAt)
	}
	x.w.Header().Set("Upload-Limit", formatLimits(&p, age))
}
