package sim

import (
	"context"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// recount compares the counters of the index with what they count.
func (c *checker) recount(ctx context.Context) error {
	for _, domain := range c.w.domains() {
		ix := c.w.db.Index(domain)
		type sum struct{ n, bytes uint32 }
		live := make(map[cas.FrameID]sum)
		for e, err := range ix.AllChunks(ctx) {
			if err != nil {
				return err
			}
			s := live[e.Frame]
			live[e.Frame] = sum{s.n + 1, s.bytes + e.Length}
		}
		packs := make(map[cas.PackID]int64)
		for f, err := range ix.AllFrames(ctx) {
			if err != nil {
				return err
			}
			if s := live[f.ID]; f.Live != s.n || f.LiveBytes != s.bytes || s.n == 0 {
				return fmt.Errorf("%s: frame %v counts %d live chunks of %d bytes and has %d of %d", domain, f.ID, f.Live, f.LiveBytes, s.n, s.bytes)
			}
			delete(live, f.ID)
			packs[f.Pack] += f.LiveStored()
		}
		for id := range live {
			return fmt.Errorf("%s: frame %v, which entries name, is unknown", domain, id)
		}
		for p, err := range ix.AllPacks(ctx) {
			if err != nil {
				return err
			}
			if p.Live != packs[p.ID] {
				return fmt.Errorf("%s: pack %s counts %d live bytes and has %d", domain, p.ID, p.Live, packs[p.ID])
			}
			delete(packs, p.ID)
		}
		for id := range packs {
			return fmt.Errorf("%s: pack %s, which frames lie in, is unknown", domain, id)
		}
	}
	return nil
}
