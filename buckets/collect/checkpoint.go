package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// What the records of a checkpoint take in packs, about and rather too much.
// Digests and IDs do not compress.
const (
	fileCost    = 120
	versionCost = 160
	refCost     = 34
	markCost    = 32
	linkCost    = 180
	// leastCost is what a checkpoint of nothing takes.
	leastCost = 4 << 10
	// maxInline is how many references stand in a row.
	maxInline = 32
)

// errMoving says why there is no checkpoint now.
var errMoving = errors.New("a bucket is being moved there, or a move broke off: give cairn migrate again to end it, or with --to the present backend to give it up")

// checkpointIfWorth writes a checkpoint of the domain if more bytes can be given
// back for it than it takes. held are the bytes of sealed packs that nothing but
// records keeps from being given back: the records that no checkpoint covers, and
// dead bytes beside them. With Full what is gained need not be much.
func (d *cycle) checkpointIfWorth(ctx context.Context, held int64) (written bool, err error) {
	worth, err := d.isCheckpointWorth(ctx, held)
	if err != nil || !worth {
		return false, err
	}
	err = d.writeCheckpoint(ctx)
	if errors.Is(err, errMoving) {
		d.noteProblem("no checkpoint of records is written", err)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write a checkpoint: %w", err)
	}
	return true, nil
}

// isCheckpointWorth reports whether more bytes can be given back for a checkpoint
// than it takes.
func (d *cycle) isCheckpointWorth(ctx context.Context, held int64) (bool, error) {
	cost, err := d.estimateCheckpoint(ctx, held)
	if err != nil {
		return false, fmt.Errorf("estimate a checkpoint: %w", err)
	}
	if !d.opts.Full {
		cost += cost / 2
	}
	marks, err := d.weighMarks(ctx, cost)
	if err != nil {
		return false, fmt.Errorf("estimate a checkpoint: %w", err)
	}
	return held+marks > cost, nil
}

// estimateCheckpoint returns about how many bytes a checkpoint takes in packs. It stops
// counting links when they alone take more than most.
func (d *cycle) estimateCheckpoint(ctx context.Context, most int64) (int64, error) {
	homes, err := d.Meta.Homes(ctx)
	if err != nil {
		return 0, err
	}
	cost := int64(leastCost)
	for _, h := range homes {
		if h.Domain != d.domain {
			continue
		}
		u, err := d.Meta.Usage(ctx, h.Bucket)
		if err != nil {
			return 0, err
		}
		versions := u.Versions + u.TrashedVersions
		cost += (u.Files+u.TrashedFiles)*fileCost + versions*versionCost + u.Described +
			min(u.Chunks+u.TrashedChunks, versions*maxInline)*refCost
	}
	links := int64(0)
	for l, err := range d.Meta.AllLinks(ctx, "") {
		if err != nil {
			return 0, err
		}
		if isLinkIn(homes, l, d.domain) {
			links += linkCost
		}
		if links > most {
			break
		}
	}
	return cost + links, nil
}

// weighMarks returns about how many bytes the marks take, here and in checkpoints
// of others, that this domain keeps from being dropped. It stops counting above
// most.
func (d *cycle) weighMarks(ctx context.Context, most int64) (n int64, err error) {
	homes, err := d.Meta.Homes(ctx)
	if err != nil || len(d.Chunks) == 1 {
		return 0, err
	}
	holds, err := d.mayHoldRows(ctx, d.domain, homes)
	if err != nil || !holds {
		return 0, err
	}
	own, err := d.Meta.Checkpoint(ctx, d.domain)
	if err != nil {
		return 0, err
	}
	if lowest, err := d.findLowestBase(ctx); err != nil || lowest < own {
		return 0, err
	}
	for _, err := range d.Meta.Marks(ctx) {
		if n += markCost; err != nil || n > most {
			return n, err
		}
	}
	return n, nil
}

