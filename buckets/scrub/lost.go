package scrub

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// noteMissing notes which packs could not be read, but for those that the index no
// longer has: they were collected meanwhile. No chunk of them is marked, since a
// backend may come back.
func (d *domainScrub) noteMissing(ctx context.Context) error {
	if len(d.missing) == 0 {
		return nil
	}
	for p, err := range d.chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		why, ok := d.missing[p.ID]
		if !ok || p.Doomed {
			continue
		}
		d.addFailed(p.ID, why)
		for f, err := range d.chunks.Index().PackFrames(ctx, p.ID) {
			if err != nil {
				return err
			}
			d.noteUnmet(f.ID, false)
		}
		if err := d.noteResult(ctx, &manifest.Scrubbed{Pack: p.ID, Size: p.Size, Failed: why}); err != nil {
			return err
		}
	}
	return nil
}

// readUnmet finds the chunks of frames that no pack shows. It reads those whose pack
// is there: a frame whose header is damaged may be whole else.
func (d *domainScrub) readUnmet(ctx context.Context) error {
	if len(d.unmet) == 0 {
		return nil
	}
	var buf []byte
	done := int64(0)
	for e, err := range d.chunks.Index().AllChunks(ctx) {
		if err != nil {
			return err
		}
		if done++; done%(1<<16) == 0 {
			d.opts.Progress(Progress{Domain: d.report.Domain, Phase: "chunks", Done: done})
		}
		there, ok := d.unmet[e.Frame]
		if !ok {
			continue
		}
		if there {
			buf, err = d.chunks.Get(ctx, e.Digest, buf[:0])
			var ce *cas.CorruptError
			if err == nil {
				continue
			} else if !errors.As(err, &ce) {
				return err
			}
		}
		d.report.BadChunks++
		d.noteBad(e.Digest)
	}
	return nil
}
