package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A Removal says which versions are to be removed for good: those that are named,
// all of the files that are named, and those that the last three fields select.
type Removal struct {
	Files    []manifest.FileID
	Versions []manifest.VersionID

	// Bucket and Prefix select files by the beginning of their paths, also in the
	// trash. Before selects versions that were made before it and are not current:
	// of those files, or without a bucket of all.
	Bucket, Prefix string
	Before         time.Time
}

// A selection is a Removal made ready to be asked about many versions.
type selection struct {
	*Removal
	files    map[manifest.FileID]bool
	versions map[manifest.VersionID]bool
}

func newSelection(r *Removal) *selection {
	s := &selection{r, make(map[manifest.FileID]bool), make(map[manifest.VersionID]bool)}
	for _, id := range r.Files {
		s.files[id] = true
	}
	for _, id := range r.Versions {
		s.versions[id] = true
	}
	return s
}

// takes reports whether a version is to be removed.
func (s *selection) takes(f *manifest.File, m *manifest.Manifest) bool {
	switch {
	case s.files[f.ID], s.versions[m.ID]:
		return true
	case s.Bucket == "" && s.Before.IsZero():
		return false
	case s.Bucket != "" && (f.Bucket != s.Bucket || !strings.HasPrefix(f.Path(), s.Prefix)):
		return false
	}
	return s.Before.IsZero() || m.ID != f.Current && m.CreatedAt.Before(s.Before)
}

// A Preview says what a Removal would give back. Bytes are those stored in frames:
// what their packs have beside them comes back too, and is not counted.
type Preview struct {
	Files        int64 // of which nothing would be left
	Versions     int64
	LogicalBytes int64 // of those versions
	PreviewSums
	Domains []DomainPreview
	Links   PreviewLinks
}

// A DomainPreview is the part of a Preview about one domain.
type DomainPreview struct {
	Domain string
	PreviewSums
}

// PreviewSums are sums of a Preview.
type PreviewSums struct {
	FreedBytes   int64 // of frames of which nothing would be needed
	PendingBytes int64 // of frames of which a part would be; copying that frees the rest
	SharedBytes  int64 // of the versions, that others need too
	// WaitingBytes is the part of FreedBytes and PendingBytes that uploads under way
	// may still use.
	WaitingBytes int64
}

func (s *PreviewSums) add(o *PreviewSums) {
	s.FreedBytes += o.FreedBytes
	s.PendingBytes += o.PendingBytes
	s.SharedBytes += o.SharedBytes
	s.WaitingBytes += o.WaitingBytes
}

// PreviewRemoval finds out what it would give back to remove versions for good. It
// changes nothing, and keeps nobody from changing anything. Of opts it uses TempDir,
// MaxWriterAge and Progress.
func PreviewRemoval(ctx context.Context, s *Store, r *Removal, opts *Options) (*Preview, error) {
	out := &Preview{}
	o := opts.withDefaults()
	for _, domain := range slices.Sorted(maps.Keys(s.Chunks)) {
		p := &preview{cycle: newCycle(s, domain, o), removal: newSelection(r), whole: out, kept: newMarks(o.TempDir), mine: newMarks(o.TempDir)}
		err := errors.Join(p.run(ctx, len(out.Domains) == 0), p.kept.close(), p.mine.close())
		if err != nil {
			return nil, fmt.Errorf("preview of backend %q: %w", domain, err)
		}
		out.add(&p.sums)
		out.Domains = append(out.Domains, DomainPreview{domain, p.sums})
	}
	return out, nil
}

// A preview is that of one domain: what all others need, and what the versions do
// that are to be removed.
type preview struct {
	*cycle
	removal    *selection
	whole      *Preview
	kept, mine *marks
	sums       PreviewSums
}

