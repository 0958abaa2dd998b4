package rules

import "fmt"

// MaxNesting is how deep the JSON nests that rules may be asked about: metadata
// of files, and claims. {"a": [1]} nests two deep.
const MaxNesting = 100

// CheckNesting returns an error if valid JSON nests deeper than MaxNesting.
func CheckNesting(text []byte) error {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	if deepest > MaxNesting {
		return fmt.Errorf("nested %d deep, at most %d is taken", deepest, MaxNesting)
	}
	return nil
}
