package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/chunker"
)

// bucketCapabilities answers with the limits and options of a bucket.
// Everybody may read them: refused uploads disclose them too.
func bucketCapabilities(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	p := b.Policy()
	if p.Access.Disabled && !principalOf(r).Operator {
		return buckets.ErrBucketDisabled
	}
	out := client.Capabilities{
		Hash: "blake3-256", Chunker: b.Chunker(), Protocols: protocolNames(),
		MaxFileSize: p.Limits.MaxFileSize, AllowedTypes: p.Limits.Types, AllowedExtensions: p.Limits.Extensions,
		TypeCheck: string(p.Limits.TypeCheck), Digests: p.Digests, DedupScope: string(p.Dedup),
		UploadExpiry: wholeSeconds(p.UploadExpiry), SignedURLTTL: wholeSeconds(max(p.Access.SignedURLTTL, 0)), Versioning: !p.Versions.Off, FileRules: p.Access.FileRules,
	}
	return writeJSON(w, http.StatusOK, out)
}

func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// serverCapabilities answers with what a client needs to upload by chunk list,
// and with example cuts to test its chunker against.
func serverCapabilities(w http.ResponseWriter, r *http.Request) error {
	out := client.ServerCapabilities{Hash: "blake3-256", Profiles: make(map[string]string), Golden: goldenCuts(), Protocols: protocolNames(),
		Limits: client.ServerLimits{MaxListJSON: maxListJSON, MaxListChunks: upload.MaxListed, MaxBatch: maxBatch, MaxBases: upload.MaxBases}}
	for _, name := range chunker.Profiles() {
		sp, err := chunker.Profile(name)
		if err != nil {
			return err
		}
		out.Profiles[name] = sp.String()
	}
	w.Header().Set("Cache-Control", "private, max-age=300")
	return writeJSON(w, http.StatusOK, out)
}

func protocolNames() []string { return []string{"rest", "sessions", "tus", "rufh"} }

// goldenCuts parses the example cuts of chunker.Golden.
func goldenCuts() (out []client.GoldenCuts) {
	for line := range strings.Lines(chunker.Golden()) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "#" {
			continue
		}
		g := client.GoldenCuts{Input: f[0], Chunker: f[2]}
		g.Size, _ = strconv.ParseInt(f[1], 10, 64) // the text is part of the program
		for _, n := range f[3:] {
			cut, _ := strconv.Atoi(n)
			g.Cuts = append(g.Cuts, cut)
		}
		out = append(out, g)
	}
	return out
}
