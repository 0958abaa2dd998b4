// Package digests holds sets and logs of digests that may be more than fit into
// memory, for whoever compares an index with all that refers to it: collection,
// checks, previews and reports.
package digests

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sort"

	"github.com/cairn-store/cairn/cas"
)

// A Key is the first 16 bytes of a digest, or an ID. Keys are in the order in which
// an index yields its entries. Should two digests begin with the same 16 bytes, one
// passes for the other in a Log; whoever wants to make one for a stored chunk has to
// try 2^128.
type Key struct{ hi, lo uint64 }

// KeyOf returns the key of a digest.
func KeyOf(d cas.Digest) Key {
	return Key{binary.BigEndian.Uint64(d[:8]), binary.BigEndian.Uint64(d[8:16])}
}

// KeyOfID returns the key of a frame or a pack.
func KeyOfID[ID ~[16]byte](id ID) Key {
	return Key{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])}
}

// Compare orders keys.
func (k Key) Compare(o Key) int { return cmp.Or(cmp.Compare(k.hi, o.hi), cmp.Compare(k.lo, o.lo)) }

// An Entry is a key with what is known of it.
type Entry struct {
	Key
	Value uint64
}

// A Fold makes one value of two of the same key, in any order.
type Fold func(a, b uint64) uint64

// Lowest is a Fold that keeps the lower value.
func Lowest(a, b uint64) uint64 { return min(a, b) }

// Sum is a Fold that adds values up.
func Sum(a, b uint64) uint64 { return a + b }

const (
	entrySize = 24 // bytes of an entry in a run

	// logMemory is how many entries a log keeps in memory: 60 MiB of them.
	logMemory = 60 << 20 / entrySize
	// maxRuns is how many sorted runs there are before they are made one, and
	// runBuffer what reading one takes.
	maxRuns   = 256
	runBuffer = 64 << 10
)

// A Log takes entries in any order and yields them in order of keys. It keeps a
// bounded number in memory and the others in sorted runs in temporary files. It is
// not for concurrent use.
type Log struct {
	dir    string // of the runs
	fold   Fold
	most   int // entries in memory
	buf    []Entry
	sorted bool // buf is
	runs   []*os.File
	spare  []string // runs that could not be removed while they are open
}

// NewLog returns a log whose runs lie in dir; "" is the system's place for
// temporary files. fold makes one value of those of the same key; with nil all are
// kept, each once.
func NewLog(dir string, fold Fold) *Log { return NewLogOf(dir, fold, logMemory) }

// NewLogOf is NewLog for one of several logs that share the memory of one: it keeps
// so many entries in memory.
func NewLogOf(dir string, fold Fold, entries int) *Log {
	return &Log{dir: dir, fold: fold, most: min(entries, logMemory)}
}

// Add adds an entry.
func (l *Log) Add(k Key, value uint64) error {
	l.sorted = false
	if n := len(l.buf); n == cap(l.buf) && n >= l.most/4 {
		// Room for all at once: to grow in steps would leave as much behind.
		l.buf = append(make([]Entry, 0, l.most), l.buf...)
	}
	if l.buf = append(l.buf, Entry{k, value}); len(l.buf) < l.most {
		return nil
	}
	// Entries of the same key are often near to each other.
	l.sortBuffer()
	if len(l.buf) < l.most/2 {
		return nil
	}
	return l.writeRun()
}

func compareEntries(a, b Entry) int {
	return cmp.Or(a.Compare(b.Key), cmp.Compare(a.Value, b.Value))
}

// sortBuffer sorts the entries in memory and folds those of the same key.
func (l *Log) sortBuffer() {
	if l.sorted {
		return
	}
	slices.SortFunc(l.buf, compareEntries)
	n := 0
	for _, e := range l.buf {
		if n == 0 || !l.foldInto(&l.buf[n-1], &e) {
			l.buf[n] = e
			n++
		}
	}
	l.buf, l.sorted = l.buf[:n], true
}

// foldInto folds e into last, and reports false if both are kept.
func (l *Log) foldInto(last, e *Entry) bool {
	switch {
	case last.Key != e.Key:
		return false
	case l.fold == nil:
		return last.Value == e.Value
	}
	last.Value = l.fold(last.Value, e.Value)
	return true
}

// writeRun moves the entries in memory to a run.
func (l *Log) writeRun() error {
	if len(l.runs) == maxRuns {
		if err := l.mergeRuns(); err != nil {
			return err
		}
	}
	l.sortBuffer()
	err := l.createRun(func(yield func(Entry, error) bool) {
		for _, e := range l.buf {
			if !yield(e, nil) {
				return
			}
		}
	})
	l.buf = l.buf[:0]
	return err
}

