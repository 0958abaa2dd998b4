package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// maxRows is how many rows one transaction of a sweep removes.
const maxRows = 1000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kept(v buckets.Versions, trash buckets.Trash) *Options {
	return &Options{Buckets: map[string]buckets.Policy{"demo": {Domain: "local", Versions: v, Trash: trash}}, PackSize: 4 << 20}
}

func openStore(t *testing.T, dir string, opts *Options) (*buckets.Store, *buckets.Bucket) {
	t.Helper()
	s, err := Open(t.Context(), dir, opts)
	must(t, err)
	b, err := s.Bucket("demo")
	must(t, err)
	return s, b
}

// manyVersions makes a store whose file log.txt has n versions, one every so
// often until now.
func manyVersions(t *testing.T, dir string, n int, every time.Duration) *buckets.File {
	t.Helper()
	s, b := openStore(t, dir, kept(buckets.Versions{}, buckets.Trash{}))
	f, err := b.Put(t.Context(), "log.txt", strings.NewReader("x"), nil)
	must(t, err)
	must(t, s.Close())
	p, err := open(t.Context(), dir, &Options{})
	must(t, err)
	id, _ := manifest.ParseFileID(f.ID)
	for left := n - 1; left > 0; {
		some := min(left, 1000)
		left -= some
		_, err := p.meta.Update(t.Context(), "local", func(tx manifest.Tx) error {
			row, err := tx.File(t.Context(), id)
			if err != nil {
				return err
			}
			m, err := tx.Manifest(t.Context(), row.Current)
			if err != nil {
				return err
			}
			for range some {
				m := *m
				row.LastVersion++
				m.ID, m.Version = manifest.NewVersionID(), row.LastVersion
				m.CreatedAt = time.Now().Add(time.Duration(int(m.Version)-n) * every)
				row.Current, row.Versions = m.ID, row.Versions+1
				row.TotalSize, row.TotalChunks = row.TotalSize+m.Size, row.TotalChunks+m.Chunks
				if err := tx.PutManifest(t.Context(), &m); err != nil {
					return err
				}
			}
			return tx.PutFile(t.Context(), row)
		})
		must(t, err)
	}
	must(t, p.close())
	return f
}

// commits are the records of each commit that the packs hold.
func commits(t *testing.T, dir string, opts *Options) map[uint64][]manifest.Record {
	t.Helper()
	p, err := open(t.Context(), dir, opts)
	must(t, err)
	defer p.close()
	out := make(map[uint64][]manifest.Record)
	r := manifest.NewReplayer(func(_ context.Context, seq uint64, rs []manifest.Record) error {
		out[seq] = append(out[seq], rs...)
		return nil
	})
	chunks := p.domains[0].chunks
	replay := func(f *cas.Frame) error {
		if f.Damage != nil || f.Entry.Kind != cas.KindRecord {
			return nil
		}
		_, plain, err := chunks.Verify(t.Context(), f)
		for _, slot := range plain {
			err = errors.Join(err, r.Replay(t.Context(), slot))
		}
		return err
	}
	for again := true; again; {
		for e, err := range chunks.Packs(t.Context()) {
			must(t, err)
			_, err = chunks.Walk(t.Context(), e, replay)
			must(t, err)
		}
		again, err = r.EndPass(t.Context())
		must(t, err)
	}
	if lacking := r.Lacking(); len(lacking) > 0 {
		t.Fatalf("commits %d lack parts", lacking)
	}
	return out
}

func rowsOf(t *testing.T, s *buckets.Store) map[string]buckets.Row {
	t.Helper()
	rows := make(map[string]buckets.Row)
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		rows[r.ID] = r
	}
	return rows
}

// usable says that the store goes on, opens again, and comes back from packs.
func usable(t *testing.T, dir string, opts *Options, s *buckets.Store) {
	t.Helper()
	b, err := s.Bucket("demo")
	must(t, err)
	if _, err := b.Put(t.Context(), "other.txt", strings.NewReader("y"), nil); err != nil {
		t.Fatalf("somebody else stores a file: %v", err)
	}
	want := rowsOf(t, s)
	must(t, s.Close())
	for seq, rs := range commits(t, dir, opts) {
		if len(rs) > maxRows+2 {
			t.Errorf("commit %d has %d records", seq, len(rs))
		}
	}
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	r, err := Check(t.Context(), dir, &CheckOptions{Options: *opts, Repair: true})
	if err != nil || !r.OK || !r.Rebuilt {
		t.Fatalf("rebuild: %+v, %v", r, err)
	}
	s, _ = openStore(t, dir, opts)
	defer s.Close()
	if got := rowsOf(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("%d rows came back, want %d", len(got), len(want))
	}
}

