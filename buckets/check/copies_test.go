package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A toyCodec makes frames of whole sources and of bytes of its own: its payload
// is the numbers of the sources, each in a byte, a byte 255, and the rest.
type toyCodec struct{}

const toy = cas.Codec(200)

func (toyCodec) Decode(dst, payload []byte, sources [][]byte, _ int) ([]byte, error) {
	for i, n := range payload {
		if n == 255 {
			return append(dst, payload[i+1:]...), nil
		}
		if int(n) >= len(sources) {
			return nil, errors.New("no such source")
		}
		dst = append(dst, sources[n]...)
	}
	return dst, nil
}

// A fixture is a store in a backend, with a database in a directory.
type fixture struct {
	t      *testing.T
	b      backend.Backend
	dir    string
	size   int64 // of packs; 0 is the default
	db     *pebblestore.DB
	chunks *cas.Store
}

func newFixture(t *testing.T, b backend.Backend, dir string) *fixture {
	t.Helper()
	return (&fixture{t: t, b: b, dir: dir}).open()
}

// open opens the database and the backend of f.
func (f *fixture) open() *fixture {
	t, b, dir := f.t, f.b, f.dir
	t.Helper()
	db, err := pebblestore.Open(dir, nil)
	must(t, err)
	store, err := db.StoreID(t.Context())
	must(t, err)
	domain, err := db.DomainID(t.Context(), "x")
	must(t, err)
	chunks, err := cas.Open(t.Context(), b, db.Index("x"), &cas.Options{Store: store, Domain: domain, PackSize: f.size,
		Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}})
	must(t, err)
	return &fixture{t, b, dir, f.size, db, chunks}
}

func (f *fixture) store() *Store {
	return &Store{Meta: f.db, Domains: []*Domain{{Name: "x", Chunks: f.chunks}}}
}

func (f *fixture) close() {
	must(f.t, errors.Join(f.chunks.Close(), f.db.Close()))
}

// change opens the store anew, changes its bucket and closes it.
func (f *fixture) change(change func(b *buckets.Bucket)) {
	f.t.Helper()
	g := f.open()
	s, err := buckets.New(f.t.Context(), g.db, map[string]*cas.Store{"x": g.chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}},
		&buckets.Options{Closers: []io.Closer{g.db}})
	must(f.t, err)
	b, err := s.Bucket("demo")
	must(f.t, err)
	change(b)
	must(f.t, s.Close())
}

func (f *fixture) put(name string, p []byte) {
	f.t.Helper()
	f.change(func(b *buckets.Bucket) {
		_, err := b.Put(f.t.Context(), name, bytes.NewReader(p), nil)
		must(f.t, err)
	})
}

// copyDir returns a copy of the database, which must be closed.
func (f *fixture) copyDir() string {
	f.t.Helper()
	dir := f.t.TempDir() + "/copy"
	must(f.t, os.CopyFS(dir, os.DirFS(f.dir)))
	return dir
}

// madeOf is the chunk that addToy makes from two others.
func madeOf(a, b []byte) []byte {
	return slices.Concat(b[:300], a[10:], b[:300], []byte("and its own"))
}

// damage changes a byte of the frame in which the index has a chunk, and seals
// its pack, so that a rebuild does not read it.
func (f *fixture) damage(p []byte) {
	f.t.Helper()
	g := newFixture(f.t, f.b, f.dir)
	defer g.close()
	chunks, frames := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	must(f.t, g.chunks.Index().Chunks(f.t.Context(), []cas.Digest{cas.Sum(p)}, chunks))
	must(f.t, g.chunks.Index().Frames(f.t.Context(), []cas.FrameID{chunks[0].Frame}, frames))
	f.rewritePack(frames[0].Pack, func(text []byte) []byte {
		text = sealPack(f.t, frames[0].Pack, text)
		text[frames[0].Offset+int64(frames[0].HeaderLen)+5] ^= 1
		return text
	})
}

