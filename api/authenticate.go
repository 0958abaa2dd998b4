package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
)

// An Authenticator says who sends a request. Package api/auth has one for JSON Web
// Tokens and API keys; a program with sessions of its own brings its own.
//
// Principal returns the sender, or nil for somebody anonymous. Its ID becomes the
// owner of what it stores, and the uploads, signed URLs and rate of requests that
// are its own are found by it, so that it has to stay the same from one request to
// the next; access.CheckSubject says which IDs are taken. Rules see ID and Claims
// as auth; values of Claims are such as encoding/json makes. Operator is for those
// who run the service: no rule binds them. What Request says is replaced.
//
// An error refuses the request: one that is access.ErrCredentials with 401 and its
// text, every other one with 503, and the text in the log only. So a session that
// is not valid is an error, of access.RefuseCredentials, and no session is nil.
//
// Principal is called once for a request at most, and before its body is read: not
// for what needs nobody (/healthz), for signed URLs, with Options.Dev, and where
// the program has used WithPrincipal. It may run concurrently, may look at all of
// the request but its body, which it has to leave alone, and at ClientIP, and
// answers nothing itself: cookies are set by what surrounds the Server. What it
// returns is not changed, and may be returned again.
type Authenticator interface {
	Principal(r *http.Request) (*access.Principal, error)
}

// An AuthenticatorFunc is an Authenticator of one function.
type AuthenticatorFunc func(r *http.Request) (*access.Principal, error)

// Principal calls f.
func (f AuthenticatorFunc) Principal(r *http.Request) (*access.Principal, error) { return f(r) }

// authenticate asks the Authenticator who sends r.
func (s *Server) authenticate(r *http.Request) (*access.Principal, error) {
	p := &access.Principal{}
	if s.opts.Auth != nil {
		found, err := s.opts.Auth.Principal(r)
		switch {
		case errors.Is(err, access.ErrCredentials):
			return nil, err
		case err != nil: // it says nothing about files, whatever it is
			return nil, fmt.Errorf("who sends the request: %w: %w", access.ErrUndecided, err)
		case found != nil:
			own := *found
			p = &own
		}
	}
	if p.ID != "" && p.Scope == nil { // else it is an API key's
		if err := access.CheckSubject(p.ID); err != nil {
			return nil, fmt.Errorf("%w: %w", access.ErrCredentials, err)
		}
	}
	p.Request = requestOf(r)
	return p, nil
}

func requestOf(r *http.Request) rules.Request {
	return rules.Request{Method: r.Method, IP: ClientIP(r), Protocol: "rest", Time: time.Now()}
}

// newCrossOrigin returns what checks the origin of requests by default. It trusts
// that of the server and its public URL.
func newCrossOrigin(m mounting) *http.CrossOriginProtection {
	c := http.NewCrossOriginProtection()
	if m.public != nil {
		c.AddTrustedOrigin(m.public.origin) // an origin without a port that is wrong is trusted by nobody
	}
	return c
}

// checkOrigin refuses what a page of another origin may have had the browser of p
// send with credentials that it adds unasked: cookies, a password, a certificate.
// A bearer token is none of those, and pages that CORS lets use the API are meant
// to.
func (s *Server) checkOrigin(r *http.Request, p *access.Principal) error {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	unknown := p.Anonymous() && len(p.Claims) == 0 // rules may go by claims alone
	if unknown || strings.EqualFold(scheme, "Bearer") || s.crossOrigin.Check(r) == nil {
		return nil
	}
	if s.pages != nil && s.pages.OriginAllowed(r) {
		return nil
	}
	o, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || o.Host == "" {
		return errCrossOrigin
	}
	return fmt.Errorf("origin %.100s: %w", o.Scheme+"://"+o.Host, errCrossOrigin)
}
