package collect

import (
	"context"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// maxLedger is how many entries of the ledger are kept.
const maxLedger = 100_000

// enterPack writes into the ledger whose bytes a deleted pack held. copied of them
// were live and lie in other packs now. The entries of a pack add up to its size.
func (d *cycle) enterPack(ctx context.Context, p *cas.PackEntry, copied int64) error {
	charges, err := d.Meta.ChargesOf(ctx, d.domain, p.ID)
	if err != nil {
		return err
	}
	freed := int64(0)
	at, left := d.Now(), p.Size
	var es []manifest.Freed
	enter := func(cause manifest.Cause, n int64, copied bool) {
		if n = min(n, left); n <= 0 {
			return
		}
		left -= n
		es = append(es, manifest.Freed{At: at, Domain: d.domain, Copied: copied, Charge: manifest.Charge{Pack: p.ID, Cause: cause, Bytes: n}})
		if !copied {
			freed += n
			d.freed.add(&cause, n)
		}
	}
	enter(manifest.Cause{}, copied, true)
	for _, c := range charges {
		enter(c.Cause, c.Bytes, false)
	}
	enter(manifest.Cause{}, left, false)
	if err := d.Meta.AddFreed(ctx, d.domain, p.ID, es); err != nil {
		return err
	}
	d.report.FreedBytes += freed
	return nil
}

// findEntered returns which of some packs the ledger has already: their deletion was
// ended by a cycle that could not remove them from the index any more.
func (d *cycle) findEntered(ctx context.Context, packs []cas.PackEntry) (map[cas.PackID]bool, error) {
	wanted := make(map[cas.PackID]bool)
	for i := range packs {
		wanted[packs[i].ID] = true
	}
	out := make(map[cas.PackID]bool)
	if len(wanted) == 0 {
		return out, nil
	}
	for e, err := range d.Meta.Ledger(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Domain == d.domain && wanted[e.Pack] {
			out[e.Pack] = true
		}
	}
	return out, nil
}
