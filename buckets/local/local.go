// Package local opens and checks a store of this machine: metadata in DIR/meta,
// packs in DIR/packs or in the backends that Options name, directories or what a
// driver opens. It owns them, and wires them to packages buckets and check. Read
// local.go first.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/owner"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/diskcache"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// Options are choices of Open and Check; nil and zero values mean the
// defaults.
type Options struct {
	// Buckets are the policies of the buckets, by name. The default is one
	// bucket "demo", which keeps a sha256 of every file.
	Buckets         map[string]buckets.Policy
	Records         buckets.Records   // what records of hosts let people see
	Validator       buckets.Validator // has the last word on what is stored
	ValidateTimeout time.Duration     // for one content; 0 is a minute
	Scanner         buckets.Scanner   // looks at each version before it becomes current
	ScanTimeout     time.Duration     // for one version; 0 is ten minutes
	Auth            access.Authorizer // decides in place of the buckets' rules
	PackSize        int64             // bytes at which packs are sealed, where a Backend says nothing

	// Backends are where packs lie, by name; a policy's Domain is one of these
	// names. The default is one backend "local", the store's own directory.
	Backends map[string]Backend

	// MustExist makes Open fail with ErrNoStore where there is no store yet. Check
	// never makes one.
	MustExist bool

	// TakeOwnership makes this store the owner of its remote backends. The
	// store that owned them before takes no more changes from then on.
	TakeOwnership bool

	// Collection says how the store's Run collects, Scrubbing how it scrubs.
	Collection buckets.Collection
	Scrubbing  buckets.Scrubbing

	// Audit, if not nil, is told of every change; see AuditFile.
	Audit *buckets.Audit

	// ReadOnly, if set, makes the store refuse every change with this reason.
	ReadOnly error

	Now func() time.Time // the machine's clock; nil is time.Now

	// Failed, if not nil, is called when the metadata database begins to
	// refuse all changes because a write may not have reached the disk. Reads
	// go on; only opening the store anew makes it take changes again. It must
	// not block.
	Failed func(error)

	Log *slog.Logger // nil discards

	// DiskFS and MetaFS replace the operating system's files, for tests.
	DiskFS diskbackend.FS
	MetaFS pebblestore.FS

	// readOnly leaves everything as it is: a copy is made of it, or this process may not
	// write to it.
	readOnly bool

	// openMeta opens another database than the one in dir, for tests.
	openMeta func(ctx context.Context, dir string, mustExist bool) (Database, error)
}

// A Database keeps the metadata of a store.
type Database interface {
	manifest.Store
	Index(domain string) cas.Index
	// Domains returns the names of the domains of which the database has packs.
	Domains() ([]string, error)
	Close() error
}

var (
	// ErrLocked reports that another process has the directory open, or this one.
	ErrLocked = errors.New("directory is in use")
	// ErrNoStore reports a directory that has no store in it.
	ErrNoStore = fmt.Errorf("there is no store: %w", fs.ErrNotExist)
	// ErrNoMetadata reports packs without the database that describes them.
	ErrNoMetadata = errors.New("metadata database is missing; run check --repair to rebuild it from the packs")
	// ErrNoBackend reports that a backend holds none of the packs that the
	// database describes.
	ErrNoBackend = errors.New("the packs that the metadata describes are not there")
)

// defaultDomain is the only domain of a store whose options name no backends.
const defaultDomain = "local"

