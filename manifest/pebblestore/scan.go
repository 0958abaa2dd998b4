package pebblestore

import (
	"context"
	"encoding"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// A decodable is a pointer to a row.
type decodable[R any] interface {
	*R
	encoding.BinaryUnmarshaler
}

// getRow returns the row under key. Errors name it by format and args.
func getRow[R any, P decodable[R]](ctx context.Context, s rows, key []byte, format string, args ...any) (*R, error) {
	row := new(R)
	v, err := s.d.getValue(s.r, key)
	if err == nil {
		err = P(row).UnmarshalBinary(v)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	}
	return row, ctx.Err()
}

// rowParser returns a parser of rows. Errors name a row by what and its key
// without the first n bytes.
func rowParser[R any, P decodable[R]](what string, n int) func(k, v []byte) (*R, error) {
	return func(k, v []byte) (*R, error) {
		row := new(R)
		if err := P(row).UnmarshalBinary(v); err != nil {
			return nil, fmt.Errorf("%s %q: %w", what, k[n:], err)
		}
		return row, nil
	}
}

// allRowsUnder returns the rows whose keys begin with a letter.
func allRowsUnder[R any, P decodable[R]](ctx context.Context, s rows, letter byte, what string) (out []*R, err error) {
	for r, err := range scanPrefix(ctx, s, []byte{letter}, rowParser[R, P](what, 1)) {
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// scanPrefix yields what parse returns for each key that begins with prefix, in
// order of keys.
func scanPrefix[E any](ctx context.Context, s rows, prefix []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return scanFrom(ctx, s, prefix, prefix, parse)
}

// scanFrom is scanPrefix for the keys from a key on.
func scanFrom[E any](ctx context.Context, s rows, prefix, from []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return scanBy(ctx, s, prefix, func(it *pebble.Iterator) bool { return it.SeekGE(from) }, (*pebble.Iterator).Next, parse)
}

// scanBack is scanPrefix for the keys before a key, from the last to the first.
func scanBack[E any](ctx context.Context, s rows, prefix, before []byte, parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return scanBy(ctx, s, prefix, func(it *pebble.Iterator) bool { return it.SeekLT(before) }, (*pebble.Iterator).Prev, parse)
}

// scanBy yields what parse returns for the keys that begin with prefix, from the
// one that seek finds, as step goes on.
func scanBy[E any](ctx context.Context, s rows, prefix []byte, seek, step func(it *pebble.Iterator) bool,
	parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return scanRange(ctx, s, prefix, prefixEnd(prefix), seek, step, parse)
}

// scanRange is scanBy for the keys from low on and below high.
func scanRange[E any](ctx context.Context, s rows, low, high []byte, seek, step func(it *pebble.Iterator) bool,
	parse func(k, v []byte) (E, error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		it, err := s.newCursor(&pebble.IterOptions{LowerBound: low, UpperBound: high})
		if err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		for ok := seek(it.Iterator); ok; ok = step(it.Iterator) {
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
			it.rest()
			if !yield(e, err) || err != nil {
				return
			}
			if err := it.work(); err != nil {
				yield(zero, fmt.Errorf("pebblestore: %w", err))
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(zero, fmt.Errorf("pebblestore: %w", asDamageIfCorrupt(err)))
		}
	}
}

// onlyIf yields the errors of seq, and the elements for which keep is true.
func onlyIf[E any](seq iter.Seq2[E, error], keep func(E) bool) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		for e, err := range seq {
			if err == nil && !keep(e) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// atOneMoment returns rows as of this moment, which are valid until end is called.
// Those of a transaction or a snapshot are s itself.
func (s rows) atOneMoment() (of rows, end func()) {
	// Once the database is being closed, all reads of s fail.
	if s.r != pebble.Reader(s.d.db) || s.d.life.Enter() != nil {
		return s, func() {}
	}
	defer s.d.life.Leave()
	snap := s.d.db.NewSnapshot()
	return rows{s.d, snap}, s.d.life.Hold(func() { _ = snap.Close() })
}

// atOneMoment yields what seq yields for the rows as of the moment when the
// iteration begins.
func atOneMoment[E any](d *DB, seq func(s rows) iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		s, end := d.atOneMoment()
		defer end()
		for e, err := range seq(s) {
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
