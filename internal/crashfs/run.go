package crashfs

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Options are choices of Run; nil and zero values mean the defaults.
type Options struct {
	// Percents are the shares of unsynced data that survive. Nil means 0,
	// 10 and 100.
	Percents []int

	// Limit is how many crashes to try for each of Percents, spread evenly
	// over the work. 0 means 60. The environment's CAIRN_CRASH_LIMIT replaces
	// it.
	Limit int

	// Seed chooses which unsynced data survive.
	Seed uint64

	// OnlyFS says that work and verify share nothing but the file system that
	// they are given. Then one run of work crashes into all of Percents, and
	// what has survived of each is verified side by side.
	OnlyFS bool
}

// Run calls work again and again, each time on a new file system that crashes
// one operation later, and calls verify with what has survived. The last run of
// each round ends before its crash, and crashes at its end.
//
// work calls ack with what has become durable. verify gets what was acknowledged
// before the crash. work should return soon once fs.Crashed is true.
func Run[A any](t *testing.T, opts *Options, work func(fs *FS, ack func(A)), verify func(t *testing.T, clone *FS, acked []A)) {
	t.Helper()
	if opts == nil {
		opts = &Options{}
	}
	percents, limit := opts.Percents, opts.Limit
	if percents == nil {
		percents = []int{0, 10, 100}
	}
	if limit <= 0 {
		limit = 60
	}
	if n, err := strconv.Atoi(os.Getenv("CAIRN_CRASH_LIMIT")); err == nil && n > 0 {
		limit = n
	}

	whole := New()
	work(whole, func(A) {})
	stride := max(1, (whole.Writes()+int64(limit)-1)/int64(limit))
	round := func(percents ...int) {
		for k := int64(0); ; k += stride {
			seed := opts.Seed + uint64(k)
			fs := New()
			fs.CrashAt(k, seed, percents...)
			var mu sync.Mutex
			var acked []A // guarded by mu
			work(fs, func(a A) {
				mu.Lock()
				defer mu.Unlock()
				if !fs.Crashed() {
					acked = append(acked, a)
				}
			})
			ended := !fs.Crashed()
			mu.Lock()
			clones := fs.Crash(seed, percents...)
			mu.Unlock()
			t.Run(fmt.Sprintf("k=%d", k), func(t *testing.T) {
				for i, percent := range percents {
					t.Run(fmt.Sprintf("%d%%", percent), func(t *testing.T) {
						if opts.OnlyFS {
							t.Parallel()
						}
						verify(t, clones[i], acked)
					})
				}
			})
			if ended {
				break
			}
		}
	}
	if opts.OnlyFS {
		round(percents...)
		return
	}
	for _, percent := range percents {
		round(percent)
	}
}
