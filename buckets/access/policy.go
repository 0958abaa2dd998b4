package access

import (
	"context"
	"encoding/json"
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

// A Policy is who may do what in a bucket.
type Policy struct {
	// Rules say who may do what. An operation without a rule is denied, after
	// the fall-backs: read's rule stands in for download's and list's, delete's
	// for trash's.
	Rules map[Op]*rules.Rule
	// FileRules lets files have rules that replace those of the bucket.
	FileRules bool
	// Disabled leaves the bucket to operators.
	Disabled bool
	// SignedURLTTL is the longest life of a signed URL, at most MaxSignedLife.
	// 0 is 7 days, less is none.
	SignedURLTTL time.Duration
	// LinkByRead lets those who may read a file link records to it that keep it
	// from being deleted, or have it deleted. Otherwise that takes delete.
	LinkByRead bool
}

// A Decision says whether a request may go on, and what decided.
type Decision struct {
	Op     Op
	Bucket string
	// File is its ID, "" for none.
	File string
	// By is "trusted", "operator", "key", "grant", "bucket rule", "file rule",
	// "no rule", "no bucket" or "disabled".
	By string
	// RuleOp is the operation whose rule decided, and Rule its source.
	RuleOp Op
	Rule   string
	// Err is nil when the request may go on.
	Err error

	constant bool // the rule that decided looks at nothing
}

// A ruleBook is the Authorizer of the buckets' own policies.
type ruleBook struct {
	env      *rules.Env
	policyOf func(bucket string) *Policy

	// mu guards what follows.
	mu sync.Mutex
	// compiled are rules of files by source, and size what they take in memory.
	compiled map[string]*rules.Rule
	size     int
}

// maxCompiled bounds what the rules of files take that are kept compiled, in
// bytes by their Size.
const maxCompiled = 16 << 20

func newRuleBook(policyOf func(bucket string) *Policy) (*ruleBook, error) {
	env, err := rules.NewEnv()
	return &ruleBook{env: env, policyOf: policyOf}, err
}

// Authorize implements Authorizer.
func (a *ruleBook) Authorize(ctx context.Context, req *Request) error {
	d := a.decide(ctx, req)
	req.Who.reportDecision(d)
	return d.Err
}

func (a *ruleBook) decide(ctx context.Context, req *Request) *Decision {
	d := &Decision{Op: req.Op, Bucket: req.Bucket}
	if req.File != nil {
		d.File = string(req.File.ID)
	}
	p, who := a.policyOf(req.Bucket), req.Who
	switch {
	case p == nil:
		d.By, d.Err = "no bucket", ErrNoBucket
	case who == nil:
		d.By = "trusted"
	case who.Operator:
		d.By = "operator"
	case p.Disabled:
		d.By, d.Err = "disabled", ErrBucketDisabled
	case who.Scope != nil:
		if d.By = "key"; !who.Scope.allows(req.Op, req.Bucket) {
			d.Err = kindOf(fs.ErrPermission, "the API key is not for this")
		}
	default:
		a.decideByRule(ctx, d, p, req)
	}
	return d
}

// decideByRule decides by the rule of the operation or, where there is none and
// it has one to fall back to, by that one's. A file's own rule goes before its
// bucket's.
func (a *ruleBook) decideByRule(ctx context.Context, d *Decision, p *Policy, req *Request) {
	for op := req.Op; op != ""; op = op.fallback() {
		rule := p.Rules[op]
		d.By = "bucket rule"
		if src, ok := fileRule(p, req, op); ok {
			d.By, d.RuleOp, d.Rule = "file rule", op, src
			var err error
			if rule, err = a.compileRule(src); err != nil {
				d.Err = kindOf(fs.ErrPermission, err.Error())
				return
			}
		}
		if rule == nil {
			continue
		}
		d.RuleOp, d.Rule, d.constant = op, rule.Source(), rule.IsConstant()
		d.Err = evalRule(ctx, rule, p, req)
		return
	}
	d.By, d.Err = "no rule", kindOf(fs.ErrPermission, "the bucket has no rule for it")
}

// evalRule is the answer of a rule to a request.
func evalRule(ctx context.Context, rule *rules.Rule, p *Policy, req *Request) error {
	wholeList := req.File == nil && (req.Op == OpList || req.Op == OpTrash)
	if wholeList && rule.Uses("file") {
		return ErrPerFile
	}
	err := rule.Eval(ctx, ruleInput(req))
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err() // an evaluation that was broken off decides nothing
	case err != nil:
		return kindOf(fs.ErrPermission, err.Error())
	case wholeList && p.FileRules:
		return ErrPerFile // some files may have rules of their own
	}
	return nil
}

func fileRule(p *Policy, req *Request, op Op) (string, bool) {
	if !p.FileRules || req.File == nil || req.Access {
		return "", false
	}
	src, ok := req.File.Access[string(op)]
	return src, ok
}

// compileRule returns the rule of a file, compiled. Such rules are many and come
// back often, so the latest are kept.
func (a *ruleBook) compileRule(source string) (*rules.Rule, error) {
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
	if a.compiled == nil || a.size+r.Size() > maxCompiled {
		a.compiled, a.size = make(map[string]*rules.Rule), 0
	}
	if a.compiled[source] == nil {
		a.size += r.Size()
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
	in := &rules.Input{Auth: rules.Auth(req.Who.ID, req.Who.Claims), Upload: req.Upload, Record: req.Record, Request: &request}
	if f, v := req.File, req.Version; f != nil {
		in.File = &rules.File{ID: string(f.ID), ManifestID: string(v.ID), Bucket: f.Bucket, Name: f.Name, Folder: f.Folder,
			Path: f.Path(), Size: v.Size, MIMEType: v.MIMEType, DeclaredMIME: v.DeclaredMIMEType, Owner: f.Owner,
			UploaderID: f.Owner, State: f.State.String(), Version: int64(v.Version), Metadata: make(map[string]any), Tags: f.Tags,
			CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt}
		if len(f.Metadata) > 0 {
			// The store has encoded it, so it can be decoded.
			_ = json.Unmarshal(f.Metadata, &in.File.Metadata)
		}
	}
	return in
}

// ErrAccess reports rules that a file cannot have.
var ErrAccess = errors.New("access is not allowed")

// CheckFileRules checks the rules that a file of a bucket is to have of its own.
func (g *Guard) CheckFileRules(bucket string, p *Policy, access map[string]string) error {
	if len(access) > 0 && !p.FileRules {
		return fmt.Errorf("files of bucket %q have no rules of their own; its schema would need file_rules: true: %w", bucket, ErrAccess)
	}
	ops := slices.DeleteFunc(Ops(), func(op Op) bool { return op == OpCreate })
	for _, op := range slices.Sorted(maps.Keys(access)) {
		if !slices.Contains(ops, Op(op)) {
			return fmt.Errorf("operation %q: use read, update, delete, download, list or trash: %w", names.Clip(op), ErrAccess)
		}
		if _, err := g.book.compileRule(access[op]); err != nil {
			return fmt.Errorf("rule for %s: %w: %w", op, ErrAccess, err)
		}
	}
	return nil
}
