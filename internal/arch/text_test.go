package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	root = "../.."

	maxLine = 120 // characters of a line of text

	// maxOneWord is the share, in per cent, of a package's unexported functions
	// whose name may be one word: a verb alone says enough only where the
	// receiver says the object, as in file.close.
	maxOneWord = 25
)

// oneWord lists packages that have not reached maxOneWord, and their ceiling.
// It only gets shorter, and its numbers only lower.
var oneWord = map[string]int{
	"buckets": 28,
}

// eachFile calls do for the files of the module whose names end in suffix,
// with their path from the root.
func eachFile(t *testing.T, suffix string, do func(name string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && (base == "node_modules" || base == "testdata" || base == ".git" || base == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		do(filepath.ToSlash(name), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinesOfPages holds text of the pages to maxLine. Tables, code, and a word
// that is longer by itself are left out.
func TestLinesOfPages(t *testing.T) {
	eachFile(t, ".md", func(name string, text []byte) {
		code, n := false, 0
		for line := range strings.Lines(string(text)) {
			n++
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
			}
			if code || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") || len(strings.Fields(line)) < 2 {
				continue
			}
			if got := utf8.RuneCountInString(line); got > maxLine {
				t.Errorf("%s:%d: %d characters, want at most %d", name, n, got, maxLine)
			}
		}
	})
}

// TestPagesNameFiles checks that the files of the module which pages for those
// who work on it name are there: by their path, or by the end of it.
func TestPagesNameFiles(t *testing.T) {
	var files []string
	for _, suffix := range []string{".go", ".md", ".yaml", ".ts"} {
		eachFile(t, suffix, func(name string, _ []byte) { files = append(files, "/"+name) })
	}
	named := regexp.MustCompile("`([a-z]+(?:/[a-z]+)*/[a-z_0-9]+\\.(?:go|md|yaml|ts))`")
	for _, page := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(text, -1) {
			if name := "/" + string(m[1]); !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, name) }) {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
}

// TestLinesOfComments holds lines that have a comment to maxLine.
func TestLinesOfComments(t *testing.T) {
	eachFile(t, ".go", func(name string, text []byte) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, group := range file.Comments {
			for _, c := range group.List {
				for n := set.Position(c.Pos()).Line; n <= set.Position(c.End()).Line; n++ {
					line := lines[n-1]
					if got := utf8.RuneCountInString(line); got > maxLine && !strings.HasPrefix(c.Text, "//go:") && !strings.Contains(line, "://") {
						t.Errorf("%s:%d: %d characters with a comment, want at most %d", name, n, got, maxLine)
					}
				}
			}
		}
	})
}

// TestNames holds the share of one-word unexported functions to maxOneWord.
func TestNames(t *testing.T) {
	simple := regexp.MustCompile(`^[a-z0-9]+$`)
	all, short := make(map[string]int), make(map[string][]string)
	eachFile(t, ".go", func(name string, text []byte) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.IsExported() || fn.Name.Name == "main" {
				continue
			}
			dir := filepath.ToSlash(filepath.Dir(name))
			all[dir]++
			if simple.MatchString(fn.Name.Name) {
				short[dir] = append(short[dir], fn.Name.Name)
			}
		}
	})
	for dir, n := range all {
		ceiling := max(oneWord[dir], maxOneWord)
		if got := 100 * len(short[dir]) / n; len(short[dir]) > 1 && got > ceiling {
			t.Errorf("%s: %d %% of its unexported functions are one word, at most %d %% may be: %v", dir, got, ceiling, short[dir])
		}
	}
}
