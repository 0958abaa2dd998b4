package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// openOrWait opens the database. If the volume is full, it opens it for reading
// only.
func (d *DB) openOrWait(dir string, inner vfs.FS, opts *Options) error {
	switch ok, err := Exists(dir, inner); {
	case err != nil:
		return err
	case !ok && (opts.MustExist || opts.ReadOnly):
		return fs.ErrNotExist
	}
	if opts.ReadOnly {
		return d.openForReading(dir, inner, opts)
	}
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := openPebble(dir, d.pebbleOptions(opts))
		done <- opened{db, err}
	}()
	var o opened
	for d.fs.changeError() == nil {
		if o != (opened{}) {
			d.db = o.db
			d.fs.endOpening()
			return o.err
		}
		select {
		case o = <-done:
		case <-d.fs.fullSignal():
		case <-d.fs.failed:
		}
	}
	d.fs.detach()
	if o == (opened{}) {
		o = <-done
	}
	if o.db != nil {
		closePebble(o.db) // its changes are all on the disk
	}
	if err := d.fs.unlockDirs(); err != nil {
		return err
	}
	if err := d.fs.writeError(); err != ErrNoSpace {
		return err
	}
	return d.openFull(dir, inner, opts)
}

// openFull opens a database on a full volume, for reading only.
func (d *DB) openFull(dir string, inner vfs.FS, opts *Options) (err error) {
	o := d.pebbleOptions(opts)
	o.FS, o.ReadOnly = inner, true
	if d.db, err = openPebble(dir, o); errors.Is(err, pebble.ErrDBDoesNotExist) {
		return ErrNoSpace
	}
	d.readOnly = true
	d.log.Error("no space left for the metadata database: it takes no changes until it is opened anew")
	return err
}

// openForReading opens a database and changes nothing in its directory: what its log
// holds is replayed in memory.
func (d *DB) openForReading(dir string, inner vfs.FS, opts *Options) (err error) {
	o := d.pebbleOptions(opts)
	o.FS, o.ReadOnly = readFS{inner}, true
	if d.db, err = openPebble(dir, o); errors.Is(err, pebble.ErrDBDoesNotExist) {
		return fs.ErrNotExist
	}
	d.readOnly = true
	d.fs.refuseChanges(ErrReadOnly)
	return err
}

// openPebble is pebble.Open with its errors translated.
func openPebble(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	db, err = pebble.Open(dir, o)
	if err != nil {
		return nil, openError(err)
	}
	return db, nil
}

func openError(err error) error {
	var errno syscall.Errno
	switch {
	case isLocked(err):
		return lockedError(err)
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return err
	case errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist):
		return err // an error of the operating system, not damage
	}
	return asDamage(err)
}

// asDamageIfCorrupt marks an error of a read as ErrDamaged if it means damage.
func asDamageIfCorrupt(err error) error {
	if err != nil && (pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist)) {
		return asDamage(err)
	}
	return err
}

// asDamage keeps only the text of an error of Pebble, so that a missing file
// does not match fs.ErrNotExist and pass for a missing row.
func asDamage(err error) error {
	what, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: %s", ErrDamaged, what)
}

// Copy copies the files of a database, which nobody has open, to a new directory of
// the operating system. It reports whether there are any. A nil file system is the
// operating system's.
func Copy(dir string, f FS, to string) (bool, error) {
	if f == nil {
		f = vfs.Default
	}
	ok, err := vfs.Clone(f, vfs.Default, dir, to)
	if err != nil {
		return ok, fmt.Errorf("pebblestore: copy %s: %w", dir, err)
	}
	return ok, nil
}

// Exists reports whether there is a database in dir, without changing anything.
// A nil file system is the operating system's.
func Exists(dir string, f FS) (bool, error) {
	if f == nil {
		f = vfs.Default
	}
	if _, err := f.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	desc, err := pebble.Peek(dir, f)
	if err != nil {
		return false, openError(err)
	}
	if desc.Exists {
		return true, nil
	}
	// Pebble would create a new database beside the tables of one whose MANIFEST
	// can no longer be found.
	names, err := f.List(dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			return false, fmt.Errorf("%w: nothing in %s names its MANIFEST", ErrDamaged, dir)
		}
	}
	return false, nil
}

// Format 2 had no stamps, sources and counters of domains. Format 3 did not count
// what is live, nor the commits of marks. Format 4 had no scrubs and no points; a
// database that has it becomes one of the present format when it is opened, which
// older programs refuse. Format 5 had no links and no hosts: likewise.
const (
	// FormatVersion is that of the databases that this program makes.
	FormatVersion = 6

	formatVersion = FormatVersion
	oldestFormat  = 4
)

// checkFormat checks the format version, finds the latest commit, and ends what a
// crash has left undone.
func (d *DB) checkFormat() error {
	v, err := d.getValue(d.db, []byte{keyFormat})
	isOld := err == nil && len(v) == 1 && v[0] >= oldestFormat && v[0] < formatVersion
	switch {
	case isOld && d.readOnly:
	case isOld, errors.Is(err, fs.ErrNotExist):
		err = d.putValue([]byte{keyFormat}, []byte{formatVersion})
	case err == nil && (len(v) != 1 || v[0] != formatVersion):
		err = fmt.Errorf("%w: it has format %x, this program knows %d", ErrFormat, v, formatVersion)
	}
	if err == nil {
		err = d.startNumbers()
	}
	if err != nil {
		return err
	}
	return d.endReindex()
}

// Close waits for the calls under way and closes the database. What stays open between
// two calls, iterators and views, ends with cas.ErrClosed, as every later call does. It
// returns an error if some changes may not be durable. A second Close returns what the
// first did.
func (d *DB) Close() error {
	d.fs.beginClosing() // which may be what calls wait for
	return d.life.Close(func() error {
		d.lock <- struct{}{} // never released
		close(d.closed)
		err := closePebble(d.db)
		if !d.readOnly {
			err = errors.Join(d.fs.writeError(), err)
		}
		return errors.Join(err, d.fs.unlockDirs())
	})
}

func closePebble(db *pebble.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("pebblestore: close: %v", p)
		}
	}()
	return db.Close()
}
