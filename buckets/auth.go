package buckets

import "context"

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
