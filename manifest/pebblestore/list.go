package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// List implements manifest.Listings, and so do the methods below.
func (d *DB) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	if r == nil {
		r = &manifest.Range{}
	}
	return atOneMoment(d, func(s rows) iter.Seq2[*manifest.Listed, error] { return s.listFiles(ctx, bucket, r) })
}

func (s rows) listFiles(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	letter, prefix := byte(keyName), r.Prefix
	if r.State != manifest.Active {
		letter, prefix = keyHidden, ""
	}
	base, after := bucketKey(letter, bucket, prefix), bucketKey(letter, bucket, r.After)
	start := len(bucketKey(letter, bucket, ""))
	parse := func(k, v []byte) (*manifest.Listed, error) {
		l := &manifest.Listed{Key: string(k[start:])}
		if r.Bare {
			return l, nil
		}
		id := manifest.FileID(v)
		if letter == keyHidden {
			id = manifest.FileID(l.Key)
		}
		f, err := s.File(ctx, id)
		if err != nil || f.State != r.State || r.Versioned && f.Versions < 2 {
			return nil, err
		}
		l.File = f
		if l.Current, err = s.Manifest(ctx, f.Current); errors.Is(err, fs.ErrNotExist) {
			l.Current, err = nil, nil
		}
		return l, err
	}
	var found iter.Seq2[*manifest.Listed, error]
	switch {
	case r.Reverse && r.After == "":
		found = scanBack(ctx, s, base, prefixEnd(base), parse)
	case r.Reverse:
		found = scanBack(ctx, s, base, after, parse)
	case r.After == "" || r.After < prefix:
		found = scanPrefix(ctx, s, base, parse)
	default:
		found = scanFrom(ctx, s, base, append(after, 0), parse)
	}
	return onlyIf(found, func(l *manifest.Listed) bool { return l != nil })
}

func (d *DB) AllFiles(ctx context.Context) iter.Seq2[*manifest.File, error] {
	return d.allFiles(ctx) // one iterator sees the rows of one moment
}

// View implements manifest.Listings.
func (d *DB) View(_ context.Context, fn func(manifest.View) error) error {
	s, end := d.atOneMoment()
	defer end()
	return fn(view{s})
}

// A view has the methods of manifest.View, for the rows of a snapshot.
type view struct{ rows }

func (v view) AllFiles(ctx context.Context) iter.Seq2[*manifest.File, error] { return v.allFiles(ctx) }
func (v view) Buckets(ctx context.Context) ([]string, error)                 { return v.bucketNames(ctx) }

func (v view) AllLinks(ctx context.Context, bucket string) iter.Seq2[*manifest.Link, error] {
	return v.allLinks(ctx, bucket)
}

func (v view) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return v.listFiles(ctx, bucket, r)
}

func (s rows) allFiles(ctx context.Context) iter.Seq2[*manifest.File, error] {
	prefix := []byte{keyFile}
	return scanPrefix(ctx, s, prefix, rowParser[manifest.File]("file", 1))
}

func (d *DB) AllRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	return atOneMoment(d, func(s rows) iter.Seq2[*manifest.Row, error] { return s.allRows(ctx, bucket) })
}

func (s rows) allRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	return func(yield func(*manifest.Row, error) bool) {
		it, err := s.newCursor(&pebble.IterOptions{LowerBound: []byte{keyVersion}, UpperBound: []byte{keyVersion + 1}})
		if err != nil {
			yield(nil, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		it.rest()
		for f, err := range s.allFiles(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if bucket != "" && f.Bucket != bucket {
				continue
			}
			if !s.versionsOf(ctx, it, f, yield) {
				return
			}
		}
	}
}

// versionsOf yields the versions of a file, found by it, an iterator over the
// versions of all files. It reports whether yield wants more.
func (s rows) versionsOf(ctx context.Context, it *cursor, f *manifest.File, yield func(*manifest.Row, error) bool) bool {
	prefix := append([]byte{keyVersion}, f.ID...)
	any := false
	if err := it.work(); err != nil {
		yield(nil, fmt.Errorf("pebblestore: %w", err))
		return false
	}
	for ok := it.SeekLT(prefixEnd(prefix)); ok && len(it.Key()) == len(prefix)+8 && string(it.Key()[:len(prefix)]) == string(prefix); ok = it.Prev() {
		any = true
		m, err := s.Manifest(ctx, manifest.VersionID(it.Value()))
		if err != nil {
			yield(nil, err)
			return false
		}
		it.rest()
		if !yield(&manifest.Row{File: f, Manifest: m}, nil) {
			return false
		}
		if err := it.work(); err != nil {
			yield(nil, fmt.Errorf("pebblestore: %w", err))
			return false
		}
	}
	if err := it.Error(); err != nil {
		yield(nil, fmt.Errorf("pebblestore: %w", err))
		return false
	}
	it.rest()
	return any || yield(&manifest.Row{File: f}, nil)
}

func (d *DB) TrashedBefore(ctx context.Context, bucket string, before time.Time, after manifest.FileID, limit int) ([]*manifest.File, error) {
	prefix := bucketKey(keyHidden, bucket, "")
	from := append(bucketKey(keyHidden, bucket, string(after)), 0)
	var out []*manifest.File
	for id, err := range scanFrom(ctx, d.rows, prefix, from, func(k, _ []byte) (manifest.FileID, error) {
		return manifest.FileID(k[len(prefix):]), nil
	}) {
		if err != nil || len(out) == limit {
			return out, err
		}
		f, err := d.File(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // purged meanwhile
		}
		if err != nil {
			return nil, err
		}
		if f.State == manifest.Trashed && f.DeletedAt.Before(before) {
			out = append(out, f)
		}
	}
	return out, nil
}

// OwnerUsages implements manifest.Store.
func (d *DB) OwnerUsages(ctx context.Context) iter.Seq2[*manifest.OwnedUsage, error] {
	return scanPrefix(ctx, d.rows, []byte{keyOwner}, func(k, v []byte) (*manifest.OwnedUsage, error) {
		o := &manifest.OwnedUsage{}
		var ok bool
		if o.Bucket, o.Owner, ok = splitBucket(k[1:]); !ok {
			return nil, fmt.Errorf("pebblestore: usage of an owner: %w", errEntry)
		}
		var err error
		o.Usage, err = parseUsage(v)
		return o, err
	})
}

// Buckets implements manifest.Store.
func (d *DB) Buckets(ctx context.Context) ([]string, error) { return d.bucketNames(ctx) }

func (s rows) bucketNames(ctx context.Context) (names []string, err error) {
	for name, err := range scanPrefix(ctx, s, []byte{keyUsage}, func(k, _ []byte) (string, error) { return string(k[1:]), nil }) {
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
