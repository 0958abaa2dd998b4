package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest"
)

// ifMatch returns the root that the current version of a file must have for the
// conditions of a change to hold, "" without any. Beyond one If-Match they are
// evaluated here, and the change is bound to the version that they hold for.
func ifMatch(r *http.Request, b *buckets.Bucket, id string) (string, error) {
	return requiredRoot(r.Header, func() (*buckets.File, error) {
		return b.Stat(r.Context(), id, &buckets.GetOptions{Trashed: true})
	})
}

// requiredRoot is ifMatch of what stat describes. RFC 9110 gives the order of
// conditions.
func requiredRoot(h http.Header, stat func() (*buckets.File, error)) (string, error) {
	match, none := parseTags(h.Values("If-Match")), parseTags(h.Values("If-None-Match"))
	since, err := http.ParseTime(h.Get("If-Unmodified-Since"))
	dated := err == nil && match == nil // a date that is not valid is no condition
	switch {
	case match == nil && none == nil && !dated:
		return "", nil
	case len(match) == 1 && none == nil:
		return match[0].root(), nil // access is decided before the file's existence shows
	}
	f, err := stat()
	if err != nil {
		return "", err
	}
	current := entityTag(f)
	holds := match == nil || slices.ContainsFunc(match, func(t tag) bool { return t.text == "*" || !t.weak && t.text == current })
	holds = holds && !(dated && f.ModifiedAt.Unix() > since.Unix())
	if !holds || slices.ContainsFunc(none, func(t tag) bool { return t.text == "*" || t.text == current }) {
		return "", buckets.ErrPrecondition
	}
	return f.Checksums["root"], nil
}

// ifMatchName is ifMatch of the file that an upload by name becomes a version
// of. If-None-Match is about the name there.
func ifMatchName(r *http.Request, b *buckets.Bucket, folder, name string) (string, error) {
	root, err := requiredRoot(http.Header{"If-Match": r.Header["If-Match"]}, func() (*buckets.File, error) {
		return b.StatPath(r.Context(), strings.Trim(folder+"/"+name, "/"))
	})
	if errors.Is(err, buckets.ErrNoFile) {
		err = buckets.ErrPrecondition
	}
	return root, err
}

// checkConditions is ifMatch for changes that cannot be bound to a version.
func checkConditions(r *http.Request, b *buckets.Bucket, id string) error {
	root, err := ifMatch(r, b, id)
	if err != nil || root == "" {
		return err
	}
	f, err := b.Stat(r.Context(), id, &buckets.GetOptions{Trashed: true})
	if err == nil && root != "*" && root != f.Checksums["root"] {
		err = buckets.ErrPrecondition
	}
	return err
}

// A tag is an entity tag of a header, in its quotes, or "*".
type tag struct {
	text string
	weak bool
}

// root returns the root that the tag stands for as a strong validator, "none" if
// it is of no version.
func (t tag) root() string {
	root, ok := strings.CutPrefix(strings.TrimSuffix(t.text, `"`), `"b3-`)
	switch {
	case t.text == "*":
		return "*"
	case t.weak || !ok || root == "":
		return "none"
	}
	return root
}

// parseTags returns the tags of a header, nil without one. What is not valid
// stands for one tag that no version has.
func parseTags(lines []string) (tags []tag) {
	rest := strings.Join(lines, ",")
	for {
		if rest = strings.TrimLeft(rest, ", \t"); rest == "" {
			return tags
		}
		text, weak := strings.CutPrefix(rest, "W/")
		end := strings.IndexByte(strings.TrimPrefix(text, `"`), '"') + 2
		switch {
		case rest[0] == '*':
			tags, rest = append(tags, tag{text: "*"}), rest[1:]
		case text == "" || text[0] != '"' || end < 2:
			return append(tags, tag{})
		default:
			tags, rest = append(tags, tag{text[:end], weak}), text[end:]
		}
	}
}

// onlyFile refuses the ID of a version (m_…) where only a file can be meant.
func onlyFile(w http.ResponseWriter, r *http.Request) error {
	if _, ok := manifest.ParseVersionID(mux.Vars(r)["id"]); ok {
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS")
		return errMethod
	}
	return nil
}
