package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

var (
	// ErrMigrating reports that a bucket is being moved. Only one is at a time.
	ErrMigrating = errors.New("a bucket is being moved already")
	// ErrMoved reports that the bucket was moved while something was on its
	// way into it. Sent again, it goes to where the bucket is now.
	ErrMoved = errors.New("the bucket was moved to another backend meanwhile; send it again")
	// ErrNoBackend reports a backend that is not configured.
	ErrNoBackend = fmt.Errorf("no such backend: %w", fs.ErrNotExist)
)

// Migrated counts what Migrate has done.
type Migrated struct {
	From        string
	Files       int64
	Versions    int64
	Bytes       int64 // of the versions
	CopiedBytes int64 // of chunks that the backend did not have
}

// Migrate moves a bucket to another backend while it is in use. It copies what
// the backend lacks, follows what changes meanwhile, and then switches: only
// then all changes, of all buckets, wait until what has come since is copied.
// Until the switch, and if Migrate fails, the bucket is where it was. Called
// again, it copies what is left to copy. To the backend where the bucket is,
// it gives up a move that broke off. Everything that is copied has been
// verified. The old copies are left to collection. progress, if not nil, is called
// now and then.
func (s *Store) Migrate(ctx context.Context, bucket, to string, progress func(Migrated)) (_ Migrated, err error) {
	ctx, end := s.untilClosed(ctx)
	defer end(&err)
	if err := s.checkWritable(ctx); err != nil {
		return Migrated{}, err
	}
	if !s.migrating.TryLock() {
		return Migrated{}, ErrMigrating
	}
	defer s.migrating.Unlock()
	b, err := s.Bucket(bucket)
	if err != nil {
		return Migrated{}, err
	}
	if s.chunks[to] == nil {
		return Migrated{}, fmt.Errorf("backend %q: %w", to, ErrNoBackend)
	}
	from := b.pinned()
	m := &migration{s: s, bucket: bucket, from: from, to: to, done: Migrated{From: from.pin}, progress: progress}
	if from.pin == to {
		return m.done, WrapSpace(s.cancelMove(ctx, bucket))
	}
	if from.b.Acknowledge == AckJournal {
		return Migrated{}, fmt.Errorf("bucket %q has acknowledge: journal; make it remote while it is moved: %w", bucket, fs.ErrInvalid)
	}
	if m.w, err = s.beginWriter(ctx, to); err != nil {
		return Migrated{}, err
	}
	defer m.w.End(ctx)
	there := *b
	there.pin = to
	m.copier = from.copier(&there, m.w)
	defer m.copier.Close()
	if err := m.run(ctx); err != nil {
		return m.done, fmt.Errorf("migrate bucket %q to %q: %w", bucket, to, WrapSpace(err))
	}
	return m.done, nil
}

// cancelMove gives up a move that broke off before its switch, if there is one.
// What it has copied is not needed any more, and is collected.
func (s *Store) cancelMove(ctx context.Context, bucket string) error {
	return s.updateLocal(ctx, func(tx manifest.Tx) error {
		h, err := tx.Home(ctx, bucket)
		if err != nil || h.To == "" || h.To == h.Domain {
			return err
		}
		h.To = ""
		return tx.PutHome(ctx, h)
	})
}

// A migration is a move of a bucket that is under way.
type migration struct {
	s      *Store
	bucket string
	from   *Bucket // pinned to the domain that the bucket leaves
	to     string
	w      *Writer // in that domain, for the whole move
	copier *manifest.Copier
	feed   *feed
	// rows rest on content that has been copied. They are not in the packs of
	// to yet. rowBytes is about what they take there.
	rows     []manifest.Record
	rowBytes int
	done     Migrated
	progress func(Migrated)
}

// fewChanges is how many changes of the bucket may be left to follow when the
// switch begins, and all changes begin to wait.
const fewChanges = 100

