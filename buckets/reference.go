package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// Links of records hold files and versions. Package links makes and ends them; here
// is what they keep from happening.

// ErrReferenced reports a file that records refer to by links that do not let it go.
var ErrReferenced = errors.New("records refer to the file")

// ErrUnreconciled reports that nothing is removed for good from a bucket now: it is
// not known which of its files the records of a host refer to.
var ErrUnreconciled = errors.New("nothing is removed for good until the records that refer to this bucket are reconciled: one of the databases was restored or made anew")

// A ReferencedError is an ErrReferenced with what refers to the file.
type ReferencedError struct {
	File    manifest.FileID
	Version manifest.VersionID // of which links do not let it go; "" for the file
	Count   int64              // of those links

	// Links are some of them, as far as the caller may know of their records.
	Links []*manifest.Link
}

func (e *ReferencedError) Error() string {
	links := "links"
	if e.Count == 1 {
		links = "link"
	}
	text := fmt.Sprintf("%s: %v, by %d %s with on_delete: restrict", e.File, ErrReferenced, e.Count, links)
	for i, l := range e.Links {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += sep + names.Escape(l.Collection+"/"+l.Record+"."+l.Field)
	}
	return text
}

func (e *ReferencedError) Unwrap() error { return ErrReferenced }

// checkLinks fails if a link does not let f be deleted, or its version v if that is not
// "". Hosts that are to be told of the deletion are told from now on. A removal for
// good waits for hosts that are not reconciled.
func (b *Bucket) checkLinks(ctx context.Context, tx manifest.Tx, f *manifest.File, v manifest.VersionID, forGood bool) error {
	if forGood {
		waits, err := isUnreconciled(ctx, tx, f.Bucket)
		if err != nil {
			return err
		}
		if waits {
			return ErrUnreconciled
		}
	}
	sums, err := linkSumsOf(ctx, tx, f.ID, v)
	if err != nil || sums.IsZero() {
		return err
	}
	confirmed := sums[manifest.LinkConfirmed]
	if n := confirmed[manifest.Restrict]; n > 0 {
		return &ReferencedError{File: f.ID, Version: v, Count: n}
	}
	if confirmed[manifest.SetNull] > 0 {
		return tx.PutLinkEvent(ctx, f.ID)
	}
	return nil
}

// linkSumsOf returns the sums of the links of a file or, if v is not "", of a version.
func linkSumsOf(ctx context.Context, rows manifest.Links, f manifest.FileID, v manifest.VersionID) (manifest.LinkSums, error) {
	var sums []manifest.LinkSums
	var err error
	if v == "" {
		sums, err = rows.FileLinkSums(ctx, []manifest.FileID{f})
	} else {
		sums, err = rows.VersionLinkSums(ctx, []manifest.VersionID{v})
	}
	if err != nil {
		return manifest.LinkSums{}, err
	}
	return sums[0], nil
}

// namedReferences is how many links a ReferencedError names at most. searchedReferences
// is of how many links of a file the host is asked whether somebody may know of their
// records, for that and for a page of References.
const (
	namedReferences    = 10
	searchedReferences = 1000
)

// nameReferences returns err. If it is a ReferencedError, it names in it links that do
// not let it go, as far as the bucket's principal may know of their
// records.
func (b *Bucket) nameReferences(ctx context.Context, err error) error {
	var e *ReferencedError
	if !errors.As(err, &e) {
		return err
	}
	links, lerr := b.s.meta.FileLinks(ctx, e.File, "", searchedReferences)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	for _, l := range links {
		if len(e.Links) == namedReferences {
			break
		}
		if l.State != manifest.LinkConfirmed || l.OnDelete != manifest.Restrict || e.Version != "" && l.Version != e.Version {
			continue
		}
		known, lerr := b.mayKnowRecord(ctx, l.Key())
		if lerr != nil {
			return err // it stands, whatever its records are called
		}
		if known {
			e.Links = append(e.Links, l)
		}
	}
	return err
}

// Records are what the records of hosts let people see. Who embeds a store gives it
// in Options. It may be called by many at once, and never in a transaction.
type Records interface {
	// Record returns a record as rules see it, in the variable record, if who may read
	// it. Absence and denial are fs.ErrNotExist and fs.ErrPermission, and are one to
	// Cairn's users. Any other error fails the call with access.ErrUndecided.
	Record(ctx context.Context, who *access.Principal, key manifest.RecordKey) (map[string]any, error)
}

