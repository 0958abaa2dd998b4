// Package auth identifies the sender of a request: the bearer of a JSON Web
// Token or of an API key, or somebody anonymous. Package buckets/access
// decides what the sender may do.
package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
)

// ErrCredentials reports an Authorization header of another form than "Bearer
// TOKEN".
var ErrCredentials = access.RefuseCredentials("header Authorization is not understood: send \"Bearer TOKEN\"")

// Keys returns the principals of API keys. *buckets.Store implements it.
type Keys interface {
	Principal(ctx context.Context, token string) (*access.Principal, error)
}

// An Authenticator identifies senders by their tokens and keys. It is an
// api.Authenticator.
type Authenticator struct {
	tokens    *Verifier // nil accepts no token
	keys      Keys
	operators *rules.Rule // nil for none
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
	return a, nil
}

// Principal returns the sender of r. A token or key that is not valid is an
// error; its sender never counts as anonymous.
func (a *Authenticator) Principal(r *http.Request) (*access.Principal, error) {
	p, err := a.readBearer(r)
	if err != nil {
		return nil, err
	}
	if a.operators != nil && p.ID != "" && p.Scope == nil {
		request := rules.Request{Method: r.Method, IP: api.ClientIP(r), Protocol: "rest", Time: time.Now()}
		in := &rules.Input{Auth: rules.Auth(p.ID, p.Claims), Request: &request}
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
