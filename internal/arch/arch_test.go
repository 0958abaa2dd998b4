// Package arch is a test of the rules of the house: which package may import
// which, how long files and lines may be, how functions are named, and that what
// the pages name exists. CONTRIBUTING.md lists them.
package arch

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cairn-store/cairn/"

// allowed lists what each package may import of this module; "*" is anything.
// A package that is not listed fails the test.
var allowed = map[string][]string{
	".":                     {"api", "backend", "buckets", "buckets/access", "buckets/local", "buckets/schema"},
	"chunker":               {},
	"chunker/blake3":        {},
	"backend":               {},
	"backend/backendtest":   {"backend"},
	"backend/membackend":    {"backend"},
	"backend/diskbackend":   {"backend"},
	"backend/s3backend":     {"backend"},
	"backend/owner":         {"backend"},
	"backend/journal":       {"backend"},
	"cas":                   {"backend", "cas/pack"},
	"cas/pack":              {"chunker/blake3"},
	"cas/castest":           {"cas"},
	"cas/digests":           {"cas"},
	"cas/diskcache":         {"cas"},
	"manifest":              {"cas", "chunker", "chunker/blake3"},
	"manifest/pebblestore":  {"manifest", "cas", "backend"},
	"manifest/pgstore":      {"manifest", "cas"},
	"manifest/manifesttest": {"manifest", "cas"},
	"buckets/access":        {"manifest", "buckets/names", "buckets/rules"},
	"buckets":               {"buckets/internal", "buckets/collect", "buckets/report", "buckets/scrub", "manifest", "cas", "chunker", "backend", "buckets/access", "buckets/mediatype", "buckets/names", "buckets/rules", "buckets/schema"},
	"buckets/mediatype":     {},
	"buckets/names":         {},
	"buckets/rules":         {},
	"buckets/schema":        {"buckets/mediatype", "buckets/rules", "chunker"},
	"buckets/check":         {"buckets", "buckets/internal", "manifest", "cas", "cas/digests"},
	"buckets/scrub":         {"manifest", "cas", "backend"},
	"buckets/report":        {"buckets/collect", "manifest", "cas", "cas/digests"},
	"buckets/collect":       {"manifest", "cas", "cas/digests", "backend"},
	"buckets/internal":      {},
	"buckets/alyx":          {"backend", "buckets", "buckets/access", "buckets/names"},
	"buckets/links":         {"buckets", "buckets/access", "buckets/internal", "buckets/schema", "manifest"},
	"buckets/upload":        {"buckets", "buckets/internal", "buckets/mediatype", "manifest", "cas", "chunker"},
	"buckets/local":         {"backend", "backend/diskbackend", "backend/journal", "backend/owner", "buckets", "buckets/access", "buckets/check", "buckets/schema", "cas", "cas/diskcache", "manifest", "manifest/pebblestore"},
	"buckets/s3config":      {"backend", "backend/s3backend", "buckets/schema"},
	"api":                   {"chunker", "buckets", "buckets/check", "buckets/collect", "buckets/links", "buckets/report", "buckets/scrub", "buckets/upload", "buckets/access", "buckets/mediatype", "buckets/names", "buckets/rules", "buckets/schema", "manifest", "cas", "api/client", "api/tus", "api/rufh"},
	"api/tus":               {"buckets", "buckets/upload", "chunker/blake3"},
	"api/clienttest":        {},
	"api/rufh":              {"buckets", "buckets/upload"},
	"api/doctor":            {},
	"api/auth":              {"api", "buckets/access", "buckets/rules", "buckets/schema"},
	"api/client":            {"chunker", "chunker/blake3"},
	"cmd/cairn":             {"*"},
	"cmd/cairn/chart":       {},
	"bench":                 {"chunker"},
	"release/archive":       {},
	"internal/arch":         {},
	"internal/crashfs":      {"backend/diskbackend"},
	"internal/formattest":   {},
	"internal/manual":       {},
	"internal/linear":       {"buckets"},
	"internal/model":        {},
	"internal/pgtest":       {},
	"internal/race":         {},
	"internal/unwritable":   {},
	"internal/s3test":       {"backend/s3backend"},
	"internal/sim":          {},
}

