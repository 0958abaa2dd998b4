package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
)

// maxHostJSON is how many bytes of JSON a host may send at once.
const maxHostJSON = 1 << 20

const hostSessionRoute = "/api/admin/hosts/{host}/sessions/{session}"

// hostRoutes are the routes of hosts, programs whose records hold files, and of
// operators who look after them.
func (s *Server) hostRoutes() []route {
	return []route{
		{"/api/admin/hosts", methods{"GET": s.onlyOperators(s.listHosts)}},
		{"/api/admin/hosts/{host}", methods{"GET": s.onlyOperators(s.statHost)}},
		{"/api/admin/hosts/{host}/offer", methods{"POST": s.onlyOperators(s.offerSession)}},
		{"/api/admin/hosts/{host}/begin", methods{"POST": s.onlyOperators(s.beginSession)}},
		{"/api/admin/hosts/{host}/forget", methods{"POST": s.onlyOperators(s.forgetHost)}},
		{hostSessionRoute, methods{"DELETE": s.onlyOperators(s.endSession)}},
		{hostSessionRoute + "/prepare", methods{"POST": s.ofHost(s.prepareLinks)}},
		{hostSessionRoute + "/confirm", methods{"POST": s.ofHost(confirmLinks)}},
		{hostSessionRoute + "/cancel", methods{"POST": s.ofHost(cancelLinks)}},
		{hostSessionRoute + "/resolve", methods{"POST": s.ofHost(s.resolveValues)}},
		{hostSessionRoute + "/events", methods{"GET": s.ofHost(listEvents)}},
		{hostSessionRoute + "/events/acknowledge", methods{"POST": s.ofHost(acknowledgeEvents)}},
		{hostSessionRoute + "/reconcile", methods{"POST": s.ofHost(beginRun)}},
		{hostSessionRoute + "/reconcile/rows", methods{"POST": s.ofHost(reconcileRows)}},
		{hostSessionRoute + "/reconcile/links", methods{"POST": s.ofHost(reconcileLinks)}},
		{hostSessionRoute + "/reconcile/drop", methods{"POST": s.ofHost(dropLinks)}},
		{hostSessionRoute + "/reconcile/end", methods{"POST": s.ofHost(endRun)}},
	}
}

// A hostHandler answers a request of a session of a host.
type hostHandler func(w http.ResponseWriter, r *http.Request, h *links.Host) error

// ofHost calls h with the session that the path names. A host is told in whole what
// is wrong with the values of others for whom it asks.
func (s *Server) ofHost(h hostHandler) handler {
	return s.onlyOperators(func(w http.ResponseWriter, r *http.Request) error {
		host, err := s.sessionOf(r)
		if err != nil {
			return err
		}
		if err := h(w, r, host); err != nil {
			return &toldError{err}
		}
		return nil
	})
}

// sessionOf returns the session that the path names, which must be live.
func (s *Server) sessionOf(r *http.Request) (*links.Host, error) {
	vars := mux.Vars(r)
	n, err := strconv.ParseUint(vars["session"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("session %.40q: want its number: %w", vars["session"], errRequest)
	}
	return links.Attach(r.Context(), s.store, vars["host"], n)
}

// A toldError is one whose text goes to the client also where others get only what is
// the same for all.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// readHost reads the body of a host's request.
func readHost(r *http.Request, v any) error { return readJSONUpTo(r, v, maxHostJSON) }

// readPrincipal reads whom a host does something for: {"id": …, "claims": …}, or null for
// the host itself. It must be there, so that nobody gets a host's rights by its
// forgetting.
func readPrincipal(r *http.Request, text json.RawMessage) (*access.Principal, error) {
	if len(text) == 0 {
		return nil, fmt.Errorf("as: say whom this is for, or null for the host itself: %w", errRequest)
	}
	if err := rules.CheckNesting(text); err != nil {
		return nil, fmt.Errorf("as is %w: %w", err, errRequest)
	}
	var in *client.Principal
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("as: %w: %w", errRequest, err)
	}
	if in == nil {
		return nil, nil
	}
	if err := access.CheckSubject(in.ID); in.ID != "" && err != nil {
		return nil, fmt.Errorf("as: %w: %w", errRequest, err)
	}
	return &access.Principal{ID: in.ID, Claims: in.Claims, Request: principalOf(r).Request}, nil
}

