package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/chunker"
)

const (
	windowBytes = 16 << 20 // bytes of the content in a window
	windows     = 3        // windows in memory
	batchBytes  = 4 << 20  // bytes of the content in a batch
	recommits   = 4        // attempts to commit a session that still lacks chunks
	commitTime  = time.Hour
)

// An uploader sends one content by one session.
type uploader struct {
	*put
	id       string
	splitter chunker.Splitter
	zstd     *zstd.Encoder
	free     chan *window

	mu     sync.Mutex      // guards coming
	coming map[digest]bool // chunks on their way
}

func newUploader(p *put, s *Session, splitter chunker.Splitter) (*uploader, error) {
	n := boundParallel(p.opts.Parallel)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(n))
	if err != nil {
		return nil, err
	}
	u := &uploader{put: p, id: s.ID, splitter: splitter, zstd: enc, free: make(chan *window, windows), coming: make(map[digest]bool)}
	for range windows {
		u.free <- &window{back: u.free}
	}
	return u, nil
}

func (u *uploader) close() { u.zstd.Close() }

// A window is adjacent chunks and their bytes. It returns to the free windows
// when its last user is done.
type window struct {
	first  int64 // number of its first chunk
	chunks []chunk
	data   []byte

	back  chan *window
	mu    sync.Mutex
	users int
}

func (w *window) addUsers(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users += n; w.users == 0 {
		w.back <- w // never blocks: back has room for all windows
	}
}

// sendMissing appends the content of r to the list of the session, and sends
// the chunks that the server lacks.
func (u *uploader) sendMissing(ctx context.Context, r io.Reader) error {
	return u.eachWindow(ctx, r, func(ctx context.Context, w *window) ([]bool, error) { return u.listChunks(ctx, w) })
}

