package rules

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func compile(t testing.TB, source string) *Rule {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	r, err := env.Compile(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return r
}

var alice = Auth("alice", map[string]any{"role": "editor", "verified": true, "teams": []any{"a", "b"}, "id": "forged"})

func input() *Input {
	return &Input{
		Auth: alice,
		File: &File{ID: "f_1", Name: "a.pdf", Owner: "alice", UploaderID: "alice", Size: 10, MIMEType: "application/pdf", Path: "x/a.pdf",
			Metadata: map[string]any{"public": true, "level": 3.0}, Tags: []string{"red"}, CreatedAt: time.Unix(1, 0)},
		Upload:  &Upload{Name: "b", Size: 5},
		Request: &Request{Method: "GET", IP: "10.0.0.1", Time: time.Unix(100, 0)},
	}
}

func TestEval(t *testing.T) {
	anonymous := &Input{Auth: Auth("", nil), File: input().File, Request: input().Request}
	for _, c := range []struct {
		source string
		in     *Input
		want   error
	}{
		{"true", input(), nil},
		{"false", input(), ErrDenied},
		{"auth.id != null", input(), nil},
		{"auth.id != null", anonymous, ErrDenied},
		{"auth.id == file.owner", input(), nil},
		{"auth.id == file.owner", anonymous, ErrDenied},
		{"file.owner == auth.id || auth.role == 'admin'", anonymous, ErrDenied},
		{"auth.id == doc.uploader_id", input(), nil},
		{"auth.role in ['editor', 'admin']", input(), nil},
		{"'b' in auth.teams", input(), nil},
		{"auth.nothing == 1", input(), ErrFailed},
		{"auth.nothing == 1 || true", input(), nil},
		{"has(auth.nothing)", input(), ErrDenied},
		{"file.metadata.public == true && file.metadata.level >= 3", input(), nil},
		{"'red' in file.tags && file.size < 11 && file.path.startsWith('x/')", input(), nil},
		{"request.time > file.created_at + duration('90s')", input(), nil},
		{"upload.size < 6", input(), nil},
		{"upload.size < 6", anonymous, ErrFailed},
		{"record.owner == 'x'", input(), ErrFailed},
		{"auth.role", input(), ErrFailed},
	} {
		if err := compile(t, c.source).Eval(t.Context(), c.in); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", c.source, err, c.want)
		}
	}
}

func TestClaimsCannotNameAnother(t *testing.T) {
	if alice["id"] != "alice" {
		t.Errorf("auth.id is %v", alice["id"])
	}
	if id := Auth("", map[string]any{"id": "root"})["id"]; id != nil {
		t.Errorf("auth.id of an anonymous caller is %v", id)
	}
}

func TestCompileErrors(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, message string
		line, column    int
	}{
		{"", "empty", 1, 1},
		{"auth.id ==", "Syntax error", 1, 11},
		{"true &&\n  file.sise > 1", "sise", 2, 7},
		{"usr.id == 'x'", "undeclared", 1, 1},
		{"file.size", "want a bool", 1, 1},
		{"file.size == 'x'", "no matching overload", 1, 11},
		{strings.Repeat("x", MaxSource+1), "at most", 1, 1},
	} {
		_, err := env.Compile(c.source)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%.40q: %v, want a SyntaxError", c.source, err)
			continue
		}
		if !strings.Contains(syntax.Message, c.message) || syntax.Line != c.line || syntax.Column != c.column {
			t.Errorf("%.40q: %v, want %q at %d:%d", c.source, err, c.message, c.line, c.column)
		}
	}
}

// TestHostile: what grows with the power of its length is stopped by the
// limit, whatever it would come to.
func TestHostile(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]"
	r := compile(t, list+".all(a, "+list+".all(b, "+list+".all(c, a + b + c > 0)))")
	err := r.Eval(t.Context(), input())
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "cost") {
		t.Errorf("%v, want ErrFailed for its cost", err)
	}
	big := input()
	big.File.Name = strings.Repeat("a", 255)
	for _, source := range []string{
		"file.name" + strings.Repeat(".replace('a', 'aaaaaaaaaa')", 6) + " == ''",
		"file.name" + strings.Repeat(".split('').join(file.name)", 10) + " == ''",
		"['a', 'a']" + strings.Repeat(".map(x, x + x)", 20) + ".join() == ''",
	} {
		if err := compile(t, source).Eval(t.Context(), big); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "cost") {
			t.Errorf("%.50s: %v, want ErrFailed for its cost", source, err)
		}
	}
	env, _ := NewEnv()
	for _, source := range []string{
		strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000),
		strings.Repeat("[", 100) + strings.Repeat("]", 100) + " == []",
		strings.Repeat("{1: ", 100) + "1" + strings.Repeat("}", 100) + " == {}",
		"file.name.matches('((a{1,100}){1,100}){1,100}')",
		"'%.1000000f'.format([1.0]) == ''",
	} {
		_, err := env.Compile(source)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 {
			t.Errorf("%.50s: %v, want a SyntaxError with its place", source, err)
		}
	}
	if _, err := env.Compile(strings.Repeat("(auth.id == file.owner && ", 20) + "true" + strings.Repeat(")", 20)); err != nil {
		t.Errorf("what somebody may write: %v", err)
	}
}

func TestUses(t *testing.T) {
	if !compile(t, "doc.size > 1").Uses("file") || compile(t, "auth.id == 'file'").Uses("file") {
		t.Error("Uses is wrong about file")
	}
}

// BenchmarkEval has the rules of the schema in docs/rules.md.
func BenchmarkEval(b *testing.B) {
	for _, source := range []string{
		"auth.id != null",
		"file.owner == auth.id || auth.role == 'admin'",
		"file.metadata.public == true || (auth.id != null && 'red' in file.tags)",
	} {
		r, in := compile(b, source), input()
		b.Run(source, func(b *testing.B) {
			for b.Loop() {
				if err := r.Eval(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
