package buckets

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Bucket is a named policy over files, as one principal sees it: every method
// that shows or changes files asks the store's access.Guard before it does. Its
// methods may run concurrently.
type Bucket struct {
	s *Store
	b *bucket
	// pin is the domain that an upload stores into. "" is the domain that the
	// bucket is in at the time of each call.
	pin string
	who *access.Principal
	via *Via
}

// As returns the bucket as seen by who. nil is somebody anonymous, as it is for an
// authenticator; the bucket as it is got is the program's own, and may do everything.
func (b *Bucket) As(who *access.Principal) *Bucket {
	if who == nil {
		who = &access.Principal{}
	}
	c := *b
	c.who = who
	return &c
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.b.name }

// Policy is what the bucket was set up to do when it was got, with defaults
// filled in.
func (b *Bucket) Policy() Policy { return b.b.Policy }

// Chunker names how the bucket's new files are cut, with all parameters.
func (b *Bucket) Chunker() string { return b.b.splitter.String() }

func (b *Bucket) whoID() string {
	if b.who == nil {
		return ""
	}
	return b.who.ID
}

// newReader returns a reader of a content of the bucket. If the bucket is moved
// meanwhile, and what it leaves is collected, the reader goes on where it lies.
func (b *Bucket) newReader(ctx context.Context, c *manifest.Content) *manifest.Reader {
	return manifest.NewReader(ctx, follower{b.chunks(), b}, b.segmentGetter(), c)
}

// A follower reads chunks of a bucket where they lie. Of the embedded store, in
// which they lay at first, readers take room for their windows, and give it back.
type follower struct {
	*cas.Store
	b *Bucket
}

// Read implements manifest.Source.
func (f follower) Read(ctx context.Context, refs []cas.Ref, dst []byte) error {
	return f.b.readWhereItLies(func(domain string) error { return f.b.s.chunks[domain].Read(ctx, refs, dst) })
}

// readWhereItLies calls read with the domain of the bucket's files, and once more
// if it fails and they have been moved meanwhile: what they left may be collected.
func (b *Bucket) readWhereItLies(read func(domain string) error) error {
	for at := b.domain(); ; {
		err := read(at)
		now := b.domain()
		if err == nil || now == at {
			return err
		}
		at = now
	}
}

// segmentGetter finds the segments of the bucket's files: in the metadata store
// or, if it has lost one, in the packs.
func (b *Bucket) segmentGetter() manifest.SegmentGetter { return segments{b} }

type segments struct{ b *Bucket }

