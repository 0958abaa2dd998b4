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
	// ErrMigrating reports that a bucket is being moved: one at a time is.
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
	CopiedBytes int64 // of chunks that the backend had not
}

// Migrate moves a bucket to another backend while it is in use: it copies what
// the backend has not, follows what is changed meanwhile, and then switches;
// only then changes of all buckets wait for a moment. Until the switch, and if
// Migrate fails, the bucket is where it was; begun again, it copies what is
// left to copy. Everything read has been verified. What is left behind waits
// for collection. progress, if not nil, is told now and then how far it is.
func (s *Store) Migrate(ctx context.Context, bucket, to string, progress func(Migrated)) (Migrated, error) {
	if err := s.writable(ctx); err != nil {
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
	m := &migration{s: s, from: from, to: to, done: Migrated{From: from.pin}, progress: progress}
	if from.pin == to {
		return m.done, nil
	}
	if from.b.Acknowledge == AckJournal {
		return Migrated{}, fmt.Errorf("bucket %q has acknowledge: journal; make it remote while it is moved: %w", bucket, fs.ErrInvalid)
	}
	there := *b
	there.pin = to
	m.copier = from.copier(&there)
	defer m.copier.Close()
	if err := m.run(ctx); err != nil {
		return m.done, fmt.Errorf("migrate bucket %q to %q: %w", bucket, to, wrapSpace(err))
	}
	return m.done, nil
}

type migration struct {
	s        *Store
	from     *Bucket // pinned
	to       string
	copier   *manifest.Copier
	feed     *feed
	rows     []manifest.Record // of files whose content has been copied, and not flushed
	done     Migrated
	progress func(Migrated)
}

func (m *migration) name() string { return m.from.b.name }

func (m *migration) run(ctx context.Context) error {
	been, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer m.s.setFeed(nil)
	if been {
		if err := m.marks(ctx); err != nil {
			return err
		}
	}
	for {
		removals, err := m.s.meta.Removals(ctx, m.to)
		if err != nil {
			return err
		}
		if err := m.files(ctx); err != nil {
			return err
		}
		if err := m.uploads(ctx); err != nil {
			return err
		}
		for { // what came meanwhile, until little does
			n, err := m.follow(ctx)
			if err != nil {
				return err
			}
			if n < 100 {
				break
			}
		}
		if err := m.s.chunks[m.to].Send(ctx); err != nil {
			return err
		}
		if again, err := m.finish(ctx, removals); !again || err != nil {
			return err
		}
	}
}

// begin notes that packs of both domains will hold rows of the bucket, and
// which of them counts until the switch.
func (m *migration) begin(ctx context.Context) (been bool, err error) {
	note := func(tx manifest.Tx) error {
		h, err := tx.Home(ctx, m.name())
		if err != nil {
			return err
		}
		been = slices.Contains(h.Been, m.to)
		if !been {
			h.Been = append(h.Been, m.to)
		}
		h.Move, h.To = max(h.Move, 1), m.to
		return tx.PutHome(ctx, h)
	}
	h, err := m.s.meta.Home(ctx, m.name())
	if err != nil {
		return false, err
	}
	if h.Move == 0 {
		err = m.s.update(ctx, m.from.domain, note)
	} else {
		err = m.s.keep(ctx, note)
	}
	if err != nil {
		return false, err
	}
	m.feed = &feed{}
	m.s.setFeed(m.feed)
	return been, nil
}

// setFeed makes f learn of all changes from now on.
func (s *Store) setFeed(f *feed) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.feed = f
}

