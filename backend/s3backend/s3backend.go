// Package s3backend keeps objects in a bucket of S3, or of a service that
// speaks its protocol.
//
// An object becomes visible as a whole, by one PUT or, beyond Options.PutSize,
// by a multipart upload. PUTs are conditional on the key being free, so that
// nothing is ever overwritten; where the service has no conditional PUT, a HEAD
// comes before each. Requests are repeated here, not by the SDK: withRetries
// decides which, and for how long. What shows that bytes have arrived is found
// out in proof.go.
//
// A Driver names a Backend to those who open stores, Open makes one, Probe tries
// its service, Sweep removes what a crash has left.
package s3backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/cairn-store/cairn/backend"
)

// Options say where the bucket is and how requests are made. Bucket must be
// set; nil and zero values of the others mean the defaults.
type Options struct {
	Bucket    string
	Prefix    string // of all keys, ending in '/' or made to
	Endpoint  string // URL of the service; default: AWS
	Region    string // default, also of "auto": us-east-1 with Endpoint, else the environment's
	PathStyle bool   // the bucket in the path, not in the host name

	// Static keys; without them the default chain applies: environment,
	// shared files, web identity, the instance's role.
	AccessKeyID, SecretAccessKey, SessionToken string

	StorageClass string // of new objects; default: the bucket's
	SSE          string // "AES256", "aws:kms", "aws:kms:dsse"; default: the bucket's
	KMSKeyID     string // with SSE by KMS

	// Checksums says when the SDK adds checksums of its own to requests:
	// "when_required" (the default, which every service takes) or
	// "when_supported".
	Checksums string

	// ReadBack says when an object is read back before it counts: "auto" (the
	// default) where the service takes wrong bytes, "always", or "never".
	ReadBack string

	// SingleWriter says that the service may pass over the condition of a PUT,
	// and that nobody else writes: a HEAD comes before each.
	SingleWriter bool

	PutSize  int64 // bytes up to which an object is sent by one PUT; default 64 MiB
	PartSize int64 // bytes of the parts of larger ones; default 16 MiB
	Parts    int   // parts of one object under way at a time; default 3

	Attempts int           // of a request; default 8
	RetryFor time.Duration // no attempt begins later than this after the first; default 1 minute
	Backoff  time.Duration // the longest pause between two attempts; default 5 s
	Stall    time.Duration // a connection on which nothing moves for this long fails; default 30 s

	// Wrap, if set, wraps the HTTP client, so that tests can watch requests.
	Wrap func(aws.HTTPClient) aws.HTTPClient
}

// A Driver is a backend.Driver of a backend in S3.
type Driver struct{ Options }

var _ backend.Driver = Driver{}

// Open implements backend.Driver.
func (d Driver) Open(ctx context.Context) (backend.Backend, error) {
	b, err := Open(ctx, &d.Options)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Place implements backend.Driver.
func (d Driver) Place() string { return fmt.Sprintf("its bucket %q or prefix %q", d.Bucket, d.Prefix) }

// A Backend is a backend.Remote in S3.
type Backend struct {
	opts   Options
	client *s3.Client
	creds  aws.CredentialsProvider
	blocks sync.Pool // of *block

	// unconditional is set once the service has answered that it has no
	// conditional PUT.
	unconditional atomic.Bool

	proofs [2]atomic.Int32 // by putKind, each a proof
}

var _ backend.Remote = (*Backend)(nil)

// Open returns the Backend that opts describe. It makes no request to the
// service.
func Open(ctx context.Context, opts *Options) (*Backend, error) {
	b := &Backend{opts: *opts, blocks: sync.Pool{New: func() any { return new(block) }}}
	if err := b.opts.fillDefaults(); err != nil {
		return nil, fmt.Errorf("s3backend: %w", err)
	}
	o := &b.opts
	var client aws.HTTPClient = newClient(o.Stall)
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(client), config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} })}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.AccessKeyID != "" {
		load = append(load, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, o.SessionToken)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("s3backend: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("s3backend: no region: set region, or AWS_REGION")
	}
	cfg.HTTPClient = stayAtHost(cfg.HTTPClient)
	if o.Wrap != nil {
		cfg.HTTPClient = o.Wrap(cfg.HTTPClient)
	}
	cfg.HTTPClient = tamperer{errorFinder{cfg.HTTPClient}}
	b.creds = cfg.Credentials
	b.client = s3.NewFromConfig(cfg, o.configureClient)
	return b, nil
}

