package buckets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// An auditing writes what waits of the audit, in the background.
type auditing struct {
	write func(lines []byte) error
	names bool
	s     *Store
	wake  chan struct{} // holds a token when something may wait
	stop  chan struct{} // closed when nothing more will come
	ended chan struct{}

	written uint64 // lines up to this number were written; they may wait to be dropped still
}

const (
	// auditBatch is how many bytes of lines are written at a time, and one line more.
	auditBatch = 1 << 20
	// auditRetry is how long a failed write is waited for at most, before it is tried
	// again.
	auditRetry = 30 * time.Second
	// auditTold is how often it is logged that lines wait.
	auditTold = time.Minute
)

// startAudit begins to write what waits, also of processes before.
func (s *Store) startAudit(a *Audit) {
	s.audit = &auditing{write: a.Write, names: a.Names, s: s, wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	s.audit.notice()
	go s.audit.run()
}

// notice has the writer look.
func (a *auditing) notice() {
	if a == nil {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// close writes what waits, if that can be written, and ends the writer. No transaction
// may come after it.
func (a *auditing) close() {
	if a == nil {
		return
	}
	close(a.stop)
	<-a.ended
}

// run writes what waits until the audit is closed. While lines cannot be written they
// wait, however many there are: changes go on, and nothing is lost.
func (a *auditing) run() {
	defer close(a.ended)
	var told time.Time
	pause := time.Duration(0)
	for ends := false; !ends; {
		var again <-chan time.Time
		if pause > 0 {
			again = time.After(pause)
		}
		wake := a.wake
		if pause > 0 {
			wake = nil
		}
		select {
		case <-wake:
		case <-again:
		case <-a.stop:
			ends = true
		}
		err := a.writeWaiting(context.Background())
		switch {
		case err == nil:
			if pause > 0 {
				a.s.log.Info("the audit is written again")
			}
			pause, told = 0, time.Time{}
		case errors.Is(err, cas.ErrClosed), errors.Is(err, ErrClosed):
			return
		default:
			pause = min(max(2*pause, 100*time.Millisecond), auditRetry)
			if ends || time.Since(told) >= auditTold {
				told = time.Now()
				a.s.log.Error("the audit cannot be written: its lines wait in the database, and changes go on", "error", err)
			}
		}
	}
}

// writeWaiting writes all lines that wait, and drops them when they are durable.
func (a *auditing) writeWaiting(ctx context.Context) error {
	var lines bytes.Buffer
	var last uint64 // number of the last line
	flush := func() error {
		if lines.Len() == 0 {
			return nil
		}
		if err := a.write(lines.Bytes()); err != nil {
			return err
		}
		lines.Reset()
		a.written = last
		return nil
	}
	waiting := false
	for e, err := range a.s.meta.Audits(ctx) {
		if err != nil {
			return err
		}
		if lines.Len() >= auditBatch && e.Number != last { // those of a number go together
			if err := flush(); err != nil {
				return err
			}
		}
		waiting = true
		if last = e.Number; last > a.written { // else it could not be dropped when it was written
			lines.Write(auditLine(e))
		}
	}
	if err := flush(); err != nil || !waiting {
		return err
	}
	return a.s.meta.DropAudits(ctx, a.written)
}

// auditLine is the line of a note: its JSON object, with the number of the commit and
// its place in that, by which a line that was written twice is told.
func auditLine(e *manifest.Audit) []byte {
	return fmt.Appendf(nil, "{\"commit\":%d,\"n\":%d,%s\n", e.Number, e.N, bytes.TrimPrefix(e.Entry, []byte("{")))
}

// auditSchema notes which buckets another schema has changed.
func (s *Store) auditSchema(ctx context.Context, before, now map[string]*bucket) error {
	if s.audit == nil {
		return nil
	}
	e := AuditEntry{Action: "schema.apply"}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		switch old := before[name]; {
		case old == nil:
			e.Added = append(e.Added, name)
		case !reflect.DeepEqual(old.Policy, now[name].Policy):
			e.Changed = append(e.Changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now[name] == nil {
			e.Removed = append(e.Removed, name)
		}
	}
	if len(e.Added)+len(e.Changed)+len(e.Removed) == 0 {
		return nil
	}
	return s.auditEntry(ctx, e)
}

// auditStart notes which buckets a server begins with: their rules may be others than
// when the last one ended.
func (s *Store) auditStart(ctx context.Context) error {
	if s.audit == nil {
		return nil
	}
	return s.auditEntry(access.ActAs(ctx, "start", ""), AuditEntry{Action: "schema.apply", Buckets: s.Buckets()})
}

// auditEntry notes what no row shows.
func (s *Store) auditEntry(ctx context.Context, e AuditEntry) error {
	return s.updateLocal(ctx, func(tx manifest.Tx) error {
		if a, ok := tx.(*auditTx); ok {
			a.add(e)
		}
		return nil
	})
}

// changedFields names the fields of a file that users write and that differ.
func changedFields(before, now *manifest.File) (out []string) {
	for _, f := range []struct {
		name string
		same bool
	}{
		{"metadata", bytes.Equal(before.Metadata, now.Metadata)}, {"tags", slices.Equal(before.Tags, now.Tags)},
		{"access", maps.Equal(before.Access, now.Access)}, {"cache_control", before.CacheControl == now.CacheControl},
		{"owner", before.Owner == now.Owner},
	} {
		if !f.same {
			out = append(out, f.name)
		}
	}
	return out
}

// sortedHeld are the versions that are or were in quarantine.
func sortedHeld(before, now *manifest.File) []manifest.VersionID {
	all := maps.Clone(before.Held)
	if all == nil {
		all = make(map[manifest.VersionID]string)
	}
	maps.Copy(all, now.Held)
	return slices.Sorted(maps.Keys(all))
}
