// Package pebblestore keeps rows, segments and chunk indexes in one embedded
// Pebble database, so that one write-ahead log orders them all.
//
// Keys are a letter and what it takes to be unique; see key.go.
package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

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

	removed atomic.Uint64 // changes of the index that removed something; raised with lock held

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
}

var (
	// ErrLocked reports that another process has the database open.
	ErrLocked = errors.New("database is in use by another process")
	// ErrFormat reports a database of another version of the program. There is
	// no conversion.
	ErrFormat = errors.New("metadata database has a format that this program does not know")
	// ErrNoSpace reports that the volume of the database is full.
	ErrNoSpace = fmt.Errorf("metadata database: %w", backend.ErrNoSpace)
)

// Open opens the database in dir, making it if there is none.
func Open(dir string, opts *Options) (*DB, error) {
	if opts == nil {
		opts = &Options{}
	}
	d := &DB{log: opts.Log, lock: make(chan struct{}, 1)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	inner := opts.FS
	if inner == nil {
		inner = vfs.Default
	}
	d.fs = newWaitFS(inner, d.log)
	if opts.MustExist {
		if ok, err := Exists(dir, inner); err != nil || !ok {
			return nil, fmt.Errorf("pebblestore: open %s: %w", dir, errors.Join(err, fs.ErrNotExist))
		}
	}
	db, err := pebble.Open(dir, d.pebbleOptions(opts))
	if err != nil {
		return nil, fmt.Errorf("pebblestore: open %s: %w", dir, openError(err))
	}
	d.db, d.rows = db, rows{d, db}
	if err := d.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("pebblestore: open %s: %w", dir, err), db.Close())
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
		Logger:             pebbleLog{d.log},
		MaxOpenFiles:       512,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most look-ups of an ingest are misses
	}
	return o
}

// Exists reports whether there is a database in dir, leaving no trace. A nil
// filesystem is the operating system's.
func Exists(dir string, f FS) (bool, error) {
	if f == nil {
		f = vfs.Default
	}
	if _, err := f.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	desc, err := pebble.Peek(dir, f)
	if err != nil {
		return false, err
	}
	return desc.Exists, nil
}

func openError(err error) error {
	if isLocked(err) {
		return fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return err
}

// Format 2 had no stamps, sources and counters of domains.
const formatVersion = 3

// start checks the format version and finds the latest commit.
func (d *DB) start() error {
	v, err := d.get(d.db, []byte{keyFormat})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = d.db.Set([]byte{keyFormat}, []byte{formatVersion}, pebble.Sync)
	case err == nil && (len(v) != 1 || v[0] != formatVersion):
		err = fmt.Errorf("%w: it has format %x, this program knows %d", ErrFormat, v, formatVersion)
	}
	if err != nil {
		return err
	}
	return d.startNumbers()
}

// Close closes the database. What it holds is durable.
func (d *DB) Close() error {
	d.fs.close()
	return d.db.Close()
}

// acquire waits for the right to change, unless there is no space to do so.
func (d *DB) acquire(ctx context.Context) error {
	if d.fs.full() != nil {
		return ErrNoSpace
	}
	select {
	case d.lock <- struct{}{}:
		return nil
	default:
	}
	select {
	case d.lock <- struct{}{}:
		return nil
	case <-d.fs.fullSignal():
		return ErrNoSpace
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *DB) release() { <-d.lock }

// Ready implements manifest.Store.
func (d *DB) Ready() error { return d.fs.full() }

// DiskSize returns the bytes that the database takes.
func (d *DB) DiskSize() int64 { return int64(d.db.Metrics().DiskSpaceUsage()) }

// get returns a copy of a value, or fs.ErrNotExist.
func (d *DB) get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// iter iterates over the keys that begin with prefix.
func (d *DB) iter(prefix []byte) (*pebble.Iterator, error) {
	return d.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
}

// pebbleLog sends Pebble's messages to slog. Pebble calls Fatalf when it
// cannot keep its promises any more; the process must not go on then.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

func (l pebbleLog) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }

func (l pebbleLog) Fatalf(format string, args ...any) {
	panic("pebblestore: the metadata database cannot go on: " + fmt.Sprintf(format, args...))
}

var (
	_ manifest.Store = (*DB)(nil)
	_ cas.Index      = (*index)(nil)
)

// fewKeys are so few that they lie far apart. With rising keys an iterator looks
// at the next entries before it seeks, which is at its best where the keys lie
// close together, and in vain here: few keys are looked up in falling order.
const fewKeys = 200

// find looks up what prefix and each of ids are the key of, and calls found
// with the number and the value of those that are there. One iterator does for
// all; it asks the filters of all levels, since most look-ups of chunks miss.
func find(r pebble.Reader, prefix []byte, ids [][]byte, found func(i int, v []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix), UseL6Filters: true})
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
				return err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err == nil {
			err = found(i, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FS is the filesystem that a database lies in.
type FS = vfs.FS
