package check

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

const (
	// maxVisited is how many segments a check remembers. Beyond, those that
	// versions share are read for each.
	maxVisited = 8 << 20
	// topBatch is how many trees are begun together.
	topBatch = 256
)

// references are what the versions of a domain need. Each segment is read once,
// whatever shares it.
type references struct {
	c       *domainChecker
	log     *digests.Log // chunks with their lengths, and segments with none
	visited *digests.Set
	again   bool // segments that were visited are visited again
	walk    manifest.TreeWalk
	tops    []cas.Digest // of trees that are yet to be walked
}

func newReferences(c *domainChecker) *references {
	r := &references{c: c, log: c.newLog(nil), visited: digests.NewSet(cmp.Or(c.opts.entries, maxVisited))}
	r.walk = manifest.TreeWalk{Segments: segmentGetter{c, true}, Visit: r.visitSegment, Chunk: r.addChunk,
		Absent: func(d cas.Digest) error { return c.lacking.add(d, 0) }}
	return r
}

// addVersion takes in what a version needs.
func (r *references) addVersion(ctx context.Context, m *manifest.Manifest) error {
	for _, ref := range m.Inline {
		if err := r.addChunk(ref); err != nil {
			return err
		}
	}
	if m.Top.IsZero() {
		return nil
	}
	if r.tops = append(r.tops, m.Top); len(r.tops) < topBatch {
		return nil
	}
	return r.walkTops(ctx)
}

func (r *references) addChunk(ref cas.Ref) error {
	return r.log.Add(digests.KeyOf(ref.Digest), uint64(ref.Length))
}

func (r *references) visitSegment(d cas.Digest) (bool, error) {
	if !r.visited.Add(d) {
		return r.again, nil
	}
	r.c.report.Segments++
	return true, r.log.Add(digests.KeyOf(d), 0)
}

// walkTops walks the trees that wait. If one makes no sense, the others are walked
// one by one.
func (r *references) walkTops(ctx context.Context) error {
	whole, err := r.walkSome(ctx, r.tops)
	r.again = !whole // the walk ended before what it had begun
	for i := 0; !whole && err == nil && i < len(r.tops); i++ {
		_, err = r.walkSome(ctx, r.tops[i:i+1])
	}
	r.again = false
	r.tops = r.tops[:0]
	return err
}

// walkSome walks trees, and reports false if one of them made no sense: it counts as
// lacking.
func (r *references) walkSome(ctx context.Context, tops []cas.Digest) (bool, error) {
	err := r.walk.Walk(ctx, tops)
	var tree *manifest.TreeError
	if errors.Is(err, manifest.ErrFormat) && errors.As(err, &tree) {
		return false, r.c.lacking.add(tree.Top, 0)
	}
	return true, err
}

// checkReferences finds out what the domains lack of what versions need, and names
// the versions that are hurt by that or by damage.
func (c *checker) checkReferences(ctx context.Context) error {
	for _, domain := range c.Domains {
		d := c.domains[domain.Name]
		if err := d.needed.walkTops(ctx); err != nil {
			return err
		}
		if err := d.findLacking(ctx); err != nil {
			return err
		}
		if err := d.nameHurt(ctx); err != nil {
			return err
		}
	}
	return nil
}

// findLacking compares what versions need with the index. Both are in order.
func (c *domainChecker) findLacking(ctx context.Context) error {
	next, stop := iter.Pull2(c.Chunks.Index().AllChunks(ctx))
	defer stop()
	entry, err, more := next()
	n := int64(0)
	for e, logErr := range c.needed.log.All() {
		for more && err == nil && logErr == nil && digests.KeyOf(entry.Digest).Compare(e.Key) < 0 {
			entry, err, more = next()
		}
		if err := cmp.Or(logErr, err); err != nil {
			return err
		}
		n++
		c.noteProgress("references", c.Name, n, 0)
		if more && digests.KeyOf(entry.Digest) == e.Key && (e.Value == 0 || e.Value == uint64(entry.Length)) {
			continue
		}
		c.lacking.count++
		if err := c.lacking.Add(e.Key, e.Value); err != nil {
			return err
		}
	}
	return nil
}

// isDamaged reports whether a chunk is damaged, and was not healed.
func (c *domainChecker) isDamaged(d cas.Digest) (bool, error) {
	_, damaged, err := c.damaged.find(d)
	if !damaged || err != nil {
		return false, err
	}
	_, healed, err := c.healed.find(d)
	return !healed, err
}

// isUnreadable reports whether a chunk cannot be read now. One that was damaged may
// have been healed by an upload.
func (c *domainChecker) isUnreadable(ctx context.Context, d cas.Digest) (bool, error) {
	_, err := c.Chunks.Get(ctx, d, nil)
	var ce *cas.CorruptError
	if errors.As(err, &ce) {
		return true, nil
	}
	return false, err
}

// nameHurt names the versions that cannot be read whole. It looks at each again:
// what it needed may have been collected, with its row.
func (c *domainChecker) nameHurt(ctx context.Context) error {
	if c.damaged.count+c.lacking.count == 0 {
		return nil
	}
	n := int64(0)
	for root, err := range c.Meta.Roots(ctx, c.Name) {
		if err != nil {
			return err
		}
		n++
		c.noteProgress("files", c.Name, n, c.report.Manifests)
		if root.Version == "" {
			continue
		}
		if err := c.checkHurt(ctx, root.Version); err != nil {
			return err
		}
	}
	return nil
}

// maxLooks is how often a version is looked at whose bucket is moved meanwhile.
const maxLooks = 8

