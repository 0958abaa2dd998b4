package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
	"testing"
)

// TestURLsOfAnswers checks that one file of package api makes the paths in
// answers, so that none lacks the path below which a server is mounted. What
// begins with /api/ elsewhere is the path of a route: the first field of an entry of a
// table of routes, or a constant whose name ends in Route.
func TestURLsOfAnswers(t *testing.T) {
	const maker = "api/mount.go"
	made := false
	eachFile(t, ".go", func(name string, text []byte) {
		switch dir := path.Dir(name); {
		case dir != "api" && dir != "api/tus" && dir != "api/rufh" || strings.HasSuffix(name, "_test.go"):
			return
		case name == maker:
			made = true
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		routes := make(map[token.Pos]bool)
		allow := func(e ast.Expr) {
			ast.Inspect(e, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok {
					routes[l.Pos()] = true
				}
				return true
			})
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, v := range n.Values {
					if strings.HasSuffix(n.Names[i].Name, "Route") {
						allow(v)
					}
				}
			case *ast.ImportSpec:
				allow(n.Path)
			case *ast.CompositeLit:
				if len(n.Elts) == 2 && isMethods(n.Elts[1]) {
					allow(n.Elts[0])
				}
			case *ast.BasicLit:
				value, err := strconv.Unquote(n.Value)
				if n.Kind != token.STRING || err != nil || routes[n.Pos()] || strings.Contains(value, "://") {
					break
				}
				if strings.Contains(value, "/api/") || strings.HasPrefix(value, "/api") {
					t.Errorf("%s: %s: let mount.pathTo or mount.urlTo, in %s, make URLs of answers", set.Position(n.Pos()), n.Value, maker)
				}
			}
			return true
		})
	})
	if !made {
		t.Errorf("there is no %s", maker)
	}
}

// isMethods reports whether e is a value of type methods, as routes have.
func isMethods(e ast.Expr) bool {
	c, ok := e.(*ast.CompositeLit)
	if !ok {
		return false
	}
	id, ok := c.Type.(*ast.Ident)
	return ok && id.Name == "methods"
}
