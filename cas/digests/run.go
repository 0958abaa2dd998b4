package digests

import (
	"bufio"
	"container/heap"
	"fmt"
	"io"
)

// A reader reads all entries of a log in order, folded.
type reader struct {
	log  *Log
	runs runHeap
}

func (l *Log) openReader() (*reader, error) {
	l.sortBuffer()
	r := &reader{log: l}
	if len(l.buf) > 0 {
		r.runs = append(r.runs, &run{buf: l.buf})
	}
	for _, f := range l.runs {
		r.runs = append(r.runs, &run{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), runBuffer)})
	}
	for _, run := range r.runs {
		if _, err := run.moveOn(); err != nil {
			return nil, err
		}
	}
	heap.Init(&r.runs)
	return r, nil
}

// nextEntry returns the next entry; more is false behind the last.
func (r *reader) nextEntry() (e Entry, more bool, err error) {
	for len(r.runs) > 0 {
		head := r.runs[0].head
		if more && !r.log.foldInto(&e, &head) {
			return e, true, nil
		} else if !more {
			e, more = head, true
		}
		left, err := r.runs[0].moveOn()
		if err != nil {
			return e, false, err
		}
		if left {
			heap.Fix(&r.runs, 0)
		} else {
			heap.Pop(&r.runs)
		}
	}
	return e, more, nil
}

// A run yields sorted entries from memory or from a file; it has at least one.
type run struct {
	buf  []Entry
	r    *bufio.Reader
	head Entry
}

// moveOn moves head on and reports whether there was another entry.
func (r *run) moveOn() (bool, error) {
	if r.r == nil {
		if len(r.buf) == 0 {
			return false, nil
		}
		r.head, r.buf = r.buf[0], r.buf[1:]
		return true, nil
	}
	var b [entrySize]byte
	if _, err := io.ReadFull(r.r, b[:]); err == io.EOF {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read digests: %w", err)
	}
	r.head = decodeEntry(&b)
	return true, nil
}

type runHeap []*run

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h runHeap) Less(i, j int) bool { return compareEntries(h[i].head, h[j].head) < 0 }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*run)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
