package pgstore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// A counter counts the statements that the database is sent.
type counter struct {
	mu         sync.Mutex
	statements []string
}

func (c *counter) add(sql string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statements = append(c.statements, sql)
}

// of returns the statements that fn makes.
func (c *counter) of(t *testing.T, fn func() error) []string {
	t.Helper()
	c.mu.Lock()
	c.statements = nil
	c.mu.Unlock()
	if err := fn(); err != nil {
		t.Fatal(err)
	}
	return c.statements
}

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.add(data.SQL)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (c *counter) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	c.add(data.SQL)
}

func (c *counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func openCounted(t *testing.T) (*pgstore.DB, *counter) {
	t.Helper()
	c := &counter{}
	d, err := pgstore.OpenTraced(t.Context(), pgtest.Database(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, c
}

// mostStatements is how many any call makes, whatever it is about: with those
// that begin and end a transaction.
const mostStatements = 16

// TestIndexStatements: a call makes as many statements for few rows as for
// many.
func TestIndexStatements(t *testing.T) {
	d, counter := openCounted(t)
	ctx, ix := t.Context(), d.Index("x")
	made := make(map[string]int)
	// What is listed fits in the first page.
	for _, rows := range []int{2, 60} {
		if _, err := d.NextEpoch(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		pack := cas.PackID{byte(rows)}
		id := func(kind byte, n int) (id [16]byte) {
			id[0], id[1] = kind, byte(rows)
			binary.BigEndian.PutUint64(id[8:], uint64(n))
			return id
		}
		var ds, sources []cas.Digest
		var ids []cas.FrameID
		var add, copies, marks, drops cas.Change
		for n := range rows {
			c := cas.ChunkEntry{Digest: cas.Sum(fmt.Append(nil, "chunk ", rows, n)), Frame: id(1, n)}
			s := cas.ChunkEntry{Digest: cas.Sum(fmt.Append(nil, "source ", rows, n)), Frame: id(1, n)}
			f := cas.FrameEntry{ID: id(1, n), Pack: pack, Offset: int64(n)}
			from := cas.FrameEntry{ID: id(2, n), Pack: pack, Offset: int64(n), Sources: []cas.Source{{Digest: s.Digest}}}
			ds, sources, ids = append(ds, c.Digest), append(sources, s.Digest), append(ids, f.ID)
			add.Chunks, add.Frames = append(add.Chunks, c, s), append(add.Frames, f)
			add.Packs = append(add.Packs, cas.PackEntry{ID: id(3, n)})
			copies.Frames = append(copies.Frames, from)
			marks.Bad = append(marks.Bad, c)
			drops.DropFrames, drops.DropPacks = append(drops.DropFrames, from.ID), append(drops.DropPacks, id(3, n))
		}
		add.Stamp = ds
		for _, call := range []struct {
			name string
			fn   func() error
		}{
			{"add", func() error { return ix.Apply(ctx, &add) }},
			{"chunks", func() error { return ix.Chunks(ctx, ds, make([]cas.ChunkEntry, rows)) }},
			{"frames", func() error { return ix.Frames(ctx, ids, make([]cas.FrameEntry, rows)) }},
			{"copies", func() error { return ix.Apply(ctx, &copies) }},
			{"dependants", func() error { _, err := ix.Dependants(ctx, sources); return err }},
			{"frames of a pack", func() error { return drain(ix.PackFrames(ctx, pack)) }},
			{"all chunks", func() error { return drain(ix.AllChunks(ctx)) }},
			{"all frames", func() error { return drain(ix.AllFrames(ctx)) }},
			{"all packs", func() error { return drain(ix.AllPacks(ctx)) }},
			{"marks", func() error { return ix.Apply(ctx, &marks) }},
			{"drops", func() error {
				drops.Drop = make([]cas.ChunkEntry, rows)
				if err := ix.Chunks(ctx, sources, drops.Drop); err != nil {
					return err
				}
				return ix.Apply(ctx, &drops)
			}},
		} {
			got := counter.of(t, call.fn)
			if before, ok := made[call.name]; ok && len(got) != before || len(got) > mostStatements {
				t.Errorf("%s: %d statements for few rows, %d for many: %q", call.name, before, len(got), got)
			}
			made[call.name] = len(got)
		}
	}
}
