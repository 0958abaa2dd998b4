package api_test

import (
	"slices"
	"strings"
	"testing"
)

const corsSchema = `buckets: {b: {rules: {create: "true", read: "true"}}}`

// TestPreflights asks whether pages may send headers.
func TestPreflights(t *testing.T) {
	const mine = "https://app.example.com"
	servers := map[string]*world{}
	for what, keys := range map[string]string{
		"":     ``,
		"more": `, allowed_headers: [X-Tenant, x-lower]`,
		"any":  `, allowed_headers: ["*"]`,
	} {
		servers[what] = securedBy(t, testConfig+`
server: {cors: {allowed_origins: ["https://app.example.com"], max_age: 12h`+keys+`}}
`, corsSchema)
	}
	for _, c := range []struct {
		server, headers string
		allowed         bool
	}{
		{"", "authorization", true},
		{"", "authorization,content-type", true},
		{"", "if-match,range", true},
		{"", "if-modified-since,if-none-match,if-range,if-unmodified-since", true},
		{"", "tus-resumable,upload-length,upload-metadata,upload-offset", true},
		{"", "tus-resumable,upload-checksum,upload-concat,upload-defer-length", true},
		{"", "upload-complete,upload-draft-interop-version", true},
		{"", "idempotency-key", true},
		{"", "x-cairn-as,x-http-method-override,x-request-id", true},
		{"", "content-digest,content-disposition,content-encoding,repr-digest,want-repr-digest", true},

		// What libraries add.
		{"", "baggage", true},
		{"", "sentry-trace", true},
		{"", "baggage,sentry-trace", true},
		{"", "traceparent", true},
		{"", "traceparent,tracestate", true},
		{"", "cache-control", true},
		{"", "cache-control,pragma", true},
		{"", "cache-control,expires,pragma", true},
		{"", "csrf-token,xsrf-token", true},
		{"", "requestverificationtoken,x-requestverificationtoken", true},
		{"", "ot-tracer-sampled,ot-tracer-spanid,ot-tracer-traceid", true},
		{"", "x-instana-l,x-instana-s,x-instana-t", true},
		{"", "x-dtc,x-dtpc,x-dtreferer", true},
		{"", "newrelic,traceparent,tracestate,x-newrelic-id", true},
		{"", "ngsw-bypass", true},
		{"", "x-csrf-token", true},
		{"", "x-xsrf-token", true},
		{"", "x-csrftoken", true},
		{"", "x-requested-with", true},
		{"", "b3", true},
		{"", "x-b3-parentspanid,x-b3-sampled,x-b3-spanid,x-b3-traceid", true},
		{"", "x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-trace-id", true},
		{"", "elastic-apm-traceparent", true},
		{"", "newrelic", true},
		{"", "request-context,request-id", true},
		{"", "x-amzn-trace-id", true},
		{"", "x-cloud-trace-context", true},
		{"", "uber-trace-id", true},
		{"", "x-correlation-id", true},
		{"", "accept-language,content-language", true},
		{"", "dnt,keep-alive,user-agent", true},
		{"", "x-client-info", true},
		{"", "authorization,baggage,cache-control,content-type,sentry-trace,traceparent,tus-resumable,upload-length,x-csrf-token", true},

		// As proxies and scripts may write them.
		{"", "", true},
		{"", "Authorization, Content-Type", true},
		{"", "sentry-trace, baggage", true},
		{"", "SENTRY-TRACE,BAGGAGE,baggage", true},
		{"", "authorization ,\tcontent-type,,", true},

		{"", "x-evil", false},
		{"", "x-tenant", false},
		{"", "authorization,x-evil", false},
		{"", "cookie", false},
		{"", "host", false},
		{"", "x-forwarded-for", false},
		{"", "forwarded", false},
		{"", "*", false},
		{"", "authorization;content-type", false},

		{"more", "x-tenant", true},
		{"more", "x-lower", true},
		{"more", "authorization,x-tenant", true},
		{"more", "x-evil", false},
		{"any", "x-evil", true},
		{"any", "authorization,x-anything", true},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} {
			for _, path := range []string{"/api/files/b", "/api/files/b/f_x/download", "/api/tus/b", "/api/none"} {
				h := []string{"Origin", mine, "Access-Control-Request-Method", method}
				if c.headers != "" {
					h = append(h, "Access-Control-Request-Headers", c.headers)
				}
				a := servers[c.server].do("OPTIONS", path, nil, h...)
				if got := a.Header.Get("Access-Control-Allow-Origin") == mine; got != c.allowed || a.StatusCode/100 != 2 {
					t.Errorf("%s %s with %q: allowed is %v, want %v: %d %v", method, path, c.headers, got, c.allowed, a.StatusCode, a.Header)
				}
				allowed := strings.Split(a.Header.Get("Access-Control-Allow-Headers"), ",")
				for name := range strings.SplitSeq(strings.ToLower(c.headers), ",") {
					if name = strings.TrimSpace(name); c.allowed && name != "" && !slices.Contains(allowed, name) {
						t.Errorf("%q: %s is not among %q", c.headers, name, allowed)
					}
				}
			}
		}
	}
	for _, origin := range []string{"https://evil.example.com", "https://app.example.com.evil.com", "http://app.example.com", "null", "https://app.example.com:8443", ""} {
		a := servers[""].do("OPTIONS", "/api/files/b", nil, "Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization")
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is allowed: %v", origin, a.Header)
		}
	}
}

func TestCORS(t *testing.T) {
	const mine = "https://app.example.com"
	w := securedBy(t, testConfig+`
server: {cors: {allowed_origins: ["https://app.example.com"]}}
`, corsSchema)
	a := w.do("GET", "/api/files/b", nil, "Origin", mine)
	exposed := strings.ToLower(a.Header.Get("Access-Control-Expose-Headers"))
	for _, h := range []string{"etag", "location", "content-range", "upload-offset", "tus-resumable", "x-request-id", "retry-after", "repr-digest"} {
		if !strings.Contains(exposed, h) {
			t.Errorf("%s is not exposed: %s", h, exposed)
		}
	}
	if !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
		t.Errorf("Vary is %v", a.Header.Values("Vary"))
	}
	f := w.putAs("ann", "b", "f", "x")
	a = w.do("GET", "/api/files/b/"+f.ID+"/download", nil, "Origin", mine)
	if vary := strings.Join(a.Header.Values("Vary"), ","); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Authorization") {
		t.Errorf("Vary of content is %q", vary)
	}
	// Errors can be read by the page too.
	if a := w.do("GET", "/api/files/none", nil, "Origin", mine); a.Header.Get("Access-Control-Allow-Origin") != mine {
		t.Errorf("a refusal: %v", a.Header)
	}
}

// Any origin is never allowed to send credentials.
func TestCORSAnyOrigin(t *testing.T) {
	w := securedBy(t, testConfig+`
server: {cors: {allowed_origins: ["*"], allow_credentials: true}}
`, corsSchema)
	a := w.do("GET", "/api/files/b", nil, "Origin", "https://anybody.example")
	if a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", a.Header)
	}
	if a := secured(t, corsSchema).do("GET", "/api/files/b", nil, "Origin", "https://anybody.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without configuration: %v", a.Header)
	}
}
