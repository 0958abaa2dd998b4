package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cairn-store/cairn/api/rufh"
	"github.com/cairn-store/cairn/api/tus"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Errors of requests, as opposed to errors of the store.
var (
	errNoRoute       = errors.New("there is nothing at this path")
	errMethod        = errors.New("the method is not among those in Allow")
	errRequest       = errors.New("request is not valid")
	errMultipart     = errors.New("multipart body is not valid")
	errBody          = errors.New("body ended before its declared length")
	errSlow          = errors.New("too little was received for too long")
	errTooLarge      = errors.New("body is too large")
	errLength        = errors.New("a body of HTTP/1.0 needs Content-Length, else it cannot be told from none")
	errMediaType     = errors.New("Content-Type or Content-Encoding is not taken here")
	errHeaders       = errors.New("headers are larger than 64 KiB")
	errForeignHost   = errors.New("with --dev only requests to a loopback address are answered")
	errForeignOrigin = errors.New("with --dev only requests of the same origin are answered")
	errCrossOrigin   = errors.New("a page of another origin may change nothing with the session of a browser: list its origin in server.cors.allowed_origins, or let it send a bearer token")
	errDraining      = errors.New("server is shutting down")
	errPanic         = errors.New("internal error; the log has more under this request ID")
	errRange         = errors.New("range is not within the file")
	errAnonymous     = errors.New("this needs somebody who is known: sign in, or send Authorization: Bearer TOKEN")
	errOperator      = errors.New("only operators may do this")
	errPreview       = errors.New("this server makes no images of others: its program would have to bring what does")
)

// An outcome is how an error is answered.
type outcome struct {
	err    error
	status int
	code   string // stable
	alyx   string // the code that Alyx gives the same
	shown  bool   // the error's own text goes to the client
}

// outcomes lists how errors are answered. The first whose err is in the chain
// of an error counts. api/ERRORS.md describes them.
func outcomes() []outcome {
	return slices.Concat(senderOutcomes(), linkOutcomes(), uploadOutcomes(), requestOutcomes(), storeOutcomes())
}

// senderOutcomes are of errors about the sender, and about the bucket or file
// in the path.
func senderOutcomes() []outcome {
	return []outcome{
		{buckets.ErrClosed, 503, "draining", "SERVICE_UNAVAILABLE", true},                     // whatever was to be found out
		{access.ErrUndecided, 503, "authorization-unavailable", "SERVICE_UNAVAILABLE", false}, // before its cause
		{buckets.ErrNoBucket, 404, "bucket-not-found", "BUCKET_NOT_FOUND", true},
		{buckets.ErrNoVersion, 404, "version-not-found", "FILE_NOT_FOUND", true},
		{buckets.ErrNoFile, 404, "file-not-found", "FILE_NOT_FOUND", false},
		{access.ErrCredentials, 401, "unauthenticated", "UNAUTHORIZED", true},
		{errCrossOrigin, 403, "cross-origin", "FORBIDDEN", true},
		{errAnonymous, 401, "unauthenticated", "UNAUTHORIZED", true},
		{errRateLimited, 429, "rate-limited", "RATE_LIMITED", true},
		{errTooMany, 429, "too-many-requests", "RATE_LIMITED", true},
	}
}

// linkOutcomes are of errors of links of records, and of their hosts.
func linkOutcomes() []outcome {
	return []outcome{
		{buckets.ErrReferenced, 409, "file-referenced", "CONFLICT", true},
		{buckets.ErrUnreconciled, 503, "links-unreconciled", "SERVICE_UNAVAILABLE", true},
		{links.ErrNoHost, 404, "host-not-found", "NOT_FOUND", true},
		{links.ErrHostDatabase, 409, "host-database", "CONFLICT", true},
		{links.ErrSession, 409, "session-ended", "CONFLICT", true},
		{links.ErrLinkLost, 409, "link-lost", "CONFLICT", true},
		{links.ErrTooManyDrops, 409, "too-many-drops", "CONFLICT", true},
		{schema.ErrNoPlan, 409, "field-plan", "CONFLICT", true},
		{links.ErrValue, 422, "invalid-value", "INVALID_REQUEST", true},
		{links.ErrField, 422, "invalid-value", "INVALID_REQUEST", true},
		{links.ErrTooManyPending, 429, "too-many-pending", "RATE_LIMITED", true},
		{links.ErrToken, 400, "invalid-token", "INVALID_REQUEST", true},
	}
}

