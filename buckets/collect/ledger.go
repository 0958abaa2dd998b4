package collect

import (
	"context"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// maxLedger is how many entries of the ledger are kept.
const maxLedger = 100_000

// enterBatch is how many charges one transaction enters into the ledger.
const enterBatch = 1000

// enterPack writes into the ledger whose bytes a deleted pack held. The ledger has
// entered of them already: an earlier cycle ended before all were. copied of them
// were live and lie in other packs now. A transaction removes the charges that it
// enters, and the last one enters what is left as nobody's, so the entries of a pack
// add up to its size.
func (d *cycle) enterPack(ctx context.Context, p *cas.PackEntry, entered, copied int64) error {
	at, left := d.Now(), p.Size-entered
	for n := enterBatch; n == enterBatch; {
		charges, err := d.Meta.ChargesOf(ctx, d.domain, p.ID, enterBatch)
		if err != nil {
			return err
		}
		n = len(charges)
		freed := int64(0)
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
		copied = 0
		for _, c := range charges {
			enter(c.Cause, c.Bytes, false)
		}
		if n < enterBatch {
			enter(manifest.Cause{}, left, false)
		}
		if err := d.Meta.AddFreed(ctx, d.domain, es, charges); err != nil {
			return err
		}
		d.report.FreedBytes += freed
	}
	return nil
}

// sumEntered returns how many bytes of some packs the ledger has already: a cycle
// that entered them ended before it could enter the rest, or remove the packs from
// the index.
func (d *cycle) sumEntered(ctx context.Context, packs []cas.PackEntry) (map[cas.PackID]int64, error) {
	out := make(map[cas.PackID]int64)
	for i := range packs {
		out[packs[i].ID] = 0
	}
	if len(out) == 0 {
		return out, nil
	}
	for e, err := range d.Meta.Ledger(ctx) {
		if err != nil {
			return nil, err
		}
		if _, wanted := out[e.Pack]; wanted && e.Domain == d.domain {
			out[e.Pack] += e.Bytes
		}
	}
	return out, nil
}
