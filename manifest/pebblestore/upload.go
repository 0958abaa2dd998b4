package pebblestore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Lists of uploads under keyExpiry.
const (
	listUploads = keyUpload // not yet marked as expired
	listExpired = 'x'       // marked as expired
)

func uploadKey(bucket string, id manifest.UploadID) []byte {
	return bucketKey(keyUpload, bucket, string(id))
}

func partsKey(id manifest.UploadID) []byte { return append([]byte{keyPart}, id...) }

func partKey(id manifest.UploadID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(partsKey(id), n)
}

func restKey(id manifest.UploadID) []byte { return append([]byte{keyRest}, id...) }

// heldKey finds an upload under way by its principal.
func heldKey(bucket, who string, id manifest.UploadID) []byte {
	sum := sha256.Sum256([]byte(who))
	return append(append(bucketKey(keyHeld, bucket, ""), sum[:16]...), id...)
}

// joinKey finds an upload under way by a part that it waits for.
func joinKey(bucket string, part, whole manifest.UploadID) []byte {
	return bucketKey(keyJoin, bucket, string(part)+string(whole))
}

// expiryOf is the key of an upload under keyExpiry.
func expiryOf(u *manifest.Upload) []byte {
	list := byte(listUploads)
	if u.Expired {
		list = listExpired
	}
	return expiryKey(list, bucketScope(u.Bucket), u.ExpiresAt, []byte(u.ID))
}

func bucketScope(bucket string) []byte { return append([]byte(bucket), 0) }

// Upload implements manifest.Uploads, and so do the methods below.
func (s rows) Upload(ctx context.Context, bucket string, id manifest.UploadID) (*manifest.Upload, error) {
	return getRow[manifest.Upload](ctx, s, uploadKey(bucket, id), "upload %s", id)
}

func (s rows) UploadParts(ctx context.Context, id manifest.UploadID, from uint64) iter.Seq2[[]cas.Ref, error] {
	return s.partsBetween(ctx, id, from, manifest.SentParts)
}

// partsBetween yields the parts of an upload from a number on, and below another.
func (s rows) partsBetween(ctx context.Context, id manifest.UploadID, from, below uint64) iter.Seq2[[]cas.Ref, error] {
	seek := func(it *pebble.Iterator) bool { return it.SeekGE(partKey(id, from)) }
	return scanRange(ctx, s, partsKey(id), partKey(id, below), seek, (*pebble.Iterator).Next, func(_, v []byte) ([]cas.Ref, error) {
		refs, err := manifest.ParseRefs(v)
		if err != nil {
			return nil, fmt.Errorf("part of upload %s: %w", id, err)
		}
		return refs, nil
	})
}

func (s rows) UploadRest(ctx context.Context, id manifest.UploadID) ([]byte, error) {
	v, err := s.d.getValue(s.r, restKey(id))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return v, cmp.Or(err, ctx.Err())
}

func (s rows) UploadsUnderWay(ctx context.Context, bucket string) iter.Seq2[*manifest.Upload, error] {
	prefix := bucketKey(keyUpload, bucket, "")
	all := scanPrefix(ctx, s, prefix, rowParser[manifest.Upload]("upload", len(prefix)))
	return onlyIf(all, (*manifest.Upload).UnderWay)
}

func (s rows) UploadsHeld(ctx context.Context, bucket, who string) (h manifest.Holding, err error) {
	err = s.eachHeld(ctx, bucket, who, func(_ manifest.UploadID, held int64) error {
		h.Uploads++
		h.Bytes += held
		return nil
	})
	return h, err
}

