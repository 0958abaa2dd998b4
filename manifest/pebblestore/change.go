package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
)

// acquire waits for the right to change, unless nothing can be changed now.
func (d *DB) acquire(ctx context.Context) error {
	if err := d.fs.state(); err != nil {
		return err
	}
	select {
	case d.lock <- struct{}{}:
	default:
		select {
		case d.lock <- struct{}{}:
		case <-d.closed:
			return fs.ErrClosed
		case <-d.fs.fullSignal():
			return ErrNoSpace
		case <-d.fs.failed:
			return d.fs.lost()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := d.fs.state(); err != nil {
		d.release()
		return err
	}
	return nil
}

func (d *DB) release() { <-d.lock }

// commit makes the changes of b, durably if sync is set, and closes b. It takes
// the lock over and gives it back as soon as the next one may change. Where
// nothing can be written it returns without waiting, the outcome unknown.
func (d *DB) commit(b *pebble.Batch, sync bool) error {
	done := make(chan error, 1)
	go func() {
		err := d.apply(b, sync)
		if sync && err == nil {
			err = b.SyncWait()
		}
		done <- errors.Join(err, b.Close())
	}()
	select {
	case err := <-done:
		return errors.Join(err, d.fs.lost())
	case <-d.fs.fullSignal():
	case <-d.fs.failed:
	}
	select {
	case err := <-done:
		return errors.Join(err, d.fs.lost())
	default:
	}
	if err := d.fs.lost(); err != nil {
		return err
	}
	return ErrNoSpace
}

// apply puts b into the log and makes it visible. Pebble panics where it
// cannot go on.
func (d *DB) apply(b *pebble.Batch, sync bool) (err error) {
	defer d.release()
	defer func() {
		if p := recover(); p != nil {
			d.fs.fail("pebble", fmt.Errorf("%v", p))
			err = d.fs.lost()
		}
	}()
	if sync {
		return d.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	return b.Commit(pebble.NoSync)
}

// write makes what fn puts into a batch, durably if sync is set. What the
// database says stays true while fn runs.
func (d *DB) write(ctx context.Context, sync bool, fn func(b *pebble.Batch) error) error {
	if err := d.acquire(ctx); err != nil {
		return err
	}
	b := d.db.NewIndexedBatch()
	commits := false
	defer func() { // fn may panic
		if !commits {
			d.release()
		}
	}()
	if err := fn(b); err != nil || b.Empty() {
		return closeBatch(err, b)
	}
	commits = true
	return d.commit(b, sync)
}

// closeBatch gives b back and returns err as it was.
func closeBatch(err error, b *pebble.Batch) error {
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return err
}

// put makes one change durable.
func (d *DB) put(key, value []byte) error {
	return d.write(context.Background(), true, func(b *pebble.Batch) error { return b.Set(key, value, nil) })
}
