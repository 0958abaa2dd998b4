package check

import (
	"context"

	"github.com/cairn-store/cairn/cas"
)

// moveStranded stores chunks anew, in a repair, that can be read though their frame
// was not recognised: of one that has lost its end those before it.
func (c *domainChecker) moveStranded(ctx context.Context) error {
	if !c.opts.Repair || c.stranded.count == 0 {
		return nil
	}
	return c.eachIn(ctx, c.stranded, func(ctx context.Context, chunks []damagedChunk) error {
		return c.storeAnew(ctx, chunks, func(j *damagedChunk) ([]byte, error) { return c.Chunks.Get(ctx, j.Entry.Digest, nil) })
	})
}

// restoreSegments stores damaged segments anew that the database has.
func (c *domainChecker) restoreSegments(ctx context.Context, chunks []damagedChunk) error {
	ds := make([]cas.Digest, len(chunks))
	for i := range chunks {
		ds[i] = chunks[i].Entry.Digest
	}
	rows, err := c.Meta.Segments(c.Name).Segments(ctx, ds)
	if err != nil {
		return err
	}
	var found []damagedChunk
	plain := make(map[cas.Digest][]byte)
	for i := range chunks {
		if rows[i] == nil || cas.SumSegment(rows[i]) != ds[i] {
			continue
		}
		j := chunks[i]
		j.Value = uint64(cas.KindSegment)
		found, plain[ds[i]] = append(found, j), rows[i]
		if err := c.healed.add(ds[i], 0); err != nil {
			return err
		}
	}
	return c.storeAnew(ctx, found, func(j *damagedChunk) ([]byte, error) { return plain[j.Entry.Digest], nil })
}

// anewBytes bounds the plain bytes that storeAnew holds.
const anewBytes = 16 << 20

// storeAnew stores chunks anew whose kinds are their values, so that nothing is
// needed any more of where they lie. What cannot be read fails before anything is
// marked.
func (c *domainChecker) storeAnew(ctx context.Context, chunks []damagedChunk, get func(*damagedChunk) ([]byte, error)) error {
	for len(chunks) > 0 {
		var plain [][]byte
		for size := 0; len(plain) < len(chunks) && size < anewBytes; {
			p, err := get(&chunks[len(plain)])
			if err != nil {
				return err
			}
			plain, size = append(plain, p), size+len(p)
		}
		if err := c.replaceChunks(ctx, chunks[:len(plain)], plain); err != nil {
			return err
		}
		chunks = chunks[len(plain):]
	}
	return nil
}

// replaceChunks marks the entries of chunks, so that their bytes count as new, and
// stores them.
func (c *domainChecker) replaceChunks(ctx context.Context, chunks []damagedChunk, plain [][]byte) error {
	change := &cas.Change{}
	for i := range chunks {
		change.Bad = append(change.Bad, chunks[i].Entry)
	}
	if err := c.Chunks.Apply(ctx, change); err != nil {
		return err
	}
	b := c.Chunks.NewBatch(ctx, &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Zstd}})
	defer b.Close()
	for i := range chunks {
		if cas.Kind(chunks[i].Value) == cas.KindData {
			if err := b.Put(plain[i]); err != nil {
				return err
			}
		}
	}
	if err := b.Drain(); err != nil { // segments come after it
		return err
	}
	for i := range chunks {
		if cas.Kind(chunks[i].Value) == cas.KindSegment {
			if _, err := b.PutSegment(ctx, plain[i]); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}

// storeBare brings segments to the packs that only the database has.
func (c *domainChecker) storeBare(ctx context.Context, ds []cas.Digest) error {
	rows, err := c.Meta.Segments(c.Name).Segments(ctx, ds)
	if err != nil {
		return err
	}
	b := c.Chunks.NewBatch(ctx, nil)
	defer b.Close()
	for i, p := range rows {
		if p == nil || cas.SumSegment(p) != ds[i] {
			continue
		}
		if _, err := b.PutSegment(ctx, p); err != nil {
			return err
		}
	}
	return b.Flush()
}
