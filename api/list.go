package api

import (
	"bufio"
	"encoding/json"
	"fmt"
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

// A listing is the answer of listFiles and listVersions. A page that no cursor
// led to has Total or, beyond what is counted, TotalAtLeast; one by offset also
// Offset and Limit, as Alyx's clients expect.
type listing struct {
	Files        []any     `json:"files"`
	Folders      *[]string `json:"folders,omitempty"`
	NextCursor   *string   `json:"next_cursor"` // null at the end
	Total        *int      `json:"total,omitempty"`
	TotalAtLeast *int      `json:"total_at_least,omitempty"`
	Offset       *int      `json:"offset,omitempty"`
	Limit        *int      `json:"limit,omitempty"`
}

// listFiles answers with a page of a bucket's files.
func listFiles(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	opts, err := readPageOptions(queryOf(r), mostOf(r))
	if err != nil {
		return err
	}
	if isAlyx(r) {
		readAsAlyx(opts)
	}
	page, err := listPage(r, b, opts)
	if err != nil {
		return err
	}
	if err := b.CountReferences(r.Context(), page.Files...); err != nil {
		return err
	}
	out := &listing{Files: []any{}}
	for _, f := range page.Files {
		out.Files = append(out.Files, spellFile(r, mountOf(r).view(f, principalOf(r).Operator)))
	}
	if opts.Folders {
		folders := append([]string{}, page.Folders...)
		out.Folders = &folders
	}
	if page.Next != "" {
		out.NextCursor = &page.Next
	}
	switch {
	case page.AtLeast:
		out.TotalAtLeast = &page.Total
	case opts.After == "":
		out.Total = &page.Total
	}
	if r.URL.Query().Has("offset") {
		out.Offset, out.Limit = &opts.Offset, &opts.Limit
	}
	return writeJSON(w, http.StatusOK, spellListing(r, out, page, opts))
}

// readPageOptions reads which page of which listing a request wants, of at most so
// many files.
func readPageOptions(q *query, most uint64) (*buckets.PageOptions, error) {
	orders := []string{}
	for _, o := range buckets.Orders() {
		orders = append(orders, string(o))
	}
	opts := &buckets.PageOptions{
		ListOptions: buckets.ListOptions{Prefix: q.readText("prefix"), Search: q.readText("search"), MIMEType: q.readText("mime_type"),
			State:   buckets.State(q.readChoice("state", "active", "trashed", "quarantined")),
			Markers: q.readFlag("markers"),
			Limit:   int(q.readNumber("limit", defaultLimit, 1, most))},
		Count:   true,
		Folders: q.readChoice("delimiter", "/") != "",
		Order:   buckets.Order(q.readChoice("order", orders...)),
		After:   q.readText("cursor"),
		Offset:  int(q.readNumber("offset", 0, 0, math.MaxInt32)),
	}
	if folder := q.readText("folder"); q.values.Has("folder") {
		opts.Folder = &folder
	}
	if q.values.Has("offset") && opts.After != "" {
		q.refuse("offset", "go on by cursor or by offset, not by both")
	}
	return opts, q.err
}

// listVersions answers with the versions of a file, newest first: with a limit
// with a page of them. Each is sent as it is read: there may be any number.
func listVersions(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := queryOf(r)
	limit, cursor, below := q.readNumber("limit", math.MaxInt64, 1, maxLimit), q.readText("cursor"), uint64(math.MaxUint64)
	if q.err != nil {
		return q.err
	}
	if cursor != "" {
		var err error
		if below, err = strconv.ParseUint(cursor, 10, 64); err != nil || below == 0 {
			return fmt.Errorf("cursor %.80q: %w", cursor, buckets.ErrCursor)
		}
	}
	h := w.Header()
	out := bufio.NewWriter(w)
	refs := 0 // of the file, whichever version
	lead, last, n, end := `{"files":[`, "", uint64(0), "],\"next_cursor\":null}\n"
	for f, err := range b.VersionsBelow(r.Context(), mux.Vars(r)["id"], below) {
		if err != nil && n > 0 {
			return &brokenError{err}
		}
		if err != nil {
			return err
		}
		if n == limit {
			end = fmt.Sprintf("],\"next_cursor\":%q}\n", last)
			break
		}
		if n == 0 {
			if err := b.CountReferences(r.Context(), f); err != nil {
				return err
			}
			refs = f.Refs
		}
		f.Refs = refs
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		v := mountOf(r).versionView(f, principalOf(r).Operator)
		v.Links = mountOf(r).linksTo(f, f.ManifestID)
		text, err := json.Marshal(spellFile(r, v))
		if err != nil {
			return err
		}
		out.WriteString(lead)
		if _, err := out.Write(text); err != nil {
			return nil // a client that is gone needs no answer
		}
		lead, last = ",", strconv.FormatUint(v.Version, 10)
		n++
	}
	if n == 0 && cursor == "" { // the file was purged meanwhile
		return buckets.ErrNoFile
	}
	if n == 0 {
		return writeJSON(w, http.StatusOK, &listing{Files: []any{}})
	}
	out.WriteString(end)
	out.Flush()
	return nil
}

// restoreVersion makes a new version with the content of an old one.
func restoreVersion(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	if err := checkConditions(r, b, mux.Vars(r)["id"]); err != nil {
		return err
	}
	f, err := b.RestoreVersion(r.Context(), mux.Vars(r)["id"], n)
	return writeFile(w, r, b, http.StatusOK, f, err)
}

// removeVersion removes a version for good.
func removeVersion(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	if err := checkConditions(r, b, mux.Vars(r)["id"]); err != nil {
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
