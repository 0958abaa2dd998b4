package upload

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// A SentChunk is a chunk as it arrives, with the digest that its sender states.
type SentChunk struct {
	Digest cas.Digest
	Bytes  []byte // valid until the next call
}

// Received counts what ReceiveChunks took.
type Received struct {
	Chunks, Bytes int64
	NewChunks     int64 // that the principal had not sent before
}

// ReceiveChunks stores the chunks that next yields until io.EOF, for an upload by
// chunk list. They may come in any order, and several calls may run at a time.
// The chunks that Received counts are durable: all, or those before an error of
// next. A chunk that does not have its stated digest ends the call with
// ErrChunkDigest.
func (b *Bucket) ReceiveChunks(ctx context.Context, id string, next func() (SentChunk, error)) (Received, error) {
	var got Received
	row, err := b.findListed(ctx, id)
	if err != nil {
		return got, err
	}
	if row.Manifest != "" {
		return got, buckets.ErrComplete
	}
	if err := b.mayAppend(ctx, row); err != nil {
		return got, err
	}
	if err := b.in.CheckWritable(ctx); err != nil {
		return got, err
	}
	if row.Received > row.Offset {
		return got, fmt.Errorf("%d bytes came for a list of %d: send only what is listed: %w", row.Received, row.Offset, buckets.ErrTooLarge)
	}
	if err := b.in.CheckLeftovers(ctx, row); err != nil {
		return got, err
	}
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return got, err
	}
	ctx = context.WithoutCancel(ctx) // what has arrived is kept
	b = b.pinned()
	for {
		more, err := b.receivePart(ctx, row, s.Max(), next, &got)
		if err != nil || !more {
			return got, b.in.WrapSpace(err)
		}
	}
}

// receivePart stores chunks for a while, and makes them durable with receipts. If
// collection has removed some before that, the call fails with ErrChunksGone, and
// all must be sent again.
func (b *Bucket) receivePart(ctx context.Context, row *manifest.Upload, longest int, next func() (SentChunk, error), got *Received) (more bool, err error) {
	w, err := b.in.BeginWriter(ctx)
	if err != nil {
		return false, err
	}
	defer w.End(ctx)
	var size int64
	kept := false
	defer func() {
		if !kept {
			b.in.LeaveBehind(ctx, w, size)
		}
	}()
	var said []cas.Digest
	var refs []cas.Ref
	batch := b.in.Chunks().NewBatch(ctx, &cas.BatchOptions{Compression: b.Policy().Compression, Since: w.Since(), Emit: func(r cas.Ref) error {
		refs = append(refs, r)
		return nil
	}})
	defer batch.Close()
	var ended error
	for until := time.Now().Add(partTime); ended == nil && size < partSize && len(said) < listPart && !time.Now().After(until); {
		c, err := next()
		if err == nil && len(c.Bytes) > longest {
			err = fmt.Errorf("chunk %s has more than %d bytes: %w", c.Digest, longest, buckets.ErrChunkTooLarge)
		}
		if ended = err; err != nil {
			break
		}
		if err := batch.Put(c.Bytes); err != nil {
			return false, err
		}
		said = append(said, c.Digest)
		size += int64(len(c.Bytes))
	}
	if err := batch.Flush(); err != nil {
		return false, err
	}
	if err := b.noteReceipts(ctx, w, row, refs, batch.Stats(), got); err != nil {
		return false, err
	}
	kept = true
	for i, r := range refs {
		if r.Digest != said[i] {
			return false, fmt.Errorf("chunk said to be %s is %s: %w", said[i], r.Digest, buckets.ErrChunkDigest)
		}
	}
	if ended == io.EOF {
		return false, nil
	}
	return ended == nil, ended
}

// noteReceipts notes that the principal has sent the chunks of refs. They are kept
// for the upload until it ends: its list is no root, but they are.
func (b *Bucket) noteReceipts(ctx context.Context, w *buckets.Writer, row *manifest.Upload, refs []cas.Ref, stats cas.BatchStats, got *Received) error {
	if len(refs) == 0 {
		return nil
	}
	scope := b.receiptScope(row)
	ds := make([]cas.Digest, len(refs))
	for i, r := range refs {
		ds[i] = r.Digest
	}
	var part Received
	keep := func(ctx context.Context, fn func(tx manifest.Tx) (more bool, err error)) error {
		return b.in.KeepChunks(ctx, w, refs, fn)
	}
	_, err := b.changeListed(ctx, keep, row.ID, func(tx manifest.Tx, row *manifest.Upload) (more bool, err error) {
		if b.in.Moved() {
			return false, buckets.ErrMoved
		}
		part = Received{}
		at := b.in.Now()
		known, err := tx.HaveReceipts(ctx, scope, ds, at)
		if err != nil {
			return false, err
		}
		var fresh []cas.Digest
		var came int64 // bytes of them
		seen := make(map[cas.Digest]bool)
		for i, r := range refs {
			part.Chunks++
			part.Bytes += int64(r.Length)
			if known[i] || seen[r.Digest] {
				continue
			}
			seen[r.Digest] = true
			fresh = append(fresh, r.Digest)
			part.NewChunks++
			came += int64(r.Length)
		}
		// What it has sent before may have been collected, and is stored anew.
		row.Received += max(came, stats.NewBytes)
		row.NewBytes, row.StoredBytes = row.NewBytes+stats.NewBytes, row.StoredBytes+stats.StoredBytes
		row.ExpiresAt = latest(row.ExpiresAt, at.Add(b.Policy().UploadExpiry))
		sent := manifest.SentParts + row.Sent
		row.Sent, row.SentRefs = row.Sent+1, row.SentRefs+int64(len(refs))
		if more, err := b.in.MakeRoom(ctx, tx, row); err != nil || more {
			return more, err
		}
		if err := tx.PutPart(ctx, row.ID, sent, refs); err != nil {
			return false, err
		}
		return false, tx.PutReceipts(ctx, scope, fresh, at.Add(receiptLife))
	})
	if err == nil {
		got.Chunks, got.Bytes, got.NewChunks = got.Chunks+part.Chunks, got.Bytes+part.Bytes, got.NewChunks+part.NewChunks
	}
	return err
}

func latest(a, b time.Time) time.Time {
	if b = b.UTC().Truncate(time.Millisecond); b.After(a) {
		return b
	}
	return a
}
