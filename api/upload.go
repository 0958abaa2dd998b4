package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
)

// createFile stores a new file.
func createFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	u, err := newUpload(r)
	if err != nil {
		return err
	}
	if u.name == "" {
		return fmt.Errorf("the file has no name: send a multipart part \"file\" with a file name, or ?name=: %w", errRequest)
	}
	ifNoneMatch := r.Header.Get("If-None-Match") == "*"
	u.chooseConflict = func() {
		if u.opts.OnConflict == "" {
			u.opts.OnConflict = buckets.ConflictNew
		}
		if ifNoneMatch {
			u.opts.OnConflict = buckets.ConflictFail
		}
	}
	u.chooseConflict()
	if u.opts.IfMatch, err = ifMatchName(r, b, u.opts.Folder, u.name); err != nil {
		return err
	}
	f, err := b.Put(r.Context(), u.name, u.body, &u.opts)
	if ifNoneMatch && errors.Is(err, buckets.ErrExist) {
		return fmt.Errorf("%w: the name is taken", buckets.ErrPrecondition)
	}
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if f.Unchanged {
		status = http.StatusOK
	}
	return writeUploaded(w, r, status, f, nil)
}

// replaceFile stores a new version of a file.
func replaceFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	if err := onlyFile(w, r); err != nil {
		return err
	}
	u, err := newUpload(r)
	if err != nil {
		return err
	}
	id := mux.Vars(r)["id"]
	if u.opts.IfMatch, err = ifMatch(r, b, id); err != nil {
		return err
	}
	f, err := b.Replace(r.Context(), id, u.body, &u.opts)
	return writeUploaded(w, r, http.StatusOK, f, err)
}

// writeUploaded answers an upload or edit that made f, or failed with err.
func writeUploaded(w http.ResponseWriter, r *http.Request, status int, f *buckets.File, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("ETag", entityTag(f))
	w.Header().Set("Location", mountOf(r).pathToFile(f))
	markReplayed(w, f)
	return writeJSON(w, status, spellFile(r, mountOf(r).uploadView(f, principalOf(r))))
}

// parseOnce reads an Idempotency-Key. With it goes a digest of all that is
// known of the request before its body, and of what has been read of that as
// JSON, so that a key is not taken for another request.
func parseOnce(r *http.Request, read ...any) *buckets.Once {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return nil
	}
	h := r.Header
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q %q %q %d", r.Method, r.URL.EscapedPath(), r.URL.RawQuery,
		h.Get("If-Match"), h.Get("If-None-Match"), r.ContentLength))
	if span := h.Get("Content-Range"); span != "" {
		sum = sha256.Sum256(append(sum[:], span...))
	}
	for _, v := range read {
		text, _ := json.Marshal(v) // it was JSON
		sum = sha256.Sum256(append(sum[:], text...))
	}
	return &buckets.Once{Key: key, Request: hex.EncodeToString(sum[:])}
}

// markReplayed marks the answer of an earlier request.
func markReplayed(w http.ResponseWriter, f *buckets.File) {
	if f.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
}

// lacksLength reports a request of HTTP/1.0 that does not say how long its body
// is. It would be read as empty: what ends with the connection has an end that
// nobody can tell from a break.
func lacksLength(r *http.Request) bool {
	return !r.ProtoAtLeast(1, 1) && r.ContentLength == 0 && r.Header.Get("Content-Length") == ""
}

// takeContent refuses to store a body without a length. Where a body is not
// always there, its type tells.
func takeContent(always bool, h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if lacksLength(r) && (always || r.Header.Get("Content-Type") != "") {
			return errLength
		}
		return h(w, r)
	}
}

// An uploadRequest is the file that a request brings: its name, bytes and options.
type uploadRequest struct {
	name string
	body io.Reader
	opts buckets.PutOptions

	chooseConflict func() // completes OnConflict of a new file; nil for a version
}

// newUpload reads all of a request that stands before the file's bytes.
func newUpload(r *http.Request) (*uploadRequest, error) {
	u := &uploadRequest{}
	u.opts.Once = parseOnce(r)
	if err := u.readQuery(r); err != nil {
		return nil, err
	}
	body := &bodyReader{r.Body}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if isForm(r) {
		if err != nil || params["boundary"] == "" {
			return nil, fmt.Errorf("no boundary in Content-Type: %w", errMultipart)
		}
		f := &uploadForm{u: u, parts: multipart.NewReader(body, params["boundary"])}
		return u, f.readToFile()
	}
	if err == nil && mediaType != "application/x-www-form-urlencoded" { // the default of curl for any body
		u.opts.MIMEType = mediaType
	}
	if r.ContentLength >= 0 {
		u.opts.Size, u.opts.SizeKnown = r.ContentLength, true
	}
	u.body = body
	return u, nil
}

// isForm reports whether a body is a form by its type, also where the parameters
// of that cannot be read.
func isForm(r *http.Request) bool {
	name, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(name), "multipart/form-data")
}

// readQuery sets the options of the query.
func (u *uploadRequest) readQuery(r *http.Request) error {
	q := queryOf(r)
	q.readChoice("on_conflict", "new", "version", "fail")
	q.readFlag("skip_unchanged")
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		value := q.readText(name)
		if q.err != nil {
			return q.err
		}
		if err := u.setField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// setField sets an option by a parameter of the query or a field of a form.
func (u *uploadRequest) setField(name, value string) error {
	if strings.HasPrefix(name, "metadata") || name == "tags" {
		if !utf8.ValidString(name + value) { // JSON would be stored with other characters
			return fmt.Errorf("%.80q is not UTF-8: %w", name, buckets.ErrMetadata)
		}
	}
	switch name {
	case "name":
		u.name = value
	case "folder":
		u.opts.Folder = value
	case "cache_control":
		u.opts.CacheControl = value
	case "on_conflict":
		u.opts.OnConflict = buckets.OnConflict(value)
	case "skip_unchanged":
		if u.opts.SkipUnchanged = value == "true"; !u.opts.SkipUnchanged && value != "false" {
			return fmt.Errorf("skip_unchanged %.80q: use true or false: %w", value, errRequest)
		}
	case "digests":
		u.opts.Digests = []string{}
		if value != "" && value != "none" {
			u.opts.Digests = strings.Split(value, ",")
		}
	case "metadata":
		if err := json.Unmarshal([]byte(value), &u.opts.Metadata); err != nil || u.opts.Metadata == nil {
			return fmt.Errorf("metadata is not a JSON object: %w", buckets.ErrMetadata)
		}
	case "tags":
		if err := json.Unmarshal([]byte(value), &u.opts.Tags); err != nil || u.opts.Tags == nil {
			return fmt.Errorf("tags are not a JSON array of strings: %w", buckets.ErrMetadata)
		}
	default:
		if key, ok := strings.CutPrefix(name, "metadata["); ok {
			return u.setMetadata(key, value)
		}
	}
	return nil
}

// setMetadata sets a key of the metadata by a parameter or field metadata[KEY].
func (u *uploadRequest) setMetadata(key, value string) error {
	key, ok := strings.CutSuffix(key, "]")
	if !ok || key == "" || strings.ContainsAny(key, "[]") {
		return fmt.Errorf("metadata[%.80s: use metadata[KEY] for text, or metadata with a JSON object: %w", key, buckets.ErrMetadata)
	}
	if u.opts.Metadata == nil {
		u.opts.Metadata = make(map[string]any)
	}
	u.opts.Metadata[key] = value
	return nil
}

// A bodyReader reads a body and maps its errors by bodyError.
type bodyReader struct{ r io.Reader }

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = bodyError(err)
	}
	return n, err
}
