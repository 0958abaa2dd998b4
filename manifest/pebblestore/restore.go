package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// Restore implements manifest.Store. Names and usage depend on all rows, so
// Reindex makes them at the end.
func (d *DB) Restore(ctx context.Context, seq uint64, rs []manifest.Record) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error { return d.restoreRecords(ctx, b, seq, rs) })
	if err != nil {
		return fmt.Errorf("pebblestore: restore: %w", err)
	}
	return nil
}

func (d *DB) restoreRecords(ctx context.Context, b *pebble.Batch, seq uint64, rs []manifest.Record) error {
	t := &tx{rows: rows{d, b}, b: b, seq: seq}
	for i := range rs {
		if err := t.replayRecord(ctx, &rs[i]); err != nil {
			return err
		}
	}
	if len(rs) > 0 || seq <= d.seq {
		return nil
	}
	d.seqMu.Lock()
	d.seq, d.last = seq, seq
	d.seqMu.Unlock()
	return setNumber(b, seq)
}

func (t *tx) replayRecord(ctx context.Context, r *manifest.Record) error {
	switch {
	case r.File != nil:
		return t.replayFile(ctx, r.File)
	case r.Manifest != nil:
		return t.replayManifest(r.Manifest)
	case r.Dropped != "":
		return t.replayDropped(ctx, r.Dropped)
	case r.Purged != "":
		return t.replayPurged(ctx, r.Purged)
	case r.Link != nil:
		return t.replayLink(ctx, r.Link)
	}
	return nil
}

// hasKey reports whether there is a value under key.
func (t *tx) hasKey(key []byte) (bool, error) {
	_, err := t.d.getValue(t.b, key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (t *tx) replayFile(ctx context.Context, f *manifest.File) error {
	gone, err := t.hasKey(goneKey(f.ID))
	if err != nil || gone {
		return err
	}
	old, err := t.File(ctx, f.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != nil && old.Revision >= f.Revision {
		return nil
	}
	return t.putRow(fileKey(f.ID), f)
}

func (t *tx) replayManifest(m *manifest.Manifest) error {
	for _, key := range [][]byte{goneKey(m.ID), goneKey(m.File)} {
		gone, err := t.hasKey(key)
		if err != nil || gone {
			return err
		}
	}
	t.b.Set(versionKey(m.File, m.Version), []byte(m.ID), nil)
	return t.putRow(rowKey(m.ID), m)
}

func (t *tx) replayDropped(ctx context.Context, id manifest.VersionID) error {
	m, err := t.Manifest(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return t.markGone(string(id))
	}
	if err != nil {
		return err
	}
	return t.dropManifest(m)
}

func (t *tx) replayPurged(ctx context.Context, id manifest.FileID) error {
	for m, err := range t.Versions(ctx, id) {
		if err != nil {
			return err
		}
		t.b.Delete(versionKey(m.File, m.Version), nil)
		t.b.Delete(rowKey(m.ID), nil)
	}
	t.b.Delete(fileKey(id), nil)
	return t.markGone(string(id))
}

// indexingKey is there while Reindex is under way. A crash leaves it, and with it
// perhaps no sums of links, without which nothing is held: then the next Open ends
// what was begun.
func indexingKey() []byte { return []byte{keyFormat, 'i'} }

// Reindex implements manifest.Store.
func (d *DB) Reindex(ctx context.Context) error {
	if err := d.life.Enter(); err != nil {
		return fmt.Errorf("pebblestore: reindex: %w", err)
	}
	defer d.life.Leave()
	if err := d.lockChanges(ctx); err != nil {
		return fmt.Errorf("pebblestore: reindex: %w", err)
	}
	defer d.unlockChanges()
	if err := d.db.Set(indexingKey(), nil, pebble.NoSync); err != nil {
		return fmt.Errorf("pebblestore: reindex: %w", err)
	}
	for _, letter := range []byte{keyName, keyHidden, keyUsage, keyOwner} {
		if err := d.db.DeleteRange([]byte{letter}, []byte{letter + 1}, pebble.NoSync); err != nil {
			return fmt.Errorf("pebblestore: reindex: %w", err)
		}
	}
	if err := d.reindexLinks(ctx); err != nil {
		return fmt.Errorf("pebblestore: reindex: %w", err)
	}
	usage := make(map[string]*manifest.Usage) // by key
	for f, err := range d.AllFiles(ctx) {
		if err != nil {
			return err
		}
		key, v := bucketKey(keyHidden, f.Bucket, string(f.ID)), []byte(nil)
		if f.State == manifest.Active {
			key, v = bucketKey(keyName, f.Bucket, f.Path()), []byte(f.ID)
		}
		if err := d.db.Set(key, v, pebble.NoSync); err != nil {
			return fmt.Errorf("pebblestore: reindex: %w", err)
		}
		for _, key := range usageKeys(f) {
			if usage[string(key)] == nil {
				usage[string(key)] = &manifest.Usage{}
			}
			usage[string(key)].Add(f, 1)
		}
	}
	for key, u := range usage {
		if err := d.db.Set([]byte(key), appendUsage(nil, u), pebble.NoSync); err != nil {
			return fmt.Errorf("pebblestore: reindex: %w", err)
		}
	}
	return errors.Join(d.db.Delete(indexingKey(), pebble.Sync), d.fs.writeError())
}

// endReindex reindexes if a crash has kept Reindex from its end.
func (d *DB) endReindex() error {
	_, err := d.getValue(d.db, indexingKey())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || d.readOnly:
		return err
	}
	return d.Reindex(context.Background())
}
