package local

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A census counts the packs of a domain: whose they are, and which are missing
// among those of their writers. The last ones of a writer are missed only by
// the database, since no pack says of them that they were durable.
type census struct {
	owners  map[identity]cas.PackID // a pack of each
	there   map[cas.Void]bool       // serials of which there is a pack, or none need be
	listed  map[cas.PackID]bool
	names   map[cas.Void]cas.PackID // that packs which came after give them
	settled map[[16]byte]settled    // by writer
}

// An identity is the store and the domain that a pack belongs to.
type identity struct{ store, domain [16]byte }

// settled is the highest serial that is, and which pack says so.
type settled struct {
	serial uint64
	by     cas.PackID
}

func newCensus() *census {
	return &census{make(map[identity]cas.PackID), make(map[cas.Void]bool), make(map[cas.PackID]bool), make(map[cas.Void]cas.PackID),
		make(map[[16]byte]settled)}
}

// add counts a pack that is there.
func (c *census) add(p *cas.PackInfo) {
	c.listed[p.ID] = true
	h := p.Header
	if h == nil {
		return
	}
	c.owners[identity{h.Store, h.Domain}] = p.ID
	c.there[cas.Void{Writer: h.Writer, Serial: h.Serial}] = true
	if h.Serial > 1 {
		c.names[cas.Void{Writer: h.Writer, Serial: h.Serial - 1}] = h.Previous
	}
	if h.Settled < h.Serial && h.Settled > c.settled[h.Writer].serial {
		c.settled[h.Writer] = settled{h.Settled, p.ID}
	}
}

// know counts a pack that the database knows: if it is missing, that is told
// by its name.
func (c *census) know(p cas.PackEntry) { c.there[cas.Void{Writer: p.Writer, Serial: p.Serial}] = true }

// notes counts what a frame of d tells of serials that were given up.
func (c *census) notes(ctx context.Context, d *domain, f *cas.Frame) error {
	voids, err := d.chunks.Voids(ctx, f)
	for _, v := range voids {
		c.there[v] = true
	}
	return err
}

// doom counts a pack whose deletion has begun.
func (c *census) doom(d *manifest.Doom) { c.there[cas.Void{Writer: d.Writer, Serial: d.Serial}] = true }

// maxLost is how many lost packs are named of each writer.
const maxLost = 1000

// lost tells of each pack that was durable once and is neither there nor gone
// by intention.
func (c *census) lost() (out []Problem) {
	writers := slices.SortedFunc(maps.Keys(c.settled), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, w := range writers {
		n := 0
		for serial := uint64(1); serial <= c.settled[w].serial && n < maxLost; serial++ {
			key := cas.Void{Writer: w, Serial: serial}
			id, named := c.names[key]
			if c.there[key] || named && c.listed[id] {
				continue
			}
			n++
			p := Problem{Kind: "pack", Detail: fmt.Sprintf("pack %d of writer %x is missing: pack %s tells that it was durable", serial, w, c.settled[w].by)}
			if named {
				p.Pack = id.String()
			}
			out = append(out, p)
		}
	}
	return out
}

// owned tells whose the packs are.
func (c *census) owned() string {
	var lines []string
	for o, id := range c.owners {
		lines = append(lines, fmt.Sprintf("store %x, domain %x (such as pack %s)", o.store, o.domain, id))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}
