package upload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Lacking tells which chunks of a list must be sent: those that the
// uploader has not shown to have, whether they are stored or not, and those
// that are not stored any more.
type Lacking struct {
	First    int64 // number of the first chunk that it is about
	Count    int64 // of them
	MustSend Bitmap
	Chunks   int64 // that must be sent
	Bytes    int64 // of those

	b       *Bucket
	row     *manifest.Upload
	part    uint64 // that First begins
	mayTell Bitmap // chunks that the principal may be told of
}

// A Bitmap has a bit a chunk, the most significant of a byte first.
type Bitmap []byte

func newBitmap(n int64) Bitmap { return make(Bitmap, (n+7)/8) }

func (m Bitmap) has(i int64) bool { return m[i>>3]&(0x80>>(i&7)) != 0 }
func (m Bitmap) set(i int64)      { m[i>>3] |= 0x80 >> (i & 7) }

// A ListedChunk is an element of an upload's list.
type ListedChunk struct {
	Index  int64
	Digest cas.Digest
	Size   int64
}

var errStop = errors.New("enough")

// Each yields the chunks that must be sent, in order of the list. One that is
// listed many times may come more than once.
func (l *Lacking) Each(ctx context.Context) iter.Seq2[ListedChunk, error] {
	return func(yield func(ListedChunk, error) bool) {
		err := l.eachPart(ctx, func(i int64, refs []cas.Ref) error {
			for k, r := range refs {
				if n := i + int64(k); l.MustSend.has(n) && !yield(ListedChunk{l.First + n, r.Digest, int64(r.Length)}, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(ListedChunk{}, err)
		}
	}
}

// eachPart calls fn with the chunks of the list, a part at a time. i is the bit of
// the first one.
func (l *Lacking) eachPart(ctx context.Context, fn func(i int64, refs []cas.Ref) error) error {
	var i int64
	return l.b.in.EachPart(ctx, l.row, l.part, func(refs []cas.Ref) error {
		err := fn(i, refs)
		i += int64(len(refs))
		return err
	})
}

// Lacking tells anew what of the list of an upload must be sent.
func (b *Bucket) Lacking(ctx context.Context, id string) (*Lacking, error) {
	row, err := b.findListed(ctx, id)
	if err != nil {
		return nil, err
	}
	if row.Manifest != "" {
		return nil, buckets.ErrComplete
	}
	if err := b.mayAppend(ctx, row); err != nil {
		return nil, err
	}
	return b.findLacking(ctx, row, 0, 0)
}

// findLacking finds out what of the list, from a part on, must be sent. It first
// decides what the principal may be told of, and only then looks into the store:
// so the answer never depends on what others hold.
func (b *Bucket) findLacking(ctx context.Context, row *manifest.Upload, part uint64, first int64) (*Lacking, error) {
	n := row.Chunks - first
	l := &Lacking{First: first, Count: n, MustSend: newBitmap(n), mayTell: newBitmap(n), b: b, row: row, part: part}
	if b.Policy().Dedup == buckets.DedupGlobal {
		for i := range n {
			l.mayTell.set(i)
		}
	} else {
		for _, id := range row.Bases {
			if err := l.tellBase(ctx, id); err != nil {
				return nil, err
			}
		}
		if err := l.tellReceived(ctx, row); err != nil {
			return nil, err
		}
	}
	err := l.findMissing(ctx)
	l.mayTell = nil
	return l, err
}

// tellBase marks the chunks that a base has. Of a base that is an upload by chunk
// list only those count that were sent to it: its list proves nothing.
func (l *Lacking) tellBase(ctx context.Context, id string) error {
	row, err := l.b.findListed(ctx, id)
	if err == nil && row.Manifest == "" {
		return l.tellReceived(ctx, row)
	}
	if err := unlessWithdrawn(err); err != nil {
		return err
	}
	set, err := l.b.acquireBase(ctx, id)
	if set == nil || err != nil {
		return err
	}
	defer set.release()
	return l.eachPart(ctx, func(i int64, refs []cas.Ref) error {
		for k, r := range refs {
			if set.has(r.Digest) {
				l.mayTell.set(i + int64(k))
			}
		}
		return nil
	})
}

// tellReceived marks what the principal of an upload has sent before.
func (l *Lacking) tellReceived(ctx context.Context, of *manifest.Upload) error {
	scope, at := l.b.receiptScope(of), l.b.in.Now()
	return l.eachPart(ctx, func(i int64, refs []cas.Ref) error {
		var ds []cas.Digest
		var ns []int64
		for k, r := range refs {
			if n := i + int64(k); !l.mayTell.has(n) {
				ds, ns = append(ds, r.Digest), append(ns, n)
			}
		}
		has, err := l.b.in.Meta().HaveReceipts(ctx, scope, ds, at)
		for k, ok := range has {
			if ok {
				l.mayTell.set(ns[k])
			}
		}
		return err
	})
}

// findMissing marks what must be sent: what the principal may not be told of, and
// what is not stored. A chunk that it may be told of and that is listed with a
// length that it has not fails it.
func (l *Lacking) findMissing(ctx context.Context) error {
	return l.eachPart(ctx, func(i int64, refs []cas.Ref) error {
		var ask []cas.Digest
		for k, r := range refs {
			if l.mayTell.has(i + int64(k)) {
				ask = append(ask, r.Digest)
			}
		}
		lengths, err := l.b.in.Chunks().Lengths(ctx, ask)
		if err != nil {
			return err
		}
		marked := make(map[cas.Digest]bool)
		for k, r := range refs {
			n, stored := i+int64(k), uint32(0)
			if l.mayTell.has(n) {
				stored, lengths = lengths[0], lengths[1:]
			}
			if stored > 0 && stored != r.Length {
				return fmt.Errorf("chunk %d of the list, %s, is listed with %d bytes and has %d: %w", l.First+n, r.Digest, r.Length, stored, buckets.ErrList)
			}
			if stored > 0 || marked[r.Digest] {
				continue
			}
			marked[r.Digest] = true
			l.MustSend.set(n)
			l.Chunks++
			l.Bytes += int64(r.Length)
		}
		return nil
	})
}

// A MissingError says what must be sent before an upload can be committed.
type MissingError struct{ Lacking *Lacking }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d chunks of %d bytes are missing: send them and commit again", e.Lacking.Chunks, e.Lacking.Bytes)
}

// Unwrap implements errors.Is for ErrMissing.
func (e *MissingError) Unwrap() error { return buckets.ErrMissing }

// nothingLacks is nil when the whole list of an upload may be committed.
func (b *Bucket) nothingLacks(ctx context.Context, row *manifest.Upload) error {
	l, err := b.findLacking(ctx, row, 0, 0)
	if err == nil && l.Chunks > 0 {
		err = &MissingError{l}
	}
	return err
}

// A receipt says until when a principal is known to have had a chunk. Without
// one, nobody is told that it is stored.
const receiptLife = 7 * 24 * time.Hour

// receiptScope is whose receipts count for an upload: its principal's. Who has
// no name has only those of the upload itself.
func (b *Bucket) receiptScope(row *manifest.Upload) manifest.Scope {
	if b.in.IsNameless() {
		return sha256.Sum256([]byte(row.ID))
	}
	return sha256.Sum256([]byte(b.in.Domain() + "\x00" + b.in.PrincipalKey()))
}
