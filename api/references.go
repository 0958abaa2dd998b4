package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/manifest"
)

func referenceView(l *manifest.Link) client.Reference {
	return client.Reference{ID: string(l.ID), Host: l.Host, Collection: l.Collection, Record: l.Record, Field: l.Field,
		FileID: string(l.File), ManifestID: string(l.Version), OnDelete: l.OnDelete.String(), State: l.State.String(), At: client.Time{Time: l.At}}
}

// listReferences lists records that hold a file, as far as the caller may know of
// them. A page may be empty though there is a next one.
func listReferences(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := queryOf(r)
	limit, cursor := int(q.readNumber("limit", defaultLimit, 1, maxLimit)), q.readText("cursor")
	if q.err != nil {
		return q.err
	}
	after, ok := manifest.ParseLinkID(cursor)
	if cursor != "" && !ok {
		return fmt.Errorf("cursor %.80q: %w", cursor, buckets.ErrCursor)
	}
	found, next, err := b.References(r.Context(), mux.Vars(r)["id"], after, limit)
	if err != nil {
		return err
	}
	out := &client.References{References: []client.Reference{}}
	for _, l := range found {
		out.References = append(out.References, referenceView(l))
	}
	if next != "" {
		out.NextCursor = (*string)(&next)
	}
	return writeJSON(w, http.StatusOK, out)
}

// addLinkDetails adds what an error knows of links. A ReferencedError names only
// records of which the caller may know.
func addLinkDetails(details map[string]any, err error) {
	if e := (*buckets.ReferencedError)(nil); errors.As(err, &e) && len(e.Links) > 0 {
		named := []client.Reference{}
		for _, l := range e.Links {
			named = append(named, referenceView(l))
		}
		details["references"] = named
	}
	if e := (*links.LostError)(nil); errors.As(err, &e) {
		details["links"] = e.Links
	}
}

// viaRecord narrows what a request may read to what it may by the record that the query
// names with via=collection/id/field: the rules of the bucket see the record. Signed
// URLs are not asked for rules.
func viaRecord(r *http.Request, b *buckets.Bucket) (*buckets.Bucket, error) {
	q := queryOf(r)
	via, host := q.readText("via"), q.readText("via_host")
	if q.err != nil || principalOf(r).Grant != nil || !q.values.Has("via") && !q.values.Has("via_host") {
		return b, q.err
	}
	collection, rest, _ := strings.Cut(via, "/")
	at := strings.LastIndexByte(rest, '/')
	if collection == "" || at < 1 || at == len(rest)-1 {
		q.refuse("via", "write collection/id/field")
		return nil, q.err
	}
	return b.ViaRecord(r.Context(), manifest.RecordKey{Host: host, Collection: collection, Record: rest[:at]}, rest[at+1:])
}
