package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
)

// A Decision says whether a request may go on, and what decided.
type Decision struct {
	Op     Op
	Bucket string
	File   string // its ID, "" for none
	By     string // "trusted", "operator", "key", "grant", "bucket rule", "file rule", "no rule", "disabled"
	RuleOp Op     // the operation whose rule decided: read's stands in for download's and list's
	Rule   string // its source
	Err    error  // nil when it may go on
}

// ruleBook is the Authorizer of the buckets' own policies.
type ruleBook struct {
	env    *rules.Env
	lookup func(bucket string) *bucket

	mu       sync.Mutex
	compiled map[string]*rules.Rule // rules of files, by source; mu
	size     int                    // bytes of their sources; mu
}

// maxCompiled bounds the sources of the rules of files that are kept compiled,
// in bytes: a rule takes about fifty times its source.
const maxCompiled = 256 << 10

// Authorize implements Authorizer.
func (a *ruleBook) Authorize(ctx context.Context, req *Request) error {
	d := a.decide(ctx, req)
	if req.Who != nil && req.Who.Explain != nil {
		req.Who.Explain(d)
	}
	return d.Err
}

func (a *ruleBook) decide(ctx context.Context, req *Request) *Decision {
	d := &Decision{Op: req.Op, Bucket: req.Bucket}
	if req.File != nil {
		d.File = req.File.ID
	}
	b, who := a.lookup(req.Bucket), req.Who
	switch {
	case b == nil:
		d.By, d.Err = "no bucket", ErrNoBucket
	case who == nil:
		d.By = "trusted"
	case who.Operator:
		d.By = "operator"
	case b.Disabled:
		d.By, d.Err = "disabled", ErrBucketDisabled
	case who.Scope != nil:
		if d.By = "key"; !who.Scope.allows(req.Op, req.Bucket) {
			d.Err = concept("the API key is not for this", fs.ErrPermission)
		}
	default:
		a.byRule(ctx, d, b, req)
	}
	return d
}

// Explain decides about a request as the policies do, and says what decided;
// nothing is done. req.File may be made up.
func Explain(ctx context.Context, policies map[string]Policy, req *Request) (*Decision, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	book := &ruleBook{env: env, lookup: func(name string) *bucket {
		p, ok := policies[name]
		if !ok {
			return nil
		}
		return &bucket{Policy: p, name: name}
	}}
	return book.decide(ctx, req), nil
}

// Explain says whether who may do op in the bucket, to the file or version id
// if that is not empty, and what decides it.
func (s *Store) Explain(ctx context.Context, bucket string, op Op, id string, who *Principal, up *rules.Upload) (*Decision, error) {
	b, err := s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	req := &Request{Op: op, Bucket: bucket, Who: who, Upload: up}
	if id != "" {
		f, m, err := b.find(ctx, id, &GetOptions{Trashed: true})
		if err != nil {
			return nil, err
		}
		req.File = b.file(f, m)
	}
	return s.rules.decide(ctx, req), nil
}

// byRule decides by the rule of the operation or, where there is none and it
// has one to fall back to, by that one's. A file's own rule goes before its
// bucket's.
func (a *ruleBook) byRule(ctx context.Context, d *Decision, b *bucket, req *Request) {
	chain := []Op{req.Op}
	if req.Op == OpDownload || req.Op == OpList {
		chain = append(chain, OpRead)
	}
	for _, d.RuleOp = range chain {
		var rule *rules.Rule
		if src, ok := fileRule(b, req, d.RuleOp); ok {
			d.By, d.Rule = "file rule", src
			if rule, d.Err = a.compile(src); d.Err != nil {
				d.Err = concept(d.Err.Error(), fs.ErrPermission)
				return
			}
		} else if rule = b.Rules[d.RuleOp]; rule != nil {
			d.By, d.Rule = "bucket rule", rule.Source()
		} else {
			continue
		}
		if req.Op == OpList && req.File == nil && rule.Uses("file") {
			d.Err = ErrPerFile
			return
		}
		if err := rule.Eval(ctx, ruleInput(req)); err != nil && ctx.Err() != nil {
			d.Err = ctx.Err() // it was broken off, which decides nothing
		} else if err != nil {
			d.Err = concept(err.Error(), fs.ErrPermission)
		} else if req.Op == OpList && req.File == nil && b.FileRules {
			d.Err = ErrPerFile // some may have a rule of their own
		}
		return
	}
	d.By, d.RuleOp = "no rule", ""
	d.Err = concept("the bucket has no rule for it", fs.ErrPermission)
}

func fileRule(b *bucket, req *Request, op Op) (string, bool) {
	if !b.FileRules || req.File == nil || req.Access {
		return "", false
	}
	src, ok := req.File.Access[string(op)]
	return src, ok
}

// compile returns the rule of a file, compiled. They are many and come back
// often, so the latest are kept.
func (a *ruleBook) compile(source string) (*rules.Rule, error) {
	a.mu.Lock()
	r := a.compiled[source]
	a.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := a.env.Compile(source)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.compiled == nil || a.size+len(source) > maxCompiled {
		a.compiled, a.size = make(map[string]*rules.Rule), 0
	}
	if a.compiled[source] == nil {
		a.size += len(source)
	}
	a.compiled[source] = r
	return r, nil
}

// ruleInput is a request as rules see it.
func ruleInput(req *Request) *rules.Input {
	request := req.Who.Request
	if request.Time.IsZero() {
		request.Time = time.Now()
	}
	in := &rules.Input{Auth: rules.Auth(req.Who.ID, req.Who.Claims), Upload: req.Upload, Request: &request}
	if f := req.File; f != nil {
		in.File = &rules.File{ID: f.ID, ManifestID: f.ManifestID, Bucket: f.Bucket, Name: f.Name, Folder: f.Folder,
			Path: f.Path(), Size: f.Size, MIMEType: f.MIMEType, DeclaredMIME: f.DeclaredMIMEType, Owner: f.Owner,
			UploaderID: f.Owner, State: string(f.State), Version: int64(f.Version), Metadata: f.Metadata, Tags: f.Tags,
			CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt}
	}
	return in
}

// ErrAccess reports rules that a file cannot have.
var ErrAccess = errors.New("access is not allowed")

// checkAccess checks the rules that a file is to have of its own.
func (b *Bucket) checkAccess(access map[string]string) error {
	if len(access) > 0 && !b.b.FileRules {
		return fmt.Errorf("files of bucket %q have no rules of their own; its schema would need file_rules: true: %w", b.b.name, ErrAccess)
	}
	ops := []Op{OpRead, OpUpdate, OpDelete, OpDownload, OpList}
	for _, op := range slices.Sorted(maps.Keys(access)) {
		if !slices.Contains(ops, Op(op)) {
			return fmt.Errorf("operation %q: use read, update, delete, download or list: %w", names.Clip(op), ErrAccess)
		}
		if _, err := b.s.rules.compile(access[op]); err != nil {
			return fmt.Errorf("rule for %s: %w: %w", op, ErrAccess, err)
		}
	}
	return nil
}
