// Package rules compiles and evaluates access rules: expressions in CEL
// (https://cel.dev) that say whether a request may go on. A rule is compiled
// once, against typed variables, so that a misspelt field is found before the
// first request; a rule that fails or costs too much denies.
//
// An Env compiles a Rule, Rule.Eval decides about an Input. Which rule is asked
// when is decided in package buckets.
package rules

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"golang.org/x/text/unicode/norm"
)

const (
	// MaxSource is the longest rule taken, in bytes.
	MaxSource = 4096
	// MaxCost bounds the work of one evaluation, in CEL's units: about one
	// for each step or ten bytes looked at.
	MaxCost = 20_000
	// maxDepth bounds how deep expressions nest: checking the type of lists
	// in lists takes time in the cube of their depth.
	maxDepth = 32
)

var (
	// ErrDenied reports a rule that is false.
	ErrDenied = errors.New("rule denies")
	// ErrFailed reports a rule that could not be evaluated to the end. It denies.
	ErrFailed = errors.New("rule failed")
)

// A SyntaxError says why a rule does not compile. Line and Column count from
// 1, within the rule.
type SyntaxError struct {
	Line, Column int
	Message      string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// File is the variable file, and its other name doc: the file in question.
type File struct {
	ID           string         `cel:"id"`
	ManifestID   string         `cel:"manifest_id"`
	Bucket       string         `cel:"bucket"`
	Name         string         `cel:"name"`
	Folder       string         `cel:"folder"`
	Path         string         `cel:"path"`
	Size         int64          `cel:"size"`
	MIMEType     string         `cel:"mime_type"`
	Owner        string         `cel:"owner"`
	UploaderID   string         `cel:"uploader_id"` // another name of Owner
	State        string         `cel:"state"`
	Version      int64          `cel:"version"`
	Metadata     map[string]any `cel:"metadata"`
	Tags         []string       `cel:"tags"`
	CreatedAt    time.Time      `cel:"created_at"`
	UpdatedAt    time.Time      `cel:"updated_at"`
	DeclaredMIME string         `cel:"declared_mime_type"`
}

// Upload is the variable upload: what a create or a new version brings. Size
// is the declared one, 0 while unknown; rules are asked again at the commit,
// with the size and type found.
type Upload struct {
	Name     string `cel:"name"`
	Folder   string `cel:"folder"`
	Path     string `cel:"path"`
	Size     int64  `cel:"size"`
	MIMEType string `cel:"mime_type"`
	Protocol string `cel:"protocol"`
}

// Request is the variable request.
type Request struct {
	Method   string    `cel:"method"`
	IP       string    `cel:"ip"`
	Protocol string    `cel:"protocol"`
	Time     time.Time `cel:"time"`
}

// Input is what one evaluation is about. Variables that are nil are absent:
// a rule that reads them fails.
type Input struct {
	Auth    map[string]any // id, email, role and verified are always there, null when unknown
	File    *File
	Upload  *Upload
	Record  map[string]any
	Request *Request
}

// Auth returns the variable auth for an identity. The members that rules may
// always name are set, to null if the claims don't have them.
func Auth(id string, claims map[string]any) map[string]any {
	auth := map[string]any{"id": nil, "email": nil, "role": nil, "verified": nil}
	for k, v := range claims {
		auth[k] = v
	}
	if auth["id"] = nil; id != "" {
		auth["id"] = id
	}
	return auth
}

// An Env compiles rules. It may be used concurrently.
type Env struct{ cel *cel.Env }

// NewEnv returns an Env of the variables that Input has.
func NewEnv() (*Env, error) {
	file := cel.ObjectType("rules.File")
	env, err := cel.NewEnv(
		ext.NativeTypes(reflect.TypeFor[File](), reflect.TypeFor[Upload](), reflect.TypeFor[Request](), ext.ParseStructTags(true)),
		ext.Strings(),
		cel.Variable("auth", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("file", file),
		cel.Variable("doc", file),
		cel.Variable("upload", cel.ObjectType("rules.Upload")),
		cel.Variable("record", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("request", cel.ObjectType("rules.Request")),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxDepth),
	)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return &Env{cel: env}, nil
}

// A Rule is a compiled expression. It may be used concurrently.
type Rule struct {
	source  string
	program cel.Program
	vars    []string // variables that it names, sorted
	size    int
}

// Size is an upper bound of the bytes that the rule takes in memory, whatever
// the length of its source.
func (r *Rule) Size() int { return r.size }

// Compile compiles source, an expression of type bool. What is wrong with it
// is a *SyntaxError.
func (e *Env) Compile(source string) (*Rule, error) {
	if len(source) > MaxSource {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("rule of %d bytes, at most %d are taken", len(source), MaxSource)}
	}
	if strings.TrimSpace(source) == "" {
		return nil, &SyntaxError{1, 1, "rule is empty: write \"false\" to deny, or leave the operation out"}
	}
	// Names and paths are stored in NFC, so a rule that a file system or an editor
	// has decomposed would never meet the ones that it shows.
	tree, issues := e.cel.Compile(norm.NFC.String(source))
	if errs := issues.Errors(); len(errs) > 0 {
		at := errs[0].Location
		return nil, &SyntaxError{max(at.Line(), 1), max(at.Column()+1, 1), errs[0].Message}
	}
	if t := tree.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("rule is a %s, want a bool", t)}
	}
	size, err := compiledSize(tree)
	if err != nil {
		return nil, err
	}
	program, err := e.cel.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, &SyntaxError{1, 1, err.Error()}
	}
	return &Rule{source: source, program: program, vars: freeVariables(tree), size: size}, nil
}

// freeVariables returns the variables of Input that an expression names.
func freeVariables(tree *cel.Ast) (names []string) {
	known := []string{"auth", "doc", "file", "record", "request", "upload"}
	ast.PostOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind && slices.Contains(known, e.AsIdent()) && !slices.Contains(names, e.AsIdent()) {
			names = append(names, e.AsIdent())
		}
	}))
	slices.Sort(names)
	return names
}

// Source returns the rule as it was written.
func (r *Rule) Source() string { return r.source }

// Uses reports whether the rule names a variable. file and doc are one.
func (r *Rule) Uses(variable string) bool {
	if variable == "file" && slices.Contains(r.vars, "doc") {
		return true
	}
	return slices.Contains(r.vars, variable)
}

// IsConstant reports whether the rule has the same answer to everything.
func (r *Rule) IsConstant() bool { return len(r.vars) == 0 }

// Eval returns nil if the rule is true of in. Otherwise the error is
// ErrDenied, or ErrFailed with the reason.
func (r *Rule) Eval(ctx context.Context, in *Input) error {
	out, _, err := r.program.ContextEval(ctx, activation{in})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return checkVerdict(out)
}

// checkVerdict returns nil if a rule's value is true.
func checkVerdict(out ref.Val) error {
	switch v := out.Value().(type) {
	case bool:
		if v {
			return nil
		}
		return ErrDenied
	default:
		return fmt.Errorf("%w: it is a %s, want a bool", ErrFailed, out.Type().TypeName())
	}
}

// An activation resolves variables to what an Input holds.
type activation struct{ in *Input }

func (activation) Parent() cel.Activation { return nil }

func (a activation) ResolveName(name string) (any, bool) {
	switch name {
	case "auth":
		return a.in.Auth, a.in.Auth != nil
	case "file", "doc":
		return a.in.File, a.in.File != nil
	case "upload":
		return a.in.Upload, a.in.Upload != nil
	case "record":
		return a.in.Record, a.in.Record != nil
	case "request":
		return a.in.Request, a.in.Request != nil
	}
	return nil, false
}
