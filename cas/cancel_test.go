package cas_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/cairn-store/cairn/cas"
)

// While the backend hangs, the end of its context ends whatever an upload was
// waiting for; what it has appended harms nobody, and the store goes on when
// the backend does.
func TestContextEndsUploads(t *testing.T) {
	for _, whole := range []bool{false, true} {
		for _, op := range []string{"create", "write", "sync", "commit"} {
			if whole && op == "sync" {
				continue // it answers at once that it cannot
			}
			t.Run(fmt.Sprintf("%s,whole=%v", op, whole), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { contextEndsUploads(t, op, whole) })
			})
		}
	}
}

func contextEndsUploads(t *testing.T, op string, whole bool) {
	w := newWorld(t)
	if whole {
		w = newWholeWorld(t)
	}
	h := &hooked{Backend: w.mem}
	w.b = h
	s := w.open(t, &cas.Options{PackSize: 1 << 20, Remote: whole})
	held := make(chan struct{})
	h.setHook(func(o, _ string) error {
		if o == op {
			<-held
		}
		return nil
	})
	r := seeded(t)
	ctx, cancel := context.WithCancel(t.Context())
	var chunks [][]byte
	ended := make(chan error)
	n := 0
	for range 3 {
		for _, size := range []int{1, 5, 100} { // times 64 KiB: by the group, a frame, many packs
			var mine [][]byte
			for range size {
				mine = append(mine, noise(r, 64<<10))
			}
			chunks = append(chunks, mine...)
			n++
			go func() {
				_, _, err := tryPut(ctx, s, cas.Raw, mine...)
				ended <- err
			}()
			synctest.Wait()
		}
		n++
		record := noise(r, 100)
		go func() { ended <- s.AppendRecords(ctx, &cas.Records{Commit: 1, Slots: [][]byte{record}}) }()
		synctest.Wait()
	}
	cancel()
	synctest.Wait()
	for i := range n {
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		default:
			t.Fatalf("%d of %d uploads have ended", i, n)
		}
		synctest.Wait()
	}
	h.setHook(nil)
	close(held)
	synctest.Wait()
	for i := 0; i < len(chunks); i += 7 {
		put(t, s, cas.Raw, chunks[i:min(i+7, len(chunks))]...)
	}
	checkStored(t, s, chunks...)
	if n := cas.InFlight(s); n != 0 {
		t.Errorf("%d chunks in flight", n)
	}
	if units, frames := cas.RoomTaken(s); units != 0 || frames != 0 {
		t.Errorf("room taken by %d units, %d frames", units, frames)
	}
	closeStore(t, s)
}