// marks tells the packs there what is gone for good: they may hold rows of it
// from an earlier stay.
func (m *migration) marks(ctx context.Context) error {
	for r, err := range m.s.meta.Marks(ctx) {
		if err != nil {
			return err
		}
		if m.rows = append(m.rows, r); len(m.rows) >= 10000 {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
	}
	return m.flush(ctx)
}

// files copies all there is at one moment.
func (m *migration) files(ctx context.Context) error {
	m.done.Files, m.done.Versions, m.done.Bytes = 0, 0, 0
	var last *manifest.File // whose versions come
	for row, err := range m.s.meta.AllRows(ctx, m.name()) {
		if err != nil {
			return err
		}
		if row.File != last {
			if err := m.file(ctx, last); err != nil {
				return err
			}
			last = row.File
		}
		if row.Manifest == nil {
			continue
		}
		if err := m.version(ctx, row.Manifest); err != nil {
			return err
		}
	}
	if err := m.file(ctx, last); err != nil {
		return err
	}
	return m.flush(ctx)
}

// file brings the row of a file, if it is one, after its versions.
func (m *migration) file(ctx context.Context, f *manifest.File) error {
	if f == nil {
		return nil
	}
	m.done.Files++
	m.rows = append(m.rows, manifest.Record{File: f})
	return m.flushFull(ctx)
}

// version copies the content of a version.
func (m *migration) version(ctx context.Context, v *manifest.Manifest) error {
	err := m.copier.Content(ctx, &v.Content)
	if err != nil {
		if _, gone := m.s.meta.Manifest(ctx, v.ID); errors.Is(gone, fs.ErrNotExist) {
			return nil // nothing of it need be there any more
		}
		return fmt.Errorf("file %s, version %d: %w", v.File, v.Version, err)
	}
	m.done.Versions++
	m.done.Bytes += v.Size
	m.rows = append(m.rows, manifest.Record{Manifest: v})
	return m.flushFull(ctx)
}

// flushFull flushes when there is much to be made durable.
func (m *migration) flushFull(ctx context.Context) error {
	size := 0
	for _, r := range m.rows {
		if size += 1 << 10; r.Manifest != nil {
			size += 40 * len(r.Manifest.Inline)
		}
	}
	if size < 1<<20 {
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
	m.rows = m.rows[:0]
	return err
}

// uploads copies what has arrived of uploads under way. What is listed only
// will be asked for again.
func (m *migration) uploads(ctx context.Context) error {
	return m.eachUpload(ctx, m.s.meta, func(row *uploadRow) error {
		if row.Listed {
			return nil
		}
		err := m.from.eachPart(ctx, row, 0, func(refs []cas.Ref) error { return m.copier.Refs(ctx, refs) })
		if err != nil {
			if _, gone := m.from.getUpload(ctx, m.s.meta, row.ID); errors.Is(gone, ErrNoUpload) {
				return nil
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it has become a file, or has expired
			}
			return fmt.Errorf("upload %s: %w", row.ID, err)
		}
		return nil
	})
}

func (m *migration) eachUpload(ctx context.Context, in manifest.Uploads, fn func(*uploadRow) error) error {
	for u, err := range in.UploadsUnderWay(ctx, m.name()) {
		if err == nil {
			err = fn(&uploadRow{*u})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow copies what the feed tells, and returns how many changes that were.
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
		if !m.concerns(rs) {
			continue
		}
		n++
		for _, r := range rs {
			if r.Manifest == nil {
				m.rows = append(m.rows, r) // marks too
			} else if err := m.version(ctx, r.Manifest); err != nil {
				return 0, err
			}
		}
		if err := m.flushFull(ctx); err != nil {
			return 0, err
		}
	}
	return n, m.flush(ctx)
}

// concerns reports whether a commit changed the bucket, or may have: marks do
// not say of which bucket they are, and harm none.
func (m *migration) concerns(rs []manifest.Record) bool {
	for _, r := range rs {
		if r.File != nil {
			return r.File.Bucket == m.name()
		}
	}
	return true
}

// finish switches, while no change can be made. It must be begun again if
// chunks became unusable there since removals were counted.
func (m *migration) finish(ctx context.Context, removals uint64) (again bool, err error) {
	s := m.s
	s.binding.Lock()
	defer s.binding.Unlock()
	s.moving.Lock()
	unlock := s.moving.Unlock
	defer func() { unlock() }()
	if _, err := m.follow(ctx); err != nil {
		return false, err
	}
	if err := m.uploads(ctx); err != nil {
		return false, err
	}
	if err := m.flush(ctx); err != nil {
		return false, err
	}
	if err := s.chunks[m.to].Send(ctx); err != nil {
		return false, err
	}
	if n, err := s.meta.Removals(ctx, m.to); err != nil || n != removals {
		return err == nil, err
	}
	if s.lookup(m.name()) == nil {
		return false, ErrNoBucket
	}
	c, err := m.switchHome(ctx)
	s.feed = nil
	s.moving.Unlock()
	unlock = func() {}
	if c == nil {
		return false, err
	}
	return false, s.told(ctx, c, err)
}

// switchHome makes the other domain the bucket's. Those who read look there
// before anybody can write there.
func (m *migration) switchHome(ctx context.Context) (*manifest.Commit, error) {
	s := m.s
	s.place(m.name(), m.to)
	c, err := s.meta.Update(ctx, m.to, func(tx manifest.Tx) error {
		h, err := tx.Home(ctx, m.name())
		if err != nil {
			return err
		}
		if err := settle(ctx, tx, h, m.to); err != nil {
			return err
		}
		return m.eachUpload(ctx, tx, func(row *uploadRow) error {
			row.Domain = m.to
			return m.from.putUpload(ctx, tx, row)
		})
	})
	if err == nil {
		return c, nil
	}
	if h, rerr := s.meta.Home(ctx, m.name()); rerr == nil && h.Domain != m.to { // it was not made
		s.place(m.name(), m.from.pin)
	}
	return c, err
}

// place makes a bucket be in a domain, for all who ask from now on. It is
// called with binding held.
func (s *Store) place(name, domain string) {
	all := make(map[string]*bucket)
	for k, b := range *s.buckets.Load() {
		all[k] = b
	}
	p := all[name].Policy
	p.Domain = domain
	all[name] = &bucket{Policy: p, name: name, splitter: all[name].splitter}
	s.buckets.Store(&all)
}
