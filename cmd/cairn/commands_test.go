package main

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// eachCommand calls fn with every command that does something, and its path.
func eachCommand(fn func(path string, cmd *cobra.Command)) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.HasParent() && !isGroup(cmd) {
			fn(commandName(cmd), cmd)
		}
	}
	walk(newRoot(&target{}))
}

// Every command, and every group of them, has a short description, and every command
// examples: command lines that it takes.
func TestExamples(t *testing.T) {
	race.LeaveOut(t)
	eachCommand(func(path string, cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: %q, examples %q", path, cmd.Short, cmd.Example)
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			words := shellWords(t, line)
			i := slices.Index(words, "cairn")
			if !strings.HasPrefix(line, "  ") || i < 0 {
				t.Errorf("%s: the example %q has no cairn", path, line)
				continue
			}
			root := newRoot(&target{})
			found, args, err := root.Find(words[i+1:])
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || commandName(found) != path {
				t.Errorf("%s: the example %q is one of %s: %v", path, line, found.CommandPath(), err)
			}
		}
	})
}

// shellWords splits a command line as a shell does, up to a pipe or a redirection.
func shellWords(t *testing.T, line string) (words []string) {
	word, quote, begun := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote != 0 || r != ' ':
			word, begun = word+string(r), true
		case begun:
			switch {
			case slices.Contains(words, "cairn") && (word == "|" || strings.HasPrefix(word, ">")):
				return words
			}
			words, word, begun = append(words, word), "", false
		}
	}
	if quote != 0 {
		t.Errorf("%q: a quote is open", line)
	}
	return words
}

// A command has the shared flags that mean something to it, and refuses the others with
// status 2.
func TestSharedFlags(t *testing.T) {
	shared := map[string]string{"data": "x", "server": "http://127.0.0.1:1", "token": "x", "config": "x", "schema": "x", "take-ownership": "true"}
	store := []string{"config", "data", "schema", "take-ownership"}
	want := map[string][]string{
		"serve": store, "dump": store, "import alyx": store,
		"sign": {"server", "token"}, "gc status": {"server", "token"}, "gc pause": {"server", "token"}, "gc resume": {"server", "token"}, "doctor": {"server", "token"}, "health": {"server", "token"},
		"schema check": {"config", "schema"}, "rules test": {"config", "schema"}, "token": {"config"}, "backend probe": {"config"},
		"schema keys": {}, "schema json": {}, "version": {}, "completion": {}, "help": {},
	}
	eachCommand(func(path string, cmd *cobra.Command) {
		flags, ok := want[path]
		if !ok {
			flags = slices.Sorted(maps.Keys(shared))
		}
		delete(want, path)
		for name, value := range shared {
			has := cmd.Flags().Lookup(name) != nil
			if has != slices.Contains(flags, name) {
				t.Errorf("%s has --%s: %v", path, name, has)
			}
			if has {
				continue
			}
			_, stderr := (&shell{t, nil}).run(2, "", append(strings.Fields(path), "--"+name+"="+value)...)
			if !strings.Contains(stderr, "--"+name+" means nothing to this command") {
				t.Errorf("%s --%s: %s", path, name, stderr)
			}
		}
	})
	if len(want) > 0 {
		t.Errorf("there are no commands %v", want)
	}
}

// A word that is nearly right is told what is right, by every group and by flags.
func TestDidYouMean(t *testing.T) {
	race.LeaveOut(t)
	for args, want := range map[string]string{
		"putt": "did you mean put?", "lss": "did you mean ls?", "verison": "did you mean version?", "delete": "did you mean rm?", "rename": "did you mean mv?",
		"report usgae": "did you mean report usage?", "keys lst": "did you mean keys ls?", "gc staus": "did you mean gc status?", "scrub stat": "did you mean scrub status?",
		"schema chek": "did you mean schema check?", "rules explian": "did you mean rules explain?", "links forgt": "did you mean links forget?",
		"import alix": "did you mean import alyx?", "backend prob": "did you mean backend probe?", "help reprot": "did you mean report?",
		"qqqqqqq": `there is no command "qqqqqqq"`, "report qqqqqqq": `there is no command "report qqqqqqq"`,
		"ls --serch x": "did you mean --search?", "put --bukcet x": "did you mean --bucket?", "gc --dryrun": "did you mean --dry-run?", "--jsn": "did you mean --json?",
		"ls --qqqqqq": "ls: there is no flag --qqqqqq", "ls -q": "ls: there is no flag -q", "ls --search": "ls: flag needs an argument",
	} {
		if _, stderr := (&shell{t, nil}).run(2, "", strings.Fields(args)...); !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 2 {
			t.Errorf("%s: %s, want %s", args, stderr, want)
		}
	}
}

