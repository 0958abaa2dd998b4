// Package pebblestore keeps rows, segments and chunk indexes in one embedded
// Pebble database, so that one write-ahead log orders them all.
//
// Keys are a letter and what it takes to be unique; see key.go.
package pebblestore

import (
	"bytes"
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
	rows // of the database

	db   *pebble.DB
	fs   *waitFS
	log  *slog.Logger
	lock chan struct{} // holds one token while somebody changes rows or the index

	readOnly bool // the volume was full when it was opened
	closing  sync.Once
	closed   chan struct{}
	closeErr error // valid once closed is

	seq   uint64 // the highest number given, changed with lock held
	seqMu sync.Mutex
	last  uint64 // of the latest commit, changed with lock held, guarded by seqMu
}

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	CacheBytes int64        // of blocks; default 32 MiB
	FS         vfs.FS       // default: the operating system's
	MustExist  bool         // fail with fs.ErrNotExist rather than make a database
	Log        *slog.Logger // default: discard
	// Failed, if not nil, is called when the database begins to refuse all
	// changes with ErrSync. It must not block.
	Failed func(error)
}

var (
	// ErrLocked reports that another process has the database open.
	ErrLocked = errors.New("database is in use by another process")
	// ErrFormat reports a database of another version of the program. There is
	// no conversion.
	ErrFormat = errors.New("metadata database has a format that this program does not know")
	// ErrDamaged reports files of the database that are not what was written.
	ErrDamaged = errors.New("metadata database is damaged")
	// ErrNoSpace reports that the volume of the database is full. A database
	// that was opened on a full volume takes changes when it is opened anew.
	ErrNoSpace = fmt.Errorf("metadata database: %w", backend.ErrNoSpace)
	// ErrSync reports that something which was written may not have reached the
	// disk. The outcome of what waited for it is unknown. The database serves
	// reads and refuses changes until it is closed and opened anew, which takes
	// up what is on the disk.
	ErrSync = errors.New("metadata database takes no more changes: what it wrote may not be on the disk")
)

// Open opens the database in dir, making it if there is none. Where there is
// no space to do so, the DB serves reads and refuses changes with ErrNoSpace.
func Open(dir string, opts *Options) (*DB, error) {
	if opts == nil {
		opts = &Options{}
	}
	d := &DB{log: opts.Log, lock: make(chan struct{}, 1), closed: make(chan struct{})}
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
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most look-ups of an ingest are misses
	}
	return o
}

// Ready implements manifest.Store.
func (d *DB) Ready() error { return d.fs.changeError() }

// DiskSize returns the bytes that the database takes.
func (d *DB) DiskSize() int64 { return int64(d.db.Metrics().DiskSpaceUsage()) }

// getValue returns a copy of a value, or fs.ErrNotExist.
func (d *DB) getValue(r pebble.Reader, key []byte) ([]byte, error) {
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

// newIter iterates over the keys that begin with prefix.
func (d *DB) newIter(prefix []byte) (*pebble.Iterator, error) {
	return d.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
}

// pebbleLog sends Pebble's messages to slog. Pebble calls Fatalf when it
// cannot keep its promises any more: it changes no file from then on.
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

// fewKeys are so few that they lie far apart. With rising keys an iterator looks
// at the next entries before it seeks, which is at its best where the keys lie
// close together, and in vain here: few keys are looked up in falling order.
const fewKeys = 200

// findValues looks up what prefix and each of ids are the key of, and calls found
// with the number and the value of those that are there. One iterator does for
// all; it asks the filters of all levels, since most look-ups of chunks miss.
func findValues(r pebble.Reader, prefix []byte, ids [][]byte, found func(i int, v []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix), UseL6Filters: true})
	if err != nil {
		return asDamageIfCorrupt(err)
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

// FS is the filesystem that a database lies in.
type FS = vfs.FS
