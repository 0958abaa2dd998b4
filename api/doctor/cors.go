package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// checkCORS sends the preflight request of a browser for a page of another
// origin.
func (p *patient) checkCORS(ctx context.Context) []Check {
	if p.opts.Origin == "" {
		return nil
	}
	const wanted = "authorization,content-type,tus-resumable,upload-offset"
	a, err := p.sendRequest(ctx, "OPTIONS", "/api/tus/"+url.PathEscape(p.opts.Bucket), nil, 0, "Origin", p.opts.Origin,
		"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", wanted)
	if err != nil {
		return fault("cors", "%v", err)
	}
	allow := a.header.Values("Access-Control-Allow-Origin")
	switch {
	case len(allow) > 1:
		return fault("cors", "Access-Control-Allow-Origin comes %d times: the server answers preflights itself, a proxy must not", len(allow))
	case a.status/100 != 2 || len(allow) == 0 || allow[0] != p.opts.Origin && allow[0] != "*":
		return fault("cors", "pages of %s may not use the server: the preflight is answered %s; list the origin in server.cors.allowed_origins", p.opts.Origin, a)
	}
	have := strings.ToLower(strings.Join(a.header.Values("Access-Control-Allow-Headers"), ","))
	for name := range strings.SplitSeq(wanted, ",") {
		if !strings.Contains(have, name) {
			return fault("cors", "the preflight for %s does not allow the header %s", p.opts.Origin, name)
		}
	}
	if !strings.Contains(strings.Join(a.header.Values("Access-Control-Allow-Methods"), ","), http.MethodPatch) {
		return fault("cors", "the preflight for %s does not allow PATCH", p.opts.Origin)
	}
	return good("cors", "pages of %s may use the server", p.opts.Origin)
}