// run moves the bucket in four phases:
//
//  1. announce notes in the bucket's home that it is being moved, and lets the
//     feed note all changes from then on.
//  2. copyAll copies what there is at one moment.
//  3. follow copies what changed meanwhile, until few changes are left.
//  4. switchDomain holds up all changes, copies the last ones, and makes the
//     other domain the bucket's.
//
// Changes go on during the first three. From the first on, all that the bucket
// holds is a root in both domains. The move begins again at the second if it was
// passed by in the other domain or chunks there became unusable, since what was
// found there before may be gone: then it looks all up again.
func (m *migration) run(ctx context.Context) error {
	beenThere, err := m.announce(ctx)
	if err != nil {
		return err
	}
	defer m.s.setFeed(nil)
	if beenThere {
		if err := m.copyMarks(ctx); err != nil {
			return err
		}
	}
	for {
		if err := m.w.renew(ctx); err != nil {
			return err
		}
		m.copier.Since = m.w.Since()
		if err := m.copyAll(ctx); err != nil {
			return err
		}
		for n := fewChanges; n >= fewChanges; {
			if n, err = m.follow(ctx); err != nil {
				return err
			}
		}
		if err := m.s.chunks[m.to].Send(ctx); err != nil {
			return err
		}
		if again, err := m.switchDomain(ctx); !again || err != nil {
			return err
		}
	}
}

// announce notes that packs of both domains will hold rows of the bucket, and
// which of them counts until the switch. It reports whether the bucket has been
// in the other domain before.
func (m *migration) announce(ctx context.Context) (beenThere bool, err error) {
	note := func(tx manifest.Tx) error {
		h, err := tx.Home(ctx, m.bucket)
		if err != nil {
			return err
		}
		beenThere = slices.Contains(h.Been, m.to)
		if !beenThere {
			h.Been = append(h.Been, m.to)
		}
		h.Move, h.To = max(h.Move, 1), m.to
		return tx.PutHome(ctx, h)
	}
	if err := m.s.retargetUploads(ctx, m.bucket, m.s.updateLocal); err != nil {
		return false, err // of the move before, which announce would forget
	}
	h, err := m.s.meta.Home(ctx, m.bucket)
	if err != nil {
		return false, err
	}
	if h.Move == 0 {
		err = m.s.updateRows(ctx, m.from.domain, note)
	} else {
		err = m.s.updateLocal(ctx, note)
	}
	if err != nil {
		return false, err
	}
	m.feed = &feed{}
	m.s.setFeed(m.feed)
	return beenThere, nil
}

// setFeed makes f the feed that all changes are noted in from now on, nil for
// none. It holds moving for writing, so no change is half noted.
func (s *Store) setFeed(f *feed) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.feed = f
}

// copyMarks appends to the packs there what is gone for good: they may hold
// rows of it from an earlier stay.
func (m *migration) copyMarks(ctx context.Context) error {
	for r, err := range m.s.meta.Marks(ctx) {
		if err != nil {
			return err
		}
		if err := m.addRow(ctx, r); err != nil {
			return err
		}
	}
	return m.flush(ctx)
}

// copyAll copies the files and the uploads under way that there are at one
// moment.
func (m *migration) copyAll(ctx context.Context) error {
	m.done.Files, m.done.Versions, m.done.Bytes = 0, 0, 0
	var last *manifest.File // the file whose versions are being yielded
	for row, err := range m.s.meta.AllRows(ctx, m.bucket) {
		if err != nil {
			return err
		}
		if row.File != last {
			if err := m.addFile(ctx, last); err != nil {
				return err
			}
			last = row.File
		}
		if row.Manifest == nil {
			continue
		}
		if err := m.copyVersion(ctx, row.Manifest); err != nil {
			return err
		}
	}
	if err := m.addFile(ctx, last); err != nil {
		return err
	}
	for l, err := range m.s.meta.AllLinks(ctx, m.bucket) {
		if err == nil {
			err = m.addRow(ctx, manifest.Record{Link: l})
		}
		if err != nil {
			return err
		}
	}
	if err := m.flush(ctx); err != nil {
		return err
	}
	return m.copyUploads(ctx)
}

