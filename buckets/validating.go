package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// A Validator has the last word on what is stored. Who embeds a store gives it in
// Options.
type Validator interface {
	// Validate is called once for each content that is about to become a file or a
	// version, by whatever way: Put, Replace, edits, Compose, Copy, RestoreVersion, and
	// the commit of an upload in pieces, by chunk list or of several. All of the content
	// has come and is stored, all checks of the bucket have passed but those that only
	// the commit can make, and nothing of it can be seen. An edit that begins again,
	// since the file has changed meanwhile, is a new content.
	//
	// Nil lets it go on. Refuse makes an error that refuses it, in words for the
	// uploader. Any other error, a panic, and a call that takes longer than
	// Options.ValidateTimeout, say that it is not known whether it may go on: the
	// uploader is told ErrUnvalidated, and may try again.
	//
	// What does not go on leaves no file and no version. Its chunks are collected as those
	// of an upload that broke off. An upload in pieces or by chunk list stays as it is,
	// with all that has come: it may be committed again, which asks again, until it is
	// cancelled or expires.
	//
	// It is called outside of all locks and transactions, by many at once. It may use the
	// store.
	Validate(ctx context.Context, c *Candidate) error
}

// A Candidate is a content that is about to become a version.
type Candidate struct {
	Who    *access.Principal // who stores it; nil for the program itself
	Bucket string
	// Name and Folder are those asked for. The name is another one if it is taken, and
	// OnConflict says ConflictNew.
	Name, Folder string
	// File is the file (f_…) that it is to become a version of, as far as is known; "" for
	// a new one.
	File     string
	Size     int64
	MIMEType string            // found in the content
	Declared string            // type that the uploader has declared, "" for none
	Digests  map[string][]byte // of the whole, those that the bucket computes
	Metadata map[string]any    // nil for those that the file has
	Tags     []string          // nil for those that the file has

	open func(ctx context.Context) Content
}

// Open returns the content. It must be closed, and cannot be read once Validate has
// returned.
func (c *Candidate) Open(ctx context.Context) Content { return c.open(ctx) }

var (
	// ErrRefused reports what a Validator has refused, and ErrDenied, which is an
	// fs.ErrPermission, that it was refused for who stores it. See RefusedError.
	ErrRefused = errors.New("refused")
	ErrDenied  = concept("denied", fs.ErrPermission)
	// ErrUnvalidated reports that a Validator has not decided.
	ErrUnvalidated = errors.New("it could not be found out whether this may be stored; try again")
)

// A RefusedError is an ErrRefused in words for the uploader.
type RefusedError struct {
	Reason string
	denied bool
}

// Refuse returns an error by which a Validator refuses a content: reason is what the
// uploader is told.
func Refuse(reason string) error { return &RefusedError{Reason: reason} }

// Deny is Refuse where the reason is who stores it: it is an ErrDenied too.
func Deny(reason string) error { return &RefusedError{Reason: reason, denied: true} }

func (e *RefusedError) Error() string { return e.Reason }

// Is reports whether target is ErrRefused or, of Deny, ErrDenied.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || e.denied && (target == ErrDenied || target == fs.ErrPermission)
}

// validateTimeout is how long a Validator may take, unless Options say otherwise.
const validateTimeout = time.Minute

// validating calls the Validator of a store.
type validating struct {
	validator Validator // nil for none
	timeout   time.Duration
}

// validate asks the Validator about the draft's content.
func (d *Draft) validate(ctx context.Context) error {
	if d.b.s.validating.validator == nil {
		return nil
	}
	return d.b.validateContent(ctx, &Candidate{
		Name: d.name, Folder: d.folder, File: string(d.allowed), MIMEType: d.mime, Declared: d.declared,
		Metadata: decodeMetadata(d.metadata), Tags: slices.Clone(d.opts.Tags),
	}, d.content)
}

// validateRestored asks the Validator about version n of the file id, which is to become
// the current one again.
func (b *Bucket) validateRestored(ctx context.Context, id string, n uint64) error {
	if b.s.validating.validator == nil {
		return nil
	}
	f, _, err := b.findPermitted(ctx, access.OpUpdate, id, nil)
	if err != nil {
		return err
	}
	m, err := b.s.meta.Version(ctx, f.ID, n)
	if err != nil {
		return asAbsent(err, ErrNoVersion)
	}
	return b.validateContent(ctx, &Candidate{
		Name: f.Name, Folder: f.Folder, File: string(f.ID), MIMEType: m.MIMEType, Declared: m.DeclaredMIMEType,
	}, &m.Content)
}

func (b *Bucket) validateContent(ctx context.Context, c *Candidate, content *manifest.Content) error {
	v := &b.s.validating
	c.Who = b.who
	err := b.callHook(ctx, "validator", v.timeout, c, content, v.validator.Validate)
	if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrClosed) {
		return err
	}
	b.s.log.Error("a validator has not decided", "bucket", c.Bucket, "error", err)
	return fmt.Errorf("%w (%w)", ErrUnvalidated, err)
}

// callHook calls fn, code of the embedding program, about a content. A panic of it is an
// error, and so is a call that takes longer than timeout.
func (b *Bucket) callHook(ctx context.Context, what string, timeout time.Duration, c *Candidate, content *manifest.Content, fn func(context.Context, *Candidate) error) (err error) {
	ctx, end := b.s.untilClosed(ctx)
	defer end(&err)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %v", timeout))
	defer cancel() // also ends what it reads
	c.Bucket, c.Size = b.b.name, content.Size
	c.Digests = make(map[string][]byte)
	for name, d := range content.Digests {
		c.Digests[name] = slices.Clone(d)
	}
	c.open = func(of context.Context) Content {
		of, stop := context.WithCancelCause(of)
		ended := context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })
		r := closingReader{b.newReader(of, content), b.s.life}
		return candidateReader{r, func() { ended(); stop(nil) }}
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				b.s.log.Error("a "+what+" has panicked", "bucket", c.Bucket, "panic", p, "stack", string(debug.Stack()))
				done <- errors.New("it has panicked")
			}
		}()
		done <- fn(ctx, c)
	}()
	select {
	case err = <-done:
	case <-ctx.Done(): // it may not look at ctx
		err = context.Cause(ctx)
	}
	return err
}

type candidateReader struct {
	closingReader
	stop func()
}

func (r candidateReader) Close() error {
	defer r.stop()
	return r.closingReader.Close()
}
