package buckets

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-store/cairn/manifest"
)

// feedLimit is how many bytes of records may wait in a feed.
const feedLimit = 64 << 20

// A feed collects the commits that are made while a bucket is moved, in the
// order in which they were decided.
type feed struct {
	// mu guards all that follows.
	mu      sync.Mutex
	commits []*manifest.Commit
	size    int
	// err says why commits are missing from the feed. The move then fails.
	err error
}

// add notes a commit that was made or, with an error, may have been made. A nil
// feed notes nothing. The caller holds Store.moving.
func (f *feed) add(c *manifest.Commit, err error) {
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

// take returns the commits that were added since it was called last.
func (f *feed) take() ([]*manifest.Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.commits
	f.commits, f.size = nil, 0
	return out, f.err
}
