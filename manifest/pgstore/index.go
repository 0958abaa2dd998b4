package pgstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
)

// An index is the chunk index of one domain.
type index struct {
	d      *DB
	domain string
}

var _ cas.Index = (*index)(nil)

// Index returns the chunk index of a domain.
func (d *DB) Index(domain string) cas.Index { return &index{d, domain} }

// bytesOf converts IDs for a parameter.
func bytesOf[T ~[16]byte](ids []T) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		id := [16]byte(ids[i])
		out[i] = id[:]
	}
	return out
}

func digestBytes(ds []cas.Digest) [][]byte {
	out := make([][]byte, len(ds))
	for i := range ds {
		out[i] = ds[i][:]
	}
	return out
}

// The columns that parseChunk, parseFrame and parsePack scan.
const (
	selectChunk = `digest, frame, slot, start, size, state, stamp`
	selectFrame = `id, pack, start, header, stored, plain, slots, kind, codec, key, sources, live, live_bytes`
	selectPack  = `id, size, sealed, writer, serial, last_commit, records, live, doomed`
)

var errEntry = errors.New("entry is malformed")

func (x *index) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	return lookUp(ctx, x, "pgstore: chunks", ds, digestBytes(ds), out, x.parseChunk, func(e *cas.ChunkEntry) cas.Digest { return e.Digest },
		`SELECT `+selectChunk+` FROM cairn_chunks WHERE domain = $1 AND digest = ANY($2)`)
}

// Hit takes no lock of the domain. Stamps that are raised are in the database
// before the entries are read again, so an entry of the answer was there after
// its stamp was; a drop that comes later finds it changed.
func (x *index) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	if err := x.Chunks(ctx, ds, out); err != nil {
		return err
	}
	var old []int
	var stale []cas.Digest
	for i := range out[:len(ds)] {
		if out[i].Frame != (cas.FrameID{}) && out[i].Stamp < since {
			old, stale = append(old, i), append(stale, ds[i])
		}
	}
	if len(stale) == 0 {
		return nil
	}
	_, err := x.d.alone().exec(ctx, "pgstore: hit", `UPDATE cairn_chunks SET stamp = (SELECT epoch FROM cairn_domains WHERE domain = $1)
		WHERE domain = $1 AND digest IN (SELECT digest FROM cairn_chunks
			WHERE domain = $1 AND digest = ANY($2) AND stamp < $3 ORDER BY digest FOR UPDATE)`, x.domain, digestBytes(stale), int64(since))
	if err != nil {
		return err
	}
	again := make([]cas.ChunkEntry, len(stale))
	if err := x.Chunks(ctx, stale, again); err != nil {
		return err
	}
	for n, i := range old {
		out[i] = again[n]
	}
	return nil
}

func (x *index) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	return lookUp(ctx, x, "pgstore: frames", ids, bytesOf(ids), out, x.parseFrame, func(e *cas.FrameEntry) cas.FrameID { return e.ID },
		`SELECT `+selectFrame+` FROM cairn_frames WHERE domain = $1 AND id = ANY($2)`)
}

// lookUp sets each element of out to the entry of the ID at the same index, or
// to zero if there is none. key is the ID of an entry, keys are the IDs as
// parameters.
func lookUp[ID comparable, E any](ctx context.Context, x *index, what string, ids []ID, keys [][]byte, out []E,
	parse pgx.RowToFunc[E], key func(*E) ID, sql string) error {
	if len(ids) == 0 {
		return nil
	}
	es, err := queryAll(ctx, x.d.alone(), what, parse, sql, x.domain, keys)
	if err != nil {
		return err
	}
	known := make(map[ID]E, len(es))
	for i := range es {
		known[key(&es[i])] = es[i]
	}
	for i, id := range ids {
		out[i] = known[id]
	}
	return nil
}

// entryPage is how many entries one statement reads.
const entryPage = 4096

func (x *index) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	l := &pagedList[cas.FrameEntry]{
		query: `SELECT ` + selectFrame + ` FROM cairn_frames WHERE domain = $1 AND pack = $2 AND (start, id) > ($3, $4) ORDER BY start, id LIMIT $5`,
		args:  []any{x.domain, id[:]},
		first: []any{int64(math.MinInt64), []byte{}},
		most:  entryPage,
		key:   func(e cas.FrameEntry) []any { return []any{e.Offset, e.ID[:]} },
		parse: x.parseFrame,
	}
	return named("frames of a pack", l.eachAtOneMoment(ctx, x.d))
}

func (x *index) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	l := listByID(`SELECT `+selectChunk+` FROM cairn_chunks WHERE domain = $1 AND digest > $2 ORDER BY digest LIMIT $3`,
		entryPage, x.parseChunk, func(e cas.ChunkEntry) []byte { return e.Digest[:] }, x.domain)
	return named("all chunks", l.eachAtOneMoment(ctx, x.d))
}

func (x *index) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	l := listByID(`SELECT `+selectFrame+` FROM cairn_frames WHERE domain = $1 AND id > $2 ORDER BY id LIMIT $3`,
		entryPage, x.parseFrame, func(e cas.FrameEntry) []byte { return e.ID[:] }, x.domain)
	return named("all frames", l.eachAtOneMoment(ctx, x.d))
}

func (x *index) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	l := listByID(`SELECT `+selectPack+` FROM cairn_packs WHERE domain = $1 AND known AND id > $2 ORDER BY id LIMIT $3`,
		entryPage, x.parsePack, func(e cas.PackEntry) []byte { return e.ID[:] }, x.domain)
	return named("all packs", l.eachAtOneMoment(ctx, x.d))
}

