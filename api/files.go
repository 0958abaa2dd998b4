package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest"
)

const maxJSON = 256 << 10 // bytes of a JSON body

// statFile describes a file, or one version of it.
func statFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	opts, pinned, err := getOptions(r)
	if err != nil {
		return err
	}
	if b, err = viaRecord(r, b); err != nil {
		return err
	}
	f, err := b.Stat(r.Context(), mux.Vars(r)["id"], opts)
	if err != nil || !pinned && opts.Version == 0 {
		return writeFile(w, r, b, http.StatusOK, f, err)
	}
	if err := b.CountReferences(r.Context(), f); err != nil {
		return err
	}
	w.Header().Set("ETag", entityTag(f))
	return writeJSON(w, http.StatusOK, spellFile(r, mountOf(r).versionView(f, principalOf(r).Operator)))
}

// updateFile applies a merge patch.
func updateFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	if err := onlyFile(w, r); err != nil {
		return err
	}
	var in struct {
		Name     json.RawMessage `json:"name"`
		Folder   json.RawMessage `json:"folder"`
		Metadata json.RawMessage `json:"metadata"`
		Tags     json.RawMessage `json:"tags"`
		Access   json.RawMessage `json:"access"`
		Cache    json.RawMessage `json:"cache_control"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	p := &buckets.Patch{}
	if err := errors.Join(patchMember(in.Name, &p.Name), patchMember(in.Folder, &p.Folder), patchMember(in.Tags, &p.Tags), patchMember(in.Access, &p.Access),
		patchMember(in.Cache, &p.CacheControl)); err != nil {
		return err
	}
	if len(in.Metadata) > 0 {
		if err := json.Unmarshal(in.Metadata, &p.Metadata); err != nil || p.Metadata == nil {
			return fmt.Errorf("metadata is not a JSON object: %w", buckets.ErrMetadata)
		}
	}
	id := mux.Vars(r)["id"]
	var err error
	if p.IfMatch, err = ifMatch(r, b, id); err != nil {
		return err
	}
	f, err := b.Update(r.Context(), id, p)
	return writeFile(w, r, b, http.StatusOK, f, err)
}

// patchMember decodes a member of a merge patch, if it is present. null stands
// for the empty value: no folder, no tags, no rules of the file's own.
func patchMember[T any](raw json.RawMessage, into **T) error {
	if len(raw) == 0 {
		return nil
	}
	*into = new(T)
	if err := json.Unmarshal(raw, *into); err != nil {
		return fmt.Errorf("body: %w: %w", errRequest, err)
	}
	return nil
}

// deleteFile moves a file to the trash, purges it, or removes one version.
func deleteFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := queryOf(r)
	forGood := removesForGood(r, q)
	if q.err != nil {
		return q.err
	}
	f, err := removeByID(r, b, mux.Vars(r)["id"], forGood)
	if err != nil || f == nil || isAlyx(r) {
		return noContent(w, err)
	}
	return writeFile(w, r, b, http.StatusOK, f, nil)
}

// removeByID does what deleteFile does. It returns the file if that is in the trash
// now.
func removeByID(r *http.Request, b *buckets.Bucket, id string, forGood bool) (*buckets.File, error) {
	if _, ok := manifest.ParseVersionID(id); ok {
		v, err := b.Stat(r.Context(), id, &buckets.GetOptions{Trashed: true})
		if err != nil {
			return nil, err
		}
		if err := checkConditions(r, b, id); err != nil {
			return nil, err
		}
		return nil, b.DeleteVersion(r.Context(), v.ID, v.Version)
	}
	tag, err := ifMatch(r, b, id)
	if err != nil {
		return nil, err
	}
	opts := &buckets.DeleteOptions{IfMatch: tag}
	if forGood {
		return nil, b.Purge(r.Context(), id, opts)
	}
	f, err := b.Delete(r.Context(), id, opts)
	if err != nil || f.State == buckets.Purged {
		return nil, err
	}
	return f, nil
}

// undeleteFile takes a file out of the trash.
func undeleteFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	if err := onlyFile(w, r); err != nil {
		return err
	}
	if err := checkConditions(r, b, mux.Vars(r)["id"]); err != nil {
		return err
	}
	f, err := b.Undelete(r.Context(), mux.Vars(r)["id"])
	return writeFile(w, r, b, http.StatusOK, f, err)
}

// copyFile makes a file with the content of another.
func (s *Server) copyFile(w http.ResponseWriter, r *http.Request, src *buckets.Bucket) error {
	var in struct {
		client.CopyOptions
		Version *int64 `json:"version"`
	}
	if err := readJSON(r, &in); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := refuseZero("version", in.Version); err != nil {
		return err
	}
	dst := src
	if in.Bucket != "" {
		var err error
		if dst, err = s.bucketFor(r, in.Bucket); err != nil {
			return err
		}
	}
	f, err := src.Copy(r.Context(), mux.Vars(r)["id"], dst, &buckets.CopyOptions{
		Version: uint64(valueOf(in.Version)), Name: in.Name, Folder: in.Folder, OnConflict: buckets.OnConflict(in.OnConflict), Once: parseOnce(r, in)})
	if err != nil {
		return err
	}
	markReplayed(w, f)
	w.Header().Set("Location", mountOf(r).pathToFile(f))
	return writeFile(w, r, dst, http.StatusCreated, f, nil)
}

// bucketUsage answers with the totals of a bucket.
func bucketUsage(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	u, err := b.Usage(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Usage{Bucket: u.Bucket, Files: u.Files, Versions: u.Versions, Bytes: u.Bytes,
		TrashedFiles: u.TrashedFiles, TrashedBytes: u.TrashedBytes})
}

// readJSON decodes a body into v. An empty body is io.EOF. Unknown members are
// refused: a misspelt limit that is ignored would seem to hold.
func readJSON(r *http.Request, v any) error { return readJSONUpTo(r, v, maxJSON) }

// readJSONUpTo is readJSON with another limit of the size.
func readJSONUpTo(r *http.Request, v any, most int64) error {
	if lacksLength(r) && r.Header.Get("Content-Type") != "" {
		return errLength
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.ContentLength != 0 && (err != nil || t != "application/json" && t != "application/merge-patch+json") {
		return fmt.Errorf("Content-Type is not application/json: %w", errRequest)
	}
	p, err := io.ReadAll(io.LimitReader(&bodyReader{r.Body}, most+1))
	if err != nil {
		return err
	}
	if int64(len(p)) > most {
		return fmt.Errorf("more than %d KiB of JSON: %w", most>>10, errTooLarge)
	}
	if len(p) == 0 {
		return fmt.Errorf("body is empty: %w: %w", errRequest, io.EOF)
	}
	if !utf8.Valid(p) { // it would be read as other characters
		return fmt.Errorf("body is not UTF-8: %w", errRequest)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(p, &whole); err != nil {
		return fmt.Errorf("body is not JSON: %w: %w", errRequest, err)
	}
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("body: %w: %w", errRequest, err)
	}
	return nil
}
