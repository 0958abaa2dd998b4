package links

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// A Link is what a host is asked about: a record's link, as it stands in the store.
type Link struct {
	ID         manifest.LinkID `json:"id"`
	Revision   uint64          `json:"revision"`
	Collection string          `json:"collection"`
	Record     string          `json:"record"`
	Field      string          `json:"field"`
	Bucket     string          `json:"bucket"`
	File       string          `json:"file"`              // f_…
	Version    string          `json:"version,omitempty"` // m_…, of a link that pins one
	OnDelete   string          `json:"on_delete"`
	State      string          `json:"state"`
}

// Value is what the field of the record has: the ID of the version if the link pins
// one, else of the file.
func (l *Link) Value() string {
	if l.Version != "" {
		return l.Version
	}
	return l.File
}

func describeLink(l *manifest.Link) Link {
	return Link{ID: l.ID, Revision: l.Revision, Collection: l.Collection, Record: l.Record, Field: l.Field, Bucket: l.Bucket,
		File: string(l.File), Version: string(l.Version), OnDelete: l.OnDelete.String(), State: l.State.String()}
}

// A Row is what a field of a record has in the host's database.
type Row struct {
	Collection string   `json:"collection"`
	Record     string   `json:"record"`
	Field      string   `json:"field"`
	Values     []string `json:"values"` // IDs of files or versions
}

// A Dangling is a value of a record whose file, or version, is deleted or unknown.
type Dangling struct {
	Collection string `json:"collection"`
	Record     string `json:"record"`
	Field      string `json:"field"`
	Value      string `json:"value"`
	// Trashed says that it is in the trash still: it can be restored.
	Trashed bool `json:"trashed"`
}

// ReconcileOptions are choices of Reconcile. Zero values are defaults.
type ReconcileOptions struct {
	DryRun bool // changes nothing
	// Force lets go more links than MaxDrops. MaxDrops 0 is 1,000, or a tenth of the
	// links if that is more.
	Force    bool
	MaxDrops int
	// Dangling is called for each value whose file is not there.
	Dangling func(Dangling)
	// Dropped is called for each link that is let go, or would be.
	Dropped func(Link)
}

// Reconciled counts what Reconcile has found.
type Reconciled struct {
	Rows      int64 `json:"rows"`      // of the host
	Links     int64 `json:"links"`     // that the host was asked about
	Made      int64 `json:"made"`      // links that were missing
	Confirmed int64 `json:"confirmed"` // links that were pending, of records that were written
	LetGo     int64 `json:"let_go"`    // links that were pending, of records that were not
	Released  int64 `json:"released"`  // confirmed links that records no longer have
	Revived   int64 `json:"revived"`   // files that came out of the trash
	Dangling  int64 `json:"dangling"`  // values whose files are not there
}

const leastMaxDrops = 1000

// Reconcile makes links and records agree, in both directions.
//
// rows yields the values of all file fields of the host's records. For a value
// without a confirmed link a link is made, which takes a file out of the trash that
// only the end of its last link has put there; values whose files are not there are
// told. Nobody's rights are asked: the record has the value.
//
// exists reports whether a record has what a link stands for. It is asked about
// confirmed links, and about pending ones of sessions that have ended. What it denies
// is let go, unless the link was changed meanwhile; policies follow. It must see
// all that was committed before it was called. Links of fields that are not declared any
// more stay as they are: that was their plan, and nobody can say whether they stand.
//
// The host may go on working meanwhile. Links that are pending in live sessions are
// left alone. If the host is opened again, the run ends with ErrSession. When a run
// over both has ended, the host counts as reconciled. rows or exists may be nil to leave
// that direction out; then it does not.
func (h *Host) Reconcile(ctx context.Context, exists func(ctx context.Context, l Link) (bool, error), rows iter.Seq2[Row, error], opts *ReconcileOptions) (*Reconciled, error) {
	if opts == nil {
		opts = &ReconcileOptions{}
	}
	r := &reconciliation{h: h, exists: exists, opts: opts, most: opts.MaxDrops}
	err := r.run(ctx, rows)
	return &r.done, wrap("reconcile", err)
}

