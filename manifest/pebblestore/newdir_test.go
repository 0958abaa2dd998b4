package pebblestore

import (
	"path"
	"testing"

	"github.com/cairn-store/cairn/internal/crashfs"
)

// A store in directories that are new outlives the first loss of power, though
// nothing in them was synced but by the database. A process that was killed while it
// made them may have left some that are not durable.
func TestNewDirectoryIsDurable(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"", "store", "a", "a/b", "a/b/store", "a/b/store/meta"} {
		for _, dir := range []string{"store", "a/b/store", "/a/b/store"} {
			disk := crashfs.New()
			fs := disk.VFS()
			// The first process is killed after its last directory, which it has not synced.
			for d := ""; left != "" && d != left; {
				d = left[:len(d)+nextPart(left[len(d):])]
				must(t, fs.MkdirAll(d, 0o700))
				if d != left {
					above, err := fs.OpenDir(path.Dir(d))
					must(t, err)
					must(t, above.Sync())
					must(t, above.Close())
				}
			}
			ids := make([][16]byte, 2)
			for i := range ids {
				lock, err := LockDir(dir, fs)
				must(t, err)
				db, err := Open(path.Join(dir, "meta"), &Options{FS: fs, MustExist: i > 0})
				if err != nil {
					t.Fatalf("%q, left %q, after the crash: %v", dir, left, err)
				}
				ids[i], err = db.OwnerID(t.Context())
				must(t, err)
				disk = disk.Crash(1, 0)[0]
				fs = disk.VFS()
				db.Close()
				must(t, lock.Close())
			}
			if ids[0] != ids[1] {
				t.Errorf("%q, left %q: after the crash it is another database", dir, left)
			}
		}
	}
}

// nextPart returns the length of the first part of a path, with the slash before it.
func nextPart(p string) int {
	n := 1
	for n < len(p) && p[n] != '/' {
		n++
	}
	return n
}
