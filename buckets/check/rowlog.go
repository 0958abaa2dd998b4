package check

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
	"path/filepath"
	"slices"
	"sort"

	"github.com/cairn-store/cairn/manifest"
)

// A rowLog holds what the packs say of rows: enough to tell which rows a rebuild
// would not bring back. It keeps a bounded number of entries in memory and the
// others in sorted runs in temporary files, so that a check takes the same
// memory whatever the number of rows.
type rowLog struct {
	most int    // entries in memory
	temp string // where dir is made; "" is the system's
	buf  []rowEntry
	dir  string   // of the runs; "" if there are none
	runs []string // paths
}

// A rowEntry is what one record says: of a file's row, or of a version's.
type rowEntry struct {
	file     manifest.FileID
	version  uint64 // 0 of a file's row
	revision uint64 // of a file's row, or purged
	domain   string // the packs of which hold the record
	// seq is the commit, or the base of the checkpoint that the record is part of.
	seq          uint64
	inCheckpoint bool
}

const purged = math.MaxUint64

// compare orders entries by file, then by version, the latest revision last.
func (e rowEntry) compare(o rowEntry) int {
	return cmp.Or(cmp.Compare(e.file, o.file), cmp.Compare(e.version, o.version), cmp.Compare(e.revision, o.revision))
}

// rowsInMemory is how many entries a rowLog keeps in memory: about 30 MB.
const rowsInMemory = 1 << 18

// add takes in records of the commit seq, or of the checkpoint with that base.
func (l *rowLog) add(domain string, seq uint64, inCheckpoint bool, rs []manifest.Record) error {
	for i := range rs {
		e := rowEntry{domain: domain, seq: seq, inCheckpoint: inCheckpoint}
		switch r := &rs[i]; {
		case r.File != nil:
			e.file, e.revision = r.File.ID, r.File.Revision
		case r.Manifest != nil:
			e.file, e.version = r.Manifest.File, r.Manifest.Version
		case r.Purged != "":
			e.file, e.revision = r.Purged, purged
		case r.Link != nil: // IDs of links come after all those of files
			e.file, e.revision = manifest.FileID(r.Link.ID), r.Link.Revision
		default:
			continue
		}
		l.buf = append(l.buf, e)
	}
	if len(l.buf) < l.most {
		return nil
	}
	return l.writeRun()
}

