package formattest

import (
	"bytes"
	"context"
	"errors"
	stdflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/manifest"
)

var update = stdflag.Bool("update", false, "write the golden packs anew")

// goldenPacks are, by the names of their files, what the store has written once and both decoders must read for ever.
var goldenPacks = map[string]struct {
	write func(t *testing.T, b *backendtest.FaultyBackend, sealer *gcmSealer) (*cas.Store, cas.PackID)
	check func(p *pack) error
}{
	"sealed-frames": {writeSealedFrames, checkSealedFrames},
	"notes":         {writeNotes, checkNotes},
	"tree":          {writeTree, checkTree},
}

func TestGoldenPacks(t *testing.T) {
	for name, c := range goldenPacks {
		file := filepath.Join("testdata", name+".pack")
		sealer := newSealer(t)
		if *update {
			writeGoldenPack(t, file, sealer, c.write)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parsePackHeader(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p, err := readPack(h.pack, data)
		if err == nil {
			err = errors.Join(p.damaged...)
		}
		for i := 0; err == nil && i < len(p.frames); i++ {
			err = p.frames[i].decode(sealer.open)
		}
		if err == nil {
			err = c.check(p)
		}
		if err != nil {
			t.Errorf("%s, read by the second decoder: %v", name, err)
			continue
		}
		if err := readByStore(t.Context(), data, sealer, p); err != nil {
			t.Errorf("%s, read by the store: %v", name, err)
		}
	}
}

// readByStore verifies every frame with package cas, and that it finds the slots that the second decoder has found.
func readByStore(ctx context.Context, data []byte, sealer *gcmSealer, want *pack) error {
	b := membackend.New(nil)
	id := cas.PackID(want.id)
	w, err := b.Create(ctx, id.Key())
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	s, err := cas.Open(ctx, b, castest.NewMemIndex(), &cas.Options{Sealer: sealer})
	if err != nil {
		return err
	}
	defer s.Close()
	n := 0
	_, err = s.Walk(ctx, cas.PackEntry{ID: id, Size: int64(len(data))}, func(f *cas.Frame) error {
		if f.Damage != nil {
			return f.Damage
		}
		bad, plain, err := s.Verify(ctx, f)
		if err != nil || len(bad) > 0 {
			return fmt.Errorf("frame at %d: %d bad slots, %v", f.Entry.Offset, len(bad), err)
		}
		if n == len(want.frames) || len(plain) != len(want.frames[n].slots) {
			return fmt.Errorf("frame at %d has %d slots, which the second decoder has not found", f.Entry.Offset, len(plain))
		}
		for i, p := range plain {
			if !bytes.Equal(p, want.frames[n].slots[i].plain) {
				return fmt.Errorf("slot %d of the frame at %d differs", i, f.Entry.Offset)
			}
		}
		n++
		return nil
	})
	if err == nil && n != len(want.frames) {
		err = fmt.Errorf("%d frames, want %d", n, len(want.frames))
	}
	return err
}

func writeGoldenPack(t *testing.T, file string, sealer *gcmSealer, write func(*testing.T, *backendtest.FaultyBackend, *gcmSealer) (*cas.Store, cas.PackID)) {
	t.Helper()
	b := backendtest.Faulty(membackend.New(nil))
	s, id := write(t, b, sealer)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := b.Stat(t.Context(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, info.Size)
	if err := b.ReadAt(t.Context(), id.Key(), data, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func openGolden(t *testing.T, b backend.Backend, opts cas.Options) *cas.Store {
	t.Helper()
	opts.Store, opts.Domain = [16]byte{'s'}, [16]byte{'d'}
	s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lastPack is the pack that was made last.
func lastPack(t *testing.T, s *cas.Store) (id cas.PackID) {
	t.Helper()
	serial := uint64(0)
	for e, err := range s.Index().AllPacks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Serial > serial {
			id, serial = e.ID, e.Serial
		}
	}
	return id
}

const (
	goldenChunk   = "a chunk that is sealed"
	goldenSegment = "a segment that is sealed"
	goldenRecord  = "a record that is sealed"
)

// writeSealedFrames writes a sealed frame of each kind.
func writeSealedFrames(t *testing.T, b *backendtest.FaultyBackend, sealer *gcmSealer) (*cas.Store, cas.PackID) {
	s := openGolden(t, b, cas.Options{Sealer: sealer})
	batch := s.NewBatch(t.Context(), &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Zstd}})
	defer batch.Close()
	err := batch.Put([]byte(goldenChunk))
	if err == nil {
		_, err = batch.PutSegment(t.Context(), []byte(goldenSegment))
	}
	if err == nil {
		err = batch.Flush()
	}
	if err == nil {
		err = s.AppendRecords(t.Context(), &cas.Records{Commit: 7, Slots: [][]byte{[]byte(goldenRecord)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, lastPack(t, s)
}

func checkSealedFrames(p *pack) error {
	found := map[byte]string{}
	for _, f := range p.frames {
		if !f.sealed() || f.key != 7 {
			return fmt.Errorf("frame at %d is not sealed with key 7", f.offset)
		}
		found[f.kind] += string(f.slots[0].plain)
	}
	if found[kindData] != goldenChunk || found[kindSegments] != goldenSegment || found[kindRecords] != goldenRecord {
		return fmt.Errorf("slots hold %q", found)
	}
	return nil
}

// writeNotes makes the syncs of two packs fail: their serials are given up, and the next pack has notes that say so.
func writeNotes(t *testing.T, b *backendtest.FaultyBackend, _ *gcmSealer) (*cas.Store, cas.PackID) {
	s := openGolden(t, b, cas.Options{})
	put := func(text string) error {
		batch := s.NewBatch(t.Context(), &cas.BatchOptions{})
		defer batch.Close()
		if err := batch.Put([]byte(text)); err != nil {
			return err
		}
		return batch.Flush()
	}
	for i := range 2 {
		b.Add(backendtest.Rule{Op: backendtest.OpSync})
		if err := put(fmt.Sprint("lost ", i)); !errors.Is(err, backendtest.ErrInjected) {
			t.Fatalf("got %v, want %v", err, backendtest.ErrInjected)
		}
	}
	if err := put("a chunk beside notes"); err != nil {
		t.Fatal(err)
	}
	return s, lastPack(t, s)
}

func checkNotes(p *pack) error {
	given := map[uint64]bool{}
	for _, f := range p.frames {
		if f.kind == kindData || f.kind == kindSegments || f.kind == kindRecords {
			continue
		}
		for _, s := range f.slots {
			v, err := parseNote(s.plain)
			if err != nil {
				return err
			}
			if v.writer != p.writer {
				return fmt.Errorf("note of writer %x in a pack of %x", v.writer, p.writer)
			}
			given[v.serial] = true
		}
	}
	if len(given) != 2 || !given[1] || !given[2] || p.serial != 3 {
		return fmt.Errorf("serials given up are %v, in pack %d", given, p.serial)
	}
	return nil
}

// tenBytes cuts chunks of 10 bytes.
type tenBytes struct{}

func (tenBytes) Split(p []byte) int { return min(10, len(p)) }
func (tenBytes) Min() int           { return 10 }
func (tenBytes) Max() int           { return 10 }
func (tenBytes) String() string     { return "ten" }

const treeChunks = 400

func treeText() string {
	var text bytes.Buffer
	for i := range treeChunks {
		fmt.Fprintf(&text, "chunk %04d", max(0, i-20)) // a run of equal chunks first
	}
	return text.String()
}

// writeTree writes a content whose chunk list is a tree of two levels.
func writeTree(t *testing.T, b *backendtest.FaultyBackend, _ *gcmSealer) (*cas.Store, cas.PackID) {
	s := openGolden(t, b, cas.Options{})
	c, _, err := manifest.Write(t.Context(), s, bytes.NewReader([]byte(treeText())), tenBytes{},
		&manifest.WriteOptions{Compression: cas.Compression{Codec: cas.Zstd}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Height != 1 {
		t.Fatalf("height %d, want 1", c.Height)
	}
	return s, lastPack(t, s)
}

func checkTree(p *pack) error {
	nodes, chunks := map[digest][]byte{}, map[digest][]byte{}
	var top digest
	var height byte
	for _, f := range p.frames {
		for _, s := range f.slots {
			if f.kind != kindSegments {
				chunks[digest(s.digest)] = s.plain
				continue
			}
			n, err := parseNode(s.plain)
			if err != nil {
				return err
			}
			if nodes[digest(s.digest)] = s.plain; n.level >= height {
				top, height = digest(s.digest), n.level
			}
		}
	}
	n, err := parseNode(nodes[top])
	if err != nil {
		return err
	}
	list, err := appendNode(nil, func(d digest) ([]byte, error) { return nodes[d], nil },
		&entry{digest: top, chunks: n.chunks, bytes: n.bytes}, height, true)
	if err != nil {
		return err
	}
	var text []byte
	for _, r := range list {
		text = append(text, chunks[r.digest]...)
	}
	if again, _, _ := buildTree(list); again != top || height != 1 || len(nodes) < 3 {
		return fmt.Errorf("a tree of height %d and %d nodes, not that of its list", height, len(nodes))
	}
	if string(text) != treeText() {
		return fmt.Errorf("content is %q", text)
	}
	return nil
}
