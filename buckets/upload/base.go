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

	// maxBaseChunks is how many chunks of bases are kept in memory at a time, 16
	// bytes each, and maxOneBase how many of one base. The chunks that a larger
	// base has beyond that must be sent.
	maxBaseChunks = 4 << 20
	maxOneBase    = maxBaseChunks / 2
)

// chooseBases returns the bases of an upload: those that it names, if the
// uploader may read them, and the version that it would replace.
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

// resolveBase returns the ID of the version or upload that id names, if the
// bucket's principal may learn which chunks it has.
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

// readableBase returns a version that the principal may read in full. With
// DedupPrincipal it must be the principal's own.
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

// acquireBase returns the digests of a base, which the caller must release; nil if
// the principal may not read the base any more.
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

// unlessWithdrawn returns err, or nil if err says that a base may not be read any
// more.
func unlessWithdrawn(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, buckets.ErrBase) {
		return nil
	}
	return err
}

// baseSets keeps the digests of bases in memory, since every piece of an upload's
// list needs the same ones. mu guards the fields below it.
type baseSets struct {
	room *semaphore.Weighted // one unit a chunk that is kept

	mu      sync.Mutex
	sets    map[string]*baseSet
	unused  []*baseSet // sets without users, latest last
	waiting int        // callers that wait for room
}

// A baseSet holds the digests of a base, cut to 16 bytes: to find another chunk
// with the same 16 bytes takes 2^128 tries.
type baseSet struct {
	owner   *baseSets
	key     string
	size    int64 // units of room that it takes
	digests [][16]byte
	err     error
	ready   chan struct{} // closed when digests or err is there
	users   int           // guarded by owner.mu
}

func newBaseSets() *baseSets {
	return &baseSets{room: semaphore.NewWeighted(maxBaseChunks), sets: make(map[string]*baseSet)}
}

// acquire returns the set called key, which load loads if it is not in memory. n
// is how many chunks it has at most. A caller must hold no other set meanwhile:
// two callers that each wait for room of the other would never end.
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

// holdSet counts a user of s. The caller holds c.mu.
func (c *baseSets) holdSet(s *baseSet) {
	if s.users++; s.users == 1 {
		c.unused = slices.DeleteFunc(c.unused, func(o *baseSet) bool { return o == s })
	}
}

// makeRoom takes room for n chunks. It drops sets without users, oldest first, and
// then waits until users release theirs.
func (c *baseSets) makeRoom(ctx context.Context, n int64) error {
	for !c.room.TryAcquire(n) {
		c.mu.Lock()
		if len(c.unused) > 0 {
			c.dropSet(c.unused[0])
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

// dropSet forgets a set without users. The caller holds c.mu.
func (c *baseSets) dropSet(s *baseSet) {
	c.unused = slices.DeleteFunc(c.unused, func(o *baseSet) bool { return o == s })
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
	c.unused = append(c.unused, s)
	if s.err != nil || c.waiting > 0 {
		c.dropSet(s)
	}
}
