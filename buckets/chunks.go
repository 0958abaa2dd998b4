package buckets

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Chunk is an element of a version's chunk list.
type Chunk struct {
	Digest string // lower-case hex
	Size   int64  // plain bytes
}

// ErrNoChunk reports that a version does not hold a chunk, whether or not
// the store does.
var ErrNoChunk = fmt.Errorf("no such chunk in this file: %w", ErrNoFile)

// errFound ends a walk whose end has been found.
var errFound = errors.New("found")

// Chunks yields the chunk list of the file or version id in order, without its
// first after chunks.
func (b *Bucket) Chunks(ctx context.Context, id string, after int64, opts *GetOptions) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		err := b.eachRef(ctx, id, after, opts, func(r cas.Ref) error {
			if !yield(Chunk{r.Digest.String(), int64(r.Length)}, nil) {
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			yield(Chunk{}, err)
		}
	}
}

// skipSegment lets a walk go on.
func skipSegment(manifest.Segment) error { return nil }

// Chunk returns the bytes of a chunk of the file or version id, verified.
// Chunks of other files cannot be had this way.
func (b *Bucket) Chunk(ctx context.Context, id, digest string, opts *GetOptions) ([]byte, error) {
	want, err := cas.ParseDigest(digest)
	if err != nil {
		return nil, ErrNoChunk
	}
	_, m, err := b.findPermitted(ctx, access.OpDownload, id, opts)
	if err != nil {
		return nil, err
	}
	err = m.Content.Walk(ctx, b.segmentGetter(), skipSegment, func(refs []cas.Ref) error {
		for _, r := range refs {
			if r.Digest == want {
				return errFound
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return nil, ErrNoChunk
	case errors.Is(err, errFound):
		return b.chunks().Get(ctx, want, nil)
	}
	return nil, err
}

// eachRef calls fn for every element of a chunk list behind the first after, if
// the principal may read the version, until fn fails.
func (b *Bucket) eachRef(ctx context.Context, id string, after int64, opts *GetOptions, fn func(cas.Ref) error) error {
	_, m, err := b.findPermitted(ctx, access.OpRead, id, opts)
	if err != nil {
		return err
	}
	return m.Content.RefsFrom(ctx, b.segmentGetter(), after, fn)
}

// A Diff compares the chunk lists of two versions.
type Diff struct {
	SharedBytes int64 // of the later version, in chunks that the earlier has
	NewBytes    int64 // of the later version, in chunks that the earlier lacks
	GoneBytes   int64 // of the earlier version, in chunks that the later lacks
}

// Diff tells what version to of the file id changed since version from.
func (b *Bucket) Diff(ctx context.Context, id string, from, to uint64) (Diff, error) {
	var d Diff
	old := make(map[cas.Digest]bool) // whether the later version has it
	err := b.eachRef(ctx, id, 0, &GetOptions{Version: from}, func(r cas.Ref) error {
		old[r.Digest] = false
		return nil
	})
	if err != nil {
		return d, err
	}
	err = b.eachRef(ctx, id, 0, &GetOptions{Version: to}, func(r cas.Ref) error {
		if _, ok := old[r.Digest]; !ok {
			d.NewBytes += int64(r.Length)
			return nil
		}
		old[r.Digest] = true
		d.SharedBytes += int64(r.Length)
		return nil
	})
	if err != nil {
		return d, err
	}
	err = b.eachRef(ctx, id, 0, &GetOptions{Version: from}, func(r cas.Ref) error {
		if !old[r.Digest] {
			d.GoneBytes += int64(r.Length)
		}
		return nil
	})
	return d, err
}
