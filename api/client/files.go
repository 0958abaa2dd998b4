package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// UploadOptions are options of uploads.
type UploadOptions struct {
	Folder        string
	MIMEType      string
	Size          int64 // of the content if SizeKnown
	SizeKnown     bool
	Metadata      map[string]any
	Tags          []string
	CacheControl  string   // of the content over HTTP: max-age=3600
	OnConflict    string   // new (default), version, fail
	SkipUnchanged bool     // make no version when the content is the current one's
	Digests       []string // nil leaves them to the bucket; empty means none
	IfMatch       string   // root that the current version must have, "*" for any
}

func (o *UploadOptions) query() url.Values {
	q := make(url.Values)
	set := func(k, v string) {
		if v != "" {
			q.Set(k, v)
		}
	}
	set("folder", o.Folder)
	set("on_conflict", o.OnConflict)
	set("cache_control", o.CacheControl)
	if o.SkipUnchanged {
		q.Set("skip_unchanged", "true")
	}
	if o.Digests != nil {
		q.Set("digests", "none")
		set("digests", strings.Join(o.Digests, ","))
	}
	if o.Metadata != nil {
		q.Set("metadata", jsonText(o.Metadata))
	}
	if o.Tags != nil {
		q.Set("tags", jsonText(o.Tags))
	}
	return q
}

// jsonText returns v as JSON. A value that JSON cannot hold is returned as
// text, which the server refuses.
func jsonText(v any) string {
	p, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(p)
}

func (o *UploadOptions) newRequest(method string, r io.Reader) *request {
	q := &request{method: method, query: o.query(), header: make(http.Header), body: r, size: -1}
	if o.SizeKnown {
		q.size = o.Size
	}
	if o.MIMEType != "" {
		q.header.Set("Content-Type", o.MIMEType)
	}
	if o.IfMatch != "" {
		q.header.Set("If-Match", entityTag(o.IfMatch))
	}
	return q
}

// entityTag returns a root as headers spell it.
func entityTag(root string) string {
	if root == "*" {
		return root
	}
	return `"b3-` + root + `"`
}

// Upload stores the content of r in a bucket under name.
func (c *Client) Upload(ctx context.Context, bucket, name string, r io.Reader, opts *UploadOptions) (*File, error) {
	if opts == nil {
		opts = &UploadOptions{}
	}
	q := opts.newRequest(http.MethodPost, r)
	q.path = []string{bucket}
	q.query.Set("name", name)
	return c.callFile(ctx, q)
}

// Replace stores the content of r as a new version of the file id.
func (c *Client) Replace(ctx context.Context, bucket, id string, r io.Reader, opts *UploadOptions) (*File, error) {
	if opts == nil {
		opts = &UploadOptions{}
	}
	q := opts.newRequest(http.MethodPut, r)
	q.path = []string{bucket, id}
	return c.callFile(ctx, q)
}

// GetOptions are options of Stat and Open.
type GetOptions struct {
	Version uint64 // zero means the current one, or that which a manifest ID names
	Trashed bool   // also files in the trash
}

func (o *GetOptions) query() url.Values {
	q := make(url.Values)
	if o != nil && o.Version != 0 {
		q.Set("version", strconv.FormatUint(o.Version, 10))
	}
	if o != nil && o.Trashed {
		q.Set("trashed", "true")
	}
	return q
}

// Stat returns the file (f_…) or version (m_…) id.
func (c *Client) Stat(ctx context.Context, bucket, id string, opts *GetOptions) (*File, error) {
	var f *File
	err := c.newTransfer(-1, nil).retry(ctx, func(ctx context.Context, _ func(), _ int) (err error) {
		f, err = c.callFile(ctx, &request{method: http.MethodGet, path: []string{bucket, id}, query: opts.query()})
		return err
	})
	return f, err
}

// StatPath returns the active file with a path, its folder and name joined by
// '/'.
func (c *Client) StatPath(ctx context.Context, bucket, path string, opts *GetOptions) (*File, error) {
	q := opts.query()
	q.Set("as", "json")
	var f *File
	err := c.newTransfer(-1, nil).retry(ctx, func(ctx context.Context, _ func(), _ int) (err error) {
		f, err = c.callFile(ctx, &request{method: http.MethodGet, path: atPath(bucket, path), query: q})
		return err
	})
	return f, err
}

// OpenPath is Open for the active file with a path.
func (c *Client) OpenPath(ctx context.Context, bucket, path string, opts *GetOptions) (io.ReadCloser, int64, error) {
	return c.openContent(ctx, atPath(bucket, path), opts)
}

func atPath(bucket, path string) []string {
	return append([]string{bucket, "_at"}, strings.Split(path, "/")...)
}

// Open returns the content of the file or version id and its length. The
// reader fails with io.ErrUnexpectedEOF if the answer is cut off.
func (c *Client) Open(ctx context.Context, bucket, id string, opts *GetOptions) (io.ReadCloser, int64, error) {
	return c.openContent(ctx, []string{bucket, id, "download"}, opts)
}

