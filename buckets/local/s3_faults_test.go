package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/s3test"
)

// Whatever befalls requests, uploads succeed or say that they may be tried
// again, nothing that was acknowledged is lost, and nothing wrong is served.
func TestFaultsS3(t *testing.T) {
	t.Parallel()
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		through, proxy := s.Behind(t)
		o := through.Options(t)
		o.Attempts, o.Backoff, o.Stall = 3, 10*time.Millisecond, 300*time.Millisecond
		opts := &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}, PackSize: 1 << 20, CacheDir: t.TempDir(), CacheSize: 4 << 20}},
			Buckets: map[string]buckets.Policy{"b": {Domain: "far", Profile: "fine", Compression: cas.Compression{Codec: cas.Zstd}}}}
		dir := t.TempDir()
		store, err := local.Open(t.Context(), dir, opts)
		must(t, err)
		b := bucket(t, store, "b")
		faults := []s3test.Fault{s3test.Status500, s3test.SlowDown, s3test.ResetRequest, s3test.ResetAnswer, s3test.LostAnswer, s3test.FailedAnswer,
			s3test.ShortAnswer, s3test.LongAnswer, s3test.Stall, s3test.StalledAnswer, s3test.Duplicate, s3test.Late, s3test.Expired,
			s3test.WrongRequest, s3test.ShortRequest, s3test.LongRequest}
		if s.Name == "fake" {
			faults = append(faults, s3test.OneByOne)
		}
		harm := s3test.Sometimes(3, 0.5, faults...)
		proxy.Harm(harm)

		acked := make(map[string][]byte)
		var mu sync.Mutex // guards acked and failed
		failed := 0
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 12 {
					p := text(uint64(w*100+i), 3000*(1+i))
					if i%4 == 0 {
						p = noise(uint64(w*100+i), 400_000)
					}
					f, err := b.Put(t.Context(), fmt.Sprintf("%d %d", w, i), bytes.NewReader(p), nil)
					mu.Lock()
					if err == nil {
						acked[f.ID] = p
					} else if failed++; !errors.Is(err, buckets.ErrUnavailable) {
						t.Errorf("put: %v", err)
					}
					mu.Unlock()
					if err == nil {
						got, err := content(b, f.ID)
						if err != nil && !errors.Is(err, buckets.ErrUnavailable) || err == nil && !bytes.Equal(got, p) {
							t.Errorf("get: %d bytes, %v", len(got), err)
						}
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d files acknowledged, %d refused, %d faults", len(acked), failed, proxy.Done())
		if len(acked) == 0 || proxy.Done() == 0 {
			t.Error("nothing was tried")
		}
		proxy.Harm(nil)
		same := func(when string) {
			t.Helper()
			for id, p := range acked {
				if got, err := content(bucket(t, store, "b"), id); err != nil || !bytes.Equal(got, p) {
					t.Errorf("%s: %s: %d bytes, want %d: %v", when, id, len(got), len(p), err)
				}
			}
		}
		same("healed")
		// Bytes that come wrong now and then are read again.
		proxy.Harm(s3test.Sometimes(4, 0.3, s3test.WrongBytes))
		var corrupt *cas.CorruptError
		for id, p := range acked {
			got, err := content(bucket(t, store, "b"), id)
			if err == nil && !bytes.Equal(got, p) || err != nil && !errors.As(err, &corrupt) && !errors.Is(err, buckets.ErrUnavailable) {
				t.Errorf("wrong bytes on the way: %d bytes, %v", len(got), err)
			}
		}
		proxy.Harm(nil)
		must(t, store.Close())

		check := local.CheckOptions{Options: *opts}
		r, err := local.Check(t.Context(), dir, &check)
		must(t, err)
		if !r.OK {
			t.Errorf("check: %+v, damaged %+v", r.Problems, r.Damaged)
		}
		store, err = local.Open(t.Context(), dir, opts)
		must(t, err)
		same("opened again")
		must(t, store.Close())
	})
}
