package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// A Scanner looks at what was stored before others get it, such as for viruses. Who embeds
// a store gives it in Options.
//
// With a Scanner, each content that was uploaded, edited or copied becomes a version in
// quarantine, with its ID and number. The version before stays the current one; a new
// file without one is Quarantined as a whole, and has no name that others could meet.
// What is in quarantine is seen by those who may delete the file, as in the trash, and
// only operators get its content. Store.Run scans what comes, and looks for what was not
// scanned when it begins, and every ten minutes: whatever has crashed.
type Scanner interface {
	// Scan looks at a version. An error, a panic, and a call that takes longer than
	// Options.ScanTimeout, say nothing about it: it is scanned again later. It may be
	// called again about a version that it has judged, if the store crashed meanwhile.
	// Candidate.Who is nil.
	Scan(ctx context.Context, c *Candidate) (Verdict, error)
}

// A Verdict is what a Scanner has found.
type Verdict struct {
	// Found names what was found, "" for nothing: then the version becomes the current
	// one, if no newer one is. A new file becomes active, under a free name if its own
	// was taken meanwhile.
	Found string
	// Remove says that the version is removed for good, unless records hold it by links that
	// refuse that; else it stays in quarantine, with Found.
	Remove bool
}

const (
	scanTimeout  = 10 * time.Minute // unless Options say otherwise
	scanInterval = 10 * time.Minute // between two looks for what was not scanned
	scanRetry    = time.Minute      // after a Scanner has failed
	scanQueue    = 1024             // versions that are remembered between two looks
	// maxHeld is how many versions of a file may be in quarantine.
	maxHeld = 64
)

var (
	// ErrQuarantined reports content that is in quarantine.
	ErrQuarantined = concept("content is in quarantine", fs.ErrPermission)
	// ErrQuarantineFull reports a file of which too many versions are in quarantine.
	ErrQuarantineFull = errors.New("too many versions of the file are in quarantine; try again when they were scanned")
)

// scanning is what of scans is under way in this process.
type scanning struct {
	scanner Scanner // nil for none
	timeout time.Duration
	// came holds versions that were committed; all is set if there was no room for one.
	came chan heldVersion
	all  chan struct{}
}

type heldVersion struct {
	file    manifest.FileID
	version manifest.VersionID
}

func newScanning(scanner Scanner, timeout time.Duration) *scanning {
	return &scanning{scanner, cmp.Or(timeout, scanTimeout), make(chan heldVersion, scanQueue), make(chan struct{}, 1)}
}

// note remembers a version that was committed to be scanned.
func (c *scanning) note(f *File) {
	if c.scanner == nil || f.State != Quarantined {
		return
	}
	select {
	case c.came <- heldVersion{manifest.FileID(f.ID), manifest.VersionID(f.ManifestID)}:
	default:
		select {
		case c.all <- struct{}{}:
		default:
		}
	}
}

// checkHeld lets nobody but operators have content that is in quarantine.
func (b *Bucket) checkHeld(req *access.Request) error {
	if req.Op != access.OpDownload || req.File == nil || req.Version == nil || !req.File.IsHeld(req.Version.ID) || b.who == nil || b.who.Operator {
		return nil
	}
	return ErrQuarantined
}

// runScan scans versions until ctx is done.
func (s *Store) runScan(ctx context.Context) error {
	c := s.scanning
	if c.scanner == nil {
		return nil
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var err error
		select {
		case h := <-c.came:
			_, err = s.scanVersion(ctx, h)
		case <-c.all:
			_, err = s.ScanQuarantine(ctx)
		case <-next.C:
			next.Reset(scanInterval)
			_, err = s.ScanQuarantine(ctx)
		case <-ctx.Done():
			return nil
		}
		if err != nil { // which the log says
			next.Reset(scanRetry)
		}
	}
}

// ScanQuarantine scans all versions that wait for it, and returns how many were judged. It
// reads the rows of all files. Those that fail are left for the next call; the error names
// the first.
func (s *Store) ScanQuarantine(ctx context.Context) (judged int, err error) {
	if s.scanning.scanner == nil {
		return 0, s.life.Err()
	}
	for {
		var page []heldVersion // no view of the database is held while the Scanner works
		for h, err := range s.allHeld(ctx, func(found string) bool { return found == "" }) {
			if err != nil {
				return judged, err
			}
			if page = append(page, h); len(page) == scanQueue {
				break
			}
		}
		before := judged
		for _, h := range page {
			done, serr := s.scanVersion(ctx, h)
			if done {
				judged++
			}
			if err = cmp.Or(err, serr); ctx.Err() != nil {
				return judged, context.Cause(ctx)
			}
		}
		if len(page) < scanQueue || judged == before {
			return judged, err
		}
	}
}

