package links

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// An Event tells a host that what a record refers to was deleted, by a link with
// on_delete: set_null. It is told again until the host has acknowledged it, or the
// file is there again.
type Event struct {
	Link Link `json:"link"`
}

// A Place is where Events goes on. The zero Place is the beginning.
type Place struct {
	File manifest.FileID `json:"file"`
	Link manifest.LinkID `json:"link"`
}

// Events returns events of the host, at most limit, from a place on, and where to
// go on; done says that there are no more by now. A page may be empty before
// that: it is made of a bounded number of links, of all hosts.
func (h *Host) Events(ctx context.Context, from Place, limit int) (events []Event, next Place, done bool, err error) {
	events, next, done, err = h.findEvents(ctx, from, limit)
	return events, next, done, wrap("events", err)
}

func (h *Host) findEvents(ctx context.Context, at Place, limit int) (events []Event, next Place, done bool, err error) {
	meta := h.k.Meta()
	left := maxEventLinks
	if at.Link != "" { // go on in the middle of a file
		at.Link, err = h.eventsOf(ctx, at.File, at.Link, limit, &left, &events)
		if err != nil || at.Link != "" {
			return events, at, false, err
		}
	}
	files, err := meta.LinkEvents(ctx, at.File, pageSize)
	if err != nil {
		return nil, at, false, err
	}
	for _, f := range files {
		if len(events) >= limit || left <= 0 {
			return events, at, false, nil
		}
		at = Place{File: f}
		n := len(events)
		at.Link, err = h.eventsOf(ctx, f, "", limit, &left, &events)
		if err != nil || at.Link != "" {
			return events, at, false, err
		}
		if len(events) == n {
			if err := h.dropEvent(ctx, f); err != nil {
				return nil, at, false, err
			}
		}
	}
	return events, at, len(files) < pageSize, nil
}

// eventsOf adds the events of a file from a link on, until there are limit, or
// until left links were looked at, which it counts down. It returns the last link that
// it has looked at, "" if there are no more.
func (h *Host) eventsOf(ctx context.Context, file manifest.FileID, after manifest.LinkID, limit int, left *int, events *[]Event) (manifest.LinkID, error) {
	for *left > 0 {
		links, err := h.k.Meta().FileLinks(ctx, file, after, pageSize)
		if err != nil {
			return "", err
		}
		*left -= len(links)
		for _, l := range links {
			if len(*events) >= limit {
				return after, nil
			}
			after = l.ID
			due, err := h.isEvent(ctx, h.k.Meta(), l)
			if err != nil {
				return "", err
			}
			if due {
				*events = append(*events, Event{Link: describeLink(l)})
			}
		}
		if len(links) < pageSize {
			return "", nil
		}
	}
	return after, nil
}

// isEvent reports whether the host is to be told of a link.
func (h *Host) isEvent(ctx context.Context, rows manifest.Files, l *manifest.Link) (bool, error) {
	if l.Host != h.name || l.State != manifest.LinkConfirmed || l.OnDelete != manifest.SetNull {
		return false, nil
	}
	return isDeleted(ctx, rows, l)
}

// dropEvent forgets that hosts are to be told of a file, if nothing is to be told of it
// any more. Of a file with more links than a page, events are looked for each time.
func (h *Host) dropEvent(ctx context.Context, file manifest.FileID) error {
	return h.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		links, err := tx.FileLinks(ctx, file, "", pageSize)
		if err != nil || len(links) == pageSize {
			return err
		}
		for _, l := range links {
			if l.State != manifest.LinkConfirmed || l.OnDelete != manifest.SetNull {
				continue
			}
			if deleted, err := isDeleted(ctx, tx, l); err != nil || deleted {
				return err
			}
		}
		return tx.DropLinkEvent(ctx, file)
	})
}

// Acknowledge says that records no longer have what events have told of: the host's
// change is durable. Links that are no events are left as they are.
func (h *Host) Acknowledge(ctx context.Context, ids ...manifest.LinkID) error {
	return wrap("acknowledge", h.eachBucket(ctx, ids, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		due, err := h.isEvent(ctx, tx, l)
		if err != nil || !due {
			return err
		}
		return h.release(ctx, tx, l, false)
	}, nil))
}

// HandleEvents calls fn for each event that there is, and acknowledges those for which
// it returns nil: the record has let go of the file by then, durably. Others are told
// at the next call. Its error joins those of fn.
func (h *Host) HandleEvents(ctx context.Context, fn func(ctx context.Context, e Event) error) error {
	var errs []error
	var at Place
	for done := false; !done; {
		var events []Event
		var err error
		if events, at, done, err = h.Events(ctx, at, pageSize); err != nil {
			return err
		}
		var handled []manifest.LinkID
		for _, e := range events {
			if err := fn(ctx, e); err != nil {
				errs = append(errs, fmt.Errorf("links: %s %q, field %s: %w", e.Link.Collection, e.Link.Record, e.Link.Field, err))
				continue
			}
			handled = append(handled, e.Link.ID)
		}
		if err := h.Acknowledge(ctx, handled...); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}
