package cas

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// An Index remembers which frame holds each chunk of one domain and where
// each frame lies. Its methods are the operations that a Store performs, so
// that every implementation can use its database's own means. They are safe
// for concurrent use. An entry whose stored form is damaged is an error that
// names it. castest.RunIndex checks an implementation.
//
// Frames of records and notes are no frames of the index: only
// PackEntry.LastCommit tells of them.
type Index interface {
	// Chunks looks up ds: out[i] describes ds[i], or is zero when ds[i] is
	// unknown. out is as long as ds.
	Chunks(ctx context.Context, ds []Digest, out []ChunkEntry) error

	// Frames looks up ids: out[i] describes ids[i], or is zero when ids[i] is
	// unknown. out is as long as ids.
	Frames(ctx context.Context, ids []FrameID, out []FrameEntry) error

	// PackFrames yields the frames that lie in a pack, in order of offsets, of
	// one moment.
	PackFrames(ctx context.Context, id PackID) iter.Seq2[FrameEntry, error]

	// Dependants returns the frames that name one of ds as a source, each
	// once, in order of IDs.
	Dependants(ctx context.Context, ds []Digest) ([]FrameID, error)

	// Apply makes one atomic change. It is visible on return. It is durable
	// when a later commit to the metadata store of the same database is.
	// Applying a change again in the same epoch changes nothing. An error
	// other than ErrSource leaves the outcome unknown.
	Apply(ctx context.Context, c *Change) error

	// AllChunks, AllFrames and AllPacks yield every entry, in order of
	// digests and IDs, of one moment.
	AllChunks(ctx context.Context) iter.Seq2[ChunkEntry, error]
	AllFrames(ctx context.Context) iter.Seq2[FrameEntry, error]
	AllPacks(ctx context.Context) iter.Seq2[PackEntry, error]

	// Removals counts the changes that made stored chunks of the domain
	// unusable. It is durable and rises with the change, visible neither before
	// it nor after it. While it stays the same, an answer that a chunk is
	// stored stays true.
	Removals(ctx context.Context) (uint64, error)

	// Epoch returns the domain's epoch, which stamps are taken from. It is
	// durable, never falls, and begins with 0. The metadata store raises it.
	Epoch(ctx context.Context) (uint64, error)
}

// ErrSource reports a frame one of whose sources is not usable or has sources
// itself. The change that would have added it has changed nothing.
var ErrSource = errors.New("frame names a source that cannot be relied on")

// A ChunkEntry says where a chunk lies in its frame.
type ChunkEntry struct {
	Digest Digest
	Frame  FrameID
	Slot   uint32 // number of the chunk in its frame
	Offset uint32 // of its first byte in the frame's plain bytes
	Length uint32 // plain bytes
	State  ChunkState
	Stamp  uint64 // epoch of the last hit or Apply; set by the index
}

// Usable reports whether the entry may answer for the chunk: it is known and
// not found damaged.
func (e *ChunkEntry) Usable() bool { return e.Frame != FrameID{} && e.State == Live }

// A ChunkState says whether a stored chunk can be relied on. Its values are
// part of the format.
type ChunkState uint8

const (
	Live ChunkState = 0
	// Bad marks a chunk whose stored bytes were found damaged. It counts as
	// not stored, so that the next upload that carries it heals it.
	Bad ChunkState = 1
)

// A FrameEntry says where a frame lies.
type FrameEntry struct {
	ID        FrameID
	Pack      PackID
	Offset    int64  // of the header in the pack
	HeaderLen uint32 // bytes of header, before the payload
	StoredLen uint32 // bytes of payload
	PlainLen  uint32 // bytes it decodes to
	Slots     uint32
	Kind      Kind
	Codec     Codec
	Key       uint64 // ID of the key that seals it; 0 for none
	Sources   []Source
}

func (e *FrameEntry) end() int64 { return e.Offset + int64(e.HeaderLen) + int64(e.StoredLen) }

// Known reports whether the entry describes a frame.
func (e *FrameEntry) Known() bool { return e.ID != FrameID{} }

// Equal reports whether e and o are the same entry.
func (e *FrameEntry) Equal(o *FrameEntry) bool {
	return e.ID == o.ID && e.Pack == o.Pack && e.Offset == o.Offset && e.HeaderLen == o.HeaderLen &&
		e.StoredLen == o.StoredLen && e.PlainLen == o.PlainLen && e.Slots == o.Slots && e.Kind == o.Kind &&
		e.Codec == o.Codec && e.Key == o.Key && slices.Equal(e.Sources, o.Sources)
}

// A PackEntry describes a pack.
type PackEntry struct {
	ID         PackID
	Size       int64 // bytes known to be durable
	Sealed     bool  // it will not grow
	Writer     [16]byte
	Serial     uint64 // its number among the packs of its writer
	LastCommit uint64 // the highest whose records lie in it; 0 for none
}

// A Change is what Apply does at once, in the order of its fields.
type Change struct {
	DropFrames []FrameID
	DropPacks  []PackID

	// Bad are the entries of chunks that were found damaged. One is marked only
	// if its digest still has the same frame and slot, so that a chunk that
	// has been healed meanwhile is not.
	Bad []ChunkEntry
	// Drop removes an entry that is unchanged in every field, unless a frame
	// names its digest as a source.
	Drop []ChunkEntry
	// Stamp raises the stamps of these, where they are known, to the current
	// epoch.
	Stamp []Digest

	Packs []PackEntry
	// Frames are added, or take the place of the entry of the same ID. Each
	// source of a frame must be usable and lie in a frame without sources
	// when the whole change is made, or Apply fails with ErrSource. It is
	// stamped.
	Frames []FrameEntry
	// Chunks are added where the digest is unknown or marked Bad. A Live entry
	// stays as it is, and the new copy is dead bytes. Either way the stamp is
	// raised to the current epoch.
	Chunks []ChunkEntry
}
