package chunker

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// goldenInputs holds the beginning of the inputs that golden.txt names, by
// kind. FORMAT.md describes them.
func goldenInputs(longest int) map[string][]byte {
	const seed = "cairn golden"
	return map[string][]byte{
		"random": stream(seed, longest),
		"prose":  prose(seed, longest),
		"sparse": sparse(seed, longest),
	}
}

// Cuts of a named splitter are final: a store holds what older versions of
// this code cut, and clients cut by themselves. If this test fails the code is
// wrong. Lines may be added to golden.txt, never changed; there is no flag that
// writes it.
func TestGolden(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inputs := goldenInputs(8 << 20)
	covered := make(map[string]int)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, err := checkGolden(line, inputs)
		if err != nil {
			t.Errorf("%.60s…: %v", line, err)
		}
		covered[name]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, p := range profiles {
		if covered[p.splitter.String()] < 3 {
			t.Errorf("profile %s, %s, has %d golden inputs, want 3", p.name, p.splitter, covered[p.splitter.String()])
		}
	}
}

// checkGolden checks a line "kind size splitter length…" and returns the
// splitter's name.
func checkGolden(line string, inputs map[string][]byte) (name string, err error) {
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return "", fmt.Errorf("%d fields", len(fields))
	}
	size, err := strconv.Atoi(fields[1])
	if err != nil {
		return "", err
	}
	p := inputs[fields[0]]
	if size < 0 || size > len(p) {
		return "", fmt.Errorf("no input %q of %d bytes", fields[0], size)
	}
	s, err := Parse(fields[2])
	if err != nil {
		return "", err
	}
	ways := []Splitter{s}
	if g, ok := s.(*gear); ok && g.blocks {
		ways = append(ways, inGo(g))
	}
	for _, s := range ways {
		got := strings.Trim(fmt.Sprint(cuts(s, p[:size])), "[]")
		if want := strings.Join(fields[3:], " "); got != want {
			return fields[2], fmt.Errorf("cuts moved:\n got %s\nwant %s", got, want)
		}
	}
	return fields[2], nil
}