func (c *Client) openContent(ctx context.Context, path []string, opts *GetOptions) (io.ReadCloser, int64, error) {
	resp, err := c.sendRequest(ctx, &request{method: http.MethodGet, path: path, query: opts.query()})
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// ListOptions choose and order files of a bucket.
type ListOptions struct {
	Prefix   string  // of the path
	Folder   *string // only files right in this folder
	State    string  // active (default), trashed
	Search   string  // part of the name, whatever the case
	MIMEType string  // image/png, or image/*
	Order    string  // name, created, updated, size; with a minus sign from the last to the first
	Markers  bool    // also the markers of folders, which names.FolderMarker describes
}

func (o *ListOptions) query() url.Values {
	q := url.Values{"limit": {"1000"}}
	if o == nil {
		return q
	}
	for k, v := range map[string]string{"prefix": o.Prefix, "state": o.State, "search": o.Search, "mime_type": o.MIMEType, "order": o.Order} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if o.Folder != nil {
		q.Set("folder", *o.Folder)
	}
	if o.Markers {
		q.Set("markers", "true")
	}
	return q
}

// List yields the files of a bucket, page by page.
func (c *Client) List(ctx context.Context, bucket string, opts *ListOptions) iter.Seq2[*File, error] {
	return filesOf(c.Pages(ctx, bucket, &PageOptions{ListOptions: *cmp.Or(opts, &ListOptions{})}))
}

// PageOptions are options of Pages.
type PageOptions struct {
	ListOptions
	Folders bool // a folder stands for all files in it
	Limit   int  // files and folders of a page; 0 is 1000
}

// Pages yields a listing page by page. A page may be short, though more follow.
func (c *Client) Pages(ctx context.Context, bucket string, opts *PageOptions) iter.Seq2[*Page, error] {
	q := opts.query()
	if opts.Folders {
		q.Set("delimiter", "/")
	}
	if opts.Limit > 0 {
		q.Set("limit", strconv.Itoa(opts.Limit))
	}
	return c.readPages(ctx, []string{bucket}, q)
}

// Versions yields the versions of a file, newest first.
func (c *Client) Versions(ctx context.Context, bucket, id string) iter.Seq2[*File, error] {
	return filesOf(c.readPages(ctx, []string{bucket, id, "versions"}, url.Values{"limit": {"1000"}}))
}

// filesOf yields the files of all pages.
func filesOf(pages iter.Seq2[*Page, error]) iter.Seq2[*File, error] {
	return func(yield func(*File, error) bool) {
		for p, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, f := range p.Files {
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

func (c *Client) readPages(ctx context.Context, path []string, q url.Values) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		for {
			p := new(Page)
			if err := c.callJSON(ctx, &request{method: http.MethodGet, path: path, query: q}, p); err != nil {
				yield(nil, err)
				return
			}
			if !yield(p, nil) || p.NextCursor == "" {
				return
			}
			if q.Get("cursor") == p.NextCursor {
				yield(nil, fmt.Errorf("the server's listing does not go on after cursor %.100q", p.NextCursor))
				return
			}
			q.Set("cursor", p.NextCursor)
		}
	}
}

// Update applies a merge patch (RFC 7396) of name, folder, metadata, tags.
func (c *Client) Update(ctx context.Context, bucket, id string, patch map[string]any) (*File, error) {
	q := &request{method: http.MethodPatch, path: []string{bucket, id}}
	return c.callFile(ctx, q.withJSON(patch))
}

// Delete moves a file (f_…) to the trash, or removes a version (m_…).
func (c *Client) Delete(ctx context.Context, bucket, id string) error {
	return c.callJSON(ctx, &request{method: http.MethodDelete, path: []string{bucket, id}}, nil)
}

// Purge removes a file and its versions for good.
func (c *Client) Purge(ctx context.Context, bucket, id string) error {
	q := url.Values{"permanent": {"true"}}
	return c.callJSON(ctx, &request{method: http.MethodDelete, path: []string{bucket, id}, query: q}, nil)
}

// Undelete takes a file out of the trash.
func (c *Client) Undelete(ctx context.Context, bucket, id string) (*File, error) {
	return c.callFile(ctx, &request{method: http.MethodPost, path: []string{bucket, id, "restore"}})
}

// RestoreVersion makes a new version with the content of version n.
func (c *Client) RestoreVersion(ctx context.Context, bucket, id string, n uint64) (*File, error) {
	return c.callFile(ctx, &request{method: http.MethodPost, path: []string{bucket, id, "versions", strconv.FormatUint(n, 10), "restore"}})
}

// DeleteVersion removes version n of a file for good.
func (c *Client) DeleteVersion(ctx context.Context, bucket, id string, n uint64) error {
	return c.callJSON(ctx, &request{method: http.MethodDelete, path: []string{bucket, id, "versions", strconv.FormatUint(n, 10)}}, nil)
}

// CopyOptions are options of Copy. Zero values take the original's.
type CopyOptions struct {
	Version    uint64  `json:"version,omitempty"`
	Bucket     string  `json:"bucket,omitempty"`
	Name       string  `json:"name,omitempty"`
	Folder     *string `json:"folder,omitempty"`
	OnConflict string  `json:"on_conflict,omitempty"`
}

// Copy makes a new file with the content of id.
func (c *Client) Copy(ctx context.Context, bucket, id string, opts *CopyOptions) (*File, error) {
	if opts == nil {
		opts = &CopyOptions{}
	}
	q := &request{method: http.MethodPost, path: []string{bucket, id, "copy"}}
	return c.callFile(ctx, q.withJSON(opts))
}

// Usage returns the totals of a bucket.
func (c *Client) Usage(ctx context.Context, bucket string) (*Usage, error) {
	u := new(Usage)
	return u, c.callJSON(ctx, &request{method: http.MethodGet, path: []string{bucket, "_usage"}}, u)
}

// Capabilities returns the limits and options of a bucket.
func (c *Client) Capabilities(ctx context.Context, bucket string) (*Capabilities, error) {
	out := new(Capabilities)
	return out, c.callJSON(ctx, &request{method: http.MethodGet, path: []string{bucket, "_capabilities"}}, out)
}