// writeCheckpoint writes a checkpoint, so that records of all commits up to now
// need not be kept. Work goes on meanwhile: a row that is read may be later than
// the base, and the records of the commit that changed it are replayed too.
//
// The end, which makes it count, is written when everything that was read is
// durable: in the database, and in the packs as the records of commits, since a
// rebuild must not find a part of a commit whose other parts are lost. A
// checkpoint without its end counts for nothing, and the next one is written from
// the beginning.
func (d *cycle) writeCheckpoint(ctx context.Context) error {
	base, err := d.Meta.LastCommit(ctx)
	if err != nil || base == 0 {
		return err
	}
	// What is read from here on includes all commits up to base. A move that
	// begins from here on appends its rows under numbers above it.
	homes, err := d.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	if isTarget(homes, d.domain) {
		return errMoving
	}
	number, err := d.Meta.TakeNumber(ctx)
	if err != nil {
		return err
	}
	w := &checkpointWriter{cycle: d, Checkpoint: manifest.NewCheckpoint(base), records: cas.Records{Commit: number, Base: base}}
	for _, step := range []func(context.Context, []*manifest.Home) error{w.addRows, w.addLinks, w.addMarks, w.addPacks, w.addCensus} {
		if err := step(ctx, homes); err != nil {
			return err
		}
	}
	if err := w.appendAll(ctx, w.Flush()); err != nil {
		return err
	}
	if w.records.Commit, err = d.Meta.TakeNumber(ctx); err != nil {
		return err
	}
	if err := d.Settle(ctx); err != nil {
		return err
	}
	if err := w.appendAll(ctx, w.End()); err != nil {
		return err
	}
	if err := d.Meta.SetCheckpoint(ctx, d.domain, base); err != nil {
		return err
	}
	return d.dropMarks(ctx)
}

// isTarget reports whether a move into a domain is under way, or was not ended.
func isTarget(homes []*manifest.Home, domain string) bool {
	return slices.ContainsFunc(homes, func(h *manifest.Home) bool { return h.To == domain && h.Domain != domain })
}

// A checkpointWriter appends the slots of a checkpoint to the packs.
type checkpointWriter struct {
	*cycle
	*manifest.Checkpoint
	records cas.Records // that wait to be appended together
	rows    int64
}

// appendedSlots is how many slots are appended together, and wait for one Sync.
const appendedSlots = 8

// add adds a record.
func (w *checkpointWriter) add(ctx context.Context, r *manifest.Record) error {
	slot, err := w.Add(r)
	if err != nil || slot == nil {
		return err
	}
	if w.records.Slots = append(w.records.Slots, slot); len(w.records.Slots) < appendedSlots {
		return nil
	}
	w.opts.Progress(Progress{Domain: w.domain, Phase: "checkpoint", Done: w.rows})
	return w.appendAll(ctx, nil)
}

// appendAll appends what waits and one more slot, if it is not nil.
func (w *checkpointWriter) appendAll(ctx context.Context, slot []byte) error {
	if slot != nil {
		w.records.Slots = append(w.records.Slots, slot)
	}
	if len(w.records.Slots) == 0 {
		return nil
	}
	err := w.chunks.AppendRecords(ctx, &w.records)
	w.records.Slots = w.records.Slots[:0]
	return err
}

// addRows adds the rows of all files and versions in the domain, and the homes of
// their buckets as far as packs have them.
func (w *checkpointWriter) addRows(ctx context.Context, homes []*manifest.Home) error {
	if err := w.checkHomes(ctx, homes); err != nil {
		return err
	}
	for _, h := range homes {
		if h.Domain != w.domain && (h.Domain != "" || h.From != w.domain) {
			continue
		}
		if h.Move > 0 {
			if err := w.add(ctx, &manifest.Record{Home: h}); err != nil {
				return err
			}
		}
		if err := w.addBucket(ctx, h.Bucket); err != nil {
			return err
		}
	}
	return nil
}

// addLinks adds the links to files in the domain.
func (w *checkpointWriter) addLinks(ctx context.Context, homes []*manifest.Home) error {
	for l, err := range w.Meta.AllLinks(ctx, "") {
		if err != nil {
			return err
		}
		if !isLinkIn(homes, l, w.domain) {
			continue
		}
		w.rows++
		if err := w.add(ctx, &manifest.Record{Link: l}); err != nil {
			return err
		}
	}
	return nil
}

// isLinkIn reports whether the packs of a domain must hold a link: its bucket is there,
// or is no longer declared, so that any packs may hold it.
func isLinkIn(homes []*manifest.Home, l *manifest.Link, domain string) bool {
	for _, h := range homes {
		if h.Bucket == l.Bucket {
			return h.Domain == domain || h.Domain == ""
		}
	}
	return true
}

func (w *checkpointWriter) addBucket(ctx context.Context, bucket string) error {
	var last *manifest.File
	for row, err := range w.Meta.AllRows(ctx, bucket) {
		if err != nil {
			return err
		}
		if row.File != last {
			last = row.File
			if err := w.add(ctx, &manifest.Record{File: last}); err != nil {
				return err
			}
		}
		if row.Manifest == nil {
			continue
		}
		w.rows++
		if err := w.add(ctx, &manifest.Record{Manifest: row.Manifest}); err != nil {
			return err
		}
	}
	return nil
}

