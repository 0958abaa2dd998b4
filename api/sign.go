package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
)

// A signRequest is the body of a request for a signed URL.
type signRequest struct {
	Operation   string   `json:"operation"`
	ExpiresIn   lifetime `json:"expires_in"`
	Version     *int64   `json:"version"`
	Disposition string   `json:"disposition"`
	Filename    string   `json:"filename"`
	MaxUses     *int64   `json:"max_uses"`
	IP          string   `json:"ip"`
	Name        string   `json:"name"`
	Folder      string   `json:"folder"`
	MaxSize     *int64   `json:"max_size"`
	MIMETypes   []string `json:"mime_types"`
}

// A lifetime is a number of seconds, or a duration such as "15m".
type lifetime time.Duration

func (l *lifetime) UnmarshalJSON(p []byte) error {
	var text string
	if json.Unmarshal(p, &text) != nil {
		text = string(p)
	}
	return l.parse(text)
}

func (l *lifetime) parse(text string) error {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseInt(text, 10, 32); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, nerr := strconv.ParseInt(days, 10, 16); nerr == nil {
			d, err = time.Duration(n)*24*time.Hour, nil
		}
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("expires_in %.80q: use seconds, or a duration such as 15m: %w", text, errRequest)
	}
	*l = lifetime(d)
	return nil
}

func (q *signRequest) toGrant(file string) access.Grant {
	return access.Grant{Op: access.GrantOp(q.Operation), File: file, Folder: q.Folder, Name: q.Name, MaxSize: valueOf(q.MaxSize),
		Types: q.MIMETypes, Disposition: q.Disposition, Filename: q.Filename, IP: q.IP, MaxUses: valueOf(q.MaxUses)}
}

func readSign(r *http.Request) (*signRequest, error) {
	q := &signRequest{}
	if err := readJSON(r, q); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return q, errors.Join(refuseZero("version", q.Version), refuseZero("max_size", q.MaxSize), refuseZero("max_uses", q.MaxUses))
}

// refuseZero refuses a limit that is there and is no limit: it hardly was meant
// so.
func refuseZero(name string, n *int64) error {
	if n != nil && *n <= 0 {
		return fmt.Errorf("%s %d: use a number from 1, or leave it out: %w", name, *n, errRequest)
	}
	return nil
}

// valueOf returns what n points to, 0 without one.
func valueOf(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// signByBody makes a signed URL of a file.
func (s *Server) signByBody(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q, err := readSign(r)
	if err != nil {
		return err
	}
	return s.signFile(w, r, b, q)
}

// signByQuery is signByBody with its options in the query, as Alyx's clients
// send them.
func (s *Server) signByQuery(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	if r.Method == http.MethodHead { // it must change nothing
		w.Header().Set("Allow", "GET, OPTIONS, POST")
		return errMethod
	}
	q := &signRequest{}
	in := queryOf(r)
	q.Operation = in.readChoice("operation", "download", "view", "upload")
	for _, name := range slices.Sorted(maps.Keys(in.values)) {
		switch {
		case name == "expiry" || name == "expires_in":
			if q.ExpiresIn.parse(in.readText(name)) != nil {
				in.refuse(name, "use seconds, or a duration such as 15m")
			}
		// A misspelt limit that is ignored would seem to hold. Names that begin
		// so are of those who want no cached answer.
		case name != "operation" && !strings.HasPrefix(name, "_"):
			in.refuse(name, "is not known: use operation and expiry")
		}
	}
	if in.err != nil {
		return in.err
	}
	return s.signFile(w, r, b, q)
}

func (s *Server) signFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, q *signRequest) error {
	if q.Operation == "" {
		q.Operation = string(access.GrantDownload)
	}
	id := mux.Vars(r)["id"]
	if q.Version != nil {
		f, err := b.Stat(r.Context(), id, &buckets.GetOptions{Version: uint64(*q.Version)})
		if err != nil {
			return err
		}
		id = f.ManifestID
	}
	return s.writeGrant(w, r, b, q.toGrant(id), time.Duration(q.ExpiresIn))
}

