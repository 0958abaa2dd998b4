package diskbackend_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
)

func create(t *testing.T, b backend.Backend, key string) backend.Writer {
	t.Helper()
	w, err := b.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func put(t *testing.T, b backend.Backend, key, content string) {
	t.Helper()
	w := create(t, b, key)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestLinksAreRefused(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, nil)
	put(t, b, "inside/object", "bytes")
	for link, target := range map[string]string{
		"leaf":         secret,
		"folder":       outside,
		"inside/up":    "../../" + filepath.Base(outside) + "/secret",
		"inside/alias": "object",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	ctx, p := t.Context(), make([]byte, 1)
	for _, key := range []string{"leaf", "folder/secret", "folder/new", "inside/up", "inside/alias"} {
		if err := b.ReadAt(ctx, key, p, 0); err == nil {
			t.Errorf("ReadAt(%q) follows a link", key)
		}
		if _, err := b.Stat(ctx, key); err == nil {
			t.Errorf("Stat(%q) follows a link", key)
		}
		if _, err := b.Create(ctx, key); err == nil {
			t.Errorf("Create(%q) follows a link", key)
		}
		if _, _, err := b.Append(ctx, key); err == nil {
			t.Errorf("Append(%q) follows a link", key)
		}
		b.Delete(ctx, key) // may remove the link
	}
	var got []string
	for info, err := range b.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, []string{"inside/object"}) {
		t.Errorf("List: got %q, want the one object that is no link", got)
	}
	if got, err := os.ReadFile(secret); string(got) != "secret" {
		t.Errorf("file outside: got %q, %v", got, err)
	}
	if names, _ := os.ReadDir(outside); len(names) != 1 {
		t.Errorf("directory outside: got %v, want the one file", names)
	}
}

func TestOpenSweepsItsOwnLeftovers(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	w := create(t, b, "packs/ab/begun")
	defer w.Abort()
	temps, _ := filepath.Glob(filepath.Join(dir, "packs/ab/.new-*"))
	if len(temps) != 1 {
		t.Fatalf("temporary files: got %q, want one", temps)
	}
	// What Open leaves alone.
	others := []string{".new-", ".new-short", ".new-" + strings.Repeat("A", 26), ".hidden", "README", "lost+found"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, "packs", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, nil)
	if temps, _ := filepath.Glob(filepath.Join(dir, "packs/ab/.*")); len(temps) != 0 {
		t.Errorf("Open left %q", temps)
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, "packs", name)); err != nil {
			t.Errorf("Open removed what is not its own: %v", err)
		}
	}
}

// What lies beside the only directory of keys is not looked at: a directory there,
// and what in it looks like a temporary file, stays as it is.
func TestOnly(t *testing.T) {
	dir, begun := t.TempDir(), ".new-"+strings.Repeat("a", 26)
	for _, sub := range []string{"packs/ab", "packs2", "docs/ab"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, sub), 0o700), os.WriteFile(filepath.Join(dir, sub, begun), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		b := open(t, dir, &diskbackend.Options{Only: "packs"})
		for sub, want := range map[string]bool{"packs/ab": false, "packs2": true, "docs/ab": true} {
			if _, err := os.Stat(filepath.Join(dir, sub, begun)); (err == nil) != want {
				t.Errorf("%s: %v", sub, err)
			}
		}
		if err := create(t, b, "packs/ab/one").Abort(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "packs")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has other permissions")
	}
	dir := filepath.Join(t.TempDir(), "new", "store")
	b := open(t, dir, nil)
	put(t, b, "packs/ab/whole", "bytes")
	w := create(t, b, "packs/ab/growing")
	defer w.Abort()
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"": 0o700, "packs": 0o700, "packs/ab": 0o700, "packs/ab/whole": 0o400, "packs/ab/growing": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: got %v, %v, want %o", name, info, err, want)
		}
	}
}

func TestWhatWasCommittedStaysSo(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	put(t, b, "whole", "bytes")
	w := create(t, b, "left")
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Append(t.Context(), "left"); err == nil {
		t.Error("Append beside a Writer at work: got no error")
	}
	w.Abort()
	b = open(t, dir, nil)
	if _, _, err := b.Append(t.Context(), "whole"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Append to what was committed: got %v, want fs.ErrExist", err)
	}
	w, size, err := b.Append(t.Context(), "left")
	if err != nil || size != 0 {
		t.Fatalf("Append to what was left: got size %d, %v", size, err)
	}
	w.Abort()
}

