package upload

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// A List describes the list of an upload by chunk list.
type List struct {
	Chunker  string // by which the content is to be cut
	Chunks   int64  // listed so far
	Received int64  // bytes of chunks that were sent and that its principal had not sent before
}

const (
	// MaxListed is how many chunks an upload may list.
	MaxListed = 16 << 20

	listPart = 4096 // chunks of a list that are kept together
)

// A ListOffsetError reports that a list has another length than the request to
// append to it says.
type ListOffsetError struct{ Chunks int64 }

func (e *ListOffsetError) Error() string {
	return fmt.Sprintf("%d chunks are listed: append there", e.Chunks)
}

// Unwrap implements errors.Is for ErrListOffset.
func (e *ListOffsetError) Unwrap() error { return buckets.ErrListOffset }

// AppendList adds the chunks that next yields, until io.EOF, to the list of an
// upload that has at of them; else it is a *ListOffsetError. When next fails,
// what was kept before stays listed. It returns which of them, and of what
// this call listed, must be sent.
func (b *Bucket) AppendList(ctx context.Context, id string, at int64, next func() (cas.Ref, error)) (*Upload, *Lacking, error) {
	row, err := b.findListed(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if row.Manifest != "" {
		return nil, nil, buckets.ErrComplete
	}
	if err := b.mayAppend(ctx, row); err != nil {
		return nil, nil, err
	}
	part, first := int64(-1), at // of what this call lists
	for {
		refs := make([]cas.Ref, 0, listPart)
		var ended error
		for len(refs) < listPart && ended == nil {
			r, err := next()
			if ended = err; err == nil {
				refs = append(refs, r)
			}
		}
		if row, err = b.keepList(ctx, id, at, refs); err != nil {
			return nil, nil, err
		}
		if part < 0 { // others may have listed since the row was looked at
			part = int64(row.Parts) - int64(min(1, len(refs)))
		}
		if at += int64(len(refs)); ended == io.EOF {
			break
		}
		if ended != nil {
			return b.describeRow(row), nil, ended
		}
	}
	l, err := b.findLacking(ctx, row, uint64(part), first)
	return b.describeRow(row), l, err
}

// keepList makes a part of the list durable.
func (b *Bucket) keepList(ctx context.Context, id string, at int64, refs []cas.Ref) (*manifest.Upload, error) {
	return b.changeListed(ctx, b.in.KeepAll, manifest.UploadID(id), func(tx manifest.Tx, row *manifest.Upload) (more bool, err error) {
		if at != row.Chunks {
			return false, &ListOffsetError{row.Chunks}
		}
		if len(refs) == 0 {
			return false, nil
		}
		if row.Manifest != "" {
			return false, buckets.ErrComplete
		}
		if err := b.checkList(row, refs); err != nil {
			return false, err
		}
		n := row.Parts
		row.Parts++
		row.Chunks += int64(len(refs))
		for _, r := range refs {
			row.Offset += int64(r.Length)
		}
		row.LastChunk = refs[len(refs)-1].Length
		row.ExpiresAt = b.in.Now().Add(b.Policy().UploadExpiry)
		if more, err := b.in.MakeRoom(ctx, tx, row); err != nil || more {
			return more, err
		}
		return false, tx.PutPart(ctx, row.ID, n, refs)
	})
}

// checkList refuses a list that no splitter of the upload's name could have
// cut, and one that is longer than it may be.
func (b *Bucket) checkList(row *manifest.Upload, refs []cas.Ref) error {
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return err
	}
	if row.Chunks+int64(len(refs)) > MaxListed {
		return fmt.Errorf("more than %d chunks: %w", MaxListed, buckets.ErrTooLarge)
	}
	size, last := row.Offset, row.LastChunk
	for i, r := range refs {
		if (i > 0 || row.Chunks > 0) && int(last) < s.Min() {
			return fmt.Errorf("chunk %d of the list is not the last and has %d bytes, at least %d are cut: %w", row.Chunks+int64(i)-1, last, s.Min(), buckets.ErrList)
		}
		if r.Length == 0 || int64(r.Length) > int64(s.Max()) {
			return fmt.Errorf("chunk %d of the list has %d bytes: want 1 to %d: %w", row.Chunks+int64(i), r.Length, s.Max(), buckets.ErrList)
		}
		last = r.Length
		size += int64(r.Length)
	}
	if row.Length >= 0 && size > row.Length {
		return fmt.Errorf("the list has more than the %d bytes declared: %w", row.Length, buckets.ErrSize)
	}
	for _, most := range []int64{b.limits().MaxOwnerSize, b.limits().MaxTotalSize} {
		if most > 0 && size > most {
			return fmt.Errorf("the list has %d bytes, at most %d are taken in all: %w", size, most, buckets.ErrQuota)
		}
	}
	return b.limits().CheckSize(size)
}

// findListed returns the row of an upload by chunk list.
func (b *Bucket) findListed(ctx context.Context, id string) (*manifest.Upload, error) {
	row, err := b.findUpload(ctx, id)
	if err == nil && !row.Listed {
		err = buckets.ErrNoUpload
	}
	return row, err
}

// changeListed changes the row of an upload by chunk list, of which several
// requests may be under way, in a transaction that keep runs. While fn reports that there is more to do before,
// it is called again, in another transaction and with the row read anew.
func (b *Bucket) changeListed(ctx context.Context, keep func(context.Context, func(tx manifest.Tx) (more bool, err error)) error, id manifest.UploadID, fn func(tx manifest.Tx, row *manifest.Upload) (more bool, err error)) (*manifest.Upload, error) {
	var row *manifest.Upload
	err := keep(ctx, func(tx manifest.Tx) (more bool, err error) {
		if row, err = b.in.Upload(ctx, tx, id); err != nil {
			return false, err // ErrNoUpload if it was cancelled meanwhile
		}
		if row.Expired { // meanwhile: its list is gone
			return false, buckets.GoneError(row)
		}
		if more, err := fn(tx, row); err != nil || more {
			return more, err
		}
		return false, b.in.PutUpload(ctx, tx, row)
	})
	return row, err
}

// minChunk is the shortest chunk of an upload's content but its last.
func minChunk(row *manifest.Upload) int64 {
	s, err := chunker.Parse(row.Chunker)
	if err != nil {
		return 1
	}
	return int64(s.Min())
}
