package cas_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// The tests in this file run in bubbles: there, goroutines that wait for each
// other for ever, or outlive the test, are a failure at once.

// On a backend that publishes whole objects only, every group commit ends the
// pack. Those who wait meanwhile must all be woken.
func TestWholeOnlyConcurrentFlushes(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newWholeWorld(t)
			s := w.open(t, &cas.Options{PackSize: 64 << 10})
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					r := seeded(t)
					for range 4 {
						chunk := noise(r, 10<<10)
						if _, _, err := tryPut(t.Context(), s, cas.Raw, chunk); err != nil {
							t.Errorf("upload %d: %v", i, err)
							return
						}
						checkGet(t, s, chunk)
					}
				})
			}
			wg.Wait()
			closeStore(t, s)
		})
	}
}

// A waiter learns from Sync that the pack must be sealed while somebody else
// is about to seal it.
func TestWholeOnlySyncMeetsSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWholeWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, &cas.Options{PackSize: 300 << 10})
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "sync" {
				<-held
			}
			return nil
		})
		r := seeded(t)
		small, large := noise(r, 1000), noise(r, 300<<10)
		var wg sync.WaitGroup
		for _, c := range [][]byte{small, large} {
			wg.Go(func() {
				if _, _, err := tryPut(t.Context(), s, cas.Raw, c); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // the first waits in Sync when the second fills the pack
		}
		h.setHook(nil)
		close(held)
		wg.Wait()
		checkStored(t, s, small, large)
		closeStore(t, s)
	})
}

func TestWholeOnlyCloseAfterAbandonedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWholeWorld(t)
		s := w.open(t, nil)
		r := seeded(t)
		b := s.NewBatch(t.Context(), nil)
		chunks := [][]byte{noise(r, 1<<20), noise(r, 1<<20), noise(r, 1<<20)}
		for _, c := range chunks {
			if err := b.Put(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Drain(); err != nil { // a frame at least lies in the open pack
			t.Fatal(err)
		}
		b.Close()
		closeStore(t, s)
		s = w.open(t, nil)
		checkStored(t, s, chunks[0], chunks[1])
		closeStore(t, s)
	})
}

// Chunks that were written, but not yet synced, when the pack failed are not
// stored: an upload that brings them again must store them, even if it brings
// nothing else that would open a new pack.
func TestChunksOfFailedPackAreForgotten(t *testing.T) {
	for _, c := range []struct {
		name string
		size int // of the chunk that comes while a Sync is under way
	}{{"open pack", 1000}, {"full pack", 400 << 10}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := &hooked{Backend: w.mem}
				w.b = h
				s := w.open(t, &cas.Options{PackSize: 300 << 10})
				held := make(chan struct{})
				h.setHook(func(op, _ string) error {
					if op == "sync" {
						<-held
						return errBoom
					}
					return nil
				})
				r := seeded(t)
				first, second := noise(r, 1000), noise(r, c.size)
				var wg sync.WaitGroup
				for _, chunk := range [][]byte{first, second} {
					wg.Go(func() {
						if _, _, err := tryPut(t.Context(), s, cas.Raw, chunk); !errors.Is(err, errBoom) {
							t.Errorf("upload into a pack that fails: %v", err)
						}
					})
					synctest.Wait()
				}
				close(held)
				wg.Wait()
				h.setHook(nil)
				for _, chunk := range [][]byte{second, first} {
					put(t, s, cas.Raw, chunk)
				}
				checkStored(t, s, first, second)
				if n := cas.InFlight(s); n != 0 {
					t.Errorf("%d chunks in flight, want none", n)
				}
				closeStore(t, s)
			})
		})
	}
}

// Uploads that finish while another one's Sync is under way share the next
// Sync, and their chunks a frame.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "sync" {
				<-held
			}
			return nil
		})
		r := seeded(t)
		var chunks [][]byte
		var wg sync.WaitGroup
		upload := func() {
			c := noise(r, 3000)
			chunks = append(chunks, c)
			wg.Go(func() {
				if _, _, err := tryPut(t.Context(), s, cas.Raw, c); err != nil {
					t.Error(err)
				}
			})
		}
		upload()
		synctest.Wait() // in Sync
		for range 50 {
			upload()
			synctest.Wait() // appended, waiting for a Sync
		}
		close(held)
		wg.Wait()
		if n := h.syncs.Load(); n != 2 {
			t.Errorf("%d syncs for 51 uploads, want 2", n)
		}
		if n := h.creates.Load(); n != 1 {
			t.Errorf("%d packs for 51 small uploads, want 1", n)
		}
		checkStored(t, s, chunks...)
		closeStore(t, s)
	})
}

