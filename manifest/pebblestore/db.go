// Package pebblestore stores rows, segments and chunk indexes in one embedded
// Pebble database, so that one write-ahead log orders them all.
//
// Start with key.go, the keys and what their values are. scan.go has the
// functions that read rows and ranges of keys, change.go the lock that all
// changes take and the commit of a batch.
//
// A write: DB.Update (tx.go) takes DB.lock, runs fn on an indexed batch and
// commits it. The methods of tx, in the files of their rows (tx.go, upload.go,
// grant.go, …), put rows into the batch and collect records. runOnBatch then
// adds the records to the outbox under the next number. Index.Apply (apply.go)
// changes the chunk index in the same way, without waiting for the log.
//
// A read: the methods of rows read from the database, from the batch of a
// transaction, or from a snapshot.
//
// waitfs.go lies between Pebble and the disk. It handles full volumes and failed
// syncs, which Pebble cannot.
package pebblestore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A DB is an open database: a manifest.Store, and a cas.Index for every
// domain.
type DB struct {
	rows // reads from the database

	db   *pebble.DB
	fs   *waitFS
	dir  string
	log  *slog.Logger
	lock chan struct{} // holds one token while rows or the index are being changed

	readOnly bool          // the volume was full when it was opened, or Options.ReadOnly
	life     *cas.Lifetime // its calls are those of Pebble, but for what waitFS does for it
	closed   chan struct{} // closed when lock is held for ever

	present presence

	seq   uint64 // the highest number given; guarded by lock
	seqMu sync.Mutex
	last  uint64 // the latest commit; written with lock and seqMu held
}

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	CacheBytes int64        // size of the block cache; default 32 MiB
	FS         vfs.FS       // default: the operating system's
	MustExist  bool         // return fs.ErrNotExist instead of creating a database
	ReadOnly   bool         // change no file, and refuse all changes with ErrReadOnly
	Log        *slog.Logger // default: discard
	// Failed, if not nil, is called when the database begins to refuse all
	// changes with ErrSync. It must not block.
	Failed func(error)
}

var (
	// ErrLocked reports that somebody has the database open.
	ErrLocked = errors.New("database is in use")
	// ErrLockedHere is the ErrLocked of a database that this process has open. Windows
	// does not tell it from others.
	ErrLockedHere = fmt.Errorf("%w by this process", ErrLocked)
	// ErrFormat reports a database of another version of the program. There is
	// no conversion.
	ErrFormat = errors.New("metadata database has a format that this program does not know")
	// ErrDamaged is manifest.ErrDamaged.
	ErrDamaged = manifest.ErrDamaged
	// ErrNoSpace reports that the volume of the database is full. A database
	// that was opened on a full volume takes no changes until it is opened
	// again.
	ErrNoSpace = fmt.Errorf("metadata database: %w", backend.ErrNoSpace)
	// ErrReadOnly is manifest.ErrReadOnly.
	ErrReadOnly = manifest.ErrReadOnly
	// ErrSync is manifest.ErrSync.
	ErrSync = manifest.ErrSync
)

// Open opens the database in dir and creates it if there is none. If the volume
// is full, the DB serves reads and refuses changes with ErrNoSpace.
func Open(dir string, opts *Options) (*DB, error) {
	if opts == nil {
		opts = &Options{}
	}
	d := &DB{dir: dir, log: opts.Log, lock: make(chan struct{}, 1), life: cas.NewLifetime(), closed: make(chan struct{})}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	inner := opts.FS
	if inner == nil {
		inner = vfs.Default
	}
	d.fs = newWaitFS(inner, d.log, opts.Failed)
	err := d.openOrWait(dir, inner, opts)
	if err == nil {
		d.rows = rows{d, d.db}
		err = d.checkFormat()
	}
	if err != nil {
		if d.db != nil {
			err = errors.Join(err, d.Close())
		}
		return nil, fmt.Errorf("pebblestore: open %s: %w", dir, err)
	}
	return d, nil
}

func (d *DB) pebbleOptions(opts *Options) *pebble.Options {
	cache := opts.CacheBytes
	if cache == 0 {
		cache = 32 << 20
	}
	o := &pebble.Options{
		FS:                 d.fs,
		CacheSize:          cache,
		MemTableSize:       8 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLog{d},
		MaxOpenFiles:       512,
	}
	o.EventListener = &pebble.EventListener{DataCorruption: func(c pebble.DataCorruptionInfo) {
		d.log.Error("the metadata database is damaged", "what", c.String())
	}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most look-ups of new chunks find nothing
	}
	return o
}

// Ready implements manifest.Store.
func (d *DB) Ready() error { return cmp.Or(d.life.Err(), d.fs.changeError()) }

// DiskSize returns the bytes that the database takes, 0 once it is closed.
func (d *DB) DiskSize() int64 {
	if d.life.Enter() != nil {
		return 0
	}
	defer d.life.Leave()
	return int64(d.db.Metrics().DiskSpaceUsage())
}

// getValue returns a copy of a value, or fs.ErrNotExist.
func (d *DB) getValue(r pebble.Reader, key []byte) ([]byte, error) {
	if err := d.life.Enter(); err != nil {
		return nil, err
	}
	defer d.life.Leave()
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, asDamageIfCorrupt(err)
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// pebbleLog writes Pebble's messages to slog. Pebble calls Fatalf when it cannot
// continue. From then on no file is changed.
type pebbleLog struct{ d *DB }

func (l pebbleLog) Infof(format string, args ...any) { l.d.log.Debug(fmt.Sprintf(format, args...)) }

func (l pebbleLog) Errorf(format string, args ...any) { l.d.log.Error(fmt.Sprintf(format, args...)) }

func (l pebbleLog) Fatalf(format string, args ...any) {
	l.d.fs.setFailed("pebble", fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...))
}

var (
	_ manifest.Store = (*DB)(nil)
	_ manifest.Tx    = (*tx)(nil)
	_ cas.Index      = (*index)(nil)
)

// fewKeys is the number of keys below which findValues looks them up in falling
// order. With rising keys, an iterator tries the next entries before it seeks.
// That helps when many keys lie close together, and is wasted work when few keys
// lie far apart.
const fewKeys = 200

// findValues looks up the keys made of prefix and each of ids, and calls found
// with the index and the value of those that exist. It uses one iterator for
// all, and the filters of all levels, since most look-ups of chunks find
// nothing.
func (s rows) findValues(prefix []byte, ids [][]byte, found func(i int, v []byte) error) error {
	it, err := s.newCursor(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix), UseL6Filters: true})
	if err != nil {
		return err
	}
	defer it.Close()
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return bytes.Compare(ids[i], ids[j]) })
	if len(ids) < fewKeys {
		slices.Reverse(order)
	}
	key := slices.Clone(prefix)
	for _, i := range order {
		key = append(key[:len(prefix)], ids[i]...)
		if !it.SeekPrefixGE(key) {
			if err := it.Error(); err != nil {
				return asDamageIfCorrupt(err)
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return asDamageIfCorrupt(err)
		}
		if err := found(i, v); err != nil {
			return err
		}
	}
	return nil
}

// FS is the file system of a database.
type FS = vfs.FS