func (x *index) Dependants(ctx context.Context, ds []cas.Digest) ([]cas.FrameID, error) {
	return queryAll(ctx, x.d.alone(), "pgstore: dependants", func(row pgx.CollectableRow) (cas.FrameID, error) {
		id, err := pgx.RowTo[[]byte](row)
		c := &column{}
		return cas.FrameID(c.bytes(16, id)), errors.Join(err, x.end(c, "frame", id))
	}, `SELECT DISTINCT frame FROM cairn_sources WHERE domain = $1 AND digest = ANY($2) ORDER BY frame`, x.domain, digestBytes(ds))
}

func (x *index) Removals(ctx context.Context) (uint64, error) { return x.d.Removals(ctx, x.domain) }

func (x *index) Epoch(ctx context.Context) (uint64, error) { return x.d.Epoch(ctx, x.domain) }

// zeroUnless returns p, or n zero bytes if p has another length.
func zeroUnless(n int, p []byte) []byte {
	if len(p) != n {
		return make([]byte, n)
	}
	return p
}

// A column converts values of columns and notes malformed ones in bad.
type column struct{ bad bool }

func (c *column) bytes(n int, p []byte) []byte {
	c.bad = c.bad || len(p) != n
	return zeroUnless(n, p)
}

func (c *column) number(v, most int64) int64 {
	if v < 0 || v > most {
		c.bad = true
		return 0
	}
	return v
}

func (c *column) uint32(v int64) uint32 { return uint32(c.number(v, math.MaxUint32)) }

// end returns an error if a value was malformed.
func (c *column) end(what string, id []byte) error {
	if !c.bad {
		return nil
	}
	return fmt.Errorf("%s %x: %w", what, id, errEntry)
}

// end is column.end with the domain in the error.
func (x *index) end(c *column, what string, id []byte) error {
	if err := c.end(what, id); err != nil {
		return fmt.Errorf("domain %q: %w", x.domain, err)
	}
	return nil
}

func (x *index) parseChunk(row pgx.CollectableRow) (e cas.ChunkEntry, err error) {
	var digest, frame []byte
	var slot, start, size, stamp int64
	var state int32
	if err := row.Scan(&digest, &frame, &slot, &start, &size, &state, &stamp); err != nil {
		return e, err
	}
	c := &column{}
	e = cas.ChunkEntry{Digest: cas.Digest(c.bytes(32, digest)), Frame: cas.FrameID(c.bytes(16, frame)), Slot: c.uint32(slot), Offset: c.uint32(start),
		Length: c.uint32(size), State: cas.ChunkState(c.number(int64(state), int64(cas.Bad))), Stamp: uint64(stamp)}
	return e, x.end(c, "chunk", digest)
}

func (x *index) parseFrame(row pgx.CollectableRow) (e cas.FrameEntry, err error) {
	var id, pack, sources []byte
	var start, header, stored, plain, slots, key, live, liveBytes int64
	var kind, codec int32
	err = row.Scan(&id, &pack, &start, &header, &stored, &plain, &slots, &kind, &codec, &key, &sources, &live, &liveBytes)
	if err != nil {
		return e, err
	}
	c := &column{}
	e = cas.FrameEntry{ID: cas.FrameID(c.bytes(16, id)), Pack: cas.PackID(c.bytes(16, pack)), Offset: c.number(start, math.MaxInt64),
		HeaderLen: c.uint32(header), StoredLen: c.uint32(stored), PlainLen: c.uint32(plain), Slots: c.uint32(slots),
		Kind: cas.Kind(c.number(int64(kind), math.MaxUint8)), Codec: cas.Codec(c.number(int64(codec), math.MaxUint8)), Key: uint64(key),
		Live: c.uint32(live), LiveBytes: c.uint32(liveBytes)}
	c.bad = c.bad || len(sources)%sourceBytes != 0
	for p := range slices.Chunk(sources, sourceBytes) {
		if len(p) == sourceBytes {
			e.Sources = append(e.Sources, cas.Source{Digest: cas.Digest(p[:32]),
				Offset: binary.LittleEndian.Uint32(p[32:]), Length: binary.LittleEndian.Uint32(p[36:])})
		}
	}
	return e, x.end(c, "frame", id)
}

// sourceBytes is the size of one source in the column of sources: a digest and
// two numbers.
const sourceBytes = 40

func appendSource(b []byte, s *cas.Source) []byte {
	b = append(b, s.Digest[:]...)
	b = binary.LittleEndian.AppendUint32(b, s.Offset)
	return binary.LittleEndian.AppendUint32(b, s.Length)
}

func (x *index) parsePack(row pgx.CollectableRow) (cas.PackEntry, error) { return x.scanPack(row) }

// scanPack scans the columns of selectPack, and more.
func (x *index) scanPack(row pgx.CollectableRow, more ...any) (e cas.PackEntry, err error) {
	var id, writer []byte
	var size, serial, lastCommit, records, live int64
	to := []any{&id, &size, &e.Sealed, &writer, &serial, &lastCommit, &records, &live, &e.Doomed}
	if err := row.Scan(append(to, more...)...); err != nil {
		return e, err
	}
	c := &column{}
	e.ID, e.Size, e.Writer = cas.PackID(c.bytes(16, id)), c.number(size, math.MaxInt64), [16]byte(c.bytes(16, writer))
	e.Serial, e.LastCommit = uint64(serial), uint64(lastCommit)
	e.Records, e.Live = c.number(records, math.MaxInt64), c.number(live, math.MaxInt64)
	return e, x.end(c, "pack", id)
}
