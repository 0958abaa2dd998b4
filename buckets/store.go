// Package buckets is the file store that applications embed: named buckets
// of versioned files over a deduplicating chunk store. local.Open opens one
// on this machine.
//
// A Bucket is what its user works with; Bucket.As narrows it to a principal.
// A domain is a named backend with its packs and chunk index; users call it a
// backend. Rows are what the database knows of files and versions; a record is a
// change of a row as it travels in packs. A home says in which domain a bucket's
// files lie. A draft is bytes on their way to become a version.
//
// For an upload read put.go (content), draft.go (checks), commit.go (the
// transaction), outbox.go (its records to the packs) and behind.go (packs to a
// backend far away). For a read: bucket.go (Open), then the Reader of package
// manifest and the Store.Read of package cas. home.go and migrate.go move buckets.
// Package upload takes content in pieces.
package buckets

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// A Store holds buckets: rows in a metadata store, content in the chunk
// stores of one or more domains.
type Store struct {
	meta manifest.Store
	// chunks and sums are by domain. Sums are not shared, so that nobody learns
	// from one domain what another has stored.
	chunks map[string]*cas.Store
	sums   map[string]*manifest.SumMemory
	// buckets points to a map that never changes. Who replaces it holds binding.
	buckets atomic.Pointer[map[string]*bucket]
	binding sync.Mutex
	// moving guards the domains of buckets, and feed. Every transaction holds it
	// for reading. The end of a move holds it for writing, so that a transaction
	// is either noted in feed, and followed, or sees the new domain. It is locked
	// after binding.
	moving sync.RWMutex
	// feed collects commits for the move that is under way, nil for none.
	feed *feed

	// migrating is held by a move from beginning to end. It is locked first.
	migrating sync.Mutex

	guard   *access.Guard
	records Records
	keys    *access.Keys
	log     *slog.Logger
	closers []io.Closer
	life    *cas.Lifetime // its calls are transactions, up to their records, and Run

	types      *mediatype.Detector
	clock      clock
	gate       gate
	outbox     *outbox
	collecting *collecting
	scrubbing  *scrubbing
	reading    chan struct{} // holds a token while Stored is under way
	writers    writers
	audit      *auditing // nil without an audit
	validating validating
	scanning   *scanning
}

// A Policy is what a bucket is set up to do. Its zero value is that of a bucket of
// which nothing is said: trusted callers may do everything and principals nothing, all
// versions are kept, and what was deleted for 30 days.
type Policy struct {
	Domain       string          // name of the backend whose packs hold the content; "" is the only one
	Profile      string          // of the chunker; "" is "balanced"
	Compression  cas.Compression // of frames; no codec is zstd
	Uncompressed bool            // frames hold content as it is, whatever Compression says
	Digests      []string        // whole-file digests computed for every upload
	Limits       Limits          // on what is taken
	Appends      AppendLimits    // in which uploads come

	Access access.Policy // who may do what

	Versions Versions
	Trash    Trash

	InlineTypes  []string      // media types shown in place; nil is harmless ones
	CacheControl string        // header of content, see schema.ParseCacheControl; "" is no-cache
	MaxUploads   int           // most uploads under way of one principal; 0 is 1000
	UploadExpiry time.Duration // of an unfinished upload; 0 is 24 hours
	Dedup        Dedup         // whose chunks an upload need not send; "" is principal
	Acknowledge  Acknowledge   // where a change is durable when it is answered; "" is remote
}

// AppendLimits are limits on the requests of uploads in pieces, for protocols that
// announce limits. Zero values do not limit.
type AppendLimits struct {
	MinSize   int64 // of a file that is sent in pieces
	MaxAppend int64 // of one request
	MinAppend int64 // of one request that is not the last
}

// Versions says which versions of a file are kept beside the newest, in the trash
// too; the zero value keeps all. Commits and sweeps remove the others, oldest
// first.
type Versions struct {
	Off     bool          // only the newest is kept
	Keep    int           // at most so many, the newest among them; 0 is no limit
	KeepFor time.Duration // after the next one came; 0 is for ever
}

// Trash says what becomes of deleted files; the zero value keeps them for 30 days.
type Trash struct {
	Off     bool          // they are purged at once, and by a sweep what is in the trash
	KeepFor time.Duration // 0 is 30 days
	Forever bool          // none is purged by a sweep
}

// A Dedup says whose stored chunks an upload may skip. To skip a chunk is to
// learn that it is stored.
type Dedup string

const (
	DedupPrincipal Dedup = "principal" // the uploader's own files
	DedupBucket    Dedup = "bucket"    // any file of the bucket that the uploader may read
	DedupGlobal    Dedup = "global"    // all: anybody can find out what is stored
)

