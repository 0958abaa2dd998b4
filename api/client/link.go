package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// A Principal is whom a host does something for.
type Principal struct {
	ID     string         `json:"id"`
	Claims map[string]any `json:"claims,omitempty"`
}

// A Change is what a host is about to do to a record.
type Change struct {
	Collection string              `json:"collection"`
	Record     string              `json:"record"`
	Fields     map[string][]string `json:"fields,omitempty"` // whole new values: f_… or m_…
	Deleted    bool                `json:"deleted,omitempty"`
}

// A Hold is what Prepare has prepared.
type Hold struct {
	Token  string                `json:"token"`
	Values []map[string][]string `json:"values"` // to write, by change and field
}

// Prepare checks values that records are about to get, and holds their files. who is nil
// for the host itself. Confirm must follow when the host's change is durable, Cancel
// when it will not be made.
func (s *HostSession) Prepare(ctx context.Context, who *Principal, changes ...Change) (*Hold, error) {
	h := new(Hold)
	return h, s.c.callJSON(ctx, s.newRequest(http.MethodPost, "prepare").withJSON(map[string]any{"as": who, "changes": changes}), h)
}

// Confirm says that the changes of holds are durable.
func (s *HostSession) Confirm(ctx context.Context, tokens ...string) error {
	return s.c.callJSON(ctx, s.newRequest(http.MethodPost, "confirm").withJSON(map[string]any{"tokens": tokens}), nil)
}

// Cancel says that the changes of holds will not be made.
func (s *HostSession) Cancel(ctx context.Context, tokens ...string) error {
	return s.c.callJSON(ctx, s.newRequest(http.MethodPost, "cancel").withJSON(map[string]any{"tokens": tokens}), nil)
}

// An Item is a value to resolve. Record is what rules see as record.
type Item struct {
	ID     string         `json:"id"`
	Record map[string]any `json:"record,omitempty"`
}

// A Resolved is what a value stands for.
type Resolved struct {
	ID     string `json:"id"`
	Status string `json:"status"`         // found, deleted, absent
	File   *File  `json:"file,omitempty"` // if it was found
}

// Resolve returns what values stand for, in their order, as who may see it.
func (s *HostSession) Resolve(ctx context.Context, who *Principal, items []Item) ([]Resolved, error) {
	var out struct {
		Items []Resolved `json:"items"`
	}
	err := s.c.callJSON(ctx, s.newRequest(http.MethodPost, "resolve").withJSON(map[string]any{"as": who, "items": items}), &out)
	return out.Items, err
}

// A RecordLink is a record's hold on a file.
type RecordLink struct {
	ID         string `json:"id"`
	Revision   uint64 `json:"revision"`
	Collection string `json:"collection"`
	Record     string `json:"record"`
	Field      string `json:"field"`
	Bucket     string `json:"bucket"`
	File       string `json:"file"`
	Version    string `json:"version,omitempty"` // if the link pins one
	OnDelete   string `json:"on_delete"`
	State      string `json:"state"`
}

// A LinkEvent tells that what a record refers to was deleted.
type LinkEvent struct {
	Link RecordLink `json:"link"`
}

// Events returns a page of the events that the host has not acknowledged. next is ""
// at the end; a page before it may be empty.
func (s *HostSession) Events(ctx context.Context, cursor string, limit int) (events []LinkEvent, next string, err error) {
	q := s.newRequest(http.MethodGet, "events")
	q.query = url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.query.Set("cursor", cursor)
	}
	var out struct {
		Events []LinkEvent `json:"events"`
		Next   string      `json:"next_cursor"`
	}
	err = s.c.callJSON(ctx, q, &out)
	return out.Events, out.Next, err
}

// Acknowledge says that records no longer have what events told of.
func (s *HostSession) Acknowledge(ctx context.Context, links ...string) error {
	return s.c.callJSON(ctx, s.newRequest(http.MethodPost, "events", "acknowledge").withJSON(map[string]any{"links": links}), nil)
}

// A Reference is a record's hold on a file, as users see it.
type Reference struct {
	ID         string `json:"id"`
	Host       string `json:"host"`
	Collection string `json:"collection"`
	Record     string `json:"record"`
	Field      string `json:"field"`
	FileID     string `json:"file_id"`
	ManifestID string `json:"manifest_id,omitempty"` // if the link pins a version
	OnDelete   string `json:"on_delete"`
	State      string `json:"state"` // pending or confirmed
	At         Time   `json:"at"`    // when it got there
}

// References are a page of those of a file.
type References struct {
	References []Reference `json:"references"`
	NextCursor *string     `json:"next_cursor"` // nil at the end
}

// References returns a page of the records that hold a file, or a version, as far as
// the caller may know of them.
func (c *Client) References(ctx context.Context, bucket, id, cursor string, limit int) (*References, error) {
	q := &request{method: http.MethodGet, path: []string{bucket, id, "references"}, query: url.Values{"limit": {strconv.Itoa(limit)}}}
	if cursor != "" {
		q.query.Set("cursor", cursor)
	}
	out := new(References)
	return out, c.callJSON(ctx, q, out)
}