// only lists modules that few packages may import, and those packages.
var only = map[string][]string{
	"github.com/anishathalye":       {"internal/linear"},
	"github.com/cockroachdb/pebble": {"manifest/pebblestore", "internal/crashfs"},
	"github.com/jackc/pgx":          {"manifest/pgstore", "internal/pgtest"},
	"cel.dev/cel-go":                {"buckets/rules"},
	"github.com/go-jose":            {"api/auth"},
	"github.com/gabriel-vasile":     {"buckets/mediatype"},
	"unsafe":                        {"buckets/mediatype"},
	"net/http":                      {"api", "api/auth", "api/tus", "api/rufh", "api/client", "api/doctor", "cmd/cairn", "backend/s3backend", "internal/s3test", "bench"},
	"github.com/aws":                {"backend/s3backend", "internal/s3test"},
	"github.com/johannesboyne":      {"internal/s3test"},
	"github.com/dunglas/httpsfv":    {"api/rufh"},
	"github.com/spf13/cobra":        {"cmd/cairn"},
	"github.com/bmatcuk/doublestar": {"cmd/cairn"},
	"modernc.org/sqlite":            {"cmd/cairn"},
	"gonum.org/v1/plot":             {"cmd/cairn/chart"},
	"github.com/rs/cors":            {"api"},
	"golang.org/x/sys/cpu":          {"chunker", "chunker/blake3"},
	"github.com/zeebo/blake3":       {"chunker/blake3"},
	"lukechampine.com/blake3":       {"chunker/blake3"},
}

// linksNone lists packages that programs embed, and modules that they must not link,
// directly or not: whoever needs one of those names it.
var linksNone = map[string][]string{
	".":             heavy,
	"api":           heavy,
	"api/client":    {"github.com/aws", "github.com/go-jose", "github.com/cockroachdb/pebble", "cel.dev/cel-go"},
	"buckets/local": heavy,
}

var heavy = []string{"github.com/aws", "github.com/go-jose", "github.com/jackc/pgx", "github.com/spf13/cobra", "gonum.org"}

type pkg struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// nameOf is the place of a package in the module, "." that of its root; the whole
// path where it is another module's.
func nameOf(importPath string) string {
	if importPath+"/" == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module)
}

func packages(t *testing.T) (out []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...")
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := nameOf(p.ImportPath)
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no place in the house plan: list what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			for what, who := range only {
				if (imp == what || strings.HasPrefix(imp, what+"/")) && !slices.Contains(who, name) {
					t.Errorf("%s imports %s, which only %v may know", name, imp, who)
				}
			}
			ours := nameOf(imp)
			if ours != imp && !slices.Contains(may, ours) && !slices.Contains(may, "*") {
				t.Errorf("%s imports %s: it may import %v", name, ours, may)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	for name, none := range linksNone {
		text, err := exec.Command("go", "list", "-deps", path.Join(module, name)).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for dep := range strings.Lines(string(text)) {
			for _, what := range none {
				if dep = strings.TrimSpace(dep); dep == what || strings.HasPrefix(dep, what+"/") {
					t.Errorf("who imports %s links %s", name, dep)
				}
			}
		}
	}
}

func TestHouseRules(t *testing.T) {
	for _, p := range packages(t) {
		switch name := path.Base(p.ImportPath); name {
		case "util", "utils", "common", "helper", "helpers", "manager", "types", "models":
			t.Errorf("package %s: the name says nothing", p.ImportPath)
		}
		for _, f := range p.GoFiles {
			checkFile(t, filepath.Join(p.Dir, f))
		}
	}
}

func checkFile(t *testing.T, name string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := fset.File(file.Pos()).LineCount(); n > 500 {
		t.Errorf("%s has %d lines: is there more than one noun in it?", name, n)
	}
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s has an init function", fset.Position(fn.Pos()))
		}
	}
}
