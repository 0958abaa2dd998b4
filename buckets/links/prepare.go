package links

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// A Change is what a host is about to do to a record.
type Change struct {
	Collection string `json:"collection"`
	Record     string `json:"record"` // its ID
	// Fields are new values of file fields: IDs of files (f_…) or versions (m_…). Each
	// is whole, with what stays as it is. Fields that are not named stay as they are.
	Fields map[string][]string `json:"fields"`
	// Deleted says that the record goes. Fields must be empty.
	Deleted bool `json:"deleted"`
}

// A Hold is what Prepare has prepared.
type Hold struct {
	// Token is what Confirm and Cancel take. It may be kept with the record, in the
	// host's transaction, and be given to them by another process.
	Token string `json:"token"`
	// Values are, for each change, the values to write: of a field that pins versions
	// the ID of the version, of one that follows files that of the file.
	Values []map[string][]string `json:"values"`
}

// Prepare checks the file fields of records that the host is about to write, and
// makes links for them that hold from now on. Each file must exist, lie in the
// bucket of the field, fit its limits, and be one that who may read; nil is the host
// itself. For on_delete restrict and cascade, who must be allowed to delete it too,
// unless the bucket's schema says otherwise. What who may not read does not exist.
// A value that the field has already is taken as it is, whatever has become of the
// file.
//
// Either all links are made or none. Confirm must follow when the host's change is
// durable, Cancel when it will not be made.
func (h *Host) Prepare(ctx context.Context, who *access.Principal, changes ...Change) (*Hold, error) {
	p := &preparation{h: h, who: who, hold: &Hold{}, token: token{Session: h.session}, made: make(map[string][]*manifest.Link)}
	// One that makes no links is refused too: what it would release is read once the
	// session is known to be live.
	if err := h.checkLive(ctx, h.k.Meta()); err != nil {
		return nil, wrap("prepare", err)
	}
	if err := p.check(ctx, changes); err != nil {
		return nil, wrap("prepare", err)
	}
	for _, bucket := range slices.Sorted(maps.Keys(p.made)) {
		if err := p.makeLinks(ctx, bucket); err != nil {
			// A failed commit may have been made: what is pending then is let go.
			if cerr := h.letGo(context.WithoutCancel(ctx), p.token.Adds); cerr != nil {
				h.k.Log().Warn("links stay pending until the host is reconciled", "host", h.name, "error", cerr)
			}
			return nil, wrap("prepare", err)
		}
	}
	p.hold.Token = p.token.encode()
	return p.hold, nil
}

// A preparation is a Prepare under way.
type preparation struct {
	h     *Host
	who   *access.Principal
	hold  *Hold
	token token
	made  map[string][]*manifest.Link // to be made, by bucket
	// found are the rows that values name.
	found map[string]*manifest.Row
	// had are the confirmed links that a record has, by record.
	had map[manifest.RecordKey][]*manifest.Link
	// stays are those of had that nothing replaces: the record keeps its value, and
	// there is no file any more for a new link.
	stays map[manifest.LinkID]bool
}

// check checks all changes and collects the links to be made and those that they
// replace.
func (p *preparation) check(ctx context.Context, changes []Change) error {
	if err := p.checkForm(changes); err != nil {
		return err
	}
	var err error
	if p.found, err = findRows(ctx, p.h.k.Meta(), eachValue(changes)); err != nil {
		return err
	}
	p.had, p.stays = make(map[manifest.RecordKey][]*manifest.Link), make(map[manifest.LinkID]bool)
	for i := range changes {
		c := &changes[i]
		key := manifest.RecordKey{Host: p.h.name, Collection: c.Collection, Record: c.Record}
		had, err := p.h.k.Meta().RecordLinks(ctx, key)
		if err != nil {
			return err
		}
		p.had[key] = had
		values := make(map[string][]string, len(c.Fields))
		for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
			if values[name], err = p.checkField(ctx, key, p.h.fields[c.Collection+"."+name], c.Fields[name]); err != nil {
				return fmt.Errorf("%s of %s %q: %w", name, c.Collection, c.Record, err)
			}
		}
		p.hold.Values = append(p.hold.Values, values)
		for _, l := range had {
			if _, named := c.Fields[l.Field]; (named || c.Deleted) && !p.stays[l.ID] {
				p.token.Releases = append(p.token.Releases, l.ID)
			}
		}
		if n := len(p.token.Releases); n > maxReleases {
			return fmt.Errorf("the records had %d files up to %s %q, at most %d are let go at once: change fewer records, or empty their fields one by one: %w",
				n, c.Collection, c.Record, maxReleases, ErrValue)
		}
	}
	return nil
}

