package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// ListOptions choose files of a bucket.
type ListOptions struct {
	Prefix string  // of the path
	Folder *string // only files right in this folder ("" is the root)
	State  State   // zero means Active
	Limit  int     // at most this many; zero means no limit

	// Search is part of the name, whatever the case (Unicode's default case
	// folding). No character has a special meaning.
	Search string
	// MIMEType is the type that was found: image/png, or a kind: image/*.
	MIMEType string
	// MIMEPrefix is what the type that was found begins with, whatever the case:
	// image/, application/vnd.
	MIMEPrefix string
	// Markers asks for the markers of folders too: empty files whose name is
	// names.FolderMarker.
	Markers bool
}

// List yields the files that opts choose and the list rule allows, of the moment
// in which iteration begins; of the trash, those that the trash rule allows.
// Active files come in byte order of their paths, others in order of their IDs.
// A rule that looks at the file is asked about each.
func (b *Bucket) List(ctx context.Context, opts *ListOptions) iter.Seq2[*File, error] {
	return func(yield func(*File, error) bool) {
		if opts == nil {
			opts = &ListOptions{}
		}
		s, err := b.newScan(ctx, opts, false)
		if err != nil {
			yield(nil, err)
			return
		}
		s.unbounded = true
		n := 0
		for e, err := range s.eachEntry(ctx, false) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b.describeFile(e.File, e.Current), nil) {
				return
			}
			if n++; n == opts.Limit {
				return
			}
		}
	}
}

const (
	// maxScanned is how many rows one page of a listing looks at, whether they
	// are shown or not.
	maxScanned = 25_000
	// maxPassed is how many rows of a folder that is listed already are read on
	// before the index is asked for what comes behind it.
	maxPassed = 64

	// afterPaths begins no path and comes after all of them, as they are UTF-8.
	afterPaths = "\xff"
)

// A scan is a walk over the files of a bucket, in the order of an index: active
// files by path, others by ID. Files in folders may be rolled up.
type scan struct {
	b       *Bucket
	state   manifest.State
	prefix  string // of paths
	reverse bool
	perFile bool // the list rule is asked about each file

	// Of the files whose paths go on with a slash somewhere behind base, only
	// their folder is shown, or nothing if folders is false.
	rolledUp, folders bool
	base              string

	fold   *names.CaseFolder // nil for no search
	search string            // folded
	mime   string
	begins string // what types begin with, folded

	markers   bool // of folders are shown
	unbounded bool // looks at any number of rows, of one moment
	left      int  // rows that may still be looked at
	cut       bool // there were more
	// at is the key that the walk has come to, and goes on behind.
	at   string
	seen map[string]bool // folders that were shown, where files do not come by path
}

// An entry is a line of a listing: a file, or a folder with at least one file
// that would be listed.
type entry struct {
	*manifest.Listed        // nil for a folder
	folder           string // its path
}

// newScan checks that the principal may list, and what it asks for. folders says
// whether files in folders are rolled up.
func (b *Bucket) newScan(ctx context.Context, opts *ListOptions, folders bool) (*scan, error) {
	s := &scan{b: b, prefix: names.CanonicalPath(opts.Prefix), folders: folders, mime: strings.ToLower(opts.MIMEType), begins: strings.ToLower(opts.MIMEPrefix),
		markers: opts.Markers, left: maxScanned}
	op := access.OpList
	if opts.State == Trashed || opts.State == Quarantined {
		op = access.OpTrash
	}
	err := b.check(ctx, &access.Request{Op: op})
	if s.perFile = errors.Is(err, access.ErrPerFile); err != nil && !s.perFile {
		return nil, err
	}
	switch opts.State {
	case "", Active:
	case Trashed:
		s.state = manifest.Trashed
	case Quarantined:
		s.state = manifest.Quarantined
	default:
		return nil, fmt.Errorf("state %q: use active, trashed or quarantined: %w", opts.State, fs.ErrInvalid)
	}
	if s.state != manifest.Active {
		s.seen = make(map[string]bool)
	}
	if s.mime != "" && !schema.IsMediaType(s.mime) {
		return nil, fmt.Errorf("mime_type %q: use a media type such as image/png or image/* (a plus sign is %%2B in a URL): %w",
			names.Clip(opts.MIMEType), fs.ErrInvalid)
	}
	s.mime = mediatype.Canonical(s.mime)
	if opts.Search != "" {
		if !utf8.ValidString(opts.Search) || len(opts.Search) > names.MaxName {
			return nil, fmt.Errorf("search %q: use a part of a name, at most %d bytes of UTF-8: %w", names.Clip(opts.Search), names.MaxName, fs.ErrInvalid)
		}
		s.fold = names.NewCaseFolder()
		s.search = s.fold.Fold(opts.Search)
	}
	return s, s.chooseFolder(opts)
}

// typePrefix returns what types begin with as no type is written, "" if any will do.
func (s *scan) typePrefix() string {
	if s.begins == "" {
		return ""
	}
	return " " + s.begins
}

// markerWord returns what no type is written as if markers are shown, else "".
func (s *scan) markerWord() string {
	if s.markers {
		return " markers"
	}
	return ""
}