// A file with many versions, in a bucket that is told to keep few of them: each
// transaction removes a bounded number, and the next goes on.
func TestSweepMany(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	const n = 3500
	many := t.TempDir()
	f := manyVersions(t, many, n, time.Hour)
	for name, test := range map[string]struct {
		keep   buckets.Versions
		commit int // removed by a commit
		left   int // about
	}{
		"keep": {buckets.Versions{Keep: 20}, maxRows, 20},
		"off":  {buckets.Versions{Off: true}, maxRows, 1},
		// Before the first sweep the clock is not believed yet.
		// Versions are an hour apart, so that the time that the test takes does
		// not count.
		"keep for":      {buckets.Versions{KeepFor: 600 * time.Hour}, 0, 600},
		"keep, and for": {buckets.Versions{Keep: 700, KeepFor: 600 * time.Hour}, maxRows, 600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, opts := t.TempDir(), kept(test.keep, buckets.Trash{})
			must(t, os.CopyFS(dir, os.DirFS(many)))
			s, b := openStore(t, dir, opts)
			if _, err := b.Put(t.Context(), "log.txt", strings.NewReader("z"), &buckets.PutOptions{OnConflict: buckets.ConflictVersion}); err != nil {
				t.Fatal(err)
			}
			got, err := b.Stat(t.Context(), f.ID, nil)
			if err != nil || got.VersionsCount != n+1-test.commit {
				t.Errorf("%d versions are left after a commit, %v", got.VersionsCount, err)
			}
			done, err := s.Sweep(t.Context())
			must(t, err)
			if got, err = b.Stat(t.Context(), f.ID, nil); err != nil {
				t.Fatal(err)
			}
			if left := int(got.VersionsCount); left < test.left || left > test.left+test.left/20+2 || done.Versions != int64(n+1-test.commit-left) {
				t.Errorf("%d versions are left, %d were swept", left, done.Versions)
			}
			next := got.Version
			for v, err := range b.Versions(t.Context(), f.ID) { // the newest are
				if err != nil || v.Version != next {
					t.Fatalf("version %d, want %d, %v", v.Version, next, err)
				}
				next--
			}
			if done, err := s.Sweep(t.Context()); err != nil || done.Versions > int64(test.left/20+1) {
				t.Errorf("swept again: %+v, %v", done, err)
			}
			usable(t, dir, opts, s)
		})
	}
}

// A file of many versions goes in several transactions, whoever removes it.
func TestPurgeMany(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	many := t.TempDir()
	f := manyVersions(t, many, 2500, time.Hour)
	for name, test := range map[string]struct {
		trash buckets.Trash
		purge func(s *buckets.Store, b *buckets.Bucket, id string) error
	}{
		"purge": {buckets.Trash{}, func(_ *buckets.Store, b *buckets.Bucket, id string) error { return b.Purge(t.Context(), id, nil) }},
		"delete": {buckets.Trash{Off: true}, func(_ *buckets.Store, b *buckets.Bucket, id string) error {
			f, err := b.Delete(t.Context(), id, nil)
			if err == nil && f.State != buckets.Purged || f != nil && f.VersionsCount != 2500 {
				return fmt.Errorf("deleted %+v", f)
			}
			return err
		}},
		"sweep": {buckets.Trash{KeepFor: time.Nanosecond}, func(s *buckets.Store, b *buckets.Bucket, id string) error {
			if _, err := b.Delete(t.Context(), id, nil); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond)
			done, err := s.Sweep(t.Context())
			if err == nil && done.Files != 1 {
				return fmt.Errorf("swept %+v", done)
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, opts := t.TempDir(), kept(buckets.Versions{}, test.trash)
			must(t, os.CopyFS(dir, os.DirFS(many)))
			s, b := openStore(t, dir, opts)
			must(t, test.purge(s, b, f.ID))
			if rows := rowsOf(t, s); len(rows) > 0 {
				t.Errorf("%d rows are left", len(rows))
			}
			if u, err := b.Usage(t.Context()); err != nil || u != (buckets.Usage{Bucket: "demo"}) {
				t.Errorf("usage %+v, %v", u, err)
			}
			usable(t, dir, opts, s)
		})
	}
}