func TestManyFilesOpen(t *testing.T) {
	f := &fakeFS{FS: osFS(t)}
	f.room.Store(1 << 30)
	b := open(t, "", &diskbackend.Options{FS: f, OpenFiles: 3, Reserve: -1})
	keys := []string{"a", "b", "c", "d", "e"}
	p := make([]byte, 1)
	for _, key := range keys {
		put(t, b, key, key)
	}
	for range 3 {
		for _, key := range keys {
			for range 10 {
				if err := b.ReadAt(t.Context(), key, p, 0); err != nil || string(p) != key {
					t.Fatalf("ReadAt(%q): got %q, %v", key, p, err)
				}
			}
			if n := f.open.Load(); n > 3 {
				t.Fatalf("%d files are open, want at most 3", n)
			}
		}
	}
	if n := f.opens.Load(); n != 15 {
		t.Errorf("150 reads opened files %d times, want 15", n)
	}
	for _, key := range keys {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.open.Load(); n != 0 {
		t.Errorf("%d files are open after their deletion, want none", n)
	}
}

func TestNoSpace(t *testing.T) {
	f := &fakeFS{FS: osFS(t)}
	f.room.Store(1 << 30)
	b := open(t, "", &diskbackend.Options{FS: f, Reserve: -1})
	synced, lost := bytes.Repeat([]byte("s"), 5000), bytes.Repeat([]byte("l"), 5000)
	w := create(t, b, "packs/one")
	if _, err := w.Write(synced); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	f.room.Store(1000)
	if n, err := w.Write(lost); n != 1000 || !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Write to a full disk: got %d, %v, want 1000, ErrNoSpace", n, err)
	}
	f.room.Store(1 << 30)
	if _, err := w.Write([]byte("x")); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Write after an error: got %v, want it again", err)
	}
	if err := w.Commit(); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Commit after an error: got %v, want it again", err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	got := make([]byte, len(synced))
	if err := b.ReadAt(t.Context(), "packs/one", got, 0); err != nil || !bytes.Equal(got, synced) {
		t.Errorf("what was synced: other bytes, or %v", err)
	}
}

func TestReserve(t *testing.T) {
	const mib = 1 << 20
	f := &fakeFS{FS: osFS(t), total: 400 * mib}
	f.room.Store(1 << 40)
	f.free.Store(40 * mib)
	b := open(t, "", &diskbackend.Options{FS: f}) // 5 % are 20 MiB: 10 for copies, 5 for what is no content
	if n := b.CopyRoom(); n != 10*mib {
		t.Errorf("%d bytes are for copies", n)
	}
	w := create(t, b, "a")
	asked := f.asked.Load()
	piece := make([]byte, mib/4)
	for i := range 140 {
		for copies, most := range map[bool]int{false: 80, true: 120} {
			if err := b.CheckRoom(mib/4, copies); (err == nil) != (i < most) || err != nil && !errors.Is(err, backend.ErrNoSpace) {
				t.Fatalf("CheckRoom %d, %v: %v", i, copies, err)
			}
		}
		if _, err := w.Write(piece); err != nil {
			t.Fatalf("Write %d: %v", i, err)
		}
		f.free.Add(-mib / 4)
	}
	if _, err := w.Write(piece); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Write into the reserve: got %v, want ErrNoSpace", err)
	}
	if n := f.asked.Load() - asked; n > 200 {
		t.Errorf("141 writes asked for the free space %d times", n)
	}
	f.free.Store(5*mib - 1)
	if _, err := b.Create(t.Context(), "b"); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Create: got %v, want ErrNoSpace", err)
	}
	f.free.Store(30 * mib)
	if err := b.CheckRoom(10*mib, false); err != nil {
		t.Errorf("CheckRoom: %v", err)
	}
	put(t, b, "b", "there is room again")
	if err := w.Abort(); err != nil {
		t.Error(err)
	}

	f.free.Store(0)
	put(t, open(t, "", &diskbackend.Options{FS: f, Reserve: -1}), "c", "no reserve")
	f.free.Store(100)
	if _, err := open(t, "", &diskbackend.Options{FS: f, Reserve: 404}).Create(t.Context(), "d"); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Create: got %v, want ErrNoSpace", err)
	}
}

func TestFreeOfTheVolume(t *testing.T) {
	free, total, err := osFS(t).Free()
	if err != nil || free > total || total == 0 {
		t.Errorf("Free: got %d of %d bytes, %v", free, total, err)
	}
}

