package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// A listing is the answer of listFiles and listVersions. Total, Offset and
// Limit are set when the request pages by offset, as Alyx's clients do.
type listing struct {
	Files      []*client.File `json:"files"`
	NextCursor *string        `json:"next_cursor"` // null at the end
	Total      *int           `json:"total,omitempty"`
	Offset     *int           `json:"offset,omitempty"`
	Limit      *int           `json:"limit,omitempty"`
}

// listFiles answers with a page of a bucket's files.
func listFiles(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := r.URL.Query()
	limit, err := parseNumber(q, "limit", defaultLimit, maxLimit)
	if err != nil {
		return err
	}
	opts := &buckets.ListOptions{Prefix: q.Get("prefix"), After: q.Get("cursor"), State: buckets.State(q.Get("state"))}
	if q.Has("folder") {
		folder := q.Get("folder")
		opts.Folder = &folder
	}
	out := &listing{Files: []*client.File{}}
	if q.Has("offset") {
		err = listFrom(r, b, opts, out, limit)
	} else {
		err = listPage(r, b, opts, out, limit)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func listPage(r *http.Request, b *buckets.Bucket, opts *buckets.ListOptions, out *listing, limit int) error {
	opts.Limit = limit + 1
	var last *buckets.File
	for f, err := range b.List(r.Context(), opts) {
		if err != nil {
			return err
		}
		if len(out.Files) == limit {
			next := b.Cursor(last)
			out.NextCursor = &next
			break
		}
		last = f
		out.Files = append(out.Files, View(f, principalOf(r).Operator))
	}
	return nil
}

// listFrom pages by offset. It walks the whole listing to count it; paging by
// cursor does not.
func listFrom(r *http.Request, b *buckets.Bucket, opts *buckets.ListOptions, out *listing, limit int) error {
	offset, err := parseNumber(r.URL.Query(), "offset", 0, 1<<31-1)
	if err != nil {
		return err
	}
	total := 0
	for f, err := range b.List(r.Context(), opts) {
		if err != nil {
			return err
		}
		if total >= offset && len(out.Files) < limit {
			out.Files = append(out.Files, View(f, principalOf(r).Operator))
		}
		total++
	}
	out.Total, out.Offset, out.Limit = &total, &offset, &limit
	return nil
}

// parseNumber reads a parameter between 0 and limit.
func parseNumber(q url.Values, name string, fallback, limit int) (int, error) {
	if !q.Has(name) {
		return fallback, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 0 || n > limit || n == 0 && name == "limit" {
		return 0, fmt.Errorf("%s %.80q: use a number up to %d: %w", name, q.Get(name), limit, errRequest)
	}
	return n, nil
}

// listVersions answers with the versions of a file, newest first.
func listVersions(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	out := &listing{Files: []*client.File{}}
	for f, err := range b.Versions(r.Context(), mux.Vars(r)["id"]) {
		if err != nil {
			return err
		}
		v := View(f, principalOf(r).Operator)
		v.Links.Download = "/api/files/" + f.Bucket + "/" + f.ManifestID + "/download"
		v.Links.View = "/api/files/" + f.Bucket + "/" + f.ManifestID + "/view"
		out.Files = append(out.Files, v)
	}
	return writeJSON(w, http.StatusOK, out)
}

// restoreVersion makes a new version with the content of an old one.
func restoreVersion(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	f, err := b.RestoreVersion(r.Context(), mux.Vars(r)["id"], n)
	return writeFile(w, r, http.StatusOK, f, err)
}

// removeVersion removes a version for good.
func removeVersion(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	return noContent(w, b.DeleteVersion(r.Context(), mux.Vars(r)["id"], n))
}

// diffVersions compares a version with an earlier one.
func diffVersions(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	to, err := versionOf(r)
	if err != nil {
		return err
	}
	from := to - 1
	if q := r.URL.Query().Get("from"); q != "" {
		if from, err = parseVersion(q); err != nil {
			return fmt.Errorf("from %.80q: use the number of a version: %w", q, errRequest)
		}
	}
	if from == 0 {
		return buckets.ErrNoVersion
	}
	d, err := b.Diff(r.Context(), mux.Vars(r)["id"], from, to)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Diff{From: from, To: to, SharedBytes: d.SharedBytes, AddedBytes: d.NewBytes, RemovedBytes: d.GoneBytes})
}

// versionOf returns the number of the version that a path names.
func versionOf(r *http.Request) (uint64, error) {
	n, err := parseVersion(mux.Vars(r)["n"])
	if err != nil {
		return 0, buckets.ErrNoVersion
	}
	return n, nil
}
