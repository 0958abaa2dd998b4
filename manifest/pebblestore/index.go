package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	it, err := d.newIter([]byte{keyPack})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.SeekGE(prefixEnd(domainKey(keyPack, names[len(names)-1], nil))) {
		k := it.Key()
		names = append(names, string(k[2:2+int(k[1])]))
	}
	return names, it.Error()
}

// Index returns the chunk index of a domain, whose name is at most 255 bytes.
func (d *DB) Index(domain string) cas.Index { return &index{d, domain} }

// named adds to an error which entry it is about.
func (x *index) named(what string, id fmt.Stringer, err error) error {
	return fmt.Errorf("%s %s of domain %q: %w", what, id, x.domain, err)
}

func (x *index) chunk(d cas.Digest, v []byte) (cas.ChunkEntry, error) {
	e, err := parseChunk(d, v)
	if err != nil {
		return cas.ChunkEntry{}, x.named("chunk", d, err)
	}
	return e, nil
}

func (x *index) frame(id cas.FrameID, v []byte) (cas.FrameEntry, error) {
	e, err := parseFrame(id, v)
	if err != nil {
		return cas.FrameEntry{}, x.named("frame", id, err)
	}
	return e, nil
}

func (x *index) pack(id cas.PackID, v []byte) (cas.PackEntry, error) {
	e, err := parsePack(id, v)
	if err != nil {
		return cas.PackEntry{}, x.named("pack", id, err)
	}
	return e, nil
}

func (x *index) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ids := make([][]byte, len(ds))
	for i := range ds {
		ids[i] = ds[i][:]
	}
	clear(out)
	err := findValues(x.d.db, domainKey(keyChunk, x.domain, nil), ids, func(i int, v []byte) (err error) {
		out[i], err = x.chunk(ds[i], v)
		return err
	})
	if err != nil {
		return fmt.Errorf("pebblestore: chunks: %w", err)
	}
	return nil
}

func (x *index) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	keys := make([][]byte, len(ids))
	for i := range ids {
		keys[i] = ids[i][:]
	}
	clear(out)
	err := findValues(x.d.db, domainKey(keyFrame, x.domain, nil), keys, func(i int, v []byte) (err error) {
		out[i], err = x.frame(ids[i], v)
		return err
	})
	if err != nil {
		return fmt.Errorf("pebblestore: frames: %w", err)
	}
	return nil
}

// PackFrames reads places and frames of one moment.
func (x *index) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	return func(yield func(cas.FrameEntry, error) bool) {
		s := x.d.db.NewSnapshot()
		defer s.Close()
		prefix := domainKey(keyPlace, x.domain, id[:])
		for f, err := range scanOf(ctx, s, prefix, prefix, func(k, _ []byte) (cas.FrameEntry, error) {
			id := cas.FrameID(k[len(k)-16:])
			v, err := x.d.getValue(s, frameKey(x.domain, id))
			if err != nil {
				return cas.FrameEntry{}, x.named("frame", id, err)
			}
			return x.frame(id, v)
		}) {
			if !yield(f, err) {
				return
			}
		}
	}
}

func (x *index) Dependants(ctx context.Context, ds []cas.Digest) ([]cas.FrameID, error) {
	var ids []cas.FrameID
	it, err := x.d.newIter(domainKey(keySource, x.domain, nil))
	if err != nil {
		return nil, fmt.Errorf("pebblestore: dependants: %w", err)
	}
	defer it.Close()
	for _, d := range ds {
		ids = appendDependants(ids, it, sourcePrefix(x.domain, d))
	}
	if err := errors.Join(asDamageIfCorrupt(it.Error()), ctx.Err()); err != nil {
		return nil, fmt.Errorf("pebblestore: dependants: %w", err)
	}
	slices.SortFunc(ids, func(a, b cas.FrameID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids), nil
}

// appendDependants appends the frames whose keys begin with sourcePrefix.
func appendDependants(ids []cas.FrameID, it *pebble.Iterator, prefix []byte) []cas.FrameID {
	for ok := it.SeekGE(prefix); ok && slices.Equal(it.Key()[:len(prefix)], prefix); ok = it.Next() {
		ids = append(ids, cas.FrameID(it.Key()[len(prefix):]))
	}
	return ids
}

// Epoch implements manifest.Epochs.
func (d *DB) Epoch(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(domain)
	return c.epoch, errors.Join(err, ctx.Err())
}

func (x *index) Removals(ctx context.Context) (uint64, error) { return x.d.Removals(ctx, x.domain) }

func (x *index) Epoch(ctx context.Context) (uint64, error) {
	return x.d.Epoch(ctx, x.domain)
}

// Removals counts the changes that made stored chunks of a domain unusable.
func (d *DB) Removals(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(domain)
	return c.removals, errors.Join(err, ctx.Err())
}

// NextEpoch raises the epoch of a domain, durably, and returns it.
func (d *DB) NextEpoch(ctx context.Context, domain string) (uint64, error) {
	var c counters
	err := d.writeBatch(ctx, true, func(b *pebble.Batch) (err error) {
		if c, err = d.readCounters(domain); err != nil {
			return err
		}
		c.epoch++
		return b.Set(domainKey(keyDomain, domain, nil), c.append(nil), nil)
	})
	if err != nil {
		return 0, fmt.Errorf("pebblestore: next epoch: %w", err)
	}
	return c.epoch, nil
}

// readCounters returns those of a domain; of one that was never changed, zeros.
func (d *DB) readCounters(domain string) (c counters, err error) {
	v, err := d.getValue(d.db, domainKey(keyDomain, domain, nil))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		c, err = parseCounters(v)
	}
	if err != nil {
		return c, fmt.Errorf("pebblestore: counters of domain %q: %w", domain, err)
	}
	return c, nil
}

func (x *index) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return entries(ctx, x, keyChunk, func(id, v []byte) (cas.ChunkEntry, error) { return x.chunk(cas.Digest(id), v) })
}

func (x *index) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return entries(ctx, x, keyFrame, func(id, v []byte) (cas.FrameEntry, error) { return x.frame(cas.FrameID(id), v) })
}

func (x *index) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return entries(ctx, x, keyPack, func(id, v []byte) (cas.PackEntry, error) { return x.pack(cas.PackID(id), v) })
}

// entries yields what parse makes of every value under a letter of the domain.
func entries[E any](ctx context.Context, x *index, letter byte, parse func(id, v []byte) (E, error)) iter.Seq2[E, error] {
	prefix := domainKey(letter, x.domain, nil)
	return scan(ctx, x.d, prefix, prefix, func(k, v []byte) (E, error) { return parse(k[len(prefix):], v) })
}

// scan yields what parse makes of every value from a key on, within a prefix.
func scan[E any](ctx context.Context, d *DB, prefix, from []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return scanOf(ctx, d.db, prefix, from, parse)
}

// scanOf is scan of a snapshot.
func scanOf[E any](ctx context.Context, r pebble.Reader, prefix, from []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
		if err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", asDamageIfCorrupt(err)))
			return
		}
		defer it.Close()
		for ok := it.SeekGE(from); ok; ok = it.Next() {
			if err := ctx.Err(); err != nil {
				yield(zero, err)
				return
			}
			v, err := it.ValueAndErr()
			if err != nil {
				yield(zero, fmt.Errorf("pebblestore: %w", asDamageIfCorrupt(err)))
				return
			}
			e, err := parse(it.Key(), v)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", asDamageIfCorrupt(err)))
		}
	}
}
