// Package chunker cuts a stream into chunks, the units of deduplication.
//
// Where a content-defined splitter cuts depends on the bytes around the cut
// alone, so an edit to a file moves the cuts near the edit and leaves the
// others, and with them the chunks, as they were. The same bytes are cut the
// same way for ever: FORMAT.md defines the algorithm for writers of clients,
// and testdata/golden.txt holds cuts that no change may move.
//
//	c := chunker.New(r, splitter)
//	for {
//		chunk, err := c.Next()
//		if err == io.EOF {
//			break
//		}
//		if err != nil {
//			return err
//		}
//		use(chunk) // before the next call of Next
//	}
//
// The splitters have names. [Profile] takes the names that a bucket chooses from;
// [Parse] takes those that manifests record. Lengths in KiB, with the
// average measured on random data and on releases of TypeScript as tars:
//
//	profile    min   normal   max     average (random, TypeScript)
//	fine         4       16     64    10.5, 11.0
//	balanced    16       64    256    42.2, 45.1
//	bulk        64      256   1024     167, 172
//	media      256     1024   4096     647, 665
//	whole     4096     4096   4096    4096, 3841 (fixed)
//
// The normal length is where the rule for a cut is relaxed, not the average.
package chunker

import (
	"errors"
	"fmt"
	"io"
)

// A Splitter decides where chunks end. It keeps no state: one Splitter serves
// any number of goroutines.
type Splitter interface {
	// Split returns the length in bytes of the first chunk of p,
	// 0 < n <= len(p). The caller passes at least Max bytes, except at the
	// end of the stream, and never none. Split does not modify or retain p,
	// and looks at no more than its first Max bytes.
	Split(p []byte) int

	// Min and Max return the lengths in bytes of the shortest and the longest
	// possible chunk; the last one of a stream may be shorter than Min.
	Min() int
	Max() int

	// String names algorithm and parameters. Equal names mean equal cuts,
	// for ever; [Parse] is the inverse.
	String() string
}

const (
	firstBuffer = 64 << 10  // enough for most small files
	minSlack    = 512 << 10 // room beyond Max, so that reads are large and moves rare
	emptyReads  = 100       // as bufio: reads without data or error before giving up
)

// A Chunker reads a stream chunk by chunk. Its buffer grows with the stream to
// at most Max plus the greater of Max and 512 KiB, and stays allocated for
// Reset. A Chunker is for one goroutine at a time.
type Chunker struct {
	r     io.Reader
	s     Splitter
	max   int
	buf   []byte
	start int // buf[start:end] was read and not yet returned
	end   int
	err   error // with which reading ended, perhaps io.EOF
}

// New returns a Chunker that cuts r with s.
func New(r io.Reader, s Splitter) *Chunker {
	return &Chunker{r: r, s: s, max: s.Max()}
}

// Reset makes c read from r, as if new, and keeps its buffer and splitter.
func (c *Chunker) Reset(r io.Reader) {
	c.r, c.start, c.end, c.err = r, 0, 0, nil
}

// Next returns the next chunk. It is valid until the next call of Next or
// Reset. After the last chunk the error is io.EOF.
//
// An error of the reader is returned, wrapped, by the first call whose chunk
// would need bytes beyond it, and by all calls after that: a stream that
// breaks off never yields a chunk that the whole stream would not have had.
func (c *Chunker) Next() ([]byte, error) {
	c.fillBuffer()
	p := c.buf[c.start:c.end]
	if len(p) < c.max && c.err != io.EOF {
		return nil, fmt.Errorf("chunker: read: %w", c.err)
	}
	if len(p) == 0 {
		return nil, io.EOF
	}
	p = p[:min(len(p), c.max)]
	n := c.s.Split(p)
	if n <= 0 || n > len(p) {
		return nil, fmt.Errorf("chunker: splitter %s cut %d of %d bytes", c.s, n, len(p))
	}
	c.start += n
	return p[:n:n], nil
}

// Rest returns the bytes that were read and not returned by Next, fewer than the
// longest chunk once Next has failed. They are valid until the next call of Next
// or Reset. Another Chunker that reads them first, and then the rest of the
// stream, makes the chunks that this one would have made.
func (c *Chunker) Rest() []byte { return c.buf[c.start:c.end] }

// Max returns the length in bytes of the longest possible chunk.
func (c *Chunker) Max() int { return c.max }

// Swap replaces the buffer by buf, and returns the old one, nil before the first
// call of Next. Rest is copied to buf and must fit. Next returns chunks that lie
// in buf one behind the other, as long as there is room for Max bytes behind the
// last one: a caller who swaps before that keeps them without copying.
func (c *Chunker) Swap(buf []byte) (old []byte) {
	old = c.buf
	c.start, c.end = 0, copy(buf, c.Rest())
	c.buf = buf
	return old
}

// fillBuffer reads until the longest chunk is in the buffer or reading has ended.
func (c *Chunker) fillBuffer() {
	for idle := 0; c.end-c.start < c.max && c.err == nil; {
		if c.end == len(c.buf) {
			c.makeRoom()
		}
		n, err := c.r.Read(c.buf[c.end:])
		switch {
		case n < 0 || n > len(c.buf)-c.end:
			c.err = errors.New("reader returned an impossible count")
			return
		case n > 0:
			idle = 0
		default:
			idle++
		}
		c.end += n
		if c.err = err; err == nil && idle == emptyReads {
			c.err = io.ErrNoProgress
		}
	}
}

// makeRoom moves the bytes that were not returned to the front of the buffer, or
// of a larger one if they fill more than half of it. At its full size the buffer
// is never half full here, since fewer than Max bytes are left whenever more are
// needed. So a byte is moved about once at most, however short the chunks are.
func (c *Chunker) makeRoom() {
	live := c.buf[c.start:c.end]
	if len(live) > len(c.buf)/2 || len(c.buf) == 0 {
		full := c.max + max(c.max, minSlack)
		c.buf = make([]byte, min(full, max(firstBuffer, 2*len(c.buf))))
	}
	c.start, c.end = 0, copy(c.buf, live)
}
