package pgstore

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

type commandTag = pgconn.CommandTag

// chunkColumns are chunk entries as arrays, one for each column.
type chunkColumns struct {
	digest, frame            [][]byte
	slot, start, size, stamp []int64
	state                    []int32
}

func newChunkColumns(n int) *chunkColumns {
	return &chunkColumns{digest: make([][]byte, 0, n), frame: make([][]byte, 0, n), slot: make([]int64, 0, n),
		start: make([]int64, 0, n), size: make([]int64, 0, n), stamp: make([]int64, 0, n), state: make([]int32, 0, n)}
}

func (c *chunkColumns) addChunk(e *cas.ChunkEntry) {
	c.digest, c.frame = append(c.digest, e.Digest[:]), append(c.frame, e.Frame[:])
	c.slot, c.start, c.size = append(c.slot, int64(e.Slot)), append(c.start, int64(e.Offset)), append(c.size, int64(e.Length))
	c.stamp, c.state = append(c.stamp, int64(e.Stamp)), append(c.state, int32(e.State))
}

// frameColumns are rows of frames and their sources as arrays, one for each
// column.
type frameColumns struct {
	id, pack, sources                                        [][]byte
	start, header, stored, plain, slots, key, live, liveSize []int64
	kind, codec                                              []int32
	sourceDigest, sourceFrame                                [][]byte
}

func newFrameColumns(es []*cas.FrameEntry) *frameColumns {
	c := &frameColumns{}
	for _, e := range es {
		c.id, c.pack = append(c.id, e.ID[:]), append(c.pack, e.Pack[:])
		c.start, c.header, c.stored = append(c.start, e.Offset), append(c.header, int64(e.HeaderLen)), append(c.stored, int64(e.StoredLen))
		c.plain, c.slots, c.key = append(c.plain, int64(e.PlainLen)), append(c.slots, int64(e.Slots)), append(c.key, int64(e.Key))
		c.kind, c.codec = append(c.kind, int32(e.Kind)), append(c.codec, int32(e.Codec))
		c.live, c.liveSize = append(c.live, int64(e.Live)), append(c.liveSize, int64(e.LiveBytes))
		sources := []byte{}
		for i := range e.Sources {
			sources = appendSource(sources, &e.Sources[i])
		}
		c.sources = append(c.sources, sources)
	}
	return c
}

// addSources adds the sources of a frame, not the frame itself.
func (c *frameColumns) addSources(e *cas.FrameEntry) {
	for i := range e.Sources {
		c.sourceDigest, c.sourceFrame = append(c.sourceDigest, e.Sources[i].Digest[:]), append(c.sourceFrame, e.ID[:])
	}
}

// queueInsert queues a statement that writes the rows.
func (c *frameColumns) queueInsert(b *pgx.Batch, domain, onConflict string) {
	if len(c.id) == 0 {
		return
	}
	b.Queue(`INSERT INTO cairn_frames (domain, `+selectFrame+`)
		SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
			$9::int4[], $10::int4[], $11::int8[], $12::bytea[], $13::int8[], $14::int8[]) AS f `+onConflict,
		domain, c.id, c.pack, c.start, c.header, c.stored, c.plain, c.slots, c.kind, c.codec, c.key, c.sources, c.live, c.liveSize)
}

// packColumns are rows of packs as arrays, one for each column.
type packColumns struct {
	id, writer                                      [][]byte
	known, sealed                                   []bool
	size, serial, lastCommit, records, frames, live []int64
}

// addPack adds the entry of a pack, or nil for only what it gains.
func (c *packColumns) addPack(id cas.PackID, e *cas.PackEntry, gain packGain) {
	c.known = append(c.known, e != nil)
	if e == nil {
		e = &cas.PackEntry{}
	}
	c.id, c.writer, c.sealed = append(c.id, id[:]), append(c.writer, e.Writer[:]), append(c.sealed, e.Sealed)
	c.size, c.serial = append(c.size, e.Size), append(c.serial, int64(e.Serial))
	c.lastCommit, c.records = append(c.lastCommit, int64(e.LastCommit)), append(c.records, e.Records)
	c.frames, c.live = append(c.frames, gain.frames), append(c.live, gain.live)
}

