package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// A Host is a program whose records hold files, as the server knows it.
type Host struct {
	Name         string   `json:"name"`
	Database     string   `json:"database"` // ID of its database
	Session      uint64   `json:"session"`  // the last that has begun
	Live         []uint64 `json:"live"`     // sessions that have not ended
	Unreconciled bool     `json:"unreconciled"`
	Buckets      []string `json:"buckets"` // that its records refer to
	Fields       []Field  `json:"fields"`

	// Pending and Confirmed count its links, where that was asked for.
	Pending   *int64 `json:"pending,omitempty"`
	Confirmed *int64 `json:"confirmed,omitempty"`
}

// A Field is a file field of a host's records.
type Field struct {
	Collection   string   `json:"collection"`
	Name         string   `json:"name"`
	Type         string   `json:"type"` // file or files
	Nullable     bool     `json:"nullable"`
	Bucket       string   `json:"bucket"`
	MaxSize      int64    `json:"max_size"` // 0 is no limit
	AllowedTypes []string `json:"allowed_types"`
	MaxCount     int      `json:"max_count"` // 0 is no limit
	Pin          string   `json:"pin"`
	OnDelete     string   `json:"on_delete"`
}

// SessionOptions are what a host opens a session with.
type SessionOptions struct {
	// Database and Session are what the host has kept in its database; zero in a new one.
	Database string `json:"database,omitempty"`
	Session  uint64 `json:"session,omitempty"`
	// Collections are the host's, as they stand in schema.yaml, as JSON.
	Collections json.RawMessage `json:"collections,omitempty"`
	// LinkPlans say what becomes of links of fields that have changed: keep or release,
	// by "collection.field".
	LinkPlans map[string]string `json:"link_plans,omitempty"`
	Shared    bool              `json:"shared,omitempty"`   // earlier sessions go on
	Adopt     bool              `json:"adopt,omitempty"`    // the database takes the place of the one that is known
	Restored  bool              `json:"restored,omitempty"` // one of the databases is from a backup
}

// A HostState is what a host keeps in one row of its database.
type HostState struct {
	Database string `json:"database"`
	Session  uint64 `json:"session"`
}

// A HostSession is a session of a host that has begun.
type HostSession struct {
	Host         string `json:"host"`
	Session      uint64 `json:"session"`
	Unreconciled bool   `json:"unreconciled"` // nothing is removed for good before a reconciliation

	c *Client
}

// Forgotten is what ForgetHost has done.
type Forgotten struct {
	Links int64 `json:"links"` // that were ended
	Done  bool  `json:"done"`
}

// Hosts lists the hosts. As all methods for hosts it is for operators.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	var out struct {
		Hosts []Host `json:"hosts"`
	}
	err := c.callJSON(ctx, &request{method: http.MethodGet, admin: true, path: []string{"hosts"}}, &out)
	return out.Hosts, err
}

// Host tells of a host, with counts how many links it has.
func (c *Client) Host(ctx context.Context, name string, counts bool) (*Host, error) {
	q := &request{method: http.MethodGet, admin: true, path: []string{"hosts", name}, query: url.Values{"counts": {strconv.FormatBool(counts)}}}
	h := new(Host)
	return h, c.callJSON(ctx, q, h)
}

// ForgetHost ends links of a host that is gone for good, without their policies. Call
// it until it is done.
func (c *Client) ForgetHost(ctx context.Context, name string) (*Forgotten, error) {
	f := new(Forgotten)
	return f, c.callJSON(ctx, &request{method: http.MethodPost, admin: true, path: []string{"hosts", name, "forget"}}, f)
}

// OfferSession returns what the host has to keep in its database, durably, before it
// calls BeginSession with it.
func (c *Client) OfferSession(ctx context.Context, host string, opts *SessionOptions) (*HostState, error) {
	q := &request{method: http.MethodPost, admin: true, path: []string{"hosts", host, "offer"}}
	st := new(HostState)
	return st, c.callJSON(ctx, q.withJSON(opts), st)
}

// BeginSession begins the session that was offered. opts are those of OfferSession.
func (c *Client) BeginSession(ctx context.Context, host string, st *HostState, opts *SessionOptions) (*HostSession, error) {
	with := *opts
	with.Database, with.Session = st.Database, st.Session
	q := &request{method: http.MethodPost, admin: true, path: []string{"hosts", host, "begin"}}
	s := &HostSession{c: c}
	return s, c.callJSON(ctx, q.withJSON(&with), s)
}

// AttachSession returns a session that has begun, for another process that goes on with
// it. Whether the host is unreconciled it does not tell.
func (c *Client) AttachSession(host string, session uint64) *HostSession {
	return &HostSession{Host: host, Session: session, c: c}
}

// newRequest is a request of the session.
func (s *HostSession) newRequest(method string, path ...string) *request {
	return &request{method: method, admin: true, path: append([]string{"hosts", s.Host, "sessions", strconv.FormatUint(s.Session, 10)}, path...)}
}

// End ends the session.
func (s *HostSession) End(ctx context.Context) error {
	return s.c.callJSON(ctx, s.newRequest(http.MethodDelete), nil)
}