// sealPack adds a footer to a pack.
func sealPack(t *testing.T, id cas.PackID, text []byte) []byte {
	t.Helper()
	var lines pack.Lines
	must(t, pack.WalkFrames(t.Context(), bytesReader(text), id, int64(len(text)), nil, func(w *pack.Found) error {
		lines.Add(w.Frame, pack.AppendFrame(nil, w.Frame))
		return nil
	}))
	return pack.AppendFooter(text, id, &lines)
}

// rewritePack changes bytes of a pack.
func (f *fixture) rewritePack(id cas.PackID, change func(text []byte) []byte) {
	f.t.Helper()
	info, err := f.b.Stat(f.t.Context(), id.Key())
	must(f.t, err)
	text := make([]byte, info.Size)
	must(f.t, f.b.ReadAt(f.t.Context(), id.Key(), text, 0))
	text = change(text)
	must(f.t, f.b.Delete(f.t.Context(), id.Key()))
	w, err := f.b.Create(f.t.Context(), id.Key())
	must(f.t, err)
	_, err = w.Write(text)
	must(f.t, err)
	must(f.t, w.Commit())
}

// addToy adds a pack with a frame of one chunk that is made from the ends of two
// others, and returns the chunk. first is the first byte of the pack's ID, so 0
// makes it the oldest pack, and 255 the newest. The index learns of it.
func (f *fixture) addToy(first byte, sealed bool, a, b []byte) []byte {
	f.t.Helper()
	g := newFixture(f.t, f.b, f.dir)
	defer g.close()
	store, err := g.db.StoreID(f.t.Context())
	must(f.t, err)
	domain, err := g.db.DomainID(f.t.Context(), "x")
	must(f.t, err)
	sources := []cas.Source{{Digest: cas.Sum(a), Offset: 10, Length: uint32(len(a) - 10)}, {Digest: cas.Sum(b), Offset: 0, Length: 300}}
	chunk := madeOf(a, b)
	payload := append([]byte{1, 0, 1, 255}, "and its own"...)
	id := cas.PackID(pack.NewID())
	id[0] = first
	text := pack.AppendHeader(nil, &pack.Header{Pack: id, Store: store, Domain: domain, Writer: [16]byte{first, 1}, Serial: 1})
	h := &pack.Frame{ID: pack.NewID(), Pack: id, Offset: int64(len(text)), Kind: cas.KindData, Codec: toy, StoredLen: uint32(len(payload)),
		CRC: pack.Checksum(payload), Slots: []cas.Ref{{Digest: cas.Sum(chunk), Length: uint32(len(chunk))}}, Sources: sources}
	var lines pack.Lines
	head := pack.AppendFrame(nil, h)
	lines.Add(h, head)
	text = append(append(text, head...), payload...)
	if sealed {
		text = pack.AppendFooter(text, id, &lines)
	}
	w, err := f.b.Create(f.t.Context(), id.Key())
	must(f.t, err)
	_, err = w.Write(text)
	must(f.t, err)
	must(f.t, w.Commit())
	info, err := g.chunks.Inspect(f.t.Context(), cas.PackEntry{ID: id, Size: int64(len(text))})
	must(f.t, err)
	frame := info.Frames[0]
	must(f.t, g.chunks.Apply(f.t.Context(), &cas.Change{Packs: []cas.PackEntry{info.PackEntry}, Frames: []cas.FrameEntry{frame.Entry}, Chunks: frame.Chunks}))
	return chunk
}

// packOf returns the pack that the index names for a chunk.
func (f *fixture) packOf(p []byte) cas.PackID {
	f.t.Helper()
	chunks, frames := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	must(f.t, f.chunks.Index().Chunks(f.t.Context(), []cas.Digest{cas.Sum(p)}, chunks))
	must(f.t, f.chunks.Index().Frames(f.t.Context(), []cas.FrameID{chunks[0].Frame}, frames))
	return frames[0].Pack
}

