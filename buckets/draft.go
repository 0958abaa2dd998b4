package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// A request is what an uploader asks for. It never changes.
type request struct {
	opts     PutOptions
	target   manifest.FileID // of Replace, "" for a Put by name
	name     string
	folder   string
	metadata []byte           // canonical JSON, nil to keep a predecessor's
	cut      chunker.Splitter // that has cut the content already, nil for content that is still to come
	partial  bool             // part of a file only: it has no name or type that limits could judge
}

// A Draft is bytes on their way to become a version. It is begun with a
// request, is given its content once, and is committed.
type Draft struct {
	b *Bucket // pinned to the domain that the content is stored in
	request

	splitter chunker.Splitter
	found    *manifest.Manifest // current version of the file that it replaces, as of the beginning, nil for none
	earlier  *File              // made by the same request, sent before: nothing is left to do
	room     Room               // for what may come

	// What is known of the content before it is there.
	size     int64
	declared string // media type

	// Of a draft that was an upload in pieces: its ID, and how many bytes it is
	// counted for until the commit.
	upload manifest.UploadID
	held   int64
	grown  int64 // by how many bytes the commit makes the file larger

	content *manifest.Content
	mime    string // media type found in the content
	stats   cas.BatchStats

	// What the commit relies on, renewed between its tries.
	w       *Writer                       // that stores the content
	sources map[manifest.VersionID]string // versions whose chunks were taken without a look at them, and their buckets
	allowed manifest.FileID               // file that the uploader may update
	owner   string                        // of that file, or of the new one

	base     manifest.VersionID                       // that must still be current at the commit, "" for any
	onCommit func(tx manifest.Tx, answer *File) error // run in the transaction of the commit
}

func checkDigests(names []string) error {
	for _, name := range names {
		if manifest.NewDigest(name) == nil {
			return fmt.Errorf("digest %q: %w: use sha256, blake3 or md5", name, ErrDigestName)
		}
	}
	return nil
}

// newRequest checks what can be checked without a look into the store.
func (b *Bucket) newRequest(opts *PutOptions) (r request, err error) {
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Digests == nil {
		r.opts.Digests = b.b.Digests
	}
	if err := checkDigests(r.opts.Digests); err != nil {
		return r, err
	}
	if err := b.checkOrigin(&r.opts); err != nil {
		return r, err
	}
	switch r.opts.OnConflict {
	case "":
		r.opts.OnConflict = ConflictVersion
	case ConflictVersion, ConflictNew, ConflictFail:
	default:
		return r, fmt.Errorf("on_conflict %q: use new, version or fail: %w", r.opts.OnConflict, fs.ErrInvalid)
	}
	if r.metadata, err = encodeMetadata(r.opts.Metadata); err != nil {
		return r, err
	}
	if r.opts.CacheControl, err = cleanCacheControl(r.opts.CacheControl); err != nil {
		return r, err
	}
	if err := checkDeclared(r.opts.MIMEType); err != nil {
		return r, err
	}
	return r, checkTags(r.opts.Tags)
}

const maxDeclared = 255 // bytes of a declared type

// checkDeclared checks the type that an uploader declares. It need not be one
// that is known, but it is kept and shown.
func checkDeclared(mime string) error {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(mime) > maxDeclared || strings.ContainsFunc(mime, odd) {
		return fmt.Errorf("type %q: want at most %d printable ASCII characters: %w", names.Clip(mime), maxDeclared, fs.ErrInvalid)
	}
	return nil
}

func (b *Bucket) newDraft(r request) *Draft {
	d := &Draft{b: b.pinned(), request: r, splitter: r.cut, size: r.opts.Size, declared: r.opts.MIMEType}
	if d.splitter == nil {
		d.splitter = b.b.splitter
	}
	return d
}