// checkHurt names a version if it cannot be read whole.
func (c *domainChecker) checkHurt(ctx context.Context, id manifest.VersionID) error {
	for range maxLooks {
		if moved, err := c.lookAtVersion(ctx, id); err != nil || !moved {
			return ignoreGone(err)
		}
	}
	return nil
}

// lookAtVersion names a version if it cannot be read whole. It reports whether the
// bucket was moved meanwhile: then nothing was told. That the version is gone is an
// error.
func (c *domainChecker) lookAtVersion(ctx context.Context, id manifest.VersionID) (moved bool, err error) {
	m, err := c.Meta.Manifest(ctx, id)
	if err != nil {
		return false, err
	}
	f, err := c.Meta.File(ctx, m.File)
	if err != nil {
		return false, err
	}
	home, err := c.Meta.Home(ctx, f.Bucket)
	if err != nil {
		return false, err
	}
	if home.Domain != "" && home.Domain != c.Name || home.Domain == "" && c.homeOf[f.Bucket] != c {
		return false, nil // the bucket is being moved here, or was moved away
	}
	var bare []cas.Digest
	p, err := c.findDamage(ctx, m)
	if err == nil && p == nil {
		bare, err = c.findBareSegments(ctx, m)
	}
	if err != nil || p == nil && len(bare) == 0 {
		return false, err
	}
	if _, err := c.Meta.Manifest(ctx, id); err != nil { // it was removed, and then collected
		return false, err
	}
	if now, err := c.Meta.Home(ctx, f.Bucket); err != nil || now.Domain != home.Domain || now.Move != home.Move {
		return true, err
	}
	about := Problem{Heals: HealsUpload, Backend: c.Name, FileID: string(f.ID), ManifestID: string(m.ID), Path: f.Bucket + "/" + f.Path()}
	if p != nil {
		about.Kind, about.Digest, about.Pack, about.Detail = "manifest", p.Digest, p.Pack, p.Detail
		c.addHurt(about)
	}
	if c.opts.Repair && len(bare) > 0 {
		if err := c.storeBare(ctx, bare); err != nil {
			return false, err
		}
		about.Repaired = true
	}
	about.Heals, about.Does = HealsRepair, doesSegment
	for _, d := range bare {
		about.Kind, about.Digest, about.Detail = "index", d.String(), "the packs do not hold a segment of the chunk list, which the database has"
		c.addProblem(about)
	}
	return false, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maxBare is how many segments are named of a version.
const maxBare = 1000

// findBareSegments returns segments of a version that are rows of the database only:
// a rebuild would not bring them back.
func (c *domainChecker) findBareSegments(ctx context.Context, m *manifest.Manifest) (bare []cas.Digest, err error) {
	if m.Top.IsZero() || c.lacking.count == 0 {
		return nil, nil
	}
	walk := &manifest.TreeWalk{Segments: segmentGetter{c, true}, Chunk: func(cas.Ref) error { return nil }, Absent: func(cas.Digest) error { return nil }}
	walk.Visit = func(d cas.Digest) (bool, error) {
		_, lacking, err := c.lacking.find(d)
		if lacking && err == nil && len(bare) < maxBare {
			if lacking, err = c.stillLacks(ctx, d); lacking {
				bare = append(bare, d)
			}
		}
		return true, err
	}
	return bare, walk.Walk(ctx, []cas.Digest{m.Top})
}

// stillLacks reports whether the index does not have a segment. It may have come
// back meanwhile.
func (c *domainChecker) stillLacks(ctx context.Context, d cas.Digest) (bool, error) {
	e := make([]cas.ChunkEntry, 1)
	err := c.Chunks.Index().Chunks(ctx, []cas.Digest{d}, e)
	return e[0].Frame == cas.FrameID{}, err
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
	err = m.Runs(ctx, segmentGetter{c, false}, func(r cas.Ref, _ int64) error {
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
		p := &Problem{Digest: ce.Digest.String(), Detail: "a segment of the chunk list is damaged"}
		if ce.Pack != (cas.PackID{}) {
			p.Pack = ce.Pack.String()
		}
		return p, nil
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
		if entries[i].Frame == (cas.FrameID{}) || entries[i].Length != r.Length {
			return &Problem{Digest: r.Digest.String(), Detail: "a chunk is not stored"}, nil
		}
		damaged, err := c.isDamaged(r.Digest)
		if err == nil && damaged {
			damaged, err = c.isUnreadable(ctx, r.Digest)
		}
		if err != nil {
			return nil, err
		}
		if !damaged {
			continue
		}
		frames, err := c.framesOf(ctx, entries[i:i+1])
		return &Problem{Digest: r.Digest.String(), Pack: frames[0].Pack.String(), Detail: "a chunk is damaged"}, err
	}
	return nil, nil
}

// A segmentGetter gets segments from the database or, if they are not there or are
// not what they were, from the packs.
type segmentGetter struct {
	c *domainChecker
	// lenient says that a segment that cannot be had at all is not there, rather
	// than an error.
	lenient bool
}

func (g segmentGetter) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out, err := g.c.Meta.Segments(g.c.Name).Segments(ctx, ds)
	for i := 0; err == nil && i < len(out); i++ {
		if out[i] != nil && cas.SumSegment(out[i]) == ds[i] {
			continue
		}
		out[i], err = g.c.Chunks.Get(ctx, ds[i], nil)
		var ce *cas.CorruptError
		if g.lenient && errors.As(err, &ce) {
			out[i], err = nil, nil
		}
	}
	return out, err
}
