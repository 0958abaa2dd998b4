package links

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// ErrNoHost reports a host that the store does not know.
var ErrNoHost = fmt.Errorf("no such host%w", hidden(fs.ErrNotExist))

// A HostInfo is what the store knows of a host.
type HostInfo struct {
	Name         string
	Database     string   // as State has it
	Session      uint64   // the last that has begun
	Live         []uint64 // sessions that have not ended
	Unreconciled bool
	Buckets      []string // that its records refer to
	Fields       []schema.Field
}

// Hosts returns what the store knows of its hosts, in order of names.
func Hosts(ctx context.Context, s *buckets.Store) ([]HostInfo, error) {
	rows, err := s.Linker(internal.Pass{}).Meta().Hosts(ctx)
	if err != nil {
		return nil, wrap("hosts", err)
	}
	out := make([]HostInfo, len(rows))
	for i, row := range rows {
		fields, err := fieldsOf(row)
		if err != nil {
			return nil, err
		}
		out[i] = HostInfo{Name: row.Name, Database: hex.EncodeToString(row.ID[:]), Session: row.Session, Live: row.Live,
			Unreconciled: row.Unreconciled, Buckets: row.Buckets, Fields: fields}
	}
	return out, nil
}

// FindHost returns what the store knows of a host.
func FindHost(ctx context.Context, s *buckets.Store, name string) (*HostInfo, error) {
	hosts, err := Hosts(ctx, s)
	for i := range hosts {
		if hosts[i].Name == name {
			return &hosts[i], nil
		}
	}
	if err == nil {
		err = fmt.Errorf("links: %.80q: %w", name, ErrNoHost)
	}
	return nil, err
}

// A Count is how many links of a host stand.
type Count struct{ Pending, Confirmed int64 }

// CountLinks counts the links of a host, by reading all of them.
func CountLinks(ctx context.Context, s *buckets.Store, name string) (n Count, err error) {
	h := &Host{k: s.Linker(internal.Pass{}), name: name}
	err = h.eachLink(ctx, func(l *manifest.Link) error {
		switch l.State {
		case manifest.LinkPending:
			n.Pending++
		case manifest.LinkConfirmed:
			n.Confirmed++
		}
		return nil
	})
	return n, wrap("count", err)
}

// maxForgotten is how many links one Forget ends.
const maxForgotten = 2 * pageSize

// Forget ends links of a host that is gone for good, without their policies, and its
// sessions. done says that there are no more: then the store has forgotten the
// host. Call it until it is. What the links held is held as long as after any
// end.
func Forget(ctx context.Context, s *buckets.Store, name string) (ended int64, done bool, err error) {
	h := &Host{k: s.Linker(internal.Pass{}), name: name}
	ended, done, err = h.forget(ctx)
	return ended, done, wrap("forget host", err)
}

func (h *Host) forget(ctx context.Context) (ended int64, done bool, err error) {
	// No session makes links from now on.
	err = h.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		row, err := tx.Host(ctx, h.name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%.80q: %w", h.name, ErrNoHost)
		}
		if err != nil || len(row.Live) == 0 {
			return err
		}
		row.Live = nil
		return tx.PutHost(ctx, row)
	})
	for err == nil && ended < maxForgotten {
		var links []*manifest.Link
		if links, err = h.k.Meta().HostLinks(ctx, h.name, "", pageSize); err != nil {
			return ended, false, err
		}
		if len(links) == 0 {
			done, err := h.drop(ctx)
			return ended, done, err
		}
		ids := make([]manifest.LinkID, len(links))
		for i, l := range links {
			ids[i] = l.ID
		}
		err = h.eachBucket(ctx, ids, h.endLink, nil)
		ended += int64(len(ids))
	}
	return ended, false, err
}

// endLink ends a link without its policy.
func (h *Host) endLink(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	switch {
	case l.State == manifest.LinkPending:
		l.State, l.At = manifest.LinkLetGo, h.k.Now()
	case l.State == manifest.LinkConfirmed:
		return h.release(ctx, tx, l, false)
	case !l.Due:
		return nil
	}
	l.Due = false
	return tx.PutLink(ctx, l)
}

// drop forgets the host, and lets policies follow that have waited for it. It does
// neither, and reports false, if the host has come back meanwhile.
func (h *Host) drop(ctx context.Context) (done bool, err error) {
	err = h.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		done = false
		row, err := tx.Host(ctx, h.name)
		if errors.Is(err, fs.ErrNotExist) {
			done = true // somebody else has forgotten it
			return nil
		}
		if err != nil {
			return err
		}
		links, err := tx.HostLinks(ctx, h.name, "", 1)
		if err != nil || len(links) > 0 || len(row.Live) > 0 {
			return err
		}
		done = true
		return tx.DropHost(ctx, h.name)
	})
	if err != nil || !done {
		return false, err
	}
	return true, h.followAll(ctx)
}