// A fakeFS counts what is open and has a disk of its own size.
type fakeFS struct {
	diskbackend.FS
	open, opens, asked atomic.Int64
	room               atomic.Int64 // bytes until ENOSPC
	free               atomic.Int64 // what Free says
	total              uint64
}

func (f *fakeFS) Free() (uint64, uint64, error) {
	f.asked.Add(1)
	return uint64(f.free.Load()), f.total, nil
}

func (f *fakeFS) Open(name string) (diskbackend.ReadFile, error) {
	r, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	f.opens.Add(1)
	return fakeReader{r, f}, nil
}

type fakeReader struct {
	diskbackend.ReadFile
	f *fakeFS
}

func (r fakeReader) Close() error {
	r.f.open.Add(-1)
	return r.ReadFile.Close()
}

func (f *fakeFS) Create(name string) (diskbackend.File, error) {
	w, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return fakeFile{w, f}, nil
}

type fakeFile struct {
	diskbackend.File
	f *fakeFS
}

func (w fakeFile) Write(p []byte) (int, error) {
	room := w.f.room.Load()
	if int64(len(p)) <= room {
		w.f.room.Add(-int64(len(p)))
		return w.File.Write(p)
	}
	n, err := w.File.Write(p[:room])
	if err == nil {
		err = diskbackend.ErrDiskFull
	}
	return n, err
}

// CVE-2025-54387 IPX: what begins like the directory's name counted as inside.
func TestNeighbourIsNotInside(t *testing.T) {
	parent := t.TempDir()
	for _, d := range []string{"data", "data-evil"} {
		if err := os.MkdirAll(filepath.Join(parent, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(parent, "data-evil", "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, filepath.Join(parent, "data"), nil)
	ctx, p := t.Context(), make([]byte, 1)
	for _, key := range []string{"../data-evil/secret", "../data-evil", "a/../../data-evil/secret", secret, "..", "/", "", ".", "a//b", "a/", `..\data-evil\secret`, "a\x00b"} {
		if err := b.ReadAt(ctx, key, p, 0); err == nil {
			t.Errorf("ReadAt(%q) reads %q", key, p)
		}
		if w, err := b.Create(ctx, key); err == nil {
			t.Errorf("Create(%q) is possible", key)
			w.Abort()
		}
		b.Delete(ctx, key)
	}
	if got, err := os.ReadFile(secret); string(got) != "secret" {
		t.Errorf("the neighbour's file: %q, %v", got, err)
	}
}

// What a Writer has left that died is told; what one at work has is not.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	b, err := diskbackend.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	unfinished := func() (keys []string) {
		t.Helper()
		for i, err := range b.Unfinished(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, fmt.Sprint(i.Key, " ", i.Size))
		}
		return keys
	}
	w, err := b.Create(t.Context(), "a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("at work")); err != nil {
		t.Fatal(err)
	}
	left := ".new-" + strings.Repeat("a", 26)
	for _, name := range []string{"a/" + left, "a/.new-other", "a/file"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := unfinished(), []string{"a/" + left + " 4"}; !slices.Equal(got, want) {
		t.Errorf("unfinished %q, want %q", got, want)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a", left)); err != nil {
		t.Fatal(err)
	}
	if got := unfinished(); len(got) > 0 {
		t.Errorf("unfinished %q", got)
	}
}

// An endingFS lets a Writer end after its temporary file was found.
type endingFS struct {
	diskbackend.FS
	end func()
}

func (f *endingFS) Stat(name string) (fs.FileInfo, error) {
	info, err := f.FS.Stat(name)
	if end := f.end; end != nil && strings.Contains(name, ".new-") {
		f.end = nil
		end()
	}
	return info, err
}

// The temporary file of a Writer that ends while files are listed is none that was
// left.
func TestUnfinishedEnds(t *testing.T) {
	for name, end := range map[string]func(backend.Writer) error{"commit": backend.Writer.Commit, "sync": backend.Writer.Sync, "abort": backend.Writer.Abort} {
		f := &endingFS{FS: osFS(t)}
		b, err := diskbackend.Open("", &diskbackend.Options{FS: f})
		if err != nil {
			t.Fatal(err)
		}
		w := create(t, b, "a/b")
		f.end = func() {
			if err := end(w); err != nil {
				t.Error(err)
			}
		}
		for i, err := range b.Unfinished(t.Context()) {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
		if f.end != nil {
			t.Errorf("%s: the file was not found", name)
		}
		if name == "sync" {
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
