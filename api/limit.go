package api

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/schema"
)

var (
	errRateLimited = errors.New("too many requests a second")
	errTooMany     = errors.New("too many requests at a time")
)

// A limitError refuses a request until a time has passed.
type limitError struct {
	err   error
	after time.Duration
}

func (e *limitError) Error() string { return fmt.Sprintf("%v; try again in %s", e.err, e.after) }
func (e *limitError) Unwrap() error { return e.err }

// setRetryAfter sets Retry-After, in whole seconds.
func (e *limitError) setRetryAfter(h http.Header) {
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.after.Seconds()))))
}

const maxCallers = 100_000 // remembered at a time

// A limiter bounds the requests of each caller: how many a second, and how
// many at a time.
type limiter struct {
	rate       rate.Limit
	burst      int
	concurrent int

	mu      sync.Mutex // guards callers, and active and seen in each
	callers map[string]*caller
}

type caller struct {
	tokens *rate.Limiter
	active int       // requests under way
	seen   time.Time // of the last request
}

// The limits of a server whose configuration says nothing of them.
const (
	DefaultRateLimit     = 2000
	DefaultRateBurst     = 10_000
	DefaultMaxConcurrent = 256
)

// newLimiter returns the limiter of a configuration.
func newLimiter(s *schema.Server) *limiter {
	perSecond := s.RateLimit.Or(DefaultRateLimit)
	l := &limiter{rate: rate.Limit(perSecond), burst: max(cmp.Or(s.RateBurst, DefaultRateBurst), perSecond),
		concurrent: s.MaxConcurrent.Or(DefaultMaxConcurrent), callers: make(map[string]*caller)}
	if s.RateLimit == schema.Unbounded {
		l.rate = rate.Inf
	}
	return l
}

// Limits are what bounds requests, for a log.
func (s *Server) Limits() slog.Attr {
	perSecond := any("none")
	if s.limits.rate != rate.Inf {
		perSecond = int(s.limits.rate)
	}
	return slog.Group("limits", "rate_limit", perSecond, "rate_burst", s.limits.burst, "max_concurrent", s.limits.concurrent,
		"max_connections", cmp.Or(s.opts.Server.MaxConnections, DefaultConnections),
		"max_connections_per_address", cmp.Or(s.opts.Server.MaxPerAddress, DefaultConnectionsPerAddress))
}

// beginRequest counts a request under key. The caller must call end when the
// request is over.
func (l *limiter) beginRequest(key string) (end func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.callers[key]
	if c == nil {
		if len(l.callers) >= maxCallers {
			l.forgetCallers()
		}
		c = &caller{tokens: rate.NewLimiter(l.rate, l.burst)}
		l.callers[key] = c
	}
	c.seen = time.Now()
	if c.active >= l.concurrent {
		return nil, &limitError{errTooMany, time.Second}
	}
	r := c.tokens.ReserveN(c.seen, 1)
	if wait := r.DelayFrom(c.seen); wait > 0 {
		r.CancelAt(c.seen)
		return nil, &limitError{errRateLimited, max(wait, time.Second)}
	}
	c.active++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.active--
	}, nil
}

// forgetCallers drops callers without a request for a minute and, if too many
// remain, all that have none under way. The caller holds mu.
func (l *limiter) forgetCallers() {
	for _, old := range []time.Duration{time.Minute, 0} {
		for key, c := range l.callers {
			if c.active == 0 && time.Since(c.seen) >= old {
				delete(l.callers, key)
			}
		}
		if len(l.callers) < maxCallers/2 {
			return
		}
	}
}

// callerOf returns the key under which a request counts: that of its signed
// URL, its principal or its address.
func callerOf(p *access.Principal, ip string) string {
	switch {
	case p != nil && p.Grant != nil:
		return "grant " + p.Grant.ID
	case p != nil && p.ID != "":
		return "id " + p.ID
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return "ip " + ip
	}
	return "ip " + networkOf(a)
}

// networkOf names what counts as one address: with IPv6 64 bits of it, which is
// mostly one household or machine.
func networkOf(a netip.Addr) string {
	if n, err := a.Prefix(64); err == nil && a.Is6() {
		return n.String()
	}
	return a.String()
}
