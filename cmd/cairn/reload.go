package main

import (
	"context"
	"maps"
	"os"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A reloader applies at a SIGHUP what of --config and --schema can change while the
// server runs, and says what it has applied and what needs a restart.
type reloader struct {
	*target
	store *buckets.Store
	log   *serverLog
	logs  *logFlags
	began settings // what the process was started with
	now   settings // what of it counts now
}

// onHangup reloads at every signal from hup, until ctx is done.
func (r *reloader) onHangup(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			r.reload(ctx)
		}
	}
}

// reload reads the files again. A file that is not valid is logged and changes
// nothing, nor does a schema that cannot be applied.
func (r *reloader) reload(ctx context.Context) {
	s, err := r.readSettings()
	if err != nil {
		r.log.Error("nothing applied", "error", err)
		return
	}
	r.applyConfig(s.config)
	r.audit.reopen()
	if s.schema == nil {
		r.log.Info("buckets stay as they are, there is no --schema")
		return
	}
	if err := r.store.ApplySchema(access.ActAs(ctx, "reload", "SIGHUP"), s.schema); err != nil {
		r.log.Error("schema not applied", "error", err)
		return
	}
	n := r.logBuckets(s.schema)
	r.log.Info("schema applied", "schema", r.target.schema, "schema_sha256", s.digest, "buckets", len(s.schema.Buckets), "changes", n)
	r.now.schema = s.schema
}

// applyConfig applies what of the configuration can change, and names the rest.
func (r *reloader) applyConfig(c *schema.Config) {
	if c == nil {
		return
	}
	if level, _ := r.logs.choose(c); r.log.setLevel(level) {
		r.log.Warn("log level changed", "log_level", level) // at any level but error it is seen
	}
	var keys []string
	for _, ch := range c.Compare(r.began.config) {
		if ch.Key != "server.log.level" {
			keys = append(keys, ch.Key)
		}
	}
	if len(keys) > 0 {
		r.log.Warn("these keys have changed and need a restart", "config", r.config, "keys", keys)
	}
}

// logBuckets writes what is another than before, a line for each key, and returns how
// many there are.
func (r *reloader) logBuckets(s *schema.Schema) (changes int) {
	before := r.now.schema.Buckets
	for _, name := range slices.Sorted(maps.Keys(s.Buckets)) {
		old := before[name]
		if old == nil {
			changes++
			r.log.Info("bucket added", "bucket", name)
			continue
		}
		for _, ch := range s.Buckets[name].Compare(old) {
			changes++
			r.log.Info("bucket changed", "bucket", name, "key", ch.Key, "from", ch.Old, "to", ch.New)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if s.Buckets[name] == nil {
			changes++
			r.log.Info("bucket removed", "bucket", name)
		}
	}
	return changes
}
