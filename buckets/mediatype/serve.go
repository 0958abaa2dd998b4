package mediatype

import (
	"slices"

	"github.com/gabriel-vasile/mimetype"
)

// Served returns the type under which content of type t is sent. What a browser
// would run, or style a page by, goes as something that it does not, unless
// listed names its type: a range such as text/* does not name it. So no upload
// passes for a script of the site that it is served from.
func Served(t string, listed []string) string {
	k := findText(t)
	switch {
	case t == "":
		return unknown
	case slices.ContainsFunc(listed, func(l string) bool { return Canonical(l) == t }):
		return t
	case k != nil && !k.table:
		return plain
	case t == "application/wasm": // a script may be a module of it
		return unknown
	}
	return t
}

// IsShownAsText reports types that may be read in a browser as text/plain.
func IsShownAsText(t string) bool {
	if t == plain || t == "application/x-ndjson" || findText(t) != nil {
		return true
	}
	for m := mimetype.Lookup(t); m != nil; m = m.Parent() {
		if m.Is("application/json") {
			return true
		}
	}
	return false
}
