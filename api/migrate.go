package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

const migrateTell = time.Second // between two lines of progress

// migrateBucket moves a bucket to another backend. While it works it answers
// with a line of JSON each second. The move is given up if the request ends
// before it.
func (s *Server) migrateBucket(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Bucket string `json:"bucket"`
		To     string `json:"to"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Bucket == "" || in.To == "" {
		return fmt.Errorf("bucket and to are wanted: %w", errRequest)
	}
	out := json.NewEncoder(w)
	var last time.Time
	tell := func(v *client.Migrated) error {
		if last.IsZero() {
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		last = time.Now()
		if err := out.Encode(v); err != nil {
			return err
		}
		return flushAnswer(w)
	}
	m, err := s.store.Migrate(r.Context(), in.Bucket, in.To, func(m buckets.Migrated) {
		if time.Since(last) >= migrateTell {
			tell(MigratedView(m)) // fails only if the client is gone, which ends the request
		}
	})
	if err != nil && last.IsZero() {
		return err
	}
	v := MigratedView(m)
	if v.Done = err == nil; err != nil {
		s.log.Error("move given up", "request", requestIDOf(r), "bucket", in.Bucket, "to", in.To, "error", err)
		p := problemOf(err)
		v.Error = &client.Error{Status: p.Status, Code: p.Code, Detail: p.Detail, RequestID: requestIDOf(r)}
	}
	return tell(v)
}

// MigratedView returns m as clients see it.
func MigratedView(m buckets.Migrated) *client.Migrated {
	return &client.Migrated{From: m.From, Files: m.Files, Versions: m.Versions, Bytes: m.Bytes, CopiedBytes: m.CopiedBytes}
}
