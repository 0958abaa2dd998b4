// Package cairn is the way in for programs that keep their users' files in Cairn: a
// store of versioned files, in which equal content lies once.
//
//	store, err := cairn.Open(ctx, "data", nil)
//	bucket, err := store.Bucket("demo")
//	file, err := bucket.Put(ctx, "report.pdf", r, nil) // a file, or its next version
//	object, err := bucket.Open(ctx, file.ID, nil)      // reads, seeks, reads at offsets
//	for file, err := range bucket.List(ctx, nil) {}    // and bucket.Versions(ctx, file.ID)
//	file, err = bucket.Delete(ctx, file.ID, nil)       // into the trash
//	mux.Handle("/api/", cairn.NewServer(store, nil))   // the same over HTTP
//	err = store.Close()
//
// Options of nil and zero values are the defaults: a bucket of which nothing is said
// compresses, keeps every version, and what was deleted for 30 days. It is open to the
// program itself, and to nobody else: bucket.As narrows it to a principal, for whom its
// rules decide. A program that runs on calls store.Run beside, which sweeps, collects
// and scrubs. Errors match fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and the
// sentinels of package buckets, which has all that stands behind the names here.
//
// What a program does not name it does not link: packs in S3 take an s3backend.Driver,
// tokens package api/auth, files that records refer to package buckets/links.
package cairn

import (
	"context"
	"log/slog"
	"maps"
	"os"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// What a store is made of. Each is described where it comes from.
type (
	Store  = buckets.Store  // buckets by name: Bucket, Buckets, Run, Close
	Bucket = buckets.Bucket // files: Put, Open, Stat, List, Versions, Update, Copy, Delete, As
	File   = buckets.File   // one version of a file as its users see it
	Object = buckets.Object // an open file: io.ReadSeekCloser, io.ReaderAt, io.WriterTo

	Policy    = buckets.Policy   // what a bucket is set up to do
	Principal = access.Principal // who sends a request, as rules see it
	Backend   = local.Backend    // where packs lie: a directory, or what a driver opens
	Driver    = backend.Driver   // such as an s3backend.Driver

	PutOptions    = buckets.PutOptions
	GetOptions    = buckets.GetOptions
	ListOptions   = buckets.ListOptions
	DeleteOptions = buckets.DeleteOptions

	Server        = api.Server // an http.Handler; Serve answers a listener by itself
	ServerOptions = api.Options
)

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	// Buckets are policies by name, and Backends where packs lie. By default there is
	// one bucket, "demo", and one backend, "local": the store's own directory.
	Buckets  map[string]Policy
	Backends map[string]Backend

	// Config and Schema say the same by the keys of alyx.yml and schema.yaml: what Parse
	// has read, or structs of the program's own. Buckets and Backends are added to theirs.
	Config *schema.Config
	Schema *schema.Schema
	// S3 makes the drivers of backends that Config calls s3: s3config.Driver.
	S3 func(*schema.S3) Driver

	Authorizer    access.Authorizer // decides in place of the buckets' rules
	Records       buckets.Records   // what records of hosts let people see
	Validator     buckets.Validator // has the last word on what is stored
	Scanner       buckets.Scanner   // looks at each version before it becomes current
	Audit         *buckets.Audit    // is told of every change; nil is no audit
	TakeOwnership bool              // of backends that another store has written to
	Failed        func(error)       // is told when the database begins to refuse changes
	Log           *slog.Logger      // nil discards
}

// Open opens the store in the directory dir, making it if there is none. One that is
// open already, in this process or another, is refused.
func Open(ctx context.Context, dir string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	o := &local.Options{}
	if opts.Config != nil {
		var err error
		if o, err = local.ConfigureBackends(opts.Config, &local.Drivers{S3: opts.S3}); err != nil {
			return nil, err
		}
	}
	if opts.Schema != nil {
		var err error
		if o.Buckets, err = buckets.Policies(opts.Schema); err != nil {
			return nil, err
		}
	}
	o.Backends, o.Buckets = addTo(o.Backends, opts.Backends), addTo(o.Buckets, opts.Buckets)
	o.Validator, o.Scanner, o.Audit = opts.Validator, opts.Scanner, opts.Audit
	o.Auth, o.Records, o.TakeOwnership, o.Failed, o.Log = opts.Authorizer, opts.Records, opts.TakeOwnership, opts.Failed, opts.Log
	return local.Open(ctx, dir, o)
}

// NewServer returns an http.Handler that answers requests below /api/ about store. By
// ServerOptions a program says who sends a request: without that all are anonymous.
func NewServer(store *Store, opts *ServerOptions) *Server { return api.New(store, opts) }

// addTo adds more to all. It returns nil where there is neither.
func addTo[V any](all, more map[string]V) map[string]V {
	if all == nil {
		return maps.Clone(more)
	}
	maps.Copy(all, more)
	return all
}

// Parse reads the text of an alyx.yml and of a schema.yaml; either may be nil. What is
// wrong is schema.Problems, with their places. Open takes what they say of storage. What
// they say of the server and of tokens is NewServer's, if it is given to it:
// Config.Server as ServerOptions.Server, and auth.New of package api/auth as Auth.
func Parse(config, buckets []byte) (*Options, error) {
	var opts Options
	var err error
	if opts.Config, err = schema.ParseConfig("alyx.yml", config, os.LookupEnv); err != nil {
		return nil, err
	}
	if buckets != nil {
		opts.Schema, err = schema.Parse("schema.yaml", buckets, opts.Config)
	}
	return &opts, err
}