// checkForm checks what needs no rows.
func (p *preparation) checkForm(changes []Change) error {
	n := 0
	seen := make(map[manifest.RecordKey]bool)
	for i := range changes {
		c := &changes[i]
		key := manifest.RecordKey{Collection: c.Collection, Record: c.Record}
		switch {
		case c.Record == "" || len(c.Record) > maxNames || len(c.Collection) > maxNames:
			return fmt.Errorf("record %.40q of collection %.40q: want names of 1 to %d bytes: %w", c.Record, c.Collection, maxNames, ErrValue)
		case seen[key]:
			return fmt.Errorf("record %q of %q stands there twice: %w", c.Record, c.Collection, ErrValue)
		case c.Deleted && len(c.Fields) > 0:
			return fmt.Errorf("record %q of %q is deleted, and has values: %w", c.Record, c.Collection, ErrValue)
		}
		seen[key] = true
		for name, values := range c.Fields {
			f := p.h.fields[c.Collection+"."+name]
			if f == nil {
				return fmt.Errorf("field %.40q of collection %.40q: %w", name, c.Collection, ErrField)
			}
			most := f.MaxCount
			if !f.Many {
				most = 1
			}
			if most > 0 && len(values) > most {
				return fmt.Errorf("field %s of %q has %d files, at most %d are taken: %w", f.Key(), c.Record, len(values), most, ErrValue)
			}
			n += len(values)
		}
	}
	if n > maxValues || len(changes) > maxChanges {
		return fmt.Errorf("%d values of %d records at once, at most %d of %d are taken: %w", n, len(changes), maxValues, maxChanges, ErrValue)
	}
	return nil
}

func eachValue(changes []Change) (ids []string) {
	for i := range changes {
		for _, values := range changes[i].Fields {
			ids = append(ids, values...)
		}
	}
	return ids
}

// findRows returns the rows that IDs name, by ID. What is no ID has none.
func findRows(ctx context.Context, rows manifest.Files, ids []string) (map[string]*manifest.Row, error) {
	var files []manifest.FileID
	var versions []manifest.VersionID
	for _, id := range ids {
		if v, ok := manifest.ParseVersionID(id); ok {
			versions = append(versions, v)
		} else if f, ok := manifest.ParseFileID(id); ok {
			files = append(files, f)
		}
	}
	if len(files)+len(versions) == 0 {
		return nil, nil
	}
	found, err := rows.Rows(ctx, files, versions)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*manifest.Row)
	for i, f := range files {
		out[string(f)] = found[i]
	}
	for i, v := range versions {
		out[string(v)] = found[len(files)+i]
	}
	return out, nil
}

// checkField checks the new values of a field, and returns those to write.
func (p *preparation) checkField(ctx context.Context, key manifest.RecordKey, f *schema.Field, values []string) ([]string, error) {
	out := make([]string, 0, len(values))
	for _, id := range values {
		l := &manifest.Link{ID: manifest.NewLinkID(), Host: p.h.name, Session: p.h.session, Bucket: f.Bucket,
			Collection: key.Collection, Record: key.Record, Field: f.Name, OnDelete: policyOf(f),
			Who: p.h.k.PrincipalKey(p.who), At: p.h.k.Now()}
		row := p.found[id]
		if slices.Contains(out, id) {
			return nil, fmt.Errorf("%.60q stands there twice: %w", id, ErrValue)
		}
		kept := p.keptLinks(key, f, id)
		if row == nil && len(kept) > 0 { // the file is gone, and the record keeps its value
			for _, l := range kept {
				p.stays[l.ID] = true
			}
			out = append(out, id)
			continue
		}
		if err := p.checkValue(ctx, f, id, row, len(kept) > 0); err != nil {
			return nil, err
		}
		l.File = row.File.ID
		value := string(l.File)
		if f.Pin != schema.PinFile {
			l.Version = row.Manifest.ID
			value = string(l.Version)
		}
		if slices.Contains(out, value) {
			return nil, fmt.Errorf("%s stands there twice: %w", value, ErrValue)
		}
		out = append(out, value)
		p.made[f.Bucket] = append(p.made[f.Bucket], l)
		p.token.Adds = append(p.token.Adds, l.ID)
	}
	return out, nil
}