// uploadOutcomes are of errors of resumable uploads and uploads by chunk list.
func uploadOutcomes() []outcome {
	return []outcome{
		{tus.ErrVersion, 412, "tus-version", "PRECONDITION_FAILED", true},
		{tus.ErrContentType, 415, "content-type-unsupported", "UNSUPPORTED_MEDIA_TYPE", true},
		{errMediaType, 415, "content-type-unsupported", "UNSUPPORTED_MEDIA_TYPE", true},
		{errZstd, 422, "chunk-not-decodable", "INVALID_REQUEST", false},
		{buckets.ErrMissing, 409, "chunks-missing", "CONFLICT", true},
		{buckets.ErrListOffset, 409, "list-offset-mismatch", "CONFLICT", true},
		{buckets.ErrChunkDigest, 422, "chunk-digest-mismatch", "INVALID_REQUEST", true},
		{buckets.ErrChunkTooLarge, 413, "chunk-too-large", "PAYLOAD_TOO_LARGE", true},
		{buckets.ErrList, 400, "invalid-chunk-list", "INVALID_REQUEST", true},
		{buckets.ErrBase, 400, "invalid-base", "INVALID_REQUEST", true},
		{tus.ErrChecksum, 460, "checksum-mismatch", "CHECKSUM_MISMATCH", true},
		{rufh.ErrContentType, 415, "content-type-unsupported", "UNSUPPORTED_MEDIA_TYPE", true},
		{rufh.ErrHeader, 400, "invalid-request", "INVALID_REQUEST", true},
		{rufh.ErrComplete, 400, "completed-upload", "INVALID_REQUEST", true},
		{rufh.ErrContentDigest, 400, "digest-mismatch", "CHECKSUM_MISMATCH", true},
		{rufh.ErrAppendLarge, 413, "append-too-large", "PAYLOAD_TOO_LARGE", true},
		{rufh.ErrAppendSmall, 400, "append-too-small", "INVALID_REQUEST", true},
		{buckets.ErrDigest, 400, "digest-mismatch", "CHECKSUM_MISMATCH", true},
		{buckets.ErrLength, 400, "inconsistent-upload-length", "INVALID_REQUEST", true},
		{buckets.ErrComplete, 403, "modify-final-upload", "FORBIDDEN", true},
		{tus.ErrHeader, 400, "invalid-request", "INVALID_REQUEST", true},
		{buckets.ErrUploadInvalid, 410, "upload-invalid", "UPLOAD_NOT_FOUND", true},
		{buckets.ErrUploadExpired, 410, "upload-expired", "UPLOAD_NOT_FOUND", true},
		{upload.ErrTooMany, 429, "too-many-uploads", "RATE_LIMITED", true},
		{buckets.ErrNoUpload, 404, "upload-not-found", "UPLOAD_NOT_FOUND", true},
		{buckets.ErrOffset, 409, "upload-offset-mismatch", "CONFLICT", true},
		{buckets.ErrPart, 400, "incomplete-part", "INVALID_REQUEST", true},
		{buckets.ErrInterrupted, 423, "upload-locked", "LOCKED", true},
	}
}

// requestOutcomes are of errors about the form of a request.
func requestOutcomes() []outcome {
	return []outcome{
		{errNoRoute, 404, "not-found", "NOT_FOUND", true},
		{errMethod, 405, "method-not-allowed", "METHOD_NOT_ALLOWED", true},
		{errForeignHost, 403, "foreign-host", "FORBIDDEN", true},
		{errForeignOrigin, 403, "foreign-origin", "FORBIDDEN", true},
		{errTooLarge, 413, "body-too-large", "PAYLOAD_TOO_LARGE", true},
		{errLength, 411, "length-required", "INVALID_REQUEST", true},
		{errHeaders, 431, "headers-too-large", "HEADERS_TOO_LARGE", true},
		{errSlow, 408, "body-timeout", "TIMEOUT", true},
		{errMultipart, 400, "invalid-multipart", "INVALID_REQUEST", true},
		{errBody, 400, "incomplete-body", "INVALID_REQUEST", true},
		{errRequest, 400, "invalid-request", "INVALID_REQUEST", true},
	}
}

