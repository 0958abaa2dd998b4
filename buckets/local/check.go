package local

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

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
}

// CheckOptions are choices of Check.
type CheckOptions struct {
	Options
	Repair   bool
	DryRun   bool                    // with Repair: plan, change nothing
	Progress func(done, total int64) // bytes of packs
}

// Check verifies that packs, index and manifests in dir agree, reading every
// byte. With Repair it mends what it can, only ever adding; a metadata database
// that is missing or damaged is rebuilt from the packs, and one that is older
// is brought up to them.
func Check(ctx context.Context, dir string, opts *CheckOptions) (*Report, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	c := &checker{opts: opts, report: &Report{Problems: []Problem{}, Damaged: []Problem{}}}
	err := c.open(ctx, dir)
	if detail, ok := lack(err); ok {
		*c.report = Report{Problems: []Problem{}, Damaged: []Problem{}}
		if !c.repairs() {
			c.problem(Problem{Kind: "metadata", Detail: detail})
			return c.report, nil
		}
		aside, failed := mend(ctx, dir, &opts.Options)
		if failed != nil {
			return nil, failed
		}
		c.problem(Problem{Kind: "metadata", Detail: detail + aside, Repaired: true})
		c.report.Rebuilt = true
		err = c.open(ctx, dir)
	}
	if err != nil {
		return nil, err
	}
	c.report.OK = len(c.report.Damaged) == 0 && !slices.ContainsFunc(c.report.Problems, func(p Problem) bool { return !p.Repaired })
	return c.report, nil
}

// open opens the store, checks it and closes it.
func (c *checker) open(ctx context.Context, dir string) (err error) {
	if c.s, err = open(ctx, dir, &c.opts.Options); err != nil {
		return err
	}
	err = c.bringUp(ctx)
	if err == nil && (c.s.stale == nil || c.repairs()) {
		err = c.run(ctx)
	}
	return errors.Join(err, c.s.close())
}

// bringUp brings a database up to its packs if it is older.
func (c *checker) bringUp(ctx context.Context) error {
	if c.s.stale == nil {
		return nil
	}
	if c.repairs() {
		if err := c.s.bringUp(ctx, false); err != nil {
			return err
		}
	}
	c.problem(Problem{Kind: "metadata", Detail: c.s.stale.Error(), Repaired: c.repairs()})
	return nil
}

// A checker compares packs, index and rows.
type checker struct {
	s       *parts
	opts    *CheckOptions
	report  *Report
	total   int64 // bytes of packs
	domains map[string]*domainChecker
	records *rowLog // what the packs say of rows
	homes   map[string]*manifest.Home
}

// A domainChecker compares the packs of a domain with their index.
type domainChecker struct {
	*checker
	*domain
	listed []cas.PackEntry
	unmet  map[cas.FrameID]bool         // frames of the index that no pack shows
	known  map[cas.PackID]cas.PackEntry // of the index
	bad    map[cas.Digest]cas.PackID    // chunks that cannot be read

	census      *census
	recorded    []recordPack       // packs with records
	replayer    *manifest.Replayer // tells records what the packs say
	checkpoints *manifest.Replayer // likewise, if there are any
	missing     []manifest.Record  // of rows that the packs lack
}

func (c *checker) repairs() bool { return c.opts.Repair && !c.opts.DryRun }

func (c *checker) problem(p Problem) { c.report.Problems = append(c.report.Problems, p) }

func (c *domainChecker) problem(p Problem) {
	p.Backend = c.name
	c.checker.problem(p)
}

