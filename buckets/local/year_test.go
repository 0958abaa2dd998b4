package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
)

// sizeOf is what all files below a directory take.
func sizeOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}

// A year is a store whose files get versions day after day.
type year struct {
	t    *testing.T
	s    *buckets.Store
	ups  *upload.Uploads
	now  time.Time
	seed uint64
}

const yearFile = 20_000 // bytes of a file

// breakOff begins an upload of content and leaves it: in pieces, by list or at once.
func (y *year) breakOff(how int, p []byte) {
	y.t.Helper()
	b := bucket(y.t, y.s, "b")
	ctx := y.t.Context()
	switch how % 4 {
	case 0:
		if _, err := b.Put(ctx, "broken", io.MultiReader(bytes.NewReader(p), errReader{}), nil); !errors.Is(err, errBroken) {
			y.t.Errorf("put: %v", err)
		}
	case 1: // ended by its sender
		up, err := y.ups.In(b).Begin(ctx, "broken", nil)
		must(y.t, err)
		_, err = y.ups.In(b).Append(ctx, up.ID, 0, bytes.NewReader(p), nil)
		must(y.t, err)
		must(y.t, y.ups.In(b).Cancel(ctx, up.ID))
	case 2: // forgotten
		up, err := y.ups.In(b).Begin(ctx, "broken", nil)
		must(y.t, err)
		_, err = y.ups.In(b).Append(ctx, up.ID, 0, bytes.NewReader(p), nil)
		must(y.t, err)
	case 3: // by list, forgotten
		up, err := y.ups.In(b).Begin(ctx, "broken", &upload.Options{Listed: true})
		must(y.t, err)
		split, err := chunker.Parse(up.Listed.Chunker)
		must(y.t, err)
		var chunks []upload.SentChunk
		for rest := p; len(rest) > 0; {
			n := split.Split(rest[:min(len(rest), split.Max())])
			chunks = append(chunks, upload.SentChunk{Digest: cas.Sum(rest[:n]), Bytes: rest[:n]})
			rest = rest[n:]
		}
		at := 0
		_, _, err = y.ups.In(b).AppendList(ctx, up.ID, 0, func() (cas.Ref, error) {
			if at++; at > len(chunks) {
				return cas.Ref{}, io.EOF
			}
			return cas.Ref{Digest: chunks[at-1].Digest, Length: uint32(len(chunks[at-1].Bytes))}, nil
		})
		must(y.t, err)
		next := 0
		_, err = y.ups.In(b).ReceiveChunks(ctx, up.ID, func() (upload.SentChunk, error) {
			if next++; next > len(chunks) {
				return upload.SentChunk{}, io.EOF
			}
			return chunks[next-1], nil
		})
		must(y.t, err)
	}
}

var errBroken = errors.New("connection lost")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

// passDay gives each file ten versions, each with other bytes at a place, and lets
// uploads break off.
func (y *year) passDay(day int, ids []string, contents [][]byte) {
	y.t.Helper()
	g, ctx := errgroup.WithContext(y.t.Context())
	g.SetLimit(16)
	b := bucket(y.t, y.s, "b")
	for i, p := range contents {
		g.Go(func() error {
			r := rand.New(rand.NewPCG(y.seed, uint64(day*len(ids)+i)))
			for range 10 {
				copy(p[r.IntN(yearFile-500):], noise(r.Uint64(), 500))
				f, err := putVersion(ctx, b, ids[i], i, p)
				if err != nil {
					return err
				}
				ids[i] = f.ID
			}
			return nil
		})
	}
	must(y.t, g.Wait())
	for i := range 1 + len(ids)/20 {
		y.breakOff(day+i, noise(y.seed+uint64(day*len(ids)+i), 3*yearFile))
	}
}

