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
	"io/fs"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/cairn-store/cairn/buckets/names"
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
	u, err := b.resumed(row)
	if err != nil {
		return nil, err
	}
	err = u.assemble(ctx, row)
	if errors.Is(err, ErrDigest) {
		return nil, errors.Join(err, b.dropUpload(ctx, row.ID)) // it cannot become right any more
	}
	if err != nil {
		return nil, wrapSpace(err)
	}
	u.stats.NewBytes, u.stats.StoredBytes = u.stats.NewBytes+row.NewBytes, u.stats.StoredBytes+row.StoredBytes
	u.also = func(tx manifest.Tx, m *manifest.Manifest) error {
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
	return u.commitRetry(ctx)
}

// assemble makes the content of the parts that have arrived, and begins the
// commit as any upload begins.
func (u *upload) assemble(ctx context.Context, row *uploadRow) error {
	b := u.b
	rest, err := b.s.meta.UploadRest(ctx, row.ID)
	if err != nil {
		return err
	}
	splitter := u.splitter
	u.opts.Size, u.opts.SizeKnown = row.Offset, true
	if err := u.beginAgain(ctx); err != nil {
		return err
	}
	u.splitter = splitter
	u.c, u.stats, err = b.assembled(ctx, row, rest, u.splitter, row.Digests)
	if err != nil {
		return err
	}
	if err := u.expected(ctx, row.Expect); err != nil {
		return err
	}
	if err := u.sniffStored(ctx); err != nil {
		return err
	}
	return u.recheck(ctx)
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
	opts := &manifest.WriteOptions{Compression: b.b.Compression, Digests: digests, Segments: stored{b.s.meta.Segments(b.domain()), b.segments()}}
	if len(digests) > 0 {
		var err error
		if opts.Sums, err = row.sums(); err != nil {
			return nil, cas.BatchStats{}, err
		}
	}
	return manifest.Assemble(ctx, b.chunks(), refs, rest, s, opts)
}

// beginAgain looks, before the commit, at the file that the upload becomes a
// version of.
func (u *upload) beginAgain(ctx context.Context) error {
	if u.target != "" {
		f, _, err := u.b.find(ctx, string(u.target), nil)
		if err != nil {
			return err
		}
		return u.begin(ctx, f)
	}
	old, err := u.b.s.meta.FileByPath(ctx, u.b.b.name, names.Join(u.folder, u.name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return u.begin(ctx, old)
}

// stored puts segments into the metadata store and finds them there, or in
// the packs.
type stored struct {
	manifest.SegmentPutter
	manifest.SegmentGetter
}

// expected checks the content against the digests that it is to have. Those
// that are not kept anyway are found by reading it.
func (u *upload) expected(ctx context.Context, want map[string][]byte) error {
	for name, d := range want {
		got := u.c.Digests[name]
		if got == nil {
			h := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}[name]()
			r := manifest.NewReader(ctx, u.b.chunks(), u.b.segments(), u.c)
			_, err := io.Copy(h, r)
			r.Close() // of a reader
			if err != nil {
				return err
			}
			got = h.Sum(nil)
		}
		if !bytes.Equal(got, d) {
			return fmt.Errorf("%s is %x, want %x: %w", name, got, d, ErrDigest)
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

// sniffStored finds the type of content that is stored, and judges it.
func (u *upload) sniffStored(ctx context.Context) error {
	r := manifest.NewReader(ctx, u.b.chunks(), u.b.segments(), u.c)
	defer r.Close()
	head := make([]byte, min(u.c.Size, sniffBytes))
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	found := mimetype.Detect(head)
	u.mime, _, _ = strings.Cut(found.String(), ";")
	return u.judge(found)
}