// A commit of 30 MiB that does not compress, decided and not yet in the packs
// when the process ended: the next one writes it, in parts, and a rebuild finds
// it whole.
func TestLargeCommit(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	dir, opts := t.TempDir(), kept(buckets.Versions{}, buckets.Trash{})
	s, b := openStore(t, dir, opts)
	f, err := b.Put(t.Context(), "f", strings.NewReader("x"), nil)
	must(t, err)
	must(t, s.Close())
	p, err := open(t.Context(), dir, opts)
	must(t, err)
	id, _ := manifest.ParseFileID(f.ID)
	r, noise := rand.NewChaCha8([32]byte{}), make([]byte, 380<<10)
	c, err := p.meta.Update(t.Context(), "local", func(tx manifest.Tx) error {
		row, err := tx.File(t.Context(), id)
		if err != nil {
			return err
		}
		m, err := tx.Manifest(t.Context(), row.Current)
		if err != nil {
			return err
		}
		for i := range 60 {
			m, row := *m, *row
			row.ID, row.Name, m.ID = manifest.NewFileID(), fmt.Sprint("large ", i), manifest.NewVersionID()
			m.File, row.Current = row.ID, m.ID
			r.Read(noise)
			row.Metadata = fmt.Appendf(nil, `{"x":%q}`, base64.StdEncoding.EncodeToString(noise))
			if err := tx.PutManifest(t.Context(), &m); err != nil {
				return err
			}
			if err := tx.PutFile(t.Context(), &row); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, err)
	if c.Size() < 28<<20 {
		t.Fatalf("the commit has %d bytes", c.Size())
	}
	must(t, p.close())
	s, _ = openStore(t, dir, opts)
	if rows := rowsOf(t, s); len(rows) != 61 {
		t.Fatalf("%d rows", len(rows))
	}
	usable(t, dir, opts, s)
}

// A file composed of thousands of pieces that cut into segments as often as can
// be is a file like any other, or refused; it stops nobody.
func TestComposePoison(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	opts := kept(buckets.Versions{}, buckets.Trash{})
	p := opts.Buckets["demo"]
	p.Profile, p.Limits.MaxComposedSize = "fine", 1<<50
	opts.Buckets["demo"] = p
	dir := t.TempDir()
	s, b := openStore(t, dir, opts)
	for name, test := range map[string]struct{ chunks, times int }{"equal": {1, 16384}, "different": {300, 4}} {
		content := bytes.Repeat(bytes.Join(segmentEnds(t, test.chunks), nil), test.times)
		f, err := b.Put(t.Context(), name, bytes.NewReader(content), nil)
		must(t, err)
		composed, err := b.Compose(t.Context(), name+" composed", slices.Repeat([]buckets.Piece{{File: f.ID, Length: -1}}, 4100), nil)
		must(t, err)
		if composed.Size != 4100*f.Size {
			t.Errorf("%s: %d bytes", name, composed.Size)
		}
		o, err := b.Open(t.Context(), composed.ID, nil)
		must(t, err)
		got := make([]byte, 1<<20)
		at := 4000*f.Size + 12345
		if _, err := o.ReadAt(got, at); err != nil || !bytes.Equal(got, content[12345:12345+len(got)]) {
			t.Errorf("%s: other bytes, %v", name, err)
		}
		must(t, o.Close())
	}
	if _, err := b.Put(t.Context(), "other.txt", strings.NewReader("y"), nil); err != nil {
		t.Fatalf("somebody else stores a file: %v", err)
	}
	must(t, s.Close())
	for seq, rs := range commits(t, dir, opts) {
		if len(rs) > maxRows+2 {
			t.Errorf("commit %d has %d records", seq, len(rs))
		}
	}
	s, b = openStore(t, dir, opts)
	defer s.Close()
	if _, err := b.Put(t.Context(), "another.txt", strings.NewReader("y"), nil); err != nil {
		t.Fatal(err)
	}
}

// segmentEnds are n chunks of the least size of the profile fine, each of which
// ends a segment as soon as one may end.
func segmentEnds(t *testing.T, n int) (chunks [][]byte) {
	t.Helper()
	s, err := chunker.Profile("fine")
	must(t, err)
	r := rand.NewChaCha8([32]byte{1})
	c := make([]byte, 2*s.Min())
	for cut := 0; cut != s.Min(); cut = s.Split(c) { // the window before the cut decides
		r.Read(c[s.Min()-64 : s.Min()])
	}
	for i := uint64(0); len(chunks) < n; i++ {
		copy(c, fmt.Sprint(i))
		d := cas.Sum(c[:s.Min()])
		if uint16(d[30])|uint16(d[31])<<8 < 171 {
			chunks = append(chunks, bytes.Clone(c[:s.Min()]))
		}
	}
	return chunks
}