func putVersion(ctx context.Context, b *buckets.Bucket, id string, i int, p []byte) (*buckets.File, error) {
	if id == "" {
		return b.Put(ctx, fmt.Sprint("f", i), bytes.NewReader(p), nil)
	}
	return b.Replace(ctx, id, bytes.NewReader(p), nil)
}

// copyVersions puts all versions of a file into another bucket, oldest first.
func copyVersions(t *testing.T, from, to *buckets.Bucket, id string, i int) {
	t.Helper()
	var versions []uint64
	for f, err := range from.Versions(t.Context(), id) {
		must(t, err)
		versions = append(versions, f.Version)
	}
	slices.Sort(versions)
	if len(versions) != 20 {
		t.Fatalf("%d versions are kept", len(versions))
	}
	copied := ""
	for _, v := range versions {
		o, err := from.Open(t.Context(), id, &buckets.GetOptions{Version: v})
		must(t, err)
		p, err := io.ReadAll(o)
		must(t, errors.Join(err, o.Close()))
		f, err := putVersion(t.Context(), to, copied, i, p)
		must(t, err)
		copied = f.ID
	}
}

// After a year of ten versions a day of each file, of which twenty are kept, of
// uploads that break off and of a collection each night, the store takes little more
// than one into which the same versions are put. With CAIRN_SOAK it is a whole
// year, at 2000 of a thousand files.
func TestYear(t *testing.T) {
	race.LeaveOut(t)
	files, days := 10, 25
	if n := soak(0); n > 0 {
		files, days = min(max(n/2, 10), 1000), 365
	}
	y := &year{t: t, ups: upload.New(), now: time.Now().UTC(), seed: rand.Uint64()}
	t.Logf("seed %d", y.seed)
	dir := t.TempDir()
	opts := &local.Options{Now: func() time.Time { return y.now }, Buckets: map[string]buckets.Policy{
		"b": {Domain: "local", Profile: "fine", Versions: buckets.Versions{Keep: 20}, Trash: buckets.Trash{KeepFor: 7 * 24 * time.Hour}}}}
	var err error
	y.s, err = local.Open(t.Context(), dir, opts)
	must(t, err)
	ids, contents := make([]string, files), make([][]byte, files)
	for i := range contents {
		contents[i] = noise(y.seed+uint64(i)<<32, yearFile)
	}
	for day := range days {
		y.passDay(day, ids, contents)
		y.now = y.now.Add(24 * time.Hour)
		_, err := y.s.Sweep(t.Context())
		must(t, err)
		r, err := y.s.Collect(t.Context(), nil)
		must(t, err)
		if d := &r.Domains[0]; day%(1+days/12) == 0 || len(d.Problems) > 0 {
			t.Logf("day %d: packs %d, meta %d bytes; %d live chunks, %d dead bytes, %d of records, %v", day, sizeOf(t, dir+"/packs"), sizeOf(t, dir+"/meta"),
				d.LiveChunks, d.DeadBytes, d.RecordBytes, d.Problems)
		}
	}

	fresh := t.TempDir()
	s, err := local.Open(t.Context(), fresh, opts)
	must(t, err)
	for i, id := range ids {
		copyVersions(t, bucket(t, y.s, "b"), bucket(t, s, "b"), id, i)
	}
	must(t, errors.Join(y.s.Close(), s.Close()))
	for _, dir := range []string{dir, fresh} { // so that the log of the database is put into its tables
		s, err := local.Open(t.Context(), dir, opts)
		must(t, errors.Join(err, s.Close()))
	}
	for _, part := range []string{"packs", "."} {
		got, want := sizeOf(t, filepath.Join(dir, part)), sizeOf(t, filepath.Join(fresh, part))
		t.Logf("%s: %d bytes, of a fresh store %d: %.2f", part, got, want, float64(got)/float64(want))
		if float64(got) > 1.3*float64(want) {
			t.Errorf("%s takes %d bytes, of a fresh store %d", part, got, want)
		}
	}
	if r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts}); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
}
