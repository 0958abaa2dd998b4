// Package owner makes sure that one store at a time writes to a backend that
// several machines can reach.
//
// Claims are objects owner/0000000001, owner/0000000002, …; the store that made
// the one with the highest number owns the backend. Claims are never deleted, so
// one Stat, of the next number, tells an owner whether it still is one.
package owner

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// A Claim says which store owns a backend.
type Claim struct {
	Owner string    `json:"owner"` // a store's ID
	Place string    `json:"place"` // for people: where that store is
	Since time.Time `json:"since"`

	// Exclusive says that a test of the service succeeded: of two PUTs of
	// one new key, one failed.
	Exclusive bool `json:"exclusive"`

	number uint64
	seen   time.Time // the claim was the highest at least until then
}

func (c *Claim) String() string {
	return fmt.Sprintf("%s (store %s), since %s", c.Place, c.Owner, c.Since.UTC().Format(time.RFC3339))
}

// Options are choices of Open.
type Options struct {
	Place        string // of this store, for people
	Take         bool   // take the backend from its present owner
	SingleWriter bool   // the operator makes sure that nobody else writes, where the service cannot
}

// ErrNotExclusive reports a service on which two stores would not notice each
// other.
var ErrNotExclusive = errors.New("the service has no conditional PUT, so two servers would not notice each other; " +
	"set single_writer: true if no other server will ever use this bucket and prefix")

const claimPrefix = "owner/"

func claimKey(n uint64) string { return fmt.Sprintf("%s%010d", claimPrefix, n) }

// Current returns the claim that holds, nil if there is none.
func Current(ctx context.Context, b backend.Backend) (*Claim, error) {
	begun := time.Now()
	var last uint64
	var size int64
	for info, err := range b.List(ctx, claimPrefix) {
		if err != nil {
			return nil, fmt.Errorf("owner: %w", err)
		}
		var n uint64
		if _, err := fmt.Sscanf(info.Key, claimPrefix+"%d", &n); err == nil && info.Key == claimKey(n) && n > last {
			last, size = n, info.Size
		}
	}
	if last == 0 {
		return nil, nil
	}
	if size > 64<<10 {
		return nil, fmt.Errorf("owner: %s has %d bytes, which no claim has", claimKey(last), size)
	}
	p := make([]byte, size)
	if err := b.ReadAt(ctx, claimKey(last), p, 0); err != nil {
		return nil, fmt.Errorf("owner: %w", err)
	}
	c := &Claim{number: last, seen: begun}
	if err := json.Unmarshal(p, c); err != nil {
		return nil, fmt.Errorf("owner: %s is no claim: %w", claimKey(last), err)
	}
	return c, nil
}

// Refuse returns why the store id may not open a backend whose claim is c, nil
// if it may. A nil c is that of a backend without a claim.
func (c *Claim) Refuse(id string, opts *Options) error {
	if c != nil && c.Owner != id && !opts.Take {
		return ownedError(c)
	}
	return nil
}

func ownedError(c *Claim) error { return fmt.Errorf("%w: %s", backend.ErrOwned, c) }

// Open claims b for the store id, if b has no claim or the options say so, and
// returns b guarded. A claim of its own that was made without a test of the
// service is made anew with one, unless SingleWriter is set. It fails with backend.ErrOwned where another store owns b.
// c is what Current returned for b. A claim that another store makes after that
// is not overruled; the guarded backend notices it.
func Open(ctx context.Context, b backend.Backend, c *Claim, id string, opts *Options) (*Backend, error) {
	if err := c.Refuse(id, opts); err != nil {
		return nil, err
	}
	if c == nil || c.Owner != id || !c.Exclusive && !opts.SingleWriter {
		var err error
		if c, err = makeClaim(ctx, b, c, id, opts); err != nil {
			return nil, err
		}
	}
	if !c.Exclusive && !opts.SingleWriter { // another process of this store was faster
		return nil, fmt.Errorf("owner: %w", ErrNotExclusive)
	}
	out := &Backend{Backend: b, claim: *c}
	out.markChecked(c.seen)
	return out, nil
}

// makeClaim writes the claim that comes after last, and returns it. If another
// process of the same store was faster, it returns that one's.
func makeClaim(ctx context.Context, b backend.Backend, last *Claim, id string, opts *Options) (*Claim, error) {
	c := &Claim{Owner: id, Place: opts.Place, Since: time.Now().UTC().Truncate(time.Second), number: 1}
	if last != nil {
		c.number = last.number + 1
	}
	var err error
	if c.Exclusive, err = probeExclusive(ctx, b); err != nil {
		return nil, err
	}
	if !c.Exclusive && !opts.SingleWriter {
		return nil, fmt.Errorf("owner: %w", ErrNotExclusive)
	}
	p, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	c.seen = time.Now()
	err = putObject(ctx, b, claimKey(c.number), p)
	if errors.Is(err, fs.ErrExist) { // somebody else was faster
		now, err := Current(ctx, b)
		switch {
		case err != nil:
			return nil, err
		case now == nil:
			return nil, fmt.Errorf("owner: the service says that %s exists, and does not list it", claimKey(c.number))
		case now.Owner != id:
			return nil, ownedError(now)
		}
		return now, nil
	}
	if err != nil {
		return nil, fmt.Errorf("owner: %w", err)
	}
	return c, nil
}

// probeExclusive reports whether a second PUT of a key fails.
func probeExclusive(ctx context.Context, b backend.Backend) (bool, error) {
	probe := claimPrefix + "probe-" + strings.ToLower(rand.Text())
	if err := putObject(ctx, b, probe, []byte("a")); err != nil {
		return false, fmt.Errorf("owner: %w", err)
	}
	err := putObject(ctx, b, probe, []byte("b"))
	held := errors.Is(err, fs.ErrExist)
	if err != nil && !held {
		return false, fmt.Errorf("owner: %w", errors.Join(err, b.Delete(ctx, probe)))
	}
	if c, ok := b.(interface{ Conditional() bool }); ok && !c.Conditional() {
		held = false // the key was looked up first, which two writers can do at once
	}
	if err := b.Delete(ctx, probe); err != nil {
		return false, fmt.Errorf("owner: %w", err)
	}
	return held, nil
}

func putObject(ctx context.Context, b backend.Backend, key string, p []byte) error {
	w, err := b.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err = w.Write(p); err == nil {
		err = w.Commit()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}
