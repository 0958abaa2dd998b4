// Package report tells operators what a store holds and what it takes. A report
// changes nothing, keeps nobody from changing anything, and takes the same memory
// whatever the store holds: what may be many is kept in sorted runs in temporary
// files, and lists name the largest.
//
// usage.go has sums that the metadata store keeps current.
package report

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"time"

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
}

// listDomains returns the names of the domains, sorted.
func (s *Store) listDomains() []string { return slices.Sorted(maps.Keys(s.Chunks)) }
