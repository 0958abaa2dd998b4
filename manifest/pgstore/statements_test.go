package pgstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
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

// A call is one whose statements are counted.
type call struct {
	name string
	fn   func() error
}

// TestIndexStatements: a call makes as many statements for few rows as for
// many.
func TestIndexStatements(t *testing.T) {
	d, counter := openCounted(t)
	ctx, ix := t.Context(), d.Index("x")
	made := make(map[string]int)
	// What is listed fits in the first page.
	for _, rows := range []int{2, 40} {
		if _, err := d.NextEpoch(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		pack := cas.PackID{byte(rows)}
		id := func(kind byte, n int) (id [16]byte) {
			id[0], id[1] = kind, byte(rows)
			binary.BigEndian.PutUint64(id[8:], uint64(n))
			return id
		}
		var ds, sources, results []cas.Digest
		var ids []cas.FrameID
		var add, copies, marks, moves, dropPacks cas.Change
		for n := range rows {
			c := cas.ChunkEntry{Digest: cas.Sum(fmt.Append(nil, "chunk ", rows, n)), Frame: id(1, n)}
			s := cas.ChunkEntry{Digest: cas.Sum(fmt.Append(nil, "source ", rows, n)), Frame: id(1, n)}
			f := cas.FrameEntry{ID: id(1, n), Pack: pack, Offset: int64(n)}
			from := cas.FrameEntry{ID: id(2, n), Pack: pack, Offset: int64(n), Sources: []cas.Source{{Digest: s.Digest}}}
			m := cas.ChunkEntry{Digest: cas.Sum(fmt.Append(nil, "made ", rows, n)), Frame: from.ID}
			moved, to := f, c
			moved.Pack, to.Frame = id(3, n), id(4, n)
			ds, sources, results, ids = append(ds, c.Digest), append(sources, s.Digest), append(results, m.Digest), append(ids, f.ID)
			add.Chunks, add.Frames = append(add.Chunks, c, s), append(add.Frames, f)
			add.Packs = append(add.Packs, cas.PackEntry{ID: id(3, n)})
			copies.Frames, copies.Chunks = append(copies.Frames, from), append(copies.Chunks, m)
			moves.Frames = append(moves.Frames, cas.FrameEntry{ID: to.Frame, Pack: moved.Pack})
			moves.Moved = append(moves.Moved, cas.MovedFrame{FrameEntry: moved, From: pack})
			moves.Relocated = append(moves.Relocated, cas.RelocatedChunk{From: c, To: to})
			marks.Bad = append(marks.Bad, s)
			dropPacks.DropPacks = append(dropPacks.DropPacks, id(3, n))
		}
		add.Stamp = ds
		drop := func(ds []cas.Digest) func() error {
			return func() error {
				c := &cas.Change{Drop: make([]cas.ChunkEntry, rows)}
				return errors.Join(ix.Chunks(ctx, ds, c.Drop), ix.Apply(ctx, c))
			}
		}
		for _, c := range []call{
			{"add", func() error { return ix.Apply(ctx, &add) }},
			{"chunks", func() error { return ix.Chunks(ctx, ds, make([]cas.ChunkEntry, rows)) }},
			{"hit", func() error { return ix.Hit(ctx, 0, ds, make([]cas.ChunkEntry, rows)) }},
			{"next epoch", func() error { return without(d.NextEpoch(ctx, "x")) }},
			{"hit and stamp", func() error { return ix.Hit(ctx, 100, ds, make([]cas.ChunkEntry, rows)) }},
			{"frames", func() error { return ix.Frames(ctx, ids, make([]cas.FrameEntry, rows)) }},
			{"copies", func() error { return ix.Apply(ctx, &copies) }},
			{"dependants", func() error { _, err := ix.Dependants(ctx, sources); return err }},
			{"frames of a pack", func() error { return drain(ix.PackFrames(ctx, pack)) }},
			{"all chunks", func() error { return drain(ix.AllChunks(ctx)) }},
			{"all frames", func() error { return drain(ix.AllFrames(ctx)) }},
			{"all packs", func() error { return drain(ix.AllPacks(ctx)) }},
			{"moves", func() error { return ix.Apply(ctx, &moves) }},
			{"marks", func() error { return ix.Apply(ctx, &marks) }},
			{"heal", func() error { return ix.Apply(ctx, &add) }},
			{"drop copies", drop(results)},
			{"drop sources", drop(sources)},
			{"drop packs", func() error { return ix.Apply(ctx, &dropPacks) }},
		} {
			got := counter.of(t, c.fn)
			if before, ok := made[c.name]; ok && len(got) != before || len(got) > mostStatements {
				t.Errorf("%s: %d statements for few rows, %d for many: %q", c.name, before, len(got), got)
			}
			made[c.name] = len(got)
		}
	}
}

// A world is what the calls of TestStoreStatements are about: as many rows of
// everything as it has, in a bucket of their own.
type world struct {
	rows     int
	bucket   string
	file     *manifest.File // of as many versions
	versions []*manifest.Manifest
	upload   *manifest.Upload // of as many parts, joined of as many others
	uploads  []*manifest.Upload
	scope    manifest.Scope
	ds       []cas.Digest
	segments []manifest.Segment
	links    []*manifest.Link // of the file and its versions, pending; half of them end
	seqs     []uint64
	pack     cas.PackID // is empty
}

func (w *world) graves() (ids []manifest.GraveID) {
	for n := range w.rows {
		ids = append(ids, manifest.GraveID{Commit: uint64(n), N: 1})
	}
	return ids
}

func (w *world) charges() (cs []manifest.Charge) {
	for n := range w.rows {
		cs = append(cs, manifest.Charge{Pack: w.pack, Cause: manifest.Cause{Bucket: w.bucket, File: w.file.ID, At: day.Add(time.Duration(n) * time.Hour)}, Bytes: 1})
	}
	return cs
}

var day = time.UnixMilli(1_700_000_000_000).UTC()

func newWorld(rows int) *world {
	w := &world{rows: rows, bucket: fmt.Sprint("bucket ", rows), scope: manifest.Scope{byte(rows)},
		pack: cas.PackID{byte(rows)}}
	w.file = &manifest.File{ID: manifest.NewFileID(), Bucket: w.bucket, Name: "a", Owner: "ann", LastVersion: uint64(rows), Versions: uint64(rows)}
	w.upload = &manifest.Upload{ID: manifest.NewUploadID(), Bucket: w.bucket, Who: "ann", Domain: "x", Held: 1, ExpiresAt: day}
	for n := range rows {
		p := fmt.Append(nil, w.bucket, n)
		w.ds = append(w.ds, cas.Sum(p))
		w.segments = append(w.segments, manifest.Segment{Digest: cas.SumSegment(p), Data: p})
		w.versions = append(w.versions, &manifest.Manifest{ID: manifest.NewVersionID(), File: w.file.ID, Version: uint64(n + 1)})
		u := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: w.bucket, Who: "ann", Held: 1, ExpiresAt: day}
		w.upload.Joins = append(w.upload.Joins, u.ID)
		w.uploads = append(w.uploads, u)
	}
	w.file.Current = w.versions[rows-1].ID
	for n := range rows {
		l := newLink(w.bucket)
		l.Host, l.File, l.Version, l.Who = w.bucket, w.file.ID, w.versions[n].ID, w.bucket
		w.links = append(w.links, l)
	}
	return w
}