// A reconciliation is a Reconcile under way.
type reconciliation struct {
	h      *Host
	exists func(ctx context.Context, l Link) (bool, error)
	opts   *ReconcileOptions
	most   int // links that may be let go
	done   Reconciled
	// host is what the host was when it began. If it is opened again meanwhile, nothing
	// more is changed: links of sessions that began since would be taken for those of
	// ended ones, and another database may have taken the place of the one that is asked.
	host *manifest.Host
}

// checkSame fails if the host was opened again since the reconciliation began, or its
// session has ended.
func (r *reconciliation) checkSame(ctx context.Context, rows manifest.Links) error {
	row, err := rows.Host(ctx, r.h.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || row.Session != r.host.Session || row.ID != r.host.ID || !row.IsLive(r.h.session) {
		return fmt.Errorf("the host was opened again meanwhile, or forgotten: %w", ErrSession)
	}
	return nil
}

func (r *reconciliation) run(ctx context.Context, rows iter.Seq2[Row, error]) error {
	var err error
	if r.host, err = r.h.liveRow(ctx); err != nil {
		return err
	}
	if rows != nil {
		for row, err := range rows {
			if err == nil {
				r.done.Rows++
				err = r.checkRow(ctx, &row)
			}
			if err != nil {
				return err
			}
		}
	}
	if r.exists != nil {
		if err := r.checkLinks(ctx); err != nil {
			return err
		}
	}
	if rows == nil || r.exists == nil || r.opts.DryRun {
		return nil
	}
	return r.h.finishReconcile(ctx, r.host)
}

// checkRow makes the links that the values of a row lack.
func (r *reconciliation) checkRow(ctx context.Context, row *Row) error {
	f := r.h.fields[row.Collection+"."+row.Field]
	if f == nil {
		return fmt.Errorf("field %.40q of collection %.40q: %w", row.Field, row.Collection, ErrField)
	}
	if row.Record == "" || len(row.Record) > maxNames {
		return fmt.Errorf("record %.40q of %s: want a name of 1 to %d bytes: %w", row.Record, f.Key(), maxNames, ErrValue)
	}
	key := manifest.RecordKey{Host: r.h.name, Collection: row.Collection, Record: row.Record}
	had, err := r.h.k.Meta().RecordLinks(ctx, key)
	if err != nil {
		return err
	}
	found, err := findRows(ctx, r.h.k.Meta(), row.Values)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(row.Values))
	for _, value := range row.Values {
		if seen[value] {
			continue
		}
		seen[value] = true
		if err := r.checkValue(ctx, f, key, value, found[value], had); err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciliation) checkValue(ctx context.Context, f *schema.Field, key manifest.RecordKey, value string, row *manifest.Row, had []*manifest.Link) error {
	d := Dangling{Collection: key.Collection, Record: key.Record, Field: f.Name, Value: value}
	if row == nil || row.Manifest == nil {
		r.tellDangling(d)
		return nil
	}
	_, pins := manifest.ParseVersionID(value)
	linked := slices.ContainsFunc(had, func(l *manifest.Link) bool {
		return l.Field == f.Name && l.File == row.File.ID && (!pins || string(l.Version) == value)
	})
	revives := row.File.State == manifest.Trashed && row.File.Cascaded
	if d.Trashed = row.File.State == manifest.Trashed && !revives; d.Trashed {
		r.tellDangling(d) // which it holds all the same
	}
	if linked && !revives {
		return nil
	}
	if !linked {
		r.done.Made++
	}
	if revives {
		r.done.Revived++
	}
	if r.opts.DryRun {
		return nil
	}
	l := &manifest.Link{ID: manifest.NewLinkID(), Host: r.h.name, Session: r.h.session, Bucket: row.File.Bucket, File: row.File.ID,
		Collection: key.Collection, Record: key.Record, Field: f.Name, OnDelete: policyOf(f), State: manifest.LinkConfirmed, At: r.h.k.Now()}
	if pins {
		l.Version = row.Manifest.ID
	}
	return r.makeLink(ctx, l, linked)
}

func (r *reconciliation) tellDangling(d Dangling) {
	r.done.Dangling++
	if r.opts.Dangling != nil {
		r.opts.Dangling(d)
	}
}

// makeLink makes a link that a record lacks, unless it is linked, and takes its file
// out of the trash. The row that was read may be older than a change of the record
// that was made meanwhile, so the host is asked once more.
func (r *reconciliation) makeLink(ctx context.Context, l *manifest.Link, linked bool) error {
	made := false
	err := r.h.k.Update(r.h.actThrough(ctx), l.Bucket, func(tx manifest.Tx) error {
		made = false
		if err := r.checkSame(ctx, tx); err != nil {
			return err
		}
		there, err := hasTarget(ctx, tx, l)
		if err != nil || !there {
			return err
		}
		if !linked {
			row := *l
			if err := r.h.setConfirmed(ctx, tx, &row); err != nil {
				return err
			}
			made = true
		}
		if err := r.h.reviveTarget(ctx, tx, l); err != nil {
			return err
		}
		return r.h.noteDeleted(ctx, tx, l)
	})
	if err != nil || !made || r.exists == nil {
		return err
	}
	is, err := r.exists(ctx, describeLink(l))
	if err != nil || is {
		return err
	}
	return r.h.eachBucket(ctx, []manifest.LinkID{l.ID}, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		if err := r.checkSame(ctx, tx); err != nil {
			return err
		}
		return r.h.release(ctx, tx, l, true)
	}, nil)
}

