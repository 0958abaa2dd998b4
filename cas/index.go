package cas

import (
	"context"
	"iter"
)

// An Index remembers which frame holds each chunk of one domain and where
// each frame lies. Its methods are the operations that a Store performs, so
// that every implementation can use its database's own means. They are safe
// for concurrent use. castest.RunIndex checks an implementation.
type Index interface {
	// Chunks looks up ds: out[i] describes ds[i], or is zero when ds[i] is
	// unknown. out is as long as ds.
	Chunks(ctx context.Context, ds []Digest, out []ChunkEntry) error

	// Frame describes the frame id, or fails with fs.ErrNotExist.
	Frame(ctx context.Context, id FrameID) (FrameEntry, error)

	// Apply makes one atomic change. It is visible on return and durable no
	// later than the next commit to the metadata store of the same database
	// that is durable. Applying a change again changes nothing.
	Apply(ctx context.Context, c *Change) error

	// AllChunks, AllFrames and AllPacks yield every entry, in order of
	// digests and IDs, of one moment.
	AllChunks(ctx context.Context) iter.Seq2[ChunkEntry, error]
	AllFrames(ctx context.Context) iter.Seq2[FrameEntry, error]
	AllPacks(ctx context.Context) iter.Seq2[PackEntry, error]
}

// A ChunkEntry says where a chunk lies in its frame.
type ChunkEntry struct {
	Digest Digest
	Frame  FrameID
	Slot   uint32 // number of the chunk in its frame
	Offset uint32 // of its first byte in the frame's plain bytes
	Length uint32 // plain bytes
	State  ChunkState
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
}

func (e *FrameEntry) end() int64 { return e.Offset + int64(e.HeaderLen) + int64(e.StoredLen) }

// A PackEntry describes a pack.
type PackEntry struct {
	ID     PackID
	Size   int64 // bytes known to be durable
	Sealed bool  // it will not grow
}

// A Change is what Apply does at once: first the marks, then the additions.
type Change struct {
	Bad    []Digest // chunks found damaged
	Packs  []PackEntry
	Frames []FrameEntry
	// Chunks are added where the digest is unknown or marked Bad; an entry
	// that is Live stays as it is, and the new copy is dead bytes.
	Chunks []ChunkEntry
}
