package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest"
)

// ifMatch turns If-Match into the root that a change is conditional on, "" if
// it is not. Of several tags it is the current one, if that is among them.
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
		return "none", nil // matches nothing; whether there is a file is not told before the right to change it
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

// onlyFile refuses a method that makes no sense for a version's own ID.
func onlyFile(w http.ResponseWriter, r *http.Request) error {
	if _, ok := manifest.ParseVersionID(mux.Vars(r)["id"]); ok {
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS")
		return errMethod
	}
	return nil
}
