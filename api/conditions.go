package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest"
)

// ifMatch returns the root that If-Match requires, "" without the header. Of
// several tags it returns that of the current version, if it is among them.
func ifMatch(r *http.Request, b *buckets.Bucket, id string) (string, error) {
	header := strings.Join(r.Header.Values("If-Match"), ",")
	if header == "" || header == "*" {
		return header, nil
	}
	var roots []string
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if root, ok := strings.CutPrefix(strings.TrimSuffix(tag, `"`), `"b3-`); ok {
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 {
		return "none", nil // no root: access is decided before the file's existence shows
	}
	if len(roots) == 1 {
		return roots[0], nil
	}
	f, err := b.Stat(r.Context(), id, nil)
	if err != nil {
		return "", err
	}
	for _, root := range roots {
		if root == f.Checksums["root"] {
			return root, nil
		}
	}
	return roots[0], nil
}

// onlyFile refuses the ID of a version (m_…) where only a file can be meant.
func onlyFile(w http.ResponseWriter, r *http.Request) error {
	if _, ok := manifest.ParseVersionID(mux.Vars(r)["id"]); ok {
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS")
		return errMethod
	}
	return nil
}
