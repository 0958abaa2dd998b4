package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

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

// An Authorizer decides whether a request may go on: nil, or an error
// satisfying errors.Is(err, fs.ErrPermission). A list that depends on the
// file is ErrPerFile; the files are then asked about one by one. It is the
// one place where access is decided, whatever the protocol.
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
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrBucketDisabled), errors.Is(err, ErrNoBucket):
		return err
	case req.File != nil && !b.mayList(ctx, req.File):
		return ErrNoFile
	}
	return fmt.Errorf("%s in bucket %q: %w: %w", req.Op, b.b.name, fs.ErrPermission, err)
}

// authorize is where everything is decided that anybody may do.
func (s *Store) authorize(ctx context.Context, req *Request) error {
	if req.Who == nil || req.Who.Grant == nil {
		return s.auth.Authorize(ctx, req)
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
		return s.auth.Authorize(ctx, &own)
	}
	return d.Err
}

func (b *Bucket) mayList(ctx context.Context, f *File) bool {
	return b.s.authorize(ctx, &Request{Op: OpList, Bucket: b.b.name, Who: b.who, File: f}) == nil
}
