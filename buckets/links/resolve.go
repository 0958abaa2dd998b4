package links

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// An Item is a value of a file field to resolve.
type Item struct {
	ID string // f_… or m_…
	// Record is the record that has it, as rules see it in the variable record; nil
	// for none. The host has made sure that who asks may read the record.
	Record map[string]any
}

// A Status says what Resolve has found.
type Status string

const (
	Found   Status = "found"
	Deleted Status = "deleted" // it is in the trash, or was removed for good
	Absent  Status = "absent"  // there is none, or who asks may not read it
)

// A Resolved is what a value of a file field stands for.
type Resolved struct {
	ID     string        `json:"id"`
	Status Status        `json:"status"`
	File   *buckets.File `json:"-"` // set if Status is Found
}

// maxItems is how many values one Resolve takes.
const maxItems = 10000

// Resolve returns what items stand for, in their order, by one read of the database and
// one more if some are gone. Each is what the read rule of its bucket lets who see,
// nil is the host itself. Deleted is told to those who could read the file before,
// and of files that were removed for good to the host, to operators, and with a
// record.
func (h *Host) Resolve(ctx context.Context, who *access.Principal, items []Item) ([]Resolved, error) {
	out, err := h.resolve(ctx, who, items)
	return out, wrap("resolve", err)
}

func (h *Host) resolve(ctx context.Context, who *access.Principal, items []Item) ([]Resolved, error) {
	if len(items) > maxItems {
		return nil, fmt.Errorf("%d values at once, at most %d are resolved: %w", len(items), maxItems, ErrValue)
	}
	ids := make([]string, len(items))
	for i := range items {
		ids[i] = items[i].ID
	}
	found, err := findRows(ctx, h.k.Meta(), ids)
	if err != nil {
		return nil, err
	}
	out := make([]Resolved, len(items))
	var gone []int // items without rows, of which may be told that they were deleted
	for i := range items {
		it := &items[i]
		out[i] = Resolved{ID: it.ID, Status: Absent}
		row := found[it.ID]
		if row == nil || row.Manifest == nil {
			if who == nil || who.Operator || it.Record != nil {
				gone = append(gone, i)
			}
			continue
		}
		if out[i].Status, err = h.statusOf(ctx, who, it, row); err != nil {
			return nil, err
		}
		if out[i].Status == Found {
			out[i].File = h.k.Describe(row.File, row.Manifest)
		}
	}
	return out, h.findDeleted(ctx, gone, out)
}

// statusOf returns what who may know of a file.
func (h *Host) statusOf(ctx context.Context, who *access.Principal, it *Item, row *manifest.Row) (Status, error) {
	f := *row.File
	trashed := f.State == manifest.Trashed
	if trashed {
		f.State = manifest.Active // as it was before
	}
	err := h.k.Check(ctx, access.OpRead, who, it.Record, &f, row.Manifest)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return Absent, nil
	case err != nil:
		return "", err
	case trashed:
		return Deleted, nil
	}
	return Found, nil
}

// findDeleted marks as deleted what confirmed links name and is not there.
func (h *Host) findDeleted(ctx context.Context, gone []int, out []Resolved) error {
	var files []manifest.FileID
	var versions []manifest.VersionID
	var ofFiles, ofVersions []int
	for _, i := range gone {
		if v, ok := manifest.ParseVersionID(out[i].ID); ok {
			versions, ofVersions = append(versions, v), append(ofVersions, i)
		} else if f, ok := manifest.ParseFileID(out[i].ID); ok {
			files, ofFiles = append(files, f), append(ofFiles, i)
		}
	}
	mark := func(at []int, sums []manifest.LinkSums, err error) error {
		for k := range sums {
			if sums[k].Count(manifest.LinkConfirmed) > 0 {
				out[at[k]].Status = Deleted
			}
		}
		return err
	}
	if len(files) > 0 {
		sums, err := h.k.Meta().FileLinkSums(ctx, files)
		if err := mark(ofFiles, sums, err); err != nil {
			return err
		}
	}
	if len(versions) > 0 {
		sums, err := h.k.Meta().VersionLinkSums(ctx, versions)
		return mark(ofVersions, sums, err)
	}
	return nil
}
