package diskbackend

import (
	"errors"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// A gate refuses writes that would leave less than a quarter of reserve of the
// volume free. The metadata database usually lies on the same volume, and needs
// space to record that something was deleted. Content is refused where it would
// leave less than all of reserve, and copies of what is to be deleted where they
// would leave less than half, so that there is space for the records of that.
type gate struct {
	fs      FS
	reserve int64 // bytes; 0 refuses nothing

	// mu guards what follows.
	mu      sync.Mutex
	left    int64     // free space at asked less what was written since
	written int64     // bytes since asked
	asked   time.Time // when FS.Free was called last
}

// FS.Free is called after so many bytes or so much time: a call for each write
// would cost a system call for each frame.
const (
	askBytes = 4 << 20
	askEvery = 200 * time.Millisecond
)

func newGate(fsys FS, reserve int64) (*gate, error) {
	g := &gate{fs: fsys, reserve: max(reserve, 0)}
	if reserve != 0 {
		return g, nil
	}
	_, total, err := fsys.Free()
	if errors.Is(err, errors.ErrUnsupported) {
		return g, nil
	}
	g.reserve = min(max(int64(total/20), 8<<20), 256<<20)
	return g, err
}

// takeSpace notes that n bytes will be written, or returns backend.ErrNoSpace.
func (g *gate) takeSpace(n int64) error {
	if g.reserve == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.askSpace(n); err != nil {
		return err
	}
	return g.compareLeft(g.reserve / 4)
}

// checkContent returns backend.ErrNoSpace if n bytes of content, or of copies, would
// take of the reserve what is not for them.
func (g *gate) checkContent(n int64, copies bool) error {
	if g.reserve == 0 {
		return nil
	}
	least := g.reserve
	if copies {
		least /= 2
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.askSpace(n); err != nil {
		return err
	}
	err := g.compareLeft(least)
	g.left, g.written = g.left+n, g.written-n // takeSpace counts them
	return err
}

// askAnew makes the next write ask for what is free: something was deleted.
func (g *gate) askAnew() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = time.Time{}
}

// compareLeft returns backend.ErrNoSpace if less than most is left. The caller
// holds mu.
func (g *gate) compareLeft(most int64) error {
	if g.left >= most {
		return nil
	}
	g.asked = time.Time{} // the next call looks anew
	return backend.ErrNoSpace
}

// askSpace counts n bytes, and asks for what is free if it is time to. The caller
// holds mu.
func (g *gate) askSpace(n int64) error {
	if g.written += n; n == 0 || g.written >= askBytes || time.Since(g.asked) >= askEvery {
		free, _, err := g.fs.Free()
		if errors.Is(err, errors.ErrUnsupported) {
			free, err = 1<<62, nil
		}
		if err != nil {
			return err
		}
		g.left, g.written, g.asked = int64(min(free, 1<<62)), n, time.Now()
	}
	g.left -= n
	return nil
}
