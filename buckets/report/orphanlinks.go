package report

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

// An UnlinkedFile is a file that no link of a record holds, in a bucket that records
// refer to.
type UnlinkedFile struct {
	Bucket, Path string
	File         manifest.FileID
	State        manifest.State
	Bytes        int64 // of all versions, before deduplication and compression
}

// An OrphanLink is a link that stands and that nothing is behind, or no session.
type OrphanLink struct {
	Kind   OrphanKind
	Remedy Remedy
	*manifest.Link
}

// linkPage is how many files, or links, are looked up together.
const linkPage = 500

// findUnlinked finds files that no link holds, in buckets that the records of hosts
// refer to. Files and links are those of one moment.
func (m *orphanFinder) findUnlinked(ctx context.Context) error {
	hosts, err := m.store.Meta.Hosts(ctx)
	if err != nil {
		return err
	}
	waits := make(map[string]bool) // by bucket that a host refers to: one is not reconciled
	for _, h := range hosts {
		for _, bucket := range h.Buckets {
			waits[bucket] = waits[bucket] || h.Unreconciled
		}
	}
	if len(waits) == 0 {
		return nil
	}
	pace := &pacer{opts: m.opts}
	pace.beginPhase("", "files", 0)
	return m.store.Meta.View(ctx, func(v manifest.View) error {
		var page []*manifest.File
		flush := func() error {
			err := m.addUnlinked(ctx, v, page, waits)
			page = page[:0]
			return err
		}
		for f, err := range v.AllFiles(ctx) {
			if err == nil {
				err = pace.countStep(ctx)
			}
			if err != nil {
				return err
			}
			if _, refers := waits[f.Bucket]; !refers {
				continue
			}
			if page = append(page, f); len(page) == linkPage {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return flush()
	})
}

// addUnlinked adds those of some files that no link holds.
func (m *orphanFinder) addUnlinked(ctx context.Context, v manifest.View, page []*manifest.File, waits map[string]bool) error {
	ids := make([]manifest.FileID, len(page))
	for i, f := range page {
		ids[i] = f.ID
	}
	sums, err := v.FileLinkSums(ctx, ids)
	for i := range sums {
		if sums[i].Holds() > 0 {
			continue
		}
		f, kind, by := page[i], OrphanUnlinked, ByNothing
		if f.State == manifest.Trashed {
			kind, by = OrphanUnlinkedTrash, ByTrash
		}
		if waits[f.Bucket] {
			by = ByReconcile // which makes links that are missing
		}
		m.sumKey(OrphanSum{Kind: kind, Remedy: by}, 1, f.TotalSize)
		m.unlinked.addEntry(UnlinkedFile{f.Bucket, f.Path(), f.ID, f.State, f.TotalSize})
	}
	return err
}

// findOrphanLinks finds links that stand though what they name is deleted, and pending
// links of sessions that have ended. Work goes on meanwhile: what looks so is looked up
// again.
func (m *orphanFinder) findOrphanLinks(ctx context.Context) error {
	pace := &pacer{opts: m.opts}
	pace.beginPhase("", "links", 0)
	var page []*manifest.Link
	flush := func() error {
		err := m.addOrphanLinks(ctx, page)
		page = page[:0]
		return err
	}
	for l, err := range m.store.Meta.AllLinks(ctx, "") {
		if err == nil {
			err = pace.countStep(ctx)
		}
		if err != nil {
			return err
		}
		if !l.State.Stands() {
			continue
		}
		if page = append(page, l); len(page) == linkPage {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// addOrphanLinks adds those of some links that are orphans. Hosts and files are read
// first, then links again: a session that has ended makes no link any more, and a link
// whose file is gone stood before that, unless it has ended by now.
func (m *orphanFinder) addOrphanLinks(ctx context.Context, page []*manifest.Link) error {
	if len(page) == 0 {
		return nil
	}
	found, err := m.store.Meta.Hosts(ctx)
	if err != nil {
		return err
	}
	hosts := make(map[string]*manifest.Host, len(found))
	for _, h := range found {
		hosts[h.Name] = h
	}
	rows, err := m.targetsOf(ctx, page)
	if err != nil {
		return err
	}
	for i, l := range page {
		h := hosts[l.Host]
		if h == nil { // the database was made anew, and nobody has said so yet
			h = &manifest.Host{Unreconciled: true}
		}
		if kind, _ := judgeLink(l, h, rows[i]); kind == "" {
			continue
		}
		now, err := m.store.Meta.Link(ctx, l.ID)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !now.State.Stands() {
			continue
		}
		if err != nil {
			return err
		}
		if kind, by := judgeLink(now, h, rows[i]); kind != "" {
			m.sumKey(OrphanSum{Kind: kind, Remedy: by, Host: l.Host}, 1, 0)
			m.nameLink(OrphanLink{kind, by, now})
		}
	}
	return nil
}

// targetsOf returns the row of what each link names, nil if it is gone.
func (m *orphanFinder) targetsOf(ctx context.Context, page []*manifest.Link) ([]*manifest.Row, error) {
	var files []manifest.FileID
	var versions []manifest.VersionID
	for _, l := range page {
		if l.Version == "" {
			files = append(files, l.File)
		} else {
			versions = append(versions, l.Version)
		}
	}
	found, err := m.store.Meta.Rows(ctx, files, versions)
	if err != nil {
		return nil, err
	}
	ofFiles, ofVersions := found[:len(files)], found[len(files):]
	rows := make([]*manifest.Row, len(page))
	for i, l := range page {
		if l.Version == "" {
			rows[i], ofFiles = ofFiles[0], ofFiles[1:]
		} else {
			rows[i], ofVersions = ofVersions[0], ofVersions[1:]
		}
	}
	return rows, nil
}

// judgeLink says what is wrong with a link that stands, "" for nothing, and what takes
// that away. row is that of what it names.
func judgeLink(l *manifest.Link, h *manifest.Host, row *manifest.Row) (OrphanKind, Remedy) {
	by := ByHost
	if h.Unreconciled {
		by = ByReconcile
	}
	switch {
	case l.State == manifest.LinkPending && !h.IsLive(l.Session):
		return OrphanEnded, ByReconcile
	case row == nil:
		return OrphanDangling, by
	case row.File.State == manifest.Trashed:
		return OrphanTrashLink, by
	}
	return "", ""
}

// nameLink names a link if it is among the first of its kind.
func (m *orphanFinder) nameLink(l OrphanLink) {
	if m.named[l.Kind]++; m.named[l.Kind] <= m.opts.Top {
		m.links = append(m.links, l)
	}
}
