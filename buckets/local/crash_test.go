package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
)

// crashOptions put packs and database on one filesystem that can crash. Packs
// are small, so that sealing them is crashed into as well.
func crashOptions(f *crashfs.FS) *local.Options {
	return &local.Options{DiskFS: f.Disk("store"), MetaFS: f.VFS(), PackSize: 256 << 10}
}

// A promise is what an acknowledged call has made true of a file.
type promise struct {
	id      string
	content []byte // of the current version; nil when the file is purged
	state   buckets.State
	version uint64
	purging bool // a purge has begun, answered or not
}

// crashWork does a bit of everything, one file per goroutine at a time, while what
// is dead is collected.
func crashWork(t *testing.T, dir string, crashed func() bool, opts *local.Options, ack func(promise)) {
	ctx := t.Context()
	s, err := local.Open(ctx, dir, opts)
	if err != nil {
		return // crashed
	}
	defer s.Close()
	b, err := s.Bucket("demo")
	if err != nil {
		t.Error(err)
		return
	}
	var wg sync.WaitGroup
	if behind := opts.Buckets["demo"].Acknowledge == buckets.AckJournal; behind {
		wg.Go(func() {
			for n := 0; n < 20 && !crashed(); n++ {
				s.Send(ctx) // it may fail: the machine dies
			}
		})
	}
	for w := range uint64(3) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(7, w))
			for n := 0; n < 4 && !crashed(); n++ {
				crashFile(ctx, b, r, fmt.Sprintf("f-%d-%d", w, n), ack)
				s.Collect(ctx, &collect.Options{Full: true}) // it may fail: the machine dies, or another one runs
			}
		})
	}
	wg.Wait()
}

func crashFile(ctx context.Context, b *buckets.Bucket, r *rand.Rand, name string, ack func(promise)) {
	content := crashContent(r)
	file, err := b.Put(ctx, name, bytes.NewReader(content), nil)
	if err != nil {
		return
	}
	p := promise{id: file.ID, content: content, state: buckets.Active, version: 1}
	ack(p)
	for range r.IntN(3) {
		if q, k := crashContent(r), r.IntN(len(content)); r.IntN(2) == 0 {
			file, err = b.Edit(ctx, p.id, []buckets.Piece{{File: p.id, Length: int64(k)}, {Data: q}, {File: p.id, Offset: int64(k), Length: -1}}, nil)
			content = slices.Concat(content[:k], q, content[k:])
		} else {
			content = append(q, content...)
			file, err = b.Replace(ctx, p.id, bytes.NewReader(content), nil)
		}
		if err != nil {
			return
		}
		p.content, p.version = content, file.Version
		ack(p)
	}
	switch r.IntN(3) {
	case 0:
		if _, err := b.Delete(ctx, p.id, nil); err != nil {
			return
		}
		p.state = buckets.Trashed
		ack(p)
	case 1:
		p.purging = true
		ack(p)
		if err := b.Purge(ctx, p.id, nil); err != nil {
			return
		}
		p.content = nil
		ack(p)
	}
}

// crashContent is small or spans several chunks, and compresses or doesn't.
func crashContent(r *rand.Rand) []byte {
	p := make([]byte, 1+r.IntN(3000))
	if r.IntN(3) == 0 {
		p = make([]byte, 60<<10+r.IntN(200<<10))
	}
	letters := 256 >> (r.IntN(2) * 5)
	for i := range p {
		p[i] = byte(r.IntN(letters))
	}
	return p
}

// TestCrash lets the machine die at every k-th write, packs and database
// together, with none, some and all of what was not synced surviving. After
// a plain restart every promise holds, or has been overtaken by a later call
// that got further than its answer.
func TestCrash(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	limit := 25
	if testing.Short() {
		limit = 5
	}
	work := func(f *crashfs.FS, ack func(promise)) { crashWork(t, "store", f.Crashed, crashOptions(f), ack) }
	crashfs.Run(t, &crashfs.Options{Limit: soak(limit), OnlyFS: true}, work, func(t *testing.T, f *crashfs.FS, acked []promise) {
		verifyCrash(t, "store", crashOptions(f), acked)
	})
}

// verifyCrash looks at what a crash has left, and at what a rebuild makes of
// the packs alone. There need be no store in what was left before anything was
// promised: the promises tell.
func verifyCrash(t *testing.T, dir string, opts *local.Options, acked []promise) {
	t.Helper()
	report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts})
	if !errors.Is(err, local.ErrNoStore) && (err != nil || !report.OK) {
		t.Fatalf("check: %v, %+v", err, report)
	}
	verifyPromises(t, dir, opts, acked)
	if opts.MetaFS != nil {
		must(t, opts.MetaFS.RemoveAll(dir+"/meta"))
	} else {
		must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	}
	opts.TakeOwnership = true // it is another database
	report, err = local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts, Repair: true})
	if !errors.Is(err, local.ErrNoStore) && (err != nil || !report.OK) {
		t.Fatalf("rebuild: %v, %+v", err, report)
	}
	verifyPromises(t, dir, opts, acked)
}

// verifyPromises opens the store and compares it with the last promise about
// every file.
func verifyPromises(t *testing.T, dir string, opts *local.Options, acked []promise) {
	t.Helper()
	last := make(map[string]promise)
	for _, p := range acked {
		last[p.id] = p
	}
	s, err := local.Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	for id, p := range last {
		verifyPromise(t, b, id, p)
	}
	for _, state := range []buckets.State{buckets.Active, buckets.Trashed} {
		for file, err := range b.List(t.Context(), &buckets.ListOptions{State: state}) {
			if err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(t.Context(), b, file.ID, 0); err != nil || int64(len(got)) != file.Size {
				t.Errorf("listed file %s: %d bytes of %d, %v", file.Path(), len(got), file.Size, err)
			}
		}
	}
}

func verifyPromise(t *testing.T, b *buckets.Bucket, id string, p promise) {
	t.Helper()
	file, err := b.Stat(t.Context(), id, &buckets.GetOptions{Trashed: true})
	if errors.Is(err, fs.ErrNotExist) {
		if !p.purging {
			t.Errorf("file %s is gone", id)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	if p.content == nil {
		t.Errorf("file %s is back after its purge", id)
		return
	}
	if p.state == buckets.Trashed && file.State != buckets.Trashed {
		t.Errorf("file %s is out of the trash", id)
	}
	if file.Version < p.version {
		t.Errorf("file %s is at version %d, %d was acknowledged", id, file.Version, p.version)
	}
	got, err := readAll(t.Context(), b, id, p.version)
	if err != nil || !bytes.Equal(got, p.content) {
		t.Errorf("file %s version %d reads back wrong: %d bytes of %d, %v", id, p.version, len(got), len(p.content), err)
	}
}

func readAll(ctx context.Context, b *buckets.Bucket, id string, version uint64) ([]byte, error) {
	o, err := b.Open(ctx, id, &buckets.GetOptions{Version: version, Trashed: true})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}
