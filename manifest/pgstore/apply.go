package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

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
//
// Additions that run side by side change the sums of the same frames and packs.
// Each locks its rows in one order: known chunks, new chunks, frames, packs, each
// in order of IDs. The rows of packs come last, since those of an open pack are
// what additions of one process wait for.
func (x *index) Apply(ctx context.Context, c *cas.Change) error {
	a := newApplication(x, c)
	err := x.d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, x.domain, a.alone)
		if err != nil {
			return err
		}
		if a.Collector != 0 {
			if err := checkLease(ctx, tx, x.domain, a.Collector); err != nil {
				return err
			}
		}
		return a.execute(ctx, tx, c.epoch)
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
	x       *index
	alone   bool // the row of the domain is locked exclusively
	packs   []*cas.PackEntry
	frames  []*cas.FrameEntry
	chunks  []*cas.ChunkEntry
	stamped []cas.Digest
	sources []cas.Digest
}

func newApplication(x *index, c *cas.Change) *application {
	a := &application{Change: c, x: x,
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
	slices.SortFunc(a.chunks, func(e, o *cas.ChunkEntry) int { return bytes.Compare(e.Digest[:], o.Digest[:]) })
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
	a.alone = len(c.Bad)+len(c.Drop)+len(c.DropPacks)+len(c.Moved)+len(c.Relocated)+len(a.sources) > 0 || c.Collector != 0
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
func (a *application) execute(ctx context.Context, tx conn, epoch int64) error {
	removed := int64(0)
	w := newAccount(a.x.domain)
	b := &pgx.Batch{}
	a.queueLocks(b)
	a.queueBad(b, &removed)
	a.queueDrops(b, w, &removed)
	a.queueChunks(b, w, epoch)
	if len(a.stamped) > 0 {
		b.Queue(`UPDATE cairn_chunks SET stamp = $3 WHERE domain = $1 AND digest = ANY($2) AND stamp < $3`, a.x.domain, digestBytes(a.stamped), epoch)
	}
	a.queueRelocated(b, w)
	if err := tx.sendBatch(ctx, b); err != nil {
		return err
	}
	if err := a.changeFrames(ctx, tx, w); err != nil {
		return err
	}
	if err := a.checkSources(ctx, tx); err != nil {
		return err
	}
	if removed == 0 {
		return nil
	}
	_, err := tx.exec(ctx, "", `UPDATE cairn_domains SET removals = removals + 1 WHERE domain = $1`, a.x.domain)
	return err
}

// queueLocks locks the entries that are known of all chunks of the change.
func (a *application) queueLocks(b *pgx.Batch) {
	ds := slices.Clone(a.stamped)
	for i := range a.Bad {
		ds = append(ds, a.Bad[i].Digest)
	}
	for i := range a.Drop {
		ds = append(ds, a.Drop[i].Digest)
	}
	for i := range a.Relocated {
		ds = append(ds, a.Relocated[i].From.Digest)
	}
	if len(ds) > 0 {
		b.Queue(`SELECT 1 FROM cairn_chunks WHERE domain = $1 AND digest = ANY($2) ORDER BY digest FOR UPDATE`, a.x.domain, digestBytes(ds))
	}
}

func (a *application) queueBad(b *pgx.Batch, removed *int64) {
	if len(a.Bad) == 0 {
		return
	}
	c := newChunkColumns(len(a.Bad))
	for i := range a.Bad {
		c.addChunk(&a.Bad[i])
	}
	b.Queue(`UPDATE cairn_chunks AS c SET state = $5
		FROM unnest($2::bytea[], $3::bytea[], $4::int8[]) AS bad(digest, frame, slot)
		WHERE c.domain = $1 AND c.digest = bad.digest AND c.frame = bad.frame AND c.slot = bad.slot AND c.state = $6
			AND ($7 OR EXISTS (SELECT 1 FROM cairn_frames AS f WHERE f.domain = $1 AND f.id = c.frame AND f.pack = $8))`,
		a.x.domain, c.digest, c.frame, c.slot, int32(cas.Bad), int32(cas.Live), a.BadIn == cas.PackID{}, a.BadIn[:]).Exec(func(tag commandTag) error {
		*removed += tag.RowsAffected()
		return nil
	})
}

func (a *application) queueDrops(b *pgx.Batch, w *account, removed *int64) {
	if len(a.Drop) == 0 {
		return
	}
	c := newChunkColumns(len(a.Drop))
	for i := range a.Drop {
		c.addChunk(&a.Drop[i])
	}
	if a.Collector != 0 {
		removed = nil
	}
	// A digest may occur several times in the list. Its row is deleted once.
	b.Queue(`WITH gone AS (
			DELETE FROM cairn_chunks AS c
			USING unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int4[], $8::int8[])
				AS was(digest, frame, slot, start, size, state, stamp)
			WHERE c.domain = $1 AND c.digest = was.digest AND c.frame = was.frame AND c.slot = was.slot AND c.start = was.start
				AND c.size = was.size AND c.state = was.state AND c.stamp = was.stamp
				AND NOT EXISTS (SELECT 1 FROM cairn_sources AS s WHERE s.domain = $1 AND s.digest = c.digest)
			RETURNING c.frame, c.size, c.state)
		SELECT frame, -count(*), -sum(size)::int8, count(*) FILTER (WHERE state = $9) FROM gone GROUP BY frame`,
		a.x.domain, c.digest, c.frame, c.slot, c.start, c.size, c.state, c.stamp, int32(cas.Live)).Query(func(rows pgx.Rows) error {
		return w.readGains(rows, removed)
	})
}

// queueChunks removes the bad entries that chunks take the place of, and then
// adds the chunks that are not known.
func (a *application) queueChunks(b *pgx.Batch, w *account, epoch int64) {
	if len(a.chunks) == 0 {
		return
	}
	c := newChunkColumns(len(a.chunks))
	for _, e := range a.chunks {
		c.addChunk(e)
	}
	b.Queue(`WITH gone AS (
			DELETE FROM cairn_chunks WHERE domain = $1 AND digest = ANY($2) AND state <> $3 RETURNING frame, size)
		SELECT frame, -count(*), -sum(size)::int8, 0::int8 FROM gone GROUP BY frame`,
		a.x.domain, c.digest, int32(cas.Live)).Query(func(rows pgx.Rows) error { return w.readGains(rows, nil) })
	b.Queue(`WITH added AS (
			INSERT INTO cairn_chunks (domain, digest, frame, slot, start, size, state, stamp)
			SELECT $1::text, n.*, $8::int8 FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int4[]) AS n
			ON CONFLICT (domain, digest) DO NOTHING RETURNING frame, size)
		SELECT frame, count(*), sum(size)::int8, 0::int8 FROM added GROUP BY frame`,
		a.x.domain, c.digest, c.frame, c.slot, c.start, c.size, c.state, epoch).Query(func(rows pgx.Rows) error { return w.readGains(rows, nil) })
}

func (a *application) queueRelocated(b *pgx.Batch, w *account) {
	if len(a.Relocated) == 0 {
		return
	}
	type place struct {
		digest cas.Digest
		frame  cas.FrameID
		slot   uint32
	}
	from, to, seen := newChunkColumns(len(a.Relocated)), newChunkColumns(len(a.Relocated)), make(map[place]bool)
	for i := range a.Relocated {
		r := &a.Relocated[i]
		if p := (place{r.From.Digest, r.From.Frame, r.From.Slot}); !seen[p] {
			seen[p] = true
			from.addChunk(&r.From)
			to.addChunk(&r.To)
		}
	}
	b.Queue(`WITH moved AS (
			UPDATE cairn_chunks AS c SET frame = r.frame, slot = r.slot, start = r.start, size = r.size
			FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::bytea[], $6::int8[], $7::int8[], $8::int8[])
				AS r(digest, from_frame, from_slot, frame, slot, start, size), cairn_chunks AS was
			WHERE c.domain = $1 AND c.digest = r.digest AND c.frame = r.from_frame AND c.slot = r.from_slot
				AND was.domain = $1 AND was.digest = r.digest
			RETURNING was.frame AS was_frame, was.size AS was_size, c.frame, c.size)
		SELECT frame, sum(n)::int8, sum(size)::int8, 0::int8 FROM (
			SELECT was_frame AS frame, -1 AS n, -was_size AS size FROM moved UNION ALL SELECT frame, 1, size FROM moved) AS gains
		GROUP BY frame`,
		a.x.domain, from.digest, from.frame, from.slot, to.frame, to.slot, to.start, to.size).Query(func(rows pgx.Rows) error {
		return w.readGains(rows, nil)
	})
}

// checkSources returns cas.ErrSource unless every source is usable and is in a
// frame without sources.
func (a *application) checkSources(ctx context.Context, tx conn) error {
	if len(a.sources) == 0 {
		return nil
	}
	lacks, err := queryOne(ctx, tx, "", pgx.RowTo[[]byte], `SELECT want.digest FROM unnest($2::bytea[]) AS want(digest)
		WHERE NOT EXISTS (SELECT 1 FROM cairn_chunks AS c JOIN cairn_frames AS f ON f.domain = c.domain AND f.id = c.frame
			WHERE c.domain = $1 AND c.digest = want.digest AND c.state = $3 AND length(f.sources) = 0)
		LIMIT 1`, a.x.domain, digestBytes(a.sources), int32(cas.Live))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("source %x: %w", lacks, cas.ErrSource)
}
