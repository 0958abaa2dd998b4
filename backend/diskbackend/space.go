package diskbackend

import (
	"errors"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// A gate refuses writes before the volume is quite full. The metadata
// database lies on the same volume as a rule, and needs room to record a
// delete.
type gate struct {
	fs      FS
	reserve int64 // bytes to keep free; 0 lets everything pass

	mu      sync.Mutex
	left    int64     // free space less what was written since; guarded by mu
	written int64     // since the volume was asked; guarded by mu
	asked   time.Time // guarded by mu
}

// How often the volume is asked for its free space: asking on each write
// would cost a system call a frame.
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
	g.reserve = min(max(int64(total/20), 8<<20), 64<<20)
	return g, err
}

// takeSpace takes n bytes of the free space, or returns backend.ErrNoSpace.
func (g *gate) takeSpace(n int64) error {
	if g.reserve == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.written += n; n == 0 || g.written >= askBytes || time.Since(g.asked) >= askEvery {
		free, _, err := g.fs.Free()
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		g.left, g.written, g.asked = int64(min(free, 1<<62)), n, time.Now()
	}
	if g.left -= n; g.left < g.reserve {
		g.asked = time.Time{} // others may have made room since
		return backend.ErrNoSpace
	}
	return nil
}
