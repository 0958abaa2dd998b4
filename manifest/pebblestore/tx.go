package pebblestore

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// A tx is a transaction: the manifest.Tx of the Update that holds DB.lock. Its
// reads go through the batch, so it sees its own writes.
type tx struct {
	rows
	b       *pebble.Batch
	domain  string
	records []manifest.Record
}

// Update implements manifest.Store. Updates run one after another, but wait for
// the log together: DB.lock is released before the sync of the log ends.
func (d *DB) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if err := d.lockChanges(ctx); err != nil {
		return nil, fmt.Errorf("pebblestore: update: %w", err)
	}
	b := d.db.NewIndexedBatch()
	c, err := d.runUpdate(b, domain, fn)
	if err != nil || b.Empty() {
		return nil, closeBatch(err, b)
	}
	if err := d.commitBatch(b, true); err != nil {
		return c, fmt.Errorf("pebblestore: update: %w", err)
	}
	return c, nil
}

// runUpdate runs fn on b. It keeps DB.lock if there is something to commit, else
// it releases it.
func (d *DB) runUpdate(b *pebble.Batch, domain string, fn func(manifest.Tx) error) (c *manifest.Commit, err error) {
	commits := false
	defer func() { // fn may panic
		if !commits {
			d.unlockChanges()
		}
	}()
	c, err = d.runOnBatch(b, domain, fn)
	commits = err == nil && !b.Empty()
	return c, err
}

// runOnBatch runs fn on b and adds its records to the outbox.
func (d *DB) runOnBatch(b *pebble.Batch, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	t := &tx{rows: rows{d, b}, b: b, domain: domain}
	if err := fn(t); err != nil {
		return nil, err
	}
	if len(t.records) == 0 {
		return nil, nil
	}
	if t.domain == "" {
		return nil, errors.New("pebblestore: a transaction that makes records needs a domain")
	}
	c := &manifest.Commit{Seq: d.seq + 1, Prev: d.last, Domain: t.domain}
	var err error
	if c.Slots, err = manifest.EncodeCommit(c.Seq, t.records); err != nil {
		return nil, err
	}
	if err := b.Set(outboxKey(c.Seq), appendCommit(nil, c), nil); err != nil {
		return nil, err
	}
	if err := setNumber(b, c.Seq); err != nil {
		return nil, err
	}
	d.seqMu.Lock()
	d.seq, d.last = c.Seq, c.Seq
	d.seqMu.Unlock()
	return c, nil
}

// Removals implements manifest.Tx. The index changes under DB.lock too, so the
// count stays the same until the commit.
func (t *tx) Removals(ctx context.Context) (uint64, error) { return t.d.Removals(ctx, t.domain) }

func (t *tx) putRow(key []byte, row encoding.BinaryAppender) error {
	v, err := row.AppendBinary(nil)
	if err != nil {
		return err
	}
	return t.b.Set(key, v, nil)
}

func (t *tx) PutFile(ctx context.Context, f *manifest.File) error {
	old, err := t.File(ctx, f.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.State == manifest.Active {
		switch other, err := t.FileByPath(ctx, f.Bucket, f.Path()); {
		case err == nil && other.ID != f.ID:
			return manifest.ErrConflict
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	f.Revision++
	if old != nil {
		if err := t.removeFromLists(ctx, old); err != nil {
			return err
		}
	}
	if err := t.addToLists(ctx, f); err != nil {
		return err
	}
	row := *f
	t.records = append(t.records, manifest.Record{File: &row})
	return t.putRow(fileKey(f.ID), f)
}

// addToLists adds f to the index of names and to the usage.
func (t *tx) addToLists(ctx context.Context, f *manifest.File) error {
	if f.State == manifest.Active {
		t.b.Set(bucketKey(keyName, f.Bucket, f.Path()), []byte(f.ID), nil)
	} else {
		t.b.Set(bucketKey(keyHidden, f.Bucket, string(f.ID)), nil, nil)
	}
	return t.countFile(ctx, f, 1)
}

// removeFromLists removes the present row f of a file from them.
func (t *tx) removeFromLists(ctx context.Context, f *manifest.File) error {
	if f.State == manifest.Active {
		t.b.Delete(bucketKey(keyName, f.Bucket, f.Path()), nil)
	} else {
		t.b.Delete(bucketKey(keyHidden, f.Bucket, string(f.ID)), nil)
	}
	return t.countFile(ctx, f, -1)
}

func (t *tx) countFile(ctx context.Context, f *manifest.File, sign int64) error {
	for _, key := range usageKeys(f) {
		u, err := t.readUsage(ctx, key)
		if err != nil {
			return err
		}
		u.Add(f, sign)
		if err := t.b.Set(key, appendUsage(nil, &u), nil); err != nil {
			return err
		}
	}
	return nil
}

// usageKeys are the keys of the usages that count f: of its bucket and of its
// owner.
func usageKeys(f *manifest.File) [][]byte {
	return [][]byte{usageKey(f.Bucket), bucketKey(keyOwner, f.Bucket, f.Owner)}
}

func (t *tx) PutManifest(ctx context.Context, m *manifest.Manifest) error {
	row := *m
	t.records = append(t.records, manifest.Record{Manifest: &row})
	t.b.Set(versionKey(m.File, m.Version), []byte(m.ID), nil)
	return t.putRow(rowKey(m.ID), m)
}

func (t *tx) DropManifests(ctx context.Context, ids []manifest.VersionID) error {
	for _, id := range ids {
		m, err := t.Manifest(ctx, id)
		if err != nil {
			return err
		}
		t.records = append(t.records, manifest.Record{Dropped: id})
		if err := t.dropManifest(m); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) dropManifest(m *manifest.Manifest) error {
	t.b.Delete(versionKey(m.File, m.Version), nil)
	t.b.Delete(rowKey(m.ID), nil)
	return t.b.Set(goneKey(m.ID), nil, nil)
}

func (t *tx) Purge(ctx context.Context, id manifest.FileID) error {
	f, err := t.File(ctx, id)
	if err != nil {
		return err
	}
	if err := t.removeFromLists(ctx, f); err != nil {
		return err
	}
	for m, err := range t.Versions(ctx, id) {
		if err != nil {
			return err
		}
		t.b.Delete(versionKey(m.File, m.Version), nil)
		t.b.Delete(rowKey(m.ID), nil)
	}
	t.b.Delete(fileKey(id), nil)
	t.records = append(t.records, manifest.Record{Purged: id})
	return t.b.Set(goneKey(id), nil, nil)
}
