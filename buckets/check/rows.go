package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// checkRows checks every file and version: that its chunks can be read, and that
// its row is what the packs say. It mends the packs where they lag behind.
func (c *checker) checkRows(ctx context.Context) (err error) {
	next, stop := iter.Pull2(c.Meta.AllRows(ctx, "")) // as of one moment:
	defer stop()
	row, err, more := next() // this one
	if err != nil {
		return err
	}
	links := newLinkRows(c.Meta.AllLinks(ctx, "")) // likewise
	defer links.stop()
	if err := c.gatherRecords(ctx); err != nil {
		return err
	}
	all, err := c.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	c.homes, c.homeOf = make(map[string]*manifest.Home), make(map[string]*domainChecker)
	for _, h := range all {
		c.homes[h.Bucket] = h
	}
	bases := make(map[string]uint64)
	for _, d := range c.domains {
		bases[d.Name] = d.checkpoints.Base()
	}
	cursor, err := c.records.newCursor(bases)
	defer cursor.stop()
	if err != nil {
		return err
	}
	at := &fileCheck{}
	for ; more; row, err, more = next() {
		if err != nil {
			return err
		}
		if row.File != at.file {
			if err := c.endFile(at); err != nil {
				return err
			}
			records, err := cursor.find(row.File.ID, c.addStray)
			if err != nil {
				return err
			}
			at = &fileCheck{file: row.File, records: records}
			if err := c.beginFile(ctx, at); err != nil {
				return err
			}
		}
		if row.Manifest != nil && at.domain != nil {
			if err := c.checkVersion(ctx, at, row.Manifest); err != nil {
				return err
			}
		}
	}
	if err := c.endFile(at); err != nil {
		return err
	}
	if err := c.checkLinks(ctx, links, cursor); err != nil {
		return err
	}
	for cursor.ok {
		records, err := cursor.take()
		if err != nil {
			return err
		}
		c.addStray(&records)
	}
	for _, d := range c.domains {
		if err := d.appendMissing(ctx); err != nil {
			return err
		}
	}
	return c.checkStrays(ctx)
}

// maxStrays is how many files are named that only the packs hold.
const maxStrays = 1000

// addStray notes a file that the packs hold and the database does not.
func (c *checker) addStray(r *fileRecords) {
	if _, ofLink := manifest.ParseLinkID(string(r.file)); ofLink {
		return // a link that has ended may have no row
	}
	if r.revision > 0 && !r.purged && len(c.strays) < maxStrays {
		c.strays[r.file] = r.domain
	}
}

