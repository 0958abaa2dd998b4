package links

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

// release ends a confirmed link: its record no longer has it. With policy set, what
// its policy says follows. That waits (Due) while the host is not reconciled, and for
// pending links of the file: if they are let go, this was its last link. The link holds
// until its row is swept.
func (h *Host) release(ctx context.Context, tx manifest.Tx, l *manifest.Link, policy bool) error {
	if l.State != manifest.LinkConfirmed {
		return nil
	}
	l.State, l.At = manifest.LinkReleased, h.k.Now()
	if !policy || l.OnDelete != manifest.Cascade {
		return tx.PutLink(ctx, l)
	}
	sums, waits, err := h.readEnd(ctx, tx, l)
	if err != nil {
		return err
	}
	last := sums.Count(manifest.LinkConfirmed) == 1 // which is l
	l.Due = last && (waits || sums.Count(manifest.LinkPending) > 0)
	if err := tx.PutLink(ctx, l); err != nil || !last || l.Due {
		return err
	}
	return h.cascade(ctx, tx, l)
}

// readEnd returns the sums of the file of a link, and whether what follows from ends of
// links waits since some host is not reconciled.
func (h *Host) readEnd(ctx context.Context, tx manifest.Tx, l *manifest.Link) (sums manifest.LinkSums, waits bool, err error) {
	waits, err = h.k.IsUnreconciled(ctx, tx, l.Bucket)
	if err != nil {
		return sums, false, err
	}
	all, err := tx.FileLinkSums(ctx, []manifest.FileID{l.File})
	if err != nil {
		return sums, false, err
	}
	return all[0], waits, nil
}

// letLinkGo gives up a pending link. It has no policy; but if it was the last that a
// cascade waited for, that follows.
func (h *Host) letLinkGo(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	l.State, l.At = manifest.LinkLetGo, h.k.Now()
	if err := tx.PutLink(ctx, l); err != nil {
		return err
	}
	sums, waits, err := h.readEnd(ctx, tx, l)
	if err != nil || waits || sums.Standing() > 0 {
		return err
	}
	due, err := h.clearDue(ctx, tx, l.File, &sums)
	if err != nil || !due {
		return err
	}
	return h.cascade(ctx, tx, l)
}

// clearDue notes that nothing is to follow any more from ends of links of a file with
// these sums. It reports whether something was. Links are Due only while none is
// confirmed, so those that are listed are few.
func (h *Host) clearDue(ctx context.Context, tx manifest.Tx, file manifest.FileID, sums *manifest.LinkSums) (was bool, err error) {
	if sums[manifest.LinkReleased][manifest.Cascade] == 0 {
		return false, nil
	}
	var after manifest.LinkID
	for {
		links, err := tx.FileLinks(ctx, file, after, pageSize)
		if err != nil {
			return was, err
		}
		for _, l := range links {
			if after = l.ID; !l.Due {
				continue
			}
			was, l.Due = true, false
			if err := tx.PutLink(ctx, l); err != nil {
				return was, err
			}
		}
		if len(links) < pageSize {
			return was, nil
		}
	}
}

// setConfirmed confirms a link in its row. If it is the only one of its file, the ends
// of others before were not those of the last.
func (h *Host) setConfirmed(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	sums, err := tx.FileLinkSums(ctx, []manifest.FileID{l.File})
	if err != nil {
		return err
	}
	if sums[0].Count(manifest.LinkConfirmed) == 0 {
		if _, err := h.clearDue(ctx, tx, l.File, &sums[0]); err != nil {
			return err
		}
	}
	l.State, l.At = manifest.LinkConfirmed, h.k.Now()
	return tx.PutLink(ctx, l)
}

// cascade moves the file of a link that has ended to the trash: no other link to the
// file stands.
func (h *Host) cascade(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	f, err := tx.File(ctx, l.File)
	if err != nil || f.State == manifest.Trashed {
		return ignoreAbsence(err)
	}
	return h.k.Cascade(ctx, tx, f)
}

// ignoreAbsence returns nil for an error that says that something does not exist.
func ignoreAbsence(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
