package buckets

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// Audit says where the lines of the audit go: one for each change of a file, key,
// signed URL or bucket.
type Audit struct {
	// Write appends whole lines to where they are kept. When it returns nil they are
	// durable there, and are forgotten here; until then they wait in the database, in the
	// transaction of whose change they tell. It is called by one goroutine at a time, with
	// no more than some MiB, and may see a line again after a crash.
	Write func(lines []byte) error
	// Names puts names and folders of files, and names of keys, into the lines.
	Names bool
}

// An AuditEntry is what a line of the audit says, beside the number of the commit.
type AuditEntry struct {
	Time    time.Time    `json:"time"`
	Action  string       `json:"action"` // such as file.create; docs/operating.md lists them
	Actor   access.Actor `json:"actor"`
	Bucket  string       `json:"bucket,omitempty"`
	File    string       `json:"file,omitempty"`
	Version string       `json:"version,omitempty"` // ID
	Number  uint64       `json:"version_number,omitempty"`
	Size    *int64       `json:"size,omitempty"`

	Versions   uint64   `json:"versions,omitempty"`    // that a purge removes
	Fields     []string `json:"fields,omitempty"`      // that a change of metadata is about
	FromFile   string   `json:"from_file,omitempty"`   // of a copy
	FromNumber uint64   `json:"from_number,omitempty"` // of a version that was restored
	Found      string   `json:"found,omitempty"`       // by a scanner

	Grant     string     `json:"grant,omitempty"`
	Key       string     `json:"key,omitempty"`
	Count     int        `json:"count,omitempty"` // of URLs that end with a key
	Operation string     `json:"operation,omitempty"`
	Operator  bool       `json:"operator,omitempty"`
	Buckets   []string   `json:"buckets,omitempty"`
	Ops       []string   `json:"operations,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`

	Backend string   `json:"backend,omitempty"`
	Added   []string `json:"added,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Removed []string `json:"removed,omitempty"`

	Path     string `json:"path,omitempty"`      // only with Audit.Names
	FromPath string `json:"from_path,omitempty"` // of a move, only with Audit.Names
	Name     string `json:"name,omitempty"`      // of a key, only with Audit.Names
}

// An auditNote says of a context what its change is, where rows do not show it.
type auditNote struct {
	action     string
	fromFile   string
	fromNumber uint64
}

type auditNoteKey struct{}

func withAuditNote(ctx context.Context, n auditNote) context.Context {
	return context.WithValue(ctx, auditNoteKey{}, n)
}

// audited returns fn with notes of what it changes, in the same transaction. Without an
// audit it is fn.
func (s *Store) audited(ctx context.Context, fn func(tx manifest.Tx) error) func(tx manifest.Tx) error {
	if s.audit == nil {
		return fn
	}
	return func(tx manifest.Tx) error {
		a := &auditTx{Tx: tx, s: s, actor: access.ActorOf(ctx)}
		a.note, _ = ctx.Value(auditNoteKey{}).(auditNote)
		if err := fn(a); err != nil {
			return err
		}
		return a.finish(ctx)
	}
}

// An auditTx is a transaction that remembers what of its rows the audit tells. What was
// done to a file follows from its row before and after, whatever call did it.
type auditTx struct {
	manifest.Tx
	s       *Store
	actor   access.Actor
	note    auditNote
	files   []*auditFile // in the order in which they were touched
	entries []*AuditEntry
}

// An auditFile is a file that a transaction changes.
type auditFile struct {
	id          manifest.FileID
	before, now *manifest.File // nil for none
	purged      bool
	made        []*manifest.Manifest
	dropped     []*manifest.Manifest
}

// touch returns what is remembered of a file. Its row before is read when it is met
// first.
func (a *auditTx) touch(ctx context.Context, id manifest.FileID) (*auditFile, error) {
	if i := slices.IndexFunc(a.files, func(f *auditFile) bool { return f.id == id }); i >= 0 {
		return a.files[i], nil
	}
	f := &auditFile{id: id}
	row, err := a.Tx.File(ctx, id)
	if ignoreGone(err) != nil {
		return nil, err
	}
	if err == nil {
		f.before, f.now = row, row
	}
	a.files = append(a.files, f)
	return f, nil
}

// PutFile implements manifest.FileChanges, and so do the methods below.
func (a *auditTx) PutFile(ctx context.Context, row *manifest.File) error {
	f, err := a.touch(ctx, row.ID)
	if err != nil {
		return err
	}
	if err := a.Tx.PutFile(ctx, row); err != nil {
		return err
	}
	now := *row
	f.now = &now
	return nil
}

func (a *auditTx) PutManifest(ctx context.Context, m *manifest.Manifest) error {
	f, err := a.touch(ctx, m.File)
	if err != nil {
		return err
	}
	f.made = append(f.made, m)
	return a.Tx.PutManifest(ctx, m)
}

func (a *auditTx) DropManifests(ctx context.Context, ids []manifest.VersionID, at time.Time) error {
	for _, id := range ids {
		m, err := a.Tx.Manifest(ctx, id)
		if err != nil {
			return err
		}
		f, err := a.touch(ctx, m.File)
		if err != nil {
			return err
		}
		f.dropped = append(f.dropped, m)
	}
	return a.Tx.DropManifests(ctx, ids, at)
}

func (a *auditTx) Purge(ctx context.Context, id manifest.FileID, at time.Time) error {
	f, err := a.touch(ctx, id)
	if err != nil {
		return err
	}
	f.purged = true
	return a.Tx.Purge(ctx, id, at)
}

func (a *auditTx) PutGrant(ctx context.Context, g *manifest.Grant) error {
	a.add(AuditEntry{Action: "url.sign", Bucket: g.Bucket, Grant: string(g.ID), Operation: g.Op, File: string(g.File), Version: string(g.Manifest), Expires: &g.ExpiresAt})
	return a.Tx.PutGrant(ctx, g)
}

func (a *auditTx) DropGrant(ctx context.Context, bucket string, id manifest.GrantID) error {
	a.add(AuditEntry{Action: "url.revoke", Bucket: bucket, Grant: string(id)})
	return a.Tx.DropGrant(ctx, bucket, id)
}

func (a *auditTx) DropGrantsOf(ctx context.Context, owner string, limit int) (int, error) {
	n, err := a.Tx.DropGrantsOf(ctx, owner, limit)
	if err == nil && n > 0 {
		a.add(AuditEntry{Action: "url.revoke", Key: owner[min(len(owner), len(access.KeyOwner)):], Count: n})
	}
	return n, err
}

func (a *auditTx) PutAPIKey(ctx context.Context, k *manifest.APIKey) error {
	e := AuditEntry{Action: "key.create", Key: k.ID, Operator: k.Operator, Buckets: k.Buckets, Ops: k.Ops}
	if !k.ExpiresAt.IsZero() {
		e.Expires = &k.ExpiresAt
	}
	if a.s.audit.names {
		e.Name = k.Name
	}
	a.add(e)
	return a.Tx.PutAPIKey(ctx, k)
}

func (a *auditTx) DropAPIKey(ctx context.Context, id string) error {
	a.add(AuditEntry{Action: "key.revoke", Key: id})
	return a.Tx.DropAPIKey(ctx, id)
}

func (a *auditTx) PutSignKey(ctx context.Context, k *manifest.SignKey) error {
	a.add(AuditEntry{Action: "signing-key.create", Key: k.ID})
	return a.Tx.PutSignKey(ctx, k)
}

func (a *auditTx) DropSignKey(ctx context.Context, id string) error {
	a.add(AuditEntry{Action: "signing-key.remove", Key: id})
	return a.Tx.DropSignKey(ctx, id)
}

// PutHome tells of buckets that come, and of those that move to another backend.
func (a *auditTx) PutHome(ctx context.Context, h *manifest.Home) error {
	before, err := a.Tx.Home(ctx, h.Bucket)
	if err != nil {
		return err
	}
	switch {
	case before.Domain == h.Domain:
	case h.Domain == "":
		a.add(AuditEntry{Action: "bucket.remove", Bucket: h.Bucket})
	case before.Domain == "":
		a.add(AuditEntry{Action: "bucket.create", Bucket: h.Bucket, Backend: h.Domain})
	default:
		a.add(AuditEntry{Action: "bucket.move", Bucket: h.Bucket, Backend: h.Domain})
	}
	return a.Tx.PutHome(ctx, h)
}

func (a *auditTx) DropHome(ctx context.Context, bucket string) error {
	before, err := a.Tx.Home(ctx, bucket)
	if err == nil && before.Domain != "" {
		a.add(AuditEntry{Action: "bucket.remove", Bucket: bucket})
	}
	return errors.Join(err, a.Tx.DropHome(ctx, bucket))
}

func (a *auditTx) add(e AuditEntry) { a.entries = append(a.entries, &e) }

// finish notes what the transaction has changed.
func (a *auditTx) finish(ctx context.Context) error {
	for _, f := range a.files {
		a.addFile(f)
	}
	for _, e := range a.entries {
		e.Time, e.Actor = a.s.now().UTC(), a.actor
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := a.Tx.NoteAudit(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// addFile adds what was done to a file.
func (a *auditTx) addFile(f *auditFile) {
	row := f.now
	if row == nil {
		return // it came and went, or there was none
	}
	add := func(action string, m *manifest.Manifest, change func(*AuditEntry)) {
		e := AuditEntry{Action: action, Bucket: row.Bucket, File: string(f.id)}
		if a.s.audit.names {
			e.Path = names.Join(row.Folder, row.Name)
		}
		if m != nil {
			e.Version, e.Number, e.Size = string(m.ID), m.Version, &m.Size
		}
		if change != nil {
			change(&e)
		}
		a.add(e)
	}
	for _, m := range f.made {
		action := "file.version"
		switch {
		case a.note.action != "" && (a.note.action != "file.copy" || f.before == nil):
			action = a.note.action
		case f.before == nil:
			action = "file.create"
		}
		add(action, m, func(e *AuditEntry) { e.FromFile, e.FromNumber = a.note.fromFile, a.note.fromNumber })
	}
	for _, m := range f.dropped {
		add("version.remove", m, func(e *AuditEntry) { e.Found = row.Held[m.ID] })
	}
	if f.purged {
		add("file.purge", nil, func(e *AuditEntry) { e.Versions = row.Versions })
		return
	}
	if f.before == nil {
		return
	}
	before := f.before
	switch {
	case before.State == row.State:
	case row.State == manifest.Trashed:
		add("file.trash", nil, nil)
	case before.State == manifest.Trashed:
		add("file.restore", nil, nil)
	}
	if before.Folder != row.Folder || before.Name != row.Name {
		add("file.move", nil, func(e *AuditEntry) {
			if a.s.audit.names {
				e.FromPath = names.Join(before.Folder, before.Name)
			}
		})
	}
	if fields := changedFields(before, row); len(fields) > 0 {
		add("file.metadata", nil, func(e *AuditEntry) { e.Fields = fields })
	}
	for _, id := range sortedHeld(before, row) {
		was, held := before.Held[id], row.IsHeld(id)
		found := row.Held[id]
		removed := slices.ContainsFunc(f.dropped, func(m *manifest.Manifest) bool { return m.ID == id })
		switch {
		case removed:
		case before.IsHeld(id) && !held:
			add("version.release", nil, func(e *AuditEntry) { e.Version = string(id) })
		case held && found != was:
			add("version.hold", nil, func(e *AuditEntry) { e.Version, e.Found = string(id), found })
		}
	}
}
