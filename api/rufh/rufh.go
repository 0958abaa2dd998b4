// Package rufh speaks draft-ietf-httpbis-resumable-upload, interop version 8:
// resumable uploads by the means of HTTP alone. Any creation of a file becomes
// one by the header Upload-Complete; what it makes is an upload resource, to
// which the rest is appended. Clients of the interop versions 5 and 6 are
// understood. The package keeps nothing itself: uploads are those of package
// buckets.
package rufh

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-store/cairn/buckets"
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
	// Base is what the URLs of a request's server begin with.
	Base func(r *http.Request) string
	// Answer answers as the target of a creation does when the file is there.
	Answer func(w http.ResponseWriter, r *http.Request, status int, f *buckets.File) error
	// Final reports whether trying again would not mend an error.
	Final func(err error) bool
}

// Wanted reports whether a request asks for a resumable upload.
func Wanted(r *http.Request) bool {
	_, ok := parseBoolean(r.Header, "Upload-Complete")
	return ok
}

// A Creation is the file that a request wants to make.
type Creation struct {
	Name string
	buckets.UploadOptions
}

// Uploads of this protocol are marked as one of these.
const (
	ofFile    = "rufh"
	ofVersion = "rufh version"
)

// Create begins an upload, perhaps with its first bytes or all of them.
func (t *Handler) Create(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, c *Creation) error {
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
	if err := x.expectWhole(&c.UploadOptions); err != nil {
		return err
	}
	if x.up, err = b.NewUpload(r.Context(), c.Name, &c.UploadOptions); err != nil {
		return err
	}
	x.setLimits(x.up)
	h := w.Header()
	h.Set("Location", t.Base(r)+"/api/uploads/"+x.up.Bucket+"/"+x.up.ID)
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

// Patch adds bytes to an upload. The last ones make it a file.
func (t *Handler) Patch(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, id string) error {
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
		x.setUploadHeaders()
		if x.complete && x.offset == x.up.Offset && r.ContentLength == 0 {
			return x.answerFile(x.up.File) // the answer to the last bytes was lost
		}
		return ErrComplete
	}
	if err := x.appendBody(); err != nil {
		return err
	}
	if x.complete {
		return x.commitUpload()
	}
	x.setUploadHeaders()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Head tells how an upload stands. Who is sending to it has been given up by
// the client, and is stopped.
func (t *Handler) Head(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, id string) error {
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
		h.Set("Upload-Defer-Length", "1") // or tus-js-client takes the length for known
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Delete gives an upload up. The file that it may have become stays.
func (t *Handler) Delete(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, id string) error {
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

// Post is what clients send that know no PATCH or DELETE.
func (t *Handler) Post(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, id string) error {
	switch r.Header.Get("X-HTTP-Method-Override") {
	case http.MethodPatch:
		return t.Patch(w, r, b, id)
	case http.MethodDelete:
		return t.Delete(w, r, b, id)
	}
	return fmt.Errorf("%w: POST to an upload needs X-HTTP-Method-Override: PATCH or DELETE", ErrHeader)
}

// Options tells the limits of uploads.
func (t *Handler) Options(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	x := &exchange{Handler: t, w: w, r: r, b: b}
	x.setLimits(nil)
	w.Header().Set("Accept-Patch", contentType)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setLimits sets Upload-Limit: those of the bucket, or of an upload in it.
func (x *exchange) setLimits(up *buckets.Upload) {
	p := x.b.Policy()
	age := p.UploadExpiry
	if up != nil {
		age = time.Until(up.ExpiresAt)
	}
	x.w.Header().Set("Upload-Limit", formatLimits(&p, age))
}
