package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// A Problem is a mistake in a file, and its place. Line and Column count from 1.
type Problem struct {
	File         string
	Line, Column int
	Message      string
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems are all mistakes of a file, in its order.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sortByPlace sorts the problems by their places.
func (ps Problems) sortByPlace() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// A source is a file that is being parsed.
type source struct {
	file     string
	text     []byte
	problems Problems
	alyx     bool // it describes Alyx's own storage
}

func (s *source) addProblem(n *yaml.Node, format string, args ...any) {
	s.problems = append(s.problems, s.problemAt(n, format, args...))
}

func (s *source) problemAt(n *yaml.Node, format string, args ...any) Problem {
	return Problem{s.file, max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)}
}

// err returns the problems in the order of the file, nil if there are none.
func (s *source) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	s.problems.sortByPlace()
	return s.problems
}

// suggest suggests which of the words was meant: "; did you mean …?", or what
// there is to choose from.
func suggest(word string, words []string) string {
	best, distance := "", 1+max(2, len(word)/3)
	for _, w := range words {
		if len(word) > 3 && hasParts(w, strings.Split(word, "_")) {
			best = w
			break
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), w); d < distance {
			best, distance = w, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(words) == 0 {
		return ""
	}
	return "; use one of " + strings.Join(words, ", ")
}

// hasParts reports whether a word has the parts in their order: max_file_size
// has those of max_size.
func hasParts(word string, parts []string) bool {
	for _, p := range parts {
		_, rest, ok := strings.Cut(word, p)
		if !ok {
			return false
		}
		word = rest
	}
	return true
}
