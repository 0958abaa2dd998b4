package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
)

// serveAtPath answers about the active file whose path stands behind _at/: with
// its content, or with what is known of it.
func serveAtPath(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := queryOf(r)
	answer := downloadFile
	switch q.readChoice("as", "download", "view", "json") {
	case "view":
		answer = viewFile
	case "json":
		answer = statFile
	}
	q.readText("filename")
	if q.err != nil {
		return q.err
	}
	path, ok := decodePath(mux.Vars(r)["path"])
	if !ok {
		return buckets.ErrNoFile
	}
	mux.Vars(r)["id"] = path // getOptions says that it is a path
	return answer(w, r, b)
}

// isAtPath reports whether a request names a file by its path.
func isAtPath(r *http.Request) bool {
	_, ok := mux.Vars(r)["path"]
	return ok
}

// decodePath decodes a path of a URL element by element, so that an encoded
// slash never divides a name. It reports false for what no file can be called.
func decodePath(raw string) (string, bool) {
	elements := strings.Split(raw, "/")
	for i, e := range elements {
		text, err := url.PathUnescape(e)
		if err != nil || text == "" || strings.Contains(text, "/") {
			return "", false
		}
		elements[i] = text
	}
	return strings.Join(elements, "/"), true
}
