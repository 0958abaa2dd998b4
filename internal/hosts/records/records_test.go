package records

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"
)

func readNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHosts runs seeds. CAIRN_SEED and CAIRN_SEEDS=1 run one again that has failed.
func TestHosts(t *testing.T) {
	steps, first := readNumber(t, "CAIRN_STEPS", 250), uint64(readNumber(t, "CAIRN_SEED", 1))
	seeds := readNumber(t, "CAIRN_SEEDS", 5*readNumber(t, "CAIRN_SOAK", 1))
	total := make(map[string]int)
	for i := range uint64(seeds) {
		count, err := runSeed(t, first+i, steps)
		if err != nil {
			t.Fatal(err)
		}
		for what, n := range count {
			total[what] += n
		}
	}
	t.Logf("%d seeds, %d steps each: %v", seeds, steps, total)
}

func runSeed(t *testing.T, seed uint64, steps int) (map[string]int, error) {
	cryptotest.SetGlobalRandom(t, seed)
	w, err := newWorld(t.Context(), seed, t.TempDir(), 1+int(seed%2))
	if err != nil {
		return nil, err
	}
	step := 0
	for ; step < steps && err == nil; step++ {
		if err = w.step(); err == nil {
			err = w.check()
		}
	}
	if err == nil {
		err = w.finish()
	}
	for _, h := range w.hosts {
		err = errors.Join(err, h.db.sql.Close())
	}
	if w.store != nil {
		err = errors.Join(err, w.store.Close())
	}
	if err != nil {
		err = fmt.Errorf("seed %d, step %d: %w\n%s", seed, step, err, strings.Join(w.log, "\n"))
	}
	return w.count, err
}

// An action is something that happens with a weight.
type action struct {
	name   string
	weight int
	do     func() error
}

// choose does one of some actions.
func (w *world) choose(actions []action) error {
	sum := 0
	for _, a := range actions {
		sum += a.weight
	}
	n := w.rng.IntN(sum)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			w.count[a.name]++
			if err := a.do(); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			return nil
		}
	}
	return nil
}

// work does what users and hosts do. It may happen in the middle of a Reconcile.
func (w *world) work() error {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if !h.isRunning() {
		return nil
	}
	actions := []action{
		{"replace", 6, w.replaceFile},
		{"delete", 5, w.deleteFile},
		{"undelete", 2, w.undeleteFile},
		{"purge", 1, w.purgeFile},
		{"delete version", 1, w.deleteVersion},
		{"prepare", 14, h.prepare},
		{"commit", 12, h.commit},
		{"confirm", 12, func() error { return h.confirm(&h.live) }},
		{"cancel", 3, func() error { return h.cancel(&h.live) }},
		{"forget", 1, func() error { h.loseTrack(); return nil }},
		{"late confirm", 2, func() error { return h.confirm(&h.late) }},
		{"late cancel", 1, func() error { return h.cancel(&h.late) }},
		{"resolve", 1, h.checkResolved},
		{"events", 2, h.handleEvents},
		{"sweep", 2, w.sweep},
	}
	if w.countActive() < 8 {
		actions = append(actions, action{"put", 20, w.addFile})
	}
	return w.choose(actions)
}

func (w *world) countActive() (n int) {
	for _, f := range w.files {
		if got, err := w.stat(f.id); err == nil && got != nil && got.State == "active" {
			n++
		}
	}
	return n
}

// step does one thing.
func (w *world) step() error {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if !h.isRunning() {
		return w.choose([]action{
			{"open", 6, func() error { return h.open(false) }},
			{"unseen", 1, h.deleteRecords},
		})
	}
	actions := []action{
		{"work", 60, w.work},
		{"time", 8, w.pass},
		{"reconcile", 2, func() error { return h.reconcile(false) }},
		{"busy reconcile", 3, func() error { return h.reconcile(true) }},
		{"collect", 1, w.collect},
		{"move", 1, w.move},
		{"kill host", 3, func() error { return h.kill(w.rng.IntN(3) == 0) }},
		{"back up host", 2, h.backUp},
		{"checkpoint", 1, func() error { return h.db.checkpoint(w.ctx) }},
		{"kill store", 2, w.restart},
		{"crash", 4, w.crash},
		{"back up store", 1, func() error { return w.reopenAfter(w.backUpStore) }},
		{"rebuild store", 1, func() error { return w.reopenAfter(w.rebuildStore) }},
		{"policies", 1, w.settlePolicies},
		{"zombie", 1, h.makeZombie},
	}
	if len(h.snaps) > 0 {
		actions = append(actions, action{"restore host", 1, func() error { return h.restore(w.rng.IntN(len(h.snaps))) }})
	}
	if len(w.backups) > 0 {
		actions = append(actions, action{"restore store", 1, func() error { return w.restoreBackup(w.rng.IntN(len(w.backups))) }})
	}
	if h.zombie != nil {
		actions = append(actions, action{"haunt", 5, h.haunt})
	}
	return w.choose(actions)
}

// pass lets time pass. Hosts that have lost commits unnoticed are reconciled before it
// is too late.
func (w *world) pass() error {
	for _, h := range w.hosts {
		if !h.suspect {
			continue
		}
		if !h.isRunning() {
			if err := h.open(false); err != nil {
				return err
			}
		}
		if err := h.reconcileToTheEnd(); err != nil {
			return err
		}
	}
	for range 1 + w.rng.IntN(12) {
		w.now = w.now.Add(time.Duration(w.rng.Int64N(int64(day))))
		if err := w.sweep(); err != nil {
			return err
		}
	}
	return nil
}