// draftByName begins an upload by name, authorised and ready for content.
func (b *Bucket) draftByName(ctx context.Context, name string, opts *PutOptions) (*Draft, error) {
	r, err := b.newRequest(opts)
	if err != nil {
		return nil, err
	}
	if r.name, err = names.Clean(name); err != nil {
		return nil, err
	}
	if r.folder, err = names.CleanFolder(r.opts.Folder); err != nil {
		return nil, err
	}
	d := b.newDraft(r)
	if err := d.mayCreate(ctx); err != nil {
		return nil, err
	}
	if err := checkNewID(ctx, b.s.meta, r.opts.ID); err != nil {
		return nil, err // before the first byte
	}
	return d, d.beginByName(ctx)
}

// draftOfVersion begins an upload of a version of the file id, authorised and
// ready for content.
func (b *Bucket) draftOfVersion(ctx context.Context, id string, opts *PutOptions) (*Draft, error) {
	r, err := b.newRequest(opts)
	if err != nil {
		return nil, err
	}
	if r.opts.hasOrigin() {
		return nil, errOrigin
	}
	if _, ok := manifest.ParseFileID(id); !ok {
		return nil, ErrNoFile // a manifest ID names one version for ever
	}
	d, err := b.beginVersion(ctx, id, r)
	// Gone since the request was first sent, or never there, or forbidden: the
	// answer must not tell which, so the key is looked at in each case.
	if errors.Is(err, ErrNoFile) && r.opts.Once != nil {
		d = b.newDraft(r)
		earlier, oerr := b.findEarlier(ctx, b.s.meta, r.opts.Once)
		if d.earlier = earlier; earlier != nil {
			return d, b.awaitDurable(ctx)
		}
		err = cmp.Or(oerr, err)
	}
	return d, err
}