// Small uploads that finish while a frame is being written share the next.
func TestGroupSharesFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		r := seeded(t)
		var chunks [][]byte
		for range 40 {
			chunks = append(chunks, prose(r, 2000))
		}
		shared := noise(r, 500) // all uploads bring it
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "write" {
				<-held
			}
			return nil
		})
		var wg sync.WaitGroup
		upload := func(c []byte) {
			wg.Go(func() {
				if _, _, err := tryPut(t.Context(), s, cas.Zstd, c, shared); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for _, c := range chunks {
			upload(c)
		}
		for i := range 10 {
			wg.Go(func() {
				if err := s.AppendRecords(t.Context(), &cas.Records{Commit: uint64(i), Slots: [][]byte{fmt.Appendf(nil, "record %d", i)}}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(held)
		wg.Wait()
		checkStored(t, s, append(slices.Clone(chunks), shared)...)
		ps := w.packs(t)
		if len(ps) != 1 {
			t.Fatalf("%d packs, want 1", len(ps))
		}
		var kinds []cas.Kind
		sharedCopies := 0
		fs, _ := frames(t, s, ps[0])
		for _, f := range fs {
			kinds = append(kinds, f.Entry.Kind)
			for _, c := range f.Chunks {
				if c.Digest == cas.Sum(shared) {
					sharedCopies++
				}
			}
		}
		slices.Sort(kinds)
		if want := []cas.Kind{cas.KindData, cas.KindData, cas.KindRecord}; !slices.Equal(kinds, want) {
			t.Errorf("frames of kinds %v, want %v", kinds, want)
		}
		if sharedCopies != 1 {
			t.Errorf("the shared chunk is stored %d times, want once", sharedCopies)
		}
		if n := len(records(t, w, s)); n != 10 {
			t.Errorf("%d records, want 10", n)
		}
		closeStore(t, s)
	})
}

// An upload relies on chunks that another one is writing, and waits for them.
func TestDedupInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "sync" {
				<-held
			}
			return nil
		})
		c := noise(seeded(t), 300<<10)
		done := make([]bool, 2)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				_, st, err := tryPut(t.Context(), s, cas.Raw, c)
				if err != nil {
					t.Error(err)
				}
				if want := []int64{300 << 10, 0}[i]; st.NewBytes != want {
					t.Errorf("upload %d added %d bytes, want %d", i, st.NewBytes, want)
				}
				done[i] = true
			})
			synctest.Wait()
		}
		if done[0] || done[1] {
			t.Error("an upload was answered before its chunk was durable")
		}
		close(held)
		wg.Wait()
		checkStored(t, s, c)
		closeStore(t, s)
	})
}

// Cancelling ends what waits for the steps of a batch, and Close what they do.
func TestCancelPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "write" {
				<-held
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		b := s.NewBatch(ctx, &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Zstd}, Tap: func([]byte, []cas.Digest) {}})
		r := seeded(t)
		ended := make(chan error, 1)
		go func() {
			for {
				if err := b.Put(noise(r, 512<<10)); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait() // all queues are full
		select {
		case err := <-ended:
			t.Fatalf("put before it was cancelled: %v", err)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v, want context.Canceled", err)
		}
		h.setHook(nil)
		close(held)
		if err := b.Flush(); !errors.Is(err, context.Canceled) {
			t.Errorf("flush: %v, want context.Canceled", err)
		}
		b.Close()
		put(t, s, cas.Raw, noise(r, 100))
		closeStore(t, s)
	})
}

// A Flush whose context ends does not wait for somebody else's slow Sync.
func TestCancelFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "sync" {
				<-held
			}
			return nil
		})
		r := seeded(t)
		first := make(chan error, 1)
		go func() {
			_, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 1000))
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		chunk := noise(r, 1000)
		go func() {
			_, _, err := tryPut(ctx, s, cas.Raw, chunk)
			second <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled flush: %v", err)
		}
		h.setHook(nil)
		close(held)
		if err := <-first; err != nil {
			t.Errorf("flush beside a cancelled one: %v", err)
		}
		put(t, s, cas.Raw, chunk)
		closeStore(t, s)
	})
}

