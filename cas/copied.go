package cas

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/cas/pack"
)

// A copied is a frame that was read and verified: its payload, if it is moved
// whole, or the chunks that live in it.
type copied struct {
	*LiveFrame
	payload []byte
	chunks  []plainChunk

	bad  []ChunkEntry // chunks whose bytes are wrong
	torn bool         // the checksum of the payload is wrong
}

type plainChunk struct {
	from  ChunkEntry
	bytes []byte
}

// copyFrames reads and verifies frames, and sends what is to be written on its
// way.
func (r *rewriter) copyFrames(ctx context.Context, frames []*LiveFrame, copies chan<- *copied) error {
	for _, run := range r.splitCopies(frames) {
		begin := run[0].Offset
		buf := make([]byte, run[len(run)-1].end()-begin)
		err := r.readBytes(ctx, run[0].Pack, buf, begin)
		if err != nil && !isPlaceLost(err) {
			return err
		}
		for _, f := range run {
			var c *copied
			if err == nil {
				at := f.Offset + int64(f.HeaderLen) - begin
				c, err = r.copyFrame(ctx, f, buf[at:at+int64(f.StoredLen)])
			} else {
				c, err = r.copyAlone(ctx, f)
			}
			if err != nil && !isPlaceLost(err) {
				return err
			}
			if err != nil {
				continue // Left names its pack
			}
			select {
			case copies <- c:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// isPlaceLost reports whether a pack is gone, or ends too early.
func isPlaceLost(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (r *rewriter) readBytes(ctx context.Context, id PackID, p []byte, off int64) error {
	if err := takeRate(ctx, r.opts.Limit, int64(len(p))); err != nil {
		return err
	}
	r.out.Read += int64(len(p))
	return r.s.b.ReadAt(ctx, id.Key(), p, off)
}

// copyAlone reads one frame and verifies it.
func (r *rewriter) copyAlone(ctx context.Context, f *LiveFrame) (*copied, error) {
	payload := make([]byte, f.StoredLen)
	if err := r.readBytes(ctx, f.Pack, payload, f.Offset+int64(f.HeaderLen)); err != nil {
		return nil, err
	}
	return r.copyFrame(ctx, f, payload)
}

// copyFrame verifies a frame. One whose bytes are wrong is read again, since they
// may have been hurt on their way; what is wrong then is marked.
func (r *rewriter) copyFrame(ctx context.Context, f *LiveFrame, payload []byte) (*copied, error) {
	c, err := r.verifyCopy(ctx, f, payload)
	if err != nil || !c.torn && len(c.bad) == 0 {
		return c, err
	}
	again := make([]byte, f.StoredLen)
	if err := r.readBytes(ctx, f.Pack, again, f.Offset+int64(f.HeaderLen)); err != nil {
		return nil, err
	}
	if c, err = r.verifyCopy(ctx, f, again); err != nil || len(c.bad) == 0 {
		return c, err
	}
	for _, e := range c.bad {
		r.s.log.Error("stored bytes are damaged", "digest", e.Digest, "pack", f.Pack, "offset", f.Offset)
	}
	r.out.Damaged += int64(len(c.bad))
	return c, r.s.ix.Apply(ctx, &Change{Collector: r.opts.Collector, Bad: c.bad, BadIn: f.Pack})
}

// verifyCopy decodes a frame and compares its chunks with their digests. Where it
// cannot be decoded, for lack of a key or of a source, the checksum of the
// payload has to do: the frame is moved whole, or stays where it is.
func (r *rewriter) verifyCopy(ctx context.Context, f *LiveFrame, payload []byte) (*copied, error) {
	c := &copied{LiveFrame: f, torn: pack.Checksum(payload) != f.header.CRC}
	plain, err := r.s.load.decodeFrame(ctx, &f.FrameEntry, payload, nil)
	var de *decodeError
	if err != nil && !errors.As(err, &de) {
		if !isUndecodable(err) {
			return nil, err
		}
		if f.counted {
			return r.verifyMarked(ctx, f, payload)
		}
		if f.whole && !c.torn {
			c.payload = payload
		}
		return c, nil
	}
	for _, e := range f.Chunks {
		switch end := uint64(e.Offset) + uint64(e.Length); {
		case !e.Usable():
		case end > uint64(len(plain)) || pack.SumSlot(f.Kind, plain[e.Offset:end]) != e.Digest:
			c.bad = append(c.bad, e)
		default:
			c.chunks = append(c.chunks, plainChunk{e, plain[e.Offset:end]})
		}
	}
	switch good := !c.torn && len(c.bad) == 0; {
	case good && f.whole:
		c.payload, c.chunks = payload, nil
	case !good && f.counted:
		return r.verifyMarked(ctx, f, payload)
	}
	return c, nil
}

// verifyMarked is verifyCopy of a frame that does not prove good: which of its
// chunks are marked Bad tells the index.
func (r *rewriter) verifyMarked(ctx context.Context, f *LiveFrame, payload []byte) (*copied, error) {
	if err := r.findLive(ctx, f, f.Chunks); err != nil {
		return nil, err
	}
	return r.verifyCopy(ctx, f, payload)
}

// isUndecodable reports whether a frame lacks a key, a codec, or a source that is
// whole: it is not damaged itself.
func isUndecodable(err error) bool {
	var source *CorruptError
	return errors.Is(err, ErrKey) || errors.Is(err, ErrSource) || errors.Is(err, ErrUnknown) || errors.As(err, &source)
}
