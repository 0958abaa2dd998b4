package api

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

const (
	maxComposition = 4 << 20 // bytes of the JSON of one
	maxInline      = 1 << 20 // bytes of data in its pieces
)

// editOptions reads the ID of the file and the options that all edits share.
func editOptions(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) (string, *buckets.PutOptions, error) {
	if err := onlyFile(w, r); err != nil {
		return "", nil, err
	}
	id := mux.Vars(r)["id"]
	tag, err := ifMatch(r, b, id)
	return id, &buckets.PutOptions{IfMatch: tag, Once: parseOnce(r)}, err
}

// overwriteRange replaces the bytes of a range.
func overwriteRange(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	id, opts, err := editOptions(w, r, b)
	if err != nil {
		return err
	}
	from, size, err := contentRange(r.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if err := refuseForm(r); err != nil {
		return err
	}
	if r.ContentLength >= 0 && r.ContentLength != size {
		return fmt.Errorf("%d bytes for a range of %d: %w", r.ContentLength, size, buckets.ErrSize)
	}
	f, err := b.Overwrite(r.Context(), id, from, &bodyReader{r.Body}, size, opts)
	return writeUploaded(w, r, http.StatusOK, f, err)
}

// contentRange parses Content-Range into the offset of its first byte and the
// number of bytes.
func contentRange(value string) (from, size int64, err error) {
	malformed := fmt.Errorf("Content-Range %.80q: want bytes FIRST-LAST/*: %w", value, errRequest)
	unit, rest, _ := strings.Cut(value, " ")
	span, length, ok := strings.Cut(strings.TrimSpace(rest), "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || !strings.EqualFold(unit, "bytes") || length != "*" {
		return 0, 0, malformed
	}
	a, err := strconv.ParseUint(first, 10, 62)
	if err != nil {
		return 0, 0, malformed
	}
	z, err := strconv.ParseUint(last, 10, 62)
	if err != nil || z < a {
		return 0, 0, malformed
	}
	return int64(a), int64(z-a) + 1, nil
}

// refuseForm refuses a form: the body of an edit is the bytes themselves.
func refuseForm(r *http.Request) error {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == "multipart/form-data" {
		return fmt.Errorf("the bytes are sent as they are, not in a form: %w", errRequest)
	}
	return nil
}

// appendToFile appends the body to a file.
func appendToFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	id, opts, err := editOptions(w, r, b)
	if err != nil {
		return err
	}
	if err := refuseForm(r); err != nil {
		return err
	}
	f, err := b.Extend(r.Context(), id, &bodyReader{r.Body}, r.ContentLength, opts)
	return writeUploaded(w, r, http.StatusOK, f, err)
}

// truncateFile shortens a file.
func truncateFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	id, opts, err := editOptions(w, r, b)
	if err != nil {
		return err
	}
	var in struct {
		Size *int64 `json:"size"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Size == nil {
		return fmt.Errorf("size is missing: %w", errRequest)
	}
	opts.Once = parseOnce(r, in)
	f, err := b.Truncate(r.Context(), id, *in.Size, opts)
	return writeUploaded(w, r, http.StatusOK, f, err)
}

// composeFile makes a file, or a version of one, from ranges of others.
func (s *Server) composeFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	var in client.Composition
	if err := readJSONUpTo(r, &in, maxComposition); err != nil {
		return err
	}
	pieces, err := s.parsePieces(r, &in)
	if err != nil {
		return err
	}
	opts := &buckets.PutOptions{Folder: in.Folder, MIMEType: in.MIMEType, Metadata: in.Metadata, Tags: in.Tags, CacheControl: in.CacheControl,
		OnConflict: buckets.OnConflict(in.OnConflict), Digests: in.Digests, Once: parseOnce(r, in)}
	if in.FileID != "" {
		if in.Name != "" || in.Folder != "" || in.OnConflict != "" {
			return fmt.Errorf("a version of file_id has its name, folder and no conflict: %w", errRequest)
		}
		if opts.IfMatch, err = ifMatch(r, b, in.FileID); err != nil {
			return err
		}
		f, err := b.Edit(r.Context(), in.FileID, pieces, opts)
		return writeUploaded(w, r, http.StatusOK, f, err)
	}
	if opts.OnConflict == "" {
		opts.OnConflict = buckets.ConflictNew
	}
	ifNoneMatch := r.Header.Get("If-None-Match") == "*"
	if ifNoneMatch {
		opts.OnConflict = buckets.ConflictFail
	}
	if opts.IfMatch, err = ifMatchName(r, b, in.Folder, in.Name); err != nil {
		return err
	}
	f, err := b.Compose(r.Context(), in.Name, pieces, opts)
	if ifNoneMatch && errors.Is(err, buckets.ErrExist) {
		return fmt.Errorf("%w: the name is taken", buckets.ErrPrecondition)
	}
	return writeUploaded(w, r, http.StatusCreated, f, err)
}

// parsePieces returns the pieces of a composition, with buckets narrowed to
// what the sender may see.
func (s *Server) parsePieces(r *http.Request, in *client.Composition) ([]buckets.Piece, error) {
	inline := 0
	out := make([]buckets.Piece, len(in.Pieces))
	for i, p := range in.Pieces {
		out[i] = buckets.Piece{File: p.File, Offset: p.Offset, Length: -1, Data: p.Data}
		if p.Length != nil {
			if out[i].Length = *p.Length; *p.Length < 0 {
				return nil, fmt.Errorf("piece %d: length %d: %w", i, *p.Length, errRequest)
			}
		}
		if p.Data != nil && (p.Bucket != "" || p.Offset != 0 || p.Length != nil) {
			return nil, fmt.Errorf("piece %d: data has no bucket, offset and length: %w", i, errRequest)
		}
		if inline += len(p.Data); inline > maxInline {
			return nil, fmt.Errorf("more than 1 MiB of data in pieces; upload it as a file: %w", errTooLarge)
		}
		if p.Bucket == "" {
			continue
		}
		var err error
		if out[i].Bucket, err = s.bucketFor(r, p.Bucket); err != nil {
			return nil, fmt.Errorf("piece %d: %w", i, err)
		}
	}
	return out, nil
}