// writeRun moves the entries in memory to a run.
func (l *rowLog) writeRun() (err error) {
	if l.dir == "" {
		if l.dir, err = os.MkdirTemp(l.temp, "cairn-check-"); err != nil {
			return fmt.Errorf("check: room for rows: %w", err)
		}
	}
	f, err := os.Create(filepath.Join(l.dir, fmt.Sprintf("run-%d", len(l.runs))))
	if err != nil {
		return fmt.Errorf("check: room for rows: %w", err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	slices.SortFunc(l.buf, rowEntry.compare)
	var b []byte
	for _, e := range l.buf {
		b = appendString(b[:0], string(e.file))
		b = binary.AppendUvarint(b, e.version)
		b = binary.AppendUvarint(b, e.revision)
		b = appendString(b, e.domain)
		b = binary.AppendUvarint(b, e.seq)
		b = append(b, flagByte(e.inCheckpoint))
		w.Write(b) // Flush returns its error
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("check: room for rows: %w", err)
	}
	l.runs, l.buf = append(l.runs, f.Name()), l.buf[:0]
	return nil
}

func flagByte(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// close removes the runs.
func (l *rowLog) close() error {
	if l.dir == "" {
		return nil
	}
	return os.RemoveAll(l.dir)
}

// entries yields all entries in order. Nothing may be added meanwhile.
func (l *rowLog) entries() iter.Seq2[rowEntry, error] {
	return func(yield func(rowEntry, error) bool) {
		slices.SortFunc(l.buf, rowEntry.compare)
		h := &runHeap{{buf: l.buf}}
		defer func() {
			for _, r := range *h {
				r.close()
			}
		}()
		for _, path := range l.runs {
			f, err := os.Open(path)
			if err != nil {
				yield(rowEntry{}, fmt.Errorf("check: rows: %w", err))
				return
			}
			*h = append(*h, &rowRun{f: f, r: bufio.NewReaderSize(f, 16<<10)})
		}
		for i := len(*h) - 1; i >= 0; i-- {
			if ok, err := (*h)[i].advance(); err != nil {
				yield(rowEntry{}, err)
				return
			} else if !ok {
				(*h)[i].close()
				*h = slices.Delete(*h, i, i+1)
			}
		}
		heap.Init(h)
		for len(*h) > 0 {
			first := (*h)[0]
			if !yield(first.at, nil) {
				return
			}
			ok, err := first.advance()
			switch {
			case err != nil:
				yield(rowEntry{}, err)
				return
			case ok:
				heap.Fix(h, 0)
			default:
				first.close()
				heap.Pop(h)
			}
		}
	}
}

// A rowRun reads sorted entries, from memory or from a file.
type rowRun struct {
	at  rowEntry
	buf []rowEntry
	f   *os.File // nil if the entries are in memory
	r   *bufio.Reader
}

func (r *rowRun) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// advance goes to the next entry and reports whether there is one.
func (r *rowRun) advance() (ok bool, err error) {
	if r.f == nil {
		if len(r.buf) == 0 {
			return false, nil
		}
		r.at, r.buf = r.buf[0], r.buf[1:]
		return true, nil
	}
	file, err := readString(r.r)
	if err == io.EOF {
		return false, nil
	}
	e := rowEntry{file: manifest.FileID(file)}
	if err == nil {
		e.version, err = binary.ReadUvarint(r.r)
	}
	if err == nil {
		e.revision, err = binary.ReadUvarint(r.r)
	}
	if err == nil {
		e.domain, err = readString(r.r)
	}
	if err == nil {
		e.seq, err = binary.ReadUvarint(r.r)
	}
	if err == nil {
		var flag byte
		flag, err = r.r.ReadByte()
		e.inCheckpoint = flag != 0
	}
	if err != nil {
		return false, fmt.Errorf("check: rows: %w", err)
	}
	r.at = e
	return true, nil
}

func readString(r *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

// A runHeap has the run with the first entry at its top.
type runHeap []*rowRun

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return h[i].at.compare(h[j].at) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*rowRun)) }
func (h *runHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	*h = (*h)[:last]
	return r
}

// A rowCursor goes through a rowLog beside the files of the database.
type rowCursor struct {
	next func() (rowEntry, error, bool)
	stop func()
	// bases are those of the checkpoints that count, by domain: commits up to them do
	// not, nor do other checkpoints.
	bases map[string]uint64
	at    rowEntry
	ok    bool // at is an entry
}

func (l *rowLog) newCursor(bases map[string]uint64) (*rowCursor, error) {
	c := &rowCursor{bases: bases}
	c.next, c.stop = iter.Pull2(l.entries())
	return c, c.advance()
}

// advance goes to the next entry that counts.
func (c *rowCursor) advance() (err error) {
	for more := true; more && err == nil; more = c.ok && !c.counts(&c.at) {
		c.at, err, c.ok = c.next()
	}
	return err
}

func (c *rowCursor) counts(e *rowEntry) bool {
	base := c.bases[e.domain]
	return e.inCheckpoint && e.seq == base || !e.inCheckpoint && e.seq > base
}

// fileRecords is what the packs say of a file and its versions.
type fileRecords struct {
	file     manifest.FileID
	revision uint64 // the latest; 0 if there is none
	domain   string // the packs of which hold that revision
	purged   bool
	versions []span
}

// A span is a run of version numbers.
type span struct{ first, last uint64 }

// has reports whether the packs hold a version's row.
func (f *fileRecords) has(version uint64) bool {
	i := sort.Search(len(f.versions), func(i int) bool { return f.versions[i].last >= version })
	return i < len(f.versions) && f.versions[i].first <= version
}

// find returns what the packs say of a file. Successive calls must have rising
// IDs. It calls other for the files before it.
func (c *rowCursor) find(id manifest.FileID, other func(*fileRecords)) (fileRecords, error) {
	for c.ok && c.at.file < id {
		r, err := c.take()
		if err != nil {
			return r, err
		}
		other(&r)
	}
	if !c.ok || c.at.file != id {
		return fileRecords{}, nil
	}
	return c.take()
}

// take returns what the packs say of the next file.
func (c *rowCursor) take() (out fileRecords, err error) {
	out.file = c.at.file
	for ; err == nil && c.ok && c.at.file == out.file; err = c.advance() {
		e := c.at
		switch n := len(out.versions); {
		case e.version == 0 && e.revision == purged:
			out.purged = true
		case e.version == 0:
			out.revision, out.domain = e.revision, e.domain
		case n > 0 && e.version <= out.versions[n-1].last+1:
			out.versions[n-1].last = e.version
		default:
			out.versions = append(out.versions, span{e.version, e.version})
		}
	}
	return out, err
}
