package api_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/schema"
)

// The table of what a request may cost has a line for every route, and every
// constant and setting that it names exists.
func TestCostsOfRoutes(t *testing.T) {
	read := func(name string) string {
		p, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(p)
	}
	_, section, ok := strings.Cut(read("SECURITY.md"), "\n## What a request may cost\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal("SECURITY.md has no section on what a request may cost")
	}
	keys, quoted, setting := read("buckets/schema/KEYS.md"), regexp.MustCompile("`([^`]+)`"), regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	known := make(map[string]bool)
	checkBounds := func(text string) {
		source, file := "", ""
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			switch name := m[1]; {
			case strings.HasSuffix(name, ".go"):
				file, source = name, read(name)
			case regexp.MustCompile(`(?m)^\s*(const |var )?` + regexp.QuoteMeta(name) + `\b.*=`).MatchString(source):
			case setting.MatchString(name) && strings.Contains(keys, "`"+name+"`"):
			default:
				t.Errorf("%s is no setting, nor a constant of %q", name, file)
			}
		}
	}
	intro, _, _ := strings.Cut(section, "P is `")
	checkBounds(intro)
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		if len(cells) != 6 {
			t.Errorf("want four cells: %s", line)
			continue
		}
		checkBounds(cells[4])
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			method, path, _ := strings.Cut(m[1], " ")
			path = regexp.MustCompile(`^F\b`).ReplaceAllString(path, "P/{id}")
			known[method+" "+regexp.MustCompile(`^P\b`).ReplaceAllString(path, "/api/files/{bucket}")] = true
		}
	}
	for path, methods := range api.New(nil, &api.Options{Server: schema.Server{Compat: schema.CompatAlyx}}).Routes() {
		path = regexp.MustCompile(`:[^{}]*\}`).ReplaceAllString(path, "}")
		for _, m := range methods {
			if route := m + " " + path; m != "OPTIONS" && !known[route] {
				t.Errorf("no line tells what %s may cost", route)
			}
			delete(known, m+" "+path)
		}
	}
	for route := range known {
		t.Errorf("there is no route %s", route)
	}
}