// eachWindow cuts r into windows, calls choose for the chunks of each to send,
// and sends them concurrently.
func (u *uploader) eachWindow(ctx context.Context, r io.Reader, choose func(context.Context, *window) ([]bool, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	n := boundParallel(u.opts.Parallel)
	g.SetLimit(n + 1)
	g.Go(func() error {
		c := chunker.New(r, u.splitter)
		for first := int64(0); ; {
			w, err := u.fillWindow(ctx, c, first)
			if err != nil || len(w.chunks) == 0 {
				w.addUsers(-1)
				return err
			}
			first += int64(len(w.chunks))
			wanted, err := choose(ctx, w)
			if err == nil {
				u.sendBatches(ctx, g, w, wanted)
			}
			w.addUsers(-1)
			if err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// fillWindow cuts the next window. It counts the caller as a user of the
// window.
func (u *uploader) fillWindow(ctx context.Context, c *chunker.Chunker, first int64) (*window, error) {
	var w *window
	select {
	case w = <-u.free:
	case <-ctx.Done():
		return &window{back: make(chan *window, 1), users: 1}, ctx.Err()
	}
	w.first, w.chunks, w.data, w.users = first, w.chunks[:0], w.data[:0], 1
	for len(w.data) < windowBytes {
		p, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return w, err
		}
		w.chunks = append(w.chunks, chunk{sumChunk(p), len(p)})
		w.data = append(w.data, p...)
	}
	return w, ctx.Err()
}

// listChunks appends a window to the list of the session. It returns which of
// its chunks must be sent.
func (u *uploader) listChunks(ctx context.Context, w *window) (wanted []bool, err error) {
	err = u.t.retry(ctx, func(ctx context.Context, _ func(), n int) (err error) {
		wanted = make([]bool, len(w.chunks))
		listed := 0 // chunks that an attempt has listed whose answer was lost
		if n > 0 {
			if listed, err = u.countListed(ctx, w, wanted); err != nil {
				return err
			}
		}
		if listed == len(w.chunks) {
			return nil
		}
		return u.appendList(ctx, w, listed, wanted[listed:])
	})
	return wanted, err
}

// sessionPath returns the path of the session, or of something below it.
func (u *uploader) sessionPath(below ...string) []string {
	return append([]string{u.bucket, "_sessions", u.id}, below...)
}

// appendList lists the chunks of w that begin with number from.
func (u *uploader) appendList(ctx context.Context, w *window, from int, wanted []bool) error {
	q := &request{method: http.MethodPost, path: u.sessionPath("list"), query: url.Values{"at": {strconv.FormatInt(w.first+int64(from), 10)}},
		header: http.Header{"Content-Type": {ChunkListType}, "Accept": {BitmapType}}}
	q.withBody(appendChunks(nil, w.chunks[from:]))
	resp, err := u.c.sendRequest(ctx, q)
	if hasCode(err, "list-offset-mismatch") {
		return &brokenError{err} // the next attempt reads what is listed
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	bits := make(bitmap, (len(wanted)+7)/8)
	if _, err := io.ReadFull(resp.Body, bits); err != nil {
		return &brokenError{err}
	}
	bits.readBits(wanted, 0)
	return nil
}

// countListed returns how many chunks of w the session lists, and sets wanted
// for those that must be sent.
func (u *uploader) countListed(ctx context.Context, w *window, wanted []bool) (int, error) {
	var s Session
	if err := u.c.callJSON(ctx, &request{method: http.MethodGet, path: u.sessionPath()}, &s); err != nil {
		return 0, err
	}
	n := s.ListedChunks - w.first
	if n < 0 || n > int64(len(w.chunks)) {
		return 0, fmt.Errorf("the session lists %d chunks, not %d to %d", s.ListedChunks, w.first, w.first+int64(len(w.chunks)))
	}
	return int(n), u.eachMissing(ctx, w, func(i int, _ string) {
		if i < int(n) {
			wanted[i] = true
		}
	})
}

// eachMissing calls fn for the chunks of w that must still be sent.
func (u *uploader) eachMissing(ctx context.Context, w *window, fn func(i int, digest string)) error {
	end := w.first + int64(len(w.chunks))
	for after := w.first - 1; after < end; {
		q := &request{method: http.MethodGet, path: u.sessionPath("missing"), query: url.Values{}}
		if after >= 0 {
			q.query.Set("after", strconv.FormatInt(after, 10))
		}
		var page MissingPage
		if err := u.c.callJSON(ctx, q, &page); err != nil {
			return err
		}
		for _, c := range page.Missing {
			if c.Index >= w.first && c.Index < end {
				fn(int(c.Index-w.first), c.Digest)
			}
		}
		if page.NextAfter == nil || *page.NextAfter <= after {
			break
		}
		after = *page.NextAfter
	}
	return nil
}

// sendBatches starts goroutines of g that send the wanted chunks of w.
func (u *uploader) sendBatches(ctx context.Context, g *errgroup.Group, w *window, wanted []bool) {
	b := newBatch(w)
	off := 0
	for i, c := range w.chunks {
		p := w.data[off : off+c.size]
		off += c.size
		if !wanted[i] || !u.claimChunk(c.digest) {
			u.t.addProgress(int64(c.size), 0)
			continue
		}
		if b.size > 0 && b.size+c.size > batchBytes {
			u.sendBatch(ctx, g, b)
			b = newBatch(w)
		}
		b.add(c, p)
	}
	if b.size > 0 {
		u.sendBatch(ctx, g, b)
	}
}

// claimChunk reports whether the caller has to send a chunk: true unless it is
// on its way already.
func (u *uploader) claimChunk(d digest) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.coming[d] {
		return false
	}
	u.coming[d] = true
	return true
}

func (u *uploader) sendBatch(ctx context.Context, g *errgroup.Group, b *batch) {
	b.w.addUsers(1)
	b.all = b.chunks
	g.Go(func() error {
		defer b.w.addUsers(-1)
		err := u.t.retry(ctx, func(ctx context.Context, touch func(), n int) error {
			if n > 0 {
				// Part of the batch may have arrived.
				missing := make(map[string]bool)
				if err := u.eachMissing(ctx, b.w, func(_ int, digest string) { missing[digest] = true }); err != nil {
					return err
				}
				b.keepMissing(missing)
			}
			if len(b.chunks) == 0 {
				return nil
			}
			b.encodeBody(u.zstd)
			q := &request{method: http.MethodPost, path: u.sessionPath("chunks"), header: http.Header{"Content-Type": {ChunksType}}}
			var taken atomic.Int64 // atomic, because the transport may read on after the request has failed
			q.body = watched{bytes.NewReader(b.body), func(n int) { taken.Add(int64(n)); touch() }}
			q.size = int64(len(b.body))
			err := u.c.callJSON(ctx, q, nil)
			u.t.addProgress(0, b.plainBytes(int(taken.Load())))
			return err
		})
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, c := range b.all {
			delete(u.coming, c.digest)
			if err == nil {
				u.t.addProgress(int64(c.size), 0)
			}
		}
		return err
	})
}

// commitSession makes the file. If the server lacks chunks, it reads the
// content again and sends them.
func (u *uploader) commitSession(ctx context.Context, again func() (io.Reader, error)) (*File, error) {
	for n := 0; ; n++ {
		var f *File
		err := u.t.retryWithin(ctx, commitTime, func(ctx context.Context, _ func(), _ int) (err error) {
			f, err = u.c.callFile(ctx, &request{method: http.MethodPost, path: u.sessionPath("commit")})
			return err
		})
		if !hasCode(err, "chunks-missing") || n == recommits {
			return f, err
		}
		r, rerr := again()
		if rerr != nil {
			return nil, fmt.Errorf("%w; %w", err, rerr)
		}
		bits, err := u.missingBits(ctx)
		if err != nil {
			return nil, err
		}
		err = u.eachWindow(ctx, r, func(_ context.Context, w *window) ([]bool, error) {
			wanted := make([]bool, len(w.chunks))
			bits.readBits(wanted, w.first)
			return wanted, nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// missingBits returns which chunks of the whole list must be sent.
func (u *uploader) missingBits(ctx context.Context) (bits bitmap, err error) {
	err = u.t.retry(ctx, func(ctx context.Context, _ func(), _ int) error {
		resp, err := u.c.sendRequest(ctx, &request{method: http.MethodGet, path: u.sessionPath("missing"), header: http.Header{"Accept": {BitmapType}}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if bits, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
			return &brokenError{err}
		}
		return nil
	})
	return bits, err
}

// A bitmap has a bit for each chunk of a list, the most significant bit first.
type bitmap []byte

// readBits reads the bits from number first on. Bits beyond the end are unset.
func (b bitmap) readBits(out []bool, first int64) {
	for i := range out {
		n := first + int64(i)
		out[i] = n/8 < int64(len(b)) && b[n/8]&(0x80>>(n%8)) != 0
	}
}
