package api

import (
	"net/http"
	"slices"

	"github.com/rs/cors"
)

// withCORS allows pages of the configured origins to use the API with all
// headers of uploads and downloads. "*" allows every origin, without
// credentials.
func (s *Server) withCORS(next http.Handler) http.Handler {
	origins := s.opts.Server.CORS.AllowedOrigins
	if len(origins) == 0 || !s.opts.Server.CORS.Enabled {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowCredentials: !slices.Contains(origins, "*"),
		AllowedMethods:   []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders: []string{"Accept", "Authorization", "Content-Type", "Content-Encoding", "Content-Range", "Idempotency-Key", "If-Match", "If-None-Match",
			"If-Modified-Since", "If-Range", "If-Unmodified-Since", "Range", "X-Request-ID", "X-Requested-With",
			"Tus-Resumable", "Upload-Checksum", "Upload-Complete", "Upload-Concat", "Upload-Defer-Length", "Upload-Draft-Interop-Version",
			"Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override", "Origin", "Repr-Digest", "Want-Repr-Digest", "Content-Digest", "Content-Disposition"},
		ExposedHeaders: []string{"Accept-Ranges", "Content-Disposition", "Content-Length", "Content-Location", "Content-Range", "ETag", "Last-Modified", "Location",
			"Repr-Digest", "Retry-After", "X-Chunker", "X-File-Id", "X-Manifest-Id", "X-Request-ID", "Idempotent-Replayed",
			"Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Complete", "Upload-Concat",
			"Upload-Defer-Length", "Upload-Draft-Interop-Version", "Upload-Expires", "Upload-Length", "Upload-Limit", "Upload-Metadata", "Upload-Offset"},
		MaxAge: 600, // seconds
	}).Handler(next)
}
