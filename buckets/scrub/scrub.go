// Package scrub reads what is stored again and compares it with its digests, before
// somebody needs it: the packs that were not read for longest first, at a bounded
// rate. What came of a pack is noted in the database, so that a scrub that is given
// up or killed goes on where it was.
//
// Read scrub.go for the order of steps, due.go for which packs are read, and lost.go
// for what is found out about chunks that no pack shows.
package scrub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Store is what a scrub works on.
type Store struct {
	Meta   manifest.Scrubs
	Chunks map[string]*cas.Store // by domain

	// Holders calls fn for each version of a file, and each upload, that needs one
	// of the digests that are wanted.
	Holders func(ctx context.Context, domain string, wanted func(cas.Digest) bool, fn func(*Hurt) error) error

	Now func() time.Time // that results are stamped with; nil is time.Now
	Log *slog.Logger     // nil discards
}

// Options of Run; nil and zero values are defaults.
type Options struct {
	All    bool          // read all packs
	MaxAge time.Duration // read those that were not read for so long; 0 is 30 days

	Rate     int64 // bytes read a second; 0 is no bound
	ReadOnly bool  // mark and note nothing

	Progress func(Progress) // is called now and then
}

const (
	// DefaultMaxAge is the age of a result after which a pack is read again.
	DefaultMaxAge = 30 * 24 * time.Hour

	rateBurst = 1 << 20 // bytes
	// maxListed bounds each list of a report, and maxBad the chunks by which the
	// files are found that they hurt.
	maxListed = 1000
	maxBad    = 100_000
)

// Progress is how far a scrub is.
type Progress struct {
	Domain string
	Phase  string // packs, chunks or files: what is read
	Done   int64  // of packs, bytes
	Total  int64  // 0 where it is not known
}

// A Report says what a scrub has found.
type Report struct {
	Started, Ended time.Time
	Domains        []DomainReport
}

// A DomainReport is what a scrub has found in a domain.
type DomainReport struct {
	Domain  string
	Packs   int64 // that were read
	Bytes   int64 // of them
	Skipped int64 // packs whose last result is young enough

	BadChunks int64        // chunks that cannot be read
	Bad       []cas.Digest // the first of them

	FailedPacks int64
	Failed      []FailedPack // the first of them

	HurtVersions int64  // versions of files, and uploads, that need bad chunks
	Hurt         []Hurt // the first of them
}

// A FailedPack is a pack that cannot be read, or is damaged beside its chunks.
type FailedPack struct {
	Pack cas.PackID
	Why  string
}

// A Hurt is a version of a file, or an upload under way, that needs a bad chunk.
type Hurt struct {
	Bucket, Path string
	File         manifest.FileID
	Version      manifest.VersionID
	Upload       manifest.UploadID // "" for a version
}

// IsClean reports whether nothing is damaged.
func (r *Report) IsClean() bool {
	for i := range r.Domains {
		if d := &r.Domains[i]; d.BadChunks > 0 || d.FailedPacks > 0 {
			return false
		}
	}
	return true
}

// Run reads the packs that are due. It may be given up at any point; what it has
// found is marked and noted. The report of a run that fails tells what was found.
func Run(ctx context.Context, s *Store, opts *Options) (*Report, error) {
	own := *s
	if own.Now == nil {
		own.Now = time.Now
	}
	if own.Log == nil {
		own.Log = slog.New(slog.DiscardHandler)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	var limit *rate.Limiter
	if o.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(o.Rate), rateBurst)
	}
	r := &Report{Started: own.Now()}
	for _, domain := range slices.Sorted(maps.Keys(own.Chunks)) {
		d := &domainScrub{Store: &own, opts: &o, chunks: own.Chunks[domain], began: r.Started,
			read:  &cas.ScrubOptions{Limit: limit, ReadOnly: o.ReadOnly},
			bad:   make(map[cas.Digest]bool),
			unmet: make(map[cas.FrameID]bool), missing: make(map[cas.PackID]string)}
		d.report.Domain = domain
		err := d.run(ctx)
		r.Domains, r.Ended = append(r.Domains, d.report), own.Now()
		if err != nil {
			return r, fmt.Errorf("scrub backend %q: %w", domain, err)
		}
	}
	return r, nil
}

// A domainScrub is one Run in one domain.
type domainScrub struct {
	*Store
	opts   *Options
	chunks *cas.Store
	read   *cas.ScrubOptions
	began  time.Time
	report DomainReport

	bad   map[cas.Digest]bool  // chunks that cannot be read, at most maxBad
	unmet map[cas.FrameID]bool // frames that no pack shows, at most maxBad; true if they can be tried

	missing map[cas.PackID]string // packs that could not be read, and why; some have gone meanwhile

	unserved error // of the first pack that the backend did not serve
	inRow    int   // packs that it did not, one after the other
}

