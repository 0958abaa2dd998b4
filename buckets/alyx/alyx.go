// Package alyx brings over what Alyx has stored: the rows of its table _alyx_files,
// and the files of its backends. A file keeps its ID, times and metadata.
//
// Import may be called again, after it was interrupted or when Alyx has stored more:
// what has come over is passed over, and what was deleted since is not brought
// back. Alyx may be running; its database and backends are only read.
package alyx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
)

// A Source is the storage of Alyx.
type Source struct {
	DB *sql.DB // its SQLite database
	// Files are those of each bucket that is imported. What the table has of other
	// buckets is left.
	Files map[string]Files
}

// Files are the files of a bucket as they lie in a backend of Alyx.
type Files interface {
	// Open opens the file of an ID, as its row has it. A file that is not there is
	// fs.ErrNotExist. Calls may be concurrent.
	Open(ctx context.Context, id string) (io.ReadCloser, error)
}

// Options are choices of Import; nil and zero values mean the defaults.
type Options struct {
	// Journal is a file that remembers which files have come over, for as long as it
	// is there: a file of which it knows and the store does not was deleted. Without
	// it that is known only while the store remembers deletions by itself, until a
	// collection has forgotten them.
	Journal string

	// Owner owns files of which the database does not tell the owner: in a column
	// owner, owner_id, uploader_id or user_id or, if OwnerKey is set, under that key
	// in the metadata. Uploaders of Alyx could write any metadata.
	Owner    string
	OwnerKey string

	DryRun  bool // read and verify what would come over, and store nothing
	Workers int  // files under way at a time; default 8

	// Tell is told of each file that did not come over as it was. Progress is told
	// how far the import is. Both are called from one goroutine at a time.
	Tell     func(*Note)
	Progress func(*Report)
}

// A Note is what is to be told of one file.
type Note struct {
	ID, Bucket, Name string
	// Err says why the file has not come over, nil if it has: then Changed says what
	// is not as it was.
	Err     error
	Changed string
}

// A Report counts rows.
type Report struct {
	Total    int64 `json:"total"`    // rows of the buckets that are imported
	Imported int64 `json:"imported"` // or would be, by a dry run
	Bytes    int64 `json:"bytes"`    // of those
	Present  int64 `json:"present"`  // had come over before
	Deleted  int64 `json:"deleted"`  // had come over before, and were deleted since
	Changed  int64 `json:"changed"`  // of those imported, how many are not as they were: another name, no metadata
	Failed   int64 `json:"failed"`
}

// An importing is one call of Import.
type importing struct {
	store   *buckets.Store
	src     *Source
	opts    Options
	journal *journal // nil for none

	mu     sync.Mutex // guards report, and calls of Tell and Progress
	report Report
}

// Import stores the files of src in buckets of the same names. A file that cannot
// be imported is told, and counted as Failed; the error is that of what keeps all
// from being imported. The Report is of what was done, also beside an error. Each
// file is compared with its size and checksum before it is stored.
func Import(ctx context.Context, store *buckets.Store, src *Source, opts *Options) (*Report, error) {
	im := &importing{store: store, src: src}
	if opts != nil {
		im.opts = *opts
	}
	if im.opts.Workers <= 0 {
		im.opts.Workers = 8
	}
	t, err := openTable(ctx, im.src.DB)
	if err == nil {
		err = im.importRows(ctx, t)
	}
	if err != nil {
		err = fmt.Errorf("alyx: %w", err)
	}
	return &im.report, err
}

// rows are the rows of _alyx_files.
type rows interface {
	countRows(ctx context.Context, bucket string) (int64, error)
	// eachRow calls fn with every row, in the order in which they were made.
	eachRow(ctx context.Context, fn func(*row) error) error
}

