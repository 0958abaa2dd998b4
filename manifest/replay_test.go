package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/manifest"
)

// A plainRows is what records make of rows, in the plainest way.
type plainRows struct {
	revisions map[manifest.FileID]uint64
	purged    map[manifest.FileID]bool
	highest   uint64
}

func newPlainRows() *plainRows {
	return &plainRows{revisions: make(map[manifest.FileID]uint64), purged: make(map[manifest.FileID]bool)}
}

func (m *plainRows) apply(_ context.Context, seq uint64, rs []manifest.Record) error {
	m.highest = max(m.highest, seq)
	for _, r := range rs {
		switch {
		case r.Purged != "":
			m.purged[r.Purged] = true
			delete(m.revisions, r.Purged)
		case r.File != nil && !m.purged[r.File.ID]:
			m.revisions[r.File.ID] = max(m.revisions[r.File.ID], r.File.Revision)
		}
	}
	return nil
}

func encode(t *testing.T, s *manifest.Slot) []byte {
	t.Helper()
	p, err := manifest.EncodeSlot(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// partsOf cuts records into n slots of a commit.
func partsOf(t *testing.T, seq uint64, rs []manifest.Record, n int) (slots [][]byte) {
	t.Helper()
	for i := range n {
		from, to := len(rs)*i/n, len(rs)*(i+1)/n
		slots = append(slots, encode(t, &manifest.Slot{Commit: seq, Part: uint64(i + 1), Parts: uint64(n), Records: rs[from:to]}))
	}
	return slots
}

// checkpointOf makes a checkpoint by hand: its parts, and last its end.
func checkpointOf(t *testing.T, id byte, base uint64, rs []manifest.Record) (slots [][]byte) {
	t.Helper()
	h := blake3.NewDerived("cairn-store/cairn 2026 checkpoint v1")
	end := &manifest.Slot{Checkpoint: [16]byte{id}, Base: base}
	for part := range slices.Chunk(rs, 3) {
		end.Parts++
		p := encode(t, &manifest.Slot{Checkpoint: end.Checkpoint, Base: base, Part: end.Parts, Records: part})
		d := cas.Sum(p)
		h.Write(d[:])
		slots = append(slots, p)
	}
	h.Sum(end.Digest[:0])
	return append(slots, encode(t, end))
}

// replay gives slots to a Replayer, in any order and some of them repeatedly.
func replay(t *testing.T, r *rand.Rand, rep *manifest.Replayer, slots [][]byte) (passes int) {
	t.Helper()
	shuffled := func() [][]byte {
		out := slices.Clone(slots)
		for range r.IntN(len(slots) + 1) {
			out = append(out, slots[r.IntN(len(slots))])
		}
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	for _, p := range shuffled() {
		if err := rep.Survey(p); err != nil {
			t.Fatal(err)
		}
	}
	for again := true; again; passes++ {
		if passes > len(slots) {
			t.Fatal("there is no end of passes")
		}
		for _, p := range shuffled() {
			q := slices.Clone(p)
			if err := rep.Replay(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			clear(q) // nothing of it may be kept
		}
		var err error
		if again, err = rep.EndPass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return passes
}

// A history is what a store has done, and what may be left of it in packs.
type history struct {
	t       *testing.T
	r       *rand.Rand
	rows    *plainRows
	seq     uint64
	commits map[uint64][][]byte
	then    map[uint64]map[manifest.FileID]uint64 // the rows after each commit
}

func fileAt(id manifest.FileID, revision uint64) manifest.Record {
	return manifest.Record{File: &manifest.File{ID: id, Revision: revision, Bucket: "b"}}
}

// commit changes some files, makes some and purges some.
func (h *history) commit() {
	ids := slices.Sorted(maps.Keys(h.rows.revisions))
	var rs []manifest.Record
	for range 1 + h.r.IntN(6) {
		id := manifest.NewFileID()
		if len(ids) > 0 && h.r.IntN(3) > 0 {
			id = ids[h.r.IntN(len(ids))]
		}
		rs = append(rs, fileAt(id, h.rows.revisions[id]+1))
		if h.r.IntN(4) == 0 {
			rs[len(rs)-1] = manifest.Record{Purged: id}
		}
		h.rows.apply(h.t.Context(), 0, rs[len(rs)-1:])
	}
	h.seq += 1 + h.r.Uint64N(3) // numbers have gaps
	h.commits[h.seq] = partsOf(h.t, h.seq, rs, 1+h.r.IntN(len(rs)))
	h.then[h.seq] = maps.Clone(h.rows.revisions)
}

// checkpoint is one whose base is the commit base. Its rows are scanned while
// work goes on: each as it stood after some commit from then on.
func (h *history) checkpoint(id byte, base uint64) [][]byte {
	later := slices.DeleteFunc(slices.Sorted(maps.Keys(h.then)), func(seq uint64) bool { return seq < base })
	rows := make(map[manifest.FileID]uint64)
	all := maps.Clone(h.then[base])
	maps.Copy(all, h.rows.revisions)
	for f := range all {
		if rev, ok := h.then[later[h.r.IntN(len(later))]][f]; ok {
			rows[f] = rev
		} else if rev, ok := h.then[base][f]; ok && h.r.IntN(2) == 0 {
			rows[f] = rev
		}
	}
	for f := range h.then[base] { // a row that was there all the time is found
		if _, ok := h.rows.revisions[f]; ok && rows[f] == 0 {
			rows[f] = h.then[base][f]
		}
	}
	var rs []manifest.Record
	for _, f := range slices.Sorted(maps.Keys(rows)) {
		rs = append(rs, fileAt(f, rows[f]))
	}
	return checkpointOf(h.t, id, base, rs)
}

// Whatever the order and the repetition, replay ends in the rows that there
// were: with checkpoints whole and torn, commits whole and torn, and without
// what a checkpoint has made superfluous.
func TestReplayModel(t *testing.T) {
	r := seeded(t)
	for range 300 {
		h := &history{t, r, newPlainRows(), 0, make(map[uint64][][]byte), map[uint64]map[manifest.FileID]uint64{0: {}}}
		for range 2 + r.IntN(15) {
			h.commit()
		}
		seqs := slices.Sorted(maps.Keys(h.commits))
		var slots [][]byte
		base := uint64(0)
		if r.IntN(3) > 0 { // a whole checkpoint
			base = seqs[r.IntN(len(seqs))]
			slots = append(slots, h.checkpoint(1, base)...)
		}
		for _, seq := range seqs {
			if seq > base {
				slots = append(slots, h.commits[seq]...)
				continue
			}
			for _, p := range h.commits[seq] { // may have been collected
				if r.IntN(2) == 0 {
					slots = append(slots, p)
				}
			}
		}
		if older := r.IntN(2) == 0 && base > seqs[0]; older { // what it holds may have been purged since
			slots = append(slots, h.checkpoint(2, seqs[0])...)
		}
		torn := checkpointOf(t, 3, h.seq, slices.Repeat([]manifest.Record{fileAt(manifest.NewFileID(), 1)}, 4+r.IntN(9)))
		if r.IntN(2) == 0 {
			i := r.IntN(len(torn))
			slots = append(slots, slices.Delete(torn, i, i+1)...)
		}
		var lacking []uint64
		high := h.seq
		for range r.IntN(3) { // commits that were never acknowledged
			high++
			parts := partsOf(t, high, slices.Repeat([]manifest.Record{fileAt(manifest.NewFileID(), 1)}, 5), 2+r.IntN(3))
			i := r.IntN(len(parts))
			slots = append(slots, slices.Delete(parts, i, i+1)...)
			lacking = append(lacking, high)
		}

		got := newPlainRows()
		rep := manifest.NewReplayer(got.apply)
		if r.IntN(2) == 0 {
			rep.SetLimit(1 + r.IntN(500))
		}
		replay(t, r, rep, slots)
		if !maps.Equal(got.revisions, h.rows.revisions) {
			t.Fatalf("rows %v\nwant %v", got.revisions, h.rows.revisions)
		}
		if rep.Base() != base || got.highest != high || !slices.Equal(rep.Lacking(), lacking) || rep.Held() != 0 {
			t.Fatalf("base %d, want %d; highest %d, want %d; lacking %d, want %d", rep.Base(), base, got.highest, high, rep.Lacking(), lacking)
		}
	}
}

// A checkpoint counts only if it is whole; the newest that is does.
func TestReplayCheckpoints(t *testing.T) {
	file := func(n int) manifest.FileID {
		return manifest.FileID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
	}
	var rows []manifest.Record
	for n := range 8 {
		rows = append(rows, fileAt(file(n), 5))
	}
	whole := func(id byte, base uint64) [][]byte { return checkpointOf(t, id, base, rows) }
	without := func(slots [][]byte, i int) [][]byte { return slices.Delete(slots, i, i+1) }
	other := func(slots [][]byte, i int, change func(*manifest.Slot)) [][]byte {
		s, err := manifest.DecodeSlot(slots[i])
		if err != nil {
			t.Fatal(err)
		}
		change(s)
		slots[i] = encode(t, s)
		return slots
	}
	tests := map[string]struct {
		slots [][]byte
		base  uint64
	}{
		"none":                      {nil, 0},
		"whole":                     {whole(1, 10), 10},
		"of no rows":                {checkpointOf(t, 1, 10, nil), 10},
		"lacks its first part":      {without(whole(1, 10), 0), 0},
		"lacks a part":              {without(whole(1, 10), 1), 0},
		"lacks its last part":       {without(whole(1, 10), 2), 0},
		"lacks its end":             {without(whole(1, 10), 3), 0},
		"is its end alone":          {whole(1, 10)[3:], 0},
		"an older beside a newer":   {slices.Concat(whole(1, 10), whole(2, 12)), 12},
		"a newer torn":              {slices.Concat(whole(1, 10), without(whole(2, 12), 1)), 10},
		"an older torn":             {slices.Concat(without(whole(1, 10), 1), whole(2, 12)), 12},
		"the parts of two":          {slices.Concat(whole(1, 10)[:2], whole(2, 10)[2:]), 0},
		"a part is another":         {other(whole(1, 10), 1, func(s *manifest.Slot) { s.Records = rows[:1] }), 0},
		"a part comes in two forms": {append(other(whole(1, 10), 1, func(s *manifest.Slot) { s.Records = rows[:1] }), whole(1, 10)[1]), 0},
		"a part of another base":    {other(whole(1, 10), 1, func(s *manifest.Slot) { s.Base = 11 }), 0},
		"a part beyond the end":     {append(whole(1, 10), other(whole(1, 10), 1, func(s *manifest.Slot) { s.Part = 4 })[1]), 0},
		"another end":               {other(whole(1, 10), 3, func(s *manifest.Slot) { s.Digest[0]++ }), 0},
		"two ends":                  {append(whole(1, 10), other(whole(1, 10), 3, func(s *manifest.Slot) { s.Digest[0]++ })[3]), 0},
		"an end of fewer":           {other(whole(1, 10), 3, func(s *manifest.Slot) { s.Parts-- }), 0},
		"an end of very many":       {other(whole(1, 10), 3, func(s *manifest.Slot) { s.Parts = 1 << 63 }), 0},
	}
	r := seeded(t)
	for name, test := range tests {
		slots := test.slots
		var want []uint64 // commits that are handed on
		for seq := uint64(8); seq <= 14; seq++ {
			slots = append(slots, partsOf(t, seq, rows[:4], 1+int(seq)%3)...)
			if seq > test.base {
				want = append(want, seq)
			}
		}
		commits, checkpoints := make(map[uint64]int), make(map[uint64]int)
		rep := manifest.NewReplayer(func(_ context.Context, seq uint64, rs []manifest.Record) error {
			if len(rs) == 4 {
				commits[seq] = len(rs)
			} else if len(rs) > 0 {
				checkpoints[seq] = len(rs)
			}
			return nil
		})
		replay(t, r, rep, slots)
		if got := slices.Sorted(maps.Keys(commits)); rep.Base() != test.base || !slices.Equal(got, want) {
			t.Errorf("%s: base %d, commits %d; want %d, %d", name, rep.Base(), got, test.base, want)
		}
		if delete(checkpoints, test.base); len(checkpoints) > 0 {
			t.Errorf("%s: parts of checkpoints of base %v are handed on", name, checkpoints)
		}
	}
}

// Memory stays within the limit whatever waits, and all is there in the end.
func TestReplayMemory(t *testing.T) {
	r := seeded(t)
	const commits, limit = 40, 4096
	var slots [][]byte
	for seq := range uint64(commits) {
		slots = append(slots, partsOf(t, seq+1, slices.Repeat([]manifest.Record{fileAt(manifest.NewFileID(), seq)}, 32), 8)...)
	}
	seen := make(map[uint64]int)
	var rep *manifest.Replayer
	held := 0
	rep = manifest.NewReplayer(func(_ context.Context, seq uint64, rs []manifest.Record) error {
		held = max(held, rep.Held())
		if len(rs) == 32 {
			seen[seq]++
		}
		return nil
	})
	rep.SetLimit(limit)
	passes := replay(t, r, rep, slots)
	if len(seen) != commits || passes < 2 || held > limit || len(rep.Lacking()) > 0 {
		t.Errorf("%d commits in %d passes, %d bytes held, %d lack", len(seen), passes, held, rep.Lacking())
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("commit %d was handed on %d times", seq, n)
		}
	}
}

// What is damaged or unknown is never passed over in silence.
func TestReplayRefuses(t *testing.T) {
	nothing := func(context.Context, uint64, []manifest.Record) error { return nil }
	unknown := envelope('R', 1, []byte{1, 1, 1, 1, 9, 1, 0})
	damaged := envelope('R', 1, []byte{1, 1, 1, 1, 3, 1, 0})
	twoParts := partsOf(t, 1, fixedRecords(t), 2)
	threeParts := partsOf(t, 1, fixedRecords(t), 3)
	failed := errors.New("failed")
	tests := map[string]struct {
		slots [][]byte
		apply func(context.Context, uint64, []manifest.Record) error
		want  error
	}{
		"unknown":         {[][]byte{unknown}, nothing, manifest.ErrUnknown},
		"unknown version": {[][]byte{envelope('R', 3, []byte{1})}, nothing, manifest.ErrUnknown},
		"damaged":         {[][]byte{damaged}, nothing, manifest.ErrFormat},
		"no slot":         {[][]byte{{}}, nothing, manifest.ErrFormat},
		"n of two m":      {[][]byte{twoParts[0], threeParts[1]}, nothing, manifest.ErrFormat},
		"apply fails":     {twoParts, func(context.Context, uint64, []manifest.Record) error { return failed }, failed},
	}
	for name, test := range tests {
		rep := manifest.NewReplayer(test.apply)
		var err error
		for _, p := range test.slots {
			err = errors.Join(err, rep.Replay(t.Context(), p))
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