// queueUpsert queues a statement that writes the entries and adds the gains. It
// answers with the IDs of those that are doomed.
func (c *packColumns) queueUpsert(b *pgx.Batch, domain string, answer func(rows pgx.Rows) error) {
	if len(c.id) == 0 {
		return
	}
	update := ``
	for _, name := range []string{"size", "sealed", "writer", "serial", "last_commit", "records"} {
		update += `, ` + name + ` = CASE WHEN excluded.known THEN excluded.` + name + ` ELSE p.` + name + ` END`
	}
	b.Queue(`WITH written AS (
			INSERT INTO cairn_packs AS p (domain, id, known, size, sealed, writer, serial, last_commit, records, frames, live)
			SELECT $1::text, * FROM unnest($2::bytea[], $3::bool[], $4::int8[], $5::bool[], $6::bytea[], $7::int8[], $8::int8[],
				$9::int8[], $10::int8[], $11::int8[]) AS n
			ON CONFLICT (domain, id) DO UPDATE SET known = p.known OR excluded.known, frames = p.frames + excluded.frames,
				live = p.live + excluded.live`+update+`
			RETURNING p.id, p.doomed)
		SELECT id FROM written WHERE doomed`,
		domain, c.id, c.known, c.size, c.sealed, c.writer, c.serial, c.lastCommit, c.records, c.frames, c.live).Query(answer)
}

// fileColumns are rows of files as arrays, one for each column.
type fileColumns struct {
	id, bucket, path, owner, current, row                [][]byte
	state                                                []int32
	deleted, revision, versions, size, chunks, described []int64
}

func (c *fileColumns) addFile(f *manifest.File) error {
	row, err := f.AppendBinary(nil)
	if err != nil {
		return err
	}
	c.id, c.bucket, c.path = append(c.id, toBytes(f.ID)), append(c.bucket, toBytes(f.Bucket)), append(c.path, toBytes(f.Path()))
	c.owner, c.current, c.row = append(c.owner, toBytes(f.Owner)), append(c.current, toBytes(f.Current)), append(c.row, row)
	c.state, c.deleted = append(c.state, int32(f.State)), append(c.deleted, millis(f.DeletedAt))
	c.revision, c.versions = append(c.revision, int64(f.Revision)), append(c.versions, int64(f.Versions))
	c.size, c.chunks = append(c.size, f.TotalSize), append(c.chunks, f.TotalChunks)
	c.described = append(c.described, f.DescribedBytes())
	return nil
}

// queueUpsert queues a statement that writes the rows. If replay is set, it
// leaves out files that were removed for good and does not replace rows of the
// same or a higher revision.
func (c *fileColumns) queueUpsert(b *pgx.Batch, replay bool) {
	unmarked, newer := ``, ``
	if replay {
		unmarked = `WHERE NOT EXISTS (SELECT 1 FROM cairn_marks AS m WHERE m.id = n.id)`
		newer = `WHERE f.revision < excluded.revision`
	}
	b.Queue(`INSERT INTO cairn_files AS f (id, bucket, path, owner, current, row, state, deleted, revision, versions, size, chunks, described)
		SELECT n.* FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[],
			$7::int4[], $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[])
			AS n(id, bucket, path, owner, current, row, state, deleted, revision, versions, size, chunks, described) `+unmarked+`
		ON CONFLICT (id) DO UPDATE SET bucket = excluded.bucket, path = excluded.path, owner = excluded.owner, current = excluded.current,
			row = excluded.row, state = excluded.state, deleted = excluded.deleted, revision = excluded.revision,
			versions = excluded.versions, size = excluded.size, chunks = excluded.chunks, described = excluded.described `+newer,
		c.id, c.bucket, c.path, c.owner, c.current, c.row, c.state, c.deleted, c.revision, c.versions, c.size, c.chunks, c.described)
}

// versionColumns are rows of versions as arrays, one for each column.
type versionColumns struct {
	id, file, row [][]byte
	version       []int64
}

func (c *versionColumns) addVersion(m *manifest.Manifest) error {
	row, err := m.AppendBinary(nil)
	if err != nil {
		return err
	}
	c.id, c.file, c.row = append(c.id, toBytes(m.ID)), append(c.file, toBytes(m.File)), append(c.row, row)
	c.version = append(c.version, int64(m.Version))
	return nil
}

// queueUpsert queues a statement that writes the rows. If replay is set, it
// leaves out versions that were removed for good, by themselves or with their
// file.
func (c *versionColumns) queueUpsert(b *pgx.Batch, replay bool) {
	unmarked := ``
	if replay {
		unmarked = `WHERE NOT EXISTS (SELECT 1 FROM cairn_marks AS m WHERE m.id = n.id OR m.id = n.file)`
	}
	b.Queue(`INSERT INTO cairn_versions (id, file, version, row)
		SELECT n.* FROM unnest($1::bytea[], $2::bytea[], $3::int8[], $4::bytea[]) AS n(id, file, version, row) `+unmarked+`
		ON CONFLICT (id) DO UPDATE SET file = excluded.file, version = excluded.version, row = excluded.row`,
		c.id, c.file, c.version, c.row)
}
