package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
)

// An account is what a change adds to the sums of frames and packs.
type account struct {
	domain string
	frames map[cas.FrameID]frameGain
	packs  map[cas.PackID]packGain
}

// A frameGain is a number of chunks and their bytes; a packGain a number of
// frames, and of bytes that are live in them. Both may be negative.
type (
	frameGain struct{ chunks, bytes int64 }
	packGain  struct{ frames, live int64 }
)

func newAccount(domain string) *account {
	return &account{domain: domain, frames: make(map[cas.FrameID]frameGain), packs: make(map[cas.PackID]packGain)}
}

// readGains adds what a statement about chunks answers: for each frame how many
// it has gained, their bytes, and how many became unusable.
func (w *account) readGains(rows pgx.Rows, removed *int64) error {
	var frame []byte
	var g frameGain
	var unusable int64
	_, err := pgx.ForEachRow(rows, []any{&frame, &g.chunks, &g.bytes, &unusable}, func() error {
		if len(frame) != len(cas.FrameID{}) {
			return fmt.Errorf("frame %x of a chunk: %w", frame, errEntry)
		}
		id := cas.FrameID(frame)
		w.frames[id] = frameGain{w.frames[id].chunks + g.chunks, w.frames[id].bytes + g.bytes}
		if removed != nil {
			*removed += unusable
		}
		return nil
	})
	return err
}

// addFrame adds sign times the frame to the sums of its pack.
func (w *account) addFrame(f *cas.FrameEntry, sign int64) {
	if f.Live > 0 {
		g := w.packs[f.Pack]
		w.packs[f.Pack] = packGain{g.frames + sign, g.live + sign*f.LiveStored()}
	}
}

// A touchedFrame is an entry before a change and after it. Without chunks there
// is none.
type touchedFrame struct{ old, now cas.FrameEntry }

// changeFrames changes frames and packs.
func (a *application) changeFrames(ctx context.Context, tx conn, w *account) error {
	touched, err := a.lockFrames(ctx, tx, w)
	if err != nil {
		return err
	}
	for _, e := range a.frames {
		touched[e.ID].now = *e
	}
	for i := range a.Moved {
		m := &a.Moved[i]
		if f := touched[m.ID]; f.now.Known() && f.now.Pack == m.From {
			f.now.Pack, f.now.Offset = m.Pack, m.Offset
		}
	}
	for id, f := range touched {
		f.now.Live = uint32(int64(f.old.Live) + w.frames[id].chunks)
		f.now.LiveBytes = uint32(int64(f.old.LiveBytes) + w.frames[id].bytes)
		if f.now.Live > 0 && !f.now.Known() {
			return fmt.Errorf("a chunk lies in frame %s, which the index does not have", id)
		}
		w.addFrame(&f.old, -1)
		w.addFrame(&f.now, 1)
	}
	b := &pgx.Batch{}
	queueFrames(b, w.domain, touched)
	a.queueSegmentDrops(b)
	doomed := make(map[cas.PackID]bool)
	a.queuePacks(b, w, doomed)
	if err := tx.sendBatch(ctx, b); err != nil {
		return err
	}
	return a.checkDoomed(doomed)
}

// checkDoomed returns cas.ErrDoomed if a frame is added to a doomed pack or is
// moved to one.
func (a *application) checkDoomed(doomed map[cas.PackID]bool) error {
	for _, e := range a.frames {
		if doomed[e.Pack] {
			return fmt.Errorf("frame %s in pack %s: %w", e.ID, e.Pack, cas.ErrDoomed)
		}
	}
	for i := range a.Moved {
		if m := &a.Moved[i]; doomed[m.Pack] {
			return fmt.Errorf("frame %s in pack %s: %w", m.ID, m.Pack, cas.ErrDoomed)
		}
	}
	return nil
}

// lockFrames returns the frames that the change touches. Other changes wait to
// touch them, but may add those that have no row: then one of the two finds a
// row that it did not expect, and is made again.
func (a *application) lockFrames(ctx context.Context, tx conn, w *account) (map[cas.FrameID]*touchedFrame, error) {
	touched := make(map[cas.FrameID]*touchedFrame)
	touch := func(id cas.FrameID) { touched[id] = &touchedFrame{} }
	for _, e := range a.frames {
		touch(e.ID)
	}
	for i := range a.Moved {
		touch(a.Moved[i].ID)
	}
	for id := range w.frames {
		touch(id)
	}
	if len(touched) == 0 {
		return touched, nil
	}
	found, err := queryAll(ctx, tx, "", a.x.parseFrame,
		`SELECT `+selectFrame+` FROM cairn_frames WHERE domain = $1 AND id = ANY($2) ORDER BY id FOR UPDATE`,
		w.domain, bytesOf(slices.Collect(maps.Keys(touched))))
	for _, f := range found {
		*touched[f.ID] = touchedFrame{f, f}
	}
	return touched, err
}

