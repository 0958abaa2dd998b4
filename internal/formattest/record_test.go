package formattest

import (
	"bytes"
	"fmt"

	"github.com/zeebo/blake3"
)

// Types of records and of slots of them.
const (
	recordFile     = 1
	recordManifest = 2
	recordPurged   = 3
	recordDropped  = 4
	recordDoomed   = 5
	recordHome     = 6
	recordCensus   = 7
	recordLink     = 8

	slotCommit = 1
	slotPart   = 2
	slotEnd    = 3

	maxSlot   = 1 << 20
	maxRecord = 512 << 10

	contextCheckpoint = "cairn-store/cairn 2026 checkpoint v1"
)

type record struct {
	kind   byte
	row    *row   // of a file, manifest, home or link
	id     string // of what is gone, as bytes
	doomed doomedPack
	census census
}

// A census is packs of a writer that need not exist.
type census struct {
	writer id16
	ranges [][2]uint64 // first and last serials
}

type doomedPack struct {
	pack, writer id16
	serial       uint64
}

// A recordSlot is a part of a commit, a part of a checkpoint, or the end of one.
type recordSlot struct {
	kind       byte
	commit     uint64
	checkpoint id16
	base, n, m uint64
	digest     digest
	records    []record
	plain      digest // BLAKE3-256 of the slot
}

func parseRecordSlot(b []byte) (*recordSlot, error) {
	if len(b) > maxSlot {
		return nil, damage("slot of %d bytes", len(b))
	}
	tag, body, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if tag != 'R' {
		return nil, damage("tag %q of a slot of records", tag)
	}
	c := &cursor{rest: body}
	s := &recordSlot{kind: c.octet(), plain: blake3.Sum256(b)}
	switch {
	case c.err != nil:
		return nil, c.err
	case s.kind == slotCommit:
		s.commit, s.n, s.m = c.number(), c.number(), c.number()
		if c.err == nil && (s.commit == 0 || s.n == 0 || s.n > s.m || s.m > 128) {
			return nil, damage("part %d of %d of commit %d", s.n, s.m, s.commit)
		}
	case s.kind == slotPart:
		s.checkpoint, s.base, s.n = c.id(), c.number(), c.number()
		if c.err == nil && (s.base == 0 || s.n == 0) {
			return nil, damage("part %d of a checkpoint of base %d", s.n, s.base)
		}
	case s.kind == slotEnd:
		s.checkpoint, s.base, s.m, s.digest = c.id(), c.number(), c.number(), c.digest()
		if c.err == nil && s.base == 0 {
			return nil, damage("checkpoint of base 0")
		}
		return s, c.end()
	default:
		return nil, unknown("slot of records %d", s.kind)
	}
	for c.err == nil && len(c.rest) > 0 {
		before := len(c.rest)
		kind := c.octet()
		body := c.sized()
		if before-len(c.rest) > maxRecord {
			return nil, damage("record of %d bytes", len(body))
		}
		if c.err != nil {
			return nil, c.err
		}
		r, err := parseRecord(kind, body)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(s.records), err)
		}
		s.records = append(s.records, r)
	}
	if c.err == nil && len(s.records) == 0 {
		c.fail("slot without records")
	}
	return s, c.end()
}

func parseRecord(kind byte, body []byte) (record, error) {
	r := record{kind: kind}
	var err error
	switch kind {
	case recordFile:
		if r.row, err = parseRow(body, "F"); err == nil {
			err = r.row.require(1)
		}
	case recordManifest:
		if r.row, err = parseRow(body, "M"); err == nil {
			err = r.row.require(1, 2)
		}
	case recordHome:
		if r.row, err = parseRow(body, "H"); err == nil {
			err = r.row.require(1, 2)
		}
	case recordLink:
		if r.row, err = parseRow(body, "J"); err == nil {
			err = r.row.require(2)
		}
	case recordPurged, recordDropped:
		if len(body) != 22 && (kind == recordDropped || len(body) != 16) {
			err = damage("ID of %d bytes", len(body))
		}
		r.id = string(body)
	case recordDoomed:
		c := &cursor{rest: body}
		r.doomed = doomedPack{pack: c.id(), writer: c.id(), serial: c.number()}
		if c.err == nil && r.doomed.serial == 0 {
			c.fail("serial 0")
		}
		err = c.end()
	case recordCensus:
		r.census, err = parseCensus(body)
	case 0:
		err = damage("type 0")
	default:
		err = unknown("type %d", kind)
	}
	return r, err
}

func parseCensus(body []byte) (census, error) {
	c := &cursor{rest: body}
	n := census{writer: c.id()}
	for last := uint64(0); c.err == nil && (len(c.rest) > 0 || len(n.ranges) == 0); {
		gap, length := c.number(), c.number()
		first := last + gap
		if end := first + length; c.err == nil && (gap == 0 || gap == 1 && last > 0 || first < last || end < first) {
			c.fail("range of %d serials, %d behind %d", length, gap, last)
		}
		last = first + length
		n.ranges = append(n.ranges, [2]uint64{first, last})
	}
	return n, c.end()
}