// verify checks the store, and that files read as they should; nil is a file
// that cannot be read.
func (f *fixture) verify(files map[string][]byte) *Report {
	f.t.Helper()
	r, err := f.store().Check(f.t.Context(), nil)
	must(f.t, err)
	damaged := make(map[string]bool)
	for _, p := range r.Damaged {
		damaged[p.Path] = true
	}
	for _, p := range r.Problems {
		if strings.Contains(p.Detail, "does not know its frame") {
			f.t.Errorf("check finds %+v", p)
		}
	}
	s, err := buckets.New(f.t.Context(), f.db, map[string]*cas.Store{"x": f.chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}}, nil)
	must(f.t, err)
	b, err := s.Bucket("demo")
	must(f.t, err)
	n := 0
	for file, err := range b.List(f.t.Context(), nil) {
		must(f.t, err)
		n++
		want, ok := files[file.Name]
		got, err := readAll(f.t.Context(), b, file.ID)
		if !ok || (err == nil) != (want != nil) || err == nil && !bytes.Equal(got, want) {
			f.t.Errorf("file %s: %d bytes, want %d, %v", file.Name, len(got), len(want), err)
		}
		if damaged["demo/"+file.Name] != (want == nil) {
			f.t.Errorf("file %s: check calls it damaged: %v, want %v", file.Name, !(want == nil), want == nil)
		}
	}
	if n != len(files) {
		f.t.Errorf("%d files, want %d", n, len(files))
	}
	must(f.t, f.chunks.Close())
	must(f.t, f.db.Close())
	return r
}

