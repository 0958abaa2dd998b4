package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
)

// Apply locks the row of the domain before it reads anything: in shared mode if
// it only adds entries, so that additions run side by side, and exclusively if
// it removes entries or needs sources. Therefore no removal happens between the
// reads of an addition and its commit, the count of removals becomes visible
// together with the removal, and the epoch does not change. With these locks
// READ COMMITTED is enough: statements wait for rows that others are adding,
// while SERIALIZABLE would abort transactions that do not conflict.
func (x *index) Apply(ctx context.Context, c *cas.Change) error {
	a := newApplication(c)
	err := x.d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, x.domain, a.alone)
		if err != nil {
			return err
		}
		return a.execute(ctx, tx, x.domain, c.epoch)
	})
	if err != nil {
		return fmt.Errorf("pgstore: apply: %w", err)
	}
	return nil
}

// An application is a change prepared for statements: each entry once, as
// columns.
type application struct {
	*cas.Change
	alone   bool // the row of the domain is locked exclusively
	packs   []*cas.PackEntry
	frames  []*cas.FrameEntry
	chunks  []*cas.ChunkEntry
	stamped []cas.Digest
	sources []cas.Digest
}

func newApplication(c *cas.Change) *application {
	a := &application{Change: c,
		packs:  lastOf(c.Packs, func(e *cas.PackEntry) cas.PackID { return e.ID }),
		frames: lastOf(c.Frames, func(e *cas.FrameEntry) cas.FrameID { return e.ID })}
	at := make(map[cas.Digest]int, len(c.Chunks))
	stamped := make(map[cas.Digest]bool, len(c.Chunks)+len(c.Stamp))
	stamp := func(d cas.Digest) {
		if !stamped[d] {
			stamped[d] = true
			a.stamped = append(a.stamped, d)
		}
	}
	for i := range c.Chunks {
		e := &c.Chunks[i]
		stamp(e.Digest)
		if n, ok := at[e.Digest]; !ok {
			at[e.Digest] = len(a.chunks)
			a.chunks = append(a.chunks, e)
		} else if !a.chunks[n].Usable() {
			a.chunks[n] = e
		}
	}
	for _, d := range c.Stamp {
		stamp(d)
	}
	wanted := make(map[cas.Digest]bool)
	for i := range c.Frames {
		for _, s := range c.Frames[i].Sources {
			if !wanted[s.Digest] {
				wanted[s.Digest] = true
				a.sources = append(a.sources, s.Digest)
				stamp(s.Digest)
			}
		}
	}
	a.alone = len(c.Bad)+len(c.Drop)+len(c.DropFrames)+len(c.DropPacks)+len(a.sources) > 0
	return a
}

// lastOf returns the last entry of each ID.
func lastOf[E any, ID comparable](es []E, id func(*E) ID) (out []*E) {
	at := make(map[ID]int, len(es))
	for i := range es {
		if n, ok := at[id(&es[i])]; ok {
			out[n] = &es[i]
			continue
		}
		at[id(&es[i])] = len(out)
		out = append(out, &es[i])
	}
	return out
}

// execute makes the change, in the order that cas.Change demands.
func (a *application) execute(ctx context.Context, tx conn, domain string, epoch int64) error {
	removed := int64(0)
	b := &pgx.Batch{}
	a.queueFrameDrops(b, domain)
	a.queueBad(b, domain, &removed)
	a.queueDrops(b, domain, &removed)
	a.queuePacks(b, domain)
	a.queueFrames(b, domain)
	a.queueChunks(b, domain, epoch)
	if len(a.stamped) > 0 {
		b.Queue(`UPDATE cairn_chunks SET stamp = $3 WHERE domain = $1 AND digest = ANY($2) AND stamp < $3`, domain, digestBytes(a.stamped), epoch)
	}
	if err := tx.sendBatch(ctx, b); err != nil {
		return err
	}
	if err := a.checkSources(ctx, tx, domain); err != nil {
		return err
	}
	if removed == 0 {
		return nil
	}
	_, err := tx.exec(ctx, "", `UPDATE cairn_domains SET removals = removals + 1 WHERE domain = $1`, domain)
	return err
}

func (a *application) queueFrameDrops(b *pgx.Batch, domain string) {
	if len(a.DropPacks) > 0 {
		b.Queue(`DELETE FROM cairn_packs WHERE domain = $1 AND id = ANY($2)`, domain, bytesOf(a.DropPacks))
	}
	if len(a.DropFrames) > 0 {
		ids := bytesOf(a.DropFrames)
		b.Queue(`DELETE FROM cairn_sources WHERE domain = $1 AND frame = ANY($2)`, domain, ids)
		b.Queue(`DELETE FROM cairn_frames WHERE domain = $1 AND id = ANY($2)`, domain, ids)
	}
}

func (a *application) queueBad(b *pgx.Batch, domain string, removed *int64) {
	if len(a.Bad) == 0 {
		return
	}
	c := newChunkColumns(len(a.Bad))
	for i := range a.Bad {
		c.addChunk(&a.Bad[i])
	}
	b.Queue(`UPDATE cairn_chunks AS c SET state = $5
		FROM unnest($2::bytea[], $3::bytea[], $4::int8[]) AS bad(digest, frame, slot)
		WHERE c.domain = $1 AND c.digest = bad.digest AND c.frame = bad.frame AND c.slot = bad.slot AND c.state = $6`,
		domain, c.digest, c.frame, c.slot, int32(cas.Bad), int32(cas.Live)).Exec(func(tag commandTag) error {
		*removed += tag.RowsAffected()
		return nil
	})
}

