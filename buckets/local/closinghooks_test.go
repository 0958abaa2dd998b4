package local_test

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// hooks are told of the calls that a store makes of its database and of its packs.
type hooks struct {
	calls atomic.Int64
	at    atomic.Int64 // the call at which fn is called; 0 is none
	fn    func()
}

func (h *hooks) call() {
	if n := h.calls.Add(1); n == h.at.Load() {
		h.fn()
	}
}

// hookSeq tells h of the beginning and of each element.
func hookSeq[E any](h *hooks, seq iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		h.call()
		for e, err := range seq {
			h.call()
			if !yield(e, err) {
				return
			}
		}
	}
}

// A hookedMeta tells h of calls, before they are made, and of transactions also in them and
// after them.
type hookedMeta struct {
	local.Database
	h *hooks
}

func (m *hookedMeta) Update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) (*manifest.Commit, error) {
	m.h.call()
	defer m.h.call()
	return m.Database.Update(ctx, domain, func(tx manifest.Tx) error {
		m.h.call()
		defer m.h.call()
		return fn(tx)
	})
}

func (m *hookedMeta) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	m.h.call()
	return m.Database.File(ctx, id)
}

func (m *hookedMeta) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	m.h.call()
	return m.Database.FileByPath(ctx, bucket, path)
}

func (m *hookedMeta) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	m.h.call()
	return m.Database.Manifest(ctx, id)
}

func (m *hookedMeta) Rows(ctx context.Context, files []manifest.FileID, versions []manifest.VersionID) ([]*manifest.Row, error) {
	m.h.call()
	return m.Database.Rows(ctx, files, versions)
}

func (m *hookedMeta) VersionsBelow(ctx context.Context, file manifest.FileID, below uint64) iter.Seq2[*manifest.Manifest, error] {
	return hookSeq(m.h, m.Database.VersionsBelow(ctx, file, below))
}

func (m *hookedMeta) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return hookSeq(m.h, m.Database.List(ctx, bucket, r))
}

func (m *hookedMeta) AllRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	return hookSeq(m.h, m.Database.AllRows(ctx, bucket))
}

func (m *hookedMeta) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	return hookSeq(m.h, m.Database.Roots(ctx, domain))
}

func (m *hookedMeta) Graves(ctx context.Context, domain string) iter.Seq2[*manifest.Grave, error] {
	return hookSeq(m.h, m.Database.Graves(ctx, domain))
}

func (m *hookedMeta) Ledger(ctx context.Context) iter.Seq2[*manifest.Freed, error] {
	return hookSeq(m.h, m.Database.Ledger(ctx))
}

func (m *hookedMeta) Unwritten(ctx context.Context) iter.Seq2[*manifest.Commit, error] {
	return hookSeq(m.h, m.Database.Unwritten(ctx))
}

func (m *hookedMeta) UploadParts(ctx context.Context, id manifest.UploadID, from uint64) iter.Seq2[[]cas.Ref, error] {
	return hookSeq(m.h, m.Database.UploadParts(ctx, id, from))
}

func (m *hookedMeta) View(ctx context.Context, fn func(manifest.View) error) error {
	m.h.call()
	return m.Database.View(ctx, func(v manifest.View) error {
		m.h.call()
		return fn(v)
	})
}

func (m *hookedMeta) Usage(ctx context.Context, bucket string) (manifest.Usage, error) {
	m.h.call()
	return m.Database.Usage(ctx, bucket)
}

func (m *hookedMeta) LastCommit(ctx context.Context) (uint64, error) {
	m.h.call()
	return m.Database.LastCommit(ctx)
}

func (m *hookedMeta) TakeNumber(ctx context.Context) (uint64, error) {
	m.h.call()
	return m.Database.TakeNumber(ctx)
}

func (m *hookedMeta) Written(ctx context.Context, seqs ...uint64) error {
	m.h.call()
	defer m.h.call()
	return m.Database.Written(ctx, seqs...)
}

func (m *hookedMeta) Register(ctx context.Context, domain string) (manifest.Writer, error) {
	m.h.call()
	return m.Database.Register(ctx, domain)
}

func (m *hookedMeta) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	m.h.call()
	return m.Database.Unregister(ctx, domain, id)
}

