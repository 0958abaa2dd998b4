package api

import (
	"net/http"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

// capabilities tells clients what the bucket takes, before they send it. It
// is no secret: a refusal would tell it too.
func (s *Server) capabilities(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	p := b.Policy()
	if p.Disabled && !principal(r).Operator {
		return buckets.ErrBucketDisabled
	}
	out := client.Capabilities{
		Hash: "blake3-256", Chunker: b.Chunker(), Protocols: []string{"rest", "tus"},
		MaxFileSize: p.Limits.MaxFileSize, AllowedTypes: p.Limits.Types, AllowedExtensions: p.Limits.Extensions,
		TypeCheck: string(p.Limits.TypeCheck), Digests: p.Digests, DedupScope: string(p.Dedup),
		UploadExpiry: seconds(p.UploadExpiry), SignedURLTTL: seconds(max(p.SignedURLTTL, 0)), Versioning: !p.Versions.Off, FileRules: p.FileRules,
	}
	return writeJSON(w, http.StatusOK, out)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