// stage fills a store on which every command can be called, and returns what the words in
// capitals of commandCases stand for there.
func stage(t *testing.T, s *shell) *strings.Replacer {
	t.Helper()
	dir := t.TempDir()
	a := write(t, filepath.Join(dir, "a.txt"), "one")
	s.run(0, "", "put", a)
	write(t, a, "two")
	s.run(0, "", "put", a)
	for _, name := range []string{"b.txt", "c.txt", "trashed.txt"} {
		s.run(0, name, "put", "--folder", "folder", "--name", name, "-")
	}
	s.run(0, "", "rm", "demo/folder/trashed.txt")
	var f, k struct{ ID string }
	s.decodeJSON(&f, "stat", "demo/folder/b.txt")
	linkFile(t, s, f.ID, false)
	s.decodeJSON(&k, "keys", "create", "--operator")
	declared := declared(t, goodConfig, goodSchema)
	cases := write(t, filepath.Join(dir, "cases.yaml"), "cases:\n- {bucket: notes, operation: read, allow: true}\n")
	return strings.NewReplacer("DIR", dir, "FILE", a, "KEY", k.ID, "CASES", cases, "CONFIG", declared[3], "SCHEMA", declared[5], "LINKED", "demo/folder/b.txt")
}

// commandCases are calls of every command that succeed on a stage, in this order.
var commandCases = []struct{ path, args string }{
	{"put", "FILE"}, {"get", "demo/a.txt -o DIR/out"}, {"get", "-r demo -o DIR/tree"}, {"ls", ""}, {"ls", "--trash demo"}, {"ls", "--folders demo"}, {"ls", "demo/folder demo"},
	{"stat", "demo/a.txt"}, {"versions", "demo/a.txt"}, {"cp", "demo/a.txt demo/copy.txt"}, {"mv", "demo/copy.txt demo/moved.txt"}, {"rm", "demo/moved.txt"},
	{"restore", "demo/folder/trashed.txt"}, {"rm", "-r --yes demo/folder/c.txt"}, {"buckets", ""}, {"sign", "demo/a.txt"},
	{"links ls", ""}, {"links show", "blog"}, {"refs", "LINKED"}, {"links forget", "--yes blog"},
	{"gc", "--dry-run"}, {"gc", ""}, {"gc preview", "demo/a.txt"}, {"gc explain", "demo/a.txt"}, {"gc status", ""}, {"gc pause", ""}, {"gc resume", ""},
	{"scrub", "--all"}, {"scrub status", ""}, {"check", ""},
	{"report usage", ""}, {"report usage", "demo"}, {"report dedup", ""}, {"report fragmentation", ""}, {"report orphans", ""}, {"report gc", ""}, {"dump", "_alyx_files"},
	{"schema check", "--config CONFIG --schema SCHEMA"}, {"schema keys", ""}, {"schema json", ""}, {"rules test", "--schema SCHEMA CASES"}, {"rules explain", "read demo"},
	{"keys create", "--operator"}, {"keys ls", ""}, {"keys rotate-signing", ""}, {"keys rm", "KEY"}, {"migrate", "--bucket demo --to local"}, {"token", "--config CONFIG ann"},
	{"version", ""}, {"health", ""}, {"health", "--ready"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"completion", "powershell"}, {"help", "mv"},
}

// calledElsewhere are commands that need more than a stage, and the tests that call them
// with --json.
var calledElsewhere = map[string]string{"serve": "TestServeJSON", "import alyx": "TestImportAlyx", "backend probe": "TestProbeJSON", "doctor": "TestDoctor"}

// flagsFor returns the flags of the shell's target that a command has, and whether it
// works on that target at all.
func (s *shell) flagsFor(cmd *cobra.Command) (flags []string, works bool) {
	has := func(name string) bool { return cmd.Flags().Lookup(name) != nil }
	switch name := strings.TrimPrefix(s.target[0], "--"); {
	case has(name):
		return s.target, true
	case has("data") || has("server"):
		return nil, false
	}
	return nil, true
}

// With --json every command writes objects, one a line, and nothing else; what it fails
// with is one on stderr.
func TestJSON(t *testing.T) {
	race.LeaveOut(t)
	missing := calledElsewhere
	commands := make(map[string]*cobra.Command)
	eachCommand(func(path string, cmd *cobra.Command) { commands[path] = cmd })
	for path := range commands {
		if missing[path] == "" && !slices.ContainsFunc(commandCases, func(c struct{ path, args string }) bool { return c.path == path }) {
			t.Errorf("%s: nobody has looked whether it writes JSON: give it a line in commandCases", path)
		}
	}
	targets(t, func(t *testing.T, s *shell) {
		words := stage(t, s)
		for _, c := range commandCases {
			flags, works := s.flagsFor(commands[c.path])
			if !works {
				continue
			}
			args := append(append(strings.Fields(c.path), strings.Fields(words.Replace(c.args))...), "--json")
			out, stderr := (&shell{t, flags}).run(0, "", args...)
			if stderr != "" {
				t.Errorf("%q writes on stderr: %s", args, stderr)
			}
			checkObjects(t, args, out, 1)
			for _, wrong := range [][]string{{"--qqq"}, {"--json=maybe"}} {
				if _, stderr := (&shell{t, nil}).run(2, "", append(slices.Clone(args), wrong...)...); wrong[0] == "--qqq" {
					checkError(t, args, stderr)
				}
			}
			if commands[c.path].Flags().Lookup("data") == nil || c.path == "put" || c.path == "serve" {
				continue
			}
			out, stderr = (&shell{t, []string{"--data", filepath.Join(t.TempDir(), "none")}}).run(1, "", args...)
			checkError(t, args, stderr)
			if out != "" {
				t.Errorf("%q without a store writes %s", args, out)
			}
		}
	})
}

