// Package check proves that the packs, the index and the rows of a store agree,
// and makes index and rows anew from the packs.
//
// It works on any manifest.Store and on the cas.Stores beside it: a caller opens
// them, owns them, and says so by a Store. Survey compares lists only; Check reads
// every byte; CatchUp and Rebuild bring a database up to its packs. Read
// survey.go, rebuild.go and packs.go in this order.
//
// Check may run while others change, collect and move what is checked. What looks
// wrong then is looked up again, in an order in which a change that was under way
// cannot look wrong twice: rows are read before the records that must be there of
// them (gather.go), sums in one view, counts between two reads of what is counted.
// What is not so the second time is no problem.
package check

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A Store is what is checked or made anew: the rows, and the chunks of each
// domain with their index. Its methods must not run concurrently. Others may change
// the store while Check runs without Repair, and then only.
type Store struct {
	Meta    manifest.Store
	Domains []*Domain    // in order of names
	Log     *slog.Logger // nil discards

	stale error // set by Survey
}

// A Domain is the chunks of one backend. Its fields are set before it is used.
type Domain struct {
	Name   string
	Chunks *cas.Store

	survey *cas.Survey // nil before Survey

	// newest is the highest commit whose records the packs held at Survey, and
	// newestPack the pack that holds them.
	newest     uint64
	newestPack cas.PackID
}

// A checker compares packs, index and rows.
type checker struct {
	*Store
	opts    Options
	report  *Report
	bad     bool          // something was found that is not repaired
	total   int64         // bytes of packs
	files   int64         // that usage counts
	limit   *rate.Limiter // of bytes of packs; nil is none
	domains map[string]*domainChecker
	records *rowLog                    // what the packs say of rows
	homes   map[string]*manifest.Home  // by bucket
	homeOf  map[string]*domainChecker  // where the content of buckets lies, as far as that is known
	strays  map[manifest.FileID]string // files that only packs hold, with the domain of these
}

// A domainChecker compares the packs of a domain with their index. What grows with
// the chunks is kept in logs, which take the same memory whatever their number.
type domainChecker struct {
	*checker
	*Domain
	listed []cas.PackEntry
	// read is how much of which packs was there when their records were read; whole
	// packs will not grow.
	read  map[cas.PackID]readPack
	known map[cas.PackID]cas.PackEntry // of the index
	// miscounted are packs whose live bytes are not those of their frames.
	miscounted map[cas.PackID]bool
	unmet      *digests.Log // frames of the index that no pack shows
	stranded   *digestLog   // chunks in such frames that can be read, with their kind
	damaged    *digestLog   // chunks that cannot be read, with why
	healed     *digestLog   // of those the ones that can be read again
	needed     *references
	lacking    *digestLog          // what versions need and the domain does not have
	checkpoint uint64              // its base as the database had it at the beginning
	doomed     map[cas.PackID]bool // packs whose deletion had begun then

	spoiled      []spoiledPack   // of a repair, until moveSpoiled tells of them
	spoiledCount int             // of problems in it
	copied       []cas.PackEntry // packs whose records were copied, without them

	census      *census
	recordPacks []keptPack
	replayer    *manifest.Replayer // applies all records that the packs hold
	checkpoints *manifest.Replayer // applies the newest checkpoint
	missing     []manifest.Record  // of rows that the packs lack
}

type readPack struct {
	size  int64
	whole bool
}

// Why a chunk cannot be read, in domainChecker.damaged.
const (
	ownDamage    = iota // its stored bytes are damaged, or gone
	sourceDamage        // so are those of a chunk that it is made from: it is not marked
	frameUnknown        // the index does not know its frame
)

// A digestLog is a log of digests that knows whether there are any.
type digestLog struct {
	*digests.Log
	count int64 // of calls of add
}

func (l *digestLog) add(d cas.Digest, value uint64) error {
	l.count++
	return l.Add(digests.KeyOf(d), value)
}

func (l *digestLog) find(d cas.Digest) (value uint64, ok bool, err error) {
	return l.Find(digests.KeyOf(d))
}

// Check verifies that packs, index and rows agree, reading every byte. With
// Repair it mends what it can, and first brings a database up to its packs that
// is older than they are: ErrOvertaken says that only Rebuild can. Without Repair
// such a database is a problem, and nothing else is looked at. Where the database is
// damaged, which is manifest.ErrDamaged, the report says so with what was found
// before; with Repair there is none, as all is to be made anew.
func (s *Store) Check(ctx context.Context, opts *Options) (*Report, error) {
	began := time.Now()
	c := &checker{Store: s, report: NewReport(), strays: make(map[manifest.FileID]string)}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Rate > 0 {
		c.limit = rate.NewLimiter(rate.Limit(c.opts.Rate), rateBurst)
	}
	err := c.run(ctx)
	if errors.Is(err, manifest.ErrDamaged) && !c.opts.Repair {
		c.addProblem(Problem{Kind: "metadata", Detail: err.Error()}.with(HealsRepair, DoesRebuild))
	} else if err != nil {
		return nil, err
	}
	c.report.OK = !c.bad
	c.report.TookSeconds = time.Since(began).Seconds()
	return c.report, err
}