// mayKnowAllRecords reports whether the bucket's principal may learn of every record that
// refers to a file.
func (b *Bucket) mayKnowAllRecords() bool { return b.who == nil || b.who.Operator }

// mayKnowRecord reports whether the bucket's principal may learn that a record
// refers to a file.
func (b *Bucket) mayKnowRecord(ctx context.Context, key manifest.RecordKey) (bool, error) {
	if b.mayKnowAllRecords() {
		return true, nil
	}
	if b.s.records == nil {
		return false, nil
	}
	_, known, err := b.readRecord(ctx, key)
	return known, err
}

// readRecord returns a record of a host, if the bucket's principal may read it. The
// store has Records.
func (b *Bucket) readRecord(ctx context.Context, key manifest.RecordKey) (values map[string]any, readable bool, err error) {
	values, err = b.s.records.Record(ctx, b.who, key)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("record of host %q: %w: %w", key.Host, access.ErrUndecided, err)
	}
	return values, true, nil
}

// isUnreconciled reports whether the records of some host refer to a bucket, and it
// is not known to which of its files.
func isUnreconciled(ctx context.Context, rows manifest.Links, bucket string) (bool, error) {
	hosts, err := rows.Hosts(ctx)
	if err != nil {
		return false, err
	}
	for _, h := range hosts {
		if h.Unreconciled && h.Refers(bucket) {
			return true, nil
		}
	}
	return false, nil
}

// warnOfHosts logs which hosts keep buckets from being swept.
func (s *Store) warnOfHosts(ctx context.Context) error {
	hosts, err := s.meta.Hosts(ctx)
	if err != nil {
		return fmt.Errorf("hosts: %w", err)
	}
	for _, h := range hosts {
		if h.Unreconciled {
			s.log.Warn("nothing is removed for good from the buckets of a host until it is reconciled", "host", h.Name, "buckets", h.Buckets)
		}
	}
	return nil
}

// isHeld reports whether links keep a file from being purged by a sweep.
func isHeld(ctx context.Context, rows manifest.Links, f *manifest.File) (bool, error) {
	sums, err := linkSumsOf(ctx, rows, f.ID, "")
	if err != nil || sums.Holds() > 0 {
		return true, err
	}
	return isUnreconciled(ctx, rows, f.Bucket)
}

// notHeld returns those of some versions that no link keeps from being removed by a
// sweep.
func notHeld(ctx context.Context, rows manifest.Links, ms []*manifest.Manifest) ([]*manifest.Manifest, error) {
	ids := make([]manifest.VersionID, len(ms))
	for i, m := range ms {
		ids[i] = m.ID
	}
	sums, err := rows.VersionLinkSums(ctx, ids)
	if err != nil {
		return nil, err
	}
	var free []*manifest.Manifest
	for i := range sums {
		if sums[i].Holds() == 0 {
			free = append(free, ms[i])
		}
	}
	return free, nil
}

// linkWindow is how long a link that has ended goes on to hold: as long as the
// trash keeps files. So a host that loses its last commits finds what they released.
func (p *Policy) linkWindow() time.Duration {
	switch {
	case p.Trash.Off:
		return shortLinkWindow
	case p.Trash.KeepFor == 0:
		return longLinkWindow
	}
	return p.Trash.KeepFor
}

const (
	shortLinkWindow = 24 * time.Hour      // where there is no trash
	longLinkWindow  = 30 * 24 * time.Hour // where the trash keeps files for ever
)