func (m *hookedMeta) Upload(ctx context.Context, bucket string, id manifest.UploadID) (*manifest.Upload, error) {
	m.h.call()
	return m.Database.Upload(ctx, bucket, id)
}

func (m *hookedMeta) Host(ctx context.Context, name string) (*manifest.Host, error) {
	m.h.call()
	return m.Database.Host(ctx, name)
}

func (m *hookedMeta) TakeLease(ctx context.Context, domain string, length time.Duration) (manifest.Lease, error) {
	m.h.call()
	return m.Database.TakeLease(ctx, domain, length)
}

func (m *hookedMeta) RaiseFloor(ctx context.Context, l manifest.Lease, floor uint64) error {
	m.h.call()
	return m.Database.RaiseFloor(ctx, l, floor)
}

func (m *hookedMeta) Segments(domain string) manifest.Segments {
	return &hookedSegments{m.Database.Segments(domain), m.h}
}

type hookedSegments struct {
	below manifest.Segments
	h     *hooks
}

func (s *hookedSegments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	s.h.call()
	return s.below.Segments(ctx, ds)
}

func (s *hookedSegments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	s.h.call()
	return s.below.PutSegments(ctx, segs)
}

func (m *hookedMeta) Index(domain string) cas.Index {
	return &hookedIndex{m.Database.Index(domain), m.h}
}

type hookedIndex struct {
	cas.Index
	h *hooks
}

func (x *hookedIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	x.h.call()
	return x.Index.Chunks(ctx, ds, out)
}

func (x *hookedIndex) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	x.h.call()
	return x.Index.Hit(ctx, since, ds, out)
}

func (x *hookedIndex) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	x.h.call()
	return x.Index.Frames(ctx, ids, out)
}

func (x *hookedIndex) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	return hookSeq(x.h, x.Index.PackFrames(ctx, id))
}

func (x *hookedIndex) Apply(ctx context.Context, c *cas.Change) error {
	x.h.call()
	defer x.h.call()
	return x.Index.Apply(ctx, c)
}

func (x *hookedIndex) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return hookSeq(x.h, x.Index.AllChunks(ctx))
}

func (x *hookedIndex) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return hookSeq(x.h, x.Index.AllFrames(ctx))
}

func (x *hookedIndex) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return hookSeq(x.h, x.Index.AllPacks(ctx))
}

// A hookedDisk tells h of what is done to the files of packs.
type hookedDisk struct {
	diskbackend.FS
	h *hooks
}

func (d *hookedDisk) Create(name string) (diskbackend.File, error) {
	d.h.call()
	f, err := d.FS.Create(name)
	return &hookedFile{f, d.h}, err
}

func (d *hookedDisk) Append(name string) (diskbackend.File, int64, error) {
	d.h.call()
	f, n, err := d.FS.Append(name)
	return &hookedFile{f, d.h}, n, err
}

func (d *hookedDisk) Open(name string) (diskbackend.ReadFile, error) {
	d.h.call()
	f, err := d.FS.Open(name)
	return &hookedReadFile{f, d.h}, err
}

func (d *hookedDisk) Rename(from, to string) error {
	d.h.call()
	return d.FS.Rename(from, to)
}

func (d *hookedDisk) Remove(name string) error {
	d.h.call()
	return d.FS.Remove(name)
}

func (d *hookedDisk) ReadDir(dir string) ([]string, error) {
	d.h.call()
	return d.FS.ReadDir(dir)
}

func (d *hookedDisk) SyncDir(dir string) error {
	d.h.call()
	return d.FS.SyncDir(dir)
}

type hookedFile struct {
	diskbackend.File
	h *hooks
}

func (f *hookedFile) Write(p []byte) (int, error) {
	f.h.call()
	return f.File.Write(p)
}

func (f *hookedFile) Sync() error {
	f.h.call()
	defer f.h.call()
	return f.File.Sync()
}

type hookedReadFile struct {
	diskbackend.ReadFile
	h *hooks
}

func (f *hookedReadFile) ReadAt(p []byte, off int64) (int, error) {
	f.h.call()
	return f.ReadFile.ReadAt(p, off)
}