// Close waits for what was appended, sealed packs included.
func TestCloseWaits(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprint("whole=", whole), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if whole {
					w = newWholeWorld(t)
				}
				h := &hooked{Backend: w.mem}
				w.b = h
				s := w.open(t, &cas.Options{PackSize: 1 << 20})
				held := make(chan struct{})
				h.setHook(func(op, _ string) error {
					if op == "commit" {
						<-held
					}
					return nil
				})
				r := seeded(t)
				chunks := [][]byte{noise(r, 600<<10), noise(r, 600<<10), noise(r, 300<<10)}
				flushed := make(chan error, 1)
				go func() {
					_, _, err := tryPut(t.Context(), s, cas.Raw, chunks...)
					flushed <- err
				}()
				synctest.Wait() // the first pack is full and being committed
				closed := make(chan error, 1)
				go func() { closed <- s.Close() }()
				synctest.Wait()
				select {
				case err := <-closed:
					t.Errorf("closed before a pack was committed: %v", err)
				default:
				}
				h.setHook(nil)
				close(held)
				if err := <-closed; err != nil {
					t.Errorf("close: %v", err)
				}
				if err := <-flushed; err != nil {
					t.Errorf("flush: %v", err)
				}
				s = w.open(t, nil)
				checkStored(t, s, chunks...)
				closeStore(t, s)
			})
		})
	}
}

// A reader whose context ends takes nobody else's read with it.
func TestCancelledReadHarmsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.open(t, nil)
		c := prose(seeded(t), 100<<10)
		put(t, s, cas.Zstd, c)
		held := make(chan struct{})
		h.setHook(func(op, _ string) error {
			if op == "read" {
				<-held
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.Get(ctx, cas.Sum(c), nil)
		synctest.Wait()
		second := make(chan error, 1)
		go func() {
			_, err := s.Get(t.Context(), cas.Sum(c), nil)
			second <- err
		}()
		synctest.Wait()
		cancel()
		h.setHook(nil)
		close(held)
		if err := <-second; err != nil {
			t.Errorf("read beside a cancelled one: %v", err)
		}
		closeStore(t, s)
	})
}

// Closing the store under a read must not make a good chunk pass for damaged.
func TestReadAfterClose(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, nil)
	c := prose(seeded(t), 100<<10)
	put(t, s, cas.Zstd, c)
	closeStore(t, s)
	_, err := s.Get(t.Context(), cas.Sum(c), nil)
	var ce *cas.CorruptError
	if errors.As(err, &ce) {
		t.Errorf("read after close: %v", err)
	}
	s = w.store(t, nil)
	if missing, err := s.Missing(t.Context(), []cas.Digest{cas.Sum(c)}); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v; want none", missing, err)
	}
}

// A batch that has failed never says that its chunks are stored.
func TestFailedBatchStaysFailed(t *testing.T) {
	for _, size := range []int{1000, 300 << 10, 3 << 20} {
		w := newWorld(t)
		h := &hooked{Backend: w.mem}
		w.b = h
		s := w.store(t, nil)
		h.setHook(func(op, _ string) error {
			if op == "write" {
				return errBoom
			}
			return nil
		})
		b := s.NewBatch(t.Context(), nil)
		r := seeded(t)
		for rest := size; rest > 0; rest -= 1 << 20 {
			if err := b.Put(noise(r, min(rest, 1<<20))); err != nil {
				break
			}
		}
		for i := range 3 {
			if err := b.Flush(); !errors.Is(err, errBoom) {
				t.Errorf("%d bytes: flush %d: %v, want %v", size, i, err, errBoom)
			}
			h.setHook(nil)
		}
		b.Close()
	}
}

// Uploads of the same bytes side by side store them once.
func TestSameBytesSideBySide(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	r := seeded(t)
	var chunks [][]byte
	for range 300 {
		chunks = append(chunks, noise(r, 40_000))
	}
	var wg sync.WaitGroup
	var added atomic.Int64
	for n := range 6 {
		mine := chunks
		if n%2 == 1 {
			mine = append([][]byte{noise(r, 12_345)}, chunks...) // whose frames are cut elsewhere
		}
		wg.Go(func() {
			_, st, err := tryPut(t.Context(), s, cas.Zstd, mine...)
			if err != nil {
				t.Error(err)
			}
			added.Add(st.NewBytes)
		})
	}
	wg.Wait()
	unique := int64(300*40_000 + 3*12_345)
	if added.Load() != unique {
		t.Errorf("%d bytes are said to be new, %d are", added.Load(), unique)
	}
	u, err := s.Usage(t.Context())
	if err != nil || u.PackBytes > unique+unique/100 {
		t.Errorf("%d bytes stored for %d, %v", u.PackBytes, unique, err)
	}
	checkStored(t, s, chunks...)
}

// What a batch has brought and need not remember any more is not stored again.
func TestRepeatsBeyondMemory(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	s := w.store(t, nil)
	all := noise(seeded(t), 1<<20)
	var chunks [][]byte
	for range 4 {
		for p := all; len(p) > 0; p = p[16:] {
			chunks = append(chunks, p[:16])
		}
	}
	if _, st := put(t, s, cas.Raw, chunks...); st.NewBytes != int64(len(all)) {
		t.Errorf("%d bytes are said to be new, %d are", st.NewBytes, len(all))
	}
}