// checkLinks asks the host about its links. Without Force nothing is let go before all
// are known that are, and only if they are few.
func (r *reconciliation) checkLinks(ctx context.Context) error {
	var waiting []*manifest.Link // to be let go
	tooMany := false
	var after manifest.LinkID
	for more := true; more; {
		links, err := r.h.k.Meta().HostLinks(ctx, r.h.name, after, pageSize)
		if err == nil { // after the page was read: no link in it is of a session that began since
			err = r.checkSame(ctx, r.h.k.Meta())
		}
		if err != nil {
			return err
		}
		for _, l := range links {
			after = l.ID
			drop, err := r.askAbout(ctx, l)
			if err != nil {
				return err
			}
			if !drop {
				continue
			}
			r.countDrop(l)
			if !r.opts.DryRun {
				waiting = append(waiting, l)
			}
		}
		if r.opts.Force {
			if err := r.drop(ctx, waiting); err != nil {
				return err
			}
			waiting = waiting[:0]
		} else if r.opts.MaxDrops == 0 {
			r.most = max(leastMaxDrops, int(r.done.Links/10))
		}
		if !r.opts.Force && len(waiting) > r.mostWaiting() {
			tooMany, waiting = true, nil
		}
		more = len(links) == pageSize && !tooMany
	}
	if tooMany || !r.opts.Force && len(waiting) > r.most {
		return fmt.Errorf("more than %d of the %d links that were looked at: %w", r.most, r.done.Links, ErrTooManyDrops)
	}
	return r.drop(ctx, waiting)
}

// mostWaiting bounds the links that are remembered to be let go.
func (r *reconciliation) mostWaiting() int { return max(r.most, 100*leastMaxDrops) }

// askAbout asks the host about a link. It confirms one that is pending if the record
// has it, and reports whether it is to be let go.
func (r *reconciliation) askAbout(ctx context.Context, l *manifest.Link) (drop bool, err error) {
	if !r.h.isAskable(r.host, l) {
		return false, nil
	}
	r.done.Links++
	is, err := r.exists(ctx, describeLink(l))
	if err != nil {
		return false, fmt.Errorf("%s %q, field %s: %w", l.Collection, l.Record, l.Field, err)
	}
	if !is {
		return true, nil
	}
	if l.State == manifest.LinkConfirmed {
		return false, r.noteEvent(ctx, l)
	}
	if r.done.Confirmed++; r.opts.DryRun {
		return false, nil
	}
	return false, r.confirm(ctx, []manifest.LinkID{l.ID})
}

