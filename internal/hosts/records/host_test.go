package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
)

// A host is a program with records, or what is left of it while it is not running.
type host struct {
	w       *world
	name    string
	db      *database
	snaps   []*snapshot // backups of its database
	session uint64      // that was begun last

	h    *links.Host // nil while it is not running
	live []*hold     // of this session, in no order
	late []*hold     // of sessions before, and those that it has lost track of

	// zombie is a process of a session that has ended, with its holds.
	zombie *process

	// unreconciled says that the store must know that it is not reconciled, older that
	// it must find that out when the host is opened.
	unreconciled, older bool
	// stranger says that the store may know another database: it was restored to what
	// was before it knew this one.
	stranger bool
	// suspect says that commits were lost, which the store may not have noticed: it
	// must be reconciled before a window has passed.
	suspect bool
}

// A process is a session as its process sees it.
type process struct {
	h    *links.Host
	live []*hold
}

// A snapshot is a backup of a host's database.
type snapshot struct {
	dir     string
	session uint64
}

func (h *host) options(restored bool) *links.Options {
	return &links.Options{Name: h.name, Fields: fields(), Restored: restored}
}

// open begins a session. told says that Open is told of a restored database.
func (h *host) open(told bool) error {
	w := h.w
	st, err := h.db.Load(w.ctx)
	if err != nil {
		return err
	}
	empty := st.Database == ""                  // it has lost even the first Save
	if !told && !empty && w.rng.IntN(10) == 0 { // killed between the steps of Open
		if st, err = links.Offer(w.ctx, w.store, st, h.options(false)); err != nil {
			return err
		}
		if w.rng.IntN(2) == 0 {
			if err := h.db.Save(w.ctx, st); err != nil {
				return err
			}
			// Had it begun, a store of before would look like this one.
			h.older = true
		}
	}
	h.unreconciled, h.older = h.unreconciled || h.older, false
	o := h.options(told)
	x, err := links.Open(w.ctx, w.store, h.db, o)
	if errors.Is(err, links.ErrHostDatabase) && (empty || h.stranger) {
		w.count["adopted"]++
		o.Adopt, h.unreconciled = true, true
		x, err = links.Open(w.ctx, w.store, h.db, o)
	} else if empty {
		h.unreconciled = false // the store knows nothing of it either
	}
	if err != nil {
		return fmt.Errorf("open host %s: %w", h.name, err)
	}
	h.h, h.session, h.stranger = x, x.Session(), false
	w.note("%s: session %d (told %t)", h.name, h.session, told)
	is, err := x.Unreconciled(w.ctx)
	if err != nil {
		return err
	}
	if h.unreconciled && !is {
		return fmt.Errorf("host %s has to be reconciled, and nobody says so", h.name)
	}
	if is && !h.unreconciled {
		w.count["false alarms"]++
	}
	h.unreconciled = is
	return nil
}

// checkFlag checks that the store knows whether the host is reconciled.
func (h *host) checkFlag() error {
	if h.h == nil {
		return nil
	}
	is, err := h.h.Unreconciled(h.w.ctx)
	if err == nil && is != h.unreconciled {
		err = fmt.Errorf("host %s: unreconciled %t, want %t", h.name, is, h.unreconciled)
	}
	return err
}

// kill takes the process away. lose cuts off commits that were not durable.
func (h *host) kill(lose bool) error {
	w := h.w
	h.stop()
	at := int64(-1)
	if n := len(h.db.sizes); lose && n > 1 {
		back := 1 + w.rng.IntN(min(3, n-1))
		at = h.db.sizes[n-1-back]
		if torn := w.rng.Int64N(2000); w.rng.IntN(2) == 0 {
			at = min(at+torn, h.db.sizes[n-back]-1) // a part of the next commit
		}
		w.note("%s: the last %d commits are lost", h.name, back)
		w.count["tails lost"]++
	}
	return h.replaceDatabase(h.db.copyTo, at)
}