// signUpload makes a signed URL that takes a new file.
func (s *Server) signUpload(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q, err := readSign(r)
	if err != nil {
		return err
	}
	if q.Operation != "" && q.Operation != string(access.GrantUpload) || q.Version != nil {
		return fmt.Errorf("operation %.80q: _sign-upload signs uploads of new files: %w", q.Operation, errRequest)
	}
	q.Operation = string(access.GrantUpload)
	return s.writeGrant(w, r, b, q.toGrant(""), time.Duration(q.ExpiresIn))
}

func (s *Server) writeGrant(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, ask access.Grant, life time.Duration) error {
	g, token, err := b.Grants().Sign(r.Context(), ask, life)
	if err != nil {
		return err
	}
	method, at := http.MethodGet, []string{"files", g.Bucket}
	switch {
	case g.Op == access.GrantUpload && g.File == "":
		method = http.MethodPost
	case g.Op == access.GrantUpload:
		method = http.MethodPut
		at = append(at, g.File)
	default:
		at = append(at, grantedID(g), string(g.Op))
	}
	return writeJSON(w, http.StatusOK, client.SignedURL{URL: mountOf(r).urlTo(at...) + "?token=" + url.QueryEscape(token), Method: method, Token: token,
		GrantID: g.ID, Operation: string(g.Op), ExpiresAt: client.Time{Time: g.ExpiresAt}})
}

// grantedID returns the ID in the path of a URL that the grant opens.
func grantedID(g *access.Grant) string {
	if g.Manifest != "" {
		return g.Manifest
	}
	return g.File
}

// originOf returns scheme and host of the server, as the sender of r has reached
// it.
func (s *Server) originOf(r *http.Request) string {
	scheme := "http"
	if s.proxies.byHTTPS(r) {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// redeemToken returns the principal of a signed URL's token. It refuses every
// request but the one that the URL is for.
func (s *Server) redeemToken(r *http.Request, token string) (*access.Principal, error) {
	b, err := s.store.Bucket(mux.Vars(r)["bucket"])
	if err != nil {
		return nil, access.ErrGrant
	}
	request := rules.Request{Method: r.Method, Protocol: "signed", Time: time.Now(), IP: ClientIP(r)}
	p, err := b.Grants().Redeem(r.Context(), token, request.IP)
	if err != nil {
		return nil, err
	}
	p.Request = request
	// Compare the path before anything is looked up by it, so that the answer
	// does not show what else exists.
	id, action := mux.Vars(r)["id"], actionOf(r)
	fits := false
	switch g := p.Grant; g.Op {
	case access.GrantDownload, access.GrantView:
		fits = action == string(g.Op) && id == grantedID(g) && !r.URL.Query().Has("version") && !r.URL.Query().Has("trashed")
	case access.GrantUpload:
		// An upload that goes on is found by the grant that it was begun by.
		fits = action == "upload" && id == g.File || action == "resume"
	}
	if !fits {
		return nil, access.ErrGrantScope
	}
	return p, nil
}

// actionOf returns what a request does, as an operation of grants, "" if no
// grant can allow it.
func actionOf(r *http.Request) string {
	path, err := mux.CurrentRoute(r).GetPathTemplate()
	path, over := strings.TrimSuffix(path, "/"), (&route{path: path}).protocol()
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case err != nil:
	case get && path == fileRoute+"/download":
		return "download"
	case get && path == fileRoute+"/view":
		return "view"
	case strings.HasSuffix(path, "/{upload}") && over != "":
		return "resume"
	case r.Method == http.MethodPost && (path == bucketRoute || over != ""), r.Method == http.MethodPut && path == fileRoute:
		return "upload"
	case r.Method == http.MethodOptions && (path == bucketRoute || path == fileRoute || over != ""): // limits of uploads
		return "upload"
	}
	return ""
}

// listGrants lists the grants that the caller has signed.
func listGrants(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	gs, err := b.Grants().List(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"grants": gs})
}

func statGrant(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	g, err := b.Grants().Get(r.Context(), mux.Vars(r)["grant"])
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, g)
}

// revokeGrant revokes a grant.
func revokeGrant(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	return noContent(w, b.Grants().Revoke(r.Context(), mux.Vars(r)["grant"]))
}
