package manifest

import (
	"context"

	"github.com/cairn-store/cairn/cas"
)

const (
	copyLook    = 4096     // chunks looked up at a time
	copyWindow  = 4 << 20  // bytes read at a time; from a remote store cas.WindowSize
	copyFlush   = 64 << 20 // bytes after which a Copier flushes
	copySeen    = 1 << 16  // chunks after which it flushes
	copySegment = 256      // segments after which it flushes
)

// A Copier copies contents from one domain to another, without the chunks that
// the other domain has already. It is not for concurrent use. Since may rise
// between two calls: what was copied before is stamped for the earlier one only.
type Copier struct {
	From     *cas.Store
	To       *cas.Store
	Segments SegmentGetter // where the segments of From are found
	Keep     SegmentPutter // where the segments of To are stored
	How      cas.Compression
	Since    uint64 // epoch of To in which the writer began, see cas.BatchOptions

	Bytes int64 // plain bytes of chunks that were copied

	b         *cas.Batch
	unflushed int64 // bytes put since the last Flush
	seen      map[cas.Digest]bool
	segs      []Segment
	buf       []byte
}

// Content copies the chunks and segments of c. They are durable when Flush has
// returned.
func (k *Copier) Content(ctx context.Context, c *Content) error {
	return c.Walk(ctx, k.Segments, func(s Segment) error {
		if k.segs = append(k.segs, s); len(k.segs) < copySegment {
			return nil
		}
		return k.Flush(ctx)
	}, func(refs []cas.Ref) error { return k.Refs(ctx, refs) })
}

// Refs copies chunks. After an error, such as of a content that was removed
// meanwhile, those that it did not copy are copied with the next content that has
// them.
func (k *Copier) Refs(ctx context.Context, refs []cas.Ref) error {
	for len(refs) > 0 {
		n := min(len(refs), copyLook)
		lacking, err := k.missingRefs(ctx, refs[:n])
		if err != nil {
			return err
		}
		refs = refs[n:]
		for len(lacking) > 0 {
			m, size := k.nextWindow(lacking)
			if err := k.copyRefs(ctx, lacking[:m], size); err != nil {
				for _, r := range lacking {
					delete(k.seen, r.Digest)
				}
				return err
			}
			lacking = lacking[m:]
		}
	}
	return nil
}

// missingRefs returns the refs that To has not, without those that were put
// since the last Flush.
func (k *Copier) missingRefs(ctx context.Context, refs []cas.Ref) (out []cas.Ref, err error) {
	ds := make([]cas.Digest, len(refs))
	for i, r := range refs {
		ds[i] = r.Digest
	}
	missing, err := k.To.Hit(ctx, k.Since, ds)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	if k.seen == nil {
		k.seen = make(map[cas.Digest]bool)
	}
	for _, r := range refs {
		if len(missing) == 0 {
			break
		}
		if r.Digest != missing[0] { // missing has the order of ds
			continue
		}
		missing = missing[1:]
		if !k.seen[r.Digest] {
			k.seen[r.Digest] = true
			out = append(out, r)
		}
	}
	return out, nil
}

// nextWindow returns how many of refs to read next, and their size.
func (k *Copier) nextWindow(refs []cas.Ref) (n, size int) {
	most := copyWindow
	if k.From.Remote() {
		most = cas.WindowSize
	}
	for n < len(refs) && (n == 0 || size+int(refs[n].Length) <= most) {
		size += int(refs[n].Length)
		n++
	}
	return n, size
}

func (k *Copier) copyRefs(ctx context.Context, refs []cas.Ref, size int) error {
	if cap(k.buf) < size {
		k.buf = make([]byte, size)
	}
	p := k.buf[:size]
	if err := k.From.Read(ctx, refs, p); err != nil {
		return err
	}
	if k.b == nil {
		k.b = k.To.NewBatch(ctx, &cas.BatchOptions{Compression: k.How, Since: k.Since})
	}
	for _, r := range refs {
		if err := k.b.Put(p[:r.Length]); err != nil {
			return err
		}
		p = p[r.Length:]
	}
	k.Bytes += int64(size)
	if k.unflushed += int64(size); k.unflushed >= copyFlush || len(k.seen) >= copySeen {
		return k.Flush(ctx)
	}
	return nil
}

// Flush makes all that was copied durable.
func (k *Copier) Flush(ctx context.Context) error {
	if k.b == nil && len(k.segs) > 0 {
		k.b = k.To.NewBatch(ctx, &cas.BatchOptions{Compression: k.How, Since: k.Since})
	}
	if k.b == nil {
		return nil
	}
	if err := k.b.Drain(); err != nil {
		return err
	}
	for _, s := range k.segs {
		if _, err := k.b.PutSegment(ctx, s.Data); err != nil {
			return err
		}
	}
	if len(k.segs) > 0 {
		if err := k.Keep.PutSegments(ctx, k.segs); err != nil {
			return err
		}
	}
	if err := k.b.Flush(); err != nil {
		return err
	}
	err := k.b.Close()
	k.b, k.unflushed, k.segs = nil, 0, nil
	clear(k.seen)
	return err
}

// Close drops what was not flushed.
func (k *Copier) Close() error {
	if k.b == nil {
		return nil
	}
	return k.b.Close()
}
