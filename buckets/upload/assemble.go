package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// Commit makes a file of an upload that has arrived whole: File of the Upload that it
// returns. Repeated, it returns the same file. It goes on when ctx is done: what has
// arrived is there to become a file, and who has lost the answer asks again.
func (b *Bucket) Commit(ctx context.Context, id string) (*Upload, error) {
	ctx = context.WithoutCancel(ctx)
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	out := b.describeRow(row)
	out.File, err = b.commitRow(ctx, row)
	if err != nil {
		return nil, err
	}
	out.Waiting = false
	return out, nil
}

// commitRow makes a file of the upload of a row, which the caller holds.
func (b *Bucket) commitRow(ctx context.Context, row *manifest.Upload) (*buckets.File, error) {
	if row.Manifest != "" {
		return b.describeFile(ctx, row)
	}
	if row.Partial {
		return nil, fmt.Errorf("upload %s is a part: %w", row.ID, buckets.ErrPart)
	}
	if row.Length < 0 && len(row.Joins) > 0 {
		return nil, fmt.Errorf("upload %s waits for its parts: %w", row.ID, buckets.ErrPart)
	}
	if row.Length >= 0 && row.Offset < row.Length {
		return nil, fmt.Errorf("%d bytes of %d have arrived: %w", row.Offset, row.Length, buckets.ErrSize)
	}
	if !row.Listed {
		return b.commitUpload(ctx, row)
	}
	if err := b.nothingLacks(ctx, row); err != nil {
		return nil, err
	}
	f, err := b.commitUpload(ctx, row)
	if errors.Is(err, buckets.ErrChunksGone) { // meanwhile: say which
		err = errors.Join(b.nothingLacks(ctx, row), err)
	}
	return f, err
}

func (b *Bucket) commitUpload(ctx context.Context, row *manifest.Upload) (*buckets.File, error) {
	b = b.pinned()
	d, err := b.in.ResumeDraft(row, row.Offset)
	if err != nil {
		return nil, err
	}
	w, err := b.in.BeginWriter(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End(ctx)
	for _, id := range row.Joins {
		part, err := b.in.Upload(ctx, b.in.Meta(), id)
		if err == nil {
			d.CountHeld(part.Held)
		} else if !errors.Is(err, buckets.ErrNoUpload) {
			return nil, err
		}
	}
	err = b.assembleDraft(ctx, d, w, row)
	if errors.Is(err, buckets.ErrDigest) {
		return nil, errors.Join(err, b.in.DropUpload(ctx, row.ID)) // it cannot become right any more
	}
	if err != nil {
		return nil, b.in.WrapSpace(err)
	}
	return d.Commit(ctx, func(tx manifest.Tx, answer *buckets.File) error {
		now, err := b.in.Upload(ctx, tx, row.ID)
		if err != nil && !errors.Is(err, buckets.ErrNoUpload) {
			return err
		}
		if row.Listed && err == nil && now.Chunks != row.Chunks {
			return &ListOffsetError{now.Chunks} // it grew while it was committed
		}
		done := *row
		return b.in.EndUpload(ctx, tx, &done, answer)
	})
}

// assembleDraft makes the draft's content, of w, of the parts that have arrived,
// and begins the draft as any other.
func (b *Bucket) assembleDraft(ctx context.Context, d *buckets.Draft, w *buckets.Writer, row *manifest.Upload) error {
	rest, err := b.in.Meta().UploadRest(ctx, row.ID)
	if err != nil {
		return err
	}
	if err := d.Prepare(ctx, w); err != nil {
		return err
	}
	c, stats, err := b.assembleContent(ctx, w, row, rest, d.Splitter(), row.Digests)
	if err != nil {
		return err
	}
	if !row.Listed && len(row.Joins) == 0 && c.Size != row.Offset {
		if err := b.in.CheckUnderWay(ctx, row.ID); err != nil {
			return err // given up meanwhile, for what its uploader stored
		}
		return fmt.Errorf("upload %s: its parts have %d bytes, and %d have arrived", row.ID, c.Size, row.Offset)
	}
	if err := b.checkDigests(ctx, c, row.Expect); err != nil {
		return err
	}
	stats.NewBytes, stats.StoredBytes = stats.NewBytes+row.NewBytes, stats.StoredBytes+row.StoredBytes
	return d.SetContent(ctx, c, stats)
}

// assembleContent is the content of what has arrived. Its segments are w's.
func (b *Bucket) assembleContent(ctx context.Context, w *buckets.Writer, row *manifest.Upload, rest []byte, s chunker.Splitter, digests []string) (*manifest.Content, cas.BatchStats, error) {
	refs := func(yield func(cas.Ref) error) error {
		return b.in.EachPart(ctx, row, 0, func(refs []cas.Ref) error {
			for _, r := range refs {
				if err := yield(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	opts := b.in.WriteOptions(w, row.Chunker)
	opts.Digests = digests
	if len(digests) > 0 {
		var err error
		if opts.Sums, err = wholeSums(row); err != nil {
			return nil, cas.BatchStats{}, err
		}
	}
	return manifest.Assemble(ctx, b.in.Chunks(), refs, rest, s, opts)
}

// checkDigests checks the content against the digests that it is to have. Those
// that are not kept anyway are found by reading it.
func (b *Bucket) checkDigests(ctx context.Context, c *manifest.Content, want map[string][]byte) error {
	for name, sum := range want {
		got := c.Digests[name]
		if got == nil {
			h := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}[name]()
			r := manifest.NewReader(ctx, b.in.Chunks(), b.in.Segments(), c)
			_, err := io.Copy(h, r)
			r.Close() // of a reader
			if err != nil {
				return err
			}
			got = h.Sum(nil)
		}
		if !bytes.Equal(got, sum) {
			return fmt.Errorf("%s is %x, want %x: %w", name, got, sum, buckets.ErrDigest)
		}
	}
	return nil
}

// checkExpect refuses digests that checkDigests could not find.
func checkExpect(want map[string][]byte) error {
	for name := range want {
		if name != "sha256" && name != "sha512" {
			return fmt.Errorf("digest %q: %w: use sha256 or sha512", name, buckets.ErrDigestName)
		}
	}
	return nil
}
