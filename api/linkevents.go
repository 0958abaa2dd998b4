package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/manifest"
)

// listEvents answers with a page of what a host has to be told. A page may be empty
// though there is a next one.
func listEvents(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	q := queryOf(r)
	limit, cursor := int(q.readNumber("limit", defaultLimit, 1, maxLimit)), q.readText("cursor")
	if q.err != nil {
		return q.err
	}
	var from links.Place
	if cursor != "" {
		p, err := base64.RawURLEncoding.DecodeString(cursor)
		if err == nil {
			err = json.Unmarshal(p, &from)
		}
		_, isFile := manifest.ParseFileID(string(from.File))
		_, isLink := manifest.ParseLinkID(string(from.Link))
		if err != nil || !isFile || !isLink && from.Link != "" {
			return fmt.Errorf("cursor %.80q: %w", cursor, buckets.ErrCursor)
		}
	}
	events, next, done, err := h.Events(r.Context(), from, limit)
	if err != nil {
		return err
	}
	out := map[string]any{"events": append([]links.Event{}, events...), "next_cursor": nil}
	if !done {
		p, err := json.Marshal(next)
		if err != nil {
			return err
		}
		out["next_cursor"] = base64.RawURLEncoding.EncodeToString(p)
	}
	return writeJSON(w, http.StatusOK, out)
}

// acknowledgeEvents takes the host's word that records no longer have what events told of.
func acknowledgeEvents(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		Links []manifest.LinkID `json:"links"`
	}
	if err := readHost(r, &in); err != nil {
		return err
	}
	return noContent(w, h.Acknowledge(r.Context(), in.Links...))
}
