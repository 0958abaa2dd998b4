package manifesttest

import (
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// testLeftovers tests that leftovers are summed up, survive a restart, and go with
// the epochs in which they came.
func (s *suite) testLeftovers() {
	add := func(domain string, epoch uint64, bucket, who string, n int64) {
		s.t.Helper()
		s.update(func(tx manifest.Tx) error {
			return tx.AddLeftover(s.ctx, &manifest.Leftover{Domain: domain, Epoch: epoch, Bucket: bucket, Who: who, Bytes: n})
		})
	}
	check := func(r manifest.Leftovers, bucket, who string, wantAll, wantOwn int64) {
		s.t.Helper()
		if all, own, err := r.LeftoverBytes(s.ctx, bucket, who); err != nil || all != wantAll || own != wantOwn {
			s.t.Errorf("leftovers of %q in %q: %d of %d, %v, want %d of %d", who, bucket, own, all, err, wantOwn, wantAll)
		}
	}
	has := func(domain string, want bool) {
		s.t.Helper()
		if got, err := s.s.HasLeftovers(s.ctx, domain); err != nil || got != want {
			s.t.Errorf("domain %q has leftovers: %v, %v", domain, got, err)
		}
	}
	sums := func(r manifest.Leftovers, domain string, want ...manifest.Leftover) {
		s.t.Helper()
		for i := range want {
			want[i].Domain = domain
		}
		if got, err := r.LeftoversOf(s.ctx, domain); err != nil || !slices.Equal(got, want) {
			s.t.Errorf("leftovers of domain %q: %+v, %v, want %+v", domain, got, err, want)
		}
	}
	drop := func(domain string, before uint64, limit, want int) {
		s.t.Helper()
		s.update(func(tx manifest.Tx) error {
			if n, err := tx.DropLeftovers(s.ctx, domain, before, limit); err != nil || n != want {
				s.t.Errorf("dropped %d before epoch %d, %v, want %d", n, before, err, want)
			}
			return nil
		})
	}
	check(s.s, "a", "ann", 0, 0)
	has(domain, false)
	add(domain, 3, "a", "ann", 10)
	add(domain, 3, "a", "ann", 5)
	add(domain, 3, "a", "bob", 100)
	add(domain, 300, "a", "ann", 1000)
	add(domain, 3, "ab", "ann", 7)
	add("other", 2, "a", "ann", 20)
	s.restart()
	check(s.s, "a", "ann", 1135, 1035)
	sums(s.s, domain, manifest.Leftover{Bucket: "a", Epoch: 3, Bytes: 1115}, manifest.Leftover{Bucket: "ab", Epoch: 3, Bytes: 7})
	sums(s.s, "other", manifest.Leftover{Bucket: "a", Epoch: 2, Bytes: 20})
	sums(s.s, "none")
	check(s.s, "a", "bob", 1135, 100)
	check(s.s, "ab", "ann", 7, 7)
	check(s.s, "ab", "", 7, 0)
	has(domain, true)
	drop(domain, 3, 9, 0)
	drop(domain, 4, 2, 2)
	drop(domain, 4, 2, 1)
	check(s.s, "a", "ann", 1020, 1020)
	check(s.s, "ab", "ann", 0, 0)
	sums(s.s, domain, manifest.Leftover{Bucket: "a", Epoch: 300, Bytes: 1000})
	s.update(func(tx manifest.Tx) error {
		if err := tx.AddLeftover(s.ctx, &manifest.Leftover{Domain: domain, Epoch: 5, Bucket: "a", Who: "bob", Bytes: 1}); err != nil {
			return err
		}
		check(tx, "a", "bob", 1021, 1)
		return nil
	})
	drop(domain, 301, 9, 2)
	has(domain, false)
	has("other", true)
	check(s.s, "a", "ann", 20, 20)
}