// keptLinks returns the confirmed links of the field that are already what a value id
// makes.
func (p *preparation) keptLinks(key manifest.RecordKey, f *schema.Field, id string) (kept []*manifest.Link) {
	for _, l := range p.had[key] {
		if l.Field != f.Name || l.Bucket != f.Bucket || l.OnDelete != policyOf(f) {
			continue
		}
		if f.Pin == schema.PinFile && l.Version == "" && string(l.File) == id || f.Pin != schema.PinFile && string(l.Version) == id {
			kept = append(kept, l)
		}
	}
	return kept
}

// checkValue checks that a field takes a file or version.
func (p *preparation) checkValue(ctx context.Context, f *schema.Field, id string, row *manifest.Row, kept bool) error {
	k := p.h.k
	if row == nil || row.Manifest == nil || !kept && row.File.State == manifest.Trashed {
		return fmt.Errorf("%.60q: %w", id, buckets.ErrNoFile)
	}
	if kept {
		return nil
	}
	if err := k.Check(ctx, access.OpRead, p.who, nil, row.File, row.Manifest); err != nil {
		return fmt.Errorf("%.60q: %w", id, asAbsence(err))
	}
	m := row.Manifest
	switch {
	case row.File.Bucket != f.Bucket:
		return fmt.Errorf("%s lies in bucket %q, want one of bucket %q: %w", id, row.File.Bucket, f.Bucket, ErrValue)
	case f.MaxSize > 0 && m.Size > int64(f.MaxSize):
		return fmt.Errorf("%s has %d bytes, at most %d are taken: %w", id, m.Size, f.MaxSize, ErrValue)
	case len(f.Types) > 0 && !k.IsOfType(m, f.Types):
		return fmt.Errorf("%s is of type %q, want one of %q: %w", id, m.MIMEType, f.Types, ErrValue)
	}
	if policy := policyOf(f); policy != manifest.Restrict && policy != manifest.Cascade || k.AreLinkedByReaders(f.Bucket) {
		return nil
	}
	if err := k.Check(ctx, access.OpDelete, p.who, nil, row.File, m); err != nil {
		return fmt.Errorf("%s: a link with on_delete: %s needs the right to delete the file: %w", id, f.OnDelete, err)
	}
	return nil
}

// asAbsence turns a denial into absence: whether a file exists is not told by links.
func asAbsence(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return buckets.ErrNoFile
	}
	return err
}

// makeLinks makes the links to files of a bucket, in one transaction. What they name
// is looked at again: a row that exists there keeps all that it needs.
func (p *preparation) makeLinks(ctx context.Context, bucket string) error {
	links := p.made[bucket]
	ctx = access.ActFor(p.h.actThrough(ctx), p.who)
	return p.h.k.Update(ctx, bucket, func(tx manifest.Tx) error {
		if err := p.h.checkLive(ctx, tx); err != nil {
			return err
		}
		if p.who != nil {
			n, err := tx.PendingLinks(ctx, links[0].Who)
			if err != nil {
				return err
			}
			if n+int64(len(links)) > maxPending {
				return fmt.Errorf("%d, at most %d: %w", n+int64(len(links)), maxPending, ErrTooManyPending)
			}
		}
		for _, l := range links {
			if there, err := hasTarget(ctx, tx, l); err != nil || !there {
				return errors.Join(err, absentIf(!there, l))
			}
			row := *l // a transaction that is run again puts it anew
			if err := tx.PutLink(ctx, &row); err != nil {
				return err
			}
		}
		return nil
	})
}

func absentIf(absent bool, l *manifest.Link) error {
	if absent {
		return fmt.Errorf("%s: %w", l.File, buckets.ErrNoFile)
	}
	return nil
}

// checkLive fails if the host's session has ended.
func (h *Host) checkLive(ctx context.Context, rows manifest.Links) error {
	row, err := rows.Host(ctx, h.name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !row.IsLive(h.session) {
		return fmt.Errorf("host %q, session %d: %w", h.name, h.session, ErrSession)
	}
	return err
}

// hasTarget reports whether the rows of what a link names are there, in the trash or
// not.
func hasTarget(ctx context.Context, rows manifest.Files, l *manifest.Link) (bool, error) {
	_, err := rows.File(ctx, l.File)
	if err == nil && l.Version != "" {
		_, err = rows.Manifest(ctx, l.Version)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
