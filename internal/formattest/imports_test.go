package formattest

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDecoderStandsAlone verifies that the decoder imports nothing of this module, and that only the tests that make
// stores do.
func TestDecoderStandsAlone(t *testing.T) {
	makesStores := []string{"store_test.go", "walk_test.go", "sealed_test.go", "cost_test.go", "golden_pack_test.go"}
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			name := strings.Trim(imp.Path.Value, `"`)
			if strings.HasPrefix(name, "github.com/cairn-store/") && !slices.Contains(makesStores, path) {
				t.Errorf("%s imports %s", path, name)
			}
		}
	}
}
