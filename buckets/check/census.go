package check

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
// among those of their writers. That the last packs of a writer are missing only
// the database can tell: no pack says of them that they were durable.
type census struct {
	owners   map[identity]cas.PackID // one pack of each
	present  map[cas.Void]bool       // serials that have a pack, or need none
	dead     deadPacks               // those that need none, as records or the database say
	dooms    deadPacks               // of these the ones that records tell of
	writers  map[[16]byte]*WriterPacks
	listed   map[cas.PackID]bool
	previous map[cas.Void]cas.PackID // the IDs that later packs give to serials
	settled  map[[16]byte]settled    // by writer
}

// An identity is the store and the domain that a pack belongs to.
type identity struct{ store, domain [16]byte }

// settled is the highest serial of a writer that a pack calls settled, and that
// pack.
type settled struct {
	serial uint64
	by     cas.PackID
}

func newCensus() *census {
	return &census{owners: make(map[identity]cas.PackID), present: make(map[cas.Void]bool), dead: make(deadPacks), dooms: make(deadPacks),
		writers: make(map[[16]byte]*WriterPacks), listed: make(map[cas.PackID]bool),
		previous: make(map[cas.Void]cas.PackID), settled: make(map[[16]byte]settled)}
}

// addPack counts a pack that is there.
func (c *census) addPack(p *cas.PackInfo) {
	isNew := !c.listed[p.ID]
	c.listed[p.ID] = true
	h := p.Header
	if h == nil {
		return
	}
	w := c.writers[h.Writer]
	if w == nil {
		w = &WriterPacks{Writer: fmt.Sprintf("%x", h.Writer)}
		c.writers[h.Writer] = w
	}
	if isNew {
		w.Packs++
	}
	w.LastSerial = max(w.LastSerial, h.Serial)
	c.owners[identity{h.Store, h.Domain}] = p.ID
	c.present[cas.Void{Writer: h.Writer, Serial: h.Serial}] = true
	if h.Serial > 1 {
		c.previous[cas.Void{Writer: h.Writer, Serial: h.Serial - 1}] = h.Previous
	}
	if h.Settled < h.Serial && h.Settled > c.settled[h.Writer].serial {
		c.settled[h.Writer] = settled{h.Settled, p.ID}
	}
}

// addRecord takes in what a record says of packs that need not exist.
func (c *census) addRecord(r *manifest.Record) {
	c.dead.addRecord(r)
	c.dooms.addRecord(r)
}

// addKnown counts a pack of the index. If it is missing, that is a problem of
// its own, which names it.
func (c *census) addKnown(p cas.PackEntry) {
	c.present[cas.Void{Writer: p.Writer, Serial: p.Serial}] = true
}

// addVoids counts the serials that a frame of notes gives up.
func (c *census) addVoids(ctx context.Context, chunks *cas.Store, f *cas.Frame) error {
	voids, err := chunks.Voids(ctx, f)
	for _, v := range voids {
		c.present[v] = true
	}
	return err
}

// maxLost is how many lost packs are named of each writer.
const maxLost = 1000

// lostPacks returns a problem for each pack that was durable once and is
// neither there nor removed on purpose.
func (c *census) lostPacks() (out []Problem) {
	writers := slices.SortedFunc(maps.Keys(c.settled), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, w := range writers {
		n := 0
		for serial := uint64(1); serial <= c.settled[w].serial && n < maxLost; serial++ {
			key := cas.Void{Writer: w, Serial: serial}
			id, named := c.previous[key]
			if c.present[key] || c.dead.has(key) || named && c.listed[id] {
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

// describeOwners says whose the packs are.
func (c *census) describeOwners() string {
	var lines []string
	for o, id := range c.owners {
		lines = append(lines, fmt.Sprintf("store %x, domain %x (such as pack %s)", o.store, o.domain, id))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}