// checkObjects checks that out has JSON objects, one a line, at least so many.
func checkObjects(t *testing.T, args []string, out string, least int) {
	t.Helper()
	n := 0
	for line := range strings.Lines(out) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil || !strings.HasSuffix(line, "\n") {
			t.Errorf("%q: %v in %s", args, err, line)
		}
		n++
	}
	if n < least {
		t.Errorf("%q writes %d objects, want %d", args, n, least)
	}
}

// checkError checks that stderr is an object with an error.
func checkError(t *testing.T, args []string, stderr string) {
	t.Helper()
	checkObjects(t, args, stderr, 1)
	var v struct{ Error string }
	if err := json.Unmarshal([]byte(stderr), &v); err != nil || v.Error == "" {
		t.Errorf("%q fails with %q: %v", args, stderr, err)
	}
}

// What fails of several things is an object among the others, with what it is about.
func TestJSONOfSeveral(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		stage(t, s)
		file := write(t, filepath.Join(t.TempDir(), "f"), "x")
		for _, c := range []struct {
			args []string
			path string
		}{
			{[]string{"put", file + "-missing", file}, file + "-missing"},
			{[]string{"ls", "demo/nope", "demo/folder"}, "demo/nope"},
			{[]string{"rm", "demo/nope", "demo/f"}, "demo/nope"},
			{[]string{"restore", "demo/nope", "demo/f"}, "demo/nope"},
			{[]string{"buckets", "nope", "demo"}, "nope"},
			{[]string{"keys", "rm", "nope", "nope2"}, "nope"},
		} {
			out, stderr := s.run(1, "", append(c.args, "--json")...)
			checkObjects(t, c.args, out, 2)
			var v struct{ Error, Path string }
			for line := range strings.Lines(out) {
				if json.Unmarshal([]byte(line), &v); v.Error != "" {
					break
				}
			}
			if v.Path != c.path || v.Error == "" || strings.HasPrefix(v.Error, v.Path) || stderr != "" {
				t.Errorf("%q: %+v, stderr %q", c.args, v, stderr)
			}
		}
	})
}

func TestServeJSON(t *testing.T) {
	race.LeaveOut(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	status := make(chan int)
	var stderr strings.Builder
	go func() {
		status <- run(ctx, []string{"serve", "--dev", "--json", "--addr", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "s")}, nil, w, &stderr)
		w.Close()
	}()
	var v struct{ URL string }
	if err := json.NewDecoder(r).Decode(&v); err != nil || !strings.HasPrefix(v.URL, "http://127.0.0.1:") {
		t.Errorf("%v: %+v", err, v)
	}
	cancel()
	rest := make(chan []byte)
	go func() {
		p, _ := io.ReadAll(r)
		rest <- p
	}()
	if got := <-status; got != 0 {
		t.Errorf("status %d: %s", got, &stderr)
	}
	if p := <-rest; strings.TrimSpace(string(p)) != "" {
		t.Errorf("more than an object: %s", p)
	}
}

func TestProbeJSON(t *testing.T) {
	race.LeaveOut(t)
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		args := []string{"backend", "probe", "far", "--json"}
		out, _ := (&shell{t, s3Config(t, s, demoRules)}).with("--config").run(0, "", args...)
		checkObjects(t, args, out, 10)
	})
}

// All text is written by printf and the like, which escape what drives terminals, and
// JSON by writeJSON: output.go alone knows others.
func TestOnePlaceWrites(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "output.go" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch what := pkg.Name + "." + sel.Sel.Name; {
			case strings.HasPrefix(what, "fmt.Fprint"), strings.HasPrefix(what, "fmt.Print"), strings.HasPrefix(what, "tabwriter."), what == "json.NewEncoder",
				what == "cmd.Print", what == "cmd.Println", what == "cmd.Printf":
				t.Errorf("%s: %s: use printf, a tableWriter or writeJSON", fset.Position(n.Pos()), what)
			}
			return true
		})
	}
}
