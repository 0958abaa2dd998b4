package buckets

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// commitTries is how often a commit is tried while others get in its way.
const commitTries = 8

// A step is one kind of work in a commit.
type step int

const (
	makeVersion       step = iota // write the rows of a version
	keepCurrent                   // nothing but onCommit: the current version has the content already
	answerEarlier                 // nothing: the same request was committed before
	recheckChunks                 // look all chunks up again: some may be gone
	authorizeFile                 // ask whether the draft may become a version of another file
	followMovedBucket             // copy the content to the domain that the bucket was moved to
	endUploads                    // end uploads of the same principal that take the version's room
)

// A decision is the step that plan chose, with the rows it needs.
type decision struct {
	step
	file    *manifest.File     // that the draft becomes a version of, nil for a new one
	current *manifest.Manifest // its current version
	earlier *File              // of answerEarlier
}

// errPostponed gives a transaction up whose decision has to be carried out
// outside of it.
var errPostponed = errors.New("something must be done before the commit")

// errStale reports that the version that an edit was made from is no longer the
// current one.
var errStale = concept("the file has changed", ErrPrecondition)

// commit makes the content a version. It first asks again whether it may, now
// that size and type are known, and the store's Validator. Then a transaction decides
// what has to be done, and either does it or leaves it to be done between two
// transactions.
func (d *Draft) commit(ctx context.Context) (*File, error) {
	if err := d.authorizeCommit(ctx); err != nil {
		return nil, err
	}
	if err := d.validate(ctx); err != nil {
		return nil, err
	}
	var cause error // of the last try
	for range commitTries {
		var todo decision
		var out *File
		err := d.b.updateAcknowledged(ctx, func(tx manifest.Tx) (err error) {
			if todo, err = d.plan(ctx, tx); err == nil {
				out, err = d.carryOut(ctx, tx, &todo)
			}
			return err
		})
		if errors.Is(err, errUnsettled) {
			if err := d.b.s.settleEarlier(ctx); err != nil {
				return nil, err
			}
			cause = ErrUnavailable
			continue
		}
		if err == nil {
			d.b.s.scanning.note(out)
			return out, nil
		}
		if !errors.Is(err, errPostponed) {
			return nil, err
		}
		switch todo.step {
		case recheckChunks:
			cause, err = ErrChunksGone, d.recheckChunks(ctx)
		case authorizeFile:
			cause = ErrUnavailable
			if _, _, err = d.authorizeUpdate(ctx, todo.file); errors.Is(err, errVanished) {
				err = nil // the next try finds out
			}
		case followMovedBucket:
			cause, err = ErrMoved, d.followBucket(ctx)
		case endUploads:
			cause, err = ErrQuota, d.endUploads(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("others came before the commit %d times; send it again: %w", commitTries, cause)
}

// authorizeCommit repeats the access checks of the beginning, now with the real
// size and type.
func (d *Draft) authorizeCommit(ctx context.Context) error {
	if d.target == "" {
		if err := d.mayCreate(ctx); err != nil {
			return err
		}
	}
	if d.allowed == "" {
		return nil
	}
	f, err := d.b.s.meta.File(ctx, d.allowed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the transaction will find out
	}
	if err != nil {
		return err
	}
	if _, _, err = d.authorizeUpdate(ctx, f); errors.Is(err, errVanished) {
		return nil
	}
	return err
}

// plan decides, from the rows and the draft alone, what the commit has to do
// next. It changes neither.
func (d *Draft) plan(ctx context.Context, tx manifest.Tx) (decision, error) {
	if err := d.w.passBarrier(ctx, tx); err != nil {
		if errors.Is(err, errPassedBy) {
			err = nil
		}
		return decision{step: recheckChunks}, err
	}
	if kept, err := d.sourcesAreKept(ctx, tx); err != nil || !kept {
		return decision{step: recheckChunks}, err
	}
	if f, err := d.b.findEarlier(ctx, tx, d.opts.Once); err != nil || f != nil {
		return decision{step: answerEarlier, earlier: f}, err
	}
	h, err := tx.Home(ctx, d.b.b.name)
	switch {
	case err != nil:
		return decision{}, err
	case h.Domain == "":
		return decision{}, ErrNoBucket
	case h.Domain != d.b.domain():
		return decision{step: followMovedBucket}, nil
	}
	old, err := d.findTarget(ctx, tx)
	if err != nil {
		return decision{}, err
	}
	if old == nil {
		if d.opts.IfMatch != "" {
			return decision{}, fmt.Errorf("there is no version to match: %w", ErrPrecondition)
		}
		return decision{step: makeVersion}, nil
	}
	if old.ID != d.allowed {
		return decision{step: authorizeFile, file: old}, nil
	}
	cur, err := tx.Manifest(ctx, old.Current)
	if err != nil {
		return decision{}, err
	}
	if err := checkMatch(d.opts.IfMatch, cur); err != nil {
		return decision{}, err
	}
	if d.base != "" && cur.ID != d.base {
		return decision{}, errStale
	}
	if d.base != "" || d.opts.IfMatch != "" && d.opts.IfMatch != "*" {
		for _, found := range old.Held {
			if found == "" { // it may become current, and what is to be stored does not know of it
				return decision{}, fmt.Errorf("a newer version waits to be scanned; try again later: %w", ErrPrecondition)
			}
		}
	}
	if d.isUnchanged(old, cur) {
		return decision{step: keepCurrent, file: old, current: cur}, nil
	}
	return decision{step: makeVersion, file: old, current: cur}, nil
}

// sourcesAreKept reports whether the rows of all versions that content was taken
// from are there, and their buckets in the domain. While they are, so is what they
// refer to: it need not be looked up. That the draft's own bucket has not moved is
// looked at by itself.
func (d *Draft) sourcesAreKept(ctx context.Context, tx manifest.Tx) (bool, error) {
	stays := map[string]bool{d.b.b.name: true}
	for id, bucket := range d.sources {
		if !stays[bucket] {
			h, err := tx.Home(ctx, bucket)
			if err != nil || h.Domain != d.b.domain() {
				return false, err
			}
			stays[bucket] = true
		}
		_, err := tx.Manifest(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // purged meanwhile
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// findTarget returns the file that the draft becomes a version of, nil for a
// new one.
func (d *Draft) findTarget(ctx context.Context, tx manifest.Tx) (*manifest.File, error) {
	if d.target != "" {
		f, err := tx.File(ctx, d.target)
		if errors.Is(err, fs.ErrNotExist) || err == nil && f.State != manifest.Active {
			return nil, ErrNoFile // deleted meanwhile
		}
		return f, err
	}
	f, err := tx.FileByPath(ctx, d.b.b.name, names.Join(d.folder, d.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch d.opts.OnConflict {
	case ConflictNew:
		return nil, nil
	case ConflictFail:
		return nil, ErrExist
	}
	return f, nil
}

func (d *Draft) isUnchanged(f *manifest.File, m *manifest.Manifest) bool {
	return d.opts.SkipUnchanged && m.Root() == d.content.Root() && m.Size == d.content.Size &&
		(d.metadata == nil || bytes.Equal(d.metadata, f.Metadata)) &&
		(d.opts.Tags == nil || slices.Equal(d.opts.Tags, f.Tags)) &&
		(d.opts.CacheControl == "" || d.opts.CacheControl == f.CacheControl)
}

// carryOut does what is decided, or postpones it.
func (d *Draft) carryOut(ctx context.Context, tx manifest.Tx, todo *decision) (*File, error) {
	switch todo.step {
	case makeVersion:
		return d.makeVersion(ctx, tx, todo)
	case answerEarlier:
		if d.onCommit != nil {
			return todo.earlier, d.onCommit(tx, todo.earlier)
		}
		return todo.earlier, nil
	case keepCurrent:
		out := d.b.describeFile(todo.file, todo.current)
		out.Unchanged = true
		return out, d.finishCommit(ctx, tx, out)
	}
	return nil, errPostponed
}

// makeVersion writes the rows of the version. Uploads that take its room are ended
// before.
func (d *Draft) makeVersion(ctx context.Context, tx manifest.Tx, todo *decision) (*File, error) {
	f, m := d.newRows(todo.file)
	before := int64(0)
	if todo.file == nil {
		if err := cmp.Or(checkNewID(ctx, tx, d.opts.ID), d.chooseName(ctx, tx, f)); err != nil {
			return nil, err
		}
	} else {
		before = todo.file.Charged()
	}
	if err := d.b.useGrant(ctx, tx); err != nil {
		return nil, err
	}
	at := d.opts.UpdatedAt
	if at.IsZero() {
		at = d.b.s.now()
	}
	if err := d.b.addVersion(ctx, tx, f, m, before, at, d.b.s.scanning.scanner != nil); err != nil {
		return nil, err
	}
	d.grown = f.Charged() - before
	ends, err := d.mustEndUploads(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	if ends {
		todo.step = endUploads
		return nil, errPostponed
	}
	out := d.b.describeFile(f, m)
	if err := d.finishCommit(ctx, tx, out); err != nil {
		return nil, err
	}
	return out, tx.PutFile(ctx, f)
}

// mustEndUploads reports whether the version fits only when other uploads of the
// principal have ended. That it fits beside all files is known. What was counted
// while it was an upload takes no more room as a file.
func (d *Draft) mustEndUploads(ctx context.Context, tx manifest.Tx, f *manifest.File) (bool, error) {
	if d.grown <= d.held {
		return false, nil
	}
	e, err := d.b.findExcess(ctx, tx, d.grown-d.held)
	if err != nil {
		return false, err
	}
	if f.Owner != d.b.whoID() {
		e.owner, e.ownerLeft = math.MinInt64, math.MinInt64 // it is charged to somebody else
	}
	if e.isLeft() && e.most() <= 0 {
		d.b.s.wantCollection()
		return false, ErrUncollected
	}
	return e.most() > 0, nil
}

// endUploads ends other uploads of the principal, those idle longest first, until
// the version fits.
func (d *Draft) endUploads(ctx context.Context) error {
	return d.b.s.updateUntilDone(ctx, func(tx manifest.Tx) (more bool, err error) {
		return d.b.endOthers(ctx, tx, d.upload, d.held, d.grown-d.held)
	})
}

// finishCommit completes the answer, and notes it for those who ask for it again.
func (d *Draft) finishCommit(ctx context.Context, tx manifest.Tx, answer *File) error {
	answer.NewBytes, answer.StoredBytes = d.stats.NewBytes, d.stats.StoredBytes
	if err := d.rememberOnce(ctx, tx, answer); err != nil || d.onCommit == nil {
		return err
	}
	return d.onCommit(tx, answer)
}

// newRows returns the rows of the file and of the version.
func (d *Draft) newRows(old *manifest.File) (*manifest.File, *manifest.Manifest) {
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: d.b.b.name, Folder: d.folder, Name: d.name,
		Owner: d.b.whoID(), CreatedAt: d.b.s.now()}
	if old != nil {
		row := *old
		f, row.Held = &row, maps.Clone(old.Held)
	} else if d.opts.hasOrigin() {
		d.opts.setOrigin(f)
	}
	if d.metadata != nil {
		f.Metadata = d.metadata
	}
	if d.opts.Tags != nil {
		f.Tags = d.opts.Tags
	}
	if d.opts.CacheControl != "" {
		f.CacheControl = d.opts.CacheControl
	}
	m := &manifest.Manifest{Content: *d.content, MIMEType: d.mime, DeclaredMIMEType: d.declared, CreatedBy: cmp.Or(d.opts.Owner, d.b.whoID())}
	return f, m
}

// chooseName gives a new file the name asked for or, if it is taken and the
// request allows it, a free one.
func (d *Draft) chooseName(ctx context.Context, tx manifest.Tx, f *manifest.File) error {
	name, err := freeName(ctx, tx, f.Bucket, f.Folder, f.Name)
	if err != nil {
		return err
	}
	if name != f.Name && d.opts.OnConflict != ConflictNew {
		return ErrExist
	}
	f.Name = name
	return nil
}

// recheckDigests is how many digests are looked up at a time.
const recheckDigests = 4096

// recheckChunks looks all chunks and segments of the content up again, those
// below its top too: what keeps one from being collected keeps no other.
func (d *Draft) recheckChunks(ctx context.Context) error {
	if err := d.w.renew(ctx); err != nil {
		return err
	}
	d.sources = nil
	var ds []cas.Digest
	check := func(atLeast int) error {
		if len(ds) < atLeast {
			return nil
		}
		err := d.w.lookUp(ctx, ds)
		ds = ds[:0]
		return err
	}
	err := d.content.Walk(ctx, d.b.segmentGetter(), func(s manifest.Segment) error {
		ds = append(ds, s.Digest)
		return check(recheckDigests)
	}, func(refs []cas.Ref) error {
		for _, r := range refs {
			ds = append(ds, r.Digest)
		}
		return check(recheckDigests)
	})
	if errors.Is(err, cas.ErrMissing) {
		return fmt.Errorf("%w: %v", ErrChunksGone, err) // it is no damage
	}
	if err != nil {
		return err
	}
	return check(0)
}

// followBucket copies the content to the domain that the bucket was moved to.
func (d *Draft) followBucket(ctx context.Context) error {
	there := *d.b
	there.pin = ""
	to := there.pinned()
	w, err := d.b.s.beginWriter(ctx, to.domain())
	if err != nil {
		return err
	}
	c := d.b.copier(to, w)
	defer c.Close()
	if err = c.Content(ctx, d.content); err == nil {
		err = c.Flush(ctx)
	}
	if err != nil {
		w.End(ctx)
		if errors.Is(err, cas.ErrMissing) { // what was taken from versions is collected where they are no more
			err = fmt.Errorf("%w: %v", ErrMoved, err)
		}
		return err
	}
	d.b = to
	d.w.moveTo(ctx, w)
	return d.recheckChunks(ctx)
}

// copier copies from the bucket's domain to that of to, for a writer there.
func (b *Bucket) copier(to *Bucket, w *Writer) *manifest.Copier {
	return &manifest.Copier{From: b.chunks(), To: to.chunks(), Segments: b.segmentGetter(),
		Keep: b.s.meta.Segments(to.domain()), How: b.b.Compression, Since: w.Since()}
}
