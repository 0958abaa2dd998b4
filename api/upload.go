package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
)

const (
	maxParts = 64       // of a multipart body
	maxField = 64 << 10 // bytes of a multipart field
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
	if u.opts.OnConflict == "" {
		u.opts.OnConflict = buckets.ConflictNew
	}
	ifNoneMatch := r.Header.Get("If-None-Match") == "*"
	if ifNoneMatch {
		u.opts.OnConflict = buckets.ConflictFail
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
	w.Header().Set("Location", linkOf(f))
	markReplayed(w, f)
	return writeJSON(w, status, uploadView(f, principalOf(r)))
}

// parseOnce reads an Idempotency-Key. With it goes a digest of all that is
// known of the request before its body, so that a key is not taken for another
// request.
func parseOnce(r *http.Request) *buckets.Once {
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
	return &buckets.Once{Key: key, Request: hex.EncodeToString(sum[:])}
}

// markReplayed marks the answer of an earlier request.
func markReplayed(w http.ResponseWriter, f *buckets.File) {
	if f.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
}

// An uploadRequest is the file that a request brings: its name, bytes and options.
type uploadRequest struct {
	name string
	body io.Reader
	opts buckets.PutOptions
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
	if mediaType == "multipart/form-data" {
		if err != nil || params["boundary"] == "" {
			return nil, fmt.Errorf("no boundary in Content-Type: %w", errMultipart)
		}
		return u, u.readForm(multipart.NewReader(body, params["boundary"]))
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

// readQuery sets the options of the query.
func (u *uploadRequest) readQuery(r *http.Request) error {
	q := queryOf(r)
	q.readChoice("on_conflict", "new", "version", "fail")
	q.readFlag("skip_unchanged")
	for name := range q.values {
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
	switch name {
	case "name":
		u.name = value
	case "folder":
		u.opts.Folder = value
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
	}
	return nil
}

// readForm reads the fields of a form up to its part "file", which becomes the
// body.
func (u *uploadRequest) readForm(form *multipart.Reader) error {
	for range maxParts {
		part, err := form.NextRawPart()
		if err == io.EOF {
			return fmt.Errorf("no part is called \"file\": %w", errMultipart)
		}
		if err != nil {
			return formError(err)
		}
		if part.FormName() == "file" {
			u.takeFilePart(form, part)
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil {
			return formError(err)
		}
		if len(value) > maxField {
			return fmt.Errorf("form field %.80q is larger than 64 KiB: %w", part.FormName(), errTooLarge)
		}
		if err := u.setField(part.FormName(), string(value)); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d parts: %w", maxParts, errMultipart)
}

func (u *uploadRequest) takeFilePart(form *multipart.Reader, part *multipart.Part) {
	if u.name == "" {
		u.name = part.FileName()
	}
	if mediaType, _, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err == nil {
		u.opts.MIMEType = mediaType
	}
	u.body = &lastPart{form: form, part: part}
}

// A lastPart is the content of the part "file". It ends with io.EOF only if
// the form ends there: a form that breaks off makes no file.
type lastPart struct {
	form *multipart.Reader
	part *multipart.Part
	err  error // that all later reads return
}

func (l *lastPart) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.part.Read(p)
	if err == io.EOF {
		err = l.expectEnd()
	} else if err != nil {
		err = formError(err)
	}
	l.err = err
	return n, err
}

// expectEnd returns io.EOF if the form ends here.
func (l *lastPart) expectEnd() error {
	next, err := l.form.NextRawPart()
	if err == io.EOF {
		return io.EOF
	}
	if err != nil {
		return formError(err)
	}
	return fmt.Errorf("part %.80q follows the part \"file\": send it before: %w", next.FormName(), errMultipart)
}

// formError marks an error as one of the form, unless it is one of the body.
func formError(err error) error {
	if errors.Is(err, errBody) || errors.Is(err, errSlow) {
		return err
	}
	return fmt.Errorf("%w: %w", errMultipart, err)
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