// Quarantine yields all versions in quarantine, with what was found in each, "" in those that
// wait to be scanned. It is for operators, and reads the rows of all files.
func (s *Store) Quarantine(ctx context.Context) iter.Seq2[*Held, error] {
	return func(yield func(*Held, error) bool) {
		for h, err := range s.allHeld(ctx, func(string) bool { return true }) {
			if err != nil {
				yield(nil, err)
				return
			}
			f, m, err := s.heldRows(ctx, s.meta, h)
			if err == nil && m != nil && !yield(&Held{*(&Bucket{s: s}).describeFile(f, m), f.Held[h.version]}, nil) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// A Held is a version in quarantine.
type Held struct {
	File
	Found string
}

func (s *Store) allHeld(ctx context.Context, want func(found string) bool) iter.Seq2[heldVersion, error] {
	return func(yield func(heldVersion, error) bool) {
		for f, err := range s.meta.AllFiles(ctx) {
			if err != nil {
				yield(heldVersion{}, err)
				return
			}
			for id, found := range f.Held {
				if want(found) && !yield(heldVersion{f.ID, id}, nil) {
					return
				}
			}
		}
	}
}

// heldRows returns the rows of a version if it is in quarantine, else nil.
func (s *Store) heldRows(ctx context.Context, rows manifest.Files, h heldVersion) (*manifest.File, *manifest.Manifest, error) {
	f, err := rows.File(ctx, h.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !f.IsHeld(h.version) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := rows.Manifest(ctx, h.version)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	return f, m, err
}

// scanVersion scans a version that waits for it, and does what the verdict says. judged
// reports whether there was one.
func (s *Store) scanVersion(ctx context.Context, h heldVersion) (judged bool, err error) {
	ctx = access.ActAs(ctx, "scanner", "")
	f, m, err := s.heldRows(ctx, s.meta, h)
	if err != nil || m == nil || f.Held[h.version] != "" {
		return false, err
	}
	b, err := s.Bucket(f.Bucket)
	if err != nil {
		return false, err
	}
	var v Verdict
	c := &Candidate{Name: f.Name, Folder: f.Folder, File: string(f.ID), MIMEType: m.MIMEType, Declared: m.DeclaredMIMEType,
		Metadata: decodeMetadata(f.Metadata), Tags: f.Tags}
	err = b.callHook(ctx, "scanner", s.scanning.timeout, c, &m.Content, func(ctx context.Context, c *Candidate) (err error) {
		v, err = s.scanning.scanner.Scan(ctx, c)
		return err
	})
	if err == nil {
		err = b.carryOutVerdict(ctx, h, v)
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			s.log.Error("a version was not scanned; it is tried again", "bucket", f.Bucket, "file", f.ID, "version", m.ID, "error", err)
		}
		return false, fmt.Errorf("scan version %s of file %s: %w", m.ID, f.ID, err)
	}
	if v.Found != "" {
		s.log.Warn("a version is not let out of quarantine", "bucket", f.Bucket, "file", f.ID, "version", m.ID, "found", v.Found, "removed", v.Remove)
	}
	return true, nil
}

// carryOutVerdict ends the quarantine of a version, notes what was found in it, or removes it.
func (b *Bucket) carryOutVerdict(ctx context.Context, h heldVersion, v Verdict) error {
	return b.updateAcknowledged(ctx, func(tx manifest.Tx) error {
		f, m, err := b.s.heldRows(ctx, tx, h)
		if err != nil || m == nil {
			return err // removed meanwhile
		}
		now := b.s.now()
		if v.Found == "" {
			return b.release(ctx, tx, f, m, now)
		}
		of := m.ID
		if f.Versions == 1 {
			of = "" // the file goes with it
		}
		if v.Remove {
			err = b.checkLinks(ctx, tx, f, of, true)
		}
		refused := errors.Is(err, ErrReferenced) || errors.Is(err, ErrUnreconciled)
		if err != nil && !refused {
			return err
		}
		switch {
		case !v.Remove, refused:
			f.Held[m.ID] = v.Found
			return tx.PutFile(ctx, f)
		case of == "":
			return tx.Purge(ctx, f.ID, now)
		}
		if err := tx.DropManifests(ctx, []manifest.VersionID{m.ID}, now); err != nil {
			return err
		}
		dropVersion(f, m)
		delete(f.Held, m.ID)
		f.UpdatedAt = now
		return tx.PutFile(ctx, f)
	})
}

// release makes m, a version in quarantine, one like others.
func (b *Bucket) release(ctx context.Context, tx manifest.Tx, f *manifest.File, m *manifest.Manifest, now time.Time) error {
	delete(f.Held, m.ID)
	if f.State == manifest.Quarantined {
		if err := b.s.revive(ctx, tx, f); err != nil {
			return err
		}
		return tx.PutFile(ctx, f)
	}
	cur, err := tx.Manifest(ctx, f.Current)
	if err != nil {
		return err
	}
	if m.Version > cur.Version {
		f.Current, f.ContentAt = m.ID, nextContentTime(f, now)
	}
	f.UpdatedAt = now
	if _, _, err := b.b.Versions.prune(ctx, tx, f, prunePlace{}, maxSwept, b.s.removalTime()); err != nil {
		return err
	}
	return tx.PutFile(ctx, f)
}
