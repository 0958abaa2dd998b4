package links

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

// release ends a confirmed link: its record no longer has it. With policy set, what
// its policy says follows, unless the host is not reconciled: then it waits for that.
// The link holds until its row is swept.
func (h *Host) release(ctx context.Context, tx manifest.Tx, l *manifest.Link, policy bool) error {
	if l.State != manifest.LinkConfirmed {
		return nil
	}
	l.State, l.At = manifest.LinkReleased, h.k.Now()
	follows := policy && l.OnDelete == manifest.Cascade
	if follows {
		waits, err := h.k.IsUnreconciled(ctx, tx, l.Bucket)
		if err != nil {
			return err
		}
		l.Due = waits
	}
	if err := tx.PutLink(ctx, l); err != nil || !follows || l.Due {
		return err
	}
	return h.cascade(ctx, tx, l)
}

// cascade moves the file of a link that has ended to the trash, unless other links to
// the file stand.
func (h *Host) cascade(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	sums, err := tx.FileLinkSums(ctx, []manifest.FileID{l.File})
	if err != nil || sums[0].Standing() > 0 {
		return err
	}
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
