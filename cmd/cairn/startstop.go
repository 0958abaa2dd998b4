package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// maxBucketLines is how many buckets have a line of their own when a server starts.
const maxBucketLines = 100

// logStart writes what is served, when all is open.
func (t *target) logStart(log *serverLog, ln net.Listener, s settings, store *buckets.Store, srv *api.Server, dev bool) {
	attrs := []any{"version", thisBuild().Version, "commit", thisBuild().Commit, "address", ln.Addr().String(), "data", t.data, "dev", dev}
	if t.config != "" {
		attrs = append(attrs, "config", t.config)
	}
	if t.schema != "" {
		attrs = append(attrs, "schema", t.schema, "schema_sha256", s.digest)
	}
	if t.audit != nil {
		attrs = append(attrs, "audit", t.audit.place)
	}
	attrs = append(attrs, "backends", backendKinds(s.config), "buckets", len(store.Buckets()), "log_level", log.level.Level().String(), srv.Limits())
	log.Info("start", attrs...)
	for i, name := range store.Buckets() {
		if i == maxBucketLines {
			log.Info("more buckets are served", "buckets", len(store.Buckets())-i)
			break
		}
		if b, err := store.Bucket(name); err == nil {
			log.Info("bucket", bucketAttrs(name, b.Policy())...)
		}
	}
}

// bucketAttrs say where a bucket is, and what limits it has.
func bucketAttrs(name string, p buckets.Policy) []any {
	attrs := []any{"bucket", name, "backend", p.Domain}
	for _, limit := range []struct {
		key   string
		bytes int64
	}{{"max_file_size", p.Limits.MaxFileSize}, {"max_total_size", p.Limits.MaxTotalSize}, {"max_owner_size", p.Limits.MaxOwnerSize}} {
		if limit.bytes > 0 {
			attrs = append(attrs, limit.key, limit.bytes)
		}
	}
	return attrs
}

// backendKinds lists backends as NAME=KIND.
func backendKinds(c *schema.Config) []string {
	if c == nil || len(c.Storage.Backends) == 0 {
		return []string{"local=filesystem"}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.Storage.Backends)) {
		kind := "filesystem"
		if b := c.Storage.Backends[name]; b != nil {
			kind = cmp.Or(b.Type, kind)
		}
		out = append(out, name+"="+kind)
	}
	return out
}

// logStop writes why the server ends, and what did not end with it.
func logStop(log *serverLog, why error, failed bool, ran time.Duration, srv *api.Server) {
	level := slog.LevelInfo
	if failed {
		level = slog.LevelError
	}
	text := "done"
	if why != nil {
		text = why.Error()
	}
	log.Log(context.Background(), level, "stop", "why", text, "ran", ran.Round(time.Millisecond).String(), "cut", srv.Cut())
}
