package alyx

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// journalHeader is the first line of a journal.
const journalHeader = "cairn import alyx 1\n"

// A journal is a file of IDs, a line each, of files that have come over. A line is
// written after its file was stored. A crash may lose the last lines: then those files
// are found in the store or, if they were deleted meanwhile, by their marks there. It
// is for concurrent use.
type journal struct {
	known []uuid // sorted: those of earlier runs, 16 bytes of memory each

	mu    sync.Mutex // guards what follows
	f     *os.File
	dirty int // lines that are not synced yet
}

type uuid [16]byte

// syncLines is how many lines are synced at a time.
const syncLines = 256

func parseUUID(text string) (id uuid, ok bool) {
	p, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	return uuid(append(p, id[:]...)[:16]), err == nil && len(p) == len(id)
}

func openJournal(name string) (_ *journal, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{f: f}
	if err := j.readLines(); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", name, err), f.Close())
	}
	return j, nil
}

// readLines reads the lines, and cuts off one that a crash has left half written.
func (j *journal) readLines() error {
	in := bufio.NewReader(j.f)
	whole := int64(0)
	for {
		line, err := in.ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			break
		}
		if id, ok := parseUUID(strings.TrimSuffix(line, "\n")); ok && whole > 0 {
			j.known = append(j.known, id)
		} else if whole > 0 || line != journalHeader {
			return fmt.Errorf("line %.80q is not of a journal of imports", line)
		}
		whole += int64(len(line))
	}
	slices.SortFunc(j.known, func(a, b uuid) int { return bytes.Compare(a[:], b[:]) })
	err := j.f.Truncate(whole)
	if _, serr := j.f.Seek(whole, io.SeekStart); whole == 0 && cmp.Or(err, serr) == nil {
		_, err = j.f.WriteString(journalHeader)
	} else {
		err = cmp.Or(err, serr)
	}
	return err
}

// has reports whether an earlier run has brought a file over.
func (j *journal) has(id string) bool {
	u, ok := parseUUID(id)
	if !ok {
		return false
	}
	_, found := slices.BinarySearchFunc(j.known, u, func(a, b uuid) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// add notes a file that has come over, unless an earlier run has.
func (j *journal) add(id string) error {
	if j.has(id) {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.f.WriteString(id + "\n"); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if j.dirty++; j.dirty < syncLines {
		return nil
	}
	j.dirty = 0
	return j.f.Sync()
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.f.Sync(), j.f.Close())
}
