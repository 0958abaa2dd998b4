package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// Link implements manifest.Links, and so do the methods below.
func (s rows) Link(ctx context.Context, id manifest.LinkID) (*manifest.Link, error) {
	return queryOne(ctx, s.c, "link "+string(id), decode[manifest.Link], `SELECT row FROM cairn_links WHERE id = $1`, toBytes(id))
}

func (s rows) FileLinkSums(ctx context.Context, ids []manifest.FileID) ([]manifest.LinkSums, error) {
	return linkSums(ctx, s.c, ids)
}

func (s rows) VersionLinkSums(ctx context.Context, ids []manifest.VersionID) ([]manifest.LinkSums, error) {
	return linkSums(ctx, s.c, ids)
}

// links returns the links that a statement finds.
func (s rows) links(ctx context.Context, sql string, args ...any) ([]*manifest.Link, error) {
	return queryAll(ctx, s.c, "pgstore: links", decode[manifest.Link], sql, args...)
}

func (s rows) FileLinks(ctx context.Context, file manifest.FileID, after manifest.LinkID, limit int) ([]*manifest.Link, error) {
	return s.links(ctx, `SELECT row FROM cairn_links WHERE file = $1 AND listed AND id > $2 ORDER BY id LIMIT $3`,
		toBytes(file), toBytes(after), limit)
}

func (s rows) RecordLinks(ctx context.Context, key manifest.RecordKey) ([]*manifest.Link, error) {
	// State 1 is LinkConfirmed.
	return s.links(ctx, `SELECT row FROM cairn_links WHERE record = $1 AND state = 1 ORDER BY id`, hashRecord(key))
}

