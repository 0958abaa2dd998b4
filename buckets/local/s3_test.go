package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// inS3 are options of a store whose packs lie in a service.
func inS3(t *testing.T, s *s3test.Server) (*local.Options, *s3test.Counter) {
	o := s.Options(t)
	n := s3test.Watch(o)
	return &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}}},
		Buckets: map[string]buckets.Policy{"b": {Domain: "far", Compression: cas.Compression{Codec: cas.Zstd}}}}, n
}

// Requests cost money: how many there are is a promise.
func TestS3Requests(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	opts, n := inS3(t, s3test.Fake(t))
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	b := bucket(t, store, "b")
	n.Take()

	const size = 64 << 20
	content := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), size) }
	f, err := b.Put(t.Context(), "big", content(), nil)
	must(t, err)
	// 32 MiB a pack, the last bytes, and the file's row.
	// Each pack also takes a look at whose the packs are.
	if got := n.Take(); got["PUT"] > size>>25+2 || got["HEAD"] > got["PUT"]+1 || len(got) > 2 {
		t.Errorf("to store %d MiB took %v", size>>20, got)
	}

	read := func(what string, store *buckets.Store, most int) {
		t.Helper()
		o, err := bucket(t, store, "b").Open(t.Context(), f.ID, nil)
		must(t, err)
		var got bytes.Buffer
		_, err = o.WriteTo(&got)
		must(t, err)
		must(t, o.Close())
		if want, _ := io.ReadAll(content()); !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%s: other bytes", what)
		}
		if took := n.Take(); took["GET"] > most || len(took) > 1 {
			t.Errorf("%s took %v, want at most %d GET", what, took, most)
		}
	}
	read("to read it", store, size>>23*11/10)

	// Small files that come side by side share requests.
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 8 {
				_, err := b.Put(context.Background(), fmt.Sprintf("small %d %d", i, j), bytes.NewReader(fmt.Appendf(nil, "%d %d", i, j)), nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := n.Take(); got["PUT"] > 128 || got["HEAD"] > got["PUT"]+1 || len(got) > 2 {
		t.Errorf("to store 128 small files took %v", got)
	}
	must(t, store.Close())

	// S3 alone is enough, and asks for each pack a few times.
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	opts.TakeOwnership = true // it is another database
	r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts, Repair: true})
	must(t, err)
	if !r.OK || !r.Rebuilt || r.Files != 129 {
		t.Fatalf("rebuilt: %+v", r)
	}
	// The packs change hands, and wrong bytes are tried.
	if got := n.Take(); got["GET"] > 3*int(r.Packs)+8 || got["PUT"] > 4 {
		t.Errorf("to rebuild and check %d packs took %v", r.Packs, got)
	}
	store, err = local.Open(t.Context(), dir, opts)
	must(t, err)
	n.Take()
	read("to read it after the rebuild", store, size>>23*11/10)
	must(t, store.Close())
}

// TestModelS3 is TestModel over S3, with a database on a disk that crashes:
// what was acknowledged is there after each crash, and S3 alone is enough.
func TestModelS3(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		for i := range soak(1) {
			seed := uint64(i + 1)
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				disk := crashfs.New()
				far := s.Options(t)
				m := newModel(t, seed, func() *local.Options {
					o := options()
					for name, p := range o.Buckets {
						p.Domain = "far"
						o.Buckets[name] = p
					}
					o.Backends = map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *far}}}
					o.MetaFS = disk.VFS()
					return o
				})
				m.dir = "store"
				m.crash = func() { percent := m.r.IntN(101); disk = disk.Crash(m.r.Uint64(), percent)[0] }
				switch s.Name { // a request to another process takes its time
				case "fake":
					m.run(2, 500, 250)
				case "rclone":
					m.run(1, 100, 50)
				default:
					m.run(1, 250, 100)
				}
			})
		}
	})
}

// TestCrashS3 kills the process at many a write to its database. Requests
// that it would have made later are not made.
func TestCrashS3(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	testCrashS3(t, buckets.AckRemote)
}

// TestCrashJournal is TestCrashS3 with packs that are sent behind.
func TestCrashJournal(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	testCrashS3(t, buckets.AckJournal)
}

func testCrashS3(t *testing.T, level buckets.Acknowledge) {
	srv := s3test.Fake(t)
	var opts local.Options // of the store at hand: one is worked on, and verified, before the next
	on := func(f *crashfs.FS) {
		opts.MetaFS, opts.DiskFS = f.VFS(), f.Disk("store/journal/far")
	}
	work := func(f *crashfs.FS, ack func(promise)) {
		s3 := srv.Options(t)
		s3.Attempts = 1
		s3.Wrap = func(next aws.HTTPClient) aws.HTTPClient { return &mortal{f, next} }
		opts = local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *s3}}}, PackSize: 256 << 10,
			Buckets: map[string]buckets.Policy{"demo": {Domain: "far", Compression: cas.Compression{Codec: cas.Zstd}, Acknowledge: level}}}
		on(f)
		crashWork(t, "store", f.Crashed, &opts, ack)
	}
	crashfs.Run(t, &crashfs.Options{Limit: soak(8), Percents: []int{0, 100}}, work, func(t *testing.T, f *crashfs.FS, acked []promise) {
		alive := opts.Backends["far"].Driver.(s3backend.Driver)
		alive.Wrap = nil
		opts.Backends["far"] = local.Backend{Driver: alive}
		on(f)
		verifyCrash(t, "store", &opts, acked)
	})
}

// A mortal client makes no request after the crash.
type mortal struct {
	f    *crashfs.FS
	next aws.HTTPClient
}

func (m *mortal) Do(r *http.Request) (*http.Response, error) {
	if m.f.Crashed() {
		return nil, errors.New("the process is dead")
	}
	return m.next.Do(r)
}