func (c *checker) run(ctx context.Context) error {
	c.noteProgress("database", "", 0, 0)
	if err := c.Meta.Verify(ctx); err != nil {
		return err
	}
	if err := c.surveyOnce(ctx); err != nil {
		return err
	}
	if c.stale != nil {
		if c.opts.Repair {
			if err := c.CatchUp(ctx); err != nil {
				return err
			}
		}
		c.report.CaughtUp = c.opts.Repair
		c.addProblem(Problem{Kind: "metadata", Detail: c.stale.Error(), Repaired: c.opts.Repair, Heals: HealsRepair, Does: doesCatchUp})
		if !c.opts.Repair {
			return nil
		}
	}
	return c.checkAll(ctx)
}

// addProblem tells a problem, and keeps the first ones for the report.
func (c *checker) addProblem(p Problem) {
	c.fillHeals(&p)
	c.bad = c.bad || !p.Repaired
	c.report.ProblemCount++
	if len(c.report.Problems) < maxReported {
		c.report.Problems = append(c.report.Problems, p)
	}
	c.tellProblem(&p)
}

// addHurt is addProblem for a version that cannot be read whole.
func (c *checker) addHurt(p Problem) {
	c.fillHeals(&p)
	c.bad = true
	c.report.DamagedCount++
	if len(c.report.Damaged) < maxReported {
		c.report.Damaged = append(c.report.Damaged, p)
	}
	c.tellProblem(&p)
}

func (c *checker) tellProblem(p *Problem) {
	c.report.Kinds[p.Kind]++
	if c.opts.Found != nil {
		c.opts.Found(p)
	}
}

// noteProgress tells how far a phase is.
func (c *checker) noteProgress(phase, domain string, done, total int64) {
	if c.opts.Progress != nil {
		c.opts.Progress(Progress{phase, domain, done, total})
	}
}

// rateBurst is how many bytes are read at once under a rate.
const rateBurst = 1 << 20

// limitRate waits until n bytes more may be read.
func (c *checker) limitRate(ctx context.Context, n int) error {
	for c.limit != nil && n > 0 {
		if err := c.limit.WaitN(ctx, min(n, rateBurst)); err != nil {
			return err
		}
		n -= rateBurst
	}
	return ctx.Err()
}

func (c *domainChecker) addProblem(p Problem) {
	p.Backend = c.Name
	c.checker.addProblem(p)
}

func (c *checker) newDomainChecker(d *Domain) *domainChecker {
	newLog := func() *digestLog { return &digestLog{Log: c.newLog(digests.Lowest)} }
	dc := &domainChecker{checker: c, Domain: d, miscounted: make(map[cas.PackID]bool), doomed: make(map[cas.PackID]bool), census: newCensus(),
		unmet: newLog().Log, stranded: newLog(), damaged: newLog(), healed: newLog(), lacking: newLog()}
	dc.needed = newReferences(dc)
	dc.beginRecords()
	return dc
}

// newLog returns a log of digests.
func (c *checker) newLog(fold digests.Fold) *digests.Log {
	return digests.NewLogOf(c.opts.TempDir, fold, cmp.Or(c.opts.entries, math.MaxInt))
}

// close removes temporary files.
func (c *checker) close() error {
	errs := []error{c.records.close()}
	for _, d := range c.domains {
		errs = append(errs, d.unmet.Close(), d.stranded.Close(), d.damaged.Close(), d.healed.Close(), d.lacking.Close(), d.needed.log.Close())
	}
	return errors.Join(errs...)
}

func (c *checker) checkAll(ctx context.Context) (err error) {
	c.records = &rowLog{most: cmp.Or(c.opts.entries, rowsInMemory), temp: c.opts.TempDir}
	c.domains = make(map[string]*domainChecker)
	defer func() { err = errors.Join(err, c.close()) }()
	for _, d := range c.Domains {
		c.domains[d.Name] = c.newDomainChecker(d)
		if err := c.domains[d.Name].listDoomed(ctx); err != nil {
			return err
		}
	}
	if c.files, err = c.countFiles(ctx); err != nil {
		return err
	}
	for _, domain := range c.Domains {
		d := c.domains[domain.Name]
		if d.checkpoint, err = c.Meta.Checkpoint(ctx, d.Name); err != nil {
			return err
		}
		if err := d.listPacks(ctx); err != nil {
			return err
		}
	}
	for _, d := range c.Domains {
		dc := c.domains[d.Name]
		for _, step := range []func(context.Context) error{dc.checkPacks, dc.checkMiscounted, dc.checkIndex, dc.healChunks, dc.moveStranded, dc.moveSpoiled} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	for _, step := range []func(context.Context) error{c.checkRows, c.checkReferences, c.checkSums, c.checkCollected} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// countFiles returns how many files there are, as the database counts them.
func (c *checker) countFiles(ctx context.Context) (n int64, err error) {
	names, err := c.Meta.Buckets(ctx)
	for _, name := range names {
		u, err := c.Meta.Usage(ctx, name)
		if err != nil {
			return 0, err
		}
		n += u.Files + u.TrashedFiles
	}
	return n, err
}