// checkStrays reports the files that a database made anew would have and this one
// does not. It looks at the files first, then at what was purged, then at the
// checkpoints that let marks of what was purged go: one that is newer than the one
// that was read may no longer know of the file.
func (c *checker) checkStrays(ctx context.Context) error {
	for id := range c.strays {
		_, err := c.Meta.File(ctx, id)
		if err == nil {
			delete(c.strays, id)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(c.strays) == 0 {
		return nil
	}
	for r, err := range c.Meta.Marks(ctx) {
		if err != nil {
			return err
		}
		if name, ok := c.strays[r.Purged]; ok {
			delete(c.strays, r.Purged)
			c.tellRemoval(c.domains[name], r)
		}
	}
	for _, d := range c.domains {
		if err := d.appendMissing(ctx); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.strays)) {
		d := c.domains[c.strays[id]]
		base, err := c.Meta.Checkpoint(ctx, d.Name)
		if err != nil {
			return err
		}
		if base > d.checkpoints.Base() {
			continue
		}
		d.addProblem(Problem{Kind: "metadata", FileID: string(id),
			Detail: "the packs hold the file's row, and the database neither has it nor says that it was removed"}.with(HealsRebuild, ""))
	}
	return nil
}

// tellRemoval tells of a file that was removed for good, and whose row the packs
// hold without that. While the store is in use, the removal may have come later than
// the records were read.
func (c *checker) tellRemoval(d *domainChecker, r manifest.Record) {
	if c.opts.served {
		return
	}
	p := Problem{Kind: "metadata", FileID: string(r.Purged), Repaired: c.opts.Repair,
		Detail: "the packs do not hold that the file was removed for good: a database made anew would have it again"}
	d.addProblem(p.with(HealsRepair, doesAppend))
	d.missing = append(d.missing, r)
}

// A fileCheck is a file whose rows are being compared.
type fileCheck struct {
	file    *manifest.File
	records fileRecords    // what the packs say of it
	domain  *domainChecker // nil if nothing tells where its content lies
	count   uint64         // of its versions
	current bool           // the current one was among them
}

func (f *fileCheck) describeProblem(kind, detail string) Problem {
	return Problem{Kind: kind, FileID: string(f.file.ID), Path: f.file.Bucket + "/" + f.file.Path(), Detail: detail}
}

// beginFile checks the row of a file.
func (c *checker) beginFile(ctx context.Context, f *fileCheck) error {
	c.report.Files++
	c.noteProgress("rows", "", c.report.Files, c.files)
	f.domain = c.findDomain(f.file, &f.records)
	if c.homeOf[f.file.Bucket] = f.domain; f.domain == nil {
		c.addProblem(f.describeProblem("metadata", fmt.Sprintf("nothing tells where the content of bucket %q lies; give --config and --schema", f.file.Bucket)))
		return nil
	}
	rev := f.records.revision
	if rev == f.file.Revision {
		return nil
	}
	now, err := c.Meta.File(ctx, f.file.ID)
	if err != nil {
		return ignoreGone(err)
	}
	if rev > f.file.Revision && now.Revision >= rev {
		return nil // it was changed meanwhile
	}
	f.domain.missing = append(f.domain.missing, manifest.Record{File: f.file})
	p := f.describeProblem("metadata", fmt.Sprintf("the packs hold revision %d of the file's row, the database %d", rev, f.file.Revision)).with(HealsRepair, doesAppend)
	p.Repaired = c.opts.Repair
	c.addProblem(p)
	return nil
}

// endFile checks the versions of a file against its row.
func (c *checker) endFile(f *fileCheck) error {
	if f.domain == nil {
		return nil
	}
	if !f.current {
		p := f.describeProblem("manifest", "the file's current version is missing").with(HealsRebuild, "")
		p.ManifestID = string(f.file.Current)
		c.addProblem(p)
	}
	if f.count != f.file.Versions {
		c.addProblem(f.describeProblem("manifest", fmt.Sprintf("the file counts %d versions, there are %d", f.file.Versions, f.count)).with(HealsRebuild, ""))
	}
	return nil
}

// checkVersion checks the row of a version, and takes in what it needs.
func (c *checker) checkVersion(ctx context.Context, f *fileCheck, m *manifest.Manifest) error {
	c.report.Manifests++
	f.count++
	f.current = f.current || m.ID == f.file.Current
	if !f.records.has(m.Version) {
		if _, err := c.Meta.Manifest(ctx, m.ID); err != nil {
			return ignoreGone(err)
		}
		f.domain.missing = append(f.domain.missing, manifest.Record{Manifest: m})
		p := f.describeProblem("metadata", "the packs do not hold the version's row").with(HealsRepair, doesAppend)
		p.ManifestID, p.Repaired = string(m.ID), c.opts.Repair
		c.addProblem(p)
	}
	if len(f.domain.missing) >= missingBatch {
		if err := f.domain.appendMissing(ctx); err != nil {
			return err
		}
	}
	return f.domain.needed.addVersion(ctx, m)
}

// findDomain finds where a file's content lies: where the database says; if it
// does not, where Options says; else where the file's record was found.
func (c *checker) findDomain(f *manifest.File, records *fileRecords) *domainChecker {
	if h, ok := c.homes[f.Bucket]; ok && h.Domain != "" {
		return c.domains[h.Domain]
	}
	if name, ok := c.opts.Domains[f.Bucket]; ok {
		return c.domains[name]
	}
	if records.revision > 0 {
		return c.domains[records.domain]
	}
	if len(c.Domains) == 1 {
		return c.domains[c.Domains[0].Name]
	}
	return nil
}

// missingBatch is how many rows that the packs lack are kept before they are brought
// there.
const missingBatch = 1000

// appendMissing brings the records that the packs lack to them, if that is wanted.
func (c *domainChecker) appendMissing(ctx context.Context) error {
	for c.opts.Repair && len(c.missing) > 0 {
		seq, err := c.Meta.TakeNumber(ctx)
		if err != nil {
			return err
		}
		slots, n, err := manifest.EncodeSome(seq, c.missing)
		if err != nil {
			return err
		}
		if err := c.Chunks.AppendRecords(ctx, &cas.Records{Commit: seq, Slots: slots}); err != nil {
			return err
		}
		c.missing = c.missing[n:]
	}
	c.missing = nil
	return nil
}
