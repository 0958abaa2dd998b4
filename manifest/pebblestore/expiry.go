package pebblestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Rows that expire have an entry under keyExpiry: the letter of a list, a scope,
// the time, and the rest of the row's key. Rows of one list and scope are swept
// together. A write that replaces a row must delete the entry of the old row.

// expiryKey is the key of an entry.
func expiryKey(list byte, scope []byte, at time.Time, rest []byte) []byte {
	k := expiryPrefix(list, scope)
	k = binary.BigEndian.AppendUint64(k, millis(at))
	return append(k, rest...)
}

func expiryPrefix(list byte, scope []byte) []byte {
	return append([]byte{keyExpiry, list}, scope...)
}

// millis returns a time in milliseconds, 0 for times before 1970.
func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// expiredKeys returns the ends of at most limit keys of a list, the time and the
// rest, whose time is before a moment, earliest first.
func (s rows) expiredKeys(list byte, scope []byte, before time.Time, limit int) (rests [][]byte, err error) {
	prefix := expiryPrefix(list, scope)
	end := binary.BigEndian.AppendUint64(bytes.Clone(prefix), millis(before))
	it, err := s.newCursor(&pebble.IterOptions{LowerBound: prefix, UpperBound: end})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && len(rests) < limit; ok = it.Next() {
		k := it.Key()[len(prefix):]
		if len(k) < 8 {
			return nil, fmt.Errorf("pebblestore: damaged expiry entry %x", it.Key())
		}
		rests = append(rests, bytes.Clone(k))
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	return rests, nil
}

// sweepExpired removes at most limit entries of a list whose time is before a
// moment, calls drop for the row of each, and returns how many.
func (t *tx) sweepExpired(list byte, scope []byte, before time.Time, limit int, drop func(rest []byte) error) (int, error) {
	over, err := t.expiredKeys(list, scope, before, limit)
	if err != nil {
		return 0, err
	}
	for _, k := range over {
		if err := t.b.Delete(append(expiryPrefix(list, scope), k...), nil); err != nil {
			return 0, err
		}
		if err := drop(k[8:]); err != nil {
			return 0, err
		}
	}
	return len(over), nil
}

// sweepRows is sweepExpired for rows that have no other keys.
func (t *tx) sweepRows(letter byte, before time.Time, limit int) (int, error) {
	return t.sweepExpired(letter, nil, before, limit, func(rest []byte) error {
		return t.b.Delete(append([]byte{letter}, rest...), nil)
	})
}
