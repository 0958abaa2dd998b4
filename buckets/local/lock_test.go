package local_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
)

// Whatever is begun beside a store that is open is refused before it touches
// anything: its unfinished files are as they were.
func TestLockedFirst(t *testing.T) {
	check := func(repair, dry bool) func(context.Context, string) error {
		return func(ctx context.Context, dir string) error {
			_, err := local.Check(ctx, dir, &local.CheckOptions{Options: *options(), Repair: repair, DryRun: dry})
			return err
		}
	}
	second := map[string]func(context.Context, string) error{
		"open": func(ctx context.Context, dir string) error {
			s, err := local.Open(ctx, dir, options())
			if err == nil {
				err = errors.Join(errors.New("opened"), s.Close())
			}
			return err
		},
		"check":          check(false, false),
		"check, repair":  check(true, false),
		"check, dry run": check(true, true),
	}
	for _, lost := range []bool{false, true} { // a second process may not find the database
		dir := t.TempDir()
		store, err := local.Open(t.Context(), dir, options())
		must(t, err)
		_, err = bucket(t, store, "a").Put(t.Context(), "f", bytes.NewReader(noise(1, 1000)), nil)
		must(t, err)
		unfinished := filepath.Join(dir, "packs", ".new-abcdefghijklmnopqrstuvwxyz")
		must(t, os.WriteFile(unfinished, []byte("on its way"), 0o600))
		if lost {
			must(t, os.Rename(filepath.Join(dir, "meta"), filepath.Join(dir, "elsewhere")))
		}
		for name, try := range second {
			err := try(t.Context(), dir)
			if !errors.Is(err, local.ErrLocked) {
				t.Errorf("%s, database lost %v: %v, want ErrLocked", name, lost, err)
			} else if runtime.GOOS != "windows" && (!strings.Contains(err.Error(), "this process has it open") || strings.Contains(err.Error(), "another")) {
				t.Errorf("%s, database lost %v: %v, want that this process has it open", name, lost, err)
			}
			if _, err := os.Stat(unfinished); err != nil {
				t.Errorf("%s, database lost %v: %v", name, lost, err)
			}
		}
		if lost {
			must(t, os.Rename(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "meta")))
		}
		must(t, store.Close())
		if err := check(false, false)(t.Context(), dir); err != nil {
			t.Errorf("check of a closed store: %v", err)
		}
		if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what a dead process has left stays: %v", err)
		}
	}
}

// One directory has many names. The lock of the operating system lets the process
// that holds it have it again, so two stores would write to one database.
func TestLockedByOtherNames(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	store, err := local.Open(t.Context(), "store", options())
	must(t, err)
	names := []string{"./store/../store", filepath.Join(dir, "store")}
	if err := os.Symlink("store", "link"); err == nil {
		names = append(names, "link", filepath.Join(dir, "link", "."))
	}
	for _, name := range names {
		s, err := local.Open(t.Context(), name, options())
		if !errors.Is(err, local.ErrLocked) {
			t.Errorf("%s: opened as well: %v", name, err)
		}
		if err == nil {
			must(t, s.Close())
		}
	}
	must(t, store.Close())
	store, err = local.Open(t.Context(), names[len(names)-1], options())
	must(t, err)
	must(t, store.Close())
}
