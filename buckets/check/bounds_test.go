package check

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A countingMeta notes how much one transaction takes
// of what a rebuild has found out about deleted packs.
type countingMeta struct {
	manifest.Store
	most, sum int
}

func (m *countingMeta) Update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) (*manifest.Commit, error) {
	return m.Store.Update(ctx, domain, func(tx manifest.Tx) error {
		c := &countingTx{Tx: tx}
		err := fn(c)
		m.add(c.n)
		return err
	})
}

func (m *countingMeta) add(n int) {
	m.most = max(m.most, n)
	m.sum += n
}

type countingTx struct {
	manifest.Tx
	n int
}

func (t *countingTx) RestoreDooms(ctx context.Context, domain string, ids []cas.PackID) error {
	t.n += len(ids)
	return t.Tx.RestoreDooms(ctx, domain, ids)
}

func (t *countingTx) RestoreCensus(ctx context.Context, domain string, c *manifest.Census) error {
	t.n++
	return t.Tx.RestoreCensus(ctx, domain, c)
}

// However many packs were deleted, one transaction of a rebuild takes in a bounded
// number of them and of their writers.
func TestDoomsAreRestoredBoundedly(t *testing.T) {
	f := newFixture(t, membackend.New(nil), t.TempDir())
	defer f.close()
	const many = 1050
	meta := &countingMeta{Store: f.db}
	d := &domainBuilder{builder: &builder{Store: &Store{Meta: meta}}, Domain: &Domain{Name: "x", Chunks: f.chunks},
		doomed: make(map[cas.PackID]bool), listed: make(map[cas.PackID]bool), dead: make(deadPacks)}
	packs := &cas.Change{}
	for i := range 2 * many { // one half is there, the other is gone
		var id cas.PackID
		binary.BigEndian.PutUint32(id[:], uint32(i+1))
		packs.Packs = append(packs.Packs, cas.PackEntry{ID: id, Size: 1, Writer: [16]byte(id), Serial: 1})
		d.addDead(&manifest.Record{Doomed: &manifest.Doom{Pack: id, Writer: [16]byte(id), Serial: 1}})
		if i < many {
			d.listed[id] = true
		}
	}
	must(t, f.db.Index("x").Apply(t.Context(), packs))
	must(t, d.restoreDooms(t.Context()))
	if meta.most > 1000 || meta.sum != 3*many {
		t.Errorf("one transaction took %d, all together %d", meta.most, meta.sum)
	}
	left := 0
	for p, err := range f.db.Index("x").AllPacks(t.Context()) {
		must(t, err)
		if left++; !p.Doomed || !d.listed[p.ID] {
			t.Fatalf("pack %s: doomed %v, there %v", p.ID, p.Doomed, d.listed[p.ID])
		}
	}
	if left != many {
		t.Errorf("%d packs are left", left)
	}
}