// run also counts versions, if it is the first.
func (p *preview) run(ctx context.Context, first bool) error {
	epoch, err := p.Meta.Epoch(ctx, p.domain)
	if err != nil {
		return err
	}
	// A collection would raise the epoch first.
	if p.report.Floor, err = p.findFloor(ctx, epoch+1); err != nil {
		return err
	}
	// Uploads come first: one that becomes a version meanwhile is then met twice.
	if err := p.markUploads(ctx); err != nil {
		return err
	}
	if err := p.markVersions(ctx, first); err != nil {
		return err
	}
	for again := true; again; {
		if again, err = p.weighDying(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *preview) markUploads(ctx context.Context) error {
	w := p.newMarker(ctx, p.kept, p.findSegments(p.domain))
	for r, err := range p.Meta.Roots(ctx, p.domain) {
		if err == nil && r.Upload != "" {
			err = w.markRoot(r)
		}
		if err != nil {
			return err
		}
	}
	return w.walkTops()
}

// markVersions marks what each version of a bucket in the domain needs.
func (p *preview) markVersions(ctx context.Context, first bool) error {
	elsewhere, err := p.findElsewhere(ctx)
	if err != nil {
		return err
	}
	segments := p.findSegments(p.domain)
	kept, mine := p.newMarker(ctx, p.kept, segments), p.newMarker(ctx, p.mine, segments)
	tally := newLinkTally(p.Meta, &p.whole.Links)
	var last *manifest.File
	var taken uint64 // versions of last
	for row, err := range p.Meta.AllRows(ctx, "") {
		if err != nil {
			return err
		}
		if row.Manifest == nil {
			continue
		}
		f, m, w := row.File, row.Manifest, kept
		if last == nil || f.ID != last.ID {
			last, taken = f, 0
		}
		if p.removal.takes(f, m) {
			w = mine
			taken++
			if first {
				p.whole.countVersion(m, taken == f.Versions)
				if err := tally.addVersion(ctx, f, m, p.removal.takesFile(f)); err != nil {
					return err
				}
			}
		}
		if elsewhere[f.Bucket] {
			continue
		}
		if err := w.markRoot(&manifest.Root{Version: m.ID, Top: m.Top, Chunks: m.Inline}); err != nil {
			return err
		}
	}
	if first {
		if err := tally.finish(ctx); err != nil {
			return err
		}
	}
	return errors.Join(kept.walkTops(), mine.walkTops())
}

func (p *Preview) countVersion(m *manifest.Manifest, last bool) {
	p.Versions++
	p.LogicalBytes += m.Size
	if last {
		p.Files++
	}
}

// findElsewhere returns the buckets that have nothing in the domain.
func (p *preview) findElsewhere(ctx context.Context) (map[string]bool, error) {
	homes, err := p.Meta.Homes(ctx)
	out := make(map[string]bool)
	for _, h := range homes {
		out[h.Bucket] = h.Domain != "" && !h.In(p.domain)
	}
	return out, err
}

// frameSums are plain bytes of frames: of chunks that would die, of those among them
// that writers may count on, and of those that others need too.
type frameSums struct{ dying, waiting, shared *digests.Log }

// weighDying sums up what would become of frames. A chunk that a frame which stays is
// made from would stay too: if there is any, it is noted as kept, and again says that
// all must be summed up again.
func (p *preview) weighDying(ctx context.Context) (again bool, err error) {
	newLog := func() *digests.Log { return digests.NewLog(p.opts.TempDir, digests.Sum) }
	sums := &frameSums{newLog(), newLog(), newLog()}
	defer func() { err = errors.Join(err, sums.dying.Close(), sums.waiting.Close(), sums.shared.Close()) }()
	if err := p.sumChunks(ctx, sums); err != nil {
		return false, err
	}
	return p.sumFrames(ctx, sums)
}

// sumChunks sums up by frame what the versions that are to be removed need.
func (p *preview) sumChunks(ctx context.Context, to *frameSums) error {
	own := digests.JoinChunks(p.index.AllChunks(ctx), p.mine.log)
	key := func(j *digests.Joined[cas.ChunkEntry]) digests.Key { return digests.KeyOf(j.Entry.Digest) }
	pace, n := p.newPace("compare"), int64(0)
	for j, err := range digests.Join(own, key, p.kept.log) {
		if err != nil {
			return err
		}
		if n++; pace.step(ctx, n) != nil {
			return context.Cause(ctx)
		}
		e := &j.Entry.Entry
		if !j.Entry.Found {
			continue
		}
		frame, length := digests.KeyOfID(e.Frame), uint64(e.Length)
		switch {
		case j.Found:
			err = to.shared.Add(frame, length)
		case e.Stamp >= p.report.Floor:
			err = errors.Join(to.dying.Add(frame, length), to.waiting.Add(frame, length))
		default:
			err = to.dying.Add(frame, length)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sumFrames sums up the frames.
func (p *preview) sumFrames(ctx context.Context, by *frameSums) (again bool, err error) {
	type one = digests.Joined[cas.FrameEntry]
	type two = digests.Joined[one]
	dying := digests.JoinFrames(p.index.AllFrames(ctx), by.dying)
	waiting := digests.Join(dying, func(j *one) digests.Key { return digests.KeyOfID(j.Entry.ID) }, by.waiting)
	shared := digests.Join(waiting, func(j *two) digests.Key { return digests.KeyOfID(j.Entry.Entry.ID) }, by.shared)
	p.sums = PreviewSums{}
	for j, err := range shared {
		if err != nil {
			return false, err
		}
		f, dying := j.Entry.Entry.Entry, j.Entry.Entry.Value
		stays := dying < uint64(f.LiveBytes)
		if fall := fallOf(f, dying); stays {
			p.sums.PendingBytes += fall
		} else {
			p.sums.FreedBytes += fall
		}
		p.sums.WaitingBytes += fallOf(f, j.Entry.Value)
		p.sums.SharedBytes += fallOf(f, j.Value)
		for i := 0; stays && i < len(f.Sources); i++ {
			kept, err := p.keepSource(f.Sources[i].Digest)
			if err != nil {
				return false, err
			}
			again = again || kept
		}
	}
	return again, nil
}

// keepSource notes that a chunk stays, and reports whether it would have died.
func (p *preview) keepSource(d cas.Digest) (bool, error) {
	k := digests.KeyOf(d)
	_, mine, err := p.mine.log.Find(k)
	if err != nil || !mine {
		return false, err
	}
	_, kept, err := p.kept.log.Find(k)
	if err != nil || kept {
		return false, err
	}
	return true, p.kept.log.Add(k, 0)
}