// Open opens the store in dir, making it if there is none. A dir that is open
// already, in this process or another, is refused with ErrLocked; packs without their metadata
// database with ErrNoMetadata; packs far away that another directory's store
// writes, with backend.ErrOwned; a backend with packs of another, with
// check.ErrForeign. A store whose database is older than its packs refuses
// changes with check.ErrStaleMetadata and can be read. So does one in directories
// that this process may not write to, with fs.ErrPermission or syscall.EROFS: nothing
// there is changed, and several processes may read it at a time. That nobody writes to
// it meanwhile is known where the file of its lock is there and can be locked.
func Open(ctx context.Context, dir string, opts *Options) (*buckets.Store, error) {
	s, err := open(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	if err := s.refuseForeign(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	readOnly := s.opts.ReadOnly
	if stale := s.checked.Stale(); stale != nil {
		readOnly = stale
	}
	policies := s.opts.Buckets
	if policies == nil {
		policies = map[string]buckets.Policy{"demo": demoPolicy("")}
	}
	if s.opts.readOnly {
		policies = withoutJournal(policies)
	}
	chunks := make(map[string]*cas.Store)
	closers := []io.Closer{s.meta}
	for _, d := range s.domains {
		chunks[d.name] = d.chunks
		if d.cache != nil {
			closers = append(closers, d.cache)
		}
	}
	closers = append(closers, s.lock) // last
	store, err := buckets.New(ctx, s.meta, chunks, policies,
		&buckets.Options{Auth: s.opts.Auth, Records: s.opts.Records, Validator: s.opts.Validator, ValidateTimeout: s.opts.ValidateTimeout, Scanner: s.opts.Scanner, ScanTimeout: s.opts.ScanTimeout, Log: s.opts.Log, ReadOnly: readOnly, Collection: s.opts.Collection, Scrubbing: s.opts.Scrubbing, Audit: s.opts.Audit, Now: s.opts.Now, Closers: closers})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return store, nil
}

// demoPolicy is that of the bucket which is there without a schema: operators
// use it.
func demoPolicy(domain string) buckets.Policy {
	return buckets.Policy{Domain: domain, Digests: []string{"sha256"},
		Limits: buckets.Limits{MaxFileSize: 1 << 40}, Appends: buckets.AppendLimits{MaxAppend: 10 << 20, MinAppend: 1}}
}

// parts are what a store consists of.
type parts struct {
	opts    Options
	dir     string
	meta    Database
	lock    io.Closer    // of dir; nil until all is open
	domains []*domain    // in order of names
	checked *check.Store // the same database and chunks; set when they are open
	scratch bool         // the database is one to be thrown away: nothing is written to the backends
}

// A domain is a backend and the chunks in it.
type domain struct {
	name    string
	where   Backend
	packs   backend.Backend
	remote  backend.Remote // packs as its driver opened it, if other machines reach it; else nil
	empty   bool           // it held no packs when it was opened
	claim   *owner.Claim   // of another store or this one, when it was opened; only of remote
	journal bool           // packs are written to a journal first and sent later
	chunks  *cas.Store
	cache   *diskcache.Cache // nil without one
}

// open opens all parts of the store in dir and surveys the packs.
func open(ctx context.Context, dir string, opts *Options) (_ *parts, err error) {
	if opts != nil && opts.MustExist && !opts.mayHaveStore(dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoStore) // before anything is made there
	}
	opts, unwritable := leaveUnwritable(dir, opts)
	lock, err := lockDir(dir, opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	s, err := openBackends(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	empty := true
	for _, d := range s.domains {
		if d.empty && d.journal {
			unsent, err := s.hasUnsent(d)
			if err != nil {
				return nil, fmt.Errorf("backend %q: %w", d.name, err)
			}
			d.empty = !unsent
		}
		empty = empty && d.empty
	}
	err = s.openStore(ctx, metaDir(dir), !empty || s.opts.MustExist)
	if empty && errors.Is(err, ErrNoMetadata) {
		err = fmt.Errorf("%s: %w", dir, ErrNoStore)
		if unwritable != nil && !s.opts.MustExist {
			err = unwritable
		}
	}
	if err != nil {
		return nil, err
	}
	err = s.refuseMissing()
	if err == nil {
		err = s.checked.Survey(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.lock = lock
	return s, nil
}

// mayHaveStore reports whether there may be a store in dir: a database, packs in a
// directory, or a driver's backend, of which only that can tell.
func (o *Options) mayHaveStore(dir string) bool {
	if o.MetaFS != nil {
		return true
	}
	found := func(name string) bool {
		entries, err := os.ReadDir(name)
		return len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
	}
	if found(metaDir(dir)) || found(filepath.Join(dir, "packs")) {
		return true
	}
	for _, b := range o.Backends {
		if b.Driver != nil || b.FS != nil || b.Path != "" && found(filepath.Join(b.Path, "packs")) {
			return true
		}
	}
	return false
}

// lockDir keeps other processes out of dir. It comes before all else: a driver
// that is opened removes what a process that died has left, which must not be
// what a running one is about to finish.
func lockDir(dir string, opts *Options) (io.Closer, error) {
	var files pebblestore.FS
	if opts != nil {
		files = opts.MetaFS
	}
	lock, err := pebblestore.LockDir(dir, files)
	if errors.Is(err, pebblestore.ErrLocked) {
		err = lockedError(dir, err)
	}
	return lock, err
}

// lockedError says who has dir open, as far as err of the database tells it.
func lockedError(dir string, err error) error {
	switch {
	case errors.Is(err, pebblestore.ErrLockedHere):
		return fmt.Errorf("%s: %w: this process has it open already; use that store, or close it first", dir, ErrLocked)
	case runtime.GOOS == "windows": // which does not tell
		return fmt.Errorf("%s: %w by another process, or by a store of this one that is not closed", dir, ErrLocked)
	}
	return fmt.Errorf("%s: %w by another process", dir, ErrLocked)
}

func metaDir(dir string) string { return filepath.Join(dir, "meta") }

// openStore opens the database in dir, makes the remote backends this store's,
// and opens the chunk stores.
func (s *parts) openStore(ctx context.Context, dir string, mustExist bool) (err error) {
	if s.meta, err = s.openDatabase(ctx, dir, mustExist); err != nil {
		return err
	}
	if err = s.ownBackends(ctx); err == nil {
		err = s.openDomains(ctx)
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// openDatabase opens the database in dir.
func (s *parts) openDatabase(ctx context.Context, dir string, mustExist bool) (db Database, err error) {
	if s.opts.openMeta != nil {
		db, err = s.opts.openMeta(ctx, dir, mustExist)
	} else {
		db, err = pebblestore.Open(dir, &pebblestore.Options{FS: s.opts.MetaFS, MustExist: mustExist, ReadOnly: s.opts.readOnly, Log: s.opts.Log, Failed: s.opts.Failed})
	}
	switch {
	case errors.Is(err, pebblestore.ErrLocked):
		return nil, lockedError(s.dir, err)
	case errors.Is(err, fs.ErrNotExist):
		if err := s.refuseOwned(""); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", s.dir, ErrNoMetadata)
	case err != nil:
		return nil, err
	}
	return db, nil
}

// openDomains opens the chunk stores over the database.
func (s *parts) openDomains(ctx context.Context) error {
	s.checked = &check.Store{Meta: s.meta, Log: s.opts.Log}
	for _, d := range s.domains {
		if err := s.openChunks(ctx, d, s.meta.Index(d.name)); err != nil {
			return fmt.Errorf("backend %q: %w", d.name, err)
		}
		s.checked.Domains = append(s.checked.Domains, &check.Domain{Name: d.name, Chunks: d.chunks})
	}
	return nil
}

// refuseMissing fails where the packs of a backend are missing as a whole: it is
// not named, or it names an empty directory. Whatever was stored then would be
// stored in the wrong place.
func (s *parts) refuseMissing() error {
	known, err := s.meta.Domains()
	if err != nil {
		return err
	}
	for _, name := range known {
		i := slices.IndexFunc(s.domains, func(d *domain) bool { return d.name == name })
		if i < 0 {
			return fmt.Errorf("%s: packs of backend %q: %w; name the backend in --config", s.dir, name, ErrNoBackend)
		}
		if d := s.domains[i]; d.empty {
			return fmt.Errorf("%s: backend %q is empty: %w; correct %s in --config", s.dir, name, ErrNoBackend, d.where.describePlace())
		}
	}
	return nil
}

// refuseForeign fails if packs of another store or backend lie in a backend.
func (s *parts) refuseForeign(ctx context.Context) error {
	for i, d := range s.domains {
		foreign := s.checked.Domains[i].Foreign()
		if len(foreign) == 0 {
			continue
		}
		store, err := s.meta.StoreID(ctx)
		if err != nil {
			return err
		}
		h := foreign[0].Header
		whose := fmt.Sprintf("store %x", h.Store)
		if h.Store == store {
			whose = fmt.Sprintf("this store too, but to domain %x, which is another backend's", h.Domain)
		}
		return fmt.Errorf("%s: backend %q: %w: %d of them, such as pack %s, which belongs to %s; correct %s in --config",
			s.dir, d.name, check.ErrForeign, len(foreign), h.Pack, whose, d.where.describePlace())
	}
	return nil
}

func (s *parts) close() error {
	var errs []error
	for _, d := range s.domains {
		if d.chunks != nil {
			errs = append(errs, d.chunks.Close())
		}
		if d.cache != nil {
			errs = append(errs, d.cache.Close())
		}
	}
	errs = append(errs, s.meta.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
