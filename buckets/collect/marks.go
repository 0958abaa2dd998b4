package collect

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"sort"

	"github.com/cairn-store/cairn/cas"
)

// A mark says of a digest what keeps its chunk alive, or which grave held it.
// Marks are compared by the first 16 bytes of digests. Should two digests begin
// with the same 16, the dead one of them is kept. That loses no data, and whoever
// wants to make one for a stored chunk has to try 2^128.
type mark struct {
	hi, lo uint64 // the first 16 bytes of the digest, big-endian
	value  uint64
}

// buried is set in the value of a mark that no root has made. The rest of the
// value is the place of the grave in a graveLog: the newest has the lowest. Of a
// mark of a root, the value is the number that the walk gave it. So of the marks
// of a digest the one with the lowest value counts.
const buried = 1 << 63

const (
	markSize = 24 // bytes of a mark in a run

	// marksInMemory is how many marks are kept in memory: 60 MiB of them.
	marksInMemory = 60 << 20 / markSize
	// maxRuns is how many sorted runs there are before they are made one, and
	// runBuffer what reading one takes.
	maxRuns   = 128
	runBuffer = 64 << 10
)

func newMark(d *cas.Digest, value uint64) mark {
	return mark{binary.BigEndian.Uint64(d[:8]), binary.BigEndian.Uint64(d[8:16]), value}
}

func (m *mark) compareKey(o *mark) int {
	return cmp.Or(cmp.Compare(m.hi, o.hi), cmp.Compare(m.lo, o.lo))
}

// A markLog takes marks in any order and yields them in order of digests. It keeps
// a bounded number in memory and the others in sorted runs in temporary files.
type markLog struct {
	dir    string // of the runs
	most   int    // marks in memory
	buf    []mark
	sorted bool // buf is
	runs   []*os.File
	spare  []string // runs that could not be removed while they are open
}

func (l *markLog) add(m mark) error {
	l.sorted = false
	if l.buf = append(l.buf, m); len(l.buf) < l.most {
		return nil
	}
	// Marks of the same digest are often near to each other.
	l.sortBuffer()
	if len(l.buf) < l.most/2 {
		return nil
	}
	return l.writeRun()
}

// sortBuffer sorts the marks in memory and leaves one of each digest.
func (l *markLog) sortBuffer() {
	if l.sorted {
		return
	}
	slices.SortFunc(l.buf, func(a, b mark) int { return cmp.Or(a.compareKey(&b), cmp.Compare(a.value, b.value)) })
	l.buf = slices.CompactFunc(l.buf, func(a, b mark) bool { return a.hi == b.hi && a.lo == b.lo })
	l.sorted = true
}

// writeRun moves the marks in memory to a run.
func (l *markLog) writeRun() error {
	if len(l.runs) == maxRuns {
		if err := l.mergeRuns(); err != nil {
			return err
		}
	}
	l.sortBuffer()
	err := l.createRun(func(yield func(mark, error) bool) {
		for _, m := range l.buf {
			if !yield(m, nil) {
				return
			}
		}
	})
	l.buf = l.buf[:0]
	return err
}

// mergeRuns makes one run of all. What is in memory stays there.
func (l *markLog) mergeRuns() error {
	old, buf := l.runs, l.buf
	l.buf = nil
	merged := l.allMarks()
	err := l.createRun(merged)
	l.buf = buf
	if err != nil {
		return err
	}
	for _, f := range old {
		f.Close() // nothing was written to it since it was flushed
	}
	l.runs = slices.Delete(l.runs, 0, len(old))
	return nil
}

