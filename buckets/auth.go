package buckets

import (
	"context"
	"fmt"
	"io/fs"
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

// A Principal is who asks.
type Principal struct {
	ID       string         // "" when anonymous
	Claims   map[string]any // verified claims
	Operator bool           // may see physical sizes and run reports
}

// A Request is what an Authorizer decides about.
type Request struct {
	Op     Op
	Bucket string
	Who    *Principal // nil for trusted callers in this process
	File   *File      // the file it is about; nil for create and list
	Name   string     // for create: the name asked for
	Folder string     // for create
}

// An Authorizer decides whether a request may go on: nil, or an error
// satisfying errors.Is(err, fs.ErrPermission). It is the one place where
// access is decided, whatever the protocol.
type Authorizer interface {
	Authorize(ctx context.Context, req *Request) error
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, *Request) error { return nil }

// allow asks whether the bucket's principal may do op to f. Those who may not
// even list the bucket learn of a file that they may not touch just what they
// learn of one that does not exist.
func (b *Bucket) allow(ctx context.Context, op Op, f *File) error {
	req := &Request{Op: op, Bucket: b.b.name, Who: b.who, File: f}
	if f != nil {
		req.Name, req.Folder = f.Name, f.Folder
	}
	return b.decide(ctx, req, f != nil)
}

func (b *Bucket) allowCreate(ctx context.Context, folder, name string) error {
	return b.decide(ctx, &Request{Op: OpCreate, Bucket: b.b.name, Who: b.who, Name: name, Folder: folder}, false)
}

func (b *Bucket) decide(ctx context.Context, req *Request, hide bool) error {
	err := b.s.auth.Authorize(ctx, req)
	if err == nil {
		return nil
	}
	if hide && b.s.auth.Authorize(ctx, &Request{Op: OpList, Bucket: b.b.name, Who: b.who}) != nil {
		return ErrNoFile
	}
	return fmt.Errorf("%s in bucket %q: %w (%w)", req.Op, b.b.name, fs.ErrPermission, err)
}
