package report_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

const (
	scaleChunk   = 4 << 10
	scaleFile    = 10  // chunks of a file
	scaleFrame   = 128 // chunks of a frame
	scaleOwners  = 5000
	scaleFolders = 3000
)

// scaleDigest makes the n-th digest, in no order.
func scaleDigest(n uint64) (d cas.Digest) {
	for i := 0; i < len(d); i += 8 {
		n += 0x9e3779b97f4a7c15
		z := (n ^ n>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(d[i:], z^z>>31)
	}
	return d
}

func scaleID(n uint64) (id [16]byte) {
	d := scaleDigest(1<<40 + n)
	copy(id[:], d[:])
	return id
}

// addFiles makes the rows of files whose chunks are in the index and in no pack: a
// tenth of each is another's too.
func (w *world) addFiles(files int) {
	w.t.Helper()
	ctx, index := w.t.Context(), w.db.Index("x")
	total := uint64(files * scaleFile)
	for at := uint64(0); at < total; at += 8 * scaleFrame {
		c := &cas.Change{}
		for n := at; n < min(at+8*scaleFrame, total); n += scaleFrame {
			f := cas.FrameEntry{ID: scaleID(n), Pack: scaleID(1<<50 + n/(64*scaleFrame)), Offset: int64(n%(64*scaleFrame)) * scaleChunk / 2, HeaderLen: 6000,
				StoredLen: scaleFrame * scaleChunk / 3, PlainLen: scaleFrame * scaleChunk, Slots: scaleFrame, Kind: cas.KindData, Codec: cas.Zstd}
			if n%(64*scaleFrame) == 0 {
				c.Packs = append(c.Packs, cas.PackEntry{ID: f.Pack, Size: 64 * scaleFrame * scaleChunk / 2, Sealed: true})
			}
			c.Frames = append(c.Frames, f)
			for slot := range uint64(scaleFrame) {
				c.Chunks = append(c.Chunks, cas.ChunkEntry{Digest: scaleDigest(n + slot), Frame: f.ID, Slot: uint32(slot), Offset: uint32(slot) * scaleChunk, Length: scaleChunk})
			}
		}
		must(w.t, index.Apply(ctx, c))
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	for first := 0; first < files; first += 1000 {
		commit, err := w.db.Update(ctx, "x", func(tx manifest.Tx) error {
			for i := first; i < min(first+1000, files); i++ {
				m := &manifest.Manifest{ID: manifest.NewVersionID(), File: manifest.NewFileID(), Version: 1, CreatedAt: now, MIMEType: "application/x-" + strconv.Itoa(i%40),
					Content: manifest.Content{Size: scaleFile * scaleChunk, Chunker: "c", Chunks: scaleFile}}
				for k := range uint64(scaleFile) {
					n := uint64(i*scaleFile) + k
					if k == 0 {
						n = uint64(i%1000) * scaleFile
					}
					m.Inline = append(m.Inline, cas.Ref{Digest: scaleDigest(n), Length: scaleChunk})
				}
				f := &manifest.File{ID: m.File, Bucket: "a", Folder: "f" + strconv.Itoa(i%scaleFolders), Name: strconv.Itoa(i), Owner: "o" + strconv.Itoa(i%scaleOwners),
					Current: m.ID, LastVersion: 1, Versions: 1, TotalSize: m.Size, TotalChunks: m.Chunks, CreatedAt: now, UpdatedAt: now}
				if err := tx.PutManifest(ctx, m); err != nil {
					return err
				}
				if err := tx.PutFile(ctx, f); err != nil {
					return err
				}
			}
			return nil
		})
		must(w.t, err)
		must(w.t, w.db.Written(ctx, commit.Seq))
	}
}

// peakMemory is the most memory that the process took since beginPeak, 0 where that
// is not told.
func peakMemory() int64 {
	p, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(p, []byte("VmHWM:"))
	var kb int64
	fmt.Sscan(string(rest[:min(len(rest), 40)]), &kb)
	return kb << 10
}

func beginPeak() {
	runtime.GC()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // elsewhere the peak is 0
}

// Reports on many files take the same memory as on few. CAIRN_REPORT_FILES says how
// many, of ten chunks each.
func TestReportsAtScale(t *testing.T) {
	race.LeaveOut(t)
	files := 3000
	if s := os.Getenv("CAIRN_REPORT_FILES"); s != "" {
		var err error
		files, err = strconv.Atoi(s)
		must(t, err)
	}
	w, dir := newWorld(t, 1), t.TempDir()
	w.places = func(*world) (database, map[string]backend.Backend) {
		db, err := pebblestore.Open(dir+"/meta", nil)
		must(t, err)
		packs := make(map[string]backend.Backend)
		for _, d := range domains {
			packs[d], err = diskbackend.Open(dir+"/packs-"+d, nil)
			must(t, err)
		}
		return db, packs
	}
	w.open()
	// Chunk lists of some levels, which versions share.
	b, err := w.store.Bucket("c")
	must(t, err)
	content := w.noise(4 << 20)
	for i := range 5 {
		content[i<<10]++
		_, err := b.Put(t.Context(), "versions", bytes.NewReader(content), nil)
		must(t, err)
	}
	began := time.Now()
	w.addFiles(files)
	t.Logf("%d files of %d chunks made in %s", files, scaleFile, time.Since(began).Round(time.Millisecond))
	opts := &report.Options{Top: 100, TempDir: dir}
	measure := func(what string, do func() error) {
		t.Helper()
		beginPeak()
		before, began := peakMemory(), time.Now()
		must(t, do())
		took, grown := time.Since(began), peakMemory()-before
		t.Logf("%s: %s, %d MB more", what, took.Round(time.Millisecond), grown>>20)
		if grown > 500<<20 {
			t.Errorf("%s takes %d MB", what, grown>>20)
		}
	}
	measure("usage", func() error {
		r, err := w.store.ReportUsage(t.Context(), opts)
		if err == nil && (r.Files.Files != int64(files)+1 || len(r.Owners) != 100 || r.OtherOwners != int64(min(files, scaleOwners))+1-100) {
			t.Errorf("usage: %d files, %d more owners", r.Files.Files, r.OtherOwners)
		}
		return err
	})
	measure("dedup", func() error {
		r, err := w.store.ReportDedup(t.Context(), opts)
		shared := int64(files - min(files, 1000))
		if err == nil && (r.Domains[0].References != int64(files*scaleFile) || r.Domains[0].UniqueChunks != int64(files*scaleFile)-shared ||
			r.Domains[0].OtherChunks < shared || r.Missing != 0 || r.Owners.Others != int64(min(files, scaleOwners))+1-100 || len(r.Folders.Groups) != 100) {
			t.Errorf("dedup: %+v", r.Domains)
		}
		return err
	})
	measure("fragmentation", func() error {
		r, err := w.store.ReportFragmentation(t.Context(), opts)
		if err == nil && (r.Files != int64(files)+1 || r.Unread != 0) {
			t.Errorf("fragmentation: %+v", r.FragmentSums)
		}
		return err
	})
	// Some of the chunks that addFiles has stored are needed by no version.
	shared := int64(files - min(files, 1000))
	measure("gc", func() error {
		r, err := w.store.ReportGarbage(t.Context(), opts)
		if err == nil && (r.Waiting[0].Count < shared || r.Entries != 0) {
			t.Errorf("gc: %+v", r.Waiting)
		}
		return err
	})
	measure("orphans", func() error {
		r, err := w.store.ReportOrphans(t.Context(), opts)
		for i := range r.Sums {
			if s := &r.Sums[i]; s.Kind == report.OrphanChunk && s.Count < shared || s.Kind == report.OrphanCharge {
				t.Errorf("orphans: %+v", r.Sums)
			}
		}
		return err
	})
}
