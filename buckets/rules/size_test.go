package rules

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// Rules whose compiled form is larger than their text, each of at most
// MaxSource bytes; a name says what makes them so. refused are those that would
// be too large.
func TestCompiledSize(t *testing.T) {
	race.LeaveOut(t)
	fill := func(head, part, tail string) string {
		return head + strings.Repeat(part, (MaxSource-len(head)-len(tail)-4)/len(part)) + tail
	}
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Compile("file.owner == auth.id"); err != nil { // which makes what all rules share
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, source string
		refused      bool
	}{
		{"usual", "file.owner == auth.id || 'red' in file.tags", false},
		{"a usual pattern", "file.name.matches('^[a-z0-9-]{1,63}\\\\.(png|jpe?g)$')", false},
		{"a pattern of an address", "auth.email.matches('^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\\\.[A-Za-z]{2,24}$')", false},
		{"letters of all scripts", "file.name.matches('^[\\\\pL\\\\pN ._-]+$')", false},
		{"a long repetition", "'x'.matches('.{1000}')", false},
		{"repetitions", fill("'x'.matches('<", ".{1000}", ">')"), true},
		{"repetitions, as a function", fill("matches('x', '<", ".{1000}", ">')"), true},
		{"repetitions of repetitions", "'x'.matches('((a{1,30}){1,30}){1,1}')", true},
		{"few of them", "'x'.matches('((a{1,10}){1,10}){1,1}')", false},
		{"an anchored class, a few times", "'x'.matches('^\\\\pL{10}$')", false},
		{"many small patterns", fill("", "''.matches('^[a-z]+$')||", "true"), false},
		{"repetitions of classes", fill("'x'.matches('", "\\\\pL{999}", "')"), true},
		{"an anchored repetition of a class", "'x'.matches('^\\\\pL{900}$')", true},
		{"optional repetitions", fill("'x'.matches('", "(a|bc){0,500}", "')"), true},
		{"classes", fill("'x'.matches('", "\\\\pL", "')"), true},
		{"folded classes", fill("'x'.matches('(?i)", "\\\\pL", "')"), true},
		{"negated classes", fill("'x'.matches('", "\\\\PL", "')"), true},
		{"many patterns", fill("", "''.matches('.{999}')||", "true"), true},
		{"alternatives", fill("'x'.matches('", "a|", "b')"), false},
		{"groups", fill("'x'.matches('", "(a)", "')"), true},
		{"a pattern of the request", "file.name.matches(auth.pattern)", true},
		{"a pattern of the metadata", "file.name.matches(file.metadata.pattern)", true},
		{"a pattern that is put together", "file.name.matches('.{1000}' + '.{1000}')", true},
		{"a pattern that is chosen", "file.name.matches(true ? 'a' : 'b')", true},
		{"a pattern in a loop", "['.{1000}'].all(p, 'x'.matches(p))", true},
		{"a pattern that is none", "'x'.matches('(')", true},
		{"a list", fill("1 in [", "1,", "1]"), false},
		{"a list of texts", fill("'b' in [", "'a',", "'b']"), false},
		{"a map", fill("1 in {", "1:1,", "2:2}"), false},
		{"lists in lists", strings.Repeat("[", 28) + strings.Repeat("]", 28) + " != []", false},
		{"many terms", fill("", "!true||", "true"), false},
		{"many fields", fill("", "doc.id==''||", "true"), false},
		{"many loops", fill("", "[1].all(x,true)&&", "true"), false},
		{"loops in loops", strings.Repeat("[1].all(a,", 9) + "true" + strings.Repeat(")", 9), false},
		{"many maps", fill("", "[1].map(x,x>0,x)==[]||", "true"), false},
		{"many tests of presence", fill("", "has(doc.metadata.a)||", "true"), false},
		{"choices", fill("", "true?true:", "true"), true}, // which nest too deep
		{"times", fill("", "timestamp('2026-01-01T00:00:00Z')==doc.created_at||", "true"), false},
		{"a long text", "file.name == '" + strings.Repeat("a", 4000) + "'", false},
	} {
		var syntax *SyntaxError
		var before, after runtime.MemStats
		const copies = 8
		kept := make([]*Rule, copies)
		runtime.GC()
		runtime.ReadMemStats(&before)
		var err error
		for i := range kept {
			if kept[i], err = env.Compile(c.source); err != nil {
				break
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		switch {
		case c.refused && (!errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1):
			t.Errorf("%s (%d bytes): %v, want a SyntaxError with its place", c.what, len(c.source), err)
		case c.refused:
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 32*MaxPatterns {
				t.Errorf("%s: refused after %d bytes", c.what, spent)
			}
		case err != nil:
			t.Errorf("%s: %v", c.what, err)
		default:
			took := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / copies
			if size := int64(kept[0].Size()); took > size || size > 4*MaxPatterns {
				t.Errorf("%s (%d bytes): takes %d, counted as %d", c.what, len(c.source), took, size)
			}
			t.Logf("%-35s %5d bytes, takes %8d, counted as %8d", c.what, len(c.source), took, kept[0].Size())
		}
		runtime.KeepAlive(slices.Clone(kept))
	}
}