// storeOutcomes are of errors about files, buckets and the store.
func storeOutcomes() []outcome {
	return []outcome{
		{buckets.ErrMoved, 503, "bucket-moved", "SERVICE_UNAVAILABLE", true},
		{buckets.ErrMigrating, 409, "migration-under-way", "CONFLICT", true},
		{buckets.ErrNoBackend, 404, "backend-not-found", "NOT_FOUND", true},
		{buckets.ErrRange, 416, "range-not-satisfiable", "INVALID_RANGE", true},
		{errRange, 416, "range-not-satisfiable", "INVALID_RANGE", true},
		{ErrNotTransformable, 422, "not-transformable", "INVALID_REQUEST", true},
		{errPreview, 501, "transform-not-available", "NOT_IMPLEMENTED", true},
		{errDraining, 503, "draining", "SERVICE_UNAVAILABLE", true},
		{cas.ErrKey, 503, "key-unavailable", "SERVICE_UNAVAILABLE", false},
		{buckets.ErrQuarantined, 403, "file-quarantined", "FORBIDDEN", true},
		{buckets.ErrQuarantineFull, 503, "quarantine-full", "SERVICE_UNAVAILABLE", true},
		{buckets.ErrUnvalidated, 503, "upload-unvalidated", "SERVICE_UNAVAILABLE", false},
		{buckets.ErrDenied, 403, "upload-denied", "FORBIDDEN", true},
		{buckets.ErrRefused, 422, "upload-refused", "INVALID_REQUEST", true},
		{buckets.ErrPrecondition, 412, "precondition-failed", "PRECONDITION_FAILED", true},
		{buckets.ErrExist, 409, "name-taken", "ALREADY_EXISTS", true},
		{buckets.ErrName, 400, "invalid-name", "INVALID_REQUEST", true},
		{buckets.ErrMetadata, 400, "invalid-metadata", "INVALID_REQUEST", true},
		{buckets.ErrDigestName, 400, "unsupported-checksum", "INVALID_REQUEST", true},
		{buckets.ErrCursor, 400, "invalid-cursor", "INVALID_REQUEST", true},
		{buckets.ErrListTooLong, 422, "listing-too-long", "INVALID_REQUEST", true},
		{buckets.ErrSize, 422, "size-mismatch", "INVALID_REQUEST", true},
		{buckets.ErrLastVersion, 409, "last-version", "CONFLICT", true},
		{buckets.ErrNotTrashed, 409, "not-trashed", "CONFLICT", true},
		{buckets.ErrChunksGone, 503, "chunks-damaged", "SERVICE_UNAVAILABLE", true},
		{buckets.ErrChangeTooLarge, 413, "change-too-large", "PAYLOAD_TOO_LARGE", true},
		{buckets.ErrTooLarge, 413, "file-too-large", "PAYLOAD_TOO_LARGE", true},
		{buckets.ErrOnce, 409, "idempotency-conflict", "CONFLICT", true},
		{access.ErrNoGrant, 404, "grant-not-found", "NOT_FOUND", true},
		{access.ErrNoKey, 404, "key-not-found", "NOT_FOUND", true},
		{access.ErrGrantExpired, 403, "signed-url-expired", "TOKEN_EXPIRED", true},
		{access.ErrGrantScope, 403, "signed-url-scope", "INVALID_TOKEN", true},
		{access.ErrGrant, 403, "signed-url-invalid", "INVALID_TOKEN", true},
		{buckets.ErrBucketDisabled, 403, "bucket-disabled", "FORBIDDEN", true},
		{access.ErrAccess, 400, "invalid-access", "INVALID_REQUEST", true},
		{buckets.ErrUncollected, 503, "space-not-collected", "SERVICE_UNAVAILABLE", true},
		{buckets.ErrQuota, 403, "quota-exceeded", "QUOTA_EXCEEDED", true},
		{buckets.ErrType, 415, "type-not-allowed", "UNSUPPORTED_MEDIA_TYPE", true},
		{buckets.ErrTypeMismatch, 422, "type-mismatch", "INVALID_REQUEST", true},
		{buckets.ErrNoSpace, 507, "backend-full", "STORAGE_FULL", false},
		{buckets.ErrReadOnly, 503, "store-read-only", "SERVICE_UNAVAILABLE", false},
		{manifest.ErrSync, 503, "store-read-only", "SERVICE_UNAVAILABLE", false},
		{buckets.ErrOwned, 503, "backend-owned", "SERVICE_UNAVAILABLE", false},
		{buckets.ErrUnavailable, 503, "backend-unavailable", "SERVICE_UNAVAILABLE", false},
		{collect.ErrNotStored, 404, "not-stored", "NOT_FOUND", true},
		{errOperator, 403, "access-denied", "FORBIDDEN", true},
		{fs.ErrPermission, 403, "access-denied", "FORBIDDEN", false},
		{fs.ErrInvalid, 400, "invalid-request", "INVALID_REQUEST", true},
		{fs.ErrNotExist, 404, "file-not-found", "FILE_NOT_FOUND", false},
	}
}

// A problem is the body of an error's answer: RFC 9457, with the members that
// Alyx's clients read.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Instance  string         `json:"instance"` // the request's ID
	Code      string         `json:"code"`
	Error     string         `json:"error"`
	Timestamp string         `json:"timestamp"`
	Details   map[string]any `json:"details"`

	Expected *int64 `json:"expected-offset,omitempty"` // of an upload
	Provided *int64 `json:"provided-offset,omitempty"`

	alyx string // the code that Alyx gives the same
}