// mergeRuns makes one run of all. What is in memory stays there.
func (l *Log) mergeRuns() error {
	old, buf := l.runs, l.buf
	l.buf = nil
	merged := l.All()
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

func (l *Log) createRun(es iter.Seq2[Entry, error]) error {
	f, err := os.CreateTemp(l.dir, "cairn-digests-")
	if err != nil {
		return fmt.Errorf("room for digests: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil { // not every system removes open files
		l.spare = append(l.spare, f.Name())
	}
	w := bufio.NewWriterSize(f, runBuffer)
	var b [entrySize]byte
	for e, err := range es {
		if err != nil {
			return errors.Join(err, f.Close())
		}
		binary.LittleEndian.PutUint64(b[:], e.hi)
		binary.LittleEndian.PutUint64(b[8:], e.lo)
		binary.LittleEndian.PutUint64(b[16:], e.Value)
		w.Write(b[:]) // Flush returns its error
	}
	if err := w.Flush(); err != nil {
		return errors.Join(fmt.Errorf("room for digests: %w", err), f.Close())
	}
	l.runs = append(l.runs, f)
	return nil
}

// Close removes the runs.
func (l *Log) Close() error {
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

// Runs returns how many runs lie in temporary files.
func (l *Log) Runs() int { return len(l.runs) }

// All yields the entries in order of keys. Nothing may be added meanwhile.
func (l *Log) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, err := l.openReader()
		for more := true; more && err == nil; {
			var e Entry
			if e, more, err = r.nextEntry(); more && err == nil && !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Find returns the value of a key. It is for few keys: it searches each run. Where
// nothing folds values, it returns one of them.
func (l *Log) Find(k Key) (value uint64, ok bool, err error) {
	l.sortBuffer()
	take := func(e Entry) {
		if ok && l.fold != nil {
			value = l.fold(value, e.Value)
		} else if !ok {
			value = e.Value
		}
		ok = true
	}
	if i, found := slices.BinarySearchFunc(l.buf, k, func(e Entry, k Key) int { return e.Compare(k) }); found {
		take(l.buf[i])
	}
	for _, f := range l.runs {
		info, err := f.Stat()
		if err != nil {
			return 0, false, fmt.Errorf("read digests: %w", err)
		}
		n := int(info.Size() / entrySize)
		i := sort.Search(n, func(i int) bool {
			e, readErr := readEntry(f, i)
			err = cmp.Or(err, readErr)
			return e.Compare(k) >= 0
		})
		if err == nil && i < n {
			var e Entry
			if e, err = readEntry(f, i); err == nil && e.Key == k {
				take(e)
			}
		}
		if err != nil {
			return 0, false, fmt.Errorf("read digests: %w", err)
		}
	}
	return value, ok, nil
}

// readEntry reads the i-th entry of a run.
func readEntry(f *os.File, i int) (Entry, error) {
	var b [entrySize]byte
	_, err := f.ReadAt(b[:], int64(i)*entrySize)
	return decodeEntry(&b), err
}

func decodeEntry(b *[entrySize]byte) Entry {
	return Entry{Key{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}, binary.LittleEndian.Uint64(b[16:])}
}

// A Joined is an entry of an index with what a log has of it.
type Joined[E any] struct {
	Entry E
	Found bool
	Value uint64
}

// Join yields the entries of an index, which come in order of keys, each with what
// the log has of it. Of values that nothing folds it is the lowest.
func Join[E any](entries iter.Seq2[E, error], key func(*E) Key, l *Log) iter.Seq2[Joined[E], error] {
	return func(yield func(Joined[E], error) bool) {
		r, err := l.openReader()
		if err != nil {
			yield(Joined[E]{}, err)
			return
		}
		e, more, err := r.nextEntry()
		for entry, entryErr := range entries {
			k := key(&entry)
			for more && err == nil && entryErr == nil && e.Compare(k) < 0 {
				e, more, err = r.nextEntry()
			}
			if err := cmp.Or(entryErr, err); err != nil {
				yield(Joined[E]{}, err)
				return
			}
			j := Joined[E]{Entry: entry}
			if more && e.Key == k {
				j.Found, j.Value = true, e.Value
			}
			if !yield(j, nil) {
				return
			}
		}
	}
}

// JoinChunks is Join for the chunks of an index.
func JoinChunks(entries iter.Seq2[cas.ChunkEntry, error], l *Log) iter.Seq2[Joined[cas.ChunkEntry], error] {
	return Join(entries, func(e *cas.ChunkEntry) Key { return KeyOf(e.Digest) }, l)
}

// JoinFrames is Join for the frames of an index.
func JoinFrames(entries iter.Seq2[cas.FrameEntry, error], l *Log) iter.Seq2[Joined[cas.FrameEntry], error] {
	return Join(entries, func(e *cas.FrameEntry) Key { return KeyOfID(e.ID) }, l)
}
