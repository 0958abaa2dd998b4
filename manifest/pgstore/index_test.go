package pgstore_test

import (
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// drain reads all that an iterator yields.
func drain[E any](seq iter.Seq2[E, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestOpenAtOnce: many processes may make the tables of one database.
func TestOpenAtOnce(t *testing.T) {
	url := pgtest.Database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d, err := pgstore.Open(t.Context(), url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Index("x").Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{{ID: cas.PackID{1}}}}); err != nil {
				t.Error(err)
			}
			d.Close()
		})
	}
	wg.Wait()
}

func TestFormat(t *testing.T) {
	url := pgtest.Database(t)
	open(t, url).Close()
	pgtest.Execute(t, url, "UPDATE cairn_schema SET version = version + 1")
	if d, err := pgstore.Open(t.Context(), url, nil); !errors.Is(err, pgstore.ErrFormat) {
		t.Errorf("another format: %v, %v", d, err)
	}
}

// A database of a version before gets the tables that it lacks.
func TestOlderFormats(t *testing.T) {
	const linkTables = "cairn_links, cairn_link_sums, cairn_link_events, cairn_hosts"
	for version, lacking := range map[string]string{"1": "cairn_scrubs, cairn_points, cairn_audits, " + linkTables, "2": "cairn_audits, " + linkTables, "3": "cairn_audits"} {
		url := pgtest.Database(t)
		open(t, url).Close()
		pgtest.Execute(t, url, "DROP TABLE "+lacking+"; UPDATE cairn_schema SET version = "+version)
		for range 2 {
			d := open(t, url)
			if err := d.PutPoint(t.Context(), &manifest.Point{Domain: "x"}); err != nil {
				t.Error(err)
			}
			if err := d.PutScrubbed(t.Context(), "x", []manifest.Scrubbed{{Pack: cas.PackID{1}}}); err != nil {
				t.Error(err)
			}
			if _, err := d.Update(t.Context(), "x", func(tx manifest.Tx) error {
				return errors.Join(tx.PutLink(t.Context(), newLink("b")), tx.PutHost(t.Context(), &manifest.Host{Name: "h"}),
					tx.PutLinkEvent(t.Context(), manifest.NewFileID()), tx.NoteAudit(t.Context(), []byte("note")))
			}); err != nil {
				t.Error(err)
			}
			d.Close()
		}
		pgtest.Execute(t, url, "UPDATE cairn_schema SET version = version / (CASE WHEN version = 4 THEN 1 ELSE 0 END)")
	}
}

// TestMalformed: an entry that no program has written so is an error that
// names it.
func TestMalformed(t *testing.T) {
	url := pgtest.Database(t)
	ctx, ix := t.Context(), open(t, url).Index("x")
	read := func() error {
		return errors.Join(drain(ix.AllChunks(ctx)), drain(ix.AllFrames(ctx)), drain(ix.AllPacks(ctx)))
	}
	for _, c := range []struct{ name, damage string }{
		{"digest", "UPDATE cairn_chunks SET digest = 'short'"},
		{"frame of a chunk", "UPDATE cairn_chunks SET frame = 'short'"},
		{"slot", "UPDATE cairn_chunks SET slot = -1"},
		{"size", "UPDATE cairn_chunks SET size = 4294967296"},
		{"state", "UPDATE cairn_chunks SET state = 2"},
		{"ID of a frame", "UPDATE cairn_frames SET id = 'short'"},
		{"pack of a frame", "UPDATE cairn_frames SET pack = 'short'"},
		{"place", "UPDATE cairn_frames SET start = -1"},
		{"kind", "UPDATE cairn_frames SET kind = 256"},
		{"codec", "UPDATE cairn_frames SET codec = -1"},
		{"sources", "UPDATE cairn_frames SET sources = 'short'"},
		{"ID of a pack", "UPDATE cairn_packs SET id = 'short'"},
		{"size of a pack", "UPDATE cairn_packs SET size = -1"},
		{"writer", "UPDATE cairn_packs SET writer = ''"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pgtest.Execute(t, url, "TRUNCATE cairn_chunks, cairn_frames, cairn_packs")
			err := ix.Apply(ctx, &cas.Change{Packs: []cas.PackEntry{{ID: cas.PackID{1}}}, Frames: []cas.FrameEntry{{ID: cas.FrameID{1}, Pack: cas.PackID{1}}},
				Chunks: []cas.ChunkEntry{{Digest: cas.Sum(nil), Frame: cas.FrameID{1}}}})
			if err := errors.Join(err, read()); err != nil {
				t.Fatal(err)
			}
			pgtest.Execute(t, url, c.damage)
			if err := read(); err == nil || !strings.Contains(err.Error(), "malformed") || !strings.Contains(err.Error(), `domain "x"`) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSourcesAndDrops: of a change that copies from a chunk and one that drops
// it at the same time, the second finds the first.
func TestSourcesAndDrops(t *testing.T) {
	ctx, ix := t.Context(), open(t, pgtest.Database(t)).Index("x")
	copied, dropped := 0, 0
	for n := range byte(60) {
		source := cas.ChunkEntry{Digest: cas.Sum([]byte{n}), Frame: cas.FrameID{1, n}}
		f := cas.FrameEntry{ID: cas.FrameID{2, n}, Sources: []cas.Source{{Digest: source.Digest}}}
		inF := cas.ChunkEntry{Digest: cas.Sum([]byte{n, 1}), Frame: f.ID}
		if err := ix.Apply(ctx, &cas.Change{Frames: []cas.FrameEntry{{ID: source.Frame}}, Chunks: []cas.ChunkEntry{source}}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var refused error
		wg.Go(func() {
			refused = ix.Apply(ctx, &cas.Change{Frames: []cas.FrameEntry{f}, Chunks: []cas.ChunkEntry{inF}})
		})
		wg.Go(func() {
			if err := ix.Apply(ctx, &cas.Change{Drop: []cas.ChunkEntry{source}}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		chunks, frames := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
		if err := errors.Join(ix.Chunks(ctx, []cas.Digest{source.Digest}, chunks), ix.Frames(ctx, []cas.FrameID{f.ID}, frames)); err != nil {
			t.Fatal(err)
		}
		switch {
		case refused == nil && chunks[0].Usable() && frames[0].Known():
			copied++
		case errors.Is(refused, cas.ErrSource) && !chunks[0].Usable() && !frames[0].Known():
			dropped++
		default:
			t.Errorf("%v: chunk %+v, frame %+v", refused, chunks[0], frames[0])
		}
	}
	t.Logf("%d copied, %d dropped", copied, dropped)
}