// fillDefaults replaces zero values by the defaults.
func (o *Options) fillDefaults() error {
	if o.Bucket == "" {
		return errors.New("no bucket")
	}
	if (o.AccessKeyID == "") != (o.SecretAccessKey == "") {
		return errors.New("half a key: give access key ID and secret access key, or neither")
	}
	if o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/") {
		o.Prefix += "/"
	}
	if o.Region == "auto" {
		o.Region = ""
	}
	if o.Region == "" && o.Endpoint != "" {
		o.Region = "us-east-1" // what services without regions sign with
	}
	if o.Checksums == "" {
		o.Checksums = "when_required"
	}
	if o.ReadBack == "" {
		o.ReadBack = "auto"
	}
	setDefault(&o.PutSize, 64<<20)
	setDefault(&o.PartSize, 16<<20)
	setDefault(&o.Parts, 3)
	setDefault(&o.Attempts, 8)
	setDefault(&o.RetryFor, time.Minute)
	setDefault(&o.Backoff, 5*time.Second)
	setDefault(&o.Stall, 30*time.Second)
	return nil
}

func setDefault[T int | int64 | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// configureClient sets the options of the SDK's client.
func (o *Options) configureClient(c *s3.Options) {
	if o.Endpoint != "" {
		c.BaseEndpoint = aws.String(o.Endpoint)
	}
	c.UsePathStyle = o.PathStyle
	c.Retryer = aws.NopRetryer{} // withRetries repeats requests, also those that the SDK would not
	c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	if o.Checksums == "when_supported" {
		c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
	}
	c.DisableLogOutputChecksumValidationSkipped = true
	c.ContinueHeaderThresholdBytes = -1 // Expect: 100-continue would cost each PUT a round trip
}

// Conditional reports whether the service has conditional PUT. Before the first
// PUT it is assumed to, unless SingleWriter is set.
func (b *Backend) Conditional() bool { return !b.unconditional.Load() && !b.opts.SingleWriter }

// SingleWriter implements backend.Remote.
func (b *Backend) SingleWriter() bool { return b.opts.SingleWriter }

func (b *Backend) fullKey(key string) *string { return aws.String(b.opts.Prefix + key) }

// Create implements backend.Backend. Commit finds out whether the key is taken.
func (b *Backend) Create(ctx context.Context, key string) (backend.Writer, error) {
	if err := backend.CheckKey(ctx, key); err != nil {
		return nil, wrapError("create", key, err)
	}
	return &writer{b: b, life: backend.Lifetime{Ctx: ctx}, key: key, token: newToken()}, nil
}

// Append implements backend.Backend: objects are published whole.
func (b *Backend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	return nil, 0, wrapError("append", key, errors.ErrUnsupported)
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, key string) (backend.Info, error) {
	if err := backend.CheckKey(ctx, key); err != nil {
		return backend.Info{}, wrapError("stat", key, err)
	}
	head, err := b.headObject(ctx, key)
	if err != nil {
		return backend.Info{}, wrapError("stat", key, err)
	}
	if head.ContentLength == nil { // some services leave it out
		for info, err := range b.List(ctx, key) {
			if err != nil || info.Key == key {
				return info, err
			}
		}
		return backend.Info{}, wrapError("stat", key, fs.ErrNotExist)
	}
	return backend.Info{Key: key, Size: *head.ContentLength, ModTime: aws.ToTime(head.LastModified)}, nil
}

func (b *Backend) headObject(ctx context.Context, key string) (head *s3.HeadObjectOutput, err error) {
	err = b.withRetries(ctx, func() error {
		head, err = b.headOnce(ctx, key)
		return err
	})
	return head, err
}

// headOnce makes one attempt of a HEAD.
func (b *Backend) headOnce(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.opts.Bucket, Key: b.fullKey(key)})
}

// Delete implements backend.Backend. An attempt to PUT the object that was given
// up and repeated may still arrive after the Delete. A caller to whom that
// matters, as when an index is rebuilt from all objects, must remember which
// keys it has deleted.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := backend.CheckKey(ctx, key); err != nil {
		return wrapError("delete", key, err)
	}
	err := b.withRetries(ctx, func() error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.opts.Bucket, Key: b.fullKey(key)})
		if _, status := statusOf(err); status >= 500 {
			// Some services answer so where there is nothing to delete.
			if _, gone := b.headOnce(ctx, key); gone != nil && kindOf(gone) == fs.ErrNotExist {
				return nil
			}
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrapError("delete", key, err)
}

// serverEncryption returns the members of requests that begin an object which
// say how the service encrypts it.
func (o *Options) serverEncryption() (types.ServerSideEncryption, *string) {
	if o.KMSKeyID == "" {
		return types.ServerSideEncryption(o.SSE), nil
	}
	return types.ServerSideEncryption(o.SSE), &o.KMSKeyID
}
