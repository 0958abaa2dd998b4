package collect

import (
	"context"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// LinkCounts count links of records that hold something.
type LinkCounts struct {
	Standing int64 // that a record has, or may have
	Released int64 // that ended, and hold until files would have left the trash since
}

func countLinks(s *manifest.LinkSums) LinkCounts {
	return LinkCounts{Standing: s.Standing(), Released: s.Count(manifest.LinkReleased)}
}

func (c LinkCounts) hold() bool { return c.Standing+c.Released > 0 }

// A LinkedFile is a file, or a version of one, that links of records hold.
type LinkedFile struct {
	Bucket  string
	Path    string
	File    manifest.FileID
	Version manifest.VersionID // "" for the file: then links to all its versions count
	State   manifest.State

	LinkCounts
	Restrict int64 // those of them that refuse its removal
	SetNull  int64 // those of them whose hosts are told of its removal

	// Overdue says that it is in the trash and its time there is over: only links, or a
	// host that is not reconciled, keep it.
	Overdue bool
	// Gone says that it was removed for good: the links hold nothing. Path is "" if nobody
	// remembers it, and State is nothing.
	Gone bool
	// Links are some that stand, in order of their IDs.
	Links []*manifest.Link
}

func newLinkedFile(f *manifest.File, v manifest.VersionID, sums *manifest.LinkSums) LinkedFile {
	confirmed := &sums[manifest.LinkConfirmed]
	return LinkedFile{Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: v, State: f.State,
		LinkCounts: countLinks(sums), Restrict: confirmed[manifest.Restrict], SetNull: confirmed[manifest.SetNull]}
}

// Bounds of what is said of links.
const (
	// namedLinks is how many links of a LinkedFile are named, and explainedLinks how
	// many in an Explanation.
	namedLinks     = 3
	explainedLinks = 10
	// searchedLinks is how many links of a file are looked at to name some.
	searchedLinks = 1000
)

// nameLinks sets the links of l that are named: at most n that are wanted.
func (l *LinkedFile) nameLinks(ctx context.Context, rows manifest.Links, n int, wanted func(*manifest.Link) bool) error {
	if n <= 0 || l.Standing == 0 {
		return nil
	}
	found, err := rows.FileLinks(ctx, l.File, "", searchedLinks)
	for _, link := range found {
		if len(l.Links) < n && link.State.Stands() && wanted(link) {
			l.Links = append(l.Links, link)
		}
	}
	return err
}

// unreconciledHosts returns the names of hosts that are not reconciled, and that
// refer to one of some buckets.
func unreconciledHosts(ctx context.Context, rows manifest.Links, refers func(*manifest.Host) bool) (names []string, err error) {
	hosts, err := rows.Hosts(ctx)
	for _, h := range hosts {
		if h.Unreconciled && refers(h) {
			names = append(names, h.Name)
		}
	}
	return names, err
}

// readLinks finds the links that hold the holders that x names.
func (x *Explanation) readLinks(ctx context.Context, s *Store) error {
	var of []*Holder // that are versions
	var files []manifest.FileID
	var versions []manifest.VersionID
	for i := range x.Holders {
		h := &x.Holders[i]
		if h.Upload != "" {
			continue
		}
		of, versions = append(of, h), append(versions, h.Version)
		if !slices.Contains(files, h.File) {
			files = append(files, h.File)
		}
	}
	if len(of) == 0 {
		return nil
	}
	rows, err := s.Meta.Rows(ctx, files, versions)
	if err != nil {
		return err
	}
	ofFiles, err := s.Meta.FileLinkSums(ctx, files)
	if err != nil {
		return err
	}
	ofVersions, err := s.Meta.VersionLinkSums(ctx, versions)
	if err != nil {
		return err
	}
	for k, h := range of {
		h.Pins = countLinks(&ofVersions[k])
		inTrash := h.State == manifest.Trashed && ofFiles[slices.Index(files, h.File)].Holds() > 0
		if h.Pins.hold() || inTrash || x.Kind == "file" && ofFiles[0].Holds() > 0 {
			x.addReason(ForLinks)
		}
		if row := rows[len(files)+k]; h.Pins.hold() && row != nil && s.IsOverdue != nil {
			if _, h.Overdue, err = s.IsOverdue(ctx, row); err != nil {
				return err
			}
		}
	}
	for k := range files {
		if rows[k] == nil || ofFiles[k].Holds() == 0 {
			continue
		}
		if err := x.addLinked(ctx, s, rows[k], &ofFiles[k], versions); err != nil {
			return err
		}
	}
	x.Unreconciled, err = unreconciledHosts(ctx, s.Meta, func(host *manifest.Host) bool {
		return slices.ContainsFunc(of, func(h *Holder) bool { return host.Refers(h.Bucket) })
	})
	if len(x.Unreconciled) > 0 {
		x.addReason(ForHost)
	}
	return err
}

// addLinked adds a file that links hold. Of the links to its versions it names those to
// the given ones.
func (x *Explanation) addLinked(ctx context.Context, s *Store, row *manifest.Row, sums *manifest.LinkSums, versions []manifest.VersionID) (err error) {
	l := newLinkedFile(row.File, "", sums)
	if s.IsOverdue != nil {
		if l.Overdue, _, err = s.IsOverdue(ctx, row); err != nil {
			return err
		}
	}
	left := explainedLinks
	for i := range x.Linked {
		left -= len(x.Linked[i].Links)
	}
	err = l.nameLinks(ctx, s.Meta, left, func(link *manifest.Link) bool {
		return x.Kind == "file" || link.Version == "" || slices.Contains(versions, link.Version)
	})
	x.Linked = append(x.Linked, l)
	return err
}

// addLost adds a file or a version that is gone, if links to it stand. Of a version
// whose grave is gone too nobody knows the file, and nothing is added.
func (x *Explanation) addLost(ctx context.Context, s *Store, id manifest.FileID, v manifest.VersionID) error {
	f := &manifest.File{ID: id}
	if x.Removed != nil {
		f.ID, f.Bucket = x.Removed.File, x.Removed.Bucket
	}
	if f.ID == "" {
		return nil
	}
	var sums []manifest.LinkSums
	var err error
	if v == "" {
		sums, err = s.Meta.FileLinkSums(ctx, []manifest.FileID{f.ID})
	} else {
		sums, err = s.Meta.VersionLinkSums(ctx, []manifest.VersionID{v})
	}
	if err != nil || sums[0].Standing() == 0 {
		return err
	}
	l := newLinkedFile(f, v, &sums[0])
	if l.Gone, l.Path = true, ""; x.Removed != nil {
		l.Path = x.Removed.Path
	}
	if err := l.nameLinks(ctx, s.Meta, explainedLinks, func(link *manifest.Link) bool { return v == "" || link.Version == v }); err != nil {
		return err
	}
	if len(l.Links) > 0 {
		l.Bucket = l.Links[0].Bucket
	}
	x.Linked = append(x.Linked, l)
	return nil
}