// eachHeld calls fn with the uploads under way of a principal.
func (s rows) eachHeld(ctx context.Context, bucket, who string, fn func(id manifest.UploadID, held int64) error) error {
	prefix := heldKey(bucket, who, "")
	type entry struct {
		id   manifest.UploadID
		held int64
	}
	for e, err := range scanPrefix(ctx, s, prefix, func(k, v []byte) (entry, error) {
		n, ok := parseUvarints(v, 1)
		if !ok {
			return entry{}, fmt.Errorf("pebblestore: damaged entry of an upload %x", k)
		}
		return entry{manifest.UploadID(k[len(prefix):]), int64(n[0])}, nil
	}) {
		if err == nil {
			err = fn(e.id, e.held)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// heldSumKey is the key of the sum that HeldBytes returns.
func heldSumKey(bucket string) []byte { return append([]byte{keyHeldSum}, bucket...) }

func (s rows) HeldBytes(ctx context.Context, bucket string) (int64, error) {
	v, err := s.d.getValue(s.r, heldSumKey(bucket))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	n, ok := parseUvarints(v, 1)
	if !ok {
		return 0, fmt.Errorf("pebblestore: damaged sum of uploads of %q", bucket)
	}
	return int64(n[0]), nil
}

// countHeld adds to what all uploads under way of a bucket hold.
func (t *tx) countHeld(ctx context.Context, bucket string, n int64) error {
	if n == 0 {
		return nil
	}
	sum, err := t.HeldBytes(ctx, bucket)
	if err != nil {
		return err
	}
	return t.b.Set(heldSumKey(bucket), binary.AppendUvarint(nil, uint64(max(sum+n, 0))), nil)
}

// heldWhileUnderWay is what a row, nil for none, adds to the sum.
func heldWhileUnderWay(u *manifest.Upload) int64 {
	if u == nil || !u.UnderWay() {
		return 0
	}
	return u.Held
}

func (s rows) UploadsOf(ctx context.Context, bucket, who string, limit int) ([]*manifest.Upload, error) {
	var us []*manifest.Upload
	err := s.eachHeld(ctx, bucket, who, func(id manifest.UploadID, held int64) error {
		if held == 0 {
			return nil
		}
		u, err := s.Upload(ctx, bucket, id)
		us = append(us, u)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(us, func(a, b *manifest.Upload) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	return us[:min(len(us), limit)], nil
}

func (s rows) UploadsWaiting(ctx context.Context, bucket string, part, after manifest.UploadID, limit int) ([]*manifest.Upload, error) {
	prefix := joinKey(bucket, part, "")
	var us []*manifest.Upload
	for id, err := range scanFrom(ctx, s, prefix, append(joinKey(bucket, part, after), 0), func(k, _ []byte) (manifest.UploadID, error) {
		return manifest.UploadID(k[len(prefix):]), nil
	}) {
		if err != nil {
			return nil, err
		}
		if len(us) == limit {
			break
		}
		u, err := s.Upload(ctx, bucket, id)
		if err != nil {
			return nil, err
		}
		us = append(us, u)
	}
	return us, nil
}

func (s rows) UploadsOver(ctx context.Context, bucket string, before time.Time, limit int) ([]*manifest.Upload, error) {
	over, err := s.expiredKeys(listUploads, bucketScope(bucket), before, limit)
	if err != nil {
		return nil, err
	}
	us := make([]*manifest.Upload, len(over))
	for i, k := range over {
		if us[i], err = s.Upload(ctx, bucket, manifest.UploadID(k[8:])); err != nil {
			return nil, err
		}
	}
	return us, nil
}

// PutUpload implements manifest.UploadChanges, and so do the methods below.
func (t *tx) PutUpload(ctx context.Context, u *manifest.Upload) error {
	old, err := t.Upload(ctx, u.Bucket, u.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != nil {
		if err := t.unlistUpload(old, u); err != nil {
			return err
		}
	}
	if err := t.countHeld(ctx, u.Bucket, heldWhileUnderWay(u)-heldWhileUnderWay(old)); err != nil {
		return err
	}
	if err := t.b.Set(expiryOf(u), nil, nil); err != nil {
		return err
	}
	if err := t.putRow(uploadKey(u.Bucket, u.ID), u); err != nil {
		return err
	}
	if !u.UnderWay() {
		return t.b.Delete(restKey(u.ID), nil)
	}
	if old == nil || !old.UnderWay() || !slices.Equal(old.Joins, u.Joins) {
		for _, part := range u.Joins {
			if err := t.b.Set(joinKey(u.Bucket, part, u.ID), nil, nil); err != nil {
				return err
			}
		}
	}
	return t.b.Set(heldKey(u.Bucket, u.Who, u.ID), binary.AppendUvarint(nil, uint64(u.Held)), nil)
}

// unlistUpload deletes the keys that find an upload. It leaves those that the
// new row now, which may be nil, has too.
func (t *tx) unlistUpload(old, now *manifest.Upload) error {
	err := t.b.Delete(expiryOf(old), nil)
	if err != nil || !old.UnderWay() {
		return err
	}
	if err := t.b.Delete(heldKey(old.Bucket, old.Who, old.ID), nil); err != nil {
		return err
	}
	if now != nil && now.UnderWay() && slices.Equal(old.Joins, now.Joins) {
		return nil
	}
	for _, part := range old.Joins {
		if err := t.b.Delete(joinKey(old.Bucket, part, old.ID), nil); err != nil {
			return err
		}
	}
	return nil
}

// DropParts drops all parts of an upload at once, since deleting a range costs
// the same for any number of keys.
func (t *tx) DropParts(ctx context.Context, id manifest.UploadID, limit int) (more bool, err error) {
	prefix := partsKey(id)
	return false, t.b.DeleteRange(prefix, prefixEnd(prefix), nil)
}

func (t *tx) PutPart(ctx context.Context, id manifest.UploadID, n uint64, refs []cas.Ref) error {
	return t.b.Set(partKey(id, n), manifest.AppendRefs(nil, refs), nil)
}

func (t *tx) PutRest(ctx context.Context, id manifest.UploadID, rest []byte) error {
	if len(rest) == 0 {
		return t.b.Delete(restKey(id), nil)
	}
	return t.b.Set(restKey(id), rest, nil)
}

func (t *tx) DropUpload(ctx context.Context, bucket string, id manifest.UploadID) error {
	old, err := t.Upload(ctx, bucket, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.unlistUpload(old, nil); err != nil {
		return err
	}
	if err := t.countHeld(ctx, bucket, -heldWhileUnderWay(old)); err != nil {
		return err
	}
	if err := t.b.Delete(uploadKey(bucket, id), nil); err != nil {
		return err
	}
	return t.b.Delete(restKey(id), nil)
}

func (t *tx) SweepUploads(ctx context.Context, bucket string, before time.Time, limit int) (int, error) {
	return t.sweepExpired(listExpired, bucketScope(bucket), before, limit, func(id []byte) error {
		if _, err := t.DropParts(ctx, manifest.UploadID(id), limit); err != nil {
			return err
		}
		return t.DropUpload(ctx, bucket, manifest.UploadID(id))
	})
}
