// Package crashfs is a file system in memory that can crash: a test continues
// with what the disk would hold if the power had failed at a chosen operation.
// Pebble and the disk backend share one, so the order of their writes is tested
// too.
//
//	crashfs.Run(t, nil, func(fs *crashfs.FS, ack func(string)) {
//		b, err := diskbackend.Open("packs", &diskbackend.Options{FS: fs.Disk("packs")})
//		… store an object, and when Commit has returned: ack(key)
//	}, func(t *testing.T, clone *crashfs.FS, acked []string) {
//		… open the clone: the objects in acked are there
//	})
//
// It stands on the crashable file system of Pebble's vfs package, which loses
// file contents by blocks of 4 KiB and directory entries one by one.
package crashfs

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An FS is one file system in memory. It is safe for concurrent use.
type FS struct {
	mem *vfs.MemFS

	// mu guards what follows. It is held during each mutating operation, so
	// that a crash falls between two. Pebble's vfs needs that as well: some of
	// its operations lock its mutex for clones twice, and hang if a clone comes
	// between.
	mu       sync.Mutex
	writes   int64 // mutating operations begun
	crashAt  int64 // the number of writes at which to crash; negative is never
	percents []int // of unsynced data that survive the crash, for each clone
	seed     uint64
	clones   []*FS // what survived, nil before the crash

	written, read atomic.Int64 // bytes of files
}

// New returns an empty file system.
func New() *FS { return wrapMem(vfs.NewCrashableMem()) }

func wrapMem(mem *vfs.MemFS) *FS { return &FS{mem: mem, crashAt: -1} }

// CrashAt makes the file system crash when k mutating operations are done and
// the next one begins. What was synced by then survives; of the rest, every
// block and directory entry does with a probability of percent. There is a clone
// for each of percents. seed makes that repeatable. Operations after the crash
// succeed as before it, and do not reach the clones.
func (f *FS) CrashAt(k int64, seed uint64, percents ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt, f.seed, f.percents = k, seed, percents
}

// Crash crashes the file system now, unless it has crashed, and returns the
// clones.
func (f *FS) Crash(seed uint64, percents ...int) []*FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clones == nil {
		f.seed, f.percents = seed, percents
		f.takeClones()
	}
	return f.clones
}

// takeClones takes the clones. The caller holds f.mu.
func (f *FS) takeClones() {
	for _, percent := range f.percents {
		f.clones = append(f.clones, wrapMem(f.mem.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: percent,
			RNG:                 rand.New(rand.NewPCG(f.seed, 0)),
		})))
	}
}

// Writes returns how many mutating operations were begun: those that create,
// rename, link or remove names, that write to files, and all syncs.
func (f *FS) Writes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Bytes returns how many bytes were written to files and read from them. Bytes
// written to tables of the database are not counted, since they were written to
// its log before.
func (f *FS) Bytes() (written, read int64) { return f.written.Load(), f.read.Load() }

// Crashed reports whether the file system has crashed. If it has not, everything
// that was done before the call is in later clones too.
func (f *FS) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clones != nil
}

// beginWrite begins a mutating operation: it counts it, and crashes if it is
// time. mu is held until the returned function is called.
func (f *FS) beginWrite() (end func()) {
	f.mu.Lock()
	if f.writes == f.crashAt {
		f.takeClones()
	}
	f.writes++
	return f.mu.Unlock
}