// checkHomes makes sure that no bucket with files lacks a home: nothing would tell
// which checkpoint its rows belong into.
func (w *checkpointWriter) checkHomes(ctx context.Context, homes []*manifest.Home) error {
	known, err := w.Meta.Buckets(ctx)
	if err != nil {
		return err
	}
	for _, name := range known {
		if slices.ContainsFunc(homes, func(h *manifest.Home) bool { return h.Bucket == name && h.Domain != "" }) {
			continue
		}
		u, err := w.Meta.Usage(ctx, name)
		if err != nil {
			return err
		}
		if u.Files+u.TrashedFiles > 0 {
			return fmt.Errorf("nothing tells on which backend bucket %q is", name)
		}
	}
	return nil
}

// addMarks adds the marks of what was removed for good, as long as packs of other
// domains may hold rows of it that count: from an earlier stay of its bucket, or
// of a move that was not ended. The marks of this domain up to the base count no
// longer, and their packs may go.
func (w *checkpointWriter) addMarks(ctx context.Context, homes []*manifest.Home) error {
	needed := false
	for domain := range w.Chunks {
		holds, err := w.mayHoldRows(ctx, domain, homes)
		if err != nil {
			return err
		}
		needed = needed || domain != w.domain && holds
	}
	if needed = needed || hasOthers(homes, w.Chunks); !needed {
		return nil
	}
	for r, err := range w.Meta.Marks(ctx) {
		if err != nil {
			return err
		}
		if err := w.add(ctx, &r); err != nil {
			return err
		}
	}
	return nil
}

// mayHoldRows reports whether packs of a domain hold records, or are about to get
// rows of a bucket that is moved there.
func (d *cycle) mayHoldRows(ctx context.Context, domain string, homes []*manifest.Home) (bool, error) {
	if isTarget(homes, domain) {
		return true, nil
	}
	for p, err := range d.Chunks[domain].Index().AllPacks(ctx) {
		if err != nil {
			return false, err
		}
		if p.LastCommit > 0 {
			return true, nil
		}
	}
	return false, nil
}

// hasOthers reports whether rows of a bucket may lie in packs of a domain that is
// not open.
func hasOthers(homes []*manifest.Home, open map[string]*cas.Store) bool {
	return slices.ContainsFunc(homes, func(h *manifest.Home) bool {
		return slices.ContainsFunc(append([]string{h.Domain, h.From, h.To}, h.Been...), func(domain string) bool {
			return domain != "" && open[domain] == nil
		})
	})
}

// addPacks adds the dooms of packs that are not confirmed gone.
func (w *checkpointWriter) addPacks(ctx context.Context, _ []*manifest.Home) error {
	for p, err := range w.index.AllPacks(ctx) {
		if err != nil {
			return err
		}
		if !p.Doomed {
			continue
		}
		if err := w.add(ctx, &manifest.Record{Doomed: &manifest.Doom{Pack: p.ID, Writer: p.Writer, Serial: p.Serial}}); err != nil {
			return err
		}
	}
	return nil
}

// maxRanges is how many ranges of serials stand in one record.
const maxRanges = 16 << 10

func (w *checkpointWriter) addCensus(ctx context.Context, _ []*manifest.Home) error {
	dead, err := w.Meta.Dead(ctx, w.domain)
	if err != nil {
		return err
	}
	for _, c := range dead {
		for ranges := range slices.Chunk(c.Ranges, maxRanges) {
			if err := w.add(ctx, &manifest.Record{Census: &manifest.Census{Writer: c.Writer, Ranges: ranges}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// droppedMarks is how many marks one transaction removes.
const droppedMarks = 10_000

// dropMarks removes the marks that no rebuild and no move needs any more: those up
// to the lowest base of all domains whose packs may hold rows. Rows that a mark is
// about are older than it, so they count nowhere.
func (d *cycle) dropMarks(ctx context.Context) error {
	upTo, err := d.findLowestBase(ctx)
	for more := upTo > 0; more && err == nil; {
		more, err = d.Meta.DropMarks(ctx, upTo, droppedMarks)
	}
	return err
}

// findLowestBase returns 0 if a domain has no checkpoint, or is not open.
func (d *cycle) findLowestBase(ctx context.Context) (uint64, error) {
	homes, err := d.Meta.Homes(ctx)
	if err != nil || hasOthers(homes, d.Chunks) {
		return 0, err
	}
	lowest, err := d.Meta.Checkpoint(ctx, d.domain)
	if err != nil {
		return 0, err
	}
	for domain := range d.Chunks {
		holds, err := d.mayHoldRows(ctx, domain, homes)
		if err != nil {
			return 0, err
		}
		if !holds {
			continue
		}
		base, err := d.Meta.Checkpoint(ctx, domain)
		if err != nil {
			return 0, err
		}
		lowest = min(lowest, base)
	}
	return lowest, nil
}