func (d *domainScrub) run(ctx context.Context) error {
	due, gone, err := d.listDue(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for i := range due {
		total += due[i].Size
	}
	done := int64(0)
	for i := range due {
		d.opts.Progress(Progress{Domain: d.report.Domain, Phase: "packs", Done: done, Total: total})
		if err := d.scrubPack(ctx, &due[i].PackEntry); err != nil {
			return err
		}
		done += due[i].Size
	}
	if err := d.noteMissing(ctx); err != nil {
		return err
	}
	if err := d.dropResults(ctx, gone); err != nil {
		return err
	}
	if err := d.readUnmet(ctx); err != nil {
		return err
	}
	if err := d.findHurt(ctx); err != nil {
		return err
	}
	return d.unserved
}

// scrubPack reads a pack and notes what came of it. It returns errors that are not
// about the bytes of the pack: the scrub ends with them.
func (d *domainScrub) scrubPack(ctx context.Context, p *cas.PackEntry) error {
	out, err := d.chunks.ScrubPack(ctx, *p, d.read)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var unread *cas.PackError
	switch {
	case errors.As(err, &unread):
		d.inRow = 0
		d.missing[p.ID] = unread.Err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			d.missing[p.ID] = "the pack is missing"
		}
		return nil
	case errors.Is(err, backend.ErrUnavailable):
		return d.passUnserved(err)
	case err != nil:
		return err
	}
	d.inRow = 0
	d.report.Packs++
	d.report.Bytes += out.Bytes
	d.report.BadChunks += out.BadCount
	for _, digest := range out.Bad {
		d.noteBad(digest)
	}
	for _, id := range out.Unmet {
		d.noteUnmet(id, true)
	}
	why := out.Damage
	if out.UnmetCount > 0 && why == "" {
		why = "frames are not found where the index has them"
	}
	if why != "" {
		d.addFailed(p.ID, why)
	}
	return d.noteResult(ctx, &manifest.Scrubbed{Pack: p.ID, Size: p.Size, Bytes: out.Bytes, Bad: out.BadCount, Failed: why})
}

// maxUnserved is how many packs in a row may not be served before a scrub is given
// up.
const maxUnserved = 3

// passUnserved goes on with the next pack, so that one that is never served does not
// keep all others from being read: nothing is noted of it, and the scrub ends with
// the error. It returns the error if the backend serves nothing.
func (d *domainScrub) passUnserved(err error) error {
	d.unserved = cmp.Or(d.unserved, err)
	if d.inRow++; d.inRow == maxUnserved {
		return d.unserved
	}
	return nil
}

func (d *domainScrub) noteResult(ctx context.Context, s *manifest.Scrubbed) error {
	if d.opts.ReadOnly {
		return nil
	}
	s.At = d.Now()
	return d.Meta.PutScrubbed(ctx, d.report.Domain, []manifest.Scrubbed{*s})
}

func (d *domainScrub) noteBad(digest cas.Digest) {
	if len(d.report.Bad) < maxListed {
		d.report.Bad = append(d.report.Bad, digest)
	}
	if len(d.bad) < maxBad {
		d.bad[digest] = true
	}
}

func (d *domainScrub) noteUnmet(id cas.FrameID, there bool) {
	if len(d.unmet) < maxBad {
		d.unmet[id] = there
	}
}

func (d *domainScrub) addFailed(id cas.PackID, why string) {
	d.Log.Error("a pack is damaged or cannot be read", "backend", d.report.Domain, "pack", id, "why", why)
	d.report.FailedPacks++
	if len(d.report.Failed) < maxListed {
		d.report.Failed = append(d.report.Failed, FailedPack{id, why})
	}
}

// findHurt finds the files that need bad chunks.
func (d *domainScrub) findHurt(ctx context.Context) error {
	if len(d.bad) == 0 || d.Holders == nil {
		return nil
	}
	d.opts.Progress(Progress{Domain: d.report.Domain, Phase: "files"})
	return d.Holders(ctx, d.report.Domain, func(digest cas.Digest) bool { return d.bad[digest] }, func(h *Hurt) error {
		if d.report.HurtVersions++; len(d.report.Hurt) < maxListed {
			d.report.Hurt = append(d.report.Hurt, *h)
			d.Log.Error("a file has chunks that cannot be read", "bucket", h.Bucket, "path", h.Path, "manifest", h.Version)
		}
		return nil
	})
}
