package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// lockChanges takes DB.lock. It returns an error if nothing can be changed now.
func (d *DB) lockChanges(ctx context.Context) error {
	if err := d.fs.changeError(); err != nil {
		return err
	}
	select {
	case d.lock <- struct{}{}:
	default:
		select {
		case d.lock <- struct{}{}:
		case <-d.closed:
			return cas.ErrClosed
		case <-d.fs.fullSignal():
			return ErrNoSpace
		case <-d.fs.failed:
			return d.fs.writeError()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := d.fs.changeError(); err != nil {
		d.unlockChanges()
		return err
	}
	return nil
}

func (d *DB) unlockChanges() { <-d.lock }

// commitBatch applies b, durably if sync is set, and closes it. The caller holds
// DB.lock; commitBatch releases it as soon as the next change may begin. If the
// file system fails or is full meanwhile, it returns without waiting, and the
// outcome is unknown.
func (d *DB) commitBatch(b *pebble.Batch, sync bool) error {
	done := make(chan error, 1)
	go func() {
		err := d.applyBatch(b, sync)
		if sync && err == nil {
			err = b.SyncWait()
		}
		done <- errors.Join(err, b.Close())
	}()
	select {
	case err := <-done:
		return errors.Join(err, d.fs.writeError())
	case <-d.fs.fullSignal():
	case <-d.fs.failed:
	}
	select {
	case err := <-done:
		return errors.Join(err, d.fs.writeError())
	default:
	}
	if err := d.fs.writeError(); err != nil {
		return err
	}
	return ErrNoSpace
}

// applyBatch writes b to the log, makes it visible and releases DB.lock. It
// turns a panic of Pebble, which cannot continue then, into an error.
func (d *DB) applyBatch(b *pebble.Batch, sync bool) (err error) {
	defer d.unlockChanges()
	defer func() {
		if p := recover(); p != nil {
			d.fs.setFailed("pebble", fmt.Errorf("%v", p))
			err = d.fs.writeError()
		}
	}()
	if sync {
		return d.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	return b.Commit(pebble.NoSync)
}

// writeBatch commits what fn puts into a batch, durably if sync is set. DB.lock
// is held while fn runs, so what fn reads does not change.
func (d *DB) writeBatch(ctx context.Context, sync bool, fn func(b *pebble.Batch) error) error {
	if err := d.life.Enter(); err != nil {
		return err
	}
	defer d.life.Leave()
	if err := d.lockChanges(ctx); err != nil {
		return err
	}
	b := d.db.NewIndexedBatch()
	commits := false
	defer func() { // fn may panic
		if !commits {
			d.unlockChanges()
		}
	}()
	if err := fn(b); err != nil || b.Empty() {
		return closeBatch(err, b)
	}
	commits = true
	return d.commitBatch(b, sync)
}

// closeBatch closes b and returns err, or the error of closing.
func closeBatch(err error, b *pebble.Batch) error {
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return err
}

// putValue sets one key, durably.
func (d *DB) putValue(key, value []byte) error {
	return d.writeBatch(context.Background(), true, func(b *pebble.Batch) error { return b.Set(key, value, nil) })
}
