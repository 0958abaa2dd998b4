package rufh

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

// An exchange is a request and its answers.
type exchange struct {
	*Handler
	w  http.ResponseWriter
	r  *http.Request
	b  *upload.Bucket
	up *upload.Upload

	version        int64     // of the draft, -1 if the request does not name one
	complete, told bool      // Upload-Complete, and whether it was sent
	offset, length int64     // -1 where they are not stated
	progress       time.Time // of the last interim answer
}

// beginExchange reads a request and sets the headers that all its answers
// have.
func (t *Handler) beginExchange(w http.ResponseWriter, r *http.Request, b *upload.Bucket) (*exchange, error) {
	x := &exchange{Handler: t, w: w, r: r, b: b, version: parseNumber(r.Header, "Upload-Draft-Interop-Version"),
		offset: parseNumber(r.Header, "Upload-Offset"), length: parseNumber(r.Header, "Upload-Length")}
	x.complete, x.told = parseBoolean(r.Header, "Upload-Complete")
	if x.version == 5 || x.version == 6 {
		x.adaptToOldDrafts()
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Upload-Complete", "?0")
	x.setLimits(nil)
	return x, x.checkLimits()
}

// adaptToOldDrafts completes requests of tus-js-client, which uses versions 5
// and 6. It marks neither an empty file as complete nor an upload whose last
// request has brought all bytes.
func (x *exchange) adaptToOldDrafts() {
	empty := x.offset < 0 && x.length == 0 && x.told
	ended := x.offset >= 0 && x.offset == x.length && !x.told
	if x.r.ContentLength == 0 && (empty || ended) {
		x.complete, x.told = true, true
	}
}

// findUpload reads the upload that the request is about into x.up.
func (x *exchange) findUpload(id string) error {
	up, err := x.b.Find(x.r.Context(), id)
	if err != nil {
		return err
	}
	if up.Header != ofFile && up.Header != ofVersion {
		return buckets.ErrNoUpload // another protocol's
	}
	x.up = up
	x.setLimits(up)
	return nil
}

// totalLength returns the length of the whole file, if the request states it.
func (x *exchange) totalLength() (n int64, known bool, err error) {
	n = x.length
	if last := x.r.ContentLength; x.complete && last >= 0 && x.offset >= 0 {
		if n >= 0 && n != x.offset+last {
			return 0, false, fmt.Errorf("Upload-Length %d, the content ends at %d: %w", n, x.offset+last, buckets.ErrLength)
		}
		n = x.offset + last
	}
	return max(n, 0), n >= 0, nil
}

// checkLimits checks the content against the limits of one request.
func (x *exchange) checkLimits() error {
	p, n := x.b.Policy().Appends, x.r.ContentLength
	switch {
	case p.MaxAppend > 0 && n > p.MaxAppend:
		return fmt.Errorf("%d bytes, at most %d: %w", n, p.MaxAppend, ErrAppendLarge)
	case !x.told || x.complete:
	case x.offset < 0 && n == 0: // a creation without content
	case n >= 0 && n < p.MinAppend:
		return fmt.Errorf("%d bytes, at least %d: %w", n, p.MinAppend, ErrAppendSmall)
	}
	if x.offset < 0 && x.told && !x.complete && x.length >= 0 && x.length < p.MinSize {
		return fmt.Errorf("a file of %d bytes, those in pieces have at least %d: %w", x.length, p.MinSize, ErrAppendSmall)
	}
	return nil
}

// setUploadHeaders sets the headers that describe the state of the upload.
func (x *exchange) setUploadHeaders() {
	h := x.w.Header()
	h.Set("Upload-Offset", strconv.FormatInt(x.up.Offset, 10))
	h.Set("Upload-Complete", formatBoolean(x.up.File != nil))
	x.setLimits(x.up)
	if f := x.up.File; f != nil {
		h.Set("X-File-Id", f.ID)
		h.Set("Content-Location", x.FileURL(x.r, f))
	}
}

// appendBody appends the content of the request to the upload.
func (x *exchange) appendBody() error {
	total, known, err := x.totalLength()
	if err != nil {
		return err
	}
	body := &content{r: x.r.Body, left: x.b.Policy().Appends.MaxAppend}
	opts := &upload.AppendOptions{Size: max(x.r.ContentLength, 0), Progress: x.reportProgress, Interrupt: func() {
		body.stopped.Store(true)
		// Where no deadline can be set, the body ends when the client sends or goes.
		http.NewResponseController(x.w).SetReadDeadline(time.Now())
	}}
	opts.Length, opts.LengthKnown = total, known
	if sums := statedDigests(x.r.Header, "Content-Digest"); sums != nil {
		body.expectDigests(sums)
		opts.Verify = body.verifyDigests
	}
	now, err := x.b.Append(x.r.Context(), x.up.ID, x.offset, body, opts)
	if body.stopped.Load() {
		// net/http may take the deadline for the end of the connection, so the
		// context does not tell whether the client is there.
		x.w.Header().Set("Connection", "close")
		x.r = x.r.WithContext(context.WithoutCancel(x.r.Context()))
		if errors.Is(err, context.Canceled) {
			err = buckets.ErrInterrupted
		}
	}
	if now != nil {
		x.up = now
		x.setUploadHeaders()
	}
	if errors.Is(err, buckets.ErrOverrun) {
		// What the file was to be is not known any more.
		return errors.Join(err, x.b.Invalidate(context.WithoutCancel(x.r.Context()), x.up.ID))
	}
	if err == nil && x.complete && x.up.Length >= 0 && x.up.Offset < x.up.Length {
		return fmt.Errorf("the content ends at %d of %d: %w", x.up.Offset, x.up.Length, buckets.ErrLength)
	}
	return err
}

// commitUpload makes a file of the upload and answers with it.
func (x *exchange) commitUpload() error {
	now, err := x.b.Commit(x.r.Context(), x.up.ID)
	if err != nil {
		x.w.Header().Set("Upload-Complete", formatBoolean(x.Final(err)))
		return err
	}
	x.up = now
	x.setUploadHeaders()
	return x.answerFile(now.File)
}

// answerAgain answers a request to an upload that has become a file. If it is
// what a client sends that has lost the last answer, it gets that one. Every
// other request changes nothing: its answer is not that of the file.
func (x *exchange) answerAgain() error {
	x.setUploadHeaders()
	n, _ := io.ReadFull(x.r.Body, make([]byte, 1))
	again := x.complete && x.offset == x.up.Offset && n == 0
	if again && (x.length < 0 || x.length == x.up.Offset) {
		return x.answerFile(x.up.File)
	}
	x.w.Header().Set("Upload-Complete", "?0")
	switch {
	case x.offset != x.up.Offset:
		return &buckets.OffsetError{Stands: x.up.Offset, Given: x.offset}
	case again:
		return fmt.Errorf("length %d, it was %d: %w", x.length, x.up.Offset, buckets.ErrLength)
	}
	return ErrComplete
}

func (x *exchange) answerFile(f *buckets.File) error {
	if text := reprDigest(f); text != "" {
		x.w.Header().Set("Repr-Digest", text)
	}
	status := http.StatusCreated
	if x.up.Header == ofVersion {
		status = http.StatusOK
	}
	return x.Answer(x.w, x.r, status, f)
}

const progressTime = time.Second // between two interim answers

// reportProgress tells a client of this version, in an interim answer, how
// much of its content is durable.
func (x *exchange) reportProgress(offset int64) {
	if x.version != interop || time.Since(x.progress) < progressTime {
		return
	}
	x.progress = time.Now()
	h := x.w.Header()
	location, limit := h["Location"], h["Upload-Limit"]
	h.Del("Location")
	h.Del("Upload-Limit")
	h.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	x.sendInterim()
	h.Del("Upload-Offset")
	if location != nil {
		h["Location"] = location
	}
	h["Upload-Limit"] = limit
}

// sendInterim sends the headers that are set as an interim answer, without
// Upload-Complete.
func (x *exchange) sendInterim() {
	if !x.r.ProtoAtLeast(1, 1) {
		return
	}
	h := x.w.Header()
	complete := h["Upload-Complete"]
	h.Del("Upload-Complete")
	h.Set("Upload-Draft-Interop-Version", strconv.Itoa(interop))
	x.w.WriteHeader(statusUpload)
	h.Del("Upload-Draft-Interop-Version")
	h["Upload-Complete"] = complete
}

// content is the body of a request. It limits its length, computes its
// digests, and can be stopped by another goroutine.
type content struct {
	r       io.Reader
	left    int64 // bytes, 0 for no limit
	stopped atomic.Bool
	sums    map[string][]byte // that the content must have, by name
	hashes  map[string]hash.Hash
	read    int64
}

func (c *content) Read(p []byte) (int, error) {
	if c.stopped.Load() {
		return 0, buckets.ErrInterrupted
	}
	n, err := c.r.Read(p)
	c.read += int64(n)
	if c.left > 0 && c.read > c.left {
		return 0, fmt.Errorf("more than %d bytes: %w", c.left, ErrAppendLarge)
	}
	for _, h := range c.hashes {
		h.Write(p[:n])
	}
	if err != nil && err != io.EOF && c.stopped.Load() {
		err = buckets.ErrInterrupted
	}
	return n, err
}

func (c *content) expectDigests(want map[string][]byte) {
	c.sums, c.hashes = want, make(map[string]hash.Hash)
	for _, d := range digestAlgorithms() {
		if want[d.name] != nil {
			c.hashes[d.name] = d.new()
		}
	}
}

func (c *content) verifyDigests() error {
	for name, h := range c.hashes {
		if !slices.Equal(h.Sum(nil), c.sums[name]) {
			return fmt.Errorf("%s: %w", name, ErrContentDigest)
		}
	}
	return nil
}
