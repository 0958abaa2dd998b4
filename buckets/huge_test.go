package buckets_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A hugeFile is a file of 1 TiB in a store whose reads and writes are counted.
// Its chunks are stored at the beginning, in the middle and at the end; others
// are references to nothing, half of them equal.
type hugeFile struct {
	t      *testing.T
	fs     *crashfs.FS
	s      *buckets.Store
	b      *buckets.Bucket
	id     string
	size   int64
	middle int64 // where stored bytes lie
	real   []byte
	asked  func() // before every call is allowed
}

// Authorize implements access.Authorizer.
func (h *hugeFile) Authorize(context.Context, *access.Request) error {
	if h.asked != nil {
		h.asked()
	}
	return nil
}

const hugeDomain = "local"

func (h *hugeFile) open() (*pebblestore.DB, *cas.Store) {
	t := h.t
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: h.fs.VFS()})
	must(t, err)
	disk, err := diskbackend.Open("packs", &diskbackend.Options{FS: h.fs.Disk("packs")})
	must(t, err)
	chunks, err := cas.Open(t.Context(), disk, db.Index(hugeDomain), nil)
	must(t, err)
	h.s, err = buckets.New(t.Context(), db, map[string]*cas.Store{hugeDomain: chunks},
		map[string]buckets.Policy{"b": {Domain: hugeDomain, Profile: h.profile()}}, &buckets.Options{Auth: h, Closers: []io.Closer{disk, db}})
	must(t, err)
	h.b = bucket(t, h.s, "b")
	return db, chunks
}

// profile and chunk are how the file is cut: coarsely, or as by default where
// there is time for 16 million references.
func (h *hugeFile) profile() string {
	if os.Getenv("CAIRN_SOAK") != "" {
		return "balanced"
	}
	return "media"
}

func (h *hugeFile) chunk() int64 {
	if os.Getenv("CAIRN_SOAK") != "" {
		return 64 << 10
	}
	return 4 << 20
}

func newHugeFile(t *testing.T) *hugeFile {
	h := &hugeFile{t: t, fs: crashfs.New(), real: noise(7, 24<<20)}
	db, chunks := h.open()
	f := put(t, h.b, "huge", "small at first", nil)
	cut, err := chunker.Profile(h.profile())
	must(t, err)
	opts := &manifest.WriteOptions{Segments: db.Segments(hugeDomain)}
	part, _, err := manifest.WritePart(t.Context(), chunks, nil, bytes.NewReader(h.real), cut, opts)
	must(t, err)
	stored := int64(len(h.real) - len(part.Rest))
	r := rand.New(rand.NewPCG(1, 2))
	c, _, err := manifest.Assemble(t.Context(), chunks, func(yield func(cas.Ref) error) error {
		same := cas.Ref{Digest: cas.Sum([]byte("same")), Length: uint32(h.chunk())}
		for i := range 2 {
			for _, ref := range part.Refs {
				if err := yield(ref); err != nil {
					return err
				}
			}
			h.size += stored
			for h.size < int64(i+1)<<39 {
				ref := same
				if h.size < 1<<38 || h.size > 3<<38 {
					for k := 0; k < 32; k += 8 {
						binary.LittleEndian.PutUint64(ref.Digest[k:], r.Uint64())
					}
				}
				if err := yield(ref); err != nil {
					return err
				}
				h.size += h.chunk()
			}
			if i == 0 {
				h.middle = h.size
			}
		}
		return nil
	}, []byte("the last chunk"), cut, opts)
	must(t, err)
	h.size, h.id = c.Size, f.ID
	commit, err := db.Update(t.Context(), hugeDomain, func(tx manifest.Tx) error {
		row, err := tx.File(t.Context(), manifest.FileID(f.ID))
		if err != nil {
			return err
		}
		m := &manifest.Manifest{ID: manifest.NewVersionID(), File: row.ID, Version: 2, Content: *c, CreatedAt: f.CreatedAt}
		row.Current, row.LastVersion, row.Versions = m.ID, 2, 2
		row.TotalSize, row.TotalChunks = row.TotalSize+c.Size, row.TotalChunks+c.Chunks
		if err := tx.PutManifest(t.Context(), m); err != nil {
			return err
		}
		return tx.PutFile(t.Context(), row)
	})
	must(t, err)
	must(t, db.Written(t.Context(), commit.Seq))
	must(t, h.s.Close())
	h.open() // with nothing in memory
	t.Cleanup(func() { must(t, h.s.Close()) })
	return h
}

// cost runs fn, and returns the bytes that it wrote, read and allocated.
func (h *hugeFile) cost(fn func()) (written, read, allocated int64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, r := h.fs.Bytes()
	fn()
	written, read = h.fs.Bytes()
	runtime.ReadMemStats(&after)
	return written - w, read - r, int64(after.TotalAlloc - before.TotalAlloc)
}

