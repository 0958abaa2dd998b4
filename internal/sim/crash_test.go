package sim

import "context"

// crash takes the process away, with all that was not synced.
func (w *world) crash() {
	w.p.crashed.Store(true)
	w.crashed++
	w.fs = w.fs.Crash(w.rng.Uint64(), []int{0, 50, 100}[w.rng.IntN(3)])[0]
	for _, d := range w.domains() {
		w.disks[d].loseUnsynced(w.rng)
	}
	// Those that wait find that they are gone.
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, at := range w.s.points {
		at.turn <- crashed
	}
	w.s.points = nil
}

// each does what belongs to the end of a step.
func (w *world) each(ctx context.Context) error {
	if w.p.crashed.Load() {
		return nil
	}
	w.now.Add(int64(w.rng.IntN(2000)))
	moved := false
	if w.late && w.rng.IntN(30) == 0 {
		for _, d := range w.domains() {
			moved = w.disks[d].deliverLate(w.rng) || moved
		}
	}
	if n := w.p.changes.Load(); n != w.checked || moved {
		w.checked = n
		if err := w.checker.check(ctx); err != nil {
			return err
		}
	}
	if w.isCrashDue() {
		w.crash()
	}
	return nil
}

// isCrashDue reports whether the process crashes now.
func (w *world) isCrashDue() bool {
	now := w.s.steps.Load()
	if !w.crashes || now >= int64(w.s.limit) {
		return false
	}
	if w.aimed {
		if n := w.p.deletes.Load(); n != w.deletes {
			w.deletes = n
			w.crashAt = now + w.rng.Int64N(8)
		}
		if w.crashAt == 0 || now < w.crashAt {
			return false
		}
		w.crashAt = 0
		return true
	}
	if now < w.crashAt {
		return false
	}
	due := w.crashAt > 0
	w.crashAt = now + 30 + w.rng.Int64N(int64(w.s.limit))
	return due
}
