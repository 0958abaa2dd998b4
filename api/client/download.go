package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/chunker"
)

// A Destination is what Download writes: an *os.File open for reading and
// writing.
type Destination interface {
	Seed
	io.WriterAt
	Truncate(size int64) error
}

// DownloadOptions are choices of Download.
type DownloadOptions struct {
	GetOptions

	// Seeds are files that may hold parts of the content, such as an older
	// version. Download cuts them as the content is cut, and receives no chunk
	// that they hold.
	Seeds []Seed

	Parallel int            // requests at a time; 4 by default
	Progress func(Progress) // called now and then, one call at a time
}

// A Fetched is the result of Download.
type Fetched struct {
	*File
	ReceivedBytes int64 `json:"received_bytes"` // of the content, repetitions included
	ReusedBytes   int64 `json:"reused_bytes"`   // of the content, found in the destination and in seeds
}

const (
	listWindow  = 64 << 10 // chunks of a list in memory
	maxRun      = 8 << 20  // bytes asked for by one request, if a chunk is not larger
	maxParallel = 64
)

// Download writes the content of the file or version id to dst. Every chunk is
// verified before it is written. After a failure the next Download to dst does
// not receive again what is in its place. Requests that fail are tried again
// for a while.
//
// Memory is bounded: by 65,536 chunks of the list, by maxSeedChunks entries (a
// file of 5 GB has 120,000), and by a chunk for each request.
func (c *Client) Download(ctx context.Context, bucket, id string, dst Destination, opts *DownloadOptions) (*Fetched, error) {
	if opts == nil {
		opts = &DownloadOptions{}
	}
	d := &download{c: c, bucket: bucket, opts: opts, dst: dst, seeds: newSeeds(), t: c.newTransfer(-1, opts.Progress)}
	err := d.t.retry(ctx, func(ctx context.Context, _ func(), _ int) (err error) {
		d.f, err = c.Stat(ctx, bucket, id, &opts.GetOptions)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.t.setSize(d.f.Size)
	if err := d.run(ctx); err != nil {
		return nil, fmt.Errorf("download of %s/%s: %w", bucket, d.f.ManifestID, err)
	}
	return &Fetched{File: d.f, ReceivedBytes: d.t.progress().Moved, ReusedBytes: d.reused}, nil
}

// A download is one call of Download.
type download struct {
	c      *Client
	t      *transfer
	bucket string
	f      *File // as Stat returned it
	opts   *DownloadOptions
	dst    Destination
	had    int64 // length of dst before
	seeds  *seeds
	self   int // number of dst in seeds

	// The fields below belong to the goroutine of walkList.
	buf    []byte
	reused int64
}

func (d *download) run(ctx context.Context) error {
	info, err := d.dst.Stat()
	if err != nil {
		return err
	}
	d.had = min(info.Size(), d.f.Size)
	if err := d.dst.Truncate(d.had); err != nil {
		return err
	}
	d.self = d.seeds.addFile(d.dst)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(1 + boundParallel(d.opts.Parallel))
	g.Go(func() error { return d.walkList(gctx, g) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := d.dst.Truncate(d.f.Size); err != nil {
		return err
	}
	return d.verifyWhole(ctx)
}

func boundParallel(n int) int {
	if n <= 0 {
		return 4
	}
	return min(n, maxParallel)
}

// walkList reads the chunk list, takes chunks from files of this machine, and
// starts goroutines of g that receive the rest.
func (d *download) walkList(ctx context.Context, g *errgroup.Group) error {
	var off int64
	for n := 0; off < d.f.Size; {
		var list []chunk
		var splitter string
		err := d.t.retry(ctx, func(ctx context.Context, _ func(), _ int) (err error) {
			list, splitter, err = d.c.listPart(ctx, d.bucket, d.f.ManifestID, n, listWindow, &d.opts.GetOptions)
			return err
		})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("chunk list ends at %d of %d bytes: %w", off, d.f.Size, errContent)
		}
		if n == 0 {
			if err := d.cutSeeds(ctx, splitter); err != nil {
				return err
			}
		}
		n += len(list)
		if off, err = d.fetchWindow(ctx, g, list, off); err != nil {
			return err
		}
	}
	if off != d.f.Size {
		return fmt.Errorf("chunk list of %d bytes for %d: %w", off, d.f.Size, errContent)
	}
	return nil
}

func (d *download) cutSeeds(ctx context.Context, name string) error {
	if len(d.opts.Seeds) == 0 {
		return nil
	}
	splitter, err := chunker.Parse(name)
	if err != nil {
		return nil // a newer server's splitter: receive everything
	}
	for _, f := range d.opts.Seeds {
		if err := d.seeds.cutFile(ctx, f, splitter); err != nil {
			return err
		}
	}
	return nil
}

// fetchWindow handles a part of the list that begins at off, and returns the
// offset of its end. It receives a chunk that occurs more than once only once.
func (d *download) fetchWindow(ctx context.Context, g *errgroup.Group, list []chunk, off int64) (int64, error) {
	var coming sync.WaitGroup
	missing := &run{off: off}
	fetch := func() {
		if r := missing; len(r.chunks) > 0 {
			coming.Add(1)
			g.Go(func() error { defer coming.Done(); return d.fetchRun(ctx, r) })
		}
		missing = &run{off: off}
	}
	asked := make(map[digest]bool)
	var again []int // of the list
	var offsets []int64
	for i, c := range list {
		here, err := d.takeLocal(ctx, c, off)
		if err != nil {
			return 0, err
		}
		if here || asked[c.digest] || missing.size+c.size > maxRun {
			fetch()
		}
		switch {
		case here:
			missing.off += int64(c.size)
		case asked[c.digest]:
			again, offsets = append(again, i), append(offsets, off)
			missing.off += int64(c.size)
		default:
			asked[c.digest] = true
			missing.addNext(list, i)
		}
		off += int64(c.size)
	}
	fetch()
	if len(again) > 0 {
		coming.Wait()
	}
	for n, i := range again {
		here, err := d.takeLocal(ctx, list[i], offsets[n])
		if err == nil && !here { // seeds has no room for it
			err = d.fetchRun(ctx, &run{off: offsets[n], chunks: list[i : i+1], size: list[i].size})
		}
		if err != nil {
			return 0, err
		}
	}
	return off, nil
}

// takeLocal reports whether the chunk at off is in its place already, or could
// be copied there from a file of this machine.
func (d *download) takeLocal(ctx context.Context, c chunk, off int64) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if cap(d.buf) < c.size {
		d.buf = make([]byte, c.size)
	}
	p := d.buf[:c.size]
	switch {
	case off+int64(c.size) <= d.had && readAt(d.dst, p, off) && sumChunk(p) == c.digest:
		d.seeds.noteChunk(c.digest, d.self, off)
	case d.seeds.readChunk(c.digest, p):
		if _, err := d.dst.WriteAt(p, off); err != nil {
			return false, err
		}
	default:
		return false, nil
	}
	d.reused += int64(c.size)
	d.t.addProgress(int64(c.size), 0)
	return true, nil
}

// A run is adjacent chunks.
type run struct {
	off    int64
	size   int
	chunks []chunk
}

// addNext adds list[i], which must follow the last chunk of the run.
func (r *run) addNext(list []chunk, i int) {
	if r.chunks == nil {
		r.chunks = list[i:i]
	}
	r.chunks = r.chunks[:len(r.chunks)+1]
	r.size += list[i].size
}

// fetchRun receives a run, verifies and writes its chunks. An attempt
// continues where the one before it ended.
func (d *download) fetchRun(ctx context.Context, r *run) error {
	largest := 0
	for _, c := range r.chunks {
		largest = max(largest, c.size)
	}
	buf := make([]byte, largest)
	return d.t.retry(ctx, func(ctx context.Context, touch func(), _ int) error {
		body, err := d.openRun(ctx, r)
		if err != nil {
			return err
		}
		defer body.Close()
		in := watched{body, func(int) { touch() }}
		for len(r.chunks) > 0 {
			c := r.chunks[0]
			n, err := io.ReadFull(in, buf[:c.size])
			d.t.addProgress(0, int64(n))
			if err != nil {
				return &brokenError{err}
			}
			if sumChunk(buf[:c.size]) != c.digest {
				return fmt.Errorf("bytes from %d on are not chunk %s: %w", r.off, c.digest, errContent)
			}
			if _, err := d.dst.WriteAt(buf[:c.size], r.off); err != nil {
				return err
			}
			d.seeds.noteChunk(c.digest, d.self, r.off)
			d.t.addProgress(int64(c.size), 0)
			r.chunks, r.off, r.size = r.chunks[1:], r.off+int64(c.size), r.size-c.size
		}
		return nil
	})
}

// errNoRange reports an answer with the whole content to a request for a
// range.
var errNoRange = errors.New("the server, or a proxy before it, does not answer byte ranges ('cairn doctor' tells more)")

// openRun requests the bytes of a run.
func (d *download) openRun(ctx context.Context, r *run) (io.ReadCloser, error) {
	first, last := r.off, r.off+int64(r.size)-1
	q := &request{method: http.MethodGet, path: []string{d.bucket, d.f.ManifestID, "download"}, header: http.Header{
		"Range": {fmt.Sprintf("bytes=%d-%d", first, last)}, "Accept-Encoding": {"identity"}}}
	q.query = (&GetOptions{Trashed: d.opts.Trashed}).query()
	resp, err := d.c.sendRequest(ctx, q)
	if err != nil {
		return nil, err
	}
	from, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	switch {
	case resp.StatusCode == http.StatusPartialContent && ok && strings.HasPrefix(from, fmt.Sprintf("%d-", first)):
	case resp.StatusCode == http.StatusOK && first == 0:
	default:
		resp.Body.Close()
		return nil, errNoRange
	}
	return resp.Body, nil
}

// verifyWhole compares the content with the SHA-256 that the server states, if
// it does. Each chunk and the length of the list have been verified before.
func (d *download) verifyWhole(ctx context.Context) error {
	want := d.f.Checksums["sha256"]
	if want == "" {
		return nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, until{ctx, io.NewSectionReader(d.dst, 0, d.f.Size)}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("content has sha256 %s, want %s", got, want)
	}
	return nil
}

// An until is a Reader that fails once ctx is done.
type until struct {
	ctx context.Context // a Reader gets no context otherwise
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