func (h *hugeFile) readRange(off int64, n int) []byte {
	h.t.Helper()
	o, err := h.b.Open(h.t.Context(), h.id, nil)
	must(h.t, err)
	defer o.Close()
	p := make([]byte, n)
	_, err = o.ReadAt(p, off)
	must(h.t, err)
	return p
}

// Whatever is done to a file of 1 TiB, it costs the path to what changes.
func TestHugeFile(t *testing.T) {
	race.LeaveOut(t)
	h := newHugeFile(t)
	// The database may finish behind a step what the step before has made.
	const behind = 4 << 10
	ctx, whole := t.Context(), buckets.Piece{Length: -1}
	whole.File = h.id
	for _, step := range []struct {
		name    string
		do      func() *buckets.File
		written int64 // at most, but for bytes of new chunks
		read    int64
	}{
		{"append a byte", func() *buckets.File {
			f, err := h.b.Extend(ctx, h.id, bytes.NewReader([]byte{'x'}), 1, nil)
			must(t, err)
			return f
		}, 128 << 10, 8 << 20},
		{"append a byte again", func() *buckets.File {
			f, err := h.b.Extend(ctx, h.id, bytes.NewReader([]byte{'y'}), 1, nil)
			must(t, err)
			return f
		}, 128 << 10, 8 << 20},
		{"insert at the front", func() *buckets.File {
			f, err := h.b.Edit(ctx, h.id, []buckets.Piece{{Data: []byte("before")}, whole}, nil)
			must(t, err)
			return f
		}, 512 << 10, 32 << 20},
		{"read at the beginning", func() *buckets.File {
			if got := h.readRange(6, 1<<20); !bytes.Equal(got, h.real[:1<<20]) {
				t.Error("other bytes are read")
			}
			return nil
		}, behind, 16 << 20},
		{"read in the middle", func() *buckets.File {
			if got := h.readRange(h.middle+6, 1<<20); !bytes.Equal(got, h.real[:1<<20]) {
				t.Error("other bytes are read")
			}
			return nil
		}, behind, 16 << 20},
		{"read at the end", func() *buckets.File {
			if got := h.readRange(h.size+6-4, 6); string(got) != "hunkxy" {
				t.Errorf("the end is %q", got)
			}
			return nil
		}, behind, 1 << 20},
		{"restore a version", func() *buckets.File {
			f, err := h.b.RestoreVersion(ctx, h.id, 2)
			must(t, err)
			return f
		}, 64 << 10, 4 << 20},
		{"delete", func() *buckets.File {
			f, err := h.b.Delete(ctx, h.id, nil)
			must(t, err)
			return f
		}, 64 << 10, 4 << 20},
	} {
		var f *buckets.File
		written, read, allocated := h.cost(func() { f = step.do() })
		if f != nil {
			written -= f.NewBytes
		}
		t.Logf("%s: %d bytes written, %d read, %d allocated", step.name, written, read, allocated)
		if written > step.written || read > step.read || allocated > 128<<20 {
			t.Errorf("%s: %d bytes are written, at most %d are to be, %d are read, at most %d, and %d allocated", step.name, written, step.written, read, step.read, allocated)
		}
	}
}

// What is taken from a version need not be looked up while its row is there,
// also if it is in the trash. When it is purged before the commit, everything
// is: here most chunks are nowhere.
func TestEditOfWhatIsPurged(t *testing.T) {
	race.LeaveOut(t)
	h := newHugeFile(t)
	ctx := t.Context()
	gone, calls := 0, 0
	for at := 1; calls >= at-1; at++ { // until no call is left to be purged at
		src, err := h.b.Copy(ctx, h.id, h.b, &buckets.CopyOptions{Name: "source"})
		must(t, err)
		calls = 0
		h.asked = func() {
			if calls++; calls == at {
				h.asked = nil
				must(t, h.b.Purge(ctx, src.ID, nil))
			}
		}
		f, err := h.b.Compose(ctx, "new", []buckets.Piece{{File: src.ID, Length: -1}, {Data: []byte("x")}}, nil)
		h.asked = nil
		switch {
		case calls < at:
			must(t, err)
			if f.Size != h.size+1 {
				t.Errorf("%d bytes, want %d", f.Size, h.size+1)
			}
		case errors.Is(err, buckets.ErrChunksGone):
			gone++
		case !errors.Is(err, buckets.ErrNoFile):
			t.Errorf("purged at call %d: %v", at, err)
		}
	}
	if gone == 0 {
		t.Error("no purge fell between the look at the source and the commit")
	}
	src, err := h.b.Copy(ctx, h.id, h.b, &buckets.CopyOptions{Name: "other source"})
	must(t, err)
	calls = 0
	h.asked = func() {
		if calls++; calls == 3 {
			h.asked = nil
			_, err := h.b.Delete(ctx, src.ID, nil)
			must(t, err)
		}
	}
	_, err = h.b.Compose(ctx, "newer", []buckets.Piece{{File: src.ManifestID, Length: -1}, {Data: []byte("x")}}, nil)
	must(t, err)
}
