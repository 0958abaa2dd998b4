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

	// Hit looks up ds as Chunks does, for a writer that began in the epoch since,
	// and raises to the current epoch the stamp of each entry whose stamp is lower
	// than since. So no entry in out has a stamp lower than since, and a collector
	// whose floor is not above since drops none of them. This is so for those
	// marked Bad too: the writer brings the chunk again, and if it is a segment
	// has put its row before its entry, with which the row would go. A stamp that
	// was raised is visible on return, and durable as a change by Apply is.
	Hit(ctx context.Context, since uint64, ds []Digest, out []ChunkEntry) error

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
	// Applying a change again in the same epoch changes nothing. An error other
	// than ErrSource, ErrDoomed and ErrFenced leaves the outcome unknown.
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

// ErrDoomed reports a frame that lies in a pack whose deletion has begun. The
// change that would have added or moved it has changed nothing.
var ErrDoomed = errors.New("pack is being deleted")

// ErrFenced reports a change of a collector whose lease another one has taken.
// It has changed nothing.
var ErrFenced = errors.New("another collector has taken over")

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

	// Live counts the entries of chunks that lie in the frame, those marked Bad
	// included, and LiveBytes their plain bytes. The index sets both. A frame
	// that no entry is left of leaves the index with the last one.
	Live      uint32
	LiveBytes uint32
}

// LiveStored is the part of the frame's bytes in its pack that its live chunks
// account for: all of them if all its chunks are live.
func (e *FrameEntry) LiveStored() int64 {
	n := int64(e.HeaderLen) + int64(e.StoredLen)
	if e.LiveBytes >= e.PlainLen {
		return n
	}
	return n * int64(e.LiveBytes) / int64(e.PlainLen)
}

func (e *FrameEntry) end() int64 { return e.Offset + int64(e.HeaderLen) + int64(e.StoredLen) }

// Known reports whether the entry describes a frame.
func (e *FrameEntry) Known() bool { return e.ID != FrameID{} }

// Equal reports whether e and o are the same entry, whatever is live of it.
func (e *FrameEntry) Equal(o *FrameEntry) bool {
	return e.ID == o.ID && e.Pack == o.Pack && e.Offset == o.Offset && e.HeaderLen == o.HeaderLen &&
		e.StoredLen == o.StoredLen && e.PlainLen == o.PlainLen && e.Slots == o.Slots && e.Kind == o.Kind &&
		e.Codec == o.Codec && e.Key == o.Key && slices.Equal(e.Sources, o.Sources)
}

// A PackEntry describes a pack.
type PackEntry struct {
	ID         PackID
	Size       int64 // bytes known to be durable
	Sealed     bool  // it will not grow: it has a footer, or it ended without one, as after a crash
	Writer     [16]byte
	Serial     uint64 // its number among the packs of its writer
	LastCommit uint64 // the highest whose records lie in it; 0 for none
	Records    int64  // bytes of its frames of records, headers included

	// Live is the sum of LiveStored over its frames. Doomed says that its
	// deletion has begun: no frame may be added to it or moved into it any more.
	// The index keeps both, whatever an entry in a Change says.
	Live   int64
	Doomed bool
}

// A Change is what Apply does at once, in the order of its fields. Frames, Moved
// and Relocated have each frame or chunk once.
type Change struct {
	// Collector, if not 0, is the token of the lease of a collector. If another
	// collector has taken the lease since, Apply fails with ErrFenced. Entries
	// that a collector drops do not raise the count of removals: its floor
	// already keeps all writers from relying on them.
	Collector uint64

	DropPacks []PackID

	// Bad are the entries of chunks that were found damaged. One is marked only
	// if its digest still has the same frame and slot, and, unless BadIn is zero,
	// if its frame still lies in the pack BadIn. So a chunk that has been healed
	// meanwhile is not marked, nor one whose frame was copied elsewhere.
	Bad   []ChunkEntry
	BadIn PackID // the pack that all of Bad were read in
	// Drop removes an entry that is unchanged in every field, unless a frame
	// that was in the index before the change names its digest as a source. If
	// the entry is one of a segment, and the change adds no other, its row in the
	// metadata store of the same database goes with it.
	Drop []ChunkEntry
	// Stamp raises the stamps of these, where they are known, to the current
	// epoch.
	Stamp []Digest

	Packs []PackEntry
	// Frames are added, or take the place of the entry of the same ID. Each
	// source of a frame must be usable and lie in a frame without sources
	// when the whole change is made, or Apply fails with ErrSource. It is
	// stamped. A frame in a pack that is doomed makes Apply fail with ErrDoomed.
	Frames []FrameEntry
	// Chunks are added where the digest is unknown or marked Bad. A Live entry
	// stays as it is, and the new copy is dead bytes. Either way the stamp is
	// raised to the current epoch. The frame of each is in the index, or in
	// Frames. A frame that no entry lies in when the whole change is made is not
	// added, or leaves the index.
	Chunks []ChunkEntry

	// Moved are frames that were copied, with their new places. Each takes its
	// new place, Pack and Offset, if the index still has the frame in the pack
	// From. A new place in a pack that is doomed makes Apply fail with ErrDoomed.
	Moved []MovedFrame
	// Relocated are chunks that were copied into a frame of Frames. Each entry
	// takes its new place if it still has the old frame and slot; its state and
	// stamp stay. Of several with the same old place the first counts.
	Relocated []RelocatedChunk
}

// A MovedFrame is a frame whose bytes were copied from one pack to another.
type MovedFrame struct {
	FrameEntry // with its new place
	From       PackID
}

// A RelocatedChunk is a chunk that was copied from one frame to another.
type RelocatedChunk struct{ From, To ChunkEntry }