func (w *world) fileIDs() (ids []manifest.FileID) {
	for range w.rows {
		ids = append(ids, w.file.ID)
	}
	return ids
}

func (w *world) versionIDs() (ids []manifest.VersionID) {
	for _, m := range w.versions {
		ids = append(ids, m.ID)
	}
	return ids
}

// ended are the links that have ended.
func (w *world) ended() (ids []manifest.LinkID) {
	for _, l := range w.links[w.rows/2:] {
		ids = append(ids, l.ID)
	}
	return ids
}

// fill writes the rows that calls are about, but for the file and the upload.
func (w *world) fill(ctx context.Context, d *pgstore.DB) error {
	for n := range w.rows {
		c, err := d.Update(ctx, "x", func(tx manifest.Tx) error {
			f, m := *w.file, *w.versions[n]
			f.ID, f.Name, f.Versions, f.Revision = manifest.NewFileID(), fmt.Sprint("other ", n), 1, 0
			f.State, f.DeletedAt = manifest.State(n%2), day
			m.ID, m.File, m.Version = manifest.NewVersionID(), f.ID, 1
			f.Current = m.ID
			g := &manifest.Grant{ID: manifest.NewGrantID(), Bucket: w.bucket, Owner: w.bucket, ExpiresAt: day.Add(time.Duration(w.rows))}
			key := &manifest.APIKey{ID: fmt.Sprint(w.bucket, n)}
			sign := &manifest.SignKey{ID: key.ID, Secret: []byte{1}}
			l, confirmed, ended := *w.links[n], *newLink(w.bucket), *newLink(w.bucket)
			if n >= w.rows/2 {
				l.State = manifest.LinkLetGo
			}
			confirmed.Host, confirmed.State, confirmed.Record = w.bucket, manifest.LinkConfirmed, w.bucket
			ended.State = manifest.LinkReleased
			o := &manifest.Once{Bucket: w.bucket, Key: w.ds[n], Manifest: m.ID, ExpiresAt: day}
			return errors.Join(tx.PutManifest(ctx, &m), tx.PutManifest(ctx, w.versions[n]), tx.PutFile(ctx, &f), tx.PutUpload(ctx, w.uploads[n]),
				tx.PutPart(ctx, w.upload.ID, uint64(n), []cas.Ref{{Digest: w.ds[n], Length: 1}}), tx.PutGrant(ctx, g),
				tx.PutAPIKey(ctx, key), tx.PutSignKey(ctx, sign), tx.PutOnce(ctx, o), tx.PutLink(ctx, &l), tx.PutLink(ctx, &confirmed),
				tx.PutLink(ctx, &ended), tx.PutLinkEvent(ctx, f.ID), tx.PutHost(ctx, &manifest.Host{Name: key.ID}))
		})
		if err != nil {
			return err
		}
		w.seqs = append(w.seqs, c.Seq)
	}
	_, err := d.Update(ctx, "", func(tx manifest.Tx) error { return tx.PutUpload(ctx, w.upload) })
	pack := cas.PackEntry{ID: w.pack, Sealed: true, Serial: uint64(w.rows)}
	return errors.Join(err, d.Index("x").Apply(ctx, &cas.Change{Packs: []cas.PackEntry{pack}}))
}

