package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// leftoverKey is the key of a leftover. Those of one domain are ordered by their
// epochs.
func leftoverKey(l *manifest.Leftover) []byte {
	who := sha256.Sum256([]byte(l.Who))
	k := binary.BigEndian.AppendUint64(domainKey(keyLeftover, l.Domain, nil), l.Epoch)
	return append(append(k, who[:16]...), l.Bucket...)
}

// leftoverSumKey is the key of a sum: of a principal or, without a hash, of a
// bucket.
func leftoverSumKey(bucket string, who []byte) []byte {
	return append(bucketKey(keyLeftoverSum, bucket, ""), who...)
}

// readBytes returns the number under a key, 0 if there is none.
func (s rows) readBytes(k []byte) (int64, error) {
	v, err := s.d.getValue(s.r, k)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, ok := parseUvarints(v, 1)
	if !ok {
		return 0, fmt.Errorf("pebblestore: damaged number of bytes under %x", k)
	}
	return int64(n[0]), nil
}

// LeftoverBytes implements manifest.Leftovers.
func (s rows) LeftoverBytes(ctx context.Context, bucket, who string) (all, own int64, err error) {
	if all, err = s.readBytes(leftoverSumKey(bucket, nil)); err != nil {
		return 0, 0, err
	}
	sum := sha256.Sum256([]byte(who))
	own, err = s.readBytes(leftoverSumKey(bucket, sum[:16]))
	return all, own, errors.Join(err, ctx.Err())
}

// HasLeftovers implements manifest.Leftovers.
func (s rows) HasLeftovers(ctx context.Context, domain string) (bool, error) {
	for _, err := range scanPrefix(ctx, s, domainKey(keyLeftover, domain, nil), func(k, _ []byte) ([]byte, error) { return k, nil }) {
		return err == nil, err
	}
	return false, ctx.Err()
}

// AddLeftover implements manifest.LeftoverChanges.
func (t *tx) AddLeftover(ctx context.Context, l *manifest.Leftover) error {
	who := sha256.Sum256([]byte(l.Who))
	for _, k := range [][]byte{leftoverKey(l), leftoverSumKey(l.Bucket, nil), leftoverSumKey(l.Bucket, who[:16])} {
		if err := t.addBytes(k, l.Bytes); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// addBytes adds to the number under a key. A sum that is 0 is left out.
func (t *tx) addBytes(k []byte, n int64) error {
	sum, err := t.readBytes(k)
	if err != nil {
		return err
	}
	if sum += n; sum <= 0 {
		return t.b.Delete(k, nil)
	}
	return t.b.Set(k, binary.AppendUvarint(nil, uint64(sum)), nil)
}

// A leftover is an entry of the database. Of the principal it has a hash.
type leftover struct {
	key, who []byte
	bucket   string
	epoch    uint64
	bytes    int64
}

// scanLeftovers yields the leftovers of a domain, in order of epochs.
func (s rows) scanLeftovers(ctx context.Context, domain string) iter.Seq2[leftover, error] {
	prefix := domainKey(keyLeftover, domain, nil)
	return scanPrefix(ctx, s, prefix, func(k, v []byte) (l leftover, err error) {
		n, ok := parseUvarints(v, 1)
		rest := k[len(prefix):]
		if !ok || len(rest) < 24 {
			return l, fmt.Errorf("pebblestore: damaged leftover %x", k)
		}
		k = append([]byte(nil), k...)
		rest = k[len(prefix):]
		return leftover{k, rest[8:24], string(rest[24:]), binary.BigEndian.Uint64(rest), int64(n[0])}, nil
	})
}

// LeftoversOf implements manifest.Leftovers.
func (s rows) LeftoversOf(ctx context.Context, domain string) ([]manifest.Leftover, error) {
	sums := make(map[string]*manifest.Leftover)
	for l, err := range s.scanLeftovers(ctx, domain) {
		if err != nil {
			return nil, err
		}
		if sums[l.bucket] == nil { // the first has the lowest epoch
			sums[l.bucket] = &manifest.Leftover{Domain: domain, Bucket: l.bucket, Epoch: l.epoch}
		}
		sums[l.bucket].Bytes += l.bytes
	}
	var out []manifest.Leftover
	for _, bucket := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, *sums[bucket])
	}
	return out, nil
}

// DropLeftovers implements manifest.LeftoverChanges.
func (t *tx) DropLeftovers(ctx context.Context, domain string, before uint64, limit int) (n int, err error) {
	var over []leftover
	for l, err := range t.scanLeftovers(ctx, domain) {
		if err != nil {
			return 0, err
		}
		if l.epoch >= before || len(over) == limit {
			break
		}
		over = append(over, l)
	}
	for _, l := range over {
		if err := t.b.Delete(l.key, nil); err != nil {
			return 0, err
		}
		for _, k := range [][]byte{leftoverSumKey(l.bucket, nil), leftoverSumKey(l.bucket, l.who)} {
			if err := t.addBytes(k, -l.bytes); err != nil {
				return 0, err
			}
		}
	}
	return len(over), nil
}
