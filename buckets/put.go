package buckets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime"
	"path"
	"strings"
	"sync"

	"github.com/gabriel-vasile/mimetype"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

const (
	sniffBytes  = 3072     // that the media type is found in
	maxMetadata = 16 << 10 // bytes of a file's metadata as JSON
	maxTags     = 64
	maxTag      = 128 // bytes
)

// Put stores the content of r under name. By default a name that the folder
// already holds becomes a new version of that file. The file it returns is
// durable.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, opts *PutOptions) (*File, error) {
	u, err := b.newNamedUpload(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	return u.run(ctx, r)
}

// newNamedUpload begins an upload by name, authorised and ready for content.
func (b *Bucket) newNamedUpload(ctx context.Context, name string, opts *PutOptions) (*upload, error) {
	u, err := b.newUpload(opts)
	if err != nil {
		return nil, err
	}
	if u.name, err = names.Clean(name); err != nil {
		return nil, err
	}
	if u.folder, err = names.CleanFolder(u.opts.Folder); err != nil {
		return nil, err
	}
	if err := u.mayCreate(ctx); err != nil {
		return nil, err
	}
	old, err := b.s.meta.FileByPath(ctx, b.b.name, names.Join(u.folder, u.name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return u, u.begin(ctx, old)
}

// Replace stores the content of r as a new version of the file id (f_…).
func (b *Bucket) Replace(ctx context.Context, id string, r io.Reader, opts *PutOptions) (*File, error) {
	u, err := b.newReplacement(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	return u.run(ctx, r)
}

// newReplacement begins an upload of a version, authorised and ready for
// content.
func (b *Bucket) newReplacement(ctx context.Context, id string, opts *PutOptions) (*upload, error) {
	u, err := b.newUpload(opts)
	if err != nil {
		return nil, err
	}
	if _, ok := manifest.ParseFileID(id); !ok {
		return nil, ErrNoFile // a manifest ID names one version for ever
	}
	f, _, err := b.find(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	u.target, u.name, u.folder = f.ID, f.Name, f.Folder
	return u, u.begin(ctx, f)
}

// An upload is bytes on their way to become a version.
type upload struct {
	b        *Bucket
	opts     PutOptions
	target   manifest.FileID // of Replace, "" for a Put by name
	name     string
	folder   string
	metadata []byte // canonical JSON, nil to keep a predecessor's
	splitter chunker.Splitter
	owner    string // whose the file is or will be
	room     int64  // how many bytes are taken
	over     error  // of more
	removals uint64
	allowed  manifest.FileID      // that may be updated
	other    *manifest.File       // found at the commit in place of allowed
	touch    bool                 // write the row of an unchanged file
	base     manifest.VersionID   // that must still be the current one, "" for any
	taken    []manifest.VersionID // whose chunks and segments were taken without a look at them
	earlier  *File                // that the same upload, sent before, has made

	part bool                                             // of a file only: it has no name or type that limits could judge
	also func(tx manifest.Tx, m *manifest.Manifest) error // to be done in the commit

	mime  string
	c     *manifest.Content
	stats cas.BatchStats
}

func (b *Bucket) newUpload(opts *PutOptions) (*upload, error) {
	u := &upload{b: b.pinned(), splitter: b.b.splitter}
	if opts != nil {
		u.opts = *opts
	}
	if u.opts.Digests == nil {
		u.opts.Digests = b.b.Digests
	}
	for _, d := range u.opts.Digests {
		if manifest.NewDigest(d) == nil {
			return nil, fmt.Errorf("digest %q: %w: use sha256, blake3 or md5", d, ErrDigestName)
		}
	}
	switch u.opts.OnConflict {
	case "":
		u.opts.OnConflict = ConflictVersion
	case ConflictVersion, ConflictNew, ConflictFail:
	default:
		return nil, fmt.Errorf("on_conflict %q: use new, version or fail: %w", u.opts.OnConflict, fs.ErrInvalid)
	}
	var err error
	if u.metadata, err = encodeMetadata(u.opts.Metadata); err != nil {
		return nil, err
	}
	return u, checkTags(u.opts.Tags)
}

// begin looks at the file that the upload may become a version of, so that
// what cannot succeed fails before the first byte.
func (u *upload) begin(ctx context.Context, old *manifest.File) error {
	if err := u.b.s.writable(ctx); err != nil {
		return err
	}
	if err := u.b.s.meta.Ready(); err != nil {
		return wrapSpace(err)
	}
	var err error
	if u.removals, err = u.b.s.meta.Removals(ctx, u.b.domain()); err != nil {
		return err
	}
	u.owner = u.b.whoID()
	if u.opts.Once != nil {
		if u.target != "" {
			if _, err := u.mayUpdate(ctx, old); err != nil {
				return err
			}
		}
		var err error
		if u.earlier, err = u.replay(ctx, u.b.s.meta); u.earlier != nil || err != nil {
			return err
		}
	}
	if old == nil || u.target == "" && u.opts.OnConflict == ConflictNew {
		if u.opts.IfMatch != "" {
			return fmt.Errorf("there is no version to match: %w", ErrPrecondition)
		}
		return u.fits(ctx, 0)
	}
	if u.target == "" && u.opts.OnConflict == ConflictFail {
		return ErrExist
	}
	m, err := u.mayUpdate(ctx, old)
	if err != nil {
		return err
	}
	if err := matches(u.opts.IfMatch, m); err != nil {
		return err
	}
	// A version keeps its predecessor's chunks findable.
	if m.Chunker != u.splitter.String() {
		if s, err := chunker.Parse(m.Chunker); err == nil {
			u.splitter = s
		}
	}
	if u.b.b.Versions.keepAll() {
		return u.fits(ctx, 0)
	}
	return u.fits(ctx, old.TotalSize) // the commit counts exactly what goes
}

// fits checks what is known before the first byte against the limits. The
// version may take the place of so many bytes.
func (u *upload) fits(ctx context.Context, instead int64) error {
	l := &u.b.b.Limits
	if !u.part {
		if err := l.checkName(u.name); err != nil {
			return err
		}
	}
	if u.opts.SizeKnown {
		if err := l.checkSize(u.opts.Size); err != nil {
			return err
		}
	}
	var err error
	if u.room, u.over, err = l.room(ctx, u.b.s.meta, u.b.b.name, u.owner); err != nil {
		return err
	}
	if u.room < math.MaxInt64-instead {
		u.room += instead
	}
	if g := u.b.grant(); g != nil && g.MaxSize > 0 && g.MaxSize < u.room {
		u.room, u.over = g.MaxSize, fmt.Errorf("more than the %d bytes signed for: %w", g.MaxSize, ErrTooLarge)
	}
	if u.room < 0 || u.opts.SizeKnown && u.room < u.opts.Size {
		return u.over
	}
	if l.MaxFileSize > 0 && l.MaxFileSize < u.room {
		u.room, u.over = l.MaxFileSize, fmt.Errorf("more than %d bytes: %w", l.MaxFileSize, ErrTooLarge)
	}
	return nil
}

// brings is the upload as rules see it: what is declared and what the name
// says, until the content has told.
func (u *upload) brings() *rules.Upload {
	up := &rules.Upload{Name: u.name, Folder: u.folder, Path: names.Join(u.folder, u.name), Size: u.opts.Size, MIMEType: u.mime}
	if u.c != nil {
		up.Size = u.c.Size
	}
	if up.MIMEType == "" {
		up.MIMEType = u.opts.MIMEType
	}
	if up.MIMEType == "" {
		up.MIMEType, _, _ = strings.Cut(mime.TypeByExtension(path.Ext(u.name)), ";")
	}
	if u.b.who != nil {
		up.Protocol = u.b.who.Request.Protocol
	}
	return up
}

// mayCreate asks whether the upload may be.
func (u *upload) mayCreate(ctx context.Context) error {
	return u.b.decide(ctx, &Request{Op: OpCreate, Upload: u.brings()})
}

// mayUpdate asks whether the upload may become a version of f.
func (u *upload) mayUpdate(ctx context.Context, f *manifest.File) (*manifest.Manifest, error) {
	m, err := u.b.s.meta.Manifest(ctx, f.Current)
	if err != nil {
		return nil, err
	}
	if err := u.b.decide(ctx, &Request{Op: OpUpdate, File: u.b.file(f, m), Upload: u.brings()}); err != nil {
		return nil, err
	}
	u.allowed, u.owner = f.ID, f.Owner
	return m, nil
}

// matches checks a condition on the current version.
func matches(ifMatch string, m *manifest.Manifest) error {
	if ifMatch == "" || ifMatch == "*" || ifMatch == m.Root().String() {
		return nil
	}
	return fmt.Errorf("the current version has root %s: %w", m.Root(), ErrPrecondition)
}

// run takes the content in and commits it.
func (u *upload) run(ctx context.Context, r io.Reader) (*File, error) {
	if u.earlier != nil {
		return u.earlier, nil
	}
	if err := u.take(ctx, r); err != nil {
		return nil, wrapSpace(err)
	}
	return u.commitRetry(ctx)
}

func (u *upload) mayCommit(ctx context.Context) error {
	if u.target == "" {
		if err := u.mayCreate(ctx); err != nil {
			return err
		}
	}
	if u.allowed == "" {
		return nil
	}
	f, err := u.b.s.meta.File(ctx, u.allowed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the commit will see
	}
	if err != nil {
		return err
	}
	_, err = u.mayUpdate(ctx, f)
	return err
}

// commitRetry asks again, now that size and type are known, and commits. It
// looks chunks up again when some became unusable, and asks again when another
// file has come by the name.
func (u *upload) commitRetry(ctx context.Context) (*File, error) {
	if err := u.mayCommit(ctx); err != nil {
		return nil, err
	}
	for range 8 {
		f, err := u.commit(ctx)
		switch err {
		case errRemovals:
			err = u.recheck(ctx)
		case errOther:
			_, err = u.mayUpdate(ctx, u.other)
		case ErrMoved:
			err = u.follow(ctx)
		case errBehind:
			u.touch, err = true, nil
		default:
			return f, err
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, ErrChunksGone
}

// take reads the content, finds its type and stores its chunks.
func (u *upload) take(ctx context.Context, r io.Reader) error {
	r = &limitedReader{r: r, left: u.room, over: u.over}
	if u.opts.SizeKnown {
		r = &exactReader{r: r, left: u.opts.Size, size: u.opts.Size}
	}
	whole := bufio.NewReaderSize(r, sniffBytes)
	head, err := whole.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return err
	}
	found := mimetype.Detect(head)
	u.mime, _, _ = strings.Cut(found.String(), ";")
	if err := u.judge(found); err != nil {
		return err
	}
	var pool *sync.Pool
	if u.splitter == u.b.b.splitter {
		pool = &u.b.b.chunkers
	}
	u.c, u.stats, err = manifest.Write(ctx, u.b.chunks(), whole, u.splitter, &manifest.WriteOptions{
		Chunkers:    pool,
		Compression: u.b.b.Compression,
		Digests:     u.opts.Digests,
		Segments:    u.b.s.meta.Segments(u.b.domain()),
		Memory:      u.b.s.sums[u.b.domain()],
		Progress:    u.opts.Progress,
	})
	return err
}

// judge checks the type found in the content against what the bucket, and
// the uploader's signed URL, take.
func (u *upload) judge(found *mimetype.MIME) error {
	if err := u.b.b.Limits.checkType(u.name, u.opts.MIMEType, found); err != nil {
		return err
	}
	if g := u.b.grant(); g != nil && len(g.Types) > 0 {
		signed := Limits{Types: g.Types, TypeCheck: u.b.b.Limits.TypeCheck}
		return signed.checkType(u.name, u.opts.MIMEType, found)
	}
	return nil
}

// An exactReader fails unless its stream has just the size declared.
type exactReader struct {
	r          io.Reader
	left, size int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case e.left < 0:
		return n, fmt.Errorf("more than the %d bytes declared: %w", e.size, ErrSize)
	case err == io.EOF && e.left > 0:
		return n, fmt.Errorf("%d bytes of the %d declared: %w", e.size-e.left, e.size, ErrSize)
	}
	return n, err
}

// encodeMetadata returns metadata as canonical JSON, nil for nil and no bytes
// for none.
func encodeMetadata(m map[string]any) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	if len(m) == 0 {
		return []byte{}, nil
	}
	p, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if len(p) > maxMetadata {
		return nil, fmt.Errorf("%d bytes of metadata, at most %d are kept: %w", len(p), maxMetadata, ErrMetadata)
	}
	return p, nil
}

func decodeMetadata(p []byte) map[string]any {
	m := make(map[string]any)
	if len(p) > 0 {
		json.Unmarshal(p, &m) // encodeMetadata made it
	}
	return m
}

// decodeExact is decodeMetadata for what is stored again: no number loses
// digits on the way.
func decodeExact(p []byte) map[string]any {
	m := make(map[string]any)
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	if len(p) > 0 {
		d.Decode(&m) // encodeMetadata made it
	}
	return m
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%d tags, at most %d are kept: %w", len(tags), maxTags, ErrMetadata)
	}
	for _, t := range tags {
		if t == "" || len(t) > maxTag {
			return fmt.Errorf("tag %q: want 1 to %d bytes: %w", names.Clip(t), maxTag, ErrMetadata)
		}
	}
	return nil
}