func (im *importing) importRows(ctx context.Context, t rows) (err error) {
	if err := im.checkBuckets(ctx, t); err != nil {
		return err
	}
	if im.opts.Journal != "" && !im.opts.DryRun {
		if im.journal, err = openJournal(im.opts.Journal); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, im.journal.close()) }()
	}
	g, ctx := errgroup.WithContext(ctx)
	queue := make(chan *row)
	g.Go(func() error {
		defer close(queue)
		return t.eachRow(ctx, func(r *row) error {
			if im.src.Files[r.bucket] == nil {
				return nil
			}
			select {
			case queue <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range im.opts.Workers {
		g.Go(func() error {
			for r := range queue {
				if err := im.importRow(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// checkBuckets counts the rows that are to come over, and fails where a bucket of
// Source is not one of the store.
func (im *importing) checkBuckets(ctx context.Context, t rows) error {
	for name := range im.src.Files {
		if _, err := im.store.Bucket(name); err != nil {
			return err
		}
		n, err := t.countRows(ctx, name)
		if err != nil {
			return err
		}
		im.report.Total += n
	}
	return nil
}

// importRow imports the file of one row. Its error is one that ends the import.
func (im *importing) importRow(ctx context.Context, r *row) error {
	note := &Note{ID: r.id, Bucket: r.bucket, Name: r.name}
	count, err := im.bringOver(ctx, r, note)
	if err != nil && (ctx.Err() != nil || endsImport(err)) {
		return err
	}
	if err == nil && im.journal != nil {
		if err := im.journal.add(r.fileID()); err != nil {
			return err
		}
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err != nil {
		note.Err, count = err, &im.report.Failed
	}
	*count++
	if count == &im.report.Imported {
		im.report.Bytes += r.plain
		if note.Changed != "" {
			im.report.Changed++
		}
	}
	if im.opts.Tell != nil && (note.Err != nil || note.Changed != "") {
		im.opts.Tell(note)
	}
	if im.opts.Progress != nil {
		im.opts.Progress(&im.report)
	}
	return nil
}

// endsImport reports whether an error is not of one file: no other will fare better.
func endsImport(err error) bool {
	return errors.Is(err, buckets.ErrClosed) || errors.Is(err, buckets.ErrReadOnly) || errors.Is(err, buckets.ErrNoSpace) ||
		errors.Is(err, buckets.ErrOwned)
}

// bringOver stores the file of a row, unless it has come over before. It returns the
// count that the row belongs to.
func (im *importing) bringOver(ctx context.Context, r *row, note *Note) (*int64, error) {
	b, err := im.store.Bucket(r.bucket)
	if err != nil {
		return nil, err
	}
	if r.problem != nil {
		return nil, r.problem
	}
	switch f, err := b.Stat(ctx, r.fileID(), &buckets.GetOptions{Trashed: true}); {
	case err == nil && f.State == buckets.Trashed:
		return &im.report.Deleted, nil
	case err == nil:
		return &im.report.Present, nil
	case !errors.Is(err, buckets.ErrNoFile):
		return nil, err
	}
	if im.journal != nil && im.journal.has(r.fileID()) {
		return &im.report.Deleted, nil
	}
	folder, name, changed := fitName(r.name, r.fileID())
	opts := &buckets.PutOptions{ID: r.fileID(), Folder: folder, MIMEType: r.mime, Metadata: r.metadata, Owner: im.ownerOf(r),
		OnConflict: buckets.ConflictNew}
	if odd := func(r rune) bool { return r < ' ' || r > '~' }; len(r.mime) > 255 || strings.ContainsFunc(r.mime, odd) {
		opts.MIMEType, r.changed = "", joinText(r.changed, "its type is left out: it is none")
	}
	opts.CreatedAt, opts.UpdatedAt = r.times(time.Now())
	f := &buckets.File{Name: name}
	if im.opts.DryRun {
		err = im.tryContent(ctx, b, name, r, opts)
	} else {
		f, err = im.storeContent(ctx, b, name, r, opts)
	}
	switch {
	case errors.Is(err, buckets.ErrPurged):
		return &im.report.Deleted, nil
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("another file has the ID: %w", err)
	case err != nil:
		return nil, err
	}
	if note.Changed = r.changed; changed || f.Name != name {
		note.Changed = joinText(note.Changed, fmt.Sprintf("its name is now %q", f.Path()))
	}
	return &im.report.Imported, nil
}

// ownerOf returns the owner of the file. Nobody comes by files as a principal who
// cannot be one, or as an API key.
func (im *importing) ownerOf(r *row) string {
	owner := r.owner
	if text, ok := r.metadata[im.opts.OwnerKey].(string); ok && owner == "" && im.opts.OwnerKey != "" {
		owner = text
	}
	if owner == "" {
		return im.opts.Owner
	}
	if access.CheckSubject(owner) != nil {
		r.changed = joinText(r.changed, fmt.Sprintf("its owner is left out: %.80q is no ID of somebody", owner))
		return im.opts.Owner
	}
	return owner
}

func joinText(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