// An Acknowledge says where a change, and all that it rests on, is durable
// when it is answered. The two differ where packs are sent behind.
type Acknowledge string

const (
	AckRemote  Acknowledge = "remote"  // in the backend
	AckJournal Acknowledge = "journal" // on this machine
)

type bucket struct {
	Policy
	name     string
	splitter chunker.Splitter
	chunkers sync.Pool // of chunkers that cut by splitter
}

// Options are optional settings of New.
type Options struct {
	// Auth decides about every call in place of the buckets' own rules.
	Auth access.Authorizer
	// Records are what the records of hosts let people see; nil nothing.
	Records Records
	Log     *slog.Logger // nil discards
	// ReadOnly, if set, makes every change fail with ErrReadOnly and this
	// reason, while reads go on.
	ReadOnly error
	// Collection says how Run collects, Scrubbing how it scrubs.
	Collection Collection
	Scrubbing  Scrubbing
	// Validator has the last word on every content; nil is none. ValidateTimeout is how
	// long it may take for one; 0 is a minute.
	Validator       Validator
	ValidateTimeout time.Duration
	// Scanner looks at each version before it becomes current; nil is none. ScanTimeout is
	// how long it may take for one; 0 is ten minutes.
	Scanner     Scanner
	ScanTimeout time.Duration
	// Now is the machine's clock; nil is time.Now.
	Now func() time.Time
	// Audit, if not nil, is told of every change. What was noted by processes before and
	// not written yet is written too.
	Audit *Audit
	// Closers are closed after the chunk stores when the Store is.
	Closers []io.Closer
}

// New returns a Store of the buckets in policies. It first writes to the packs
// what a crash may have left in the metadata store only. While a backend is too
// full for that, the Store refuses changes with ErrNoSpace and can be read. The
// Store closes chunks.
func New(ctx context.Context, meta manifest.Store, chunks map[string]*cas.Store, policies map[string]Policy, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	last, err := meta.LastCommit(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{meta: meta, chunks: chunks, records: opts.Records, log: opts.Log, closers: opts.Closers, life: cas.NewLifetime(),
		reading: make(chan struct{}, 1), outbox: newOutbox(last), types: mediatype.NewDetector(), sums: make(map[string]*manifest.SumMemory)}
	for domain := range chunks {
		s.sums[domain] = &manifest.SumMemory{}
	}
	s.writers.newest, s.writers.all = make(map[string]*registration), make(map[*registration]bool)
	if s.guard, err = access.NewGuard(s.accessPolicy, opts.Auth); err != nil {
		return nil, err
	}
	s.keys = access.NewKeys(keyRows{meta, s}, s.guard)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock.machine = opts.Now; s.clock.machine == nil {
		s.clock.machine = time.Now
	}
	s.gate.reason = opts.ReadOnly
	s.scanning = newScanning(opts.Scanner, opts.ScanTimeout)
	s.validating = validating{opts.Validator, cmp.Or(opts.ValidateTimeout, validateTimeout)}
	s.collecting = newCollecting(s, opts.Collection)
	s.scrubbing = newScrubbing(opts.Scrubbing)
	if err := s.finishEarlier(ctx, last); err != nil {
		return nil, fmt.Errorf("buckets: finish what the last process left: %w", err)
	}
	if opts.Audit != nil && opts.ReadOnly == nil {
		s.startAudit(opts.Audit)
	}
	if err := cmp.Or(s.SetPolicies(ctx, policies), s.loadClock(ctx)); err != nil {
		s.audit.close()
		return nil, err
	}
	return s, nil
}

func (s *Store) lookup(name string) *bucket { return (*s.buckets.Load())[name] }

// Bucket returns the bucket of that name, for trusted callers; Bucket.As
// narrows it to a principal. An unknown name is ErrNoBucket. The Bucket keeps the
// policy of this moment, except that access is decided by the newest rules, and
// that it follows a move to another domain.
func (s *Store) Bucket(name string) (*Bucket, error) {
	if err := s.life.Err(); err != nil {
		return nil, err
	}
	b := s.lookup(name)
	if b == nil {
		return nil, fmt.Errorf("bucket %q: %w", name, ErrNoBucket)
	}
	return &Bucket{s: s, b: b}, nil
}

// Buckets returns the names of all buckets, sorted.
func (s *Store) Buckets() []string { return slices.Sorted(maps.Keys(*s.buckets.Load())) }

// Ready reports whether the store can take changes now: nil, or why not. Reads
// may go on where it cannot.
func (s *Store) Ready(ctx context.Context) error {
	if _, err := s.meta.Usage(ctx, "_"); err != nil {
		return err
	}
	if err := s.checkWritable(ctx); err != nil {
		return err
	}
	return WrapSpace(s.meta.Ready())
}
