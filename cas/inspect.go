package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas/pack"
)

// PackHeader is what a pack says of itself.
type PackHeader = pack.Header

// A PackInfo is what a pack holds.
type PackInfo struct {
	PackEntry             // as the pack has it: size, seal, writer, serial, highest commit, records
	Header    *PackHeader // nil if it is damaged
	Damage    error       // of the footer; frames were found without it

	// Frames are the frames in order of offsets, and the stretches in which
	// none is recognised. Frames of records that the footer describes come
	// without slots, which Verify reads.
	Frames []*Frame
}

// Inspect reads what a pack says of itself and of its frames: from its footer if
// it is sealed, else from frame to frame. It avoids reading payloads.
// A version, kind, codec or flag that is not known is an error satisfying
// ErrUnknown.
func (s *Store) Inspect(ctx context.Context, p PackEntry) (*PackInfo, error) {
	info, err := s.scan.inspectPack(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("cas: inspect %s: %w", p.ID, err)
	}
	return info, nil
}

// InspectRest is Inspect of all that there is of a pack, which may have lost its
// end.
func (s *Store) InspectRest(ctx context.Context, p PackEntry) (*PackInfo, error) {
	info, err := s.Inspect(ctx, p)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return info, err
	}
	there, err := s.b.Stat(ctx, p.ID.Key())
	if err != nil {
		return nil, fmt.Errorf("cas: inspect %s: %w", p.ID, err)
	}
	p.Size = min(p.Size, there.Size)
	return s.Inspect(ctx, p)
}

func (s *scanner) inspectPack(ctx context.Context, p PackEntry) (*PackInfo, error) {
	var from pack.Reader = packReader{s.b, p.ID.Key()}
	if p.Size <= SmallPack {
		from = s.openPack(p)
	}
	info, err := readInfo(ctx, from, p)
	if err != nil {
		return nil, err
	}
	foot, err := pack.ReadFooter(ctx, from, p.ID, p.Size)
	if errors.Is(err, pack.ErrFooter) {
		info.Damage = err
	} else if err != nil {
		return nil, err
	}
	add := func(w *pack.Found) error {
		f, err := s.frameFound(from, p.ID, w)
		if err != nil {
			return err
		}
		info.noteRecords(f)
		info.Frames = append(info.Frames, f)
		return nil
	}
	if foot == nil {
		return info, pack.WalkFrames(ctx, s.openPack(p), p.ID, p.Size, nil, add)
	}
	info.Sealed = true
	for line, err := range foot.Frames() {
		if err != nil {
			return nil, err
		}
		if err := add(&pack.Found{Offset: line.Offset, Length: line.End() - line.Offset, Frame: line}); err != nil {
			return nil, err
		}
		if line.Kind == KindRecord {
			info.Frames[len(info.Frames)-1].bare = true
		}
	}
	return info, nil
}

// SmallPack is the size up to which Inspect reads a pack of a remote backend
// whole: one request, for little more than header and footer. Its Frames hold
// those bytes.
const SmallPack = 64 << 10

// readInfo reads the header of a pack.
func readInfo(ctx context.Context, from pack.Reader, p PackEntry) (*PackInfo, error) {
	info := &PackInfo{PackEntry: PackEntry{ID: p.ID, Size: p.Size}}
	h, err := pack.ReadHeader(ctx, from, p.ID, p.Size)
	if err != nil && !errors.Is(err, pack.ErrPack) {
		return nil, err
	}
	if h != nil {
		info.Header, info.Writer, info.Serial = h, h.Writer, h.Serial
	}
	return info, nil
}

// noteRecords counts a frame of the pack, if it is one of records.
func (i *PackInfo) noteRecords(f *Frame) {
	_, last, _ := f.Commits()
	i.LastCommit = max(i.LastCommit, last)
	if f.header != nil && f.Entry.Kind == KindRecord {
		i.Records += f.size()
	}
}

// A Survey compares the packs that are there with those that the index knows.
type Survey struct {
	Packs   int64       // packs that are there, those of other stores included
	Bytes   int64       // what they take
	Missing []PackEntry // packs that the index has, not doomed, and that are not there
	Short   []PackEntry // packs that are shorter than the index says
	Unknown []*PackInfo // packs that the index does not have, or not all of; without Frames
	Foreign []*PackInfo // packs that belong to another store or domain; without Frames
	Lost    []LostPack  // packs that should be there and are not; at most 10,000 are listed
}

const maxLost = 10_000

// A LostPack is a serial that a pack calls settled, though there is neither a
// pack of it nor a note that it is void, nor was it doomed.
type LostPack struct {
	Writer [16]byte
	Serial uint64
	Named  PackID // the pack that calls it settled
}

