package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/cairn-store/cairn/buckets/rules"
)

// An Op is what a caller wants to do; rules are written per operation.
type Op string

const (
	OpCreate   Op = "create"
	OpRead     Op = "read"
	OpUpdate   Op = "update"
	OpDelete   Op = "delete"
	OpDownload Op = "download"
	OpList     Op = "list"
)

// A Principal is who asks, and how.
type Principal struct {
	ID       string         // "" when anonymous
	Claims   map[string]any // verified claims
	Operator bool           // may do everything, see physical sizes and run reports
	Scope    *Scope         // of an API key: it decides in place of the rules
	Grant    *Grant         // of a signed URL: it alone decides, whoever else decides for others

	Request rules.Request   // for rules that look at it
	Explain func(*Decision) // is told of every decision, if set
}

// Anonymous reports whether p came without any credentials.
func (p *Principal) Anonymous() bool {
	return p.ID == "" && p.Scope == nil && p.Grant == nil && !p.Operator
}

// A Scope is what an API key may do.
type Scope struct {
	Buckets []string // "*" is all
	Ops     []Op
}

func (s *Scope) allows(op Op, bucket string) bool {
	return slices.Contains(s.Ops, op) && (slices.Contains(s.Buckets, bucket) || slices.Contains(s.Buckets, "*"))
}

// A Request is what an Authorizer decides about.
type Request struct {
	Op     Op
	Bucket string
	Who    *Principal    // nil for trusted callers in this process
	File   *File         // the file it is about; nil for create and for list as a whole
	Upload *rules.Upload // what a create or an update by upload brings
	Access bool          // an update of the file's own rules: they have no say in it

	patch   *Patch // an update without content: Upload is then the file as it would be
	restore uint64 // the version that it makes current again, 0 for none
}

// An Authorizer decides whether a request may go on. It is the one place where
// access is decided, whatever the protocol.
//
// Authorize returns nil where the request is allowed, and a denial where it is
// not: an error satisfying errors.Is(err, fs.ErrPermission). A list that depends
// on the file is denied with ErrPerFile; the files are then asked about one by
// one. A bucket that there is not is ErrNoBucket.
//
// Every other error says that nothing could be decided: a database that is
// down, a context that is over. So does a panic, and so does an error that
// holds one of the operating system (syscall.Errno) or of a context, whatever
// it satisfies besides: a socket that may not be opened denies nobody anything.
// The call then fails with an *AuthorizerError. It is neither a denial nor
// absence, so nobody concludes from it that a file is gone.
type Authorizer interface {
	Authorize(ctx context.Context, req *Request) error
}

// ErrPerFile says that a listing as a whole is neither allowed nor denied:
// each file decides.
var ErrPerFile = concept("each file decides", fs.ErrPermission)

// allow asks whether the bucket's principal may do op to f. Those who may not
// list the file learn of it, if they may not touch it, just what they learn
// of one that does not exist.
func (b *Bucket) allow(ctx context.Context, op Op, f *File) error {
	return b.decide(ctx, &Request{Op: op, File: f})
}

// decide asks the authoriser in the bucket's and its principal's name.
func (b *Bucket) decide(ctx context.Context, req *Request) error {
	req.Bucket, req.Who = b.b.name, b.who
	err := b.s.authorize(ctx, req)
	switch {
	case err == nil:
		return nil
	case !isAnswer(err), errors.Is(err, ErrBucketDisabled), errors.Is(err, ErrNoBucket):
		return err
	case req.File != nil:
		listed, lerr := b.mayList(ctx, req.File)
		if lerr != nil {
			return lerr
		}
		if !listed {
			return ErrNoFile
		}
	}
	return fmt.Errorf("%s in bucket %q: %w: %w", req.Op, b.b.name, fs.ErrPermission, err)
}

// mayList asks whether the principal may see f in a listing.
func (b *Bucket) mayList(ctx context.Context, f *File) (bool, error) {
	err := b.s.authorize(ctx, &Request{Op: OpList, Bucket: b.b.name, Who: b.who, File: f})
	if err != nil && !isAnswer(err) {
		return false, err
	}
	return err == nil, nil
}

// authorize is where everything is decided that anybody may do. Its error is
// an answer, the context's, or an *AuthorizerError.
func (s *Store) authorize(ctx context.Context, req *Request) error {
	err := s.verdict(ctx, req)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !isAnswer(err):
		return &AuthorizerError{Op: req.Op, Bucket: req.Bucket, Err: err}
	}
	return err
}

// verdict is what the bearer's grant says, and the authoriser where that
// leaves it a say.
func (s *Store) verdict(ctx context.Context, req *Request) error {
	if req.Who == nil || req.Who.Grant == nil {
		return s.ask(ctx, req)
	}
	d := &Decision{Op: req.Op, Bucket: req.Bucket, By: "grant", Err: req.Who.Grant.allows(req)}
	if b := s.lookup(req.Bucket); b == nil {
		d.Err = ErrNoBucket
	} else if b.Disabled {
		d.Err = ErrBucketDisabled
	}
	if req.Who.Explain != nil {
		req.Who.Explain(d)
	}
	if signer := req.Who.Grant.signer; d.Err == nil && req.Who.Grant.Op == GrantUpload && signer != nil {
		own, who := *req, *signer
		who.Request, own.Who = req.Who.Request, &who
		return s.ask(ctx, &own)
	}
	return d.Err
}

// ask asks the authoriser. A panic of it is an error.
func (s *Store) ask(ctx context.Context, req *Request) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("panic: %w\n%s", p, debug.Stack())
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return s.auth.Authorize(ctx, req)
}

// isAnswer reports an error by which an authoriser has decided, as opposed to
// one that kept it from deciding.
func isAnswer(err error) bool {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUndecided):
		return false
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNoBucket)
}

// ErrUndecided reports that an authoriser failed, so that nobody knows whether
// the request is allowed. It was not carried out.
var ErrUndecided = errors.New("it could not be found out whether this is allowed")

// An AuthorizerError is an ErrUndecided with the authoriser's own error. It
// satisfies errors.Is and errors.As as that one does, but is never absence,
// denial or existence: fs.ErrNotExist, fs.ErrPermission, fs.ErrExist and the
// kinds of them that this package has.
type AuthorizerError struct {
	Op     Op
	Bucket string
	Err    error
}

func (e *AuthorizerError) Error() string {
	return fmt.Sprintf("%s in bucket %q: %v: %v", e.Op, e.Bucket, ErrUndecided, e.Err)
}

// Is implements errors.Is.
func (e *AuthorizerError) Is(target error) bool {
	switch target {
	case ErrUndecided:
		return true
	case fs.ErrNotExist, fs.ErrPermission, fs.ErrExist:
		return false
	}
	if _, ok := target.(*conceptError); ok {
		return false
	}
	return errors.Is(e.Err, target)
}

// As implements errors.As.
func (e *AuthorizerError) As(target any) bool {
	return errors.As(e.Err, target)
}
