package links

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// changeFields compares the fields that the host declares with those of its last
// session, and lets go the links of those for which the plan says so. A field that makes
// links in another way, or is gone, needs a plan if it has links.
func (h *Host) changeFields(ctx context.Context, id [16]byte, opts *Options) error {
	row, err := h.k.Meta().Host(ctx, h.name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("links: host %q: %w", h.name, ErrSession)
	}
	if err == nil {
		err = checkOffered(row, id, h.session)
	}
	if err != nil {
		return wrap("open host", err)
	}
	changes, err := h.findChanges(ctx, row, opts)
	if err != nil {
		return err
	}
	release := make(map[string]bool)
	for _, c := range changes {
		if c.Plan == schema.PlanRelease {
			release[c.Old.Key()] = true
		}
	}
	return wrap("open host", h.releaseFields(ctx, release))
}

// findChanges returns how the fields that the host declares differ from those of its
// row. It fails if one of those that have links changes without a plan.
func (h *Host) findChanges(ctx context.Context, row *manifest.Host, opts *Options) ([]schema.FieldChange, error) {
	before, err := fieldsOf(row)
	if err != nil {
		return nil, err
	}
	changes, noPlan := schema.FieldChanges(before, opts.Fields, opts.Plans)
	if noPlan != nil {
		err = h.refuseUnplanned(ctx, changes, opts)
	}
	return changes, wrap("host "+h.name, err)
}

// refuseUnplanned returns a schema.ErrNoPlan for each change without a plan of a field
// that has links.
func (h *Host) refuseUnplanned(ctx context.Context, changes []schema.FieldChange, opts *Options) error {
	linked, err := h.linkedFields(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range changes {
		if c.Plan == "" && linked[c.Old.Key()] {
			_, err := schema.FieldChanges([]schema.Field{c.Old}, opts.Fields, opts.Plans)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// linkedFields returns the keys of fields that have links.
func (h *Host) linkedFields(ctx context.Context) (map[string]bool, error) {
	out := make(map[string]bool)
	err := h.eachLink(ctx, func(l *manifest.Link) error {
		if l.State.Stands() {
			out[l.Collection+"."+l.Field] = true
		}
		return nil
	})
	return out, err
}

// eachLink calls fn for the links of the host that stand or are due.
func (h *Host) eachLink(ctx context.Context, fn func(l *manifest.Link) error) error {
	var after manifest.LinkID
	for more := true; more; {
		links, err := h.k.Meta().HostLinks(ctx, h.name, after, pageSize)
		if err != nil {
			return err
		}
		for _, l := range links {
			if err := fn(l); err != nil {
				return err
			}
			after = l.ID
		}
		more = len(links) == pageSize
	}
	return nil
}

// releaseFields lets the links of some fields go, without their policies, that
// sessions before this one have made.
func (h *Host) releaseFields(ctx context.Context, fields map[string]bool) error {
	if len(fields) == 0 {
		return nil
	}
	var ids []manifest.LinkID
	end := func() error {
		err := h.eachBucket(ctx, ids, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
			if l.State == manifest.LinkPending {
				return h.letLinkGo(ctx, tx, l)
			}
			return h.release(ctx, tx, l, false)
		}, nil)
		ids = ids[:0]
		return err
	}
	err := h.eachLink(ctx, func(l *manifest.Link) error {
		if l.Session < h.session && fields[l.Collection+"."+l.Field] {
			ids = append(ids, l.ID)
		}
		if len(ids) < pageSize {
			return nil
		}
		return end()
	})
	if err != nil {
		return err
	}
	return end()
}
