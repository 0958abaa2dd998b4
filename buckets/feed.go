package buckets

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-store/cairn/manifest"
)

const feedLimit = 64 << 20 // bytes of records that wait to be copied

// A feed tells who moves a bucket what is changed meanwhile.
type feed struct {
	mu      sync.Mutex
	commits []*manifest.Commit // in the order in which they were decided
	size    int
	err     error // the feed is not whole
}

// note is told of every change that may have been made. A nil feed is told
// nothing.
func (f *feed) note(c *manifest.Commit, err error) {
	if f == nil || c == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		f.err = fmt.Errorf("it is not known whether a change was made: %w", err)
	case f.size > feedLimit:
		f.err = errors.New("changes come faster than they can be copied")
	default:
		f.commits = append(f.commits, c)
		f.size += c.Size()
	}
}

// take returns what has come since it was called last.
func (f *feed) take() ([]*manifest.Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.commits
	f.commits, f.size = nil, 0
	return out, f.err
}
