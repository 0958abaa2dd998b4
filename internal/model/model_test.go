// Package model checks the protocol of collection by a model in Promela,
// collection.pml, of which the program spin explores every schedule. The rules
// that the model follows are those of ARCHITECTURE.md.
package model

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// scenarios choose the processes that run beside a collector, purges and the
// network that carries deletes. small are the flags of quick runs.
var scenarios = []struct{ name, small string }{
	{"UPLOADS", "-DPURGES=1"},
	{"REPEATS", "-DPURGES=1"},
	{"PIECES", "-DPURGES=1"},
	{"EDITS", "-DPURGES=1"},
	{"SEGMENTS", "-DPURGES=1"},
	{"SOURCES", "-DPURGES=1"},
	{"SERVERS", "-DPURGES=1"},
	{"SCRUB", "-DPURGES=1"},
	{"MOVE", "-DPURGES=0"},
	{"CRASH", "-DPURGES=1"},
	{"LOSS", "-DPURGES=1"},
}

// mutants leave out or change one rule each. Each loses data in a scenario.
var mutants = []struct{ name, scenario string }{
	{"FLOOR_LATE", "UPLOADS"},
	{"HIT_UNSTAMPED", "UPLOADS"},
	{"NEW_UNSTAMPED", "UPLOADS"},
	{"SKEW", "UPLOADS"},
	{"NOT_COMPARED", "UPLOADS"},
	{"APPLY_TO_DOOMED", "REPEATS"},
	{"PARTS_UNCHECKED", "PIECES"},
	{"ROW_UNCHECKED", "EDITS"},
	{"TOP_ONLY", "SEGMENTS"},
	{"SOURCES_UNSTAMPED", "SOURCES"},
	{"SOURCE_FIRST", "SOURCES"},
	{"NO_FENCING", "SERVERS"},
	{"REMOVAL_EARLY", "SCRUB"},
	{"MOVE_UNROOTED", "MOVE"},
	{"DOOM_UNSETTLED", "LOSS"},
}

// TestProtocol runs each scenario with one cycle of collection, or with
// CAIRN_MODEL cycles.
func TestProtocol(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			// A small model is explored in less time than compiling it well takes.
			optimize, flags := "-O0", strings.Fields("-D"+s.name+" -DCYCLES=1 "+s.small)
			if n := os.Getenv("CAIRN_MODEL"); n != "" {
				optimize, flags = "-O2", []string{"-D" + s.name, "-DCYCLES=" + n}
			}
			if out := explore(t, optimize, flags...); !strings.Contains(out, "errors: 0") {
				t.Errorf("%v loses data, or was not explored whole:\n%s", flags, out)
			}
		})
	}
}

func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			out := explore(t, "-O0", "-D"+m.scenario, "-D"+m.name)
			if !strings.Contains(out, "errors: 1") || !strings.Contains(out, "assertion violated") {
				t.Errorf("without its rule %s finds nothing:\n%s", m.scenario, out)
			}
		})
	}
}

var states = regexp.MustCompile(`\d+ states, stored`)

// explore makes a program of the model, which optimize compiles, and returns
// what it says of all schedules: the first that loses data, or that none does.
func explore(t *testing.T, optimize string, flags ...string) string {
	t.Helper()
	for _, tool := range []string{"spin", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: %v", tool, err)
		}
	}
	model, err := filepath.Abs("collection.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("spin", append(append([]string{"-a"}, flags...), model)...)
	// Schedules end where nobody can go on; that is no error (-E).
	run("cc", optimize, "-w", "-DSAFETY", "-DNOFAIR", "-DCOLLAPSE", "-DMEMLIM=16000", "-o", "pan", "pan.c")
	out := run("./pan", "-E", "-m1000000")
	t.Logf("%s: %s", strings.Join(flags, " "), states.FindString(out))
	return out
}
