package buckets_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// await waits until what is asked for is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 2000 {
		if so() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s never comes", what)
}

// Run collects when it is due, unless that is paused or off. What is ordered is
// done in any case.
func TestCollectsByItself(t *testing.T) {
	s := open(t, &local.Options{Collection: buckets.Collection{Interval: time.Millisecond}})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	last := func() *collect.Report { return s.CollectStatus().Last }
	await(t, "a collection", func() bool { return last() != nil })
	s.PauseCollect(true)
	if !s.CollectStatus().Paused {
		t.Error("it does not say that it is paused")
	}
	await(t, "the end of the last one", func() bool { return s.CollectStatus().Running == nil })
	r, err := s.Collect(t.Context(), nil)
	must(t, err)
	time.Sleep(20 * time.Millisecond)
	if last() != r {
		t.Error("it collects while that is paused")
	}
	dry, err := s.Collect(t.Context(), &collect.Options{DryRun: true})
	must(t, err)
	if last() != r || !dry.DryRun {
		t.Error("a dry run counts as a collection")
	}
	s.PauseCollect(false)
	await(t, "another one", func() bool { return last() != r })
	stop()
	must(t, <-ended)

	s = open(t, &local.Options{Collection: buckets.Collection{Off: true, Interval: time.Millisecond}})
	ctx, stop = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	must(t, s.Run(ctx))
	if st := s.CollectStatus(); st.Last != nil {
		t.Error("it collects though that is off")
	}
}

// A collection waits for another one that works on the same metadata, and can be
// given up meanwhile.
func TestCollectWaits(t *testing.T) {
	meta, s, _ := openBounded(t, buckets.Policy{})
	lease, err := meta.TakeLease(t.Context(), "d", time.Hour)
	must(t, err)
	waits := make(chan struct{}, 100)
	opts := &collect.Options{Progress: func(p collect.Progress) {
		if p.Phase == "waiting" {
			waits <- struct{}{}
		}
	}}
	ctx, giveUp := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	collectOnce := func(ctx context.Context) { _, err := s.Collect(ctx, opts); ended <- err }
	go collectOnce(ctx)
	<-waits // for its turn
	<-waits // for the lease
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	go collectOnce(t.Context())
	go collectOnce(t.Context())
	for range 3 {
		<-waits
	}
	must(t, meta.ReleaseLease(t.Context(), lease))
	must(t, <-ended)
	must(t, <-ended)
}
