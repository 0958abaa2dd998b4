package api_test

import (
	"strings"
	"testing"
)

const corsSchema = `buckets: {b: {rules: {create: "true", read: "true"}}}`

func TestCORS(t *testing.T) {
	w := securedBy(t, testConfig+`
server: {cors: {allowed_origins: ["https://app.example.com"], max_age: 12h}}
`, corsSchema)
	preflight := func(origin, method, headers string) *answer {
		return w.do("OPTIONS", "/api/files/b", nil, "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers)
	}
	const mine = "https://app.example.com"
	for _, h := range []string{"authorization", "authorization,content-type", "if-match,range", "tus-resumable,upload-length,upload-metadata,upload-offset",
		"upload-complete,upload-draft-interop-version", "idempotency-key", "x-requested-with"} {
		a := preflight(mine, "PATCH", h)
		if a.StatusCode/100 != 2 || a.Header.Get("Access-Control-Allow-Origin") != mine || a.Header.Get("Access-Control-Allow-Headers") != h {
			t.Errorf("%s: %d %v", h, a.StatusCode, a.Header)
		}
	}
	for _, origin := range []string{"https://evil.example.com", "https://app.example.com.evil.com", "http://app.example.com", "null"} {
		if a := preflight(origin, "PUT", "authorization"); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is allowed: %v", origin, a.Header)
		}
	}
	if a := preflight(mine, "PUT", "x-evil"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("an unknown header is allowed: %v", a.Header)
	}
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
