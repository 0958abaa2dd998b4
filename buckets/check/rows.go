package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// checkRows checks every file and version: that its chunks can be read, and that
// its row is what the packs say. It mends the packs where they lag behind.
func (c *checker) checkRows(ctx context.Context) (err error) {
	all, err := c.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	c.homes = make(map[string]*manifest.Home)
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
	for f, err := range c.Meta.AllFiles(ctx) {
		if err != nil {
			return err
		}
		records, err := cursor.find(f.ID, c.addStray)
		if err != nil {
			return err
		}
		if err := c.checkFile(ctx, f, &records); err != nil {
			return err
		}
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
	if r.revision > 0 && !r.purged && len(c.strays) < maxStrays {
		c.strays[r.file] = r.domain
	}
}

// checkStrays reports the files that a database made anew would have and this one
// does not. Those that it calls removed are purged just now.
func (c *checker) checkStrays(ctx context.Context) error {
	if len(c.strays) == 0 {
		return nil
	}
	for r, err := range c.Meta.Marks(ctx) {
		if err != nil {
			return err
		}
		delete(c.strays, r.Purged)
	}
	for _, id := range slices.Sorted(maps.Keys(c.strays)) {
		_, err := c.Meta.File(ctx, id)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c.addProblem(Problem{Kind: "metadata", Backend: c.strays[id], FileID: string(id),
			Detail: "the packs hold the file's row, and the database neither has it nor says that it was removed"})
	}
	return nil
}

// checkFile checks a file and its versions. records is what the packs say of
// them.
func (c *checker) checkFile(ctx context.Context, f *manifest.File, records *fileRecords) error {
	c.report.Files++
	problem := Problem{Kind: "metadata", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path()}
	d := c.findDomain(f, records)
	if d == nil {
		problem.Detail = fmt.Sprintf("nothing tells where the content of bucket %q lies; give --config and --schema", f.Bucket)
		c.addProblem(problem)
		return nil
	}
	if rev := records.revision; rev != f.Revision {
		d.missing = append(d.missing, manifest.Record{File: f})
		p := problem
		p.Repaired, p.Detail = c.opts.Repair, fmt.Sprintf("the packs hold revision %d of the file's row, the database %d", rev, f.Revision)
		c.addProblem(p)
	}
	problem.Kind = "manifest"
	_, err := c.Meta.Manifest(ctx, f.Current)
	if errors.Is(err, fs.ErrNotExist) {
		p := problem
		p.ManifestID, p.Detail = string(f.Current), "the file's current version is missing"
		c.addProblem(p)
	} else if err != nil {
		return err
	}
	n, err := d.checkVersions(ctx, f, records)
	if err == nil && n != f.Versions {
		problem.Detail = fmt.Sprintf("the file counts %d versions, there are %d", f.Versions, n)
		c.addProblem(problem)
	}
	return err
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

// appendMissing brings the records that the packs lack to them.
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
	return nil
}

// checkVersions checks the versions of a file and returns how many there are.
func (c *domainChecker) checkVersions(ctx context.Context, f *manifest.File, records *fileRecords) (n uint64, err error) {
	for m, err := range c.Meta.Versions(ctx, f.ID) {
		if err != nil {
			return n, err
		}
		n++
		c.report.Manifests++
		if !records.has(m.Version) {
			c.missing = append(c.missing, manifest.Record{Manifest: m})
			c.addProblem(Problem{Kind: "metadata", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(), ManifestID: string(m.ID),
				Repaired: c.opts.Repair, Detail: "the packs do not hold the version's row"})
		}
		damage, err := c.findDamage(ctx, m)
		if err != nil {
			return n, err
		}
		if damage != nil {
			damage.Kind, damage.FileID, damage.ManifestID, damage.Path = "manifest", string(f.ID), string(m.ID), f.Bucket+"/"+f.Path()
			c.report.Damaged = append(c.report.Damaged, *damage)
		}
	}
	return n, nil
}

var errStop = errors.New("stop")

// damageBatch is how many chunks of a version are looked up together.
const damageBatch = 256

// findDamage returns nil, or what keeps a version from being read whole.
func (c *domainChecker) findDamage(ctx context.Context, m *manifest.Manifest) (damage *Problem, err error) {
	var refs []cas.Ref
	check := func() error {
		if damage, err = c.findUnreadable(ctx, refs); damage != nil {
			return errStop
		}
		refs = refs[:0]
		return err
	}
	err = m.Runs(ctx, segmentGetter{c}, func(r cas.Ref, _ int64) error {
		if refs = append(refs, r); len(refs) < damageBatch {
			return nil
		}
		return check()
	})
	if err == nil {
		err = check()
	}
	var ce *cas.CorruptError
	switch {
	case errors.Is(err, errStop):
		return damage, nil
	case errors.As(err, &ce):
		return &Problem{Digest: ce.Digest.String(), Pack: ce.Pack.String(), Detail: "a segment of the chunk list is damaged"}, nil
	case errors.Is(err, manifest.ErrFormat):
		return &Problem{Detail: err.Error()}, nil
	}
	return nil, err
}

// findUnreadable returns nil, or why the first of some chunks that cannot be read
// cannot.
func (c *domainChecker) findUnreadable(ctx context.Context, refs []cas.Ref) (*Problem, error) {
	ds, entries := make([]cas.Digest, len(refs)), make([]cas.ChunkEntry, len(refs))
	for i := range refs {
		ds[i] = refs[i].Digest
	}
	if err := c.Chunks.Index().Chunks(ctx, ds, entries); err != nil {
		return nil, err
	}
	for i, r := range refs {
		if bad, ok := c.bad[r.Digest]; ok {
			return &Problem{Digest: r.Digest.String(), Pack: bad.pack.String(), Detail: "a chunk is damaged"}, nil
		}
		if entries[i].Frame == (cas.FrameID{}) || entries[i].Length != r.Length {
			return &Problem{Digest: r.Digest.String(), Detail: "a chunk is not stored"}, nil
		}
	}
	return nil, nil
}

// A segmentGetter gets segments from the database or else from the packs.
type segmentGetter struct{ c *domainChecker }

func (g segmentGetter) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out, err := g.c.Meta.Segments(g.c.Name).Segments(ctx, ds)
	for i := 0; err == nil && i < len(out); i++ {
		if out[i] == nil {
			out[i], err = g.c.Chunks.Get(ctx, ds[i], nil)
		}
	}
	return out, err
}

