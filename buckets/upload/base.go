package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

const (
	// MaxBases is how many files an upload by chunk list may name.
	MaxBases = 16

	// maxBaseChunks bounds the chunks of bases that are kept in memory at a
	// time, 16 bytes each; maxOneBase those of one. What a larger base has
	// beyond is asked for like anything new.
	maxBaseChunks = 4 << 20
	maxOneBase    = maxBaseChunks / 2
)

// chooseBases returns what an upload may be told to be there: what is named,
// if the uploader may read it, and the version that it would replace.
func (b *Bucket) chooseBases(ctx context.Context, replaces manifest.FileID, ids []string) ([]string, error) {
	if len(ids) > MaxBases {
		return nil, fmt.Errorf("%d bases, at most %d are taken: %w", len(ids), MaxBases, buckets.ErrBase)
	}
	var out []string
	for _, id := range ids {
		base, err := b.resolveBase(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("base %.80q: %w", id, err)
		}
		out = append(out, base)
	}
	if replaces != "" && len(out) < MaxBases {
		f, err := b.in.Meta().File(ctx, replaces)
		if err != nil {
			return nil, err
		}
		base, err := b.resolveBase(ctx, string(f.Current))
		if err := unlessWithdrawn(err); err != nil {
			return nil, err
		}
		if base != "" {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// resolveBase returns the version or upload that id names, if its chunks may
// be told to the bucket's principal.
func (b *Bucket) resolveBase(ctx context.Context, id string) (string, error) {
	if _, ok := manifest.ParseUploadID(id); ok {
		_, err := b.findUpload(ctx, id)
		return id, err
	}
	m, err := b.readableBase(ctx, id)
	if err != nil {
		return "", err
	}
	return string(m.ID), nil
}

// readableBase is a version that the principal may read in full. Where the
// bucket tells its principals only of what is theirs, it must be that too.
func (b *Bucket) readableBase(ctx context.Context, id string) (*manifest.Manifest, error) {
	f, m, err := b.in.FindReadable(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.Policy().Dedup == buckets.DedupPrincipal && !b.in.IsTrusted() && (b.in.PrincipalID() == "" || f.Owner != b.in.PrincipalID()) {
		return nil, fmt.Errorf("it is somebody else's, and the bucket's dedup is %s: %w", buckets.DedupPrincipal, buckets.ErrBase)
	}
	return m, nil
}

// acquireBase returns the digests of a base, for as long as the principal may read
// it: nil where that is over. They are to be released.
func (b *Bucket) acquireBase(ctx context.Context, id string) (*baseSet, error) {
	if _, ok := manifest.ParseUploadID(id); ok {
		row, err := b.findUpload(ctx, id)
		if err != nil {
			return nil, unlessWithdrawn(err)
		}
		if row.Manifest != "" { // it has become a file
			return b.acquireBase(ctx, string(row.Manifest))
		}
		key := fmt.Sprintf("%s %d", id, row.Parts)
		return b.uploads.bases.acquire(ctx, key, row.Offset/minChunk(row)+1, func(add func(cas.Ref) error) error {
			return b.in.EachPart(ctx, row, 0, func(refs []cas.Ref) error {
				for _, r := range refs {
					if err := add(r); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	m, err := b.readableBase(ctx, id)
	if err != nil {
		return nil, unlessWithdrawn(err)
	}
	return b.uploads.bases.acquire(ctx, id, m.Chunks, func(add func(cas.Ref) error) error {
		return m.Content.Walk(ctx, b.in.Segments(), func(manifest.Segment) error { return nil }, func(refs []cas.Ref) error {
			for _, r := range refs {
				if err := add(r); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// unlessWithdrawn is nil for errors that say that a base may be read no longer.
func unlessWithdrawn(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, buckets.ErrBase) {
		return nil
	}
	return err
}

// baseSets keeps the digests of bases: an upload asks for the same ones with
// every piece of its list.
type baseSets struct {
	room *semaphore.Weighted // chunks that may still be kept

	mu      sync.Mutex
	sets    map[string]*baseSet // mu
	used    []*baseSet          // those that nobody uses, latest last; mu
	waiting int                 // for room; mu
}

// A baseSet holds the digests of a base, cut to 16 bytes: who wants one to
// pose as another has 2^128 to try.
type baseSet struct {
	owner   *baseSets
	key     string
	size    int64 // that room was taken for
	digests [][16]byte
	err     error
	ready   chan struct{} // closed when digests or err is there
	users   int           // owner.mu
}

func newBaseSets() *baseSets {
	return &baseSets{room: semaphore.NewWeighted(maxBaseChunks), sets: make(map[string]*baseSet)}
}

// acquire returns the set called key, loading it if it is not at hand. n is
// how many chunks it has at most. One caller may hold one set at a time.
func (c *baseSets) acquire(ctx context.Context, key string, n int64, load func(add func(cas.Ref) error) error) (*baseSet, error) {
	n = min(n, maxOneBase)
	if s := c.findSet(key); s != nil {
		return s.waitLoaded(ctx)
	}
	if err := c.makeRoom(ctx, n); err != nil {
		return nil, err
	}
	s := &baseSet{owner: c, key: key, size: n, ready: make(chan struct{}), users: 1}
	c.mu.Lock()
	if other := c.sets[key]; other != nil { // meanwhile
		c.holdSet(other)
		c.mu.Unlock()
		c.room.Release(n)
		return other.waitLoaded(ctx)
	}
	c.sets[key] = s
	c.mu.Unlock()
	s.loadDigests(load)
	return s.waitLoaded(ctx)
}

func (c *baseSets) findSet(key string) *baseSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sets[key]
	if s != nil {
		c.holdSet(s)
	}
	return s
}

// holdSet counts a user of s. c.mu is held.
func (c *baseSets) holdSet(s *baseSet) {
	if s.users++; s.users == 1 {
		c.used = slices.DeleteFunc(c.used, func(o *baseSet) bool { return o == s })
	}
}

// makeRoom drops sets that nobody uses, oldest first, and then waits for
// those that somebody does.
func (c *baseSets) makeRoom(ctx context.Context, n int64) error {
	for !c.room.TryAcquire(n) {
		c.mu.Lock()
		if len(c.used) > 0 {
			c.dropSet(c.used[0])
			c.mu.Unlock()
			continue
		}
		c.waiting++
		c.mu.Unlock()
		err := c.room.Acquire(ctx, n)
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
		return err
	}
	return nil
}

// dropSet forgets a set that nobody uses. c.mu is held.
func (c *baseSets) dropSet(s *baseSet) {
	c.used = slices.DeleteFunc(c.used, func(o *baseSet) bool { return o == s })
	delete(c.sets, s.key)
	c.room.Release(s.size)
}

var errFull = errors.New("set is full")

func (s *baseSet) loadDigests(load func(add func(cas.Ref) error) error) {
	s.digests = make([][16]byte, 0, s.size)
	s.err = load(func(r cas.Ref) error {
		if int64(len(s.digests)) == s.size {
			return errFull
		}
		s.digests = append(s.digests, [16]byte(r.Digest[:16]))
		return nil
	})
	if s.err == errFull {
		s.err = nil
	}
	slices.SortFunc(s.digests, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	close(s.ready)
}

// waitLoaded returns s when it has been loaded.
func (s *baseSet) waitLoaded(ctx context.Context) (*baseSet, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		s.release()
		return nil, ctx.Err()
	}
	if s.err != nil {
		s.release()
		return nil, s.err
	}
	return s, nil
}

func (s *baseSet) has(d cas.Digest) bool {
	_, ok := slices.BinarySearchFunc(s.digests, d[:16], func(e [16]byte, d []byte) int { return bytes.Compare(e[:], d) })
	return ok
}

func (s *baseSet) release() {
	c := s.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	c.used = append(c.used, s)
	if s.err != nil || c.waiting > 0 {
		c.dropSet(s)
	}
}