// queueFrames writes the frames that have changed.
func queueFrames(b *pgx.Batch, domain string, touched map[cas.FrameID]*touchedFrame) {
	var added, changed []*cas.FrameEntry
	var gone, unsourced [][]byte
	var sources frameColumns
	ids := slices.SortedFunc(maps.Keys(touched), func(x, y cas.FrameID) int { return bytes.Compare(x[:], y[:]) })
	for i := range ids {
		f := touched[ids[i]]
		has, had := f.now.Live > 0, f.old.Known()
		switch {
		case !has && had:
			gone = append(gone, ids[i][:])
		case has && !had:
			added = append(added, &f.now)
		case has:
			changed = append(changed, &f.now)
		}
		if has && slices.Equal(f.old.Sources, f.now.Sources) {
			continue
		}
		if len(f.old.Sources) > 0 {
			unsourced = append(unsourced, ids[i][:])
		}
		if has {
			sources.addSources(&f.now)
		}
	}
	if len(unsourced) > 0 {
		b.Queue(`DELETE FROM cairn_sources WHERE domain = $1 AND frame = ANY($2)`, domain, unsourced)
	}
	if len(gone) > 0 {
		b.Queue(`DELETE FROM cairn_frames WHERE domain = $1 AND id = ANY($2)`, domain, gone)
	}
	newFrameColumns(added).queueInsert(b, domain, ``)
	newFrameColumns(changed).queueInsert(b, domain, `ON CONFLICT (domain, id) DO UPDATE SET pack = excluded.pack,
		start = excluded.start, header = excluded.header, stored = excluded.stored, plain = excluded.plain, slots = excluded.slots,
		kind = excluded.kind, codec = excluded.codec, key = excluded.key, sources = excluded.sources, live = excluded.live,
		live_bytes = excluded.live_bytes`)
	if len(sources.sourceDigest) > 0 {
		b.Queue(`INSERT INTO cairn_sources (domain, digest, frame) SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[]) AS s
			ON CONFLICT DO NOTHING`, domain, sources.sourceDigest, sources.sourceFrame)
	}
}

// queueSegmentDrops drops the rows of segments whose chunks have been dropped,
// unless the same change has added them again.
func (a *application) queueSegmentDrops(b *pgx.Batch) {
	if len(a.Drop) == 0 {
		return
	}
	ds := make([][]byte, len(a.Drop))
	for i := range a.Drop {
		ds[i] = a.Drop[i].Digest[:]
	}
	b.Queue(`DELETE FROM cairn_segments AS g WHERE g.domain = $1 AND g.digest = ANY($2)
		AND NOT EXISTS (SELECT 1 FROM cairn_chunks AS c WHERE c.domain = $1 AND c.digest = g.digest)`, a.x.domain, ds)
}

// queuePacks writes packs and their sums. It adds to doomed those that are being
// deleted. Their rows stay locked, so none is doomed before the commit.
func (a *application) queuePacks(b *pgx.Batch, w *account, doomed map[cas.PackID]bool) {
	if len(a.DropPacks) > 0 {
		b.Queue(`UPDATE cairn_packs SET known = false, doomed = false WHERE domain = $1 AND id = ANY($2)`, w.domain, bytesOf(a.DropPacks))
	}
	entries := make(map[cas.PackID]*cas.PackEntry, len(a.packs))
	touch := func(id cas.PackID) {
		gain := w.packs[id]
		w.packs[id] = gain
	}
	for _, e := range a.packs {
		entries[e.ID] = e
		touch(e.ID)
	}
	// These must not be doomed, whether or not they gain something.
	for _, e := range a.frames {
		touch(e.Pack)
	}
	for i := range a.Moved {
		touch(a.Moved[i].Pack)
	}
	c := &packColumns{}
	for _, id := range slices.SortedFunc(maps.Keys(w.packs), func(x, y cas.PackID) int { return bytes.Compare(x[:], y[:]) }) {
		c.addPack(id, entries[id], w.packs[id])
	}
	c.queueUpsert(b, w.domain, func(rows pgx.Rows) error {
		var id []byte
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			doomed[cas.PackID(zeroUnless(16, id))] = true
			return nil
		})
		return err
	})
	if len(a.DropPacks)+len(c.id) > 0 {
		b.Queue(`DELETE FROM cairn_packs WHERE domain = $1 AND id = ANY($2) AND NOT known AND frames = 0`,
			w.domain, slices.Concat(bytesOf(a.DropPacks), c.id))
	}
}