func (c *checker) run(ctx context.Context) (err error) {
	c.records = &rowLog{most: rowsInMemory}
	defer func() { err = errors.Join(err, c.records.close()) }()
	if err := c.outbox(ctx); err != nil {
		return err
	}
	c.domains = make(map[string]*domainChecker)
	for _, d := range c.s.domains {
		dc := &domainChecker{checker: c, domain: d, bad: make(map[cas.Digest]cas.PackID), census: newCensus()}
		dc.replayer, dc.checkpoints = manifest.NewReplayer(dc.told), manifest.NewReplayer(dc.told)
		c.domains[d.name] = dc
		if err := dc.load(ctx); err != nil {
			return err
		}
	}
	for _, d := range c.s.domains {
		dc := c.domains[d.name]
		for _, step := range []func(context.Context) error{dc.packs, dc.replay, dc.index, dc.heal} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	if err := c.rows(ctx); err != nil {
		return err
	}
	return c.sums(ctx)
}

// outbox takes the records that are still to be brought to the packs for
// brought: the next start of the store will.
func (c *checker) outbox(ctx context.Context) error {
	for commit, err := range c.s.meta.Unwritten(ctx) {
		if err != nil {
			return err
		}
		rs, err := commit.Records()
		if err != nil {
			return err
		}
		if err := c.records.add(commit.Domain, rs); err != nil {
			return err
		}
	}
	return nil
}

// told learns what the packs say.
func (c *domainChecker) told(_ context.Context, _ uint64, rs []manifest.Record) error {
	for i := range rs {
		if rs[i].Doomed != nil {
			c.census.doom(rs[i].Doomed)
		}
	}
	return c.records.add(c.name, rs)
}

// load reads what the index says of packs, and which there are.
func (c *domainChecker) load(ctx context.Context) error {
	c.unmet = make(map[cas.FrameID]bool)
	c.known = make(map[cas.PackID]cas.PackEntry)
	ix := c.chunks.Index()
	for p, err := range ix.AllPacks(ctx) {
		if err != nil {
			return err
		}
		c.known[p.ID] = p
		c.census.know(p)
	}
	foreign := make(map[cas.PackID]bool)
	for _, p := range c.survey.Foreign {
		foreign[p.ID] = true
		c.problem(Problem{Kind: "pack", Pack: p.ID.String(),
			Detail: fmt.Sprintf("it belongs to another store or backend: store %x, domain %x", p.Header.Store, p.Header.Domain)})
	}
	for p, err := range c.chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		if foreign[p.ID] {
			continue
		}
		c.listed = append(c.listed, p)
		c.total += p.Size
	}
	return nil
}

// packs walks all packs and verifies every frame.
func (c *domainChecker) packs(ctx context.Context) error {
	for _, p := range c.listed {
		if err := c.pack(ctx, p); err != nil {
			return err
		}
		c.report.Packs++
		delete(c.known, p.ID)
	}
	for id := range c.known {
		c.problem(Problem{Kind: "pack", Pack: id.String(), Detail: "the index names a pack that is not there"})
		if err := c.newIndexed(ctx, id).rest(); err != nil {
			return err
		}
	}
	return nil
}

// An indexed goes through the frames that the index names in a pack, beside a
// walk over the pack.
type indexed struct {
	c    *domainChecker
	next func() (cas.FrameEntry, error, bool)
	stop func()
	at   cas.FrameEntry // the next one
	ok   bool           // there is one
}

func (c *domainChecker) newIndexed(ctx context.Context, id cas.PackID) *indexed {
	x := &indexed{c: c, ok: true}
	x.next, x.stop = iter.Pull2(c.chunks.Index().PackFrames(ctx, id))
	return x
}

func (x *indexed) advance() (err error) {
	x.at, err, x.ok = x.next()
	return err
}

// meet reports whether the index names the frame e as it is. Those before it
// that were not met are told of: their headers are damaged, or they are gone.
func (x *indexed) meet(e *cas.FrameEntry) (bool, error) {
	if !x.at.Known() && x.ok {
		if err := x.advance(); err != nil {
			return false, err
		}
	}
	for x.ok && x.at.Offset < e.Offset {
		if err := x.miss(); err != nil {
			return false, err
		}
	}
	if !x.ok || !x.at.Equal(e) {
		return false, nil
	}
	return true, x.advance()
}

func (x *indexed) miss() error {
	x.c.unmet[x.at.ID] = true
	x.c.problem(Problem{Kind: "index", Pack: x.at.Pack.String(),
		Detail: fmt.Sprintf("the frame at %d is not found where the index has it", x.at.Offset)})
	return x.advance()
}

// rest tells of all that were not met.
func (x *indexed) rest() error {
	defer x.stop()
	_, err := x.meet(&cas.FrameEntry{Offset: math.MaxInt64})
	return err
}

func (c *domainChecker) pack(ctx context.Context, p cas.PackEntry) error {
	known := c.known[p.ID]
	names := c.newIndexed(ctx, p.ID)
	defer names.stop()
	info, err := c.chunks.Examine(ctx, p, func(f *cas.Frame) error {
		c.report.Bytes += int64(f.Entry.StoredLen)
		if c.opts.Progress != nil {
			c.opts.Progress(min(c.report.Bytes, c.total), c.total)
		}
		if f.Damage != nil {
			return c.stretch(f, known, p)
		}
		return c.frame(ctx, f, known, names)
	})
	if err == nil {
		err = names.rest()
	}
	if err != nil {
		return err
	}
	c.census.add(info)
	if info.LastCommit > 0 {
		c.recorded = append(c.recorded, recordPack{PackEntry: p})
	}
	if known.Sealed && !info.Sealed {
		c.problem(Problem{Kind: "pack", Pack: p.ID.String(), Detail: "the footer is damaged; frames can still be found without it"})
	}
	return nil
}

