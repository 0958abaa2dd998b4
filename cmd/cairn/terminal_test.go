package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/internal/race"
)

// hostile is a name that drives a terminal, breaks lines and turns text.
const hostile = "a\x1b]0;title\a\x1b[2J\r\nb\t\u009b31m\u202egpj\u2066\x9b"

// Whatever a command is given, and wherever it fails, no name drives a terminal, on
// either output; a message is a line; and JSON has none raw either.
func TestHostileNames(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		stage(t, s)
		eachCommand(func(path string, cmd *cobra.Command) {
			flags, works := s.flagsFor(cmd)
			if !works || path == "serve" || path == "completion" || path == "doctor" {
				return // doctor talks for a minute, and prints as the others do
			}
			if s.target[0] == "--data" && cmd.Flags().Lookup("server") != nil && path != "put" && path != "get" {
				return // as on a server
			}
			calls := [][]string{{hostile}, {"demo/" + hostile}, {"demo/" + hostile, "demo/x" + hostile}, {hostile + "/x", "demo/a"}, {"--" + hostile}, {"--bucket", hostile, "--to", hostile}}
			for _, name := range []string{"output", "config", "schema", "db", "seed", "prefix", "name", "folder", "bucket", "op", "operation", "order", "rate", "against", "as", "plot", "origin"} {
				if cmd.Flags().Lookup(name) != nil {
					calls = append(calls, []string{"--" + name, hostile, "demo/a.txt"}, []string{"--" + name, hostile})
				}
			}
			for _, call := range calls {
				for _, asJSON := range []bool{false, true} {
					args := append(append(strings.Fields(path), call...), flags...)
					if asJSON {
						args = append(args, "--json")
					}
					var out, errOut bytes.Buffer
					status := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
					for _, text := range []string{out.String(), errOut.String()} {
						for line := range strings.Lines(text) {
							if line = strings.TrimSuffix(line, "\n"); printable(line) != line {
								t.Errorf("%q (%d) prints %q", args, status, line)
							}
						}
					}
					// A message and where to read more.
					if n := strings.Count(errOut.String(), "\n"); status == 2 && n != 2 && !asJSON || asJSON && n > 1 {
						t.Errorf("%q (%d) has %d lines on stderr:\n%s", args, status, n, &errOut)
					}
				}
			}
		})
	})
}

// tables are commands that show tables. Their rows fit any terminal.
var tables = []string{"ls", "versions", "refs", "keys ls", "links ls", "links show", "buckets", "gc", "gc preview", "gc explain", "scrub status",
	"report usage", "report dedup", "report fragmentation", "report orphans", "report gc"}

// On a terminal nothing is glued to the line of progress, and tables fit its width.
func TestTerminals(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		words := stage(t, s)
		s.putText("demo/a folder with a long name/and another one below it/a file with quite a long name, too (final).tar.gz", strings.Repeat("x", 2000))
		s.putText("demo/写真/家族旅行の写真、二千二十六年の夏休み、北海道にて、その一.txt", "x")
		s.run(0, "", "keys", "create", "--name", "a key for the backups of the night", "--bucket", "demo", "--op", "read,download,list")
		s.run(0, "", "rm", "demo/a.txt")
		s.run(0, "", "restore", "demo/a.txt")
		commands := make(map[string]*cobra.Command)
		eachCommand(func(path string, cmd *cobra.Command) { commands[path] = cmd })
		for _, c := range commandCases {
			flags, works := s.flagsFor(commands[c.path])
			if !slices.Contains(tables, c.path) || !works {
				continue
			}
			for _, columns := range []int{40, 60, 80, 120} {
				f := &fakeTerminal{columns: columns}
				args := append(append(strings.Fields(c.path), strings.Fields(words.Replace(c.args))...), flags...)
				if status := run(t.Context(), args, strings.NewReader(""), f, f); status != 0 {
					t.Errorf("%q: status %d: %s", args, status, &f.all)
				}
				f.rows(t)
				if testing.Verbose() && s.target[0] == "--server" {
					t.Logf("%s %s in %d columns:\n%s", c.path, c.args, columns, &f.all)
				}
			}
		}
	})
}

// What is stored and read while the line of progress is shown stands in rows of its own.
func TestTransfersOnTerminal(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir, out := t.TempDir(), t.TempDir()
		for i := range 30 {
			write(t, filepath.Join(dir, "sub", strings.Repeat("long name ", 8)+strconv.Itoa(i)), strings.Repeat(strconv.Itoa(i), 50_000))
		}
		for _, args := range [][]string{{"put", dir, "nonesuch"}, {"get", "-r", "demo", "-o", out}, {"get", "-r", "nope", "-o", out}, {"rm", "-r", "-y", "demo"}} {
			f := &fakeTerminal{columns: 80}
			run(t.Context(), append(args, s.target...), strings.NewReader(""), f, f)
			for _, row := range f.rows(t) {
				if strings.Contains(row, "/s  ") || strings.Contains(row, "% ") {
					t.Errorf("%q leaves %q", args, row)
				}
			}
		}
		if got, err := os.ReadDir(filepath.Join(out, "sub")); err != nil || len(got) != 30 {
			t.Errorf("%d files came back: %v", len(got), err)
		}
	})
}
