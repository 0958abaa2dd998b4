package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	loader "golang.org/x/tools/go/packages"

	"github.com/cairn-store/cairn/internal/race"
)

// TestTypesOfPlatforms type-checks all code and tests of ours for the other platforms
// that are supported, from source: a tenth of what it costs to compile them. make cross
// compiles, vets and links them.
func TestTypesOfPlatforms(t *testing.T) {
	race.LeaveOut(t)
	own, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, platform := range []string{"linux/arm64", "darwin/arm64", "windows/amd64"} {
		t.Run(platform, func(t *testing.T) {
			system, architecture, _ := strings.Cut(platform, "/")
			found, err := loader.Load(&loader.Config{
				Mode: loader.NeedName | loader.NeedFiles | loader.NeedCompiledGoFiles | loader.NeedImports |
					loader.NeedDeps | loader.NeedTypes | loader.NeedSyntax | loader.NeedTypesInfo | loader.NeedTypesSizes | loader.NeedModule,
				Dir:   root,
				Tests: true,
				Env:   append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0", "GOFLAGS=-tags=nosqlite"),
				ParseFile: func(set *token.FileSet, name string, src []byte) (*ast.File, error) {
					file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
					if file == nil || strings.HasPrefix(name, own+string(filepath.Separator)) || !strings.HasSuffix(name, ".go") {
						return file, err // ours, or the generated one that runs our tests
					}
					for _, d := range file.Decls { // of what is not ours the declarations do
						if f, ok := d.(*ast.FuncDecl); ok {
							f.Body = nil
						}
					}
					return file, err
				},
			}, "./...")
			if err != nil {
				t.Fatal(err)
			}
			ours := 0
			for _, p := range found {
				ours += len(p.Syntax)
				for _, e := range p.Errors {
					t.Errorf("%s: %v", p.ID, e)
				}
			}
			if ours < 500 {
				t.Errorf("%d files were checked, want all", ours)
			}
		})
	}
}
