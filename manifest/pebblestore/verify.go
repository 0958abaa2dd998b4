package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Verify reads all tables of the database and compares the checksums of their
// blocks, also of those that no look-up has met: it returns ErrDamaged if one is
// wrong. It may run while the database is used. The log was verified when the
// database was opened.
func (d *DB) Verify(ctx context.Context) error {
	tables, err := d.tables()
	if err != nil {
		return err
	}
	for name := range tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := d.verifyTable(ctx, name)
		if err == nil {
			continue
		}
		now, lookErr := d.tables() // it may have been compacted, and removed, meanwhile
		if lookErr != nil {
			return lookErr
		}
		if now[name] {
			return fmt.Errorf("pebblestore: verify %s: %w", name, err)
		}
	}
	return nil
}

// tables returns the names of the files of the present tables.
func (d *DB) tables() (map[string]bool, error) {
	if err := d.life.Enter(); err != nil {
		return nil, err
	}
	defer d.life.Leave()
	levels, err := d.db.SSTables()
	if err != nil {
		return nil, fmt.Errorf("pebblestore: tables: %w", asDamageIfCorrupt(err))
	}
	names := make(map[string]bool)
	for _, level := range levels {
		for i := range level {
			names[d.fs.PathJoin(d.dir, level[i].BackingSSTNum.String()+".sst")] = true
		}
	}
	return names, nil
}

func (d *DB) verifyTable(ctx context.Context, name string) (err error) {
	f, err := d.fs.Open(name)
	if err != nil {
		return asDamageIfCorrupt(err)
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	filter := bloom.FilterPolicy(10)
	o := sstable.ReaderOptions{Filters: map[string]sstable.FilterPolicy{filter.Name(): filter}}
	r, err := sstable.NewReader(ctx, readable, o)
	if err != nil { // it has closed the file
		return asTableDamage(err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
		err = errors.Join(err, r.Close())
	}()
	return asTableDamage(r.ValidateBlockChecksums())
}

// asTableDamage marks an error of reading a table as ErrDamaged, unless it is one of
// the operating system.
func asTableDamage(err error) error {
	var path *fs.PathError
	if err == nil || errors.As(err, &path) && !pebble.IsCorruptionError(err) {
		return err
	}
	return asDamage(err)
}
