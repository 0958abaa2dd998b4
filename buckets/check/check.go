// Package check proves that the packs, the index and the rows of a store agree,
// and makes index and rows anew from the packs.
//
// It works on any manifest.Store and on the cas.Stores beside it: a caller opens
// them, owns them, and says so by a Store. Survey compares lists only; Check reads
// every byte; CatchUp and Rebuild bring a database up to its packs. Read
// survey.go, rebuild.go and packs.go in this order.
package check

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Store is what is checked or made anew: the rows, and the chunks of each
// domain with their index. Its methods must not run concurrently. While others
// change the store, Check may report what is only under way.
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

// A Problem is one thing that Check found.
type Problem struct {
	Kind       string `json:"kind"` // "chunk", "pack", "index", "manifest", "metadata"
	Backend    string `json:"backend,omitempty"`
	Pack       string `json:"pack,omitempty"`
	Digest     string `json:"digest,omitempty"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	Path       string `json:"path,omitempty"` // of the file: its bucket, and where it lies in it
	Detail     string `json:"detail"`
	Repaired   bool   `json:"repaired,omitempty"`
}

// A Report is the outcome of Check.
type Report struct {
	OK        bool      `json:"ok"`
	Packs     int64     `json:"packs"`
	Chunks    int64     `json:"chunks"`
	Files     int64     `json:"files"`
	Manifests int64     `json:"manifests"`
	Bytes     int64     `json:"bytes"` // read from packs
	Rebuilt   bool      `json:"rebuilt,omitempty"`
	Problems  []Problem `json:"problems"`
	// Damaged lists the manifests that cannot be read whole.
	Damaged []Problem `json:"damaged"`
	// Plan is what a repair would make of a database that is missing, damaged
	// or older than its packs; nil where none was asked for.
	Plan *Plan `json:"plan,omitempty"`
}

// NewReport returns a Report of problems, none being fine.
func NewReport(problems ...Problem) *Report {
	return &Report{OK: len(problems) == 0, Problems: append([]Problem{}, problems...), Damaged: []Problem{}}
}

// Add takes in a problem that was found before the check itself.
func (r *Report) Add(p Problem) {
	r.Problems = slices.Insert(r.Problems, 0, p)
	r.OK = r.OK && p.Repaired
}

// Options are choices of Check; nil means the defaults.
type Options struct {
	// Repair mends what can be mended, only ever adding.
	Repair bool

	// Progress, if not nil, is called with the bytes of packs that were read,
	// and with how many there are.
	Progress func(done, total int64)

	// Domains says in which domain the files of a bucket lie if neither the
	// database nor the packs tell: the names of domains by those of buckets.
	Domains map[string]string
}

// A checker compares packs, index and rows.
type checker struct {
	*Store
	opts    Options
	report  *Report
	total   int64 // bytes of packs
	domains map[string]*domainChecker
	records *rowLog                    // what the packs say of rows
	homes   map[string]*manifest.Home  // by bucket
	strays  map[manifest.FileID]string // files that only packs hold, with the domain of these
}

// A domainChecker compares the packs of a domain with their index.
type domainChecker struct {
	*checker
	*Domain
	listed []cas.PackEntry
	unmet  map[cas.FrameID]bool // frames of the index that no pack shows
	// miscounted are packs whose live bytes are not those of their frames.
	miscounted map[cas.PackID]bool
	known      map[cas.PackID]cas.PackEntry // of the index
	bad        map[cas.Digest]badChunk

	census      *census
	recordPacks []keptPack
	replayer    *manifest.Replayer // applies all records that the packs hold
	checkpoints *manifest.Replayer // applies the newest checkpoint and what follows it
	missing     []manifest.Record  // of rows that the packs lack
}

// A badChunk is a chunk that cannot be read.
type badChunk struct {
	pack cas.PackID
	// source is the damaged chunk that it is made from, zero if its own bytes
	// are damaged. It is whole again when its source is healed, so it is not
	// marked.
	source cas.Digest
}

// Check verifies that packs, index and rows agree, reading every byte. With
// Repair it mends what it can, and first brings a database up to its packs that
// is older than they are: ErrOvertaken says that only Rebuild can. Without Repair
// such a database is a problem, and nothing else is looked at.
func (s *Store) Check(ctx context.Context, opts *Options) (*Report, error) {
	c := &checker{Store: s, report: NewReport(), strays: make(map[manifest.FileID]string)}
	if opts != nil {
		c.opts = *opts
	}
	if err := s.surveyOnce(ctx); err != nil {
		return nil, err
	}
	if s.stale != nil {
		if c.opts.Repair {
			if err := s.CatchUp(ctx); err != nil {
				return nil, err
			}
		}
		c.addProblem(Problem{Kind: "metadata", Detail: s.stale.Error(), Repaired: c.opts.Repair})
	}
	if s.stale == nil || c.opts.Repair {
		if err := c.checkAll(ctx); err != nil {
			return nil, err
		}
	}
	c.report.OK = len(c.report.Damaged) == 0 && !slices.ContainsFunc(c.report.Problems, func(p Problem) bool { return !p.Repaired })
	return c.report, nil
}

func (c *checker) addProblem(p Problem) { c.report.Problems = append(c.report.Problems, p) }

func (c *domainChecker) addProblem(p Problem) {
	p.Backend = c.Name
	c.checker.addProblem(p)
}

func (c *checker) checkAll(ctx context.Context) (err error) {
	c.records = &rowLog{most: rowsInMemory}
	defer func() { err = errors.Join(err, c.records.close()) }()
	if err := c.addUnwritten(ctx); err != nil {
		return err
	}
	c.domains = make(map[string]*domainChecker)
	for _, d := range c.Domains {
		dc := &domainChecker{checker: c, Domain: d, bad: make(map[cas.Digest]badChunk), miscounted: make(map[cas.PackID]bool),
			census: newCensus()}
		dc.replayer, dc.checkpoints = manifest.NewReplayer(dc.addRecords), manifest.NewReplayer(dc.addCheckpoint)
		c.domains[d.Name] = dc
		if err := dc.listPacks(ctx); err != nil {
			return err
		}
	}
	for _, d := range c.Domains {
		dc := c.domains[d.Name]
		for _, step := range []func(context.Context) error{dc.checkPacks, dc.checkMiscounted, dc.replayRecords, dc.checkIndex, dc.healChunks} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	if err := c.checkRows(ctx); err != nil {
		return err
	}
	return c.checkSums(ctx)
}

// addUnwritten counts the records of the outbox as if the packs held them: the
// next start of the store brings them there.
func (c *checker) addUnwritten(ctx context.Context) error {
	for commit, err := range c.Meta.Unwritten(ctx) {
		if err != nil {
			return err
		}
		rs, err := commit.Records()
		if err != nil {
			return err
		}
		if err := c.records.add(commit.Domain, commit.Seq, rs); err != nil {
			return err
		}
	}
	return nil
}

// addRecords takes in records of the packs.
func (c *domainChecker) addRecords(_ context.Context, seq uint64, rs []manifest.Record) error {
	for i := range rs {
		c.census.dead.addRecord(&rs[i])
	}
	return c.records.add(c.Name, seq, rs)
}

// addCheckpoint takes in records of the checkpoint that counts, and those of
// commits after it.
func (c *domainChecker) addCheckpoint(ctx context.Context, seq uint64, rs []manifest.Record) error {
	if seq == c.checkpoints.Base() {
		seq = inCheckpoint
	}
	return c.addRecords(ctx, seq, rs)
}
