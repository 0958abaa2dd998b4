package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/journal"
	"github.com/cairn-store/cairn/buckets"
)

// A backend that is remote has a journal, DIR/journal/NAME, if writes to a bucket
// are acknowledged once they are in it, or if packs were left there.

func (s *parts) journalDir(d *domain) string { return filepath.Join(s.dir, "journal", d.name) }

// needsJournal reports whether d needs a journal. It changes nothing.
func (s *parts) needsJournal(d *domain) (bool, error) {
	if d.remote == nil {
		return false, nil
	}
	for _, p := range s.opts.Buckets {
		if p.Domain == d.name && p.Acknowledge == buckets.AckJournal {
			return true, nil
		}
	}
	return s.hasUnsent(d)
}

// hasUnsent reports whether packs wait in the journal of d.
func (s *parts) hasUnsent(d *domain) (bool, error) {
	dirs, err := s.readJournal(d, "packs")
	for _, name := range dirs {
		packs, err := s.readJournal(d, path.Join("packs", name))
		if err != nil || len(packs) > 0 {
			return err == nil, err
		}
	}
	return false, err
}

// readJournal lists a directory of the journal, which may be missing.
func (s *parts) readJournal(d *domain, dir string) (names []string, err error) {
	if s.opts.DiskFS != nil {
		names, err = s.opts.DiskFS.ReadDir(dir)
	} else {
		var entries []os.DirEntry
		entries, err = os.ReadDir(filepath.Join(s.journalDir(d), filepath.FromSlash(dir)))
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return names, err
}

// openJournal puts the journal before the packs of d.
func (s *parts) openJournal(d *domain) error {
	dir := s.journalDir(d)
	near, err := diskbackend.Open(dir, &diskbackend.Options{FS: s.opts.DiskFS, ReadOnly: s.opts.readOnly})
	if s.opts.readOnly && errors.Is(err, fs.ErrNotExist) {
		return nil // nothing waits in it
	}
	if err != nil {
		return err
	}
	d.packs = journal.New(near, d.packs, s.opts.Log)
	return nil
}
