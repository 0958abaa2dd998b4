package api

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
)

var errorRow = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| ([0-9]+) \\| `([A-Z_]+)` \\|")

// Codes are a promise: every one is in ERRORS.md, and no other is.
func TestErrorsAreListed(t *testing.T) {
	text, err := os.ReadFile("ERRORS.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed, known []string
	for _, m := range errorRow.FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, m[1]+" "+m[2]+" "+m[3])
	}
	for _, o := range outcomes() {
		known = append(known, fmt.Sprintf("%s %d %s", o.code, o.status, o.alyx))
	}
	known = append(known, "internal 500 INTERNAL_ERROR", "content-damaged 500 INTERNAL_ERROR")
	slices.Sort(known)
	slices.Sort(listed)
	if known = slices.Compact(known); !slices.Equal(listed, known) {
		t.Errorf("ERRORS.md lists\n%q\nthe code knows\n%q", listed, known)
	}
}
