package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// pageHeaders returns the names of headers that pages may send: those of the
// API, and those that browsers' libraries add unasked. None of the latter
// changes what a request does.
func pageHeaders() []string {
	return []string{
		"Accept", "Authorization", "Content-Type", "Content-Encoding", "Content-Range", "Idempotency-Key", "If-Match", "If-None-Match",
		"If-Modified-Since", "If-Range", "If-Unmodified-Since", "Range", "X-Request-ID", "X-Requested-With",
		"Tus-Resumable", "Upload-Checksum", "Upload-Complete", "Upload-Concat", "Upload-Defer-Length", "Upload-Draft-Interop-Version",
		"Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override", "Origin", "Repr-Digest", "Want-Repr-Digest",
		"Content-Digest", "Want-Content-Digest", "Content-Disposition", asHeader,

		"Accept-Language", "Cache-Control", "Content-Language", "DNT", "Expires", "Keep-Alive", "Last-Event-ID", "NGSW-Bypass", "Pragma", "Prefer", "Priority", "User-Agent",
		// Against forged requests: Rails and axios, Angular, Django, Express, ASP.NET.
		"X-CSRF-Token", "X-XSRF-Token", "X-CSRFToken", "CSRF-Token", "XSRF-Token", "RequestVerificationToken", "X-RequestVerificationToken",
		// Of tracing: W3C, Sentry, OpenTelemetry's other forms, Datadog, Elastic,
		// New Relic, Application Insights, AWS, Google, Jaeger, OpenTracing, Instana,
		// Dynatrace, Honeycomb.
		"Baggage", "Traceparent", "Tracestate", "Sentry-Trace", "B3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "X-B3-Flags",
		"X-Datadog-Origin", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority", "X-Datadog-Tags", "X-Datadog-Trace-Id", "Elastic-Apm-Traceparent",
		"Newrelic", "X-NewRelic-ID", "X-NewRelic-Transaction", "Request-Id", "Request-Context", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Uber-Trace-Id", "X-Correlation-ID", "X-Trace-ID", "X-Span-ID",
		"OT-Tracer-TraceId", "OT-Tracer-SpanId", "OT-Tracer-Sampled", "X-OT-Span-Context", "X-Instana-T", "X-Instana-S", "X-Instana-L",
		"X-DTC", "X-DTPC", "X-DTReferer", "X-Honeycomb-Trace",
		// What clients say of themselves.
		"X-Client-Info", "X-Client-Version",
	}
}

// withCORS allows pages of the configured origins to use the API with all
// headers of uploads and downloads. "*" allows every origin, without
// credentials.
func (s *Server) withCORS(next http.Handler) http.Handler {
	set := &s.opts.Server.CORS
	if len(set.AllowedOrigins) == 0 || bool(set.Disabled) {
		return next
	}
	any := slices.Contains(set.AllowedOrigins, "*")
	pages := cors.New(cors.Options{
		AllowedOrigins:   set.AllowedOrigins,
		AllowCredentials: !any,
		AllowedMethods:   []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders:   slices.Concat(pageHeaders(), set.AllowedHeaders),
		ExposedHeaders: []string{"Accept-Patch", "Accept-Ranges", "Allow", "Content-Disposition", "Content-Length", "Content-Location", "Content-Range", "ETag",
			"Last-Modified", "Location", "Repr-Digest", "Retry-After", "X-Chunker", "X-File-Id", "X-Listed-Chunks", "X-Manifest-Id", "X-Request-ID", "Idempotent-Replayed",
			"Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Complete", "Upload-Concat",
			"Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Expires", "Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset"},
		MaxAge: 600, // seconds
	})
	if !any {
		s.pages = pages
	}
	return sortAskedHeaders(pages.Handler(next))
}

// sortAskedHeaders brings the headers that a preflight asks for into the form
// that browsers send and package cors expects: small letters, in order, each
// once. Others, and what stands between, may send them otherwise.
func sortAskedHeaders(next http.Handler) http.Handler {
	const asked = "Access-Control-Request-Headers"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines := r.Header[asked]; r.Method == http.MethodOptions && len(lines) > 0 {
			names := strings.FieldsFunc(strings.ToLower(strings.Join(lines, ",")), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
			slices.Sort(names)
			r.Header.Set(asked, strings.Join(slices.Compact(names), ","))
		}
		next.ServeHTTP(w, r)
	})
}
