package journal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// Send returns when every object that was begun before the call, and was not
// given up, is stored in the far backend. It calls seal to have the Writers
// ended that are still open. Calls made during one round share the next.
func (b *Backend) Send(ctx context.Context, seal func() error) error {
	b.mu.Lock()
	arrived := b.rounds
	b.mu.Unlock()
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-b.turn }()
	b.mu.Lock()
	if b.sent > arrived { // a round begun after this call has sent all
		b.mu.Unlock()
		return nil
	}
	b.rounds++
	round := b.rounds
	var open []*growing
	for _, g := range b.growing {
		open = append(open, g)
	}
	b.mu.Unlock()

	if err := seal(); err != nil {
		return err
	}
	for _, g := range open {
		select {
		case <-g.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := b.sendWhole(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = round
	return nil
}

// Run sends objects as they lose their Writers until ctx is done. Every so often
// it calls Send with seal, so that nothing stays near because it still grows.
func (b *Backend) Run(ctx context.Context, every time.Duration, seal func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	logged := "" // the last error, which is logged once
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err = b.Send(ctx, seal)
		case <-b.ended:
			err = b.trySendWhole(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			logged = ""
		case err.Error() != logged:
			logged = err.Error()
			b.log.Error("packs wait to be sent", "error", err)
		}
	}
}

// trySendWhole is sendWhole, unless somebody else holds the turn.
func (b *Backend) trySendWhole(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
	default:
		return nil
	}
	defer func() { <-b.turn }()
	return b.sendWhole(ctx)
}

// sendWhole sends near objects in the order in which they were begun, up to the
// first that has a Writer: so the far backend holds all that was stored before
// some moment. The caller holds the turn.
func (b *Backend) sendWhole(ctx context.Context) error {
	all, err := b.listNear(ctx, "")
	if err != nil {
		return err
	}
	b.mu.Lock()
	order := make(map[string]uint64)
	for _, info := range all {
		order[info.Key] = b.order[info.Key] // 0: of an earlier process
	}
	first := uint64(math.MaxUint64)
	for _, g := range b.growing {
		first = min(first, g.at)
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y backend.Info) int {
		// Objects of earlier processes come first, by name: the name of a pack
		// begins with the time at which it was begun.
		return cmp.Or(cmp.Compare(order[x.Key], order[y.Key]), cmp.Compare(path.Base(x.Key), path.Base(y.Key)))
	})
	for _, info := range all {
		if order[info.Key] >= first {
			break
		}
		if !b.beginSending(info.Key) {
			continue
		}
		err := b.sendOne(ctx, info.Key)
		b.endSending()
		if errors.Is(err, backend.ErrOwned) {
			b.mu.Lock()
			b.refused = err
			b.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("journal: send %s: %w", info.Key, err)
		}
	}
	return nil
}

// beginSending notes that an object is being sent, unless it is being deleted. Only
// the holder of the turn sends.
func (b *Backend) beginSending(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleting[key] > 0 {
		return false
	}
	b.sending, b.over = key, make(chan struct{})
	return true
}

func (b *Backend) endSending() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.over)
	b.over = nil
}

// sendOne copies a near object without a Writer to the far backend and deletes
// the near copy. No Delete of the object is under way.
func (b *Backend) sendOne(ctx context.Context, key string) error {
	info, err := b.near.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted
	}
	if err == nil {
		err = b.copyToFar(ctx, info)
	}
	switch {
	case errors.Is(err, fs.ErrExist): // sent by a process that got no further
		there, serr := b.far.Stat(ctx, key)
		if serr != nil {
			return serr
		}
		if there.Size != info.Size {
			return fmt.Errorf("%d bytes are stored of an object of %d: %w", there.Size, info.Size, err)
		}
		if err := b.compareWithFar(ctx, info); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := b.near.Delete(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.order, key)
	return nil
}

// errDiffers reports a far object that is not the near one: neither is removed.
var errDiffers = errors.New("other bytes are stored than wait here; check both and delete the one that is damaged")

// compareWithFar fails unless the far object has the bytes of the near one. Who
// sent it may have been killed before it knew what had arrived.
func (b *Backend) compareWithFar(ctx context.Context, info backend.Info) error {
	if info.Size == 0 {
		return nil
	}
	far := backend.NewReader(ctx, b.far, info.Key, 0, info.Size)
	defer far.Close()
	here, there := make([]byte, min(info.Size, 1<<20)), make([]byte, min(info.Size, 1<<20))
	for off := int64(0); off < info.Size; off += int64(len(here)) {
		n := min(int64(len(here)), info.Size-off)
		here, there = here[:n], there[:n]
		if err := b.near.ReadAt(ctx, info.Key, here, off); err != nil {
			return err
		}
		if _, err := io.ReadFull(far, there); err != nil {
			return err
		}
		if !bytes.Equal(here, there) {
			return errDiffers
		}
	}
	return nil
}

// copyToFar makes a far object of a near one.
func (b *Backend) copyToFar(ctx context.Context, info backend.Info) error {
	w, err := b.far.Create(ctx, info.Key)
	if err != nil {
		return err
	}
	defer w.Abort() // after Commit it does nothing
	buf := make([]byte, min(info.Size, 1<<20))
	for off := int64(0); off < info.Size; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), info.Size-off)]
		if err := b.near.ReadAt(ctx, info.Key, buf, off); err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return w.Commit()
}
