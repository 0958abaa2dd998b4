// Package auth finds out who sent a request: the bearer of a JSON Web Token
// or of an API key, or nobody in particular. What that one may do is decided
// by package buckets.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
)

// ErrCredentials reports credentials that are not understood.
var ErrCredentials = errors.New("header Authorization is not understood: send \"Bearer TOKEN\"")

// Keys finds the principal of an API key. *access.Keys implements it.
type Keys interface {
	Principal(ctx context.Context, token string) (*access.Principal, error)
}

// An Authenticator knows the bearers of tokens and keys. It may be used
// concurrently.
type Authenticator struct {
	tokens    *Verifier // nil believes no token
	keys      Keys
	operators *rules.Rule // nil for none
	proxies   []netip.Prefix
	log       *slog.Logger
}

// New returns an Authenticator as cfg describes it.
func New(cfg *schema.Config, keys Keys, log *slog.Logger) (*Authenticator, error) {
	a := &Authenticator{keys: keys, log: log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.Auth.JWT != nil {
		if a.tokens, err = NewVerifier(cfg.Auth.JWT); err != nil {
			return nil, err
		}
	}
	if src := cfg.Storage.Operators; src != "" {
		env, err := rules.NewEnv()
		if err != nil {
			return nil, err
		}
		if a.operators, err = env.Compile(src); err != nil {
			return nil, fmt.Errorf("auth: operators: %w", err)
		}
	}
	for _, p := range cfg.Server.TrustedProxies {
		n, err := schema.ParseNetwork(p)
		if err != nil {
			return nil, fmt.Errorf("auth: trusted proxy: %w", err)
		}
		a.proxies = append(a.proxies, n)
	}
	return a, nil
}

// Principal returns who sent r. A token or key that is not believed is an
// error, never somebody anonymous.
func (a *Authenticator) Principal(r *http.Request) (*access.Principal, error) {
	p, err := a.readBearer(r)
	if err != nil {
		return nil, err
	}
	p.Request = rules.Request{Method: r.Method, IP: a.ClientIP(r), Protocol: "rest", Time: time.Now()}
	if a.operators != nil && p.ID != "" && p.Scope == nil {
		in := &rules.Input{Auth: rules.Auth(p.ID, p.Claims), Request: &p.Request}
		p.Operator = a.operators.Eval(r.Context(), in) == nil
	}
	return p, nil
}

func (a *Authenticator) readBearer(r *http.Request) (*access.Principal, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return &access.Principal{}, nil
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, ErrCredentials
	}
	if strings.HasPrefix(token, access.KeyPrefix) {
		return a.keys.Principal(r.Context(), token)
	}
	if a.tokens == nil {
		return nil, fmt.Errorf("%w: no issuer of tokens is configured", ErrToken)
	}
	sub, claims, err := a.tokens.Verify(r.Context(), token)
	if err != nil {
		return nil, err
	}
	return &access.Principal{ID: sub, Claims: claims}, nil
}

// ClientIP returns the address that r comes from: the peer's or, behind
// trusted proxies, the last one in X-Forwarded-For that is not theirs.
func (a *Authenticator) ClientIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	ip := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.Trusts(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap()
	}
	return ip.WithZone("").String()
}

// Trusts reports whether an address is of a trusted proxy.
func (a *Authenticator) Trusts(ip netip.Addr) bool {
	for _, p := range a.proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// ByProxy reports whether r was passed on by a trusted proxy, whose
// X-Forwarded headers then tell of the original.
func (a *Authenticator) ByProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Trusts(peer.Addr().Unmap())
}
