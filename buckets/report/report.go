// Package report tells operators what a store holds and what it takes. A report
// changes nothing, keeps nobody from changing anything, and takes the same memory
// whatever the store holds: what may be many is kept in sorted runs in temporary
// files, and lists name the largest.
//
// usage.go has sums that the metadata store keeps current, points.go what is noted of
// them each day. dedup.go compares what was stored with what it takes; read
// dedupwalk.go for how references are counted, references.go for where, groups.go for
// whose they are, and dedupchunks.go for what chunks take. garbage.go tells what was
// freed and what waits to be, orphans.go what nothing names, orphanlinks.go which files
// and links of records lack each other, fragmentation.go how scattered files lie.
package report

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Options of a report; nil and zero values are defaults.
type Options struct {
	Top     int    // how many entries a list has; 0 is 20, and more than 1,000 are 1,000
	TempDir string // for what does not fit into memory; "" is the system's

	Progress func(Progress) // is called now and then
}

const (
	defaultTop = 20
	// MaxTop is how many entries a list has at most.
	MaxTop = 1000
)

func (o *Options) withDefaults() *Options {
	out := Options{}
	if o != nil {
		out = *o
	}
	out.Top = min(max(cmp.Or(out.Top, defaultTop), 1), MaxTop)
	if out.TempDir == "" {
		out.TempDir = os.TempDir()
	}
	if out.Progress == nil {
		out.Progress = func(Progress) {}
	}
	return &out
}

// Progress is how far a report is. Total is 0 where it is not known.
type Progress struct {
	Domain string
	Phase  string
	Done   int64
	Total  int64
}

// A Store is what reports are about.
type Store struct {
	Meta   manifest.Store
	Chunks map[string]*cas.Store // by domain
	// Segments returns where the segments of a domain are read.
	Segments func(domain string) manifest.SegmentGetter
	Now      func() time.Time

	// Collect is what collections work on, and MaxWriterAge how long they wait for
	// uploads under way; 0 is a day.
	Collect      *collect.Store
	MaxWriterAge time.Duration
}

// listDomains returns the names of the domains, sorted.
func (s *Store) listDomains() []string { return slices.Sorted(maps.Keys(s.Chunks)) }

// A pacer calls Options.Progress now and then.
type pacer struct {
	opts *Options
	at   Progress
}

// paceSteps is how many steps are made between two looks at the context, and
// toldSteps between two calls of Options.Progress.
const (
	paceSteps = 1 << 10
	toldSteps = 1 << 16
)

// beginPhase tells that a phase begins.
func (p *pacer) beginPhase(domain, phase string, total int64) {
	p.at = Progress{Domain: domain, Phase: phase, Total: total}
	p.opts.Progress(p.at)
}

// countStep counts a step. It returns why ctx is done.
func (p *pacer) countStep(ctx context.Context) error {
	if p.at.Done++; p.at.Done%paceSteps != 0 {
		return nil
	}
	if p.at.Done%toldSteps == 0 {
		p.opts.Progress(p.at)
	}
	return context.Cause(ctx)
}
