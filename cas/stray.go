package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// A Stray is something in the backend that the index does not name.
type Stray struct {
	Kind  StrayKind
	Key   string
	Bytes int64
}

// A StrayKind says what a Stray is.
type StrayKind string

const (
	// StrayPack is a pack of this store that the index does not have: it was begun
	// before a crash, or the database is older. SealOpen takes it up.
	StrayPack StrayKind = "pack"
	// StrayForeign is a pack of another store or domain, StrayUnreadable one that
	// does not say whose it is.
	StrayForeign    StrayKind = "foreign"
	StrayUnreadable StrayKind = "unreadable"
	// StrayTail is what lies in a pack that has ended behind the end that the index
	// knows.
	StrayTail StrayKind = "tail"
	// StrayObject lies beside packs and is none.
	StrayObject StrayKind = "object"
	// StrayTemporary is what a Writer has left that died with its process.
	StrayTemporary StrayKind = "temporary"
)

// EachStray calls fn for each Stray, in any order. It reads the headers of packs
// that the index does not have, and keeps some 50 bytes a pack in memory. What is
// being written by this opening of the store is none. It asks backends that are
// Leavers what is left of their Writers.
func (s *Store) EachStray(ctx context.Context, fn func(*Stray) error) error {
	err := s.findStrays(ctx, fn)
	if err != nil {
		return fmt.Errorf("cas: find strays: %w", err)
	}
	return nil
}

func (s *Store) findStrays(ctx context.Context, fn func(*Stray) error) error {
	listed := make(map[PackID]int64)
	for info, err := range s.b.List(ctx, pack.Prefix) {
		if err != nil {
			return err
		}
		if id, ok := pack.ParseKey(info.Key); ok {
			listed[id] = info.Size
		} else if err := fn(&Stray{StrayObject, info.Key, info.Size}); err != nil {
			return err
		}
	}
	// A pack that has ended by now is in the index when that is read, unless it was
	// lost.
	_, growing := s.pack.listGrowing()
	for id := range growing {
		delete(listed, id)
	}
	for e, err := range s.ix.AllPacks(ctx) {
		if err != nil {
			return err
		}
		size, ok := listed[e.ID]
		delete(listed, e.ID)
		if ok && size > e.Size && !e.Doomed && (e.Sealed || s.exclusive) {
			if err := fn(&Stray{StrayTail, e.ID.Key(), size - e.Size}); err != nil {
				return err
			}
		}
	}
	for id, size := range listed {
		kind, err := s.describeUnknown(ctx, PackEntry{ID: id, Size: size})
		if err == nil && kind != "" {
			err = fn(&Stray{kind, id.Key(), size})
		}
		if err != nil {
			return err
		}
	}
	for info, err := range s.b.unfinished(ctx) {
		if err == nil {
			err = fn(&Stray{StrayTemporary, info.Key, info.Size})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// describeUnknown says whose a pack is that the index does not have, "" if it has
// gone meanwhile.
func (s *Store) describeUnknown(ctx context.Context, p PackEntry) (StrayKind, error) {
	info, err := readInfo(ctx, packReader{s.b, p.ID.Key()}, p)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case errors.Is(err, backend.ErrUnavailable):
		return "", err
	case err != nil || info.Header == nil:
		return StrayUnreadable, nil
	case !s.pack.isOfStore(info.Header):
		return StrayForeign, nil
	}
	return StrayPack, nil
}

// IsExclusive reports whether nobody else writes to the backend, as Options say.
func (s *Store) IsExclusive() bool { return s.exclusive }
