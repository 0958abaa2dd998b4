package pebblestore

import (
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// A tx is a transaction: the manifest.Tx of the Update that holds DB.lock. Its
// reads go through the batch, so it sees its own writes.
type tx struct {
	rows
	b       *pebble.Batch
	domain  string
	seq     uint64 // the number that the commit gets if it makes records
	graves  uint32 // dug so far
	audits  uint32 // notes so far
	records []manifest.Record
}

// Update implements manifest.Store. Updates run one after another, but wait for
// the log together: DB.lock is released before the sync of the log ends.
func (d *DB) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if err := d.life.Enter(); err != nil {
		return nil, fmt.Errorf("pebblestore: update: %w", err)
	}
	defer d.life.Leave()
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
	t := &tx{rows: rows{d, b}, b: b, domain: domain, seq: d.seq + 1}
	if err := fn(t); err != nil {
		return nil, err
	}
	if len(t.records) == 0 && t.audits > 0 {
		return nil, d.takeNumber(t)
	}
	if len(t.records) == 0 {
		return nil, nil
	}
	if t.domain == "" {
		return nil, errors.New("pebblestore: a transaction that makes records needs a domain")
	}
	c := &manifest.Commit{Seq: t.seq, Prev: d.last, Domain: t.domain}
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

func (t *tx) DropManifests(ctx context.Context, ids []manifest.VersionID, at time.Time) error {
	f := &manifest.File{}
	for _, id := range ids {
		m, err := t.Manifest(ctx, id)
		if err != nil {
			return err
		}
		if f.ID != m.File {
			if f, err = t.File(ctx, m.File); err != nil {
				return err
			}
		}
		if err := t.digGrave(f, m, at); err != nil {
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
	return t.markGone(string(m.ID))
}

// digGrave notes a version that is removed for good.
func (t *tx) digGrave(f *manifest.File, m *manifest.Manifest, at time.Time) error {
	g := &manifest.Grave{ID: manifest.GraveID{Commit: t.seq, N: t.graves}, Bucket: f.Bucket, Path: f.Path(), File: m.File,
		Version: m.ID, Size: m.Size, At: at, Top: m.Top, Chunks: m.Inline}
	t.graves++
	return t.putRow(graveKey(t.domain, g.ID), g)
}

// markGone keeps a file or version from being restored. Of several commits that
// removed it the latest counts.
func (t *tx) markGone(id string) error {
	old, err := t.d.getValue(t.b, goneKey(id))
	switch n, ok := parseUvarints(old, 1); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("pebblestore: mark of %s: %w", id, errEntry)
	case n[0] >= t.seq:
		return nil
	default:
		t.b.Delete(markKey(n[0], id), nil)
	}
	t.b.Set(markKey(t.seq, id), nil, nil)
	return t.b.Set(goneKey(id), binary.AppendUvarint(nil, t.seq), nil)
}

func (t *tx) Purge(ctx context.Context, id manifest.FileID, at time.Time) error {
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
		if err := t.digGrave(f, m, at); err != nil {
			return err
		}
		t.b.Delete(versionKey(m.File, m.Version), nil)
		t.b.Delete(rowKey(m.ID), nil)
	}
	t.b.Delete(fileKey(id), nil)
	t.records = append(t.records, manifest.Record{Purged: id})
	return t.markGone(string(id))
}
