package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"

	"github.com/cairn-store/cairn/manifest"
)

// A Guard decides about every call on the buckets of a store.
type Guard struct {
	policyOf func(bucket string) *Policy
	auth     Authorizer
	book     *ruleBook
}

// NewGuard returns a Guard that asks auth or, if that is nil, the policies of
// the buckets. policyOf returns the policy of a bucket as it is now, nil for a
// bucket that does not exist.
func NewGuard(policyOf func(bucket string) *Policy, auth Authorizer) (*Guard, error) {
	book, err := newRuleBook(policyOf)
	if err != nil {
		return nil, err
	}
	if auth == nil {
		auth = book
	}
	return &Guard{policyOf: policyOf, auth: auth, book: book}, nil
}

// Check returns nil if req may go on. Somebody who may not list a file that req
// is about, and may not do this either, gets ErrNoFile, as for a file that does
// not exist. Where nothing could be decided the error is an *AuthorizerError or
// the context's.
func (g *Guard) Check(ctx context.Context, req *Request) error {
	err := g.authorize(ctx, req)
	switch {
	case err == nil:
		return nil
	case !isDecision(err), errors.Is(err, ErrBucketDisabled), errors.Is(err, ErrNoBucket):
		return err
	case req.File != nil:
		listed, lerr := g.MayList(ctx, req.Bucket, req.Who, req.File, req.Version)
		if lerr != nil {
			return lerr
		}
		if !listed {
			return ErrNoFile
		}
	}
	return fmt.Errorf("%s in bucket %q: %w: %w", req.Op, req.Bucket, fs.ErrPermission, err)
}

// MayList reports whether who may see version v of f in a listing.
func (g *Guard) MayList(ctx context.Context, bucket string, who *Principal, f *manifest.File, v *manifest.Manifest) (bool, error) {
	err := g.authorize(ctx, &Request{Op: OpList, Bucket: bucket, Who: who, File: f, Version: v})
	if err != nil && !isDecision(err) {
		return false, err
	}
	return err == nil, nil
}

// IsPublic reports whether everybody may download version v of f, whoever asks
// and whenever: the rule that decides looks at nothing, and is true. An
// Authorizer of the host may decide anew each time, so nothing is public then.
func (g *Guard) IsPublic(ctx context.Context, bucket string, f *manifest.File, v *manifest.Manifest) bool {
	if g.auth != Authorizer(g.book) || f.State != manifest.Active {
		return false
	}
	d := g.book.decide(ctx, &Request{Op: OpDownload, Bucket: bucket, Who: &Principal{}, File: f, Version: v})
	return d.Err == nil && d.constant
}

// Explain decides about a request by the policies of the buckets, whatever
// Authorizer the guard has, and says what decided. Nothing is done.
func (g *Guard) Explain(ctx context.Context, req *Request) (d *Decision) {
	for _, op := range governingOps(req) {
		one := *req
		one.Op = op
		if d = g.book.decide(ctx, &one); d.Err != nil {
			break
		}
	}
	d.Op = req.Op
	return d
}

// governingOps returns the operations that must all be allowed for a request.
// Whoever may see an active file may not therefore see it in the trash, or a version
// in quarantine, and whoever may restore one from there learns of no active file.
func governingOps(req *Request) []Op {
	switch trashed := req.File != nil && req.File.State != manifest.Active || isHeld(req); {
	case trashed && req.Op == OpDelete:
		return []Op{OpTrash, OpDelete}
	case trashed:
		return []Op{OpTrash}
	case req.File != nil && req.Op == OpTrash:
		return []Op{OpDelete}
	}
	return []Op{req.Op}
}

// isHeld reports whether a request is about a version in quarantine.
func isHeld(req *Request) bool {
	return req.File != nil && req.Version != nil && req.File.IsHeld(req.Version.ID)
}

// authorize is the one path to every decision. Its error is a decision, the
// context's, or an *AuthorizerError.
func (g *Guard) authorize(ctx context.Context, req *Request) error {
	for _, op := range governingOps(req) {
		one := *req
		one.Op = op
		if err := g.authorizeOp(ctx, &one); err != nil {
			return err
		}
	}
	return nil
}

// authorizeOp is authorize for one of the operations that govern a request.
func (g *Guard) authorizeOp(ctx context.Context, req *Request) error {
	err := g.decideByGrant(ctx, req)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !isDecision(err):
		return &AuthorizerError{Op: req.Op, Bucket: req.Bucket, Err: err}
	}
	return err
}

// decideByGrant lets the bearer's grant decide and, where there is none, the
// authoriser. An upload by a grant must be allowed to the grant's signer too.
func (g *Guard) decideByGrant(ctx context.Context, req *Request) error {
	if req.Who == nil || req.Who.Grant == nil {
		return g.callAuthorizer(ctx, req)
	}
	grant := req.Who.Grant
	d := &Decision{Op: req.Op, Bucket: req.Bucket, By: "grant", Err: grant.checkRequest(req)}
	if p := g.policyOf(req.Bucket); p == nil {
		d.Err = ErrNoBucket
	} else if p.Disabled {
		d.Err = ErrBucketDisabled
	}
	req.Who.reportDecision(d)
	if d.Err == nil && grant.Op == GrantUpload && grant.signer != nil {
		bySigner, signer := *req, *grant.signer
		signer.Request, bySigner.Who = req.Who.Request, &signer
		return g.callAuthorizer(ctx, &bySigner)
	}
	return d.Err
}

// callAuthorizer calls the authoriser. A panic in it becomes an error.
func (g *Guard) callAuthorizer(ctx context.Context, req *Request) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("panic: %w\n%s", p, debug.Stack())
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return g.auth.Authorize(ctx, req)
}

// isDecision reports an error by which an authoriser has decided, as opposed to
// one that kept it from deciding.
func isDecision(err error) bool {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUndecided):
		return false
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNoBucket)
}
