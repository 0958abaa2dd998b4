package report

import (
	"context"
	"iter"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// weighChunks compares the chunks that versions need with the index, both in order of
// digests.
func (w *domainWalk) weighChunks(ctx context.Context) error {
	w.pace.beginPhase(w.domain, "chunks", 0)
	index := w.Chunks[w.domain].Index()
	sizes, err := newFrameSizes(ctx, index)
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(w.chunks.all())
	defer stop()
	largest := newTopList(w.opts.Top, compareChunks)
	r, rerr, more := next()
	for e, err := range index.AllChunks(ctx) {
		if err == nil {
			err = w.pace.countStep(ctx)
		}
		if err != nil {
			return err
		}
		k := digests.KeyOf(e.Digest)
		for ; more && rerr == nil && r.key.Compare(k) < 0; r, rerr, more = next() {
			w.sums.Missing++
		}
		if rerr != nil {
			return rerr
		}
		size, err := sizes.findFrame(ctx, e.Frame)
		if err != nil {
			return err
		}
		if more && r.key == k && !size.isSegment {
			w.countChunk(&e, size.storedOf(e.Length), r, largest)
			r, rerr, more = next()
			continue
		}
		if stored := size.storedOf(e.Length); size.isSegment {
			w.sums.SegmentBytes += stored
		} else {
			w.sums.OtherChunks++
			w.sums.OtherBytes += stored
		}
	}
	for ; more && rerr == nil; r, rerr, more = next() {
		w.sums.Missing++
	}
	if rerr != nil {
		return rerr
	}
	for _, c := range largest.listLargest() {
		if c.Examples, err = w.findExamples(ctx, c.example); err != nil {
			return err
		}
		w.dedup.chunks.addEntry(c)
	}
	return nil
}

// countChunk counts a chunk that versions need.
func (w *domainWalk) countChunk(e *cas.ChunkEntry, stored int64, r *reference, largest *topList[sharedChunk]) {
	length := int64(e.Length)
	w.sums.UniqueChunks++
	w.sums.UniqueBytes += length
	w.sums.CompressedBytes += stored
	w.countSize(length)
	w.groups.countChunk(r.tuples, length, stored)
	if r.count > 1 {
		largest.addEntry(sharedChunk{SharedChunk{Domain: w.domain, Digest: e.Digest, References: r.count, Length: length, StoredBytes: stored}, r.example})
	}
}

// findExamples returns the versions of an example that are still there.
func (w *domainWalk) findExamples(ctx context.Context, example uint64) (out []Example, err error) {
	id := make([]byte, w.length)
	for _, number := range versionsOf(example) {
		if _, err := w.versions.ReadAt(id, int64(number)*int64(w.length)); err != nil {
			return nil, err
		}
		x, err := w.describeVersion(ctx, manifest.VersionID(id))
		if err != nil {
			return nil, err
		}
		if x != nil {
			out = append(out, *x)
		}
	}
	return out, nil
}

// addContents finds the contents that sharing saves most by.
func (w *domainWalk) addContents(ctx context.Context) error {
	largest := newTopList(w.opts.Top, compareContents)
	for r, err := range w.contents.all() {
		if err != nil {
			return err
		}
		if r.count > 1 {
			largest.addEntry(sharedContent{SharedContent{Domain: w.domain, Size: int64(r.tuples[0]), Versions: r.count}, r.example})
		}
	}
	for _, c := range largest.listLargest() {
		var err error
		if c.Examples, err = w.findExamples(ctx, c.example); err != nil {
			return err
		}
		w.dedup.contents.addEntry(c)
	}
	return nil
}

func (w *domainWalk) sumPacks(ctx context.Context) error {
	for p, err := range w.Chunks[w.domain].Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		w.sums.Packs++
		w.sums.StoredBytes += p.Size
		w.sums.RecordBytes += p.Records
	}
	return nil
}

// frameSizes tell what chunks take in their frames.
type frameSizes struct {
	index cas.Index
	sizes map[cas.FrameID]frameSize
}

// A frameSize is what is known of a frame.
type frameSize struct {
	stored, plain uint32
	isSegment     bool
}

// frameMemory is how many frames are kept in memory: those of a terabyte, if they
// are whole. Others are looked up one by one.
const frameMemory = 1 << 20

func newFrameSizes(ctx context.Context, index cas.Index) (*frameSizes, error) {
	s := &frameSizes{index, make(map[cas.FrameID]frameSize)}
	for f, err := range index.AllFrames(ctx) {
		if err != nil {
			return nil, err
		}
		if len(s.sizes) == frameMemory {
			break
		}
		s.sizes[f.ID] = sizeOfFrame(&f)
	}
	return s, nil
}

func sizeOfFrame(f *cas.FrameEntry) frameSize {
	return frameSize{f.HeaderLen + f.StoredLen, f.PlainLen, f.Kind == cas.KindSegment}
}

// findFrame returns what is known of a frame. One that is gone takes nothing.
func (s *frameSizes) findFrame(ctx context.Context, id cas.FrameID) (frameSize, error) {
	if size, ok := s.sizes[id]; ok {
		return size, nil
	}
	out := make([]cas.FrameEntry, 1)
	err := s.index.Frames(ctx, []cas.FrameID{id}, out)
	return sizeOfFrame(&out[0]), err
}

// storedOf is the part of the frame, header and payload, that a chunk accounts for,
// rounded down.
func (s *frameSize) storedOf(length uint32) int64 {
	if s.plain == 0 {
		return 0
	}
	return int64(s.stored) * int64(length) / int64(s.plain)
}
