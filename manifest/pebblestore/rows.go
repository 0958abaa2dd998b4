package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// rows has the read methods, for the rows that r holds: the database, a snapshot
// or the batch of a transaction.
type rows struct {
	d *DB
	r pebble.Reader
}

func (s rows) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	return getRow[manifest.File](ctx, s, fileKey(id), "file %s", id)
}

func (s rows) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	id, err := s.d.getValue(s.r, bucketKey(keyName, bucket, path))
	if err != nil {
		return nil, fmt.Errorf("file %q: %w", path, err)
	}
	return s.File(ctx, manifest.FileID(id))
}

func (s rows) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	return getRow[manifest.Manifest](ctx, s, rowKey(id), "manifest %s", id)
}

func (s rows) Version(ctx context.Context, file manifest.FileID, n uint64) (*manifest.Manifest, error) {
	id, err := s.d.getValue(s.r, versionKey(file, n))
	if err != nil {
		return nil, fmt.Errorf("version %d of %s: %w", n, file, err)
	}
	return s.Manifest(ctx, manifest.VersionID(id))
}

func (s rows) Versions(ctx context.Context, file manifest.FileID) iter.Seq2[*manifest.Manifest, error] {
	return s.VersionsBelow(ctx, file, math.MaxUint64)
}

func (s rows) VersionsBelow(ctx context.Context, file manifest.FileID, below uint64) iter.Seq2[*manifest.Manifest, error] {
	return func(yield func(*manifest.Manifest, error) bool) {
		it, err := s.r.NewIter(&pebble.IterOptions{LowerBound: versionKey(file, 0), UpperBound: versionKey(file, below)})
		if err != nil {
			yield(nil, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		for ok := it.Last(); ok; ok = it.Prev() {
			m, err := s.Manifest(ctx, manifest.VersionID(it.Value()))
			if !yield(m, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(nil, fmt.Errorf("pebblestore: %w", err))
		}
	}
}

func (s rows) OldVersions(ctx context.Context, file manifest.FileID, above uint64, n int) (ms []*manifest.Manifest, err error) {
	if above == math.MaxUint64 {
		return nil, nil
	}
	it, err := s.r.NewIter(&pebble.IterOptions{LowerBound: versionKey(file, above+1), UpperBound: prefixEnd(append([]byte{keyVersion}, file...))})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && len(ms) < n; ok = it.Next() {
		m, err := s.Manifest(ctx, manifest.VersionID(it.Value()))
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	return ms, nil
}

func (s rows) Usage(ctx context.Context, bucket string) (manifest.Usage, error) {
	return s.readUsage(ctx, usageKey(bucket))
}

func (s rows) OwnerUsage(ctx context.Context, bucket, owner string) (manifest.Usage, error) {
	return s.readUsage(ctx, bucketKey(keyOwner, bucket, owner))
}

func (s rows) readUsage(ctx context.Context, key []byte) (manifest.Usage, error) {
	v, err := s.d.getValue(s.r, key)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest.Usage{}, ctx.Err()
	}
	if err != nil {
		return manifest.Usage{}, err
	}
	return parseUsage(v)
}

// Marks implements manifest.Store.
func (d *DB) Marks(ctx context.Context) iter.Seq2[manifest.Record, error] {
	prefix := []byte{keyGone}
	return scanPrefix(ctx, d.db, prefix, func(k, _ []byte) (manifest.Record, error) {
		if id, ok := manifest.ParseFileID(string(k[1:])); ok {
			return manifest.Record{Purged: id}, nil
		}
		id, ok := manifest.ParseVersionID(string(k[1:]))
		if !ok {
			return manifest.Record{}, fmt.Errorf("pebblestore: mark %q: %w", k[1:], manifest.ErrFormat)
		}
		return manifest.Record{Dropped: id}, nil
	})
}

// segments are the segments of a domain.
type segments struct {
	d      *DB
	domain string
}

// Segments implements manifest.Store.
func (d *DB) Segments(domain string) manifest.Segments { return segments{d, domain} }

func (s segments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out := make([][]byte, len(ds))
	err := findValues(s.d.db, domainKey(keySegment, s.domain, nil), digestKeys(ds), func(i int, v []byte) error {
		out[i] = append([]byte{}, v...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: segments: %w", err)
	}
	return out, ctx.Err()
}

// PutSegments writes only segments that are not stored: an edit encodes some
// existing segments around it again.
func (s segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	err := s.d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		c, err := s.d.readCounters(s.domain)
		if err != nil {
			return err
		}
		epoch := binary.BigEndian.AppendUint64(nil, c.epoch)
		for _, g := range segs {
			indexed, err := hasKey(b, domainKey(keyChunk, s.domain, g.Digest[:]))
			if err != nil {
				return err
			}
			if !indexed {
				b.Set(domainKey(keyUnindexed, s.domain, g.Digest[:]), epoch, nil)
			}
			key := domainKey(keySegment, s.domain, g.Digest[:])
			stored, err := hasKey(b, key)
			if err != nil {
				return err
			}
			if !stored {
				b.Set(key, g.Data, nil)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: put segments: %w", err)
	}
	return nil
}

// DropUnindexed implements manifest.Collections. DB.lock is held, so neither the
// floor nor the entries change meanwhile, and nobody puts a segment.
func (d *DB) DropUnindexed(ctx context.Context, domain string, after cas.Digest, limit int) (last cas.Digest, more bool, err error) {
	err = d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		c, err := d.readCounters(domain)
		if err != nil {
			return err
		}
		prefix := domainKey(keyUnindexed, domain, nil)
		type put struct {
			digest cas.Digest
			epoch  uint64
		}
		var puts []put
		for p, err := range scanFrom(ctx, d.db, prefix, append(domainKey(keyUnindexed, domain, after[:]), 0), func(k, v []byte) (put, error) {
			if len(k) != len(prefix)+len(after) || len(v) != 8 {
				return put{}, fmt.Errorf("%w: epoch %x of segment %x", ErrDamaged, v, k)
			}
			return put{cas.Digest(k[len(prefix):]), binary.BigEndian.Uint64(v)}, nil
		}) {
			if err != nil {
				return err
			}
			if more = len(puts) == limit; more {
				break
			}
			puts = append(puts, p)
		}
		for _, p := range puts {
			last = p.digest
			if p.epoch >= c.floor {
				continue
			}
			b.Delete(domainKey(keyUnindexed, domain, p.digest[:]), nil)
			indexed, err := hasKey(b, domainKey(keyChunk, domain, p.digest[:]))
			if err != nil {
				return err
			}
			if !indexed {
				b.Delete(domainKey(keySegment, domain, p.digest[:]), nil)
			}
		}
		return nil
	})
	if err != nil {
		return last, false, fmt.Errorf("pebblestore: drop segments that are not indexed: %w", err)
	}
	return last, more, nil
}
