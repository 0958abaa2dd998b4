package doctor

import _ "embed"

//go:embed nginx.conf
var nginx string // never changed

//go:embed Caddyfile
var caddy string // never changed

// Nginx returns complete settings for nginx before a server.
func Nginx() string { return nginx }

// Caddy returns complete settings for Caddy before a server.
func Caddy() string { return caddy }

// remedyFor returns the settings, among those of Nginx and Caddy, that mend a
// check.
func remedyFor(check string) (nginx, caddy string) {
	switch check {
	case "body-size":
		return "client_max_body_size 0;", "no request_body max_size"
	case "request-buffering":
		return "proxy_request_buffering off;\nproxy_http_version 1.1;", "no request_buffers in reverse_proxy"
	case "location":
		return "proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-Proto $scheme;", "no header_up Host in reverse_proxy"
	case "interim":
		return "no proxy_set_header Connection in front of Cairn", "a newer version"
	case "headers":
		return "no proxy_set_header or proxy_hide_header of Tus-* and Upload-*;", "no header_up or header_down of Tus-* and Upload-*"
	case "chunked-body":
		return "proxy_http_version 1.1;\nproxy_request_buffering off;", "no request_buffers in reverse_proxy"
	case "ranges", "etag":
		return "gzip off;\nproxy_buffering off;", "no encode for /api/files/*"
	case "slow-body":
		return "client_body_timeout 120s;\nproxy_request_buffering off;", "no read_body or write timeouts in servers"
	}
	return "", ""
}
