package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// Who stores, removes, scans, sweeps and collects at the same time never meets what was found, and
// nothing is left that waits.
func TestQuarantineUnderLoad(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, options func() *local.Options) {
		dir := t.TempDir()
		opts := func() *local.Options {
			o := options()
			o.Scanner = wordScanner{}
			p := o.Buckets["a"]
			p.Versions = buckets.Versions{Keep: 3}
			o.Buckets["a"] = p
			return o
		}
		for round := range soak(1) {
			s, err := local.Open(t.Context(), dir, opts())
			must(t, err)
			b := bucket(t, s, "a")
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { s.Run(ctx) })
			var work sync.WaitGroup
			for w := range 4 {
				work.Go(func() {
					r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
					for n := range 12 {
						name := fmt.Sprint("f", r.IntN(5))
						body := fmt.Sprint(w, n, round)
						if r.IntN(4) == 0 {
							body += "virus"
						}
						var err error
						switch r.IntN(8) {
						case 0:
							if f, e := b.StatPath(ctx, name); e == nil {
								_, err = b.Delete(ctx, f.ID, nil)
							}
						case 1:
							if f, e := b.StatPath(ctx, name); e == nil {
								err = b.Purge(ctx, f.ID, nil)
							}
						case 2:
							if f, e := b.StatPath(ctx, name); e == nil {
								err = b.DeleteVersion(ctx, f.ID, f.Version)
							}
						case 3:
							_, err = s.Collect(ctx, &collect.Options{Full: true})
						case 4:
							_, err = s.Sweep(ctx)
						case 5:
							_, err = s.ScanQuarantine(ctx)
						default:
							_, err = b.Put(ctx, name, bytes.NewReader([]byte(body)), nil)
						}
						if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, buckets.ErrLastVersion) && !errors.Is(err, buckets.ErrUnavailable) && !errors.Is(err, buckets.ErrChunksGone) {
							t.Errorf("%v", err)
						}
						for f, err := range b.List(ctx, nil) {
							if err != nil {
								t.Error(err)
								break
							}
							p, err := content(b, f.ManifestID)
							if err == nil && bytes.Contains(p, []byte("virus")) {
								t.Errorf("a virus is listed: %+v", f)
							}
						}
					}
				})
			}
			work.Wait()
			cancel()
			wg.Wait()
			must(t, s.Close())
			report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts()})
			if err != nil || !report.OK {
				t.Fatalf("check: %+v, %v", report, err)
			}
		}
		s, err := local.Open(t.Context(), dir, opts())
		must(t, err)
		defer s.Close()
		_, err = s.ScanQuarantine(t.Context())
		must(t, err)
		for h, err := range s.Quarantine(t.Context()) {
			if must(t, err); h.Found == "" {
				t.Errorf("waits: %+v", h)
			}
		}
	})
}
