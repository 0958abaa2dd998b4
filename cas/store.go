// Package cas stores chunks by the digest of their content, each once.
//
// New chunks of an upload, in order, are compressed together as a frame;
// frames are appended to packs, immutable objects of a backend; an index
// remembers where each chunk lies and can be rebuilt from the packs alone.
// Package pack describes the bytes. Read store.go for the parts, batch.go for
// the way in, packer.go for durability, read.go, plan.go, loader.go and run.go
// for the way out, and ended.go, rewrite.go and delete.go for what a collector
// does to packs.
package cas

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/cairn-store/cairn/backend"
)

// A Store keeps the chunks of one domain: a backend and its index. Exact
// dedup, frames and packs never cross it. Its methods may run concurrently.
type Store struct {
	life   *Lifetime
	b      closingBackend
	ix     Index
	log    *slog.Logger
	remote bool
	ctx    context.Context // for work that outlives a call; never cancelled

	batches    context.Context // done when nothing more can be written
	endBatches context.CancelFunc

	exclusive bool // as in Options

	// The way in: batches and records make frames, alone or in a group, and
	// append them to the open pack.
	enc   *encoder
	group group
	pack  *packer

	// fresh is held from looking up whether chunks are new until they are
	// appended, so that nothing is stored twice. appended counts the frames;
	// it changes only while fresh is held.
	fresh    gate
	appended atomic.Int64

	// What all batches together have under way, and the units they reuse.
	unitRoom, frameRoom room
	units               sync.Pool // of *unit

	// The way out: reads, and walks over packs.
	load  *loader
	scan  *scanner
	long  chan struct{}       // a token for each reader with long windows
	ahead *semaphore.Weighted // bytes that readers keep ahead of what is asked for

	cores cores
	bufs  *buffers
}

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	// PackSize is at how many bytes a pack is sealed. The default is 64 MiB, or 32
	// MiB of a remote backend, or less on a volume so small that what a full disk
	// keeps free would not take a copy of a pack.
	PackSize   int64
	MaxBytes   int64        // bytes of packs beyond which no new content is taken, only records; 0 is no bound
	CacheBytes int64        // decoded frames kept for reading; default 32 MiB
	Log        *slog.Logger // default: discard

	// Remote says that the backend is far away: each request to it takes
	// long and costs money. So several packs are sealed at a time, and pieces
	// that lie close together are read by one request.
	Remote bool
	Cache  Cache // of a remote backend's frames; default: none

	// Store and Domain stand in the headers of packs: random IDs, made once.
	// By them Survey recognises packs of other stores; with zero it does not.
	Store, Domain [16]byte

	// Exclusive says that nobody else can have the backend open for writing.
	// The store then appends to the pack that the last process left open.
	Exclusive bool

	Sealer Sealer               // seals frames; default: none
	Codecs map[Codec]FrameCodec // beside those of the format, for reading; their numbers are 3 and more
}

