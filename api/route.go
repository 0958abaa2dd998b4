package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/tus"
)

// answerRoute chooses a handler by method. HEAD gets that of GET; net/http
// drops the body.
func (s *Server) answerRoute(at *route) http.Handler {
	on, allow := at.methods, allowHeader(at.methods)
	over, coding, pattern := at.protocol(), at.coding(), patternOf(at.path)
	inSession := strings.HasPrefix(at.path, sessionRoute)
	return s.handlerOf(func(w http.ResponseWriter, r *http.Request) error {
		n := noteOf(r)
		n.route, n.bucket = pattern, mux.Vars(r)["bucket"]
		if inSession {
			n.session = mux.Vars(r)["upload"]
		}
		if over == "tus" {
			w.Header().Set("Tus-Resumable", tus.Version) // refusals have it too
		}
		if over != "" {
			r = overrideMethod(r)
			n.method = r.Method
		}
		if err := checkCoding(r, coding); err != nil {
			return err
		}
		h := on[r.Method]
		if h == nil && r.Method == http.MethodHead {
			h = on[http.MethodGet]
		}
		if h == nil || r.Method == http.MethodOptions {
			w.Header().Set("Allow", allow)
		}
		if err := checkQuery(r); err != nil {
			return err
		}
		if h != nil {
			return h(w, r)
		}
		if r.Method == http.MethodOptions {
			return noContent(w, nil)
		}
		return errMethod
	})
}

// protocol returns the protocol for resumable uploads that is spoken at a
// path of its own, "" elsewhere.
func (at *route) protocol() string {
	switch {
	case strings.HasPrefix(at.path, tusRoute), strings.HasPrefix(at.path, bucketTusRoute):
		return "tus"
	case at.path == uploadRoute:
		return "rufh"
	}
	return ""
}

// coding returns the coding that content may have besides identity.
func (at *route) coding() string {
	if at.path == chunkRoute {
		return "zstd"
	}
	return ""
}

// overrideMethod returns r with the method of X-HTTP-Method-Override, for
// clients that cannot send PATCH, DELETE or HEAD. Rules and signed URLs see only
// that method.
func overrideMethod(r *http.Request) *http.Request {
	method := r.Header.Get("X-HTTP-Method-Override")
	if method == "" {
		return r
	}
	out := *r
	out.Method = method
	return &out
}

// codingOf returns the codings of content, which a list may name in several
// lines, without those that change nothing.
func codingOf(h map[string][]string) string {
	var codings []string
	for name := range strings.SplitSeq(strings.Join(h["Content-Encoding"], ","), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
			codings = append(codings, name)
		}
	}
	return strings.Join(codings, ", ")
}

// checkCoding refuses content in a coding that is not taken at a path. Offsets
// and lengths count the bytes that come, so a coding would have to be kept with
// what it is the coding of, and decoding makes much of little.
func checkCoding(r *http.Request, taken string) error {
	coding := codingOf(r.Header)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if reads || coding == "" || coding == taken {
		return nil
	}
	if taken != "" {
		taken += ", "
	}
	return &codingError{coding, taken + "identity"}
}

// A codingError refuses content in a coding. The answer says in Accept-Encoding
// what is taken.
type codingError struct{ coding, taken string }

func (e *codingError) Error() string {
	return fmt.Sprintf("Content-Encoding %.30q: use %s: %v", e.coding, e.taken, errMediaType)
}

func (e *codingError) Unwrap() error { return errMediaType }
