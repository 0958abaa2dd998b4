package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A Holder is a version of a file, or an upload under way, that needs some chunk.
type Holder struct {
	Bucket  string
	Path    string // of the file, or of the file that the upload is to become
	File    manifest.FileID
	Version manifest.VersionID
	Number  uint64 // of the version
	State   manifest.State
	Upload  manifest.UploadID // "" for a version
	// Moving says that it is needed in the domain that was searched only since its
	// bucket is being moved there.
	Moving bool

	// Of a holder that an Explanation names, Pins count links of records that name the
	// version, and Overdue says that the rules of its bucket would have removed it but for
	// them.
	Pins    LinkCounts
	Overdue bool
}

// FindHolders calls fn for all that needs one of the digests that are wanted, of
// chunks or of segments of a domain. Segments that cannot be read are passed over;
// it returns how many those are.
func FindHolders(ctx context.Context, s *Store, domain string, wanted func(cas.Digest) bool, fn func(*Holder) error) (unread int64, err error) {
	h := newHolderSearch(s, domain, wanted)
	err = h.searchRoots(ctx, fn)
	return h.unread, err
}

// A holderSearch looks in a domain for what needs some digests.
type holderSearch struct {
	*Store
	domain  string
	search  manifest.HolderSearch
	unread  int64
	uploads map[manifest.UploadID]*manifest.Upload // nil before one is asked for
	moving  map[string]bool                        // buckets that are moved to the domain; nil likewise
}

func newHolderSearch(s *Store, domain string, wanted func(cas.Digest) bool) *holderSearch {
	h := &holderSearch{Store: s, domain: domain}
	segments := s.findSegments(domain)
	segments.passDamaged = true
	h.search = manifest.HolderSearch{Segments: segments, Wanted: wanted, Visited: digests.NewSet(maxVisited),
		Absent: func(cas.Digest) error { h.unread++; return nil }}
	return h
}

func (h *holderSearch) searchRoots(ctx context.Context, fn func(*Holder) error) error {
	for root, err := range h.Meta.Roots(ctx, h.domain) {
		if err == nil {
			err = h.search.Search(ctx, []*manifest.Root{root}, func(r *manifest.Root) error {
				found, err := h.describeHolder(ctx, r)
				if err != nil || found == nil {
					return err
				}
				return fn(found)
			})
		}
		if err != nil {
			return fmt.Errorf("find what holds a chunk: %w", err)
		}
	}
	return nil
}

// describeHolder returns nil if the row is gone by now.
func (h *holderSearch) describeHolder(ctx context.Context, r *manifest.Root) (*Holder, error) {
	if r.Upload != "" {
		return h.describeUpload(ctx, r.Upload)
	}
	m, err := h.Meta.Manifest(ctx, r.Version)
	var f *manifest.File
	if err == nil {
		f, err = h.Meta.File(ctx, m.File)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if h.moving == nil {
		if err := h.listMoves(ctx); err != nil {
			return nil, err
		}
	}
	return &Holder{Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: m.ID, Number: m.Version, State: f.State, Moving: h.moving[f.Bucket]}, nil
}

func (h *holderSearch) listMoves(ctx context.Context) error {
	h.moving = make(map[string]bool)
	homes, err := h.Meta.Homes(ctx)
	for _, home := range homes {
		h.moving[home.Bucket] = home.To == h.domain && home.Domain != h.domain
	}
	return err
}

func (h *holderSearch) describeUpload(ctx context.Context, id manifest.UploadID) (*Holder, error) {
	if h.uploads == nil {
		if err := h.listUploads(ctx); err != nil {
			return nil, err
		}
	}
	out := &Holder{Upload: id}
	if u := h.uploads[id]; u != nil {
		out.Bucket, out.Path, out.File = u.Bucket, (&manifest.File{Folder: u.Folder, Name: u.Name}).Path(), u.Target
		out.Moving = u.Domain != h.domain
	}
	return out, nil
}

func (h *holderSearch) listUploads(ctx context.Context) error {
	h.uploads = make(map[manifest.UploadID]*manifest.Upload)
	homes, err := h.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, home := range homes {
		for u, err := range h.Meta.UploadsUnderWay(ctx, home.Bucket) {
			if err != nil {
				return err
			}
			h.uploads[u.ID] = u
		}
	}
	return nil
}
