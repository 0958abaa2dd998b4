package pebblestore

import (
	"context"
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
		it, err := s.newCursor(&pebble.IterOptions{LowerBound: versionKey(file, 0), UpperBound: versionKey(file, below)})
		if err != nil {
			yield(nil, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		for ok := it.Last(); ok; ok = it.Prev() {
			m, err := s.Manifest(ctx, manifest.VersionID(it.Value()))
			it.rest()
			if !yield(m, err) || err != nil {
				return
			}
			if err := it.work(); err != nil {
				yield(nil, fmt.Errorf("pebblestore: %w", err))
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
	it, err := s.newCursor(&pebble.IterOptions{LowerBound: versionKey(file, above+1), UpperBound: prefixEnd(append([]byte{keyVersion}, file...))})
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

func (s rows) IsPurged(ctx context.Context, id manifest.FileID) (bool, error) {
	_, err := s.d.getValue(s.r, goneKey(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, ctx.Err()
	}
	return err == nil, err
}

// Marks implements manifest.Store.
func (d *DB) Marks(ctx context.Context) iter.Seq2[manifest.Record, error] {
	prefix := []byte{keyGone}
	return scanPrefix(ctx, d.rows, prefix, func(k, _ []byte) (manifest.Record, error) {
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
	err := s.d.findValues(domainKey(keySegment, s.domain, nil), digestKeys(ds), func(i int, v []byte) error {
		out[i] = append([]byte{}, v...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: segments: %w", err)
	}
	return out, ctx.Err()
}

// AllSegments implements manifest.Listings.
func (d *DB) AllSegments(ctx context.Context, domain string) iter.Seq2[manifest.SegmentSize, error] {
	prefix := domainKey(keySegment, domain, nil)
	return scanPrefix(ctx, d.rows, prefix, func(k, v []byte) (s manifest.SegmentSize, err error) {
		if len(k) != len(prefix)+len(s.Digest) {
			return s, fmt.Errorf("%w: segment %x", ErrDamaged, k)
		}
		return manifest.SegmentSize{Digest: cas.Digest(k[len(prefix):]), Bytes: int64(len(v))}, nil
	})
}

// PutSegments writes only segments that are not stored: an edit encodes some
// existing segments around it again.
func (s segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	if err := s.d.life.Enter(); err != nil {
		return fmt.Errorf("pebblestore: put segments: %w", err)
	}
	defer s.d.life.Leave()
	if err := s.d.lockChanges(ctx); err != nil {
		return fmt.Errorf("pebblestore: put segments: %w", err)
	}
	defer s.d.unlockChanges()
	b := s.d.db.NewBatch()
	defer b.Close()
	for _, g := range segs {
		key := domainKey(keySegment, s.domain, g.Digest[:])
		switch _, closer, err := s.d.db.Get(key); {
		case err == nil:
			closer.Close() // the value is not used
		case errors.Is(err, pebble.ErrNotFound):
			if err := b.Set(key, g.Data, nil); err != nil {
				return fmt.Errorf("pebblestore: put segments: %w", err)
			}
		default:
			return fmt.Errorf("pebblestore: put segments: %w", err)
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("pebblestore: put segments: %w", err)
	}
	return nil
}

// Rows implements manifest.Files.
func (s rows) Rows(ctx context.Context, files []manifest.FileID, versions []manifest.VersionID) ([]*manifest.Row, error) {
	s, end := s.atOneMoment()
	defer end()
	out := make([]*manifest.Row, len(files)+len(versions))
	for i, id := range files {
		f, err := s.File(ctx, id)
		if err == nil {
			out[i] = &manifest.Row{File: f}
			out[i].Manifest, err = s.Manifest(ctx, f.Current)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for i, id := range versions {
		m, err := s.Manifest(ctx, id)
		if err == nil {
			var f *manifest.File
			if f, err = s.File(ctx, m.File); err == nil {
				out[len(files)+i] = &manifest.Row{File: f, Manifest: m}
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return out, ctx.Err()
}