func (b *Bucket) beginVersion(ctx context.Context, id string, r request) (*Draft, error) {
	f, _, err := b.findRows(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	r.target, r.name, r.folder = f.ID, f.Name, f.Folder
	d := b.newDraft(r)
	return d, d.beginTarget(ctx, f)
}

func (d *Draft) beginByName(ctx context.Context) error {
	for {
		old, err := d.b.s.meta.FileByPath(ctx, d.b.b.name, names.Join(d.folder, d.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := d.begin(ctx, old); !errors.Is(err, errVanished) {
			return err
		}
	}
}

// beginTarget begins a draft that becomes a version of f.
func (d *Draft) beginTarget(ctx context.Context, f *manifest.File) error {
	err := d.begin(ctx, f)
	if errors.Is(err, errVanished) {
		return ErrNoFile
	}
	return err
}

// beginWriter begins the writer of a draft that is ready for content. The caller
// ends it when it has committed, or given up.
func (d *Draft) beginWriter(ctx context.Context) (err error) {
	d.w, err = d.b.s.beginWriter(ctx, d.b.domain())
	return err
}

// begin looks at the file that the draft may become a version of, nil for none,
// so that what cannot succeed fails before the first byte. It fails with
// errVanished if old was removed.
func (d *Draft) begin(ctx context.Context, old *manifest.File) error {
	if err := d.b.s.checkWritable(ctx); err != nil {
		return err
	}
	if err := d.b.s.meta.Ready(); err != nil {
		return WrapSpace(err)
	}
	d.owner = cmp.Or(d.opts.Owner, d.b.whoID())
	var err error
	if d.opts.Once != nil {
		if d.target != "" {
			if _, _, err := d.authorizeUpdate(ctx, old); err != nil {
				return err
			}
		}
		if d.earlier, err = d.b.findEarlier(ctx, d.b.s.meta, d.opts.Once); err != nil {
			return err
		}
		if d.earlier != nil {
			return d.b.awaitDurable(ctx)
		}
	}
	if err := d.b.grant().CheckUses(ctx, d.b.s.meta); err != nil {
		return err // before anything is sent
	}
	if old == nil || d.target == "" && d.opts.OnConflict == ConflictNew {
		if d.opts.IfMatch != "" {
			return fmt.Errorf("there is no version to match: %w", ErrPrecondition)
		}
		return d.findRoom(ctx, 0)
	}
	if d.target == "" && d.opts.OnConflict == ConflictFail {
		return ErrExist
	}
	old, m, err := d.authorizeUpdate(ctx, old)
	if err != nil {
		return err
	}
	if err := checkMatch(d.opts.IfMatch, m); err != nil {
		return err
	}
	d.found = m
	// A version keeps its predecessor's chunks findable.
	if d.cut == nil && m.Chunker != d.splitter.String() {
		if s, err := chunker.Parse(m.Chunker); err == nil {
			d.splitter = s
		}
	}
	if d.b.b.Versions.keepsEverything() {
		return d.findRoom(ctx, 0)
	}
	return d.findRoom(ctx, old.TotalSize) // the commit counts exactly what goes
}

// findRoom checks what is known before the first byte against the limits, and
// finds out how many bytes may come. The version may take the place of so many
// bytes.
func (d *Draft) findRoom(ctx context.Context, instead int64) error {
	l := &d.b.b.Limits
	if !d.partial {
		if err := l.checkName(d.name); err != nil {
			return err
		}
	}
	if d.opts.SizeKnown {
		if err := l.CheckSize(d.opts.Size); err != nil {
			return err
		}
	}
	var err error
	if d.room, err = l.findRoom(ctx, d.b.s.meta, d.b.b.name, d.owner); err != nil {
		return err
	}
	if err := d.b.narrowByLeftovers(ctx, d.b.s.meta, &d.room, d.owner); err != nil {
		return err
	}
	d.room.widen(instead)
	if g := d.b.grant(); g != nil && g.MaxSize > 0 {
		d.room.Narrow(g.MaxSize, overSigned(g))
	}
	var size int64
	if d.opts.SizeKnown {
		size = d.opts.Size
	}
	if err := d.room.Check(size); err != nil {
		return err
	}
	if l.MaxFileSize > 0 {
		d.room.Narrow(l.MaxFileSize, fmt.Errorf("more than %d bytes: %w", l.MaxFileSize, ErrTooLarge))
	}
	return nil
}

// overSigned is the error of more than a signed URL takes.
func overSigned(g *access.Grant) error {
	return fmt.Errorf("more than the %d bytes signed for: %w", g.MaxSize, ErrTooLarge)
}

// forRules is the draft as rules see it: what is declared, and what the name
// suggests, until there is content to tell.
func (d *Draft) forRules() *rules.Upload {
	up := &rules.Upload{Name: d.name, Folder: d.folder, Path: names.Join(d.folder, d.name), Size: d.size, MIMEType: d.mime}
	if d.content != nil {
		up.Size = d.content.Size
	}
	if up.MIMEType == "" {
		up.MIMEType = mediatype.StripParameters(d.declared)
	}
	if up.MIMEType == "" {
		up.MIMEType = mediatype.TypeByName(d.name)
	}
	if d.b.who != nil {
		up.Protocol = d.b.who.Request.Protocol
	}
	return up
}

// mayCreate asks whether the draft may become a file.
func (d *Draft) mayCreate(ctx context.Context) error {
	return d.b.check(ctx, &access.Request{Op: access.OpCreate, Upload: d.forRules()})
}

// errVanished reports that a file was removed since it was found.
var errVanished = errors.New("the file was removed meanwhile")

// authorizeUpdate checks that the draft may become a version of f, remembers f as
// allowed, and returns f with its current version. It fails with errVanished if f
// was removed.
func (d *Draft) authorizeUpdate(ctx context.Context, f *manifest.File) (*manifest.File, *manifest.Manifest, error) {
	f, m, err := d.b.findCurrent(ctx, f, &GetOptions{})
	if errors.Is(err, ErrNoFile) {
		err = errVanished
	}
	if err != nil {
		return nil, nil, err
	}
	if err := d.b.check(ctx, &access.Request{Op: access.OpUpdate, File: f, Version: m, Upload: d.forRules()}); err != nil {
		return nil, nil, err
	}
	d.allowed, d.owner = f.ID, f.Owner
	return f, m, nil
}

// checkMatch checks a condition on the current version.
func checkMatch(ifMatch string, m *manifest.Manifest) error {
	if ifMatch == "" || ifMatch == "*" || ifMatch == m.Root().String() {
		return nil
	}
	return fmt.Errorf("the current version has root %s: %w", m.Root(), ErrPrecondition)
}