// confirm confirms links of records that were written.
func (r *reconciliation) confirm(ctx context.Context, ids []manifest.LinkID) error {
	return r.h.eachBucket(ctx, ids, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		if err := r.checkSame(ctx, tx); err != nil {
			return err
		}
		_, err := r.h.confirmLink(ctx, tx, l)
		return err
	}, nil)
}

// noteEvent notes again that the host is to be told of a confirmed link: a database
// that was made anew has forgotten.
func (r *reconciliation) noteEvent(ctx context.Context, l *manifest.Link) error {
	if !r.host.Unreconciled || l.OnDelete != manifest.SetNull || r.opts.DryRun {
		return nil
	}
	deleted, err := isDeleted(ctx, r.h.k.Meta(), l)
	if err != nil || !deleted {
		return err
	}
	return r.h.k.UpdateHost(ctx, func(tx manifest.Tx) error { return tx.PutLinkEvent(ctx, l.File) })
}

func (r *reconciliation) countDrop(l *manifest.Link) {
	if l.State == manifest.LinkPending {
		r.done.LetGo++
	} else {
		r.done.Released++
	}
	if r.opts.Dropped != nil {
		r.opts.Dropped(describeLink(l))
	}
}

// drop lets links go, unless they were changed since the host was asked.
func (r *reconciliation) drop(ctx context.Context, links []*manifest.Link) error {
	revisions := make(map[manifest.LinkID]uint64, len(links))
	ids := make([]manifest.LinkID, len(links))
	for i, l := range links {
		ids[i], revisions[l.ID] = l.ID, l.Revision
	}
	return r.h.eachBucket(ctx, ids, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		if err := r.checkSame(ctx, tx); err != nil {
			return err
		}
		switch {
		case l.Revision != revisions[l.ID]:
			return nil
		case l.State == manifest.LinkPending:
			return r.h.letLinkGo(ctx, tx, l)
		}
		return r.h.release(ctx, tx, l, true)
	}, nil)
}

// finishReconcile notes that the host is reconciled, and lets policies follow that
// waited for it. The host as it was when Reconcile began must still be what it is.
func (h *Host) finishReconcile(ctx context.Context, before *manifest.Host) error {
	err := h.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		row, err := tx.Host(ctx, h.name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (row.Session != before.Session || row.ID != before.ID) {
			return fmt.Errorf("the host was opened again meanwhile: %w", ErrSession)
		}
		if err != nil || !row.Unreconciled {
			return err
		}
		row.Unreconciled = false
		return tx.PutHost(ctx, row)
	})
	if err != nil {
		return err
	}
	return h.followAll(ctx)
}

// followAll lets policies follow that have waited for this host.
func (h *Host) followAll(ctx context.Context) error {
	hosts, err := h.k.Meta().Hosts(ctx)
	if err != nil {
		return err
	}
	for _, other := range hosts { // links of others may have waited for this host
		if err := (&Host{k: h.k, name: other.Name}).followDue(ctx); err != nil {
			return err
		}
	}
	return nil
}

// followDue lets the policies follow of links that ended while the host was not
// reconciled.
func (h *Host) followDue(ctx context.Context) error {
	var due []manifest.LinkID
	follow := func() error {
		err := h.eachBucket(ctx, due, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
			sums, waits, err := h.readEnd(ctx, tx, l)
			if err != nil || waits || !l.Due || sums.Count(manifest.LinkPending) > 0 {
				return err // pending links, or a host that is not reconciled, are waited for
			}
			l.Due = false
			if err := tx.PutLink(ctx, l); err != nil || sums.Standing() > 0 {
				return err
			}
			return h.cascade(ctx, tx, l)
		}, nil)
		due = due[:0]
		return err
	}
	err := h.eachLink(ctx, func(l *manifest.Link) error {
		if l.Due {
			due = append(due, l.ID)
		}
		if len(due) < pageSize {
			return nil
		}
		return follow()
	})
	if err != nil {
		return err
	}
	return follow()
}
