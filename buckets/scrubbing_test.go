package buckets_test

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/scrub"
)

// Run scrubs when it is due, and gives way to a scrub that is asked for.
func TestScrubsByItself(t *testing.T) {
	s := open(t, &local.Options{Scrubbing: buckets.Scrubbing{Interval: time.Millisecond, Rate: 1}})
	put(t, bucket(t, s, "demo"), "large", string(noise(1, 3<<20)), nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	status := func() buckets.ScrubStatus {
		st, err := s.ScrubStatus(t.Context())
		must(t, err)
		return st
	}
	reads := func() bool { r := status().Running; return r != nil && r.Phase == "packs" }
	await(t, "a scrub", reads)
	r, err := s.Scrub(t.Context(), &scrub.Options{All: true})
	must(t, err)
	if d := &r.Domains[0]; d.Packs == 0 || d.Bytes < 3<<20 || !r.IsClean() {
		t.Errorf("%+v", r)
	}
	if st := status(); st.Domains[0].Packs == 0 || st.Domains[0].NeverRead > 0 {
		t.Errorf("status: %+v", st)
	}
	await(t, "a scrub that has nothing to read", func() bool { last := status().Last; return last != r && last.Domains[0].Skipped > 0 })
	stop()
	must(t, <-ended)

	s = open(t, &local.Options{Scrubbing: buckets.Scrubbing{Off: true, Interval: time.Millisecond}})
	ctx, stop = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	must(t, s.Run(ctx))
	if status().Last != nil {
		t.Error("it scrubs though that is off")
	}
}

// A scrub that is asked for waits for the end of another one, and can be given up
// meanwhile.
func TestScrubWaits(t *testing.T) {
	s := open(t, nil)
	put(t, bucket(t, s, "demo"), "large", string(noise(1, 3<<20)), nil)
	first, giveUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Scrub(first, &scrub.Options{Rate: 1})
		ended <- err
	}()
	await(t, "the first scrub", func() bool { st, err := s.ScrubStatus(t.Context()); must(t, err); return st.Running != nil })
	second, leave := context.WithCancel(t.Context())
	_, err := s.Scrub(second, &scrub.Options{Progress: func(p scrub.Progress) {
		if p.Phase != "waiting" {
			t.Error("two scrubs read at once")
		}
		leave()
	}})
	wantErr(t, "a scrub that is given up while it waits", err, context.Canceled)
	giveUp()
	wantErr(t, "a scrub that is given up", <-ended, context.Canceled)
	r, err := s.Scrub(t.Context(), nil)
	must(t, err)
	if r.Domains[0].Packs == 0 {
		t.Error("what was given up counts as read")
	}
}
