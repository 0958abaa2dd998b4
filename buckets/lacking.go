package buckets

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Lacking tells which chunks of a list must be sent: those that the
// uploader has not shown to have, whether they are stored or not, and those
// that are not stored any more.
type Lacking struct {
	First  int64  // number of the first chunk that it is about
	Count  int64  // of them
	Bits   []byte // one a chunk, most significant first: set where it must be sent
	Chunks int64  // that must be sent
	Bytes  int64  // of those

	b    *Bucket
	row  *uploadRow
	part int // that First begins
}

// A ListedChunk is an element of an upload's list.
type ListedChunk struct {
	Index  int64
	Digest cas.Digest
	Size   int64
}

func (l *Lacking) has(i int64) bool { return l.Bits[i>>3]&(0x80>>(i&7)) != 0 }
func (l *Lacking) set(i int64)      { l.Bits[i>>3] |= 0x80 >> (i & 7) }
func (l *Lacking) clear(i int64)    { l.Bits[i>>3] &^= 0x80 >> (i & 7) }

// Each yields the chunks that must be sent, in order of the list. One that is
// listed many times may come more than once.
func (l *Lacking) Each(ctx context.Context) iter.Seq2[ListedChunk, error] {
	return func(yield func(ListedChunk, error) bool) {
		err := l.each(ctx, func(i int64, refs []cas.Ref) error {
			for k, r := range refs {
				if n := i + int64(k); l.has(n) && !yield(ListedChunk{l.First + n, r.Digest, int64(r.Length)}, nil) {
					return errFound
				}
			}
			return nil
		})
		if err != nil && err != errFound {
			yield(ListedChunk{}, err)
		}
	}
}

// each calls fn with the chunks of the list, a part at a time, and the bit of
// the first.
func (l *Lacking) each(ctx context.Context, fn func(i int64, refs []cas.Ref) error) error {
	var i int64
	return l.b.eachPart(ctx, l.row, l.part, func(refs []cas.Ref) error {
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
		return nil, ErrComplete
	}
	if err := b.mayAppend(ctx, row); err != nil {
		return nil, err
	}
	return b.lacking(ctx, row, 0, 0)
}

// lacking finds out what of the list, from a part on, must be sent. What may
// be told is decided first; only then is the store asked.
func (b *Bucket) lacking(ctx context.Context, row *uploadRow, part int, first int64) (*Lacking, error) {
	l := &Lacking{First: first, Count: row.Chunks - first, b: b, row: row, part: part}
	l.Bits = make([]byte, (l.Count+7)/8) // first: what may be told
	if b.b.Dedup == DedupGlobal {
		for i := range l.Count {
			l.set(i)
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
	return l, l.askStore(ctx)
}

// tellBase marks what a base has. That of an upload by chunk list is what was
// sent to it: anybody can list what he does not have.
func (l *Lacking) tellBase(ctx context.Context, id string) error {
	row, err := l.b.findListed(ctx, id)
	if err == nil && row.Manifest == "" {
		return l.tellReceived(ctx, row)
	}
	if err := withdrawn(err); err != nil {
		return err
	}
	set, err := l.b.base(ctx, id)
	if set == nil || err != nil {
		return err
	}
	defer set.release()
	return l.each(ctx, func(i int64, refs []cas.Ref) error {
		for k, r := range refs {
			if set.has(r.Digest) {
				l.set(i + int64(k))
			}
		}
		return nil
	})
}

// tellReceived marks what the principal of an upload has sent before.
func (l *Lacking) tellReceived(ctx context.Context, of *uploadRow) error {
	scope, at := l.b.receiptScope(of), l.b.s.now()
	return l.each(ctx, func(i int64, refs []cas.Ref) error {
		var ds []cas.Digest
		var ns []int64
		for k, r := range refs {
			if n := i + int64(k); !l.has(n) {
				ds, ns = append(ds, r.Digest), append(ns, n)
			}
		}
		has, err := l.b.s.meta.HaveReceipts(ctx, scope, ds, at)
		for k, ok := range has {
			if ok {
				l.set(ns[k])
			}
		}
		return err
	})
}

// askStore turns what may be told into what must be sent. A chunk that may be
// told of and is listed with a length that it has not fails it.
func (l *Lacking) askStore(ctx context.Context) error {
	return l.each(ctx, func(i int64, refs []cas.Ref) error {
		var ask []cas.Digest
		for k, r := range refs {
			if l.has(i + int64(k)) {
				ask = append(ask, r.Digest)
			}
		}
		lengths, err := l.b.chunks().Lengths(ctx, ask)
		if err != nil {
			return err
		}
		said := make(map[cas.Digest]bool)
		for k, r := range refs {
			n, stored := i+int64(k), uint32(0)
			if l.has(n) {
				stored, lengths = lengths[0], lengths[1:]
			}
			if stored > 0 && stored != r.Length {
				return fmt.Errorf("chunk %d of the list, %s, is listed with %d bytes and has %d: %w", l.First+n, r.Digest, r.Length, stored, ErrList)
			}
			if stored > 0 || said[r.Digest] {
				l.clear(n)
				continue
			}
			said[r.Digest] = true
			l.set(n)
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
func (e *MissingError) Unwrap() error { return ErrMissing }

// nothingLacks is nil when the whole list of an upload may be committed.
func (b *Bucket) nothingLacks(ctx context.Context, row *uploadRow) error {
	l, err := b.lacking(ctx, row, 0, 0)
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
func (b *Bucket) receiptScope(row *uploadRow) manifest.Scope {
	if b.who != nil && b.who.ID == "" && b.who.Grant == nil {
		return sha256.Sum256([]byte(row.ID))
	}
	return sha256.Sum256([]byte(b.domain() + "\x00" + b.whoKey()))
}