// listHosts lists the hosts that the store knows.
func (s *Server) listHosts(w http.ResponseWriter, r *http.Request) error {
	hosts, err := links.Hosts(r.Context(), s.store)
	if err != nil {
		return err
	}
	out := []client.Host{}
	for i := range hosts {
		out = append(out, hostView(&hosts[i]))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"hosts": out})
}

// statHost tells of a host, with counts=true how many links it has.
func (s *Server) statHost(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	counts := q.readFlag("counts")
	if q.err != nil {
		return q.err
	}
	h, err := links.FindHost(r.Context(), s.store, mux.Vars(r)["host"])
	if err != nil {
		return err
	}
	v := hostView(h)
	if counts {
		n, err := links.CountLinks(r.Context(), s.store, h.Name)
		if err != nil {
			return err
		}
		v.Pending, v.Confirmed = &n.Pending, &n.Confirmed
	}
	return writeJSON(w, http.StatusOK, v)
}

func hostView(h *links.HostInfo) client.Host {
	v := client.Host{Name: h.Name, Database: h.Database, Session: h.Session, Live: append([]uint64{}, h.Live...),
		Unreconciled: h.Unreconciled, Buckets: append([]string{}, h.Buckets...), Fields: []client.Field{}}
	for i := range h.Fields {
		f := &h.Fields[i]
		kind := "file"
		if f.Many {
			kind = "files"
		}
		v.Fields = append(v.Fields, client.Field{Collection: f.Collection, Name: f.Name, Type: kind, Nullable: f.Nullable, Bucket: f.Bucket,
			MaxSize: int64(f.MaxSize), AllowedTypes: append([]string{}, f.Types...), MaxCount: f.MaxCount, Pin: string(f.Pin), OnDelete: string(f.OnDelete)})
	}
	return v
}

// readSession reads what a host opens a session with.
func readSession(r *http.Request) (links.State, *links.Options, error) {
	var in client.SessionOptions
	if err := readHost(r, &in); err != nil {
		return links.State{}, nil, err
	}
	opts := &links.Options{Name: mux.Vars(r)["host"], Shared: in.Shared, Adopt: in.Adopt, Restored: in.Restored}
	if len(in.Collections) > 0 {
		var err error
		if opts.Fields, err = schema.ParseFields("body", slices.Concat([]byte(`{"collections": `), in.Collections, []byte("}"))); err != nil {
			return links.State{}, nil, fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	if in.LinkPlans != nil {
		opts.Plans = make(map[string]schema.Plan)
	}
	for key, plan := range in.LinkPlans {
		opts.Plans[key] = schema.Plan(plan)
	}
	return links.State{Database: in.Database, Session: in.Session}, opts, nil
}

// offerSession offers a session to a host, which keeps the answer in its database
// before it begins it.
func (s *Server) offerSession(w http.ResponseWriter, r *http.Request) error {
	st, opts, err := readSession(r)
	if err != nil {
		return err
	}
	if st, err = links.Offer(r.Context(), s.store, st, opts); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

// beginSession begins the session that was offered.
func (s *Server) beginSession(w http.ResponseWriter, r *http.Request) error {
	st, opts, err := readSession(r)
	if err != nil {
		return err
	}
	h, err := links.Begin(r.Context(), s.store, st, opts)
	if err != nil {
		return err
	}
	unreconciled, err := h.Unreconciled(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.HostSession{Host: h.Name(), Session: h.Session(), Unreconciled: unreconciled})
}

// endSession ends a session, perhaps of a process that is dead: what it has not confirmed is
// left to a reconciliation. It is no error if it has ended.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := links.FindHost(r.Context(), s.store, mux.Vars(r)["host"]); err != nil {
		return err
	}
	h, err := s.sessionOf(r)
	if errors.Is(err, links.ErrSession) {
		return noContent(w, nil)
	}
	if err != nil {
		return err
	}
	return noContent(w, h.End(r.Context()))
}

// forgetHost ends links of a host that is gone for good, without their policies.
func (s *Server) forgetHost(w http.ResponseWriter, r *http.Request) error {
	n, done, err := links.Forget(r.Context(), s.store, mux.Vars(r)["host"])
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.Forgotten{Links: n, Done: done})
}
