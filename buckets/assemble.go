package buckets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// Commit makes a file of an upload that has arrived whole. Repeated, it
// returns the same file. It goes on when ctx is done: what has arrived is there
// to become a file, and who has lost the answer asks again.
func (b *Bucket) Commit(ctx context.Context, id string) (*File, error) {
	ctx = context.WithoutCancel(ctx)
	row, release, err := b.holdUpload(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	if row.Manifest != "" {
		return b.made(ctx, row)
	}
	if row.Partial {
		return nil, fmt.Errorf("upload %s is a part: %w", id, ErrPart)
	}
	if row.Length < 0 && len(row.Joins) > 0 {
		return nil, fmt.Errorf("upload %s waits for its parts: %w", id, ErrPart)
	}
	if row.Length >= 0 && row.Offset < row.Length {
		return nil, fmt.Errorf("%d bytes of %d have arrived: %w", row.Offset, row.Length, ErrSize)
	}
	if !row.Listed {
		return b.commitUpload(ctx, row)
	}
	if err := b.nothingLacks(ctx, row); err != nil {
		return nil, err
	}
	f, err := b.commitUpload(ctx, row)
	if errors.Is(err, ErrChunksGone) { // meanwhile: say which
		err = errors.Join(b.nothingLacks(ctx, row), err)
	}
	return f, err
}

func (b *Bucket) commitUpload(ctx context.Context, row *uploadRow) (*File, error) {
	d, err := b.draftOf(row, row.Offset)
	if err != nil {
		return nil, err
	}
	err = d.assemble(ctx, row)
	if errors.Is(err, ErrDigest) {
		return nil, errors.Join(err, b.dropUpload(ctx, row.ID)) // it cannot become right any more
	}
	if err != nil {
		return nil, wrapSpace(err)
	}
	d.stats.NewBytes, d.stats.StoredBytes = d.stats.NewBytes+row.NewBytes, d.stats.StoredBytes+row.StoredBytes
	d.onCommit = func(tx manifest.Tx, m *manifest.Manifest) error {
		now, err := b.getUpload(ctx, tx, row.ID)
		if err != nil && !errors.Is(err, ErrNoUpload) {
			return err
		}
		if row.Listed && err == nil && now.Chunks != row.Chunks {
			return &ListOffsetError{now.Chunks} // it grew while it was committed
		}
		done := *row
		done.Manifest = m.ID
		if _, err := tx.DropParts(ctx, row.ID, maxSwept); err != nil {
			return err
		}
		return b.putUpload(ctx, tx, &done)
	}
	return d.commit(ctx)
}

// assemble makes the content of the parts that have arrived, and begins the
// draft as any other.
func (d *draft) assemble(ctx context.Context, row *uploadRow) error {
	b := d.b
	rest, err := b.s.meta.UploadRest(ctx, row.ID)
	if err != nil {
		return err
	}
	if err := d.beginAgain(ctx); err != nil {
		return err
	}
	d.content, d.stats, err = b.assembled(ctx, row, rest, d.splitter, row.Digests)
	if err != nil {
		return err
	}
	if err := d.expected(ctx, row.Expect); err != nil {
		return err
	}
	if err := d.setStoredType(ctx); err != nil {
		return err
	}
	return d.recheckChunks(ctx)
}

// assembled is the content of what has arrived.
func (b *Bucket) assembled(ctx context.Context, row *uploadRow, rest []byte, s chunker.Splitter, digests []string) (*manifest.Content, cas.BatchStats, error) {
	refs := func(yield func(cas.Ref) error) error {
		return b.eachPart(ctx, row, 0, func(refs []cas.Ref) error {
			for _, r := range refs {
				if err := yield(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	opts := &manifest.WriteOptions{Compression: b.b.Compression, Digests: digests, Segments: b.segmentStore()}
	if len(digests) > 0 {
		var err error
		if opts.Sums, err = row.sums(); err != nil {
			return nil, cas.BatchStats{}, err
		}
	}
	return manifest.Assemble(ctx, b.chunks(), refs, rest, s, opts)
}

// beginAgain looks, before the commit, at the file that the draft becomes a
// version of.
func (d *draft) beginAgain(ctx context.Context) error {
	if d.target == "" {
		return d.beginByName(ctx)
	}
	f, _, err := d.b.findRows(ctx, string(d.target), nil)
	if err != nil {
		return err
	}
	return d.begin(ctx, f)
}

// segmentStore puts segments into the metadata store, and finds them there or
// in the packs.
func (b *Bucket) segmentStore() segmentStore {
	return segmentStore{b.s.meta.Segments(b.domain()), b.segmentGetter()}
}

type segmentStore struct {
	manifest.SegmentPutter
	manifest.SegmentGetter
}

// expected checks the content against the digests that it is to have. Those
// that are not kept anyway are found by reading it.
func (d *draft) expected(ctx context.Context, want map[string][]byte) error {
	for name, sum := range want {
		got := d.content.Digests[name]
		if got == nil {
			h := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}[name]()
			r := manifest.NewReader(ctx, d.b.chunks(), d.b.segmentGetter(), d.content)
			_, err := io.Copy(h, r)
			r.Close() // of a reader
			if err != nil {
				return err
			}
			got = h.Sum(nil)
		}
		if !bytes.Equal(got, sum) {
			return fmt.Errorf("%s is %x, want %x: %w", name, got, sum, ErrDigest)
		}
	}
	return nil
}

// checkExpect refuses digests that expected could not find.
func checkExpect(want map[string][]byte) error {
	for name := range want {
		if name != "sha256" && name != "sha512" {
			return fmt.Errorf("digest %q: %w: use sha256 or sha512", name, ErrDigestName)
		}
	}
	return nil
}
