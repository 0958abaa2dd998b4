package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// maxGathers is how often the records of a domain are read anew because packs with
// some of them were collected meanwhile.
const maxGathers = 20

// gatherRecords takes in all records that are not taken in yet, of the outbox and
// of packs. Rows that were read before it are those of commits whose records are in
// the outbox after that, or else in packs, or covered by a checkpoint there: so what
// lacks then is missing, whatever goes on. A change that comes later may be taken in
// too.
func (c *checker) gatherRecords(ctx context.Context) error {
	if err := c.addUnwritten(ctx); err != nil {
		return err
	}
	for _, d := range c.Domains {
		dc := c.domains[d.Name]
		for n := 0; ; n++ {
			whole, err := dc.gatherOnce(ctx)
			if err != nil {
				return err
			}
			if whole {
				break
			}
			if n == maxGathers {
				return fmt.Errorf("check backend %q: packs of records were collected faster than they could be read, %d times; check again", d.Name, n)
			}
			dc.beginRecords()
		}
		if err := dc.checkCensus(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addUnwritten takes in the records of the outbox as if the packs held them: who
// writes brings them there, or the next start of the store.
func (c *checker) addUnwritten(ctx context.Context) error {
	for commit, err := range c.Meta.Unwritten(ctx) {
		if err != nil {
			return err
		}
		rs, err := commit.Records()
		if err != nil {
			return err
		}
		if d := c.domains[commit.Domain]; d != nil {
			if err := d.addRecords(ctx, commit.Seq, rs); err != nil {
				return err
			}
		}
	}
	return nil
}

// beginRecords lets the records of the domain be read, or read anew. What was taken
// in stays true.
func (c *domainChecker) beginRecords() {
	c.read, c.recordPacks = make(map[cas.PackID]readPack), nil
	c.replayer, c.checkpoints = manifest.NewReplayer(c.addRecords), manifest.NewReplayer(c.addCheckpoint)
}

// gatherOnce reads the records of packs that are new or have grown, and then what
// does not come together in one pass: commits in several parts, and the checkpoint
// that counts. It returns false if a pack went meanwhile: then another checkpoint
// may count, and all is to be read anew.
func (c *domainChecker) gatherOnce(ctx context.Context) (whole bool, err error) {
	for n := 0; ; n++ {
		gone, err := c.readNewPacks(ctx)
		if err != nil {
			return false, err
		}
		if !gone {
			break
		}
		if n == maxGathers {
			return false, nil
		}
	}
	again, err := c.replayer.EndPass(ctx)
	if err == nil && again {
		err = c.replayAll(ctx, c.recordPacks, c.replayer)
	}
	if base := c.checkpoints.Base(); err == nil && base > 0 {
		isOfIt := func(f *cas.Frame) bool {
			_, _, of := f.Commits()
			return of == base
		}
		err = c.eachRecord(ctx, c.recordPacks, isOfIt, func(slot []byte) error { return c.checkpoints.Replay(ctx, slot) })
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// readNewPacks reads the records and notes of packs that are new since they were
// read, or have grown. It reports whether one was gone before it was read.
func (c *domainChecker) readNewPacks(ctx context.Context) (gone bool, err error) {
	doomed := make(map[cas.PackID]bool)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return false, err
		}
		if p.Doomed {
			doomed[p.ID] = true
		}
	}
	for _, p := range c.survey.Foreign {
		doomed[p.ID] = true
	}
	for p, err := range c.Chunks.Packs(ctx) {
		if err != nil {
			return false, err
		}
		if before, ok := c.read[p.ID]; doomed[p.ID] || ok && (before.whole || before.size == p.Size) {
			continue
		}
		err := c.readNewPack(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			gone = true
			continue
		}
		if err != nil {
			return false, err
		}
	}
	return gone, nil
}

func (c *domainChecker) readNewPack(ctx context.Context, p cas.PackEntry) error {
	info, err := c.Chunks.Inspect(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range info.Frames {
		if f.Damage != nil || f.Entry.Kind.Indexed() {
			continue
		}
		if err := c.census.addVoids(ctx, c.Chunks, f); err != nil {
			return err
		}
		if f.Entry.Kind != cas.KindRecord {
			continue
		}
		_, plain, err := c.Chunks.Verify(ctx, f)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			continue // its rows are missed
		}
		if err == nil {
			err = c.replayFrame(ctx, f, plain)
		}
		if err != nil {
			return err
		}
	}
	c.noteRead(p, info)
	return nil
}

// noteRead notes that the records of a pack were read.
func (c *domainChecker) noteRead(p cas.PackEntry, info *cas.PackInfo) {
	_, again := c.read[p.ID]
	c.read[p.ID] = readPack{p.Size, info.Sealed}
	c.census.addPack(info)
	if again {
		c.recordPacks = slices.DeleteFunc(c.recordPacks, func(k keptPack) bool { return k.ID == p.ID })
	}
	if info.LastCommit > 0 {
		c.recordPacks = append(c.recordPacks, keptPack{PackEntry: p})
	}
}

// addRecords takes in records of the packs.
func (c *domainChecker) addRecords(_ context.Context, seq uint64, rs []manifest.Record) error {
	return c.takeRecords(seq, false, rs)
}

// addCheckpoint takes in records of the checkpoint that counts.
func (c *domainChecker) addCheckpoint(_ context.Context, base uint64, rs []manifest.Record) error {
	return c.takeRecords(base, true, rs)
}

func (c *domainChecker) takeRecords(seq uint64, inCheckpoint bool, rs []manifest.Record) error {
	for i := range rs {
		c.census.addRecord(&rs[i])
	}
	return c.records.add(c.Name, seq, inCheckpoint, rs)
}

// checkCensus reports the packs that are lost. All that were called settled before
// now are in the index, or noted as dead.
func (c *domainChecker) checkCensus(ctx context.Context) error {
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		c.census.addKnown(p)
	}
	dead, err := c.readDead(ctx, c.Name)
	if err != nil {
		return err
	}
	for _, d := range dead {
		c.census.dead.add(d)
	}
	for _, p := range c.census.lostPacks() {
		c.addProblem(p)
	}
	c.countWriters()
	return nil
}
