package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/buckets/schema"
)

// proxies are the networks of the proxies that are trusted.
type proxies []netip.Prefix

// parseProxies returns the networks of a list, and what is wrong with others.
func parseProxies(list []string) (out proxies, err error) {
	for _, text := range list {
		n, perr := schema.ParseNetwork(text)
		if perr != nil {
			err = errors.Join(err, perr)
			continue
		}
		out = append(out, n)
	}
	return out, err
}

type clientKey struct{}

// ClientIP returns the address that a request which a Server answers comes from,
// as Options.Server.TrustedProxies have noted it: for an Authenticator. Of other
// requests it knows the peer's only.
func ClientIP(r *http.Request) string {
	if ip, ok := r.Context().Value(clientKey{}).(string); ok {
		return ip
	}
	return proxies(nil).clientIP(r)
}

// withClient notes the address that each request comes from.
func (s *Server) withClient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, s.proxies.clientIP(r))))
	})
}

// clientIP returns the address that r comes from: that of the peer or, behind
// trusted proxies, the last one that they have noted and that is not a trusted
// proxy's. It stops where a proxy has noted no address: what stands before may
// be anybody's invention.
func (ps proxies) clientIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	ip := peer.Addr().WithZone("").Unmap()
	hops := forwardedHops(r.Header)
	for i := len(hops) - 1; i >= 0 && ps.trusts(ip); i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		ip = hop
	}
	return ip.String()
}

// forwardedHops returns what proxies have noted of those who sent them the
// request, the last one's note last. X-Forwarded-For counts alone where it is:
// a proxy that adds to it passes on any Forwarded that a client has made up.
func forwardedHops(h http.Header) []string {
	if lines := h.Values("X-Forwarded-For"); len(lines) > 0 {
		return leaveOutEmpty(strings.Split(strings.Join(lines, ","), ","))
	}
	hops := forwardedElements(h)
	for i, element := range hops {
		hops[i] = parameterOf(element, "for")
	}
	return hops
}

// forwardedElements returns the elements of Forwarded (RFC 7239).
func forwardedElements(h http.Header) []string {
	return splitQuoted(strings.Join(h.Values("Forwarded"), ","), ',')
}

// parameterOf returns a parameter of an element of Forwarded, "" unless it is
// there once.
func parameterOf(element, name string) string {
	value, n := "", 0
	for _, pair := range splitQuoted(element, ';') {
		key, v, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			value = unquote(strings.TrimSpace(v))
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return value
}

// splitQuoted splits a list at a separator that stands outside of quotes. It
// reads from the end, which the nearest proxy has written: whatever a client
// has put before, such as a quote that is never closed, hides nothing of it.
func splitQuoted(list string, separator byte) []string {
	var out []string
	end, quoted := len(list), false
	for i := len(list) - 1; i >= 0; i-- {
		before := list[:i]
		switch escapes := len(before) - len(strings.TrimRight(before, `\`)); {
		case list[i] == '"' && !(quoted && escapes%2 == 1):
			quoted = !quoted
		case list[i] == separator && !quoted:
			out, end = append(out, list[i+1:end]), i
		}
	}
	out = append(out, list[:end])
	slices.Reverse(out)
	return leaveOutEmpty(out)
}

func leaveOutEmpty(list []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// unquote returns the text of a quoted string, and other text as it is.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var out strings.Builder
	escaped := false
	for _, c := range text[1 : len(text)-1] {
		if escaped = c == '\\' && !escaped; !escaped {
			out.WriteRune(c)
		}
	}
	return out.String()
}

// parseHop reads an address as proxies write it: with a port or without, an
// IPv6 one in brackets or without, in quotes or without. It reports false for
// "unknown", names such as "_hidden", and all else.
func parseHop(text string) (netip.Addr, bool) {
	host := unquote(strings.TrimSpace(text))
	port := ""
	if rest, ok := strings.CutPrefix(host, "["); ok {
		if host, port, ok = strings.Cut(rest, "]"); !ok || !strings.Contains(host, ":") {
			return netip.Addr{}, false
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		host, port = host[:i], host[i:]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || port != "" && !goodPort.MatchString(port) || ip.IsUnspecified() {
		return netip.Addr{}, false
	}
	return ip.WithZone("").Unmap(), true
}

var goodPort = regexp.MustCompile(`^:([0-9]{1,5}|_[A-Za-z0-9._-]+)$`)

// trusts reports whether ip is the address of a trusted proxy.
func (ps proxies) trusts(ip netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// byHTTPS reports whether the client has sent r over TLS: to this server, or
// to a trusted proxy that says so.
func (ps proxies) byHTTPS(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if r.TLS != nil || err != nil || !ps.trusts(peer.Addr().WithZone("").Unmap()) {
		return r.TLS != nil
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if proto == "" {
		for _, element := range forwardedElements(r.Header) {
			proto = parameterOf(element, "proto")
			break // what the client has sent to the first proxy
		}
	}
	return strings.EqualFold(strings.TrimSpace(proto), "https")
}