// Open returns the Store whose packs lie in b and whose chunks ix has. With
// Options.Exclusive it first indexes the frames that a crash left written but
// not indexed.
func Open(ctx context.Context, b backend.Backend, ix Index, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	for c := range opts.Codecs {
		if c <= Gzip {
			return nil, fmt.Errorf("cas: open: codec %d is the format's own", c)
		}
	}
	if opts.PackSize < 0 {
		return nil, fmt.Errorf("cas: open: pack size of %d bytes", opts.PackSize)
	}
	size, cache, log := opts.PackSize, opts.CacheBytes, opts.Log
	seals := 1
	if opts.Remote {
		seals = remoteSeals
	}
	if size == 0 {
		size = 64 << 20
		if opts.Remote {
			size = 32 << 20
		}
		if l, ok := b.(backend.Limited); ok && l.CopyRoom() > 0 { // the room is for a frame more and a footer too
			size = min(size, l.CopyRoom()/4*3)
		}
	}
	if cache == 0 {
		cache = 32 << 20
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := runtime.GOMAXPROCS(0)
	coder, err := newCoder(n)
	if err != nil {
		return nil, fmt.Errorf("cas: %w", err)
	}
	life := NewLifetime()
	own := closingBackend{b, life}
	s := &Store{
		life: life, b: own, ix: ix, log: log, remote: opts.Remote, exclusive: opts.Exclusive, ctx: context.WithoutCancel(ctx),
		pack:     newPacker(context.WithoutCancel(ctx), b, ix, opts, size, seals),
		fresh:    make(gate, 1),
		unitRoom: make(room, 4+3*n), frameRoom: make(room, 4+3*n),
		units: sync.Pool{New: func() any { return &unit{buf: make([]byte, 0, unitSize+inPlace)} }},
		long:  make(chan struct{}, longReaders), ahead: semaphore.NewWeighted(AheadSize),
		cores: make(cores, n), bufs: new(buffers),
	}
	s.batches, s.endBatches = context.WithCancel(context.Background())
	s.group.s = s
	s.enc = &encoder{coder, opts.Sealer, s.cores, s.bufs}
	s.load = &loader{
		b: own, ix: ix, log: log, cores: s.cores, bufs: s.bufs, frames: newFrameCache(cache),
		dec: &decoder{coder, maps.Clone(opts.Codecs), opts.Sealer, s.cores},
	}
	if opts.Remote {
		s.ahead = semaphore.NewWeighted(farAheadSize)
		s.load.near, s.load.gap, s.load.tokens = opts.Cache, farGap, make(chan struct{}, farRequests)
	}
	s.scan = &scanner{own, opts.Remote, s.load}
	if err := s.recoverOpenPack(ctx, opts, size); err != nil {
		coder.close()
		return nil, fmt.Errorf("cas: open: %w", err)
	}
	return s, nil
}

// Close waits until what batches have written is durable and closes the store.
// Batches, reads and all else under way fail with ErrClosed, and so does every
// later call. A second Close returns what the first did.
func (s *Store) Close() error {
	// The coder is left to the garbage collector: if it were closed during a
	// read, good bytes would look damaged.
	return s.life.Close(func() error {
		defer s.endBatches()
		return s.pack.close()
	})
}

// Missing returns those of ds that are not stored, or only damaged, in order. The
// others may be collected at any time: who makes pointers to them asks Hit.
func (s *Store) Missing(ctx context.Context, ds []Digest) ([]Digest, error) {
	out := make([]ChunkEntry, len(ds))
	if err := s.ix.Chunks(ctx, ds, out); err != nil {
		return nil, fmt.Errorf("cas: %w", err)
	}
	return unusable(ds, out), nil
}

// Hit is Missing for a writer that began in the epoch since: what it does not
// return is stamped, and stays while the floor is not above since.
func (s *Store) Hit(ctx context.Context, since uint64, ds []Digest) (missing []Digest, err error) {
	out := make([]ChunkEntry, len(ds))
	if err := s.pack.hitChunks(ctx, since, ds, out); err != nil {
		return nil, fmt.Errorf("cas: %w", err)
	}
	return unusable(ds, out), nil
}

// unusable returns those of ds whose entries, in the same order, are not usable.
func unusable(ds []Digest, entries []ChunkEntry) (out []Digest) {
	for i := range entries {
		if !entries[i].Usable() {
			out = append(out, ds[i])
		}
	}
	return out
}

// Lengths returns the plain bytes of each of ds, 0 for those that Missing
// would return.
func (s *Store) Lengths(ctx context.Context, ds []Digest) ([]uint32, error) {
	entries := make([]ChunkEntry, len(ds))
	if err := s.ix.Chunks(ctx, ds, entries); err != nil {
		return nil, fmt.Errorf("cas: %w", err)
	}
	out := make([]uint32, len(ds))
	for i := range entries {
		if entries[i].Usable() {
			out[i] = entries[i].Length
		}
	}
	return out, nil
}

// Remote reports whether the backend is far away: see Options.
func (s *Store) Remote() bool { return s.remote }

var _ io.Closer = (*Store)(nil)

// A Usage is the sums over a store.
type Usage struct {
	Chunks    int64 // distinct chunks of blobs
	Bytes     int64 // their plain bytes
	PackBytes int64 // what all packs take
}

// Usage reads the whole index to sum the store up.
func (s *Store) Usage(ctx context.Context) (u Usage, err error) {
	segments := make(map[FrameID]bool)
	for f, err := range s.ix.AllFrames(ctx) {
		if err != nil {
			return u, fmt.Errorf("cas: usage: %w", err)
		}
		if f.Kind == KindSegment {
			segments[f.ID] = true
		}
	}
	for c, err := range s.ix.AllChunks(ctx) {
		if err != nil {
			return u, fmt.Errorf("cas: usage: %w", err)
		}
		if !segments[c.Frame] {
			u.Chunks++
			u.Bytes += int64(c.Length)
		}
	}
	for p, err := range s.Packs(ctx) {
		if err != nil {
			return u, err
		}
		u.PackBytes += p.Size
	}
	return u, nil
}
