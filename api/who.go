package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
)

// asHeader makes the request of an operator count as that of another
// principal. Its value is the claims of that principal as a JSON object, "id"
// among them. The answer has a decisionHeader for each decision about it.
const (
	asHeader       = "X-Cairn-As"
	decisionHeader = "X-Cairn-Decision"
	maxDecisions   = 32 // headers of an answer
)

type principalKey struct{}

// withIdentity identifies the sender of a request and applies the limits to it
// before h answers.
func (s *Server) withIdentity(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := s.identifySender(w, r)
		n := noteOf(r)
		n.who = p
		r = r.WithContext(access.ActFor(access.ActFor(r.Context(), n.behind), p))
		if err == nil && p.Operator {
			return h(w, WithPrincipal(r, p))
		}
		end, lerr := s.limits.beginRequest(callerOf(p, ClientIP(r)))
		if lerr != nil {
			return lerr
		}
		defer end()
		if err != nil {
			return err
		}
		err = h(w, WithPrincipal(r, p))
		if err != nil && p.Anonymous() && problemOf(err).Code == "access-denied" {
			return errAnonymous
		}
		return err
	}
}

// WithPrincipal returns r with p as its sender, for programs that call a Server
// themselves and know who p is. Such a request needs no token. Its origin is
// checked as that of others.
func WithPrincipal(r *http.Request, p *access.Principal) *http.Request {
	if p == nil {
		p = &access.Principal{}
	}
	return r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
}

func (s *Server) identifySender(w http.ResponseWriter, r *http.Request) (*access.Principal, error) {
	if p, ok := r.Context().Value(principalKey{}).(*access.Principal); ok {
		if err := s.checkOrigin(r, p); err != nil {
			return nil, err
		}
		if p.Request == (rules.Request{}) {
			own := *p
			own.Request = requestOf(r)
			p = &own
		}
		return seenAs(w, r, p)
	}
	if q := queryOf(r); q.values.Has("token") {
		token := q.readText("token")
		if token == "" {
			q.refuse("token", "send that of a signed URL")
		}
		if q.err != nil {
			return nil, q.err
		}
		return s.redeemToken(r, token)
	}
	if s.opts.Dev {
		return seenAs(w, r, &access.Principal{ID: "dev", Operator: true})
	}
	p, err := s.authenticate(r)
	if err == nil {
		err = s.checkOrigin(r, p)
	}
	if err != nil {
		return nil, err
	}
	return seenAs(w, r, p)
}

// principalOf returns the sender of a request.
func principalOf(r *http.Request) *access.Principal {
	if p, ok := r.Context().Value(principalKey{}).(*access.Principal); ok {
		return p
	}
	return &access.Principal{}
}

// onlyOperators refuses all but operators.
func (s *Server) onlyOperators(h handler) handler {
	return s.withIdentity(func(w http.ResponseWriter, r *http.Request) error {
		if !principalOf(r).Operator {
			return errOperator
		}
		return h(w, r)
	})
}

// seenAs returns the principal that asHeader describes, if there is that
// header and p is an operator.
func seenAs(w http.ResponseWriter, r *http.Request, p *access.Principal) (*access.Principal, error) {
	text := r.Header.Get(asHeader)
	if text == "" {
		return p, nil
	}
	if !p.Operator {
		return nil, errOperator
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		return nil, fmt.Errorf("%s is not a JSON object: %w", asHeader, errRequest)
	}
	if err := rules.CheckNesting([]byte(text)); err != nil {
		return nil, fmt.Errorf("%s is %w: %w", asHeader, err, errRequest)
	}
	noteOf(r).behind = p
	id, _ := claims["id"].(string)
	if err := access.CheckSubject(id); id != "" && err != nil {
		return nil, fmt.Errorf("%s: %w: %w", asHeader, errRequest, err)
	}
	var mu sync.Mutex
	told := 0
	return &access.Principal{ID: id, Claims: claims, Request: p.Request, Explain: func(d *access.Decision) {
		mu.Lock()
		defer mu.Unlock()
		if told++; told <= maxDecisions {
			w.Header().Add(decisionHeader, decisionText(d))
		}
	}}, nil
}

// decisionText formats a decision as a line of ASCII.
func decisionText(d *access.Decision) string {
	text := "allow " + string(d.Op)
	if d.Err != nil {
		text = "deny " + string(d.Op)
	}
	if d.File != "" {
		text += " of " + d.File
	}
	text += " by " + d.By
	if d.Rule != "" {
		text += " " + string(d.RuleOp) + ": " + strconv.QuoteToASCII(d.Rule)
	}
	if d.Err != nil {
		text += "; " + strconv.QuoteToASCII(d.Err.Error())
	}
	return text
}
