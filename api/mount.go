package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A mount is where the sender of a request sees the server. All URLs of answers
// are made here: TestURLs finds those that are not.
type mount struct {
	origin string // scheme and host
	path   string // what stands before /api/, escaped and without a slash at its end
}

// pathTo returns the path of a place below /api/, as the sender may request it.
func (m mount) pathTo(elements ...string) string {
	var out strings.Builder
	out.WriteString(m.path + "/api")
	for _, e := range elements {
		out.WriteString("/" + url.PathEscape(e))
	}
	return out.String()
}

// urlTo is pathTo with scheme and host, for what leaves the sender: URLs that are
// signed, or that a client keeps.
func (m mount) urlTo(elements ...string) string { return m.origin + m.pathTo(elements...) }

func (m mount) pathToFile(f *buckets.File) string { return m.pathTo("files", f.Bucket, f.ID) }

type mountKey struct{}

// mountOf returns where the sender of r sees the server.
func mountOf(r *http.Request) mount {
	m, _ := r.Context().Value(mountKey{}).(mount)
	return m
}

// A mounting knows where a server is mounted. Only the program and its operator
// say so; of what a client sends, the part of the path counts that the program's
// router has matched and cut, and the host.
type mounting struct {
	public *mount // by Server.PublicURL, nil without one
	whole  bool   // it says the path too, if only by a slash
	prefix string // Options.Prefix, escaped like mount.path
}

// newMounting returns the mounting of prefix and a public URL, which both may
// lack.
func newMounting(prefix, public string) (mounting, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix != "" {
		prefix = (&url.URL{Path: "/" + prefix}).EscapedPath()
	}
	g := mounting{prefix: prefix}
	if public == "" {
		return g, nil
	}
	u, err := schema.ParsePublicURL(public)
	if err != nil {
		return g, err
	}
	g.public = &mount{origin: u.Scheme + "://" + u.Host, path: u.EscapedPath()}
	g.whole = g.public.path != "" || strings.HasSuffix(public, "/")
	return g, nil
}

// withMount notes for each request where its sender sees the server, and takes
// the prefix off its path where the router before it has not done so.
func (s *Server) withMount(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cut := cutByRouter(r)
		m := mount{origin: s.originOf(r), path: s.mounting.prefix}
		switch {
		case cut == "":
			r = cutPrefix(r, s.mounting.prefix)
		case m.path == "":
			m.path = cut
		}
		if public := s.mounting.public; public != nil {
			m.origin = public.origin
			if s.mounting.whole {
				m.path = public.path
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), mountKey{}, m)))
	})
}

// cutByRouter returns what a router, as http.StripPrefix, has taken off the path
// of a request before it came here, "" for nothing. What would change the meaning
// of the URLs that begin with it does not count: a router that keeps "//host/" at
// the beginning matches anything.
func cutByRouter(r *http.Request) string {
	whole, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return ""
	}
	cut, ok := strings.CutSuffix(whole.EscapedPath(), r.URL.EscapedPath())
	if !ok || !strings.HasPrefix(r.URL.Path, "/") || !strings.HasPrefix(cut, "/") {
		return ""
	}
	for e := range strings.SplitSeq(cut[1:], "/") {
		if text, err := url.PathUnescape(e); err != nil || text == "" || text == "." || text == ".." {
			return ""
		}
	}
	return cut
}

// cutPrefix returns r without a prefix of its path, or as it is if the path has
// another one.
func cutPrefix(r *http.Request, prefix string) *http.Request {
	if prefix == "" {
		return r
	}
	given := strings.SplitAfter(r.URL.EscapedPath(), "/")
	n := strings.Count(prefix, "/")
	if len(given) <= n+1 {
		return r
	}
	head := strings.TrimSuffix(strings.Join(given[:n+1], ""), "/")
	if respellPath(head) != respellPath(prefix) {
		return r
	}
	raw := "/" + strings.Join(given[n+1:], "")
	plain, err := url.PathUnescape(raw)
	if err != nil {
		return r
	}
	again, u := *r, *r.URL
	u.Path, u.RawPath = plain, raw
	again.URL = &u
	return &again
}
