package pebblestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// presence is what ends with the process, since nobody else can have the database
// open: the registered writers, and who holds the leases of collectors.
type presence struct {
	mu      sync.Mutex
	writers map[string]map[manifest.WriterID]manifest.Writer // by domain
	leases  map[string]heldLease                             // by domain
}

type heldLease struct {
	token uint64
	until time.Time
}

// Register implements manifest.Epochs, and so do the methods below. It reads the
// epoch with presence.mu held, so that whoever raises the epoch and asks for the
// writers then finds it.
func (d *DB) Register(ctx context.Context, domain string) (w manifest.Writer, err error) {
	p := &d.present
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.Begin, err = d.Epoch(ctx, domain); err != nil {
		return manifest.Writer{}, fmt.Errorf("pebblestore: register: %w", err)
	}
	rand.Read(w.ID[:])
	w.At = time.UnixMilli(time.Now().UnixMilli()).UTC()
	if p.writers == nil {
		p.writers = make(map[string]map[manifest.WriterID]manifest.Writer)
	}
	if p.writers[domain] == nil {
		p.writers[domain] = make(map[manifest.WriterID]manifest.Writer)
	}
	p.writers[domain][w.ID] = w
	return w, nil
}

func (d *DB) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	d.present.mu.Lock()
	defer d.present.mu.Unlock()
	delete(d.present.writers[domain], id)
	return cmp.Or(d.life.Err(), ctx.Err())
}

func (d *DB) Writers(ctx context.Context, domain string) (ws []manifest.Writer, err error) {
	d.present.mu.Lock()
	defer d.present.mu.Unlock()
	for _, w := range d.present.writers[domain] {
		ws = append(ws, w)
	}
	slices.SortFunc(ws, func(a, b manifest.Writer) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), slices.Compare(a.ID[:], b.ID[:]))
	})
	return ws, cmp.Or(d.life.Err(), ctx.Err())
}

// TakeLease implements manifest.Collections, and so do the methods below. The
// token is durable, who holds it is not.
func (d *DB) TakeLease(ctx context.Context, domain string, length time.Duration) (manifest.Lease, error) {
	c, err := d.changeCounters(ctx, domain, func(c *counters) error {
		if d.present.isLeased(domain) {
			return manifest.ErrLeased
		}
		c.lease++
		d.present.setLease(domain, c.lease, length) // before others can see the token
		return nil
	})
	if err != nil {
		return manifest.Lease{}, fmt.Errorf("pebblestore: take the lease of %q: %w", domain, err)
	}
	return manifest.Lease{Domain: domain, Token: c.lease}, nil
}

func (p *presence) isLeased(domain string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.leases[domain]
	return ok && time.Now().Before(l.until)
}

func (p *presence) setLease(domain string, token uint64, length time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leases == nil {
		p.leases = make(map[string]heldLease)
	}
	p.leases[domain] = heldLease{token, time.Now().Add(length)}
}

func (d *DB) RenewLease(ctx context.Context, l manifest.Lease, length time.Duration) error {
	c, err := d.readCounters(l.Domain)
	if err == nil && c.lease != l.Token {
		err = cas.ErrFenced
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("pebblestore: renew the lease of %q: %w", l.Domain, err)
	}
	d.present.renewLease(l, length)
	return nil
}

// renewLease leaves the lease of a later collector as it is.
func (p *presence) renewLease(l manifest.Lease, length time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.leases[l.Domain]; ok && held.token == l.Token {
		p.leases[l.Domain] = heldLease{l.Token, time.Now().Add(length)}
	}
}

func (d *DB) ReleaseLease(ctx context.Context, l manifest.Lease) error {
	p := &d.present
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leases[l.Domain].token == l.Token {
		delete(p.leases, l.Domain)
	}
	return cmp.Or(d.life.Err(), ctx.Err())
}