// stretch is told of bytes in which no frame was recognised. Beyond what is
// known to be durable they are what a crash left.
func (c *domainChecker) stretch(f *cas.Frame, known cas.PackEntry, p cas.PackEntry) error {
	if f.Entry.Offset < known.Size {
		c.problem(Problem{Kind: "pack", Pack: p.ID.String(),
			Detail: fmt.Sprintf("%d bytes at %d: %v", f.Skipped, f.Entry.Offset, f.Damage)})
	}
	return nil
}

// frame verifies the slots of a frame. A chunk is damaged if this is the
// place that the index names for it.
func (c *domainChecker) frame(ctx context.Context, f *cas.Frame, known cas.PackEntry, names *indexed) error {
	indexed, err := names.meet(&f.Entry)
	if err != nil {
		return err
	}
	bad, plain, err := c.chunks.Verify(ctx, f)
	if err != nil {
		return err
	}
	if err := c.census.notes(ctx, c.domain, f); err != nil {
		return err
	}
	if f.Entry.Kind == cas.KindRecord {
		if len(bad) > 0 && f.Entry.Offset >= known.Size {
			return nil // never acknowledged: what a crash left
		}
		if len(bad) > 0 {
			c.problem(Problem{Kind: "pack", Pack: f.Entry.Pack.String(), Repaired: c.repairs(),
				Detail: fmt.Sprintf("metadata records at %d are damaged", f.Entry.Offset)})
		}
		return c.replayFrame(ctx, f, plain)
	}
	if !indexed || len(bad) == 0 {
		return nil
	}
	return c.damagedSlots(ctx, f.Entry, bad)
}

// replayFrame learns what a frame of records says. Damaged slots are left out.
func (c *domainChecker) replayFrame(ctx context.Context, f *cas.Frame, plain [][]byte) error {
	for _, slot := range plain {
		if slot == nil {
			continue
		}
		if err := errors.Join(c.checkpoints.Survey(slot), c.replayer.Replay(ctx, slot)); err != nil {
			return fmt.Errorf("record in pack %s at %d: %w", f.Entry.Pack, f.Entry.Offset, err)
		}
	}
	return nil
}

// replay learns the rest of what the packs say of rows. A commit that is not
// whole counts as none: rows lacks what it had. Then it names the packs that
// are lost.
func (c *domainChecker) replay(ctx context.Context) error {
	again, err := c.replayer.EndPass(ctx)
	if err == nil && again {
		err = c.replayAll(ctx, c.recorded, c.replayer)
	}
	if err == nil && c.checkpoints.Base() > 0 {
		err = c.replayAll(ctx, c.recorded, c.checkpoints)
	}
	if err != nil {
		return err
	}
	for _, p := range c.census.lost() {
		c.problem(p)
	}
	return nil
}

// damagedSlots notes which of the chunks bad have no other place than the
// frame e.
func (c *domainChecker) damagedSlots(ctx context.Context, e cas.FrameEntry, bad []cas.Ref) error {
	ds := make([]cas.Digest, len(bad))
	for i := range bad {
		ds[i] = bad[i].Digest
	}
	out := make([]cas.ChunkEntry, len(ds))
	if err := c.chunks.Index().Chunks(ctx, ds, out); err != nil {
		return err
	}
	for i := range out {
		if out[i].Frame == e.ID {
			c.damage(ds[i], e.Pack, fmt.Sprintf("the stored bytes at %d are damaged", e.Offset))
		}
	}
	return nil
}

func (c *domainChecker) damage(d cas.Digest, pack cas.PackID, detail string) {
	if _, ok := c.bad[d]; ok {
		return
	}
	c.bad[d] = pack
	c.problem(Problem{Kind: "chunk", Digest: d.String(), Pack: pack.String(), Detail: detail})
}

// index checks that every chunk of the index lies in a frame that it knows,
// and reads those whose frame the packs did not show.
func (c *domainChecker) index(ctx context.Context) error {
	var batch []cas.ChunkEntry
	for e, err := range c.chunks.Index().AllChunks(ctx) {
		if err != nil {
			return err
		}
		c.report.Chunks++
		if batch = append(batch, e); len(batch) < changeSize {
			continue
		}
		if err := c.placed(ctx, batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return c.placed(ctx, batch)
}

func (c *domainChecker) placed(ctx context.Context, chunks []cas.ChunkEntry) error {
	ids, frames := make([]cas.FrameID, len(chunks)), make([]cas.FrameEntry, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].Frame
	}
	if err := c.chunks.Index().Frames(ctx, ids, frames); err != nil {
		return err
	}
	for i, e := range chunks {
		if !frames[i].Known() {
			c.damage(e.Digest, cas.PackID{}, "the index does not know its frame")
		}
		if !c.unmet[e.Frame] {
			continue // it was read, or is not known
		}
		_, err := c.chunks.Get(ctx, e.Digest, nil)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			c.damage(e.Digest, ce.Pack, ce.Err.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}
