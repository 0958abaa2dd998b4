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
	mu      sync.Mutex
	writes  int64 // mutating operations begun
	crashAt int64 // the number of writes at which to crash; negative is never
	percent int   // of unsynced data that survive the crash
	seed    uint64
	clone   *FS // what survived, nil before the crash

	written, read atomic.Int64 // bytes of files
}

// New returns an empty file system.
func New() *FS { return wrapMem(vfs.NewCrashableMem()) }

func wrapMem(mem *vfs.MemFS) *FS { return &FS{mem: mem, crashAt: -1} }

// CrashAt makes the file system crash when k mutating operations are done and
// the next one begins. What was synced by then survives; of the rest, every
// block and directory entry does with a probability of percent. seed makes that
// repeatable. Operations after the crash succeed as before it, and do not reach
// the clone.
func (f *FS) CrashAt(k int64, percent int, seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt, f.percent, f.seed = k, percent, seed
}

// Crash crashes the file system now, unless it has crashed, and returns the
// clone.
func (f *FS) Crash(percent int, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.percent, f.seed = percent, seed
	f.takeClone()
	return f.clone
}

// takeClone takes the clone. The caller holds f.mu.
func (f *FS) takeClone() {
	if f.clone == nil {
		f.clone = wrapMem(f.mem.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: f.percent,
			RNG:                 rand.New(rand.NewPCG(f.seed, 0)),
		}))
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
// that was done before the call is in a later clone too.
func (f *FS) Crashed() bool { return f.Clone() != nil }

// Clone returns what survived the crash, or nil if there was none.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clone
}

// beginWrite begins a mutating operation: it counts it, and crashes if it is
// time. mu is held until the returned function is called.
func (f *FS) beginWrite() (end func()) {
	f.mu.Lock()
	if f.writes == f.crashAt {
		f.takeClone()
	}
	f.writes++
	return f.mu.Unlock
}
