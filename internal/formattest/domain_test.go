package formattest

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// A place is where a slot lies.
type place struct {
	frame *frame
	slot  int
}

// A domain is what was read of the packs in one directory.
type domain struct {
	packs    []*pack
	chunks   map[digest]place
	segments map[digest]place
	void     map[voidSerial]bool
	state    *state
}

// readDomain reads and verifies every byte of the packs in dir, and replays their records.
func readDomain(dir string) (*domain, error) {
	d := &domain{chunks: map[digest]place{}, segments: map[digest]place{}, void: map[voidSerial]bool{}}
	r := newReplay()
	paths, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		p, err := openPackFile(path)
		if err == nil {
			err = p.verify()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(d.packs) > 0 && (p.store != d.packs[0].store || p.domain != d.packs[0].domain) {
			return nil, fmt.Errorf("%s is a pack of another domain", path)
		}
		d.packs = append(d.packs, p)
		if err := d.addRecords(p, r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	d.state = r.run()
	for _, p := range d.packs {
		if _, doomed := d.state.doomed[p.id]; !doomed {
			d.addChunks(p)
		}
	}
	return d, d.findLost()
}

// openPackFile reads the pack at packs/XX/ID, but for the payloads.
func openPackFile(path string) (*pack, error) {
	name := filepath.Base(path)
	raw, err := hex.DecodeString(name)
	if err != nil || len(raw) != 16 || filepath.Base(filepath.Dir(path)) != name[30:] {
		return nil, fmt.Errorf("no name of a pack")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := readPack(id16(raw), data)
	if err != nil {
		return nil, err
	}
	p.path = path
	return p, nil
}

func (d *domain) addRecords(p *pack, r *replay) error {
	for _, f := range p.frames {
		for i := range f.slots {
			switch f.kind {
			case kindNotes:
				v, err := parseNote(f.slots[i].plain)
				if err != nil {
					return err
				}
				d.void[v] = true
			case kindRecords:
				s, err := parseRecordSlot(f.slots[i].plain)
				if err != nil {
					return err
				}
				if err := f.holds(s); err != nil {
					return err
				}
				if err := r.add(s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// holds verifies that the numbers in a frame's header are those of its slots.
func (f *frame) holds(s *recordSlot) error {
	if s.kind == slotCommit && (s.commit < f.first || s.commit > f.last || f.base != 0) {
		return damage("commit %d in a frame of %d to %d, base %d", s.commit, f.first, f.last, f.base)
	}
	if s.kind != slotCommit && s.base != f.base {
		return damage("checkpoint of base %d in a frame of base %d", s.base, f.base)
	}
	return nil
}

func (d *domain) addChunks(p *pack) {
	for _, f := range p.frames {
		for i, s := range f.slots {
			switch f.kind {
			case kindData:
				d.chunks[digest(s.digest)] = place{f, i}
			case kindSegments:
				d.segments[digest(s.digest)] = place{f, i}
			}
		}
	}
}

// findLost looks for serials that are missing though they are settled.
func (d *domain) findLost() error {
	there := map[voidSerial]bool{}
	settled := map[id16]uint64{}
	for _, p := range d.packs {
		there[voidSerial{p.writer, p.serial}] = true
		settled[p.writer] = max(settled[p.writer], p.settled)
	}
	for _, x := range d.state.doomed {
		there[voidSerial{x.writer, x.serial}] = true
	}
	for writer, last := range settled {
		for n := uint64(1); n <= last; n++ {
			if v := (voidSerial{writer, n}); !there[v] && !d.void[v] {
				return fmt.Errorf("pack %d of writer %x is lost", n, writer)
			}
		}
	}
	return nil
}

func (d *domain) segment(at digest) ([]byte, error) {
	p, ok := d.segments[at]
	if !ok {
		return nil, fmt.Errorf("segment %x is in no pack", at)
	}
	return p.frame.slots[p.slot].plain, nil
}

// content returns the bytes of a version, and the root of its chunk list.
func (d *domain) content(m *row) ([]byte, digest, error) {
	list, root, err := m.chunkList(d.segment)
	if err != nil {
		return nil, digest{}, err
	}
	out := make([]byte, 0, m.num(4))
	for _, r := range list {
		p, ok := d.chunks[r.digest]
		if !ok {
			return nil, digest{}, fmt.Errorf("chunk %x is in no pack", r.digest)
		}
		b := p.frame.slots[p.slot].plain
		if uint64(len(b)) != r.length {
			return nil, digest{}, fmt.Errorf("chunk %x has %d bytes, and not %d", r.digest, len(b), r.length)
		}
		out = append(out, b...)
	}
	return out, root, nil
}
