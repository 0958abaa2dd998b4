package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// With Options.Server.Compat requests and answers are spelt as Alyx's own clients
// spell and read them. What a request may do is decided as without it, but for
// this: DELETE removes a file for good. Who takes application/problem+json, as Cairn's
// own clients do, is answered as without it. The table in docs/alyx.md says what differs.

// servesAlyx reports whether the server is set up for Alyx's clients.
func (s *Server) servesAlyx() bool { return s.opts.Server.Compat == schema.CompatAlyx }

type alyxKey struct{}

// isAlyx reports whether r is read and answered in Alyx's spelling.
func isAlyx(r *http.Request) bool {
	on, _ := r.Context().Value(alyxKey{}).(bool)
	return on
}

// An alyxFile is a File with the members of Alyx's that Cairn has no like of.
type alyxFile struct {
	*client.File
	MIMEType string `json:"mime_type"` // in place of the File's
	Checksum string `json:"checksum,omitempty"`
	// Compressed is false: size, and what a download brings, are those of the
	// content as it was sent. How it lies in packs is not told by file.
	Compressed bool `json:"compressed"`
}

// spellFile returns v as the sender of r reads it.
func spellFile(r *http.Request, v *client.File) any {
	if !isAlyx(r) {
		return v
	}
	return &alyxFile{File: v, MIMEType: spellType(v.MIMEType), Checksum: v.Checksums["sha256"]}
}

// spellType returns a media type with the charset that Alyx gives every text. It is
// for answers alone: rules and allowed_types know types without parameters.
func spellType(t string) string {
	if strings.HasPrefix(t, "text/") {
		return t + "; charset=utf-8"
	}
	return t
}

// An alyxListing is a listing with the members that Alyx's generated clients read:
// they look for items where its server, and its admin page, say files.
type alyxListing struct {
	*listing
	Items   []any `json:"items"`
	Page    int   `json:"page"`
	PerPage int   `json:"perPage"`
}

// spellListing returns a page as the sender of r reads it.
func spellListing(r *http.Request, v *listing, page *buckets.Page, opts *buckets.PageOptions) any {
	if !isAlyx(r) {
		return v
	}
	if opts.After == "" {
		v.Total = &page.Total // the least that there are, where more are not counted
	}
	v.Offset, v.Limit = &opts.Offset, &opts.Limit
	return &alyxListing{listing: v, Items: v.Files, Page: opts.Offset/opts.Limit + 1, PerPage: opts.Limit}
}

// mostOf returns the largest limit that the sender of r may give. Alyx's clients may
// give any, and get pages of maxLimit.
func mostOf(r *http.Request) uint64 {
	if isAlyx(r) {
		return math.MaxInt32
	}
	return maxLimit
}

// readAsAlyx reads the parameters of a listing as Alyx does: mime_type is what
// types begin with. A charset in it is one that spellType has added.
func readAsAlyx(opts *buckets.PageOptions) {
	opts.Limit = min(opts.Limit, maxLimit)
	if strings.Contains(opts.MIMEType, "*") {
		return
	}
	bare, _, _ := strings.Cut(opts.MIMEType, ";")
	opts.MIMEPrefix, opts.MIMEType = strings.TrimSpace(bare), ""
}

// listPage is b.ListPage in the order that the sender of r expects. Alyx lists what
// is new first, and its clients take the first file for the one that they have just
// sent. A listing that is too long for that order is by name; but one of a single
// file is refused, for it would be another than the one that is meant.
func listPage(r *http.Request, b *buckets.Bucket, opts *buckets.PageOptions) (*buckets.Page, error) {
	if !isAlyx(r) || opts.Order != "" {
		return b.ListPage(r.Context(), opts)
	}
	newest := *opts
	newest.Order = "-" + buckets.OrderCreated
	page, err := b.ListPage(r.Context(), &newest)
	if errors.Is(err, buckets.ErrListTooLong) && opts.Limit > 1 || errors.Is(err, buckets.ErrCursor) {
		return b.ListPage(r.Context(), opts)
	}
	return page, err
}

// removesForGood reports whether a DELETE purges a file that a bucket with a trash
// would keep there. Alyx has no trash.
func removesForGood(r *http.Request, q *query) bool {
	return q.readFlag("permanent") || isAlyx(r) && !q.values.Has("permanent")
}

