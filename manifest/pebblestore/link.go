package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

func linkKey(id manifest.LinkID) []byte { return append([]byte{keyLink}, id...) }

func fileLinkKey(file manifest.FileID, id manifest.LinkID) []byte {
	return append(append([]byte{keyFileLink}, file...), id...)
}

// recordLinkKey finds a link by its record. The names of the record are hashed each
// with its length, so that no two records share a key.
func recordLinkKey(key manifest.RecordKey, id manifest.LinkID) []byte {
	var names []byte
	for _, s := range []string{key.Host, key.Collection, key.Record} {
		names = append(binary.AppendUvarint(names, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(names)
	return append(append([]byte{keyRecordLink}, sum[:16]...), id...)
}

func hostLinkKey(host string, id manifest.LinkID) []byte {
	return bucketKey(keyHostLink, host, string(id))
}

func endedLinkKey(bucket string, at time.Time, id manifest.LinkID) []byte {
	return append(binary.BigEndian.AppendUint64(bucketKey(keyEndedLink, bucket, ""), millis(at)), id...)
}

func linkSumsKey[T manifest.FileID | manifest.VersionID](id T) []byte {
	return append([]byte{keyLinkSums}, id...)
}

func pendingLinksKey(who string) []byte {
	sum := sha256.Sum256([]byte(who))
	return append([]byte{keyLinkSums, 'p'}, sum[:16]...)
}

func linkEventKey(file manifest.FileID) []byte { return append([]byte{keyLinkEvent}, file...) }

func hostKey(name string) []byte { return append([]byte{keyHost}, name...) }

// linkListKeys returns the keys of l in the lists that its row is found by.
func linkListKeys(l *manifest.Link) (keys [][]byte) {
	if l.IsListed() {
		keys = append(keys, fileLinkKey(l.File, l.ID), hostLinkKey(l.Host, l.ID))
	} else {
		keys = append(keys, endedLinkKey(l.Bucket, l.At, l.ID))
	}
	if l.State == manifest.LinkConfirmed {
		keys = append(keys, recordLinkKey(l.Key(), l.ID))
	}
	return keys
}

// Link implements manifest.Links, and so do the methods below.
func (s rows) Link(ctx context.Context, id manifest.LinkID) (*manifest.Link, error) {
	return getRow[manifest.Link](ctx, s, linkKey(id), "link %s", id)
}

func (s rows) FileLinkSums(ctx context.Context, ids []manifest.FileID) ([]manifest.LinkSums, error) {
	return readLinkSums(ctx, s, ids)
}

func (s rows) VersionLinkSums(ctx context.Context, ids []manifest.VersionID) ([]manifest.LinkSums, error) {
	return readLinkSums(ctx, s, ids)
}

func readLinkSums[T manifest.FileID | manifest.VersionID](ctx context.Context, s rows, ids []T) ([]manifest.LinkSums, error) {
	out := make([]manifest.LinkSums, len(ids))
	for i, id := range ids {
		v, err := s.d.getValue(s.r, linkSumsKey(id))
		if err == nil {
			out[i], err = parseLinkSums(v)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("links of %s: %w", id, err)
		}
	}
	return out, ctx.Err()
}

func appendLinkSums(b []byte, sums *manifest.LinkSums) []byte {
	b = append(b, entryVersion)
	for _, byPolicy := range sums {
		for _, n := range byPolicy {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}

func parseLinkSums(p []byte) (sums manifest.LinkSums, err error) {
	n := len(sums) * len(sums[0])
	if len(p) == 0 || p[0] != entryVersion {
		return sums, errEntry
	}
	ns, ok := parseUvarints(p[1:], n)
	if !ok {
		return sums, errEntry
	}
	for i, n := range ns {
		sums[i/len(sums[0])][i%len(sums[0])] = int64(n)
	}
	return sums, nil
}

func (s rows) FileLinks(ctx context.Context, file manifest.FileID, after manifest.LinkID, limit int) ([]*manifest.Link, error) {
	return s.linksUnder(ctx, fileLinkKey(file, ""), after, limit)
}

func (s rows) RecordLinks(ctx context.Context, key manifest.RecordKey) ([]*manifest.Link, error) {
	return s.linksUnder(ctx, recordLinkKey(key, ""), "", 0)
}

func (s rows) HostLinks(ctx context.Context, host string, after manifest.LinkID, limit int) ([]*manifest.Link, error) {
	return s.linksUnder(ctx, hostLinkKey(host, ""), after, limit)
}

// linksUnder returns the links whose IDs stand behind prefix and are higher than
// after, at most limit; 0 is no limit.
func (s rows) linksUnder(ctx context.Context, prefix []byte, after manifest.LinkID, limit int) ([]*manifest.Link, error) {
	s, end := s.atOneMoment() // the lists are of the rows
	defer end()
	from := append(append([]byte(nil), prefix...), after...)
	if after != "" {
		from = append(from, 0)
	}
	return s.listedLinks(ctx, limit, scanFrom(ctx, s, prefix, from, func(k, _ []byte) (manifest.LinkID, error) {
		return manifest.LinkID(k[len(prefix):]), nil
	}))
}

// listedLinks returns the rows of the first links of a list, at most limit; 0 is no
// limit. s must be of the moment of the list.
func (s rows) listedLinks(ctx context.Context, limit int, ids iter.Seq2[manifest.LinkID, error]) (ls []*manifest.Link, err error) {
	for id, err := range ids {
		if err != nil {
			return nil, err
		}
		l, err := s.listedLink(ctx, id)
		if err != nil {
			return nil, err
		}
		if ls = append(ls, l); len(ls) == limit {
			break
		}
	}
	return ls, ctx.Err()
}

// listedLink returns a link that a list has. One without a row is damage, and does
// not match fs.ErrNotExist.
func (s rows) listedLink(ctx context.Context, id manifest.LinkID) (*manifest.Link, error) {
	l, err := s.Link(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pebblestore: link %s is listed and has no row: %w", id, errEntry)
	}
	return l, err
}

func (s rows) EndedLinks(ctx context.Context, bucket string, before time.Time, limit int) ([]*manifest.Link, error) {
	s, end := s.atOneMoment()
	defer end()
	low, high := bucketKey(keyEndedLink, bucket, ""), endedLinkKey(bucket, before, "")
	return s.listedLinks(ctx, limit, scanRange(ctx, s, low, high, (*pebble.Iterator).First, (*pebble.Iterator).Next, func(k, _ []byte) (manifest.LinkID, error) {
		return manifest.LinkID(k[len(high):]), nil
	}))
}

func (s rows) PendingLinks(ctx context.Context, who string) (int64, error) {
	return s.readBytes(pendingLinksKey(who))
}

func (s rows) LinkEvents(ctx context.Context, after manifest.FileID, limit int) (ids []manifest.FileID, err error) {
	from := linkEventKey(after)
	if after != "" {
		from = append(from, 0)
	}
	for id, err := range scanFrom(ctx, s, []byte{keyLinkEvent}, from, func(k, _ []byte) (manifest.FileID, error) {
		return manifest.FileID(k[1:]), nil
	}) {
		if err != nil {
			return nil, err
		}
		if ids = append(ids, id); len(ids) == limit {
			break
		}
	}
	return ids, ctx.Err()
}

func (s rows) Host(ctx context.Context, name string) (*manifest.Host, error) {
	return getRow[manifest.Host](ctx, s, hostKey(name), "host %q", name)
}

func (s rows) Hosts(ctx context.Context) ([]*manifest.Host, error) {
	return allRowsUnder[manifest.Host](ctx, s, keyHost, "host")
}

// AllLinks implements manifest.AllLinks. One iterator sees the rows of one moment.
func (d *DB) AllLinks(ctx context.Context, bucket string) iter.Seq2[*manifest.Link, error] {
	return d.allLinks(ctx, bucket)
}

func (s rows) allLinks(ctx context.Context, bucket string) iter.Seq2[*manifest.Link, error] {
	all := scanPrefix(ctx, s, []byte{keyLink}, rowParser[manifest.Link]("link", 1))
	return onlyIf(all, func(l *manifest.Link) bool { return bucket == "" || l.Bucket == bucket })
}

// PutLink implements manifest.LinkChanges, and so do the methods below.
func (t *tx) PutLink(ctx context.Context, l *manifest.Link) error {
	old, err := t.Link(ctx, l.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.Revision++
	if old != nil {
		if err := t.listLink(ctx, old, -1); err != nil {
			return err
		}
	}
	if err := t.listLink(ctx, l, 1); err != nil {
		return err
	}
	row := *l
	t.records = append(t.records, manifest.Record{Link: &row})
	return t.putRow(linkKey(l.ID), l)
}

// listLink adds l to the lists and sums, or takes it out if sign is -1.
func (t *tx) listLink(ctx context.Context, l *manifest.Link, sign int64) error {
	for _, key := range linkListKeys(l) {
		if sign > 0 {
			t.b.Set(key, nil, nil)
		} else {
			t.b.Delete(key, nil)
		}
	}
	keys := [][]byte{linkSumsKey(l.File)}
	if l.Version != "" {
		keys = append(keys, linkSumsKey(l.Version))
	}
	for _, key := range keys {
		if err := t.addToLinkSums(key, l, sign); err != nil {
			return err
		}
	}
	if l.State == manifest.LinkPending {
		if err := t.addBytes(pendingLinksKey(l.Who), sign); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (t *tx) addToLinkSums(key []byte, l *manifest.Link, sign int64) error {
	var sums manifest.LinkSums
	v, err := t.d.getValue(t.b, key)
	if err == nil {
		sums, err = parseLinkSums(v)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pebblestore: sums of links: %w", err)
	}
	if sums.Add(l, sign); sums.IsZero() {
		return t.b.Delete(key, nil)
	}
	return t.b.Set(key, appendLinkSums(nil, &sums), nil)
}

func (t *tx) DropLinks(ctx context.Context, ids []manifest.LinkID) error {
	for _, id := range ids {
		l, err := t.Link(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if l.State.Stands() {
			return fmt.Errorf("pebblestore: link %s is %s, and cannot be dropped", id, l.State)
		}
		if err := t.listLink(ctx, l, -1); err != nil {
			return err
		}
		t.b.Delete(linkKey(id), nil)
	}
	return nil
}

func (t *tx) PutLinkEvent(ctx context.Context, file manifest.FileID) error {
	return t.b.Set(linkEventKey(file), nil, nil)
}

func (t *tx) DropLinkEvent(ctx context.Context, file manifest.FileID) error {
	if has, err := t.hasKey(linkEventKey(file)); err != nil || !has {
		return err // a transaction that changes nothing is not written
	}
	return t.b.Delete(linkEventKey(file), nil)
}

func (t *tx) PutHost(ctx context.Context, h *manifest.Host) error {
	return t.putRow(hostKey(h.Name), h)
}

func (t *tx) DropHost(ctx context.Context, name string) error {
	return t.b.Delete(hostKey(name), nil)
}

// replayLink restores the row of a link. Reindex makes its lists and sums.
func (t *tx) replayLink(ctx context.Context, l *manifest.Link) error {
	old, err := t.Link(ctx, l.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != nil && old.Revision >= l.Revision {
		return nil
	}
	return t.putRow(linkKey(l.ID), l)
}

// linkBatch is how many links one batch of reindexLinks lists.
const linkBatch = 1000

// reindexLinks makes the lists and sums of links anew. The caller holds DB.lock.
func (d *DB) reindexLinks(ctx context.Context) error {
	for _, letter := range []byte{keyFileLink, keyRecordLink, keyHostLink, keyEndedLink, keyLinkSums} {
		if err := d.db.DeleteRange([]byte{letter}, []byte{letter + 1}, pebble.NoSync); err != nil {
			return err
		}
	}
	var b *pebble.Batch
	n := 0
	commit := func() (err error) {
		if b != nil {
			err = errors.Join(b.Commit(pebble.NoSync), b.Close())
		}
		b, n = nil, 0
		return err
	}
	for l, err := range d.AllLinks(ctx, "") {
		if err == nil {
			if b == nil {
				b = d.db.NewIndexedBatch()
			}
			t := &tx{rows: rows{d, b}, b: b}
			err = t.listLink(ctx, l, 1)
		}
		if n++; err == nil && n == linkBatch {
			err = commit()
		}
		if err != nil {
			return errors.Join(err, commit())
		}
	}
	return commit()
}
