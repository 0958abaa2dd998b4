package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// ErrStillThere reports a pack that was deleted and that the backend still has.
var ErrStillThere = errors.New("the backend still has the pack after its deletion")

// DeletePack deletes a pack, and returns nil only when the backend says that it is
// gone. It may be called again, also for a pack that is gone. Nothing of the
// index may lie in the pack.
func (s *Store) DeletePack(ctx context.Context, id PackID) error {
	err := s.b.call(ctx, func(ctx context.Context) error { return s.pack.deletePack(ctx, id) })
	if err != nil {
		return fmt.Errorf("cas: delete pack %s: %w", id, err)
	}
	return nil
}

func (p *packer) deletePack(ctx context.Context, id PackID) error {
	if p.isGrowing(id) {
		return errors.New("it is being written to")
	}
	if err := p.noteSize(ctx, id); err != nil {
		return err
	}
	if err := p.b.Delete(ctx, id.Key()); err != nil {
		return err
	}
	_, err := p.b.Stat(ctx, id.Key())
	if errors.Is(err, fs.ErrNotExist) {
		return p.giveSizeBack(ctx, id)
	}
	if err == nil {
		err = ErrStillThere
	}
	return err
}

// StoredSize returns how many bytes the backend has of a pack, or fs.ErrNotExist.
func (s *Store) StoredSize(ctx context.Context, id PackID) (int64, error) {
	info, err := s.b.Stat(ctx, id.Key())
	if err != nil {
		return 0, fmt.Errorf("cas: size of pack %s: %w", id, err)
	}
	return info.Size, nil
}

func (p *packer) isGrowing(id PackID) bool {
	p.growMu.Lock()
	defer p.growMu.Unlock()
	return p.growing[id] != nil
}

// noteSize remembers the size of a pack that is to be deleted, if all packs have a
// bound.
func (p *packer) noteSize(ctx context.Context, id PackID) error {
	if p.most == 0 {
		return nil
	}
	info, err := p.b.Stat(ctx, id.Key())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		p.growMu.Lock()
		defer p.growMu.Unlock()
		p.leaving[id] = info.Size
	}
	return err
}

// giveSizeBack makes room for the bytes of a pack that is gone.
func (p *packer) giveSizeBack(ctx context.Context, id PackID) error {
	if p.most == 0 {
		return nil
	}
	if err := p.mu.enter(ctx); err != nil {
		return err
	}
	defer p.mu.leave()
	p.growMu.Lock()
	defer p.growMu.Unlock()
	p.taken -= p.leaving[id]
	delete(p.leaving, id)
	return nil
}