func (a *application) queueDrops(b *pgx.Batch, domain string, removed *int64) {
	if len(a.Drop) == 0 {
		return
	}
	c := newChunkColumns(len(a.Drop))
	for i := range a.Drop {
		c.addChunk(&a.Drop[i])
	}
	// A digest may occur several times in the list. Its row is deleted once.
	b.Queue(`WITH gone AS (
			DELETE FROM cairn_chunks AS c
			USING unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int4[], $8::int8[])
				AS was(digest, frame, slot, start, size, state, stamp)
			WHERE c.domain = $1 AND c.digest = was.digest AND c.frame = was.frame AND c.slot = was.slot AND c.start = was.start
				AND c.size = was.size AND c.state = was.state AND c.stamp = was.stamp
				AND NOT EXISTS (SELECT 1 FROM cairn_sources AS s WHERE s.domain = $1 AND s.digest = c.digest)
			RETURNING c.state)
		SELECT count(*) FROM gone WHERE state = $9`,
		domain, c.digest, c.frame, c.slot, c.start, c.size, c.state, c.stamp, int32(cas.Live)).QueryRow(func(row pgx.Row) error {
		var n int64
		err := row.Scan(&n)
		*removed += n
		return err
	})
}

func (a *application) queuePacks(b *pgx.Batch, domain string) {
	if len(a.packs) == 0 {
		return
	}
	var id, writer [][]byte
	var size, serial, lastCommit []int64
	var sealed []bool
	for _, e := range a.packs {
		id, writer = append(id, e.ID[:]), append(writer, e.Writer[:])
		size, serial, lastCommit = append(size, e.Size), append(serial, int64(e.Serial)), append(lastCommit, int64(e.LastCommit))
		sealed = append(sealed, e.Sealed)
	}
	b.Queue(`INSERT INTO cairn_packs (domain, `+selectPack+`)
		SELECT $1::text, * FROM unnest($2::bytea[], $3::int8[], $4::bool[], $5::bytea[], $6::int8[], $7::int8[]) AS p
		ON CONFLICT (domain, id) DO UPDATE SET size = excluded.size, sealed = excluded.sealed, writer = excluded.writer,
			serial = excluded.serial, last_commit = excluded.last_commit`,
		domain, id, size, sealed, writer, serial, lastCommit)
}

func (a *application) queueFrames(b *pgx.Batch, domain string) {
	if len(a.frames) == 0 {
		return
	}
	c := newFrameColumns(a.frames)
	// The sources of a replaced frame are dropped.
	b.Queue(`DELETE FROM cairn_sources WHERE domain = $1 AND frame = ANY($2)`, domain, c.id)
	b.Queue(`INSERT INTO cairn_frames (domain, `+selectFrame+`)
		SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
			$9::int4[], $10::int4[], $11::int8[], $12::bytea[]) AS f
		ON CONFLICT (domain, id) DO UPDATE SET pack = excluded.pack, start = excluded.start, header = excluded.header,
			stored = excluded.stored, plain = excluded.plain, slots = excluded.slots, kind = excluded.kind,
			codec = excluded.codec, key = excluded.key, sources = excluded.sources`,
		domain, c.id, c.pack, c.start, c.header, c.stored, c.plain, c.slots, c.kind, c.codec, c.key, c.sources)
	if len(c.sourceDigest) > 0 {
		b.Queue(`INSERT INTO cairn_sources (domain, digest, frame) SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[]) AS s
			ON CONFLICT DO NOTHING`, domain, c.sourceDigest, c.sourceFrame)
	}
}

func (a *application) queueChunks(b *pgx.Batch, domain string, epoch int64) {
	if len(a.chunks) == 0 {
		return
	}
	c := newChunkColumns(len(a.chunks))
	for _, e := range a.chunks {
		c.addChunk(e)
	}
	b.Queue(`INSERT INTO cairn_chunks AS c (domain, digest, frame, slot, start, size, state, stamp)
		SELECT $1::text, n.*, $8::int8 FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int4[]) AS n
		ON CONFLICT (domain, digest) DO UPDATE SET frame = excluded.frame, slot = excluded.slot, start = excluded.start,
			size = excluded.size, state = excluded.state, stamp = excluded.stamp WHERE c.state <> $9`,
		domain, c.digest, c.frame, c.slot, c.start, c.size, c.state, epoch, int32(cas.Live))
}

// checkSources returns cas.ErrSource unless every source is usable and is in a
// frame without sources.
func (a *application) checkSources(ctx context.Context, tx conn, domain string) error {
	if len(a.sources) == 0 {
		return nil
	}
	lacks, err := queryOne(ctx, tx, "", pgx.RowTo[[]byte], `SELECT want.digest FROM unnest($2::bytea[]) AS want(digest)
		WHERE NOT EXISTS (SELECT 1 FROM cairn_chunks AS c JOIN cairn_frames AS f ON f.domain = c.domain AND f.id = c.frame
			WHERE c.domain = $1 AND c.digest = want.digest AND c.state = $3 AND length(f.sources) = 0)
		LIMIT 1`, domain, digestBytes(a.sources), int32(cas.Live))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("source %x: %w", lacks, cas.ErrSource)
}
