package pebblestore

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// An index is the chunk index of one domain.
type index struct {
	d      *DB
	domain string
}

// Domains returns the names of the domains that packs are known of.
func (d *DB) Domains() (names []string, err error) {
	it, err := d.iter([]byte{keyPack})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.SeekGE(after(domainKey(keyPack, names[len(names)-1], nil))) {
		k := it.Key()
		names = append(names, string(k[2:2+int(k[1])]))
	}
	return names, it.Error()
}

// Index returns the chunk index of a domain, whose name is at most 255 bytes.
func (d *DB) Index(domain string) cas.Index { return &index{d, domain} }

func (x *index) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ids := make([][]byte, len(ds))
	for i := range ds {
		ids[i] = ds[i][:]
	}
	clear(out)
	err := find(x.d.db, domainKey(keyChunk, x.domain, nil), ids, func(i int, v []byte) (err error) {
		if out[i], err = parseChunk(ds[i], v); err != nil {
			return fmt.Errorf("%s: %w", ds[i], err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: chunks: %w", err)
	}
	return nil
}

func (x *index) Frame(ctx context.Context, id cas.FrameID) (cas.FrameEntry, error) {
	v, err := x.d.get(x.d.db, domainKey(keyFrame, x.domain, id[:]))
	if err != nil {
		return cas.FrameEntry{}, fmt.Errorf("pebblestore: frame %s: %w", id, err)
	}
	return parseFrame(id, v)
}

// Epoch implements manifest.Store.
func (d *DB) Epoch() uint64 { return d.epoch.Load() }

// Apply is written to the log without waiting for it: a later commit of rows
// is behind it in the same log.
func (x *index) Apply(ctx context.Context, c *cas.Change) error {
	if err := x.d.acquire(ctx); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	defer x.d.release()
	b := x.d.db.NewBatch()
	defer b.Close()
	if err := x.apply(ctx, b, c); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	return nil
}

// apply writes c to b. The caller holds the lock, so that what the database
// says stays true meanwhile.
func (x *index) apply(ctx context.Context, b *pebble.Batch, c *cas.Change) error {
	ds := slices.Clone(c.Bad)
	for i := range c.Chunks {
		ds = append(ds, c.Chunks[i].Digest)
	}
	old := make([]cas.ChunkEntry, len(ds))
	if err := x.Chunks(ctx, ds, old); err != nil {
		return err
	}
	said := make(map[cas.Digest]bool) // by c: is it usable
	usable := func(i int) bool {
		if ok, told := said[ds[i]]; told {
			return ok
		}
		return old[i].Usable()
	}
	for i, d := range c.Bad {
		if usable(i) {
			old[i].State = cas.Bad
			b.Set(domainKey(keyChunk, x.domain, d[:]), appendChunk(nil, &old[i]), nil)
			x.d.epoch.Add(1)
			said[d] = false
		}
	}
	for i := range c.Packs {
		b.Set(domainKey(keyPack, x.domain, c.Packs[i].ID[:]), appendPack(nil, &c.Packs[i]), nil)
	}
	for i := range c.Frames {
		b.Set(domainKey(keyFrame, x.domain, c.Frames[i].ID[:]), appendFrame(nil, &c.Frames[i]), nil)
	}
	for i := range c.Chunks {
		e := &c.Chunks[i]
		if !usable(len(c.Bad) + i) {
			b.Set(domainKey(keyChunk, x.domain, e.Digest[:]), appendChunk(nil, e), nil)
			said[e.Digest] = e.Usable()
		}
	}
	return nil
}

func (x *index) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return entries(ctx, x, keyChunk, func(id, v []byte) (cas.ChunkEntry, error) {
		return parseChunk(cas.Digest(id), v)
	})
}

func (x *index) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return entries(ctx, x, keyFrame, func(id, v []byte) (cas.FrameEntry, error) {
		return parseFrame(cas.FrameID(id), v)
	})
}

func (x *index) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return entries(ctx, x, keyPack, func(id, v []byte) (cas.PackEntry, error) {
		return parsePack(cas.PackID(id), v)
	})
}

// entries yields what parse makes of every value under a letter of the domain.
func entries[E any](ctx context.Context, x *index, letter byte, parse func(id, v []byte) (E, error)) iter.Seq2[E, error] {
	prefix := domainKey(letter, x.domain, nil)
	return scan(ctx, x.d, prefix, prefix, func(k, v []byte) (E, error) { return parse(k[len(prefix):], v) })
}

// scan yields what parse makes of every value from a key on, within a prefix.
func scan[E any](ctx context.Context, d *DB, prefix, from []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		it, err := d.iter(prefix)
		if err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		for ok := it.SeekGE(from); ok; ok = it.Next() {
			if err := ctx.Err(); err != nil {
				yield(zero, err)
				return
			}
			e, err := parse(it.Key(), it.Value())
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", err))
		}
	}
}