// sweepLinks drops the rows of links that ended long enough ago, and returns how many.
func (b *Bucket) sweepLinks(ctx context.Context) (dropped int64, err error) {
	before := b.s.removalTime().Add(-b.newest().linkWindow())
	for n := maxSwept; n == maxSwept; dropped += int64(n) {
		err := b.s.updateLocal(ctx, func(tx manifest.Tx) error {
			n = 0
			if waits, err := isUnreconciled(ctx, tx, b.b.name); err != nil || waits {
				return err
			}
			links, err := tx.EndedLinks(ctx, b.b.name, before, maxSwept)
			if err != nil || len(links) == 0 {
				return err
			}
			ids := make([]manifest.LinkID, len(links))
			for i, l := range links {
				ids[i] = l.ID
			}
			n = len(ids)
			return tx.DropLinks(ctx, ids)
		})
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// cascade moves f to the trash, since its last link has ended. The caller writes it.
func (s *Store) cascade(f *manifest.File) {
	f.State, f.Cascaded = manifest.Trashed, true
	f.DeletedAt = s.now()
	f.UpdatedAt = f.DeletedAt
}

// revive takes f out of the trash, under a free name if its own has been taken
// since. The caller writes it.
func (s *Store) revive(ctx context.Context, tx manifest.Tx, f *manifest.File) (err error) {
	if f.Name, err = freeName(ctx, tx, f.Bucket, f.Folder, f.Name); err != nil {
		return err
	}
	f.State, f.UpdatedAt = manifest.Active, s.now()
	f.DeletedAt, f.Cascaded = time.Time{}, false
	return nil
}

// A Via is a record by a field of which somebody comes to a file. Values are the
// record's, as rules see them. Who gives it has made sure that the sender may read
// the record.
type Via struct {
	Host, Collection, Record, Field string

	Values map[string]any
}

// Via returns b for a principal who comes to files by a record: rules find it in
// the variable record, for files that this field of the record has.
func (b *Bucket) Via(v *Via) *Bucket {
	c := *b
	c.via = v
	return &c
}

// findRecord sets the record of a request about a file that the field of b.via has.
func (b *Bucket) findRecord(ctx context.Context, req *access.Request) error {
	if b.via == nil || req.File == nil {
		return nil
	}
	links, err := b.s.meta.RecordLinks(ctx, manifest.RecordKey{Host: b.via.Host, Collection: b.via.Collection, Record: b.via.Record})
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Field == b.via.Field && l.File == req.File.ID && (l.Version == "" || req.Version != nil && l.Version == req.Version.ID) {
			req.Record = b.via.Values
			return nil
		}
	}
	return nil
}

// ViaRecord is Via for somebody who says which record that is. The store asks its
// Records whether they may read it; without Records, and for records that they may not
// read or that do not exist, it is ErrNoFile. A key without a host is one of the only
// host that the store knows.
func (b *Bucket) ViaRecord(ctx context.Context, key manifest.RecordKey, field string) (*Bucket, error) {
	if b.s.records == nil {
		return nil, ErrNoFile
	}
	if key.Host == "" {
		hosts, err := b.s.meta.Hosts(ctx)
		if err != nil {
			return nil, err
		}
		if len(hosts) != 1 {
			return nil, ErrNoFile
		}
		key.Host = hosts[0].Name
	}
	values, readable, err := b.readRecord(ctx, key)
	if err != nil {
		return nil, err
	}
	if !readable {
		return nil, ErrNoFile
	}
	return b.Via(&Via{Host: key.Host, Collection: key.Collection, Record: key.Record, Field: field, Values: values}), nil
}

// References returns links of records to the file or version id that stand, in order of
// IDs, of at most limit whose IDs are higher than after those of which the
// principal may know the record. next is where to go on, "" at the end. Who asks
// must be allowed to read the file. Links of other records are passed over untold, but
// where a thousand of them follow each other, there is a page with less.
func (b *Bucket) References(ctx context.Context, id string, after manifest.LinkID, limit int) (links []*manifest.Link, next manifest.LinkID, err error) {
	f, m, err := b.findPermitted(ctx, access.OpRead, id, &GetOptions{Trashed: true})
	if err != nil {
		return nil, "", err
	}
	page := limit
	if !b.mayKnowAllRecords() {
		if b.s.records == nil {
			return nil, "", nil
		}
		// A page of few links would tell how many there are of which nobody may know.
		page = max(limit, searchedReferences)
	}
	found, err := b.s.meta.FileLinks(ctx, f.ID, after, page)
	if err != nil {
		return nil, "", err
	}
	_, ofVersion := manifest.ParseVersionID(id)
	for _, l := range found {
		if ofVersion && l.Version != m.ID || !l.State.Stands() {
			continue
		}
		known, err := b.mayKnowRecord(ctx, l.Key())
		if err != nil {
			return nil, "", err
		}
		if !known {
			continue
		}
		if links = append(links, l); len(links) == limit {
			return links, l.ID, nil
		}
	}
	if len(found) == page {
		next = found[page-1].ID
	}
	return links, next, nil
}

// CountReferences sets Refs of files of the bucket to the number of confirmed links, by
// one read. It does so for operators alone: the others may not know of records.
func (b *Bucket) CountReferences(ctx context.Context, files ...*File) error {
	if len(files) == 0 || !b.mayKnowAllRecords() {
		return nil
	}
	ids := make([]manifest.FileID, len(files))
	for i, f := range files {
		ids[i] = manifest.FileID(f.ID)
	}
	sums, err := b.s.meta.FileLinkSums(ctx, ids)
	for i := range sums {
		files[i].Refs = int(sums[i].Count(manifest.LinkConfirmed))
	}
	return err
}
