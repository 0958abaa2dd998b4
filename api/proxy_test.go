package api_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cairn-store/cairn/api"
)

// TestClientIP has proxies of 10.0.0.0/8, ::1, 2001:db8:1::/48 and fe80::/10
// note addresses. headers are lines of X-Forwarded-For (x) and Forwarded (f).
func TestClientIP(t *testing.T) {
	a := api.NewProxies("10.0.0.0/8", "::1", "2001:db8:1::/48", "fe80::/10")
	const proxy = "10.1.1.1:5"
	type lines []string
	for _, c := range []struct {
		peer string
		x, f lines
		want string
	}{
		// Who is believed.
		{"192.0.2.1:5", nil, nil, "192.0.2.1"},
		{"192.0.2.1:5", lines{"198.51.100.1"}, nil, "192.0.2.1"},
		{"192.0.2.1:5", nil, lines{"for=198.51.100.1"}, "192.0.2.1"},
		{proxy, nil, nil, "10.1.1.1"},
		{proxy, lines{"198.51.100.1"}, nil, "198.51.100.1"},
		{proxy, lines{"127.0.0.1, 198.51.100.1"}, nil, "198.51.100.1"},
		{proxy, lines{"198.51.100.1, 10.2.2.2"}, nil, "198.51.100.1"},
		{proxy, lines{"203.0.113.9, 198.51.100.1, 10.2.2.2, 10.3.3.3"}, nil, "198.51.100.1"},
		{proxy, lines{"10.2.2.2"}, nil, "10.2.2.2"},
		{"[::1]:5", lines{"2001:db8::1"}, nil, "2001:db8::1"},
		{"[::ffff:10.1.1.1]:5", lines{"::ffff:198.51.100.1"}, nil, "198.51.100.1"},
		{"[fe80::1%eth0]:5", lines{"198.51.100.1"}, nil, "198.51.100.1"},
		{"nobody", lines{"198.51.100.1"}, nil, ""},

		// Ports, brackets, quotes, zones.
		{proxy, lines{"203.0.113.9:51234"}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9:0"}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9:65535, 10.2.2.2:80"}, nil, "203.0.113.9"},
		{proxy, lines{"[2001:db8::9]:51234"}, nil, "2001:db8::9"},
		{proxy, lines{"[2001:db8::9]"}, nil, "2001:db8::9"},
		{proxy, lines{"2001:db8::9"}, nil, "2001:db8::9"},
		{proxy, lines{"2001:DB8:0:0::9"}, nil, "2001:db8::9"},
		{proxy, lines{`"[2001:db8::9]:51234"`}, nil, "2001:db8::9"},
		{proxy, lines{`"203.0.113.9:51234"`}, nil, "203.0.113.9"},
		{proxy, lines{`"203.0.113.9"`}, nil, "203.0.113.9"},
		{proxy, lines{"[::ffff:203.0.113.9]:51234"}, nil, "203.0.113.9"},
		{proxy, lines{"fe80::2%eth0, 10.2.2.2"}, nil, "fe80::2"},
		{proxy, lines{"203.0.113.9, [fe80::2%25eth0]:80"}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9, [2001:db8:1::7]:443"}, nil, "203.0.113.9"},
		{proxy, lines{" 203.0.113.9\t,  10.2.2.2 "}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9,10.2.2.2"}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9,, ,10.2.2.2,"}, nil, "203.0.113.9"},

		// Several lines are one list.
		{proxy, lines{"198.51.100.1", "203.0.113.9"}, nil, "203.0.113.9"},
		{proxy, lines{"203.0.113.9", "10.2.2.2"}, nil, "203.0.113.9"},
		{proxy, lines{"198.51.100.1, 203.0.113.9", "10.2.2.2, 10.3.3.3"}, nil, "203.0.113.9"},
		{proxy, nil, lines{"for=198.51.100.1", "for=203.0.113.9"}, "203.0.113.9"},
		{proxy, nil, lines{"for=203.0.113.9", "for=10.2.2.2"}, "203.0.113.9"},

		// Where no address was noted, the last that is known counts.
		{proxy, lines{"nonsense"}, nil, "10.1.1.1"},
		{proxy, lines{"unknown"}, nil, "10.1.1.1"},
		{proxy, lines{"_hidden"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9, unknown"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9, _hidden, 10.2.2.2"}, nil, "10.2.2.2"},
		{proxy, lines{"203.0.113.9, unknown:80"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9:"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9:port"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9:123456"}, nil, "10.1.1.1"},
		{proxy, lines{"[203.0.113.9]:80"}, nil, "10.1.1.1"},
		{proxy, lines{"[2001:db8::9"}, nil, "10.1.1.1"},
		{proxy, lines{"[2001:db8::9]80"}, nil, "10.1.1.1"},
		{proxy, lines{"[2001:db8::9]:"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.009"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9/24"}, nil, "10.1.1.1"},
		{proxy, lines{"203.0.113.9 198.51.100.1"}, nil, "10.1.1.1"},
		{proxy, lines{"0.0.0.0"}, nil, "10.1.1.1"},
		{proxy, lines{"::"}, nil, "10.1.1.1"},
		{proxy, lines{"localhost"}, nil, "10.1.1.1"},
		{proxy, lines{""}, nil, "10.1.1.1"},
		{proxy, lines{`"`}, nil, "10.1.1.1"},

		// Forwarded.
		{proxy, nil, lines{"for=203.0.113.9"}, "203.0.113.9"},
		{proxy, nil, lines{"For=203.0.113.9"}, "203.0.113.9"},
		{proxy, nil, lines{"FOR=203.0.113.9;PROTO=https"}, "203.0.113.9"},
		{proxy, nil, lines{"proto=https;for=203.0.113.9;by=10.1.1.1"}, "203.0.113.9"},
		{proxy, nil, lines{`for="203.0.113.9:51234"`}, "203.0.113.9"},
		{proxy, nil, lines{"for=203.0.113.9:51234"}, "203.0.113.9"},
		{proxy, nil, lines{`for="203.0.113.9:_port"`}, "203.0.113.9"},
		{proxy, nil, lines{`for="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		{proxy, nil, lines{`for="[2001:db8:cafe::17]"`}, "2001:db8:cafe::17"},
		{proxy, nil, lines{"for=[2001:db8:cafe::17]"}, "2001:db8:cafe::17"},
		{proxy, nil, lines{`for="\2\03.0.113.9"`}, "203.0.113.9"},
		{proxy, nil, lines{"for=198.51.100.1, for=203.0.113.9"}, "203.0.113.9"},
		{proxy, nil, lines{`for=203.0.113.9, for="10.2.2.2:80";by=10.1.1.1`}, "203.0.113.9"},
		{proxy, nil, lines{`for=203.0.113.9;host="a,b;c", for=10.2.2.2`}, "203.0.113.9"},
		{proxy, nil, lines{`for=203.0.113.9;host="a\",for=198.51.100.1"`}, "203.0.113.9"},
		{proxy, nil, lines{" for=203.0.113.9 ; proto=http , for=10.2.2.2 "}, "203.0.113.9"},
		{proxy, nil, lines{"for=203.0.113.9,,for=10.2.2.2,"}, "203.0.113.9"},
		{proxy, nil, lines{"for=unknown"}, "10.1.1.1"},
		{proxy, nil, lines{"for=_hidden"}, "10.1.1.1"},
		{proxy, nil, lines{`for="_gazonk"`}, "10.1.1.1"},
		{proxy, nil, lines{"for=203.0.113.9, for=_hidden, for=10.2.2.2"}, "10.2.2.2"},
		{proxy, nil, lines{"for=203.0.113.9, proto=https"}, "10.1.1.1"},
		{proxy, nil, lines{"for=203.0.113.9, by=10.2.2.2"}, "10.1.1.1"},
		{proxy, nil, lines{"for=203.0.113.9;for=198.51.100.1"}, "10.1.1.1"},
		{proxy, nil, lines{"for="}, "10.1.1.1"},
		{proxy, nil, lines{"203.0.113.9"}, "10.1.1.1"},
		{proxy, nil, lines{"xfor=203.0.113.9"}, "10.1.1.1"},

		// What a client has written before hides nothing of what a proxy adds.
		{proxy, lines{`", 203.0.113.9`}, nil, "203.0.113.9"},
		{proxy, lines{`"198.51.100.1, 203.0.113.9`}, nil, "203.0.113.9"},
		{proxy, nil, lines{`for="198.51.100.1, for=203.0.113.9`}, "203.0.113.9"},
		{proxy, nil, lines{`for="198.51.100.1`, `for=203.0.113.9`}, "203.0.113.9"},
		{proxy, nil, lines{`", for=203.0.113.9`}, "203.0.113.9"},
		{proxy, nil, lines{`for="\, for="203.0.113.9:1"`}, "203.0.113.9"},
		{proxy, lines{"203.0.113.9"}, lines{"for=198.51.100.1"}, "203.0.113.9"},
		{proxy, lines{"unknown"}, lines{"for=198.51.100.1"}, "10.1.1.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"], r.Header["Forwarded"] = c.x, c.f
		if got := api.ClientOf(a, r); got != c.want {
			t.Errorf("%s, X-Forwarded-For %q, Forwarded %q: %s, want %s", c.peer, c.x, c.f, got, c.want)
		}
	}
}

func TestByHTTPS(t *testing.T) {
	a := api.NewProxies("10.0.0.0/8")
	for _, c := range []struct {
		peer, header, value string
		tls, want           bool
	}{
		{"192.0.2.1:5", "", "", false, false},
		{"192.0.2.1:5", "", "", true, true},
		{"192.0.2.1:5", "X-Forwarded-Proto", "https", false, false},
		{"10.1.1.1:5", "X-Forwarded-Proto", "https", false, true},
		{"10.1.1.1:5", "X-Forwarded-Proto", "HTTPS", false, true},
		{"10.1.1.1:5", "X-Forwarded-Proto", "https, http", false, true},
		{"10.1.1.1:5", "X-Forwarded-Proto", "http", false, false},
		{"10.1.1.1:5", "X-Forwarded-Proto", "http, https", false, false},
		{"10.1.1.1:5", "X-Forwarded-Proto", "http", true, true},
		{"10.1.1.1:5", "Forwarded", "for=1.2.3.4;proto=https", false, true},
		{"10.1.1.1:5", "Forwarded", `proto="https", for=10.2.2.2;proto=http`, false, true},
		{"10.1.1.1:5", "Forwarded", "for=1.2.3.4;proto=http", false, false},
		{"10.1.1.1:5", "Forwarded", "for=1.2.3.4", false, false},
		{"192.0.2.1:5", "Forwarded", "proto=https", false, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header = c.peer, http.Header{}
		if r.Header.Set(c.header, c.value); c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := api.ByHTTPS(a, r); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