// isHiddenMarker reports whether a file is the marker of a folder, and not asked for.
// Of a key without rows, the size is looked up if the name says so.
func (s *scan) isHiddenMarker(ctx context.Context, l *manifest.Listed, path string) (bool, error) {
	if s.markers || !names.IsFolderMarker(path, 0) {
		return false, nil
	}
	if l.File != nil {
		return l.Current != nil && names.IsFolderMarker(path, l.Current.Size), nil
	}
	f, err := s.b.s.meta.FileByPath(ctx, s.b.b.name, path)
	if err != nil {
		return true, ignoreNotExist(err) // it is gone since
	}
	m, err := s.b.s.meta.Manifest(ctx, f.Current)
	if err != nil {
		return true, ignoreNotExist(err)
	}
	return names.IsFolderMarker(path, m.Size), nil
}

// ignoreNotExist returns err unless something is not there.
func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// chooseFolder sets what is rolled up: folders behind the prefix or, if a folder
// is given, those in it.
func (s *scan) chooseFolder(opts *ListOptions) error {
	s.rolledUp, s.base = s.folders, s.prefix
	if opts.Folder == nil {
		return nil
	}
	folder, err := names.CleanFolder(*opts.Folder)
	if err != nil {
		return err
	}
	s.rolledUp, s.base = true, ""
	if folder == "" {
		return nil
	}
	s.base = folder + "/"
	switch {
	case strings.HasPrefix(s.base, s.prefix):
		s.prefix = s.base
	case !strings.HasPrefix(s.prefix, s.base):
		s.prefix = afterPaths // no path begins with both
	}
	return nil
}

// eachEntry yields the entries behind s.at. bare leaves out the rows of files
// where that can be.
func (s *scan) eachEntry(ctx context.Context, bare bool) iter.Seq2[entry, error] {
	bare = bare && s.state == manifest.Active && !s.perFile && s.mime == "" && s.begins == ""
	return func(yield func(entry, error) bool) {
		for again := true; again; {
			r := &manifest.Range{State: s.state, After: s.at, Reverse: s.reverse, Bare: bare}
			if s.state == manifest.Active {
				r.Prefix = s.prefix
			}
			var err error
			if again, err = s.readRange(ctx, r, yield); err != nil {
				yield(entry{}, err)
				return
			}
		}
	}
}

// readRange yields the entries of a range. It reports whether another range is
// to be read, behind s.at.
func (s *scan) readRange(ctx context.Context, r *manifest.Range, yield func(entry, error) bool) (again bool, err error) {
	inside, passed := "", 0 // a folder that is done with, and rows read in it since
	for l, err := range s.b.s.meta.List(ctx, s.b.b.name, r) {
		if err != nil {
			return false, err
		}
		if s.left == 0 && !s.unbounded {
			s.cut = true
			return false, nil
		}
		s.left--
		if inside != "" && strings.HasPrefix(l.Key, inside) {
			if passed++; passed > maxPassed && !s.unbounded {
				return true, nil
			}
			continue
		}
		s.at = l.Key
		path := l.Key
		if s.state != manifest.Active {
			path = l.File.Path()
		}
		folder, rolled := s.folderOf(path)
		show := !rolled || s.folders && !s.seen[folder]
		if show {
			if show, err = s.isShown(ctx, l, path); err != nil {
				return false, err
			}
		}
		if rolled && s.state == manifest.Active && (show || !s.folders) {
			inside, passed = folder+"/", 0
			s.at = inside
			if !s.reverse {
				s.at += afterPaths
			}
		}
		if !show {
			continue
		}
		e := entry{Listed: l}
		if rolled {
			e = entry{folder: folder}
			if s.seen != nil {
				s.seen[folder] = true
			}
		}
		if !yield(e, nil) {
			return false, nil
		}
	}
	return false, nil
}

// folderOf returns the folder that a path is rolled up into, if it is.
func (s *scan) folderOf(path string) (string, bool) {
	if !s.rolledUp || !strings.HasPrefix(path, s.base) {
		return "", false
	}
	i := strings.IndexByte(path[len(s.base):], '/')
	if i < 0 {
		return "", false
	}
	return path[:len(s.base)+i], true
}

// isShown reports whether a file is chosen, and whether the principal may see
// it. l has rows wherever they matter.
func (s *scan) isShown(ctx context.Context, l *manifest.Listed, path string) (bool, error) {
	if !strings.HasPrefix(path, s.prefix) {
		return false, nil
	}
	if s.fold != nil && !strings.Contains(s.fold.Fold(path[strings.LastIndexByte(path, '/')+1:]), s.search) {
		return false, nil
	}
	if hidden, err := s.isHiddenMarker(ctx, l, path); hidden || err != nil {
		return false, err
	}
	if l.File == nil {
		return true, nil
	}
	if l.Current == nil {
		return false, nil // its row is lost, as check tells
	}
	if s.mime != "" && !mediatype.Covers(s.mime, l.Current.MIMEType) {
		return false, nil
	}
	if !strings.HasPrefix(l.Current.MIMEType, s.begins) {
		return false, nil
	}
	if !s.perFile {
		return true, nil
	}
	return s.b.mayList(ctx, l.File, l.Current)
}
