package pgstore

import (
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cairn-store/cairn/cas"
)

type commandTag = pgconn.CommandTag

// chunkArrays are chunk entries column by column.
type chunkArrays struct {
	digest, frame            [][]byte
	slot, start, size, stamp []int64
	state                    []int32
}

func newChunkColumns(n int) *chunkArrays {
	return &chunkArrays{digest: make([][]byte, 0, n), frame: make([][]byte, 0, n), slot: make([]int64, 0, n),
		start: make([]int64, 0, n), size: make([]int64, 0, n), stamp: make([]int64, 0, n), state: make([]int32, 0, n)}
}

func (c *chunkArrays) add(e *cas.ChunkEntry) {
	c.digest, c.frame = append(c.digest, e.Digest[:]), append(c.frame, e.Frame[:])
	c.slot, c.start, c.size = append(c.slot, int64(e.Slot)), append(c.start, int64(e.Offset)), append(c.size, int64(e.Length))
	c.stamp, c.state = append(c.stamp, int64(e.Stamp)), append(c.state, int32(e.State))
}

// frameArrays are frame entries column by column, and their sources.
type frameArrays struct {
	id, pack, sources                        [][]byte
	start, header, stored, plain, slots, key []int64
	kind, codec                              []int32
	sourceDigest, sourceFrame                [][]byte
}

func newFrameColumns(es []*cas.FrameEntry) *frameArrays {
	c := &frameArrays{}
	for _, e := range es {
		c.id, c.pack = append(c.id, e.ID[:]), append(c.pack, e.Pack[:])
		c.start, c.header, c.stored = append(c.start, e.Offset), append(c.header, int64(e.HeaderLen)), append(c.stored, int64(e.StoredLen))
		c.plain, c.slots, c.key = append(c.plain, int64(e.PlainLen)), append(c.slots, int64(e.Slots)), append(c.key, int64(e.Key))
		c.kind, c.codec = append(c.kind, int32(e.Kind)), append(c.codec, int32(e.Codec))
		sources := []byte{}
		for i := range e.Sources {
			s := &e.Sources[i]
			sources = appendSource(sources, s)
			c.sourceDigest, c.sourceFrame = append(c.sourceDigest, s.Digest[:]), append(c.sourceFrame, e.ID[:])
		}
		c.sources = append(c.sources, sources)
	}
	return c
}
