package rules

import (
	"fmt"
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
)

const (
	// MaxPatterns bounds what the patterns of a rule take in memory, in bytes:
	// they may be far larger compiled than written. That bounds the time of a
	// match too, which CEL counts by the text of the pattern.
	MaxPatterns = 512 << 10

	ruleSize = 4 << 10 // of a rule of one node
	nodeSize = 512     // of a node of the expression, with all that is made of it
	stepSize = 80      // of an instruction of a pattern, in its program and its copies
	runeSize = 32      // of an end of a range of characters, likewise
)

// compiledSize returns an upper bound of what a rule takes in memory, before
// anything is made of it. It refuses what would be too large, and patterns that
// only an evaluation would know.
func compiledSize(tree *cel.Ast) (int, error) {
	info := tree.NativeRep().SourceInfo()
	size, patterns, err := ruleSize, 0, error(nil)
	ast.PostOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		refuse := func(format string, args ...any) {
			if err == nil {
				at := info.GetStartLocation(e.ID())
				err = &SyntaxError{max(at.Line(), 1), max(at.Column()+1, 1), fmt.Sprintf(format, args...)}
			}
		}
		size += nodeSize
		if e.Kind() == ast.LiteralKind {
			if text, ok := e.AsLiteral().Value().(string); ok {
				size += len(text)
			}
		}
		if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.Matches {
			n, why := patternSize(e.AsCall())
			if patterns += n; why != nil {
				refuse("matches: %v", why)
			} else if patterns > MaxPatterns {
				refuse("patterns of more than %d KiB compiled: write them with fewer repetitions and classes", MaxPatterns>>10)
			}
		}
	}))
	return size + patterns, err
}

// patternSize returns an upper bound of what the pattern of a call of matches
// takes compiled.
func patternSize(call ast.CallExpr) (int, error) {
	args := call.Args()
	pattern := args[len(args)-1]
	if pattern.Kind() != ast.LiteralKind {
		return 0, fmt.Errorf("the pattern is not a text written out")
	}
	text, ok := pattern.AsLiteral().Value().(string)
	if !ok {
		return 0, fmt.Errorf("the pattern is not a text")
	}
	tree, err := syntax.Parse(text, syntax.Perl) // which expands no repetitions
	if err != nil {
		return 0, err
	}
	return expandedSize(tree), nil
}

// expandedSize is patternSize of a part, with its repetitions written out.
func expandedSize(re *syntax.Regexp) int {
	size := 2 * stepSize
	if re.Op == syntax.OpLiteral {
		size += len(re.Rune) * stepSize
	}
	size += len(re.Rune) * runeSize
	for _, sub := range re.Sub {
		size = min(size+expandedSize(sub), MaxPatterns+1)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Max, re.Min+1)
	}
	return min(size, MaxPatterns+1)
}