// hashRecord returns a hash of the names of a record, each with its length.
func hashRecord(key manifest.RecordKey) []byte {
	var names []byte
	for _, s := range []string{key.Host, key.Collection, key.Record} {
		names = append(binary.AppendUvarint(names, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(names)
	return sum[:]
}

func (s rows) HostLinks(ctx context.Context, host string, after manifest.LinkID, limit int) ([]*manifest.Link, error) {
	return s.links(ctx, `SELECT row FROM cairn_links WHERE host = $1 AND listed AND id > $2 ORDER BY id LIMIT $3`,
		toBytes(host), toBytes(after), limit)
}

func (s rows) EndedLinks(ctx context.Context, bucket string, before time.Time, limit int) ([]*manifest.Link, error) {
	return s.links(ctx, `SELECT row FROM cairn_links WHERE bucket = $1 AND NOT listed AND at < $2 ORDER BY at, id LIMIT $3`,
		toBytes(bucket), millis(before), limit)
}

func (s rows) PendingLinks(ctx context.Context, who string) (int64, error) {
	// State 0 is LinkPending.
	return queryOne(ctx, s.c, "pgstore: pending links", pgx.RowTo[int64], `SELECT count(*) FROM cairn_links WHERE who = $1 AND state = 0`, toBytes(who))
}

func (s rows) LinkEvents(ctx context.Context, after manifest.FileID, limit int) ([]manifest.FileID, error) {
	return queryAll(ctx, s.c, "pgstore: link events", func(row pgx.CollectableRow) (manifest.FileID, error) {
		id, err := pgx.RowTo[[]byte](row)
		return manifest.FileID(id), err
	}, `SELECT file FROM cairn_link_events WHERE file > $1 ORDER BY file LIMIT $2`, toBytes(after), limit)
}

// AllLinks implements manifest.AllLinks.
func (d *DB) AllLinks(ctx context.Context, bucket string) iter.Seq2[*manifest.Link, error] {
	return named("links", listLinks(bucket).eachAtOneMoment(ctx, d))
}

// listLinks lists the links of a bucket, "" means all.
func listLinks(bucket string) *pagedList[*manifest.Link] {
	l := listByID(`SELECT row FROM cairn_links WHERE id > $1 ORDER BY id LIMIT $2`,
		rowPage, decode[manifest.Link], func(l *manifest.Link) []byte { return toBytes(l.ID) })
	if bucket != "" {
		l.query = `SELECT row FROM cairn_links WHERE bucket = $1 AND id > $2 ORDER BY id LIMIT $3`
		l.args = append(l.args, toBytes(bucket))
	}
	return l
}

// PutLink implements manifest.LinkChanges, and so do the methods below.
func (t *tx) PutLink(ctx context.Context, l *manifest.Link) error {
	found, err := t.links(ctx, `SELECT row FROM cairn_links WHERE id = $1`, toBytes(l.ID))
	if err != nil {
		return err
	}
	changes := make(linkChanges)
	for _, old := range found {
		changes.addLink(old, -1)
	}
	l.Revision++
	changes.addLink(l, 1)
	c := &linkColumns{}
	if err := c.addLink(l); err != nil {
		return err
	}
	b := &pgx.Batch{}
	c.queueUpsert(b, false)
	changes.queueAll(b)
	row := *l
	t.records = append(t.records, manifest.Record{Link: &row})
	return addContext("pgstore: put link "+string(l.ID), t.c.sendBatch(ctx, b))
}

func (t *tx) DropLinks(ctx context.Context, ids []manifest.LinkID) error {
	ended, err := t.links(ctx, `SELECT row FROM cairn_links WHERE id = ANY($1)`, toByteSlices(ids))
	if err != nil {
		return err
	}
	changes := make(linkChanges)
	for _, l := range ended {
		if l.State.Stands() {
			return fmt.Errorf("pgstore: link %s is %s, and cannot be dropped", l.ID, l.State)
		}
		changes.addLink(l, -1)
	}
	b := &pgx.Batch{}
	b.Queue(`DELETE FROM cairn_links WHERE id = ANY($1)`, toByteSlices(ids))
	changes.queueAll(b)
	return addContext("pgstore: drop links", t.c.sendBatch(ctx, b))
}

func (t *tx) PutLinkEvent(ctx context.Context, file manifest.FileID) error {
	_, err := t.c.exec(ctx, "pgstore: put link event", `INSERT INTO cairn_link_events VALUES ($1) ON CONFLICT DO NOTHING`, toBytes(file))
	return err
}

func (t *tx) DropLinkEvent(ctx context.Context, file manifest.FileID) error {
	return t.drop(ctx, "pgstore: drop link event", `DELETE FROM cairn_link_events WHERE file = $1`, toBytes(file))
}

// linkColumns are rows of links as arrays, one for each column.
type linkColumns struct {
	id, host, bucket, file, version, record, who, row [][]byte
	state, policy                                     []int32
	listed                                            []bool
	at, revision                                      []int64
}

func (c *linkColumns) addLink(l *manifest.Link) error {
	row, err := l.AppendBinary(nil)
	if err != nil {
		return err
	}
	c.id, c.host, c.bucket = append(c.id, toBytes(l.ID)), append(c.host, toBytes(l.Host)), append(c.bucket, toBytes(l.Bucket))
	c.file, c.version = append(c.file, toBytes(l.File)), append(c.version, toBytes(l.Version))
	c.record, c.who, c.row = append(c.record, hashRecord(l.Key())), append(c.who, toBytes(l.Who)), append(c.row, row)
	c.state, c.policy = append(c.state, int32(l.State)), append(c.policy, int32(l.OnDelete))
	c.listed = append(c.listed, l.IsListed())
	c.at, c.revision = append(c.at, millis(l.At)), append(c.revision, int64(l.Revision))
	return nil
}

// queueUpsert queues a statement that writes the rows. If replay is set, it does
// not replace rows of the same or a higher revision.
func (c *linkColumns) queueUpsert(b *pgx.Batch, replay bool) {
	newer := ``
	if replay {
		newer = `WHERE l.revision < excluded.revision`
	}
	b.Queue(`INSERT INTO cairn_links AS l (id, host, bucket, file, version, record, who, row, state, policy, listed, at, revision)
		SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[],
			$9::int4[], $10::int4[], $11::bool[], $12::int8[], $13::int8[]) AS n
		ON CONFLICT (id) DO UPDATE SET host = excluded.host, bucket = excluded.bucket, file = excluded.file,
			version = excluded.version, record = excluded.record, who = excluded.who, row = excluded.row, state = excluded.state,
			policy = excluded.policy, listed = excluded.listed, at = excluded.at,
			revision = excluded.revision `+newer,
		c.id, c.host, c.bucket, c.file, c.version, c.record, c.who, c.row, c.state, c.policy, c.listed, c.at, c.revision)
}