// inTx makes a call in a transaction.
func inTx(ctx context.Context, d *pgstore.DB, fn func(tx manifest.Tx) error) func() error {
	return func() error {
		_, err := d.Update(ctx, "x", fn)
		return err
	}
}

func without[E any](_ E, err error) error { return err }

// changes are the calls of a transaction that change rows.
func (w *world) changes(ctx context.Context, d *pgstore.DB) []call {
	ended := *w.upload
	ended.Expired = true
	limit := 2 * w.rows
	return []call{
		{"nothing", inTx(ctx, d, func(manifest.Tx) error { return nil })},
		{"put file", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutFile(ctx, w.file) })},
		{"put version", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutManifest(ctx, w.versions[0]) })},
		{"drop versions", inTx(ctx, d, func(tx manifest.Tx) error {
			var ids []manifest.VersionID
			for _, m := range w.versions[:w.rows/2] {
				ids = append(ids, m.ID)
			}
			return tx.DropManifests(ctx, ids, day)
		})},
		{"barrier", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.Barrier(ctx, "x")) })},
		{"put upload", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutUpload(ctx, w.upload) })},
		{"end upload", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutUpload(ctx, &ended) })},
		{"drop parts", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.DropParts(ctx, w.upload.ID, limit)) })},
		{"sweep uploads", inTx(ctx, d, func(tx manifest.Tx) error {
			return without(tx.SweepUploads(ctx, w.bucket, day.Add(time.Hour), limit))
		})},
		{"put receipts", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutReceipts(ctx, w.scope, w.ds, day) })},
		{"sweep receipts", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.SweepReceipts(ctx, day.Add(time.Hour), limit)) })},
		{"sweep onces", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.SweepOnces(ctx, day.Add(time.Hour), limit)) })},
		{"drop grants", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.DropGrantsOf(ctx, w.bucket, w.rows/2)) })},
		{"sweep grants", inTx(ctx, d, func(tx manifest.Tx) error { return without(tx.SweepGrants(ctx, day.Add(time.Hour), limit)) })},
		{"put link", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutLink(ctx, newLink(w.bucket)) })},
		{"change link", inTx(ctx, d, func(tx manifest.Tx) error {
			l := *w.links[0]
			l.State = manifest.LinkConfirmed
			return tx.PutLink(ctx, &l)
		})},
		{"drop links", inTx(ctx, d, func(tx manifest.Tx) error { return tx.DropLinks(ctx, w.ended()) })},
		{"put link event", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutLinkEvent(ctx, w.file.ID) })},
		{"drop link event", inTx(ctx, d, func(tx manifest.Tx) error { return tx.DropLinkEvent(ctx, w.file.ID) })},
		{"put host", inTx(ctx, d, func(tx manifest.Tx) error { return tx.PutHost(ctx, &manifest.Host{Name: w.bucket}) })},
		{"drop host", inTx(ctx, d, func(tx manifest.Tx) error { return tx.DropHost(ctx, w.bucket) })},
		{"purge", inTx(ctx, d, func(tx manifest.Tx) error { return tx.Purge(ctx, w.file.ID, day) })},
		{"graves", func() error { return drain(d.Graves(ctx, "x")) }},
		{"drop graves", func() error { return d.DropGraves(ctx, "x", w.graves()) }},
		{"add charges", func() error { return d.AddCharges(ctx, "x", w.charges()) }},
		{"charges of", func() error { return without(d.ChargesOf(ctx, "x", w.pack, w.rows)) }},
		{"all charges", func() error { return drain(d.AllCharges(ctx, "x")) }},
		{"add freed", func() error {
			var es []manifest.Freed
			for _, c := range w.charges() {
				es = append(es, manifest.Freed{Domain: "x", Charge: c})
			}
			return d.AddFreed(ctx, "x", es, w.charges())
		}},
		{"ledger", func() error { return drain(d.Ledger(ctx)) }},
		{"trim ledger", func() error { return d.TrimLedger(ctx, w.rows/2) }},
		{"doom pack", inTx(ctx, d, func(tx manifest.Tx) error {
			var voids []cas.Void
			for n := range w.rows {
				voids = append(voids, cas.Void{Writer: [16]byte{byte(n)}, Serial: uint64(w.rows)})
			}
			return tx.DoomPack(ctx, w.pack, 1, voids)
		})},
		{"dead", func() error { return without(d.Dead(ctx, "x")) }},
		{"drop marks", func() error { return without(d.DropMarks(ctx, 1<<60, limit)) }},
		{"written", func() error { return d.Written(ctx, w.seqs...) }},
		{"put segments", func() error { return d.Segments("x").PutSegments(ctx, w.segments) }},
		{"restore", func() error {
			var rs []manifest.Record
			for n := range w.rows {
				l := *w.links[n]
				l.Revision = 9
				rs = append(rs, manifest.Record{File: w.file}, manifest.Record{Manifest: w.versions[n]}, manifest.Record{Link: &l},
					manifest.Record{Purged: manifest.NewFileID()}, manifest.Record{Dropped: manifest.NewVersionID()})
			}
			return d.Restore(ctx, 1, rs)
		}},
		{"reindex", func() error { return d.Reindex(ctx) }},
	}
}

