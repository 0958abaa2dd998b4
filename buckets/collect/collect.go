// Package collect gives back the space of what no version, upload or move needs
// any more, while the store works. A cycle marks what is needed, drops what is
// neither marked nor stamped since the floor, and deletes the packs in which
// nothing is left; packs with little left are copied first. ARCHITECTURE.md has
// the rules that make it safe.
//
// Read cycle.go for the order of steps, mark.go and marks.go for what is needed,
// sweep.go for what is dropped, packs.go for what is deleted and copied, and
// ledger.go for who is told to have freed it.
package collect

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// ErrRunning reports that another collection of the same store is under way.
var ErrRunning = manifest.ErrLeased

// Options of Run; nil and zero values are defaults.
type Options struct {
	Full   bool // copy the rest of every pack that holds a dead byte
	DryRun bool // change nothing; the report says what would be done

	// MaxWriterAge is how long an upload keeps the collection from dropping what
	// it may count on; 0 is a day. One that lasts longer looks its chunks up again,
	// and fails if some have been collected: no version is ever made of them.
	MaxWriterAge time.Duration

	// MinDead is the share of dead bytes below which a pack is left as it is. With
	// 0 the packs with the most dead bytes are copied, until at most 15 % of all
	// dead bytes are left.
	MinDead float64

	Rate    int64  // bytes a second read and written by copying; 0 is no bound
	TempDir string // for what does not fit into memory; "" is the system's

	Progress func(Progress) // is called now and then
}

const defaultWriterAge = 24 * time.Hour

func (o *Options) withDefaults() *Options {
	out := Options{}
	if o != nil {
		out = *o
	}
	if out.MaxWriterAge == 0 {
		out.MaxWriterAge = defaultWriterAge
	}
	if out.TempDir == "" {
		out.TempDir = os.TempDir()
	}
	if out.Progress == nil {
		out.Progress = func(Progress) {}
	}
	return &out
}

// A Store is what a collection works on.
type Store struct {
	Meta   manifest.Store
	Chunks map[string]*cas.Store // by domain

	// Update runs a transaction of a domain, and returns when its records, and
	// those of all commits before it, are durable in the packs.
	Update func(ctx context.Context, domain string, fn func(tx manifest.Tx) error) error
	// Settle returns when the records of all commits made so far are.
	Settle func(ctx context.Context) error

	Now func() time.Time // that entries of the ledger are stamped with; nil is time.Now
	Log *slog.Logger     // nil discards

	// IsOverdue reports whether the rules of its bucket would have removed a file that is
	// in the trash, and a version of it, if nothing held them; nil is never.
	IsOverdue func(ctx context.Context, row *manifest.Row) (file, version bool, err error)
}

// A Collector collects the domains of a Store. One Run is under way at a time;
// collectors of other processes are kept off by a lease.
type Collector struct {
	store *Store
	// quiet has the domains in whose last cycle nothing happened.
	quiet map[string]quiet
}

// NewCollector returns a Collector of s.
func NewCollector(s *Store) *Collector {
	own := *s
	if own.Now == nil {
		own.Now = time.Now
	}
	if own.Log == nil {
		own.Log = slog.New(slog.DiscardHandler)
	}
	return &Collector{store: &own, quiet: make(map[string]quiet)}
}

// Run makes a cycle of every domain. It can be given up at any point: what it has
// done counts, and the next one does the rest. It returns ErrRunning if another
// collector is at work. The report of a run that fails tells what was done.
func (c *Collector) Run(ctx context.Context, opts *Options) (*Report, error) {
	o := opts.withDefaults()
	limit := newLimit(o)
	r := &Report{DryRun: o.DryRun, Full: o.Full, Started: time.Now()}
	for _, domain := range slices.Sorted(maps.Keys(c.store.Chunks)) {
		d := newCycle(c.store, domain, o)
		d.collector, d.limit = c, limit
		err := d.runCycle(ctx)
		d.report.Freed = d.freed.listLargest()
		r.Domains = append(r.Domains, d.report)
		if err != nil {
			r.Ended = time.Now()
			return r, fmt.Errorf("collect backend %q: %w", domain, err)
		}
	}
	r.Ended = time.Now()
	return r, nil
}