func (h *host) stop() {
	h.late = append(h.late, h.live...)
	h.h, h.live = nil, nil
}

// replaceDatabase opens what copyTo has made of another database.
func (h *host) replaceDatabase(copyTo func(dir string, size int64) error, size int64) error {
	w := h.w
	dir := w.newDir()
	if err := copyTo(dir, size); err != nil {
		return err
	}
	h.zombie = nil
	if err := errors.Join(h.db.sql.Close(), os.RemoveAll(h.db.dir)); err != nil {
		return err
	}
	before, err := openDatabase(w.ctx, dir)
	if err != nil {
		return err
	}
	h.db = before
	if size < 0 {
		return nil
	}
	// Records are what they were: some links are not what the model thinks, and commits
	// are undone.
	w.forgetLinks(h)
	st, err := h.db.Load(w.ctx)
	if err != nil {
		return err
	}
	h.older = h.older || st.Session < h.session
	h.suspect = true
	return h.dropUndone()
}

// dropUndone forgets that changes were committed that no longer are.
func (h *host) dropUndone() error {
	for _, x := range h.late {
		n, err := h.db.wrote(h.w.ctx, x.token)
		if err != nil {
			return err
		}
		x.undone = x.undone || x.committed && n == 0
		x.committed = n > 0
	}
	return nil
}

// backUp keeps a copy of the database.
func (h *host) backUp() error {
	st, err := h.db.Load(h.w.ctx)
	if err != nil {
		return err
	}
	s := &snapshot{dir: h.w.newDir(), session: st.Session}
	if h.snaps = append(h.snaps, s); len(h.snaps) > 3 {
		if err := os.RemoveAll(h.snaps[0].dir); err != nil {
			return err
		}
		h.snaps = h.snaps[1:]
	}
	return h.db.copyTo(s.dir, -1)
}

// restore puts a backup in the database's place, and opens it. What records of
// before refer to is there, unless its window has passed.
func (h *host) restore(i int) error {
	w, s := h.w, h.snaps[i]
	h.stop()
	was := h.session
	copyTo := func(dir string, _ int64) error { return os.CopyFS(dir, os.DirFS(s.dir)) }
	if err := h.replaceDatabase(copyTo, 0); err != nil {
		return err
	}
	w.note("%s: restored from session %d, it was %d", h.name, s.session, was)
	told := s.session == was
	if told {
		w.count["backups of the last session"]++
	}
	h.older = true
	for row, err := range h.db.rows(w.ctx) {
		if err != nil {
			return err
		}
		for _, v := range row.Values {
			if err := w.excuseOld(place{h.name, row.Record, row.Field, v}); err != nil {
				return err
			}
		}
	}
	return h.open(told)
}

// excuseOld excuses a value of a record that was restored if it has gone since, and
// rightly.
func (w *world) excuseOld(p place) error {
	if w.isExcused(p.value) {
		return nil
	}
	got, err := w.stat(p.value)
	if err != nil || got != nil {
		return err
	}
	if at, ok := w.referenced[p.value]; w.wasSettled[p] && ok && w.now.Sub(at) <= window {
		return fmt.Errorf("%s has gone %s after a record had it last", p, w.now.Sub(at))
	}
	f, v := w.find(p.value)
	if v != nil {
		v.gone = true
	} else {
		f.gone = true
	}
	return nil
}

// deleteRecords deletes records, or empties fields, without a word to the store:
// it is down.
func (h *host) deleteRecords() error {
	w := h.w
	x := &hold{changes: []links.Change{{Record: fmt.Sprintf("p%d", w.rng.IntN(6)), Deleted: w.rng.IntN(2) == 0}}}
	c := &x.changes[0]
	if !c.Deleted {
		c.Fields = map[string][]string{fields()[w.rng.IntN(len(fields()))].Name: nil}
	}
	w.note("%s: unseen %+v", h.name, x.changes)
	err := h.db.change(w.ctx, h.session, func(tx *sql.Tx) error { return writeRecord(w.ctx, tx, c, c.Fields) })
	if errors.Is(err, errSession) {
		return nil // its session was kept and has not begun
	}
	h.unsettle(x)
	return err
}