func readAll(ctx context.Context, b *buckets.Bucket, id string) ([]byte, error) {
	o, err := b.Open(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

// Frames that are made from others come back from the packs alone, and into a
// database from before them, wherever their sources lie.
func TestRebuildCopies(t *testing.T) {
	for _, first := range []byte{0, 255} {
		for _, sealed := range []bool{true, false} {
			t.Run(fmt.Sprintf("pack %d, sealed %v", first, sealed), func(t *testing.T) {
				t.Parallel()
				f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
				a, b, c := noise(1, 9000), noise(2, 8000), noise(3, 7000)
				f.put("a", a)
				f.put("b", b)
				before := f.copyDir()
				copied := f.addToy(first, sealed, a, b)
				f.put("copied", copied)
				f.put("c", c)
				files := map[string][]byte{"a": a, "b": b, "c": c, "copied": copied}
				r := newFixture(t, f.b, f.dir).verify(files)
				if !r.OK {
					t.Errorf("check finds %+v", r)
				}

				g := newFixture(t, f.b, t.TempDir())
				must(t, g.store().Rebuild(t.Context()))
				if r := g.verify(files); !r.OK {
					t.Errorf("rebuilt: check finds %+v", r)
				}

				g = newFixture(t, f.b, before)
				s := g.store()
				must(t, s.Survey(t.Context()))
				if !errors.Is(s.Stale(), ErrStaleMetadata) {
					t.Errorf("stale: %v", s.Stale())
				}
				must(t, s.CatchUp(t.Context()))
				if r := g.verify(files); !r.OK {
					t.Errorf("caught up: check finds %+v", r)
				}
			})
		}
	}
}

// Of a chunk that lies in a frame without sources and in one with, the one
// without counts, since others may be made from it; if it is damaged, the copy in
// the later pack does.
func TestRebuildTakesLaterCopy(t *testing.T) {
	for _, first := range []byte{0, 255} {
		for _, damaged := range []bool{false, true} {
			f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
			a, b := noise(1, 9000), noise(2, 8000)
			f.put("a", a)
			f.put("b", b)
			f.put("copied", madeOf(a, b))
			if damaged {
				f.damage(madeOf(a, b))
			}
			copied := f.addToy(first, true, a, b)
			g := newFixture(t, f.b, t.TempDir())
			must(t, g.store().Rebuild(t.Context()))
			if id := g.packOf(copied); (id[0] == first) != (first == 255 && damaged) {
				t.Errorf("damaged %v: pack %s counts, of the toy's begins with %d", damaged, id, first)
			}
			files := map[string][]byte{"a": a, "b": b, "copied": copied}
			if first == 0 && damaged { // the later one is taken for whole, as its footer vouches for it
				files["copied"] = nil
			}
			if r := g.verify(files); r.OK != (files["copied"] != nil) {
				t.Errorf("check finds %+v", r)
			}
		}
	}
}

// A chunk that others are made from, and that a frame with sources in a later
// pack holds too, as a frame that was moved does, is not taken from them.
func TestRebuildKeepsSources(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	a, b := noise(1, 9000), noise(2, 8000)
	source := madeOf(a, b)
	f.put("a", a)
	f.put("b", b)
	f.put("source", source)
	before := f.copyDir()
	made := f.addToy(254, true, source, b)
	f.put("made", made)
	f.addToy(255, true, a, b) // has the source too
	f.put("b2", b)            // a commit, so that the copy is older
	files := map[string][]byte{"a": a, "b": b, "source": source, "made": made, "b2": b}
	g := newFixture(t, f.b, t.TempDir())
	must(t, g.store().Rebuild(t.Context()))
	if r := g.verify(files); !r.OK {
		t.Errorf("rebuilt: check finds %+v", r)
	}
	g = newFixture(t, f.b, before)
	s := g.store()
	must(t, s.Survey(t.Context()))
	must(t, s.CatchUp(t.Context()))
	if r := g.verify(files); !r.OK {
		t.Errorf("caught up: check finds %+v", r)
	}
}

// A source that is lost, damaged or doomed takes what is made from it along,
// and nothing else.
func TestRebuildWithoutSources(t *testing.T) {
	for _, how := range []string{"lost", "damaged", "doomed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
			a, b, c := noise(1, 9000), noise(2, 8000), noise(3, 7000)
			f.put("b", b)
			f.put("c", c)
			f.put("a", a)
			copied := f.addToy(255, true, a, b)
			f.put("copied", copied)
			g := newFixture(t, f.b, f.dir)
			id := g.packOf(a)
			entry := make([]cas.FrameEntry, 0, 1)
			for e, err := range g.chunks.Index().PackFrames(t.Context(), id) {
				must(t, err)
				if e.Kind == cas.KindData {
					entry = append(entry, e)
				}
			}
			size, err := f.b.Stat(t.Context(), id.Key())
			must(t, err)
			text := make([]byte, size.Size)
			must(t, f.b.ReadAt(t.Context(), id.Key(), text, 0))
			if how == "doomed" {
				seq, err := g.db.TakeNumber(t.Context())
				must(t, err)
				h, err := pack.ReadHeader(t.Context(), bytesReader(text), id, size.Size)
				must(t, err)
				slots, err := manifest.EncodeCommit(seq, []manifest.Record{{Doomed: &manifest.Doom{Pack: id, Writer: h.Writer, Serial: h.Serial}}})
				must(t, err)
				must(t, g.chunks.AppendRecords(t.Context(), &cas.Records{Commit: seq, Slots: slots}))
			}
			g.close()
			old := f.copyDir()
			files := map[string][]byte{"a": nil, "b": b, "c": c, "copied": nil}
			if how == "lost" {
				must(t, f.b.Delete(t.Context(), id.Key()))
				delete(files, "a") // its records lay there too
			}
			if how == "damaged" {
				text[entry[0].Offset+int64(entry[0].HeaderLen)+5] ^= 1
				must(t, f.b.Delete(t.Context(), id.Key()))
				w, err := f.b.Create(t.Context(), id.Key())
				must(t, err)
				_, err = w.Write(text)
				must(t, err)
				must(t, w.Commit())
			}

			g = newFixture(t, f.b, t.TempDir())
			must(t, g.store().Rebuild(t.Context()))
			if r := g.verify(files); r.OK {
				t.Errorf("check finds nothing")
			}
			if how != "doomed" {
				return
			}
			g = newFixture(t, f.b, old)
			s := g.store()
			must(t, s.Survey(t.Context()))
			must(t, s.CatchUp(t.Context()))
			if r := g.verify(files); r.OK {
				t.Errorf("caught up: check finds nothing")
			}
		})
	}
}