// checkSums compares the usage of every bucket, and of every owner in it, with
// the rows.
func (c *checker) checkSums(ctx context.Context) error {
	type share struct{ bucket, owner string }
	want := make(map[string]manifest.Usage)
	owned := make(map[share]manifest.Usage)
	names := make(map[string]int)
	for f, err := range c.Meta.AllFiles(ctx) {
		if err != nil {
			return err
		}
		who := share{f.Bucket, f.Owner}
		want[f.Bucket], owned[who] = addUsage(want[f.Bucket], f), addUsage(owned[who], f)
		if f.State == manifest.Active {
			names[f.Bucket]++
		}
	}
	wrong := false
	for bucket, w := range want {
		got, err := c.Meta.Usage(ctx, bucket)
		if err != nil {
			return err
		}
		n := 0
		for _, err := range c.Meta.List(ctx, bucket, nil) {
			if err != nil {
				return err
			}
			n++
		}
		if got != w || n != names[bucket] {
			wrong = true
			c.addProblem(Problem{Kind: "index", Repaired: c.opts.Repair,
				Detail: fmt.Sprintf("bucket %q: names or usage do not agree with the files", bucket)})
		}
	}
	for who, w := range owned {
		got, err := c.Meta.OwnerUsage(ctx, who.bucket, who.owner)
		if err != nil {
			return err
		}
		if got != w {
			wrong = true
			c.addProblem(Problem{Kind: "index", Repaired: c.opts.Repair,
				Detail: fmt.Sprintf("bucket %q: usage of owner %q does not agree with the files", who.bucket, who.owner)})
		}
	}
	if wrong && c.opts.Repair {
		return c.Meta.Reindex(ctx)
	}
	return nil
}

// addUsage returns u with f counted in.
func addUsage(u manifest.Usage, f *manifest.File) manifest.Usage {
	if f.State == manifest.Trashed {
		u.TrashedFiles, u.TrashedVersions = u.TrashedFiles+1, u.TrashedVersions+int64(f.Versions)
		u.TrashedBytes, u.TrashedChunks = u.TrashedBytes+f.TotalSize, u.TrashedChunks+f.TotalChunks
	} else {
		u.Files, u.Versions = u.Files+1, u.Versions+int64(f.Versions)
		u.Bytes, u.Chunks = u.Bytes+f.TotalSize, u.Chunks+f.TotalChunks
	}
	u.Described += f.DescribedBytes()
	return u
}