// handleEvents takes deleted files out of records, or fails to.
func (h *host) handleEvents() error {
	w := h.w
	failed := errors.New("failed")
	err := h.h.HandleEvents(w.ctx, func(ctx context.Context, e links.Event) error {
		if w.rng.IntN(3) == 0 {
			return failed
		}
		w.note("%s: event %s %s %s", h.name, e.Link.Record, e.Link.Field, e.Link.Value())
		delete(w.settled, place{h.name, e.Link.Record, e.Link.Field, e.Link.Value()})
		return h.db.clear(ctx, h.session, e.Link.Record, e.Link.Field, e.Link.Value())
	})
	if errors.Is(err, failed) {
		return nil
	}
	return err
}

// checkResolved resolves all values, and compares.
func (h *host) checkResolved() error {
	w := h.w
	var items []links.Item
	for row, err := range h.db.rows(w.ctx) {
		if err != nil {
			return err
		}
		for _, v := range row.Values {
			items = append(items, links.Item{ID: v})
		}
	}
	out, err := h.h.Resolve(w.ctx, nil, items)
	if err != nil {
		return err
	}
	for _, r := range out {
		got, err := w.stat(r.ID)
		if err != nil {
			return err
		}
		is := got != nil && got.State == buckets.Active
		if is != (r.Status == links.Found) || got != nil && !is && r.Status != links.Deleted {
			return fmt.Errorf("%s resolves as %s, stat finds %+v", r.ID, r.Status, got)
		}
	}
	return nil
}

// makeZombie leaves a process running when the next one begins.
func (h *host) makeZombie() error {
	h.zombie = &process{h: h.h, live: h.live}
	h.h, h.live = nil, nil
	h.w.note("%s: a zombie of session %d", h.name, h.session)
	return h.open(false)
}

// haunt lets the process of a session that has ended go on: it can prepare and commit
// nothing. What it has committed before may be confirmed.
func (h *host) haunt() error {
	w, z := h.w, h.zombie
	c := links.Change{Collection: "posts", Record: "p1", Deleted: w.rng.IntN(2) == 0}
	if f := w.pickFile(); f != nil && !c.Deleted {
		c.Fields = map[string][]string{"scan": nil, "source": nil}
	}
	if _, err := z.h.Prepare(w.ctx, nil, c); !errors.Is(err, links.ErrSession) {
		return fmt.Errorf("prepare of an ended session: %v", err)
	}
	if x := w.pick(&z.live, isOpen); x != nil {
		if err := h.db.write(w.ctx, z.h.Session(), x); !errors.Is(err, errSession) {
			return fmt.Errorf("commit of an ended session: %v", err)
		}
		return z.h.Cancel(w.ctx, x.token)
	}
	if x := w.pick(&z.live, isCommitted); x != nil {
		if err := z.h.Confirm(w.ctx, x.token); err != nil && !errors.Is(err, links.ErrLinkLost) {
			return err
		}
	}
	if _, err := z.h.Reconcile(w.ctx, h.exists(nil), h.db.rows(w.ctx), nil); !errors.Is(err, links.ErrSession) {
		return fmt.Errorf("reconcile of an ended session: %v", err)
	}
	return nil
}

// exists asks the database about links. meanwhile, if not nil, is called before.
func (h *host) exists(meanwhile func() error) func(ctx context.Context, l links.Link) (bool, error) {
	return func(ctx context.Context, l links.Link) (bool, error) {
		if meanwhile != nil {
			if err := meanwhile(); err != nil {
				return false, err
			}
		}
		return h.db.has(ctx, l.Record, l.Field, l.Value())
	}
}

func (h *host) isRunning() bool { return h.h != nil }
