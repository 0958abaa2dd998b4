package collect

import (
	"context"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// PreviewLinks are the links of records to what a Removal selects: to files of which
// all goes, and to single versions of others.
type PreviewLinks struct {
	LinkCounts
	// Refused is how many of those files and versions are not removed, since links to
	// them have on_delete: restrict. Refusing are the first, at most maxRefusing.
	Refused  int64
	Refusing []LinkedFile
	// Told are the hosts that the removal of the others is told to, by links with
	// on_delete: set_null.
	Told []string
	// Unreconciled are hosts that refer to their buckets and are not reconciled: until
	// they are, nothing of it is removed.
	Unreconciled []string
}

// maxRefusing is how many refusals a Preview names.
const maxRefusing = 10

// takesFile reports whether all of a file is to be removed.
func (s *selection) takesFile(f *manifest.File) bool {
	return s.files[f.ID] || s.Bucket != "" && s.Before.IsZero() && s.takes(f, &manifest.Manifest{})
}

// A linkTally counts the links to what is to be removed.
type linkTally struct {
	meta    manifest.Store
	out     *PreviewLinks
	buckets map[string]bool
	last    manifest.FileID // that was added as a whole

	// What is waiting to be looked up, and the files of the versions.
	files    []*manifest.File
	versions []manifest.VersionID
	filesOf  []*manifest.File

	told   map[string]bool
	unmet  map[string]bool // hosts that are not in told
	listed bool            // unmet is set
}

// tallyBatch is how many files and versions a linkTally looks up together.
const tallyBatch = 256

func newLinkTally(meta manifest.Store, out *PreviewLinks) *linkTally {
	return &linkTally{meta: meta, out: out, buckets: make(map[string]bool), told: make(map[string]bool), unmet: make(map[string]bool)}
}

// addVersion counts the links to a version that is to be removed or, if whole, to all
// of its file. The versions of a file come one after the other.
func (t *linkTally) addVersion(ctx context.Context, f *manifest.File, m *manifest.Manifest, whole bool) error {
	t.buckets[f.Bucket] = true
	switch {
	case whole && f.ID == t.last:
		return nil
	case whole:
		t.last, t.files = f.ID, append(t.files, f)
	default:
		t.versions, t.filesOf = append(t.versions, m.ID), append(t.filesOf, f)
	}
	if len(t.files)+len(t.versions) < tallyBatch {
		return nil
	}
	return t.flush(ctx)
}

// flush counts what waits to be looked up.
func (t *linkTally) flush(ctx context.Context) error {
	ids := make([]manifest.FileID, len(t.files))
	for i, f := range t.files {
		ids[i] = f.ID
	}
	ofFiles, err := t.meta.FileLinkSums(ctx, ids)
	if err != nil {
		return err
	}
	ofVersions, err := t.meta.VersionLinkSums(ctx, t.versions)
	if err != nil {
		return err
	}
	for i := range ofFiles {
		if err := t.count(ctx, t.files[i], "", &ofFiles[i]); err != nil {
			return err
		}
	}
	for i := range ofVersions {
		if err := t.count(ctx, t.filesOf[i], t.versions[i], &ofVersions[i]); err != nil {
			return err
		}
	}
	t.files, t.versions, t.filesOf = t.files[:0], t.versions[:0], t.filesOf[:0]
	return nil
}

func (t *linkTally) count(ctx context.Context, f *manifest.File, v manifest.VersionID, sums *manifest.LinkSums) error {
	if !countLinks(sums).hold() {
		return nil
	}
	l := newLinkedFile(f, v, sums)
	t.out.Standing += l.Standing
	t.out.Released += l.Released
	switch {
	case l.Restrict > 0:
		if t.out.Refused++; len(t.out.Refusing) == maxRefusing {
			return nil
		}
		err := l.nameLinks(ctx, t.meta, namedLinks, func(link *manifest.Link) bool {
			return link.State == manifest.LinkConfirmed && link.OnDelete == manifest.Restrict && (v == "" || link.Version == v)
		})
		t.out.Refusing = append(t.out.Refusing, l)
		return err
	case l.SetNull > 0:
		return t.findTold(ctx, &l)
	}
	return nil
}

// findTold notes the hosts that the removal of l is told to. When all hosts are noted
// no link is read.
func (t *linkTally) findTold(ctx context.Context, l *LinkedFile) error {
	if !t.listed {
		hosts, err := t.meta.Hosts(ctx)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			t.unmet[h.Name] = true
		}
		t.listed = true
	}
	after, more := manifest.LinkID(""), true
	for left := l.SetNull; more && left > 0 && len(t.unmet) > 0; {
		links, err := t.meta.FileLinks(ctx, l.File, after, searchedLinks)
		if err != nil {
			return err
		}
		for _, link := range links {
			after = link.ID
			if link.State == manifest.LinkConfirmed && link.OnDelete == manifest.SetNull && (l.Version == "" || link.Version == l.Version) {
				left--
				t.told[link.Host] = true
				delete(t.unmet, link.Host)
			}
		}
		more = len(links) == searchedLinks
	}
	return nil
}

// finish counts what is left, and says whom it is about.
func (t *linkTally) finish(ctx context.Context) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	t.out.Told = slices.Sorted(maps.Keys(t.told))
	var err error
	t.out.Unreconciled, err = unreconciledHosts(ctx, t.meta, func(h *manifest.Host) bool {
		return slices.ContainsFunc(h.Buckets, func(name string) bool { return t.buckets[name] })
	})
	return err
}