// bytesReader reads from memory.
type bytesReader []byte

func (r bytesReader) ReadAt(_ context.Context, p []byte, off int64) error {
	if copy(p, r[off:]) < len(p) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// A rebuild takes the newest checkpoint that is whole: what it does not hold is
// gone, and what came after it is there.
func TestRebuildTakesNewestCheckpoint(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	contents := make(map[string][]byte)
	for i := range 4 {
		name := fmt.Sprint("f", i)
		contents[name] = noise(uint64(i), 1000)
		f.put(name, contents[name])
		g := newFixture(t, f.b, f.dir)
		switch i { // each leaves out a file that it should hold, to be told by
		case 0:
			g.writeCheckpoint(1, true)
		case 2:
			g.writeCheckpoint(2, true, "f0", "f1")
		case 3:
			g.writeCheckpoint(3, false, "f0")
		}
		g.close()
	}
	g := newFixture(t, f.b, t.TempDir())
	must(t, g.store().Rebuild(t.Context()))
	delete(contents, "f2")
	g.verify(contents)
}

// writeCheckpoint appends a checkpoint of the present that holds the named files
// alone, to the packs; one that is not whole lacks its first part.
func (f *fixture) writeCheckpoint(id byte, whole bool, names ...string) {
	f.t.Helper()
	base, err := f.db.LastCommit(f.t.Context())
	must(f.t, err)
	var parts [][]byte
	for _, name := range names {
		file, err := f.db.FileByPath(f.t.Context(), "demo", name)
		must(f.t, err)
		m, err := f.db.Manifest(f.t.Context(), file.Current)
		must(f.t, err)
		commit, err := manifest.EncodeCommit(1, []manifest.Record{{File: file}, {Manifest: m}})
		must(f.t, err)
		parts = append(parts, checkpointSlot(2, id, base, uint64(len(parts)+1), commit[0][slotHead(commit[0]):]))
	}
	h := blake3.NewDerived("cairn-store/cairn 2026 checkpoint v1")
	for _, p := range parts {
		d := cas.Sum(p)
		h.Write(d[:])
	}
	end := checkpointSlot(3, id, base, uint64(len(parts)), h.Sum(nil))
	if !whole {
		parts = parts[1:]
	}
	seq, err := f.db.TakeNumber(f.t.Context())
	must(f.t, err)
	must(f.t, f.chunks.AppendRecords(f.t.Context(), &cas.Records{Commit: seq, Base: base, Slots: append(parts, end)}))
	if whole {
		must(f.t, f.db.SetCheckpoint(f.t.Context(), "x", base))
	}
}

// slotHead is the length of what comes before the records of commit 1, part 1 of
// 1: tag, version, length, type and numbers.
func slotHead(slot []byte) int {
	_, n := binary.Uvarint(slot[2:])
	return 2 + n + 4
}

// checkpointSlot encodes a slot of a checkpoint as manifest/FORMAT.md has it.
func checkpointSlot(typ, id byte, base, n uint64, rest []byte) []byte {
	body := append([]byte{typ}, slices.Concat([]byte{id}, make([]byte, 15))...)
	body = binary.AppendUvarint(body, base)
	body = append(binary.AppendUvarint(body, n), rest...)
	return append(binary.AppendUvarint([]byte{'R', 1}, uint64(len(body))), body...)
}