const problemType = "https://github.com/cairn-store/cairn/blob/main/api/ERRORS.md#"

func problemOf(err error) *problem {
	var corrupt *cas.CorruptError
	if !errors.Is(err, access.ErrUndecided) && errors.As(err, &corrupt) {
		digest, pack := corrupt.CorruptChunk()
		p := newProblem(500, "content-damaged", "stored content is damaged: chunk "+digest+" in pack "+pack)
		p.Details["digest"], p.Details["pack"] = digest, pack
		return p
	}
	var system syscall.Errno
	for _, o := range outcomes() {
		if !errors.Is(err, o.err) {
			continue
		}
		if (o.err == fs.ErrPermission || o.err == fs.ErrNotExist) && errors.As(err, &system) {
			continue // errors of the operating system are not about the client's rights and files
		}
		p := newProblem(o.status, o.code, o.err.Error())
		p.alyx = o.alyx
		told := (*toldError)(nil)
		if o.shown || p.Status < 500 && errors.As(err, &told) {
			p.Detail, p.Error = err.Error(), err.Error()
		}
		addLinkDetails(p.Details, err)
		if at := (*upload.ListOffsetError)(nil); errors.As(err, &at) {
			p.Details["listed_chunks"] = at.Chunks
		}
		if at := (*buckets.OffsetError)(nil); errors.As(err, &at) {
			p.Expected, p.Provided = &at.Stands, &at.Given
		}
		return p
	}
	return newProblem(500, "internal", errPanic.Error())
}

// registeredTypes maps codes to the problem types that IANA has registered.
func registeredTypes() map[string]string {
	return map[string]string{"upload-offset-mismatch": "mismatching-upload-offset", "completed-upload": "completed-upload",
		"inconsistent-upload-length": "inconsistent-upload-length"}
}

func newProblem(status int, code, detail string) *problem {
	title := http.StatusText(status)
	if title == "" {
		title = "Refused" // 460 has no name of its own
	}
	uri := problemType + code
	if word := registeredTypes()[code]; word != "" {
		uri = "https://iana.org/assignments/http-problem-types#" + word
	}
	return &problem{Type: uri, Title: title, Status: status, Detail: detail,
		Code: code, Error: detail, Details: map[string]any{}, alyx: "INTERNAL_ERROR"}
}

// handlerOf makes an http.Handler of h. An error of h becomes the answer.
func (s *Server) handlerOf(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if isBroken(err) {
		s.log.Error("answer cut off", "request", requestIDOf(r), "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // breaks the connection, so that the answer does not look complete
	}
	p, n := problemOf(err), noteOf(r)
	// A program that calls the Server itself as an operator may know why, and tells it.
	if n.told = errors.Is(err, buckets.ErrReadOnly) && principalOf(r).Operator; n.told {
		p.Detail, p.Error = err.Error(), err.Error()
	}
	n.gone = r.Context().Err() != nil && errors.Is(err, context.Canceled)
	writeProblem(w, r, p, err)
}

func writeProblem(w http.ResponseWriter, r *http.Request, p *problem, cause error) {
	n := noteOf(r)
	n.code, n.err = p.Code, cause
	p.Instance, p.Timestamp = n.id, time.Now().UTC().Format(time.RFC3339)
	h := w.Header()
	for _, k := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "ETag", "Last-Modified", "Repr-Digest", "Accept-Ranges"} {
		h.Del(k)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", "60") // a limitError sets the exact time below
	}
	if p.Status == http.StatusServiceUnavailable && p.Code != "links-unreconciled" || p.Status == http.StatusInsufficientStorage {
		h.Set("Retry-After", "10")
	}
	var limit *limitError
	if errors.As(cause, &limit) {
		limit.setRetryAfter(h)
	}
	var coding *codingError
	if errors.As(cause, &coding) {
		h.Set("Accept-Encoding", coding.taken)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="cairn"`)
	}
	writeText(w, p.Status, spellProblem(r, p))
}

// writeText sends v as JSON in whole, so that it has a length and can be read
// while the server still reads the request.
func writeText(w http.ResponseWriter, status int, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p = append(p, '\n')
	w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	w.WriteHeader(status)
	w.Write(p) // a client that is gone needs no answer
	return nil
}

// bodyError returns the error that answers a failure to read a body.
func bodyError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errBody
	}
	return err
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	return writeText(w, status, v)
}

// noContent answers a request whose work ended with err: without a body if err
// is nil.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
