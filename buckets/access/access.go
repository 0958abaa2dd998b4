// Package access decides who may do what with the files of a store, and keeps
// what lets people in: API keys and signed URLs.
//
// Every call on a bucket goes through Guard.Check, whatever the protocol. For
// the bearer of a signed URL the URL's grant decides. For all others the
// Authorizer of the store does: the buckets' own policies, or the one that an
// embedding program has given.
package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// An Op is what a caller wants to do. Rules are written per operation.
type Op string

const (
	OpCreate   Op = "create"
	OpRead     Op = "read"
	OpUpdate   Op = "update"
	OpDelete   Op = "delete"
	OpDownload Op = "download"
	OpList     Op = "list"
	// OpTrash is whatever is done with a file in the trash: to see, list,
	// download and restore it. To remove it for good is OpTrash and OpDelete.
	OpTrash Op = "trash"
)

// Ops returns all operations.
func Ops() []Op {
	return []Op{OpCreate, OpRead, OpUpdate, OpDelete, OpDownload, OpList, OpTrash}
}

// fallback returns the operation whose rule stands in where op has none, "" for
// none.
func (op Op) fallback() Op {
	switch op {
	case OpDownload, OpList:
		return OpRead
	case OpTrash:
		return OpDelete
	}
	return ""
}

// A Principal is who sends a request, and how.
type Principal struct {
	// ID is "" for somebody anonymous.
	ID string
	// Claims have been verified.
	Claims map[string]any
	// Operator may do everything, see physical sizes and run reports.
	Operator bool
	// Scope is that of an API key. It decides in place of the rules.
	Scope *Scope
	// Grant is that of a signed URL. It decides in place of everything else.
	Grant *Grant

	// Request is for rules that look at it.
	Request rules.Request
	// Explain, if set, is called with every decision about the principal.
	Explain func(*Decision)
}

// Anonymous reports whether p came without any credentials.
func (p *Principal) Anonymous() bool {
	return p.ID == "" && p.Scope == nil && p.Grant == nil && !p.Operator
}

// reportDecision tells the principal's Explain, if there is one, of a decision.
func (p *Principal) reportDecision(d *Decision) {
	if p != nil && p.Explain != nil {
		p.Explain(d)
	}
}

// A Scope is what an API key may do.
type Scope struct {
	Buckets []string // "*" is all
	Ops     []Op
}

func (s *Scope) allows(op Op, bucket string) bool {
	named := slices.Contains(s.Ops, op) || op == OpTrash && slices.Contains(s.Ops, OpDelete)
	return named && (slices.Contains(s.Buckets, bucket) || slices.Contains(s.Buckets, "*"))
}

// A Request is what an Authorizer decides about. Rows are not to be changed.
type Request struct {
	Op     Op
	Bucket string
	// Who is nil for trusted callers in this process.
	Who *Principal
	// File and Version are the rows of the file that the request is about: nil
	// for create, and for list and trash as a whole.
	File    *manifest.File
	Version *manifest.Manifest
	// Upload is what a create, or an update by upload, brings. For an update
	// without content it is the file as it would be.
	Upload *rules.Upload
	// Record is that by a field of which the sender comes to the file, nil for none.
	Record map[string]any
	// Access marks an update of the file's own rules. Those rules do not decide
	// about it.
	Access bool
}

// An Authorizer decides whether a request may go on. It is the one place where
// access is decided, whatever the protocol.
//
// Authorize returns nil where the request is allowed, and a denial where it is
// not: an error satisfying errors.Is(err, fs.ErrPermission). A list, of active
// files or of the trash, that depends on the file is denied with ErrPerFile;
// Authorize is then called for each file. For a bucket that does not exist it
// returns ErrNoBucket.
//
// Of a file in the trash Authorize is asked for OpTrash, whatever is to be done
// with it, and for OpDelete besides if it is to be removed for good.
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

// Errors of access, each a kind of fs.ErrPermission or fs.ErrNotExist.
var (
	// ErrPerFile says that a listing as a whole is neither allowed nor denied:
	// each file decides.
	ErrPerFile = kindOf(fs.ErrPermission, "each file decides")
	// ErrNoBucket reports a bucket that does not exist.
	ErrNoBucket = kindOf(fs.ErrNotExist, "no such bucket")
	// ErrBucketDisabled reports a bucket that only operators may use.
	ErrBucketDisabled = kindOf(fs.ErrPermission, "bucket is disabled")
	// ErrNoFile reports a file that does not exist, or that the principal may
	// neither use nor list.
	ErrNoFile = kindOf(fs.ErrNotExist, "no such file")
)

// ErrCredentials reports credentials that are not valid: unknown, expired, or of
// another form than is taken. Who sends them is never taken for somebody
// anonymous.
var ErrCredentials = errors.New("credentials are not valid")

// RefuseCredentials returns an ErrCredentials with a text of its own, which whoever
// sent them gets to see.
func RefuseCredentials(text string) error { return kindOf(ErrCredentials, text) }

// ErrUndecided reports that an authoriser failed, so that nobody knows whether
// the request is allowed. It was not carried out.
var ErrUndecided = errors.New("it could not be found out whether this is allowed")

// An AuthorizerError is an ErrUndecided with the authoriser's own error. It
// satisfies errors.Is and errors.As as that one does, but is never absence,
// denial or existence: fs.ErrNotExist, fs.ErrPermission, fs.ErrExist and errors
// that are kinds of them.
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
	if target == ErrUndecided {
		return true
	}
	for _, answer := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrExist} {
		if errors.Is(target, answer) {
			return false
		}
	}
	return errors.Is(e.Err, target)
}

// As implements errors.As.
func (e *AuthorizerError) As(target any) bool {
	return errors.As(e.Err, target)
}

// A kindError is a kind of a wider error such as fs.ErrNotExist. errors.Is
// finds the wider one; the text does not name it.
type kindError struct {
	kind error
	text string
}

func kindOf(kind error, text string) error { return &kindError{kind, text} }

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }
