package api

import (
	"math"
	"net/http"
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
	q := queryOf(r)
	limit, offset := int(q.readNumber("limit", defaultLimit, 1, maxLimit)), int(q.readNumber("offset", 0, 0, math.MaxInt32))
	opts := &buckets.ListOptions{Prefix: q.readText("prefix"), After: q.readText("cursor"),
		State: buckets.State(q.readChoice("state", "active", "trashed", "quarantined"))}
	if folder := q.readText("folder"); q.values.Has("folder") {
		opts.Folder = &folder
	}
	if q.err != nil {
		return q.err
	}
	var err error
	out := &listing{Files: []*client.File{}}
	if q.values.Has("offset") {
		err = listFrom(r, b, opts, out, offset, limit)
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
func listFrom(r *http.Request, b *buckets.Bucket, opts *buckets.ListOptions, out *listing, offset, limit int) error {
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
	q := queryOf(r)
	from := q.readNumber("from", to-1, 1, math.MaxUint64)
	if q.err != nil {
		return q.err
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
	n, err := strconv.ParseUint(mux.Vars(r)["n"], 10, 64)
	if err != nil || n == 0 {
		return 0, buckets.ErrNoVersion
	}
	return n, nil
}