func (l *markLog) createRun(ms iter.Seq2[mark, error]) error {
	f, err := os.CreateTemp(l.dir, "cairn-marks-")
	if err != nil {
		return fmt.Errorf("room for marks: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil { // not every system removes open files
		l.spare = append(l.spare, f.Name())
	}
	w := bufio.NewWriterSize(f, runBuffer)
	var b [markSize]byte
	for m, err := range ms {
		if err != nil {
			return errors.Join(err, f.Close())
		}
		binary.LittleEndian.PutUint64(b[:], m.hi)
		binary.LittleEndian.PutUint64(b[8:], m.lo)
		binary.LittleEndian.PutUint64(b[16:], m.value)
		w.Write(b[:]) // Flush returns its error
	}
	if err := w.Flush(); err != nil {
		return errors.Join(fmt.Errorf("room for marks: %w", err), f.Close())
	}
	l.runs = append(l.runs, f)
	return nil
}

// close removes the runs.
func (l *markLog) close() error {
	var errs []error
	for _, f := range l.runs {
		errs = append(errs, f.Close())
	}
	for _, name := range l.spare {
		errs = append(errs, os.Remove(name))
	}
	l.runs, l.spare, l.buf = nil, nil, nil
	return errors.Join(errs...)
}

// allMarks yields the mark that counts of each digest, in order. Nothing may be added
// meanwhile.
func (l *markLog) allMarks() iter.Seq2[mark, error] {
	return func(yield func(mark, error) bool) {
		r, err := l.openReader()
		for more := true; more && err == nil; {
			var m mark
			if m, more, err = r.nextMark(); more && err == nil && !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(mark{}, err)
		}
	}
}

// findMark returns the value of the mark that counts of a digest, or the highest
// number. It is for few digests: it searches each run.
func (l *markLog) findMark(d *cas.Digest) (uint64, error) {
	l.sortBuffer()
	want, found := newMark(d, 0), uint64(math.MaxUint64)
	if i, ok := slices.BinarySearchFunc(l.buf, want, func(a, b mark) int { return a.compareKey(&b) }); ok {
		found = l.buf[i].value
	}
	for _, f := range l.runs {
		info, err := f.Stat()
		if err != nil {
			return 0, fmt.Errorf("read marks: %w", err)
		}
		sort.Search(int(info.Size()/markSize), func(i int) bool {
			m, readErr := readMark(f, i)
			err = cmp.Or(err, readErr)
			order := m.compareKey(&want)
			if readErr == nil && order == 0 {
				found = min(found, m.value)
			}
			return order >= 0
		})
		if err != nil {
			return 0, fmt.Errorf("read marks: %w", err)
		}
	}
	return found, nil
}

// readMark reads the i-th mark of a run.
func readMark(f *os.File, i int) (mark, error) {
	var b [markSize]byte
	_, err := f.ReadAt(b[:], int64(i)*markSize)
	return decodeMark(&b), err
}

func decodeMark(b *[markSize]byte) mark {
	return mark{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
}

// A markReader reads all marks of a log in order, those that count.
type markReader struct {
	runs runHeap
	last mark
	any  bool // last is set
}

func (l *markLog) openReader() (*markReader, error) {
	l.sortBuffer()
	r := &markReader{}
	if len(l.buf) > 0 {
		r.runs = append(r.runs, &markRun{buf: l.buf})
	}
	for _, f := range l.runs {
		r.runs = append(r.runs, &markRun{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), runBuffer)})
	}
	for _, run := range r.runs {
		if _, err := run.moveOn(); err != nil {
			return nil, err
		}
	}
	heap.Init(&r.runs)
	return r, nil
}

// nextMark returns the next mark; more is false behind the last.
func (r *markReader) nextMark() (m mark, more bool, err error) {
	for len(r.runs) > 0 {
		m = r.runs[0].head
		more, err := r.runs[0].moveOn()
		if err != nil {
			return m, false, err
		}
		if more {
			heap.Fix(&r.runs, 0)
		} else {
			heap.Pop(&r.runs)
		}
		if !r.any || m.compareKey(&r.last) != 0 {
			r.any, r.last = true, m
			return m, true, nil
		}
	}
	return mark{}, false, nil
}

// A markRun yields sorted marks from memory or from a file; it has at least one.
type markRun struct {
	buf  []mark
	r    *bufio.Reader
	head mark
}

// moveOn moves head on and reports whether there was another mark.
func (r *markRun) moveOn() (bool, error) {
	if r.r == nil {
		if len(r.buf) == 0 {
			return false, nil
		}
		r.head, r.buf = r.buf[0], r.buf[1:]
		return true, nil
	}
	var b [markSize]byte
	if _, err := io.ReadFull(r.r, b[:]); err == io.EOF {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read marks: %w", err)
	}
	r.head = decodeMark(&b)
	return true, nil
}

type runHeap []*markRun

func (h runHeap) Len() int      { return len(h) }
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h runHeap) Less(i, j int) bool {
	a, b := &h[i].head, &h[j].head
	return cmp.Or(a.compareKey(b), cmp.Compare(a.value, b.value)) < 0
}
func (h *runHeap) Push(x any) { *h = append(*h, x.(*markRun)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// A markedChunk is an entry of the index with its mark.
type markedChunk struct {
	cas.ChunkEntry
	marked bool
	value  uint64
}

func (c *markedChunk) isLive() bool { return c.marked && c.value < buried }

// joinMarks yields the entries of an index, in order of digests, each with its
// mark. What it yields is valid until the next.
func joinMarks(entries iter.Seq2[cas.ChunkEntry, error], marks *markLog) iter.Seq2[*markedChunk, error] {
	return func(yield func(*markedChunk, error) bool) {
		r, err := marks.openReader()
		if err != nil {
			yield(nil, err)
			return
		}
		m, more, err := r.nextMark()
		var c markedChunk
		for e, entryErr := range entries {
			at := newMark(&e.Digest, 0)
			for more && err == nil && m.compareKey(&at) < 0 {
				m, more, err = r.nextMark()
			}
			if err := cmp.Or(entryErr, err); err != nil {
				yield(nil, err)
				return
			}
			c = markedChunk{ChunkEntry: e}
			if more && m.compareKey(&at) == 0 {
				c.marked, c.value = true, m.value
			}
			if !yield(&c, nil) {
				return
			}
		}
	}
}
