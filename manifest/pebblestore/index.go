package pebblestore

import (
	"bytes"
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

// Domains returns the names of the domains that have packs in the index.
func (d *DB) Domains() (names []string, err error) {
	it, err := d.newPrefixCursor([]byte{keyPack})
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

// Index returns the chunk index of a domain. The name of a domain has at most
// 255 bytes.
func (d *DB) Index(domain string) cas.Index { return &index{d, domain} }

// named says in an error which entry it is about.
func (x *index) named(what string, id fmt.Stringer, err error) error {
	return fmt.Errorf("%s %s of domain %q: %w", what, id, x.domain, err)
}

// parseEntry calls parse and names the entry in errors.
func parseEntry[ID fmt.Stringer, E any](x *index, what string, id ID, v []byte, parse func(ID, []byte) (E, error)) (E, error) {
	e, err := parse(id, v)
	if err != nil {
		var zero E
		return zero, x.named(what, id, err)
	}
	return e, nil
}

func (x *index) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	return lookUp(ctx, x, keyChunk, "chunk", ds, digestKeys(ds), out, parseChunk)
}

func (x *index) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	keys := make([][]byte, len(ids))
	for i := range ids {
		keys[i] = ids[i][:]
	}
	return lookUp(ctx, x, keyFrame, "frame", ids, keys, out, parseFrame)
}

// lookUpPacks is Frames for packs.
func (x *index) lookUpPacks(ctx context.Context, ids []cas.PackID, out []cas.PackEntry) error {
	keys := make([][]byte, len(ids))
	for i := range ids {
		keys[i] = ids[i][:]
	}
	return lookUp(ctx, x, keyPack, "pack", ids, keys, out, parsePack)
}

// Hit takes DB.lock only where a stamp has to be raised. What it has read before
// may be dropped until then, so it is read again.
func (x *index) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	if err := x.Chunks(ctx, ds, out); err != nil {
		return err
	}
	var old []cas.Digest
	var at []int
	for i := range out {
		if out[i].Frame != (cas.FrameID{}) && out[i].Stamp < since {
			old, at = append(old, ds[i]), append(at, i)
		}
	}
	if len(old) == 0 {
		return nil
	}
	err := x.d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		c, err := x.d.readCounters(x.domain)
		if err != nil {
			return err
		}
		now := make([]cas.ChunkEntry, len(old))
		if err := x.Chunks(ctx, old, now); err != nil {
			return err
		}
		for i := range now {
			if e := &now[i]; e.Frame != (cas.FrameID{}) && e.Stamp < since {
				e.Stamp = c.epoch
				b.Set(chunkKey(x.domain, e.Digest), appendChunk(nil, e), nil)
			}
			out[at[i]] = now[i]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: hit: %w", err)
	}
	return nil
}

// lookUp sets each element of out to the entry of the ID at the same index, or
// to zero if there is none. keys are the bytes of the IDs.
func lookUp[ID fmt.Stringer, E any](ctx context.Context, x *index, letter byte, what string, ids []ID, keys [][]byte, out []E,
	parse func(ID, []byte) (E, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	clear(out)
	err := x.d.findValues(domainKey(letter, x.domain, nil), keys, func(i int, v []byte) (err error) {
		out[i], err = parseEntry(x, what, ids[i], v, parse)
		return err
	})
	if err != nil {
		return fmt.Errorf("pebblestore: %ss: %w", what, err)
	}
	return nil
}

// digestKeys returns the bytes of digests. They share the memory of ds.
func digestKeys(ds []cas.Digest) [][]byte {
	keys := make([][]byte, len(ds))
	for i := range ds {
		keys[i] = ds[i][:]
	}
	return keys
}

// PackFrames reads from a snapshot.
func (x *index) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	return func(yield func(cas.FrameEntry, error) bool) {
		s, end := x.d.atOneMoment()
		defer end()
		prefix := domainKey(keyPlace, x.domain, id[:])
		for f, err := range scanPrefix(ctx, s, prefix, func(k, _ []byte) (cas.FrameEntry, error) {
			id := cas.FrameID(k[len(k)-16:])
			v, err := x.d.getValue(s.r, frameKey(x.domain, id))
			if err != nil {
				return cas.FrameEntry{}, x.named("frame", id, err)
			}
			return parseEntry(x, "frame", id, v, parseFrame)
		}) {
			if !yield(f, err) {
				return
			}
		}
	}
}

func (x *index) Dependants(ctx context.Context, ds []cas.Digest) ([]cas.FrameID, error) {
	var ids []cas.FrameID
	it, err := x.d.newPrefixCursor(domainKey(keySource, x.domain, nil))
	if err != nil {
		return nil, fmt.Errorf("pebblestore: dependants: %w", err)
	}
	defer it.Close()
	for _, d := range ds {
		ids = appendDependants(ids, it.Iterator, sourcePrefix(x.domain, d))
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

// hasDependant reports whether a key begins with sourcePrefix.
func hasDependant(it *pebble.Iterator, prefix []byte) bool {
	return it.SeekGE(prefix) && bytes.HasPrefix(it.Key(), prefix)
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

// Removals implements manifest.Epochs.
func (d *DB) Removals(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(domain)
	return c.removals, errors.Join(err, ctx.Err())
}

// Floor implements manifest.Epochs.
func (d *DB) Floor(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(domain)
	return c.floor, errors.Join(err, ctx.Err())
}

// NextEpoch implements manifest.Epochs.
func (d *DB) NextEpoch(ctx context.Context, domain string) (uint64, error) {
	c, err := d.changeCounters(ctx, domain, func(c *counters) error {
		c.epoch++
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("pebblestore: next epoch: %w", err)
	}
	return c.epoch, nil
}

// changeCounters changes the counters of a domain, durably.
func (d *DB) changeCounters(ctx context.Context, domain string, fn func(c *counters) error) (c counters, err error) {
	err = d.writeBatch(ctx, true, func(b *pebble.Batch) (err error) {
		if c, err = d.readCounters(domain); err != nil {
			return err
		}
		if err := fn(&c); err != nil {
			return err
		}
		return b.Set(domainKey(keyDomain, domain, nil), c.append(nil), nil)
	})
	return c, err
}

// readCounters returns the counters of a domain, zeros for a new one.
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
	return allEntries(ctx, x, keyChunk, "chunk", func(b []byte) cas.Digest { return cas.Digest(b) }, parseChunk)
}

func (x *index) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return allEntries(ctx, x, keyFrame, "frame", func(b []byte) cas.FrameID { return cas.FrameID(b) }, parseFrame)
}

func (x *index) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return allEntries(ctx, x, keyPack, "pack", func(b []byte) cas.PackID { return cas.PackID(b) }, parsePack)
}

// allEntries yields the entries under a letter of the domain.
func allEntries[ID fmt.Stringer, E any](ctx context.Context, x *index, letter byte, what string, toID func([]byte) ID,
	parse func(ID, []byte) (E, error)) iter.Seq2[E, error] {
	prefix := domainKey(letter, x.domain, nil)
	return scanPrefix(ctx, x.d.rows, prefix, func(k, v []byte) (E, error) {
		return parseEntry(x, what, toID(k[len(prefix):]), v, parse)
	})
}
