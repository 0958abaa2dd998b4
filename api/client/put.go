package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/cairn-store/cairn/chunker"
)

// PutOptions are options of Put.
type PutOptions struct {
	UploadOptions

	// FileID is the file that gets a new version; it takes the place of a
	// name.
	FileID string
	// Bases are files, versions and uploads whose chunks the server may use
	// for this one, besides the version that is replaced: at most 16.
	Bases []string

	Parallel int            // requests with chunks at a time; 4 by default
	Progress func(Progress) // called now and then, one call at a time
}

// A Stored is the result of Put.
type Stored struct {
	*File
	SentBytes int64 `json:"sent_bytes"` // of the content, repetitions included
}

const (
	small    = 1 << 20 // bytes; a content of this size or less is sent whole
	restarts = 3       // of a Put after its session has expired
)

// errNoSessions reports a server without uploads by chunk list, or with a
// splitter that this client does not know.
var errNoSessions = errors.New("no uploads by chunk list")

// Put stores the content of r in a bucket under name, or as a version of
// opts.FileID. Of a content above 1 MiB it sends only the chunks that the
// server requests. Requests that fail are tried again for a while. A Put of
// the same content after one that failed sends only the rest. If r is an
// io.Seeker, Put can send again what the server has lost meanwhile.
//
// Memory is bounded: by about 64 MiB, with the longest chunks by 128 MiB more.
func (c *Client) Put(ctx context.Context, bucket, name string, r io.Reader, opts *PutOptions) (*Stored, error) {
	if opts == nil {
		opts = &PutOptions{}
	}
	size := int64(-1)
	if opts.SizeKnown {
		size = opts.Size
	}
	p := &put{c: c, t: c.newTransfer(size, opts.Progress), bucket: bucket, name: name, opts: opts}
	f, err := p.sendContent(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Stored{File: f, SentBytes: p.t.progress().Moved}, nil
}

// A put is one call of Put.
type put struct {
	c      *Client
	t      *transfer
	bucket string
	name   string
	opts   *PutOptions
}

func (p *put) sendContent(ctx context.Context, r io.Reader) (*File, error) {
	seeker, _ := r.(io.Seeker)
	start := int64(0)
	if seeker != nil {
		var err error
		if start, err = seeker.Seek(0, io.SeekCurrent); err != nil {
			seeker = nil // a pipe, for example
		}
	}
	var head bytes.Buffer
	_, err := io.CopyN(&head, r, small)
	if err == io.EOF {
		return p.sendWhole(ctx, head.Bytes())
	}
	if err != nil {
		return nil, err
	}
	content := io.MultiReader(&head, r)
	for n := 0; ; n++ {
		f, err := p.sendBySession(ctx, content, seeker, start)
		if errors.Is(err, errNoSessions) {
			return p.sendStream(ctx, content)
		}
		if err == nil || !hasCode(err, "upload-not-found") || seeker == nil || n == restarts {
			return f, err
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return nil, err
		}
		content = r
	}
}

// newRequest returns a request that uploads the whole content.
func (p *put) newRequest(r io.Reader, size int64) *request {
	q := p.opts.UploadOptions.newRequest(http.MethodPost, r)
	q.path, q.size = []string{p.bucket}, size
	if p.opts.FileID != "" {
		q.method, q.path = http.MethodPut, []string{p.bucket, p.opts.FileID}
	} else {
		q.query.Set("name", p.name)
	}
	return q
}

// sendWhole sends a small content in one request, again if that fails. An
// idempotency key keeps the server from storing it twice, where the options do
// not.
func (p *put) sendWhole(ctx context.Context, content []byte) (f *File, err error) {
	key := ""
	if o := &p.opts.UploadOptions; !o.SkipUnchanged || o.OnConflict != "version" && p.opts.FileID == "" {
		key = rand.Text()
	}
	p.t.setSize(int64(len(content)))
	err = p.t.retry(ctx, func(ctx context.Context, touch func(), _ int) (err error) {
		q := p.newRequest(watched{bytes.NewReader(content), func(int) { touch() }}, int64(len(content)))
		if key != "" {
			q.header.Set("Idempotency-Key", key)
		}
		p.t.addProgress(0, int64(len(content)))
		f, err = p.c.callFile(ctx, q)
		return err
	})
	if err == nil {
		p.t.addProgress(int64(len(content)), 0)
	}
	return f, err
}

// sendStream sends a content of any size in one request.
func (p *put) sendStream(ctx context.Context, r io.Reader) (*File, error) {
	size := int64(-1)
	if p.opts.SizeKnown {
		size = p.opts.Size
	}
	return p.c.callFile(ctx, p.newRequest(watched{r, func(n int) { p.t.addProgress(int64(n), int64(n)) }}, size))
}

// sendBySession sends a content by chunk list.
func (p *put) sendBySession(ctx context.Context, r io.Reader, again io.Seeker, start int64) (*File, error) {
	in := &NewSession{Name: p.name, FileID: p.opts.FileID, Folder: p.opts.Folder, MIMEType: p.opts.MIMEType, Metadata: p.opts.Metadata,
		Tags: p.opts.Tags, CacheControl: p.opts.CacheControl, OnConflict: p.opts.OnConflict, IfMatch: p.opts.IfMatch, SkipUnchanged: p.opts.SkipUnchanged, Bases: p.opts.Bases, Digests: p.opts.Digests}
	if p.opts.FileID != "" {
		in.Name = ""
	}
	if p.opts.SizeKnown {
		in.Size = &p.opts.Size
	}
	if in.Digests != nil && len(in.Digests) == 0 {
		in.Digests = []string{"none"}
	}
	var s Session
	err := p.t.retry(ctx, func(ctx context.Context, _ func(), _ int) error {
		q := &request{method: http.MethodPost, path: []string{p.bucket, "_sessions"}}
		return p.c.callJSON(ctx, q.withJSON(in), &s)
	})
	var e *Error
	if errors.As(err, &e) && (e.Code == "not-found" || e.Status == http.StatusMethodNotAllowed) {
		return nil, errNoSessions
	}
	if err != nil {
		return nil, err
	}
	splitter, err := chunker.Parse(s.Chunker)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSessions, err)
	}
	u, err := newUploader(p, &s, splitter)
	if err != nil {
		return nil, err
	}
	defer u.close()
	if err := u.sendMissing(ctx, r); err != nil {
		return nil, err
	}
	return u.commitSession(ctx, func() (io.Reader, error) {
		if again == nil {
			return nil, errors.New("the source cannot be read a second time")
		}
		_, err := again.Seek(start, io.SeekStart)
		return again.(io.Reader), err
	})
}