// An alyxProblem is a problem with the code that Alyx gives the same, and the
// members that its clients look for a text in.
type alyxProblem struct {
	*problem
	Code      string         `json:"code"`
	Message   string         `json:"message"`
	RequestID string         `json:"request_id"`
	Details   map[string]any `json:"details,omitempty"`
}

// spellProblem returns p as the sender of r reads it.
func spellProblem(r *http.Request, p *problem) any {
	if !isAlyx(r) {
		return p
	}
	return &alyxProblem{problem: p, Code: p.alyx, Message: p.Detail, RequestID: p.Instance, Details: p.Details}
}

// maxDeletes is how many files one request may delete.
const maxDeletes = 1000

// A failedDelete says why a file of a batch was not deleted.
type failedDelete struct {
	ID    string `json:"id"`
	Error string `json:"error"`
	Code  string `json:"code"`
}

// deleteBatch removes files one by one, each as deleteFile does. What it cannot
// remove it names.
func (s *Server) deleteBatch(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	q := queryOf(r)
	forGood := removesForGood(r, q)
	if q.err != nil {
		return q.err
	}
	var in struct {
		IDs []string `json:"ids"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if n := len(in.IDs); n == 0 || n > maxDeletes {
		return fmt.Errorf("%d ids: send 1 to %d at a time: %w", n, maxDeletes, errRequest)
	}
	deleted, failed := 0, []failedDelete{}
	for _, id := range in.IDs {
		_, err := removeByID(r, b, id, forGood)
		if err == nil {
			deleted++
			continue
		}
		if err := r.Context().Err(); err != nil {
			return err
		}
		p := problemOf(err)
		if p.Status >= 500 {
			s.log.Error("file of a batch not deleted", "request", requestIDOf(r), "file", id, "error", err)
		}
		failed = append(failed, failedDelete{ID: id, Error: p.Detail, Code: p.alyx})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"deleted": deleted, "failed": failed})
}

// alyxRoutes are routes of Alyx's that Cairn has no need of.
func (s *Server) alyxRoutes() []route {
	if !s.servesAlyx() {
		return nil
	}
	return []route{
		{bucketRoute + "/batch", methods{"DELETE": s.inBucket(s.deleteBatch)}},
		{"/api/admin/storage/stats", methods{"GET": s.onlyOperators(s.statBuckets)}},
		{"/api/admin/schema", methods{"GET": s.onlyOperators(s.listBuckets)}},
	}
}

// bucketStats sums a bucket up as Alyx does.
type bucketStats struct {
	Bucket     string `json:"bucket"`
	FileCount  int64  `json:"fileCount"`
	TotalBytes int64  `json:"totalBytes"` // of all versions
}

// statBuckets answers with the sums of all buckets.
func (s *Server) statBuckets(w http.ResponseWriter, r *http.Request) error {
	out := []bucketStats{}
	for _, name := range s.store.Buckets() {
		b, err := s.bucketFor(r, name)
		if err != nil {
			return err
		}
		u, err := b.Usage(r.Context())
		if err != nil {
			return err
		}
		out = append(out, bucketStats{Bucket: name, FileCount: u.Files, TotalBytes: u.Bytes})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"buckets": out})
}

// A declaredBucket is what Alyx's admin page reads of a bucket of the schema.
type declaredBucket struct {
	Name         string   `json:"name"`
	Backend      string   `json:"backend"`
	MaxFileSize  int64    `json:"maxFileSize,omitempty"`
	AllowedTypes []string `json:"allowedTypes,omitempty"`
}

// listBuckets answers with the part of a schema that is about buckets, where the
// storage page of Alyx's admin pages looks for them.
func (s *Server) listBuckets(w http.ResponseWriter, r *http.Request) error {
	out := []declaredBucket{}
	for _, name := range s.store.Buckets() {
		b, err := s.bucketFor(r, name)
		if err != nil {
			return err
		}
		p := b.Policy()
		out = append(out, declaredBucket{Name: name, Backend: p.Domain, MaxFileSize: p.Limits.MaxFileSize, AllowedTypes: p.Limits.Types})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"version": 1, "collections": []any{}, "buckets": out})
}