// A checkpoint is what was found of one; of parts in two forms and of two bases none counts.
type checkpoint struct {
	base  uint64
	parts map[uint64]*recordSlot
	end   *recordSlot
	torn  bool
}

func (c *checkpoint) whole() bool {
	if c.torn || c.end == nil || uint64(len(c.parts)) != c.end.m {
		return false
	}
	h := make([][]byte, 0, len(c.parts))
	for n := uint64(1); n <= c.end.m; n++ {
		p, ok := c.parts[n]
		if !ok {
			return false
		}
		h = append(h, p.plain[:])
	}
	return bytes.Equal(derive(32, contextCheckpoint, h...), c.end.digest[:])
}

// A commit is what was found of one.
type commit struct {
	m     uint64
	parts map[uint64]*recordSlot
}

// A replay collects the slots of records of one domain, in any order.
type replay struct {
	commits     map[uint64]*commit
	checkpoints map[id16]*checkpoint
}

func newReplay() *replay {
	return &replay{commits: map[uint64]*commit{}, checkpoints: map[id16]*checkpoint{}}
}

func (r *replay) add(s *recordSlot) error {
	if s.kind == slotCommit {
		c := r.commits[s.commit]
		if c == nil {
			c = &commit{m: s.m, parts: map[uint64]*recordSlot{}}
			r.commits[s.commit] = c
		}
		if o := c.parts[s.n]; c.m != s.m || o != nil && o.plain != s.plain {
			return damage("commit %d is there in two forms", s.commit)
		}
		c.parts[s.n] = s
		return nil
	}
	c := r.checkpoints[s.checkpoint]
	if c == nil {
		c = &checkpoint{base: s.base, parts: map[uint64]*recordSlot{}}
		r.checkpoints[s.checkpoint] = c
	}
	before := c.end
	if s.kind == slotPart {
		before = c.parts[s.n]
		c.parts[s.n] = s
	} else {
		c.end = s
	}
	if s.base != c.base || before != nil && before.plain != s.plain {
		c.torn = true
	}
	return nil
}

// A state is what a replay comes to.
type state struct {
	base      uint64          // of the checkpoint that counts, or 0
	files     map[string]*row // by the bytes of their IDs
	manifests map[string]*row
	homes     map[string]*row // by bucket
	links     map[string]*row // by the bytes of their IDs
	doomed    map[id16]doomedPack
	purged    map[string]bool // files
	dropped   map[string]bool // versions
	// needless are packs that need not exist, by writer and serial; of a long range the first and the last.
	needless map[id16]map[uint64]bool
}

func (r *replay) run() *state {
	s := &state{
		files: map[string]*row{}, manifests: map[string]*row{}, homes: map[string]*row{}, links: map[string]*row{},
		doomed: map[id16]doomedPack{}, purged: map[string]bool{}, dropped: map[string]bool{},
		needless: map[id16]map[uint64]bool{},
	}
	var counts *checkpoint
	for _, c := range r.checkpoints {
		if c.whole() && (counts == nil || c.base > counts.base) {
			counts = c
		}
	}
	var slots []*recordSlot
	if counts != nil {
		s.base = counts.base
		for _, p := range counts.parts {
			slots = append(slots, p)
		}
	}
	for n, c := range r.commits {
		if n <= s.base || uint64(len(c.parts)) != c.m {
			continue
		}
		for _, p := range c.parts {
			slots = append(slots, p)
		}
	}
	for _, slot := range slots {
		for i := range slot.records {
			s.apply(&slot.records[i])
		}
	}
	for id := range s.purged {
		delete(s.files, id)
	}
	for id, m := range s.manifests {
		if s.dropped[id] || s.purged[m.text(2)] {
			delete(s.manifests, id)
		}
	}
	return s
}

func (s *state) apply(r *record) {
	switch r.kind {
	case recordFile:
		if o := s.files[r.row.text(1)]; o == nil || o.num(2) < r.row.num(2) {
			s.files[r.row.text(1)] = r.row
		}
	case recordManifest:
		s.manifests[r.row.text(1)] = r.row
	case recordHome:
		if o := s.homes[r.row.text(1)]; o == nil || o.num(2) < r.row.num(2) {
			s.homes[r.row.text(1)] = r.row
		}
	case recordLink:
		if o := s.links[r.row.text(1)]; o == nil || o.num(2) < r.row.num(2) {
			s.links[r.row.text(1)] = r.row
		}
	case recordPurged:
		s.purged[r.id] = true
	case recordDropped:
		s.dropped[r.id] = true
	case recordDoomed:
		s.doomed[r.doomed.pack] = r.doomed
		s.addNeedless(r.doomed.writer, r.doomed.serial)
	case recordCensus:
		for _, span := range r.census.ranges {
			for n := span[0]; n <= min(span[1], span[0]+1000); n++ {
				s.addNeedless(r.census.writer, n)
			}
			s.addNeedless(r.census.writer, span[1])
		}
	}
}

func (s *state) addNeedless(writer id16, serial uint64) {
	if s.needless[writer] == nil {
		s.needless[writer] = map[uint64]bool{}
	}
	s.needless[writer][serial] = true
}
