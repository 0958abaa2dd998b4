package records

import (
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/links"
)

// collect removes what nothing needs, from the packs too.
func (w *world) collect() error {
	_, err := w.store.Collect(w.ctx, &collect.Options{Full: w.rng.IntN(2) == 0, MaxWriterAge: 1})
	w.note("collect: %v", err)
	return err
}

// move moves a bucket to the other backend, with its links.
func (w *world) move() error {
	w.moves++
	to := []string{near, far}[w.moves%2]
	_, err := w.store.Migrate(w.ctx, "pics", to, nil)
	w.note("move to %s: %v", to, err)
	return err
}

// restart kills the store. Hosts die with it, or find it again.
func (w *world) restart() error { return w.reopenAfter(w.killStore) }

// reopenAfter does something that closes the store, and brings the hosts back.
func (w *world) reopenAfter(do func() error) error {
	if err := do(); err != nil {
		return err
	}
	for _, h := range w.hosts {
		if h.zombie = nil; !h.isRunning() {
			continue
		}
		if w.rng.IntN(3) == 0 {
			if err := h.deleteRecords(); err != nil {
				return err
			}
		}
		if err := h.attach(); err != nil {
			return err
		}
	}
	return nil
}

// attach finds the store again after it was down: in the session that was, if that is
// known there, or in a new one.
func (h *host) attach() error {
	w := h.w
	if w.rng.IntN(3) == 0 {
		if err := h.kill(w.rng.IntN(3) == 0); err != nil {
			return err
		}
		return h.open(false)
	}
	x, err := links.Attach(w.ctx, w.store, h.name, h.session)
	if errors.Is(err, links.ErrSession) {
		h.stop()
		return h.open(false)
	}
	if err != nil {
		return err
	}
	h.h = x
	is, err := x.Unreconciled(w.ctx)
	h.unreconciled = is
	return err
}

// crash crashes the store in the middle of something.
func (w *world) crash() error {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if !h.isRunning() {
		return nil
	}
	w.arm()
	w.purging = ""
	err := w.choose([]action{
		{"crash: put", 1, w.addFile},
		{"crash: replace", 1, w.replaceFile},
		{"crash: delete", 1, w.deleteFile},
		{"crash: purge", 1, w.purgeFile},
		{"crash: prepare", 3, h.prepare},
		{"crash: confirm", 5, func() error { return h.confirm(&h.live) }},
		{"crash: cancel", 2, func() error { return h.cancel(&h.live) }},
		{"crash: sweep", 2, w.sweep},
		{"crash: collect", 1, w.collect},
		{"crash: move", 1, w.move},
		{"crash: reconcile", 4, func() error { return h.reconcile(false) }},
		{"crash: open", 2, func() error { h.stop(); return h.open(false) }},
		{"crash: events", 1, h.handleEvents},
	})
	if err != nil {
		return err
	}
	crashed := w.hasCrashed()
	w.note("crash: %t", crashed)
	clone := w.fs.Crash(w.rng.Uint64(), 100)[0]
	if err := w.swapStore(clone); err != nil {
		return err
	}
	if !crashed {
		return w.reopenAfter(func() error { return nil })
	}
	w.count["crashed within"]++
	// What was done last may have been done or not.
	w.forgetLinks(nil)
	w.present = nil
	if err := w.excuseUnsure(); err != nil {
		return err
	}
	for _, h := range w.hosts {
		if h.zombie = nil; !h.isRunning() {
			continue
		}
		h.stop()
		h.unreconciled = false // a Reconcile may have ended, or not
		if err := h.open(false); err != nil {
			return err
		}
	}
	return nil
}

// excuseUnsure notes which files are there, of those that no record has yet.
func (w *world) excuseUnsure() error {
	all, err := w.places()
	if err != nil {
		return err
	}
	had := make(map[string]bool)
	for _, p := range all {
		had[p.value] = true
	}
	for id, f := range w.files {
		got, err := w.stat(id)
		if err != nil {
			return err
		}
		if got != nil {
			f.gone = false
		} else if !had[id] || w.purging == id {
			f.gone = true
		}
		for vid, v := range f.versions {
			if got, err = w.stat(vid); err != nil {
				return err
			}
			if got != nil {
				v.gone = false
			} else if !had[vid] || w.purging == id {
				v.gone = true
			}
		}
	}
	return nil
}

// restoreBackup puts a backup in the store's place. Hosts begin new sessions, which tell
// that the store is older, unless it was made in their last one: then they are told.
func (w *world) restoreBackup(i int) error {
	b := w.backups[i]
	if err := w.restoreStore(i); err != nil {
		return err
	}
	w.note("the store is that of %s", b.at)
	for _, h := range w.hosts {
		h.stop()
		h.zombie = nil
		told := b.sessions[h.name] >= h.session
		if told {
			w.count["backups of the last session"]++
		}
		h.older, h.stranger = true, true
		if err := h.open(told); err != nil {
			return err
		}
	}
	return nil
}

// settlePolicies reconciles all hosts, with nothing under way, and checks what is left
// when all windows have passed.
func (w *world) settlePolicies() error {
	for _, h := range w.hosts {
		h.stop()
		if err := h.open(false); err != nil {
			return err
		}
		if err := h.reconcileToTheEnd(); err != nil {
			return err
		}
	}
	for _, h := range w.hosts { // links of one may have waited for the other
		if err := h.reconcileToTheEnd(); err != nil {
			return err
		}
	}
	if err := w.checkPolicies(); err != nil {
		return err
	}
	if _, err := w.store.Collect(w.ctx, &collect.Options{Full: true, MaxWriterAge: 1}); err != nil {
		return err
	}
	return w.readAll()
}

// readAll reads the content of whatever records refer to.
func (w *world) readAll() error {
	all, err := w.places()
	if err != nil {
		return err
	}
	for _, p := range all {
		if w.isExcused(p.value) {
			continue
		}
		f, _ := w.find(p.value)
		if _, err := w.read(f.bucket, p.value); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

func (w *world) finish() error {
	for _, h := range w.hosts {
		if !h.isRunning() {
			if err := h.open(false); err != nil {
				return err
			}
		}
	}
	return w.settlePolicies()
}