// Survey lists the packs and compares them with the index. It reads only packs
// that the index does not have and, where a serial is missing, the notes that
// its writer has left. isDead, if not nil, reports which packs were doomed, or
// noted as void in one that was.
func (s *Store) Survey(ctx context.Context, isDead func(Void) bool) (*Survey, error) {
	v := &surveyor{s: s, isDead: isDead, known: make(map[PackID]PackEntry), present: make(map[pack.Void]bool), settled: make(map[[16]byte]settledBy)}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("cas: survey: %w", err)
	}
	return &v.out, nil
}

// A settledBy is the highest serial that is settled, and the pack that says so.
type settledBy struct {
	serial uint64
	pack   PackID
}

type surveyor struct {
	s       *Store
	isDead  func(Void) bool
	out     Survey
	known   map[PackID]PackEntry // packs of the index that have not been listed yet
	met     []PackEntry          // packs of the index that have been listed, once run is through
	present map[pack.Void]bool   // serials of packs that are there, or void
	settled map[[16]byte]settledBy
}

func (v *surveyor) run(ctx context.Context) error {
	for e, err := range v.s.ix.AllPacks(ctx) {
		if err != nil {
			return err
		}
		v.known[e.ID] = e
		v.present[pack.Void{Writer: e.Writer, Serial: e.Serial}] = true // missing is not lost
	}
	for p, err := range v.s.Packs(ctx) {
		if err != nil {
			return err
		}
		if err := v.comparePack(ctx, p); err != nil {
			return err
		}
	}
	// A pack is called settled once it is indexed. One that was made while the
	// packs were listed is perhaps not among them, but it is in the index now.
	for e, err := range v.s.ix.AllPacks(ctx) { // in order
		if err != nil {
			return err
		}
		v.present[pack.Void{Writer: e.Writer, Serial: e.Serial}] = true
		if _, unmet := v.known[e.ID]; unmet && !e.Doomed {
			v.out.Missing = append(v.out.Missing, e)
		} else if !unmet {
			v.met = append(v.met, e)
		}
	}
	return v.listLost(ctx)
}

func (v *surveyor) comparePack(ctx context.Context, p PackEntry) error {
	v.out.Packs++
	v.out.Bytes += p.Size
	e, ok := v.known[p.ID]
	if ok {
		delete(v.known, p.ID)
		if p.Size < e.Size && !e.Doomed {
			v.out.Short = append(v.out.Short, e)
			return nil
		}
		if p.Size == e.Size || e.Sealed || e.Doomed {
			return nil
		}
	}
	info, err := v.s.scan.inspectPack(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", p.ID, err)
	}
	h, frames := info.Header, info.Frames
	info.Frames = nil
	if h != nil && !v.s.pack.isOfStore(h) {
		v.out.Foreign = append(v.out.Foreign, info)
		return nil
	}
	v.out.Unknown = append(v.out.Unknown, info)
	if h == nil {
		return nil
	}
	v.present[pack.Void{Writer: h.Writer, Serial: h.Serial}] = true
	if h.Settled < h.Serial && h.Settled > v.settled[h.Writer].serial {
		v.settled[h.Writer] = settledBy{h.Settled, p.ID}
	}
	return v.takeNotes(ctx, frames)
}

// takeNotes adds the void serials that frames of a pack note to present.
func (v *surveyor) takeNotes(ctx context.Context, frames []*Frame) error {
	for _, f := range frames {
		voids, err := v.s.Voids(ctx, f)
		if err != nil {
			return err
		}
		for _, void := range voids {
			v.present[void] = true
		}
	}
	return nil
}

// listLost lists the serials that are settled and absent.
func (v *surveyor) listLost(ctx context.Context) error {
	read := make(map[[16]byte]bool) // notes of known packs of this writer
	writers := slices.SortedFunc(maps.Keys(v.settled), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, writer := range writers {
		by := v.settled[writer]
		for n := uint64(1); n <= by.serial && len(v.out.Lost) < maxLost; n++ {
			key := pack.Void{Writer: writer, Serial: n}
			if v.present[key] || v.isDead != nil && v.isDead(key) {
				continue
			}
			if !read[writer] {
				read[writer] = true
				if err := v.takeKnownNotes(ctx, writer); err != nil {
					return err
				}
			}
			if !v.present[key] {
				v.out.Lost = append(v.out.Lost, LostPack{writer, n, by.pack})
			}
		}
	}
	return nil
}

// takeKnownNotes takes the notes of those packs of a writer that the index has.
func (v *surveyor) takeKnownNotes(ctx context.Context, writer [16]byte) error {
	for _, e := range v.met {
		if e.Writer != writer {
			continue
		}
		info, err := v.s.scan.inspectPack(ctx, e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.ID, err)
		}
		if err := v.takeNotes(ctx, info.Frames); err != nil {
			return err
		}
	}
	return nil
}
