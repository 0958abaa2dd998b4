package records

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A hold is a change of records under way.
type hold struct {
	token     string
	changes   []links.Change
	values    []map[string][]string
	session   uint64
	committed bool
	undone    bool // it was committed, and the database was restored to what was before
}

// prepare prepares a change of one to three records.
func (h *host) prepare() error {
	w := h.w
	var changes []links.Change
	absent := false // one of the values is not there
	for _, i := range w.rng.Perm(6)[:1+w.rng.IntN(3)] {
		c := links.Change{Collection: "posts", Record: fmt.Sprintf("p%d", i)}
		if c.Deleted = w.rng.IntN(6) == 0; c.Deleted {
			changes = append(changes, c)
			continue
		}
		c.Fields = make(map[string][]string)
		all := fields()
		for _, k := range w.rng.Perm(len(all))[:1+w.rng.IntN(3)] {
			ids, not, err := h.pickValues(c.Record, &all[k])
			if err != nil {
				return err
			}
			absent = absent || not
			c.Fields[all[k].Name] = ids
		}
		changes = append(changes, c)
	}
	x, err := h.h.Prepare(w.ctx, nil, changes...)
	if err != nil {
		if absent && errors.Is(err, buckets.ErrNoFile) {
			return nil
		}
		return fmt.Errorf("prepare %+v: %w", changes, err)
	}
	w.note("%s: prepare %+v: %s", h.name, changes, shorten(x.Token))
	made := &hold{token: x.Token, changes: changes, values: x.Values, session: h.session}
	w.noteOthers(made)
	h.live = append(h.live, made)
	return nil
}

// pickValues picks values for a field: some that it has, and others.
func (h *host) pickValues(record string, f *schema.Field) (ids []string, absent bool, err error) {
	w := h.w
	seen := make(map[*file]bool)
	most := 1
	if f.Many {
		most = 3
	}
	most = w.rng.IntN(most + 1)
	add := func(id string, had bool) error {
		of, _ := w.find(id)
		if seen[of] || len(ids) >= most {
			return nil
		}
		got, err := w.stat(id)
		if err != nil {
			return err
		}
		if got == nil || got.State != buckets.Active {
			if !had {
				return nil
			}
			absent = true // it may have no confirmed link
		}
		seen[of] = true
		ids = append(ids, id)
		return nil
	}
	if w.rng.IntN(2) == 0 {
		for row, err := range h.db.rows(w.ctx) {
			if err != nil {
				return nil, false, err
			}
			if row.Record != record || row.Field != f.Name {
				continue
			}
			for _, id := range row.Values {
				if err := add(id, true); err != nil {
					return nil, false, err
				}
			}
		}
	}
	for range 4 {
		x := w.pickFile()
		if x == nil || x.bucket != f.Bucket || x.mayOnlyCascade && f.OnDelete != schema.OnDeleteCascade {
			continue
		}
		id := x.id
		if f.Pin == schema.PinManifest && w.rng.IntN(2) == 0 {
			id = x.pickVersion(w.rng).id
		}
		if err := add(id, false); err != nil {
			return nil, false, err
		}
	}
	return ids, absent, nil
}

// pick takes a hold out of a list.
func (w *world) pick(from *[]*hold, fits func(*hold) bool) *hold {
	for _, i := range w.rng.Perm(len(*from)) {
		if x := (*from)[i]; fits(x) {
			*from = slices.Delete(*from, i, i+1)
			return x
		}
	}
	return nil
}

func isCommitted(x *hold) bool { return x.committed }
func isOpen(x *hold) bool      { return !x.committed }
func isAny(*hold) bool         { return true }
func shorten(t string) string  { return t[max(0, len(t)-12):] }

// commit commits a change of records.
func (h *host) commit() error {
	w := h.w
	x := w.pick(&h.live, isOpen)
	if x == nil {
		return nil
	}
	h.live = append(h.live, x)
	if err := h.db.write(w.ctx, h.session, x); err != nil {
		return err
	}
	x.committed = true
	w.note("%s: commit %s", h.name, shorten(x.token))
	h.unsettle(x)
	return nil
}

// unsettle forgets what is known of the links of the fields that a change has
// written.
func (h *host) unsettle(x *hold) {
	for p := range h.w.settled {
		for i := range x.changes {
			c := &x.changes[i]
			_, named := c.Fields[p.field]
			if p.host == h.name && p.record == c.Record && (c.Deleted || named) {
				delete(h.w.settled, p)
			}
		}
	}
}

// confirm confirms a change. Its token may come again later, and that of a change that
// was undone may come from a process that knows nothing of it.
func (h *host) confirm(from *[]*hold) error {
	w := h.w
	x := w.pick(from, func(x *hold) bool { return x.committed || x.undone })
	if x == nil {
		return nil
	}
	err := h.h.Confirm(w.ctx, x.token)
	w.note("%s: confirm %s: %v", h.name, shorten(x.token), err)
	if w.hasCrashed() || w.rng.IntN(4) == 0 {
		h.late = append(h.late, x)
	}
	if w.hasCrashed() {
		return nil
	}
	if errors.Is(err, links.ErrLinkLost) {
		return h.checkLost(x, err)
	}
	if err != nil {
		return err
	}
	// What the record has of it has confirmed links now.
	for i := range x.changes {
		for field, ids := range x.values[i] {
			for _, id := range ids {
				has, err := h.db.has(w.ctx, x.changes[i].Record, field, id)
				if err != nil {
					return err
				}
				if has && !w.isExcused(id) && x.session == h.session {
					w.settle(place{h.name, x.changes[i].Record, field, id})
				}
			}
		}
	}
	return nil
}

// checkLost checks that links are lost only if what they stand for may be: it was
// removed by somebody, or the hold is one of a session before and was let go.
func (h *host) checkLost(x *hold, err error) error {
	if x.session != h.session {
		return nil
	}
	for i := range x.values {
		for _, ids := range x.values[i] {
			if slices.ContainsFunc(ids, h.w.isExcused) {
				return nil
			}
		}
	}
	return fmt.Errorf("confirm %s: %w", shorten(x.token), err)
}

// cancel cancels a change that was not made.
func (h *host) cancel(from *[]*hold) error {
	x := h.w.pick(from, isOpen)
	if x == nil {
		return nil
	}
	err := h.h.Cancel(h.w.ctx, x.token)
	h.w.note("%s: cancel %s: %v", h.name, shorten(x.token), err)
	return err
}

// loseTrack takes a hold away whose process forgets it, committed or not.
func (h *host) loseTrack() {
	if x := h.w.pick(&h.live, isAny); x != nil {
		h.late = append(h.late, x)
		h.w.note("%s: forget %s", h.name, shorten(x.token))
	}
}
