// Package manual finds the command blocks of README.md and docs/, which its tests run
// as a reader would who pastes them.
//
//	```sh                   lines for a shell, without prompts; those of a page share one shell and one folder
//	```sh not run: REASON   lines that no test can run
//	```text                 directly after lines that are run: what they print, on stdout and stderr
//
// In what is printed, … stands for anything within a line, and a line … for any lines.
package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// A Block is some lines for a shell, and what they print.
type Block struct {
	Line   int // of the page, where the commands begin
	Text   string
	Prints string // "" is not compared
}

var (
	fence = regexp.MustCompile("^```(.*)$")

	// Commands of a block that is not marked as one, which no test would run.
	command = regexp.MustCompile(`(?m)^(\$ |(sudo )?(cairn|curl|make|apt-get|docker|go (run|get|install)|npm|npx) )`)
)

// Parse returns the blocks of a page that are to be run. It fails where commands stand
// in a block of another kind.
func Parse(page string) ([]Block, error) {
	var out []Block
	kind, begin, last := "", 0, 0 // last is the line after which a block of text belongs to the last commands
	var text strings.Builder
	inside := false
	for i, line := range strings.Split(page, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m == nil && inside:
			fmt.Fprintln(&text, line)
		case m == nil && strings.TrimSpace(line) != "":
			last = -1
		case m == nil:
		case !inside:
			kind, begin, inside = strings.TrimSpace(m[1]), i+2, true
			text.Reset()
		default:
			inside = false
			reason, skipped := strings.CutPrefix(kind, "sh not run:")
			switch {
			case kind == "sh":
				out, last = append(out, Block{Line: begin, Text: text.String()}), len(out)
			case skipped && strings.TrimSpace(reason) == "":
				return nil, fmt.Errorf("line %d: commands that are not run, and no reason: want \"sh not run: REASON\"", begin)
			case skipped:
				last = -1
			case kind == "text" && last >= 0 && last < len(out):
				out[last].Prints, last = text.String(), -1
			case command.MatchString(text.String()):
				return nil, fmt.Errorf("line %d: commands in a block of kind %q: want \"sh\", without prompts, and \"text\" for what they print", begin, kind)
			default:
				last = -1
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("line %d: a block without an end", begin)
	}
	return out, nil
}

// Compare returns "" if got is what want says, or the first line of want that got
// does not have.
func Compare(want, got string) string {
	return compareLines(splitLines(want), splitLines(got))
}

func splitLines(s string) []string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r")
	}
	return lines
}

func compareLines(want, got []string) string {
	for i, w := range want {
		if w == "…" {
			rest := want[i+1:]
			for skip := range len(got) - i + 1 {
				if compareLines(rest, got[i+skip:]) == "" {
					return ""
				}
			}
			return "lines that end with: " + strings.Join(rest, "\n")
		}
		if i >= len(got) {
			return w
		}
		if !matchLine(w, got[i]) {
			return w
		}
	}
	if len(got) > len(want) {
		return "the end, not: " + got[len(want)]
	}
	return ""
}

func matchLine(want, got string) bool {
	parts := strings.Split(want, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got)
}