// reads are the calls that find rows.
func (w *world) reads(ctx context.Context, d *pgstore.DB) []call {
	return []call{
		{"versions", func() error { return drain(d.Versions(ctx, w.file.ID)) }},
		{"old versions", func() error { return without(d.OldVersions(ctx, w.file.ID, 1, w.rows)) }},
		{"list", func() error { return drain(d.List(ctx, w.bucket, &manifest.Range{Prefix: "o"})) }},
		{"trash", func() error { return drain(d.List(ctx, w.bucket, &manifest.Range{State: manifest.Trashed})) }},
		{"all rows", func() error { return drain(d.AllRows(ctx, w.bucket)) }},
		{"parts", func() error { return drain(d.UploadParts(ctx, w.upload.ID, 0)) }},
		{"under way", func() error { return drain(d.UploadsUnderWay(ctx, w.bucket)) }},
		{"grants", func() error { return drain(d.Grants(ctx, w.bucket, "")) }},
		{"held", func() error { return without(d.UploadsHeld(ctx, w.bucket, "ann")) }},
		{"leftover bytes", func() error { _, _, err := d.LeftoverBytes(ctx, w.bucket, "ann"); return err }},
		{"uploads of", func() error { return without(d.UploadsOf(ctx, w.bucket, "ann", w.rows)) }},
		{"waiting", func() error { return without(d.UploadsWaiting(ctx, w.bucket, w.uploads[0].ID, "", w.rows)) }},
		{"over", func() error { return without(d.UploadsOver(ctx, w.bucket, day.Add(time.Hour), w.rows)) }},
		{"trashed", func() error { return without(d.TrashedBefore(ctx, w.bucket, day.Add(time.Hour), "", w.rows)) }},
		{"have receipts", func() error { return without(d.HaveReceipts(ctx, w.scope, w.ds, day)) }},
		{"API keys", func() error { return without(d.APIKeys(ctx)) }},
		{"sign keys", func() error { return without(d.SignKeys(ctx)) }},
		{"homes", func() error { return without(d.Homes(ctx)) }},
		{"buckets", func() error { return without(d.Buckets(ctx)) }},
		{"writers", func() error { return without(d.Writers(ctx, "x")) }},
		{"usage", func() error { return without(d.Usage(ctx, w.bucket)) }},
		{"segments", func() error { return without(d.Segments("x").Segments(ctx, w.ds)) }},
		{"rows", func() error { return without(d.Rows(ctx, w.fileIDs(), w.versionIDs())) }},
		{"link", func() error { return without(d.Link(ctx, w.links[0].ID)) }},
		{"sums of files", func() error { return without(d.FileLinkSums(ctx, w.fileIDs())) }},
		{"sums of versions", func() error { return without(d.VersionLinkSums(ctx, w.versionIDs())) }},
		{"links of a file", func() error { return without(d.FileLinks(ctx, w.file.ID, "", w.rows)) }},
		{"links of a record", func() error {
			return without(d.RecordLinks(ctx, manifest.RecordKey{Host: w.bucket, Collection: "c", Record: w.bucket}))
		}},
		{"links of a host", func() error { return without(d.HostLinks(ctx, w.bucket, "", w.rows)) }},
		{"ended links", func() error { return without(d.EndedLinks(ctx, w.bucket, day.Add(time.Hour), w.rows)) }},
		{"pending links", func() error { return without(d.PendingLinks(ctx, w.bucket)) }},
		{"link events", func() error { return without(d.LinkEvents(ctx, "", w.rows)) }},
		{"host", func() error { return without(d.Host(ctx, fmt.Sprint(w.bucket, 0))) }},
		{"hosts", func() error { return without(d.Hosts(ctx)) }},
		{"all links", func() error { return drain(d.AllLinks(ctx, w.bucket)) }},
	}
}

// TestStoreStatements: a call makes as many statements for few rows as for
// many.
func TestStoreStatements(t *testing.T) {
	d, counter := openCounted(t)
	if _, err := d.Register(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	made := make(map[string]int)
	for _, rows := range []int{4, 20} {
		w := newWorld(rows)
		if err := w.fill(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		for _, calls := range [][]call{w.reads(t.Context(), d), w.changes(t.Context(), d)} {
			for _, c := range calls {
				got := counter.of(t, c.fn)
				if before, ok := made[c.name]; ok && len(got) != before || len(got) > mostStatements {
					t.Errorf("%s: %d statements for few rows, %d for many: %q", c.name, before, len(got), got)
				}
				made[c.name] = len(got)
			}
		}
	}
	for _, name := range []string{"rows", "sums of files", "sums of versions", "links of a file", "links of a record", "links of a host", "ended links", "pending links"} {
		if made[name] != 1 {
			t.Errorf("%s: %d statements, want 1", name, made[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		t.Logf("%-17s %2d", name, made[name])
	}
}