// Segments implements manifest.SegmentGetter.
func (s segments) Segments(ctx context.Context, ds []cas.Digest) (out [][]byte, err error) {
	err = s.b.readWhereItLies(func(domain string) (err error) {
		out, err = s.b.s.meta.Segments(domain).Segments(ctx, ds)
		for i := 0; i < len(out) && err == nil; i++ {
			if out[i] == nil {
				out[i], err = s.b.s.chunks[domain].Get(ctx, ds[i], nil)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// findRows returns the rows of the file or version id. What is in the trash is
// found only if opts say so.
func (b *Bucket) findRows(ctx context.Context, id string, opts *GetOptions) (*manifest.File, *manifest.Manifest, error) {
	f, m, err := b.lookUpRows(ctx, id, opts)
	// Of a disabled bucket nobody learns which files there are: the guard says so
	// of those that there are.
	if p := b.s.accessPolicy(b.b.name); errors.Is(err, ErrNoFile) && p != nil && p.Disabled && b.who != nil && !b.who.Operator {
		err = ErrBucketDisabled
	}
	return f, m, err
}

func (b *Bucket) lookUpRows(ctx context.Context, id string, opts *GetOptions) (*manifest.File, *manifest.Manifest, error) {
	if opts == nil {
		opts = &GetOptions{}
	}
	if opts.ByPath {
		f, err := b.s.meta.FileByPath(ctx, b.b.name, names.CanonicalPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, ErrNoFile
		}
		if err != nil {
			return nil, nil, err
		}
		id = string(f.ID)
	}
	if vid, ok := manifest.ParseVersionID(id); ok {
		return b.findVersion(ctx, vid, opts)
	}
	fid, ok := manifest.ParseFileID(id)
	if !ok {
		return nil, nil, ErrNoFile
	}
	f, err := b.s.meta.File(ctx, fid)
	if err := b.checkVisible(f, err, opts); err != nil {
		return nil, nil, err
	}
	if opts.Version == 0 {
		return b.findCurrent(ctx, f, opts)
	}
	m, err := b.s.meta.Version(ctx, fid, opts.Version)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.IsHeld(m.ID) && !opts.Trashed {
		return f, nil, ErrNoVersion
	}
	return f, m, err
}

// findCurrent returns the current version of a file that was visible, and the file
// as it is with that: another version may have become current, and the one that f
// names have been removed.
func (b *Bucket) findCurrent(ctx context.Context, f *manifest.File, opts *GetOptions) (*manifest.File, *manifest.Manifest, error) {
	for {
		m, err := b.s.meta.Manifest(ctx, f.Current)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, m, err
		}
		now, err := b.s.meta.File(ctx, f.ID)
		if err := b.checkVisible(now, err, opts); err != nil {
			return nil, nil, err
		}
		if now.Current == f.Current {
			return f, nil, ErrNoVersion
		}
		f = now
	}
}

func (b *Bucket) findVersion(ctx context.Context, id manifest.VersionID, opts *GetOptions) (*manifest.File, *manifest.Manifest, error) {
	m, err := b.s.meta.Manifest(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrNoFile
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := b.s.meta.File(ctx, m.File)
	if err := b.checkVisible(f, err, opts); err != nil {
		return nil, nil, err
	}
	if f.IsHeld(m.ID) && !opts.Trashed {
		return nil, nil, ErrNoFile
	}
	if opts.Version != 0 && opts.Version != m.Version {
		return f, nil, ErrNoVersion
	}
	return f, m, nil
}

// findPermitted returns the rows of the file or version id if the principal may
// do op to it. Only those who may learn that a version is missing.
func (b *Bucket) findPermitted(ctx context.Context, op access.Op, id string, opts *GetOptions) (*manifest.File, *manifest.Manifest, error) {
	f, m, err := b.findRows(ctx, id, opts)
	missing := errors.Is(err, ErrNoVersion) && f != nil
	if missing {
		f, m, err = b.findCurrent(ctx, f, cmp.Or(opts, &GetOptions{}))
	}
	if err != nil {
		return nil, nil, err
	}
	if err := b.checkFile(ctx, op, f, m); err != nil {
		return nil, nil, err
	}
	if missing {
		return nil, nil, ErrNoVersion
	}
	return f, m, nil
}

// checkVisible checks that a row was found, in this bucket and a fitting state.
func (b *Bucket) checkVisible(f *manifest.File, err error, opts *GetOptions) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoFile
	}
	if err != nil {
		return err
	}
	if f.Bucket != b.b.name || f.State != manifest.Active && !opts.Trashed {
		return ErrNoFile
	}
	return nil
}

// describeFile describes version m of f.
func (b *Bucket) describeFile(f *manifest.File, m *manifest.Manifest) *File {
	out := &File{
		ID: string(f.ID), ManifestID: string(m.ID), Bucket: f.Bucket, Name: f.Name, Folder: f.Folder,
		Size: m.Size, MIMEType: m.MIMEType, DeclaredMIMEType: m.DeclaredMIMEType,
		Chunker: m.Chunker, Checksums: map[string]string{"root": m.Root().String()},
		Version: m.Version, VersionsCount: int(f.Versions), State: State(f.State.String()), Owner: f.Owner,
		Access: f.Access, Metadata: decodeMetadata(f.Metadata), Tags: f.Tags, CacheControl: f.CacheControl,
		CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt, DeletedAt: f.DeletedAt, VersionCreatedAt: m.CreatedAt, ModifiedAt: m.CreatedAt,
	}
	if f.IsHeld(m.ID) {
		out.State = Quarantined
	} else {
		out.VersionsCount -= len(f.Held)
	}
	if m.ID == f.Current && !f.ContentAt.IsZero() {
		out.ModifiedAt = f.ContentAt
	}
	for name, d := range m.Digests {
		out.Checksums[name] = hex.EncodeToString(d)
	}
	return out
}

// Stat describes the file (f_…) or version (m_…) id.
func (b *Bucket) Stat(ctx context.Context, id string, opts *GetOptions) (*File, error) {
	f, m, err := b.findPermitted(ctx, access.OpRead, id, opts)
	if err != nil {
		return nil, err
	}
	return b.describeFile(f, m), nil
}

// StatPath describes the active file at a path: folder and name joined by '/'.
func (b *Bucket) StatPath(ctx context.Context, path string) (*File, error) {
	return b.Stat(ctx, path, &GetOptions{ByPath: true})
}

// Open opens the content of the file (f_…) or version (m_…) id. ctx governs
// all reads of the object.
func (b *Bucket) Open(ctx context.Context, id string, opts *GetOptions) (*Object, error) {
	f, m, err := b.findPermitted(ctx, access.OpDownload, id, opts)
	if err != nil {
		return nil, err
	}
	if opts != nil && opts.Uncounted {
		err = b.grant().CheckUses(ctx, b.s.meta)
	} else {
		err = b.CountUse(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &Object{File: *b.describeFile(f, m), Public: b.s.guard.IsPublic(ctx, b.b.name, f, m), Content: closingReader{b.newReader(ctx, &m.Content), b.s.life}}, nil
}

// CountUse counts a use of the signed URL that the bucket's principal comes by,
// if its uses are limited. It fails with access.ErrGrantExpired if they are
// over.
func (b *Bucket) CountUse(ctx context.Context) error {
	if g := b.grant(); g == nil || g.MaxUses == 0 {
		return nil
	}
	return b.s.updateLocal(ctx, func(tx manifest.Tx) error { return b.useGrant(ctx, tx) })
}

// Usage sums the bucket up, for those who may list all of it. The trash counts
// only for those who may list all of that too.
func (b *Bucket) Usage(ctx context.Context) (Usage, error) {
	if err := b.check(ctx, &access.Request{Op: access.OpList}); err != nil {
		return Usage{}, err
	}
	u, err := b.s.meta.Usage(ctx, b.b.name)
	if err != nil {
		return Usage{}, err
	}
	out := Usage{Bucket: b.b.name, Files: u.Files, Versions: u.Versions, Bytes: u.Bytes}
	switch err := b.check(ctx, &access.Request{Op: access.OpTrash}); {
	case errors.Is(err, fs.ErrPermission):
		return out, nil
	case err != nil:
		return Usage{}, err
	}
	out.Versions += u.TrashedVersions
	out.TrashedFiles, out.TrashedBytes = u.TrashedFiles, u.TrashedBytes
	return out, nil
}