// addFile adds the row of a file, if it is one, after those of its versions.
func (m *migration) addFile(ctx context.Context, f *manifest.File) error {
	if f == nil {
		return nil
	}
	m.done.Files++
	return m.addRow(ctx, manifest.Record{File: f})
}

// copyVersion copies the content of a version, and adds its row.
func (m *migration) copyVersion(ctx context.Context, v *manifest.Manifest) error {
	err := m.copier.Content(ctx, &v.Content)
	if err != nil {
		if _, gone := m.s.meta.Manifest(ctx, v.ID); errors.Is(gone, fs.ErrNotExist) {
			return nil // removed meanwhile, so its content may be too
		}
		return fmt.Errorf("file %s, version %d: %w", v.File, v.Version, err)
	}
	m.done.Versions++
	m.done.Bytes += v.Size
	return m.addRow(ctx, manifest.Record{Manifest: v})
}

// addRow adds a row whose content has been copied, and flushes when there are
// many.
func (m *migration) addRow(ctx context.Context, r manifest.Record) error {
	m.rows = append(m.rows, r)
	if m.rowBytes += 1 << 10; r.Manifest != nil {
		m.rowBytes += 40 * len(r.Manifest.Inline)
	}
	if m.rowBytes < 1<<20 {
		return nil
	}
	return m.flush(ctx)
}

// flush makes what was copied durable, and then the rows that rest on it.
func (m *migration) flush(ctx context.Context) error {
	if err := m.copier.Flush(ctx); err != nil {
		return err
	}
	m.done.CopiedBytes = m.copier.Bytes
	if m.progress != nil {
		m.progress(m.done)
	}
	if len(m.rows) == 0 {
		return nil
	}
	err := m.s.appendRecords(ctx, m.to, m.rows)
	m.rows, m.rowBytes = m.rows[:0], 0
	return err
}

// copyUploads copies what has arrived of uploads under way. Chunks of an upload
// by chunk list are asked for again instead, if they lack.
func (m *migration) copyUploads(ctx context.Context) error {
	for u, err := range m.s.meta.UploadsUnderWay(ctx, m.bucket) {
		if err != nil {
			return err
		}
		if u.Listed {
			continue
		}
		err = m.from.eachPart(ctx, u, 0, func(refs []cas.Ref) error { return m.copier.Refs(ctx, refs) })
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue // it has become a file, or has expired
		}
		if _, gone := m.from.uploadRow(ctx, m.s.meta, u.ID); errors.Is(gone, ErrNoUpload) {
			continue
		}
		return fmt.Errorf("upload %s: %w", u.ID, err)
	}
	return nil
}

// follow copies what the feed has noted, and returns how many changes of the
// bucket that were.
func (m *migration) follow(ctx context.Context) (n int, err error) {
	commits, err := m.feed.take()
	if err != nil {
		return 0, err
	}
	for _, c := range commits {
		rs, err := c.Records()
		if err != nil {
			return 0, err
		}
		if !m.concernsBucket(rs) {
			continue
		}
		n++
		for _, r := range rs {
			switch {
			case r.Home != nil, r.Doomed != nil, r.Census != nil:
				// Of another bucket: in packs of m.to it would say that the
				// bucket lies there. Or of packs of the domain that it was
				// made in.
			case r.Manifest != nil:
				err = m.copyVersion(ctx, r.Manifest)
			default:
				err = m.addRow(ctx, r) // a file's or link's row, or a mark
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return n, m.flush(ctx)
}

// concernsBucket reports whether a commit changed the bucket, or may have: marks
// do not name their bucket, and those of others do no harm.
func (m *migration) concernsBucket(rs []manifest.Record) bool {
	for _, r := range rs {
		switch {
		case r.File != nil:
			return r.File.Bucket == m.bucket
		case r.Link != nil:
			return r.Link.Bucket == m.bucket
		}
	}
	return true
}
