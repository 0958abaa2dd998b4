package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/cairn-store/cairn/buckets/names"
)

// A pathPattern leaves names out of a put. docs/cli.md describes it.
type pathPattern struct {
	glob     string
	anchored bool // matches the path below the argument, else the name alone
	folders  bool // matches folders alone
}

// parsePatterns reads the patterns of --exclude.
func parsePatterns(texts []string) ([]pathPattern, error) {
	var out []pathPattern
	for _, text := range texts {
		p := pathPattern{glob: names.CanonicalPath(text)}
		p.glob, p.folders = strings.CutSuffix(p.glob, "/")
		p.anchored = strings.Contains(p.glob, "/")
		p.glob = strings.TrimPrefix(p.glob, "/")
		if p.glob == "" || !doublestar.ValidatePattern(p.glob) {
			return nil, usageError{fmt.Errorf("--exclude %q: want a pattern such as *.tmp, build/ or /docs/**/*.html", text)}
		}
		out = append(out, p)
	}
	return out, nil
}

// matchesAny reports whether a pattern matches rel, the path of a file or folder
// below the argument of put.
func matchesAny(patterns []pathPattern, rel string, isDir bool) bool {
	rel = names.CanonicalPath(rel)
	for _, p := range patterns {
		if p.folders && !isDir {
			continue
		}
		subject := rel
		if !p.anchored {
			subject = path.Base(rel)
		}
		if ok, err := doublestar.Match(p.glob, subject); ok && err == nil {
			return true
		}
	}
	return false
}
