package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

// maxNumbers is how many names with numbers mv tries where names are taken.
const maxNumbers = 1000

// A mover is a call of mv.
type mover struct {
	*target
	cmd        *cobra.Command
	files      *files
	onConflict string
}

func newMv(t *target) *cobra.Command {
	m := &mover{target: t}
	cmd := &cobra.Command{
		Use: "mv [flags] BUCKET/SOURCE BUCKET/TARGET", Short: "Move or rename a file, or all files of a folder, within a bucket", Args: wantArgs(cobra.ExactArgs(2)),
		SuggestFor: []string{"move", "rename"},
		Long: `Move or rename a file, or all files of a folder, within a bucket. Nothing is copied:
they keep their IDs, versions and times. A TARGET that ends in a slash is a folder that
SOURCE moves into.

A file that is there is not replaced, unless --on-conflict says what to do: new gives
the moved one a number, version makes it the newest version of the one that is there,
and the moved one goes to the trash. Of a folder the others are moved then.`,
		Example: `  cairn mv demo/report.pdf demo/archive/
  cairn mv demo/report.pdf demo/report-2026.pdf
  cairn mv demo/photos demo/pictures/2026
  cairn mv --on-conflict new demo/inbox/scan.pdf demo/scans/scan.pdf`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			m.cmd = cmd
			from, src, err := cutRef(args[0])
			if err != nil {
				return err
			}
			to, dst, _ := strings.Cut(args[1], "/")
			switch {
			case from != to:
				return usageError{fmt.Errorf("mv works within a bucket, not from %s to %s: use cp, then rm", from, to)}
			case m.onConflict != "fail" && m.onConflict != "new" && m.onConflict != "version":
				return usageError{fmt.Errorf("--on-conflict %q: want new, version or fail", m.onConflict)}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				m.files = fl
				return m.move(ctx, from, src, dst)
			})
		},
	}
	cmd.Flags().StringVar(&m.onConflict, "on-conflict", "fail", "what to do where a file is already: new, version or fail")
	return cmd
}

// move moves the file src, or all below the folder src, to dst.
func (m *mover) move(ctx context.Context, bucket, src, dst string) error {
	src, into := names.CanonicalPath(strings.TrimSuffix(src, "/")), dst == "" || strings.HasSuffix(dst, "/")
	dst = names.CanonicalPath(strings.Trim(dst, "/"))
	ref := bucket + "/" + src
	_, id, err := resolveRef(ctx, m.files, ref)
	if errors.Is(err, fs.ErrNotExist) && !isNoBucket(err) {
		if into {
			dst = path.Join(dst, path.Base(src))
		}
		return m.moveFolder(ctx, bucket, src, dst, err)
	}
	if err != nil {
		return err
	}
	f, err := m.files.Stat(ctx, bucket, id, nil)
	if err != nil {
		return err
	}
	if into {
		dst = names.Join(dst, f.Name)
	} else if has, err := hasFiles(ctx, m.files, bucket, dst); err != nil || has {
		return errors.Join(err, fmt.Errorf("%s/%s is a folder: end it in a slash to move into it", bucket, dst))
	}
	return m.moveFile(ctx, f, dst)
}

// moveFolder moves all files below src. missing is the error if there are none.
func (m *mover) moveFolder(ctx context.Context, bucket, src, dst string, missing error) error {
	if dst == src || strings.HasPrefix(dst, src+"/") {
		return usageError{fmt.Errorf("%s/%s cannot be moved into itself", bucket, src)}
	}
	n, failed := 0, false
	for f, err := range m.files.List(ctx, bucket, &client.ListOptions{Prefix: src + "/", Markers: true}) {
		if err != nil {
			return err
		}
		n++
		to := names.Join(dst, strings.TrimPrefix(f.Path, src+"/"))
		if isMarker(f) {
			err = m.moveMarker(ctx, f, to)
		} else {
			err = m.moveFile(ctx, f, to)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			m.reportFailure("mv", bucket+"/"+f.Path, err)
			failed = true
		}
	}
	switch {
	case n == 0:
		return missing
	case failed:
		return errReported
	}
	return nil
}

// hasFiles reports whether there are active files below a folder.
func hasFiles(ctx context.Context, fl *files, bucket, folder string) (bool, error) {
	for p, err := range fl.Pages(ctx, bucket, &client.PageOptions{ListOptions: client.ListOptions{Prefix: folder + "/", Markers: true}, Limit: 1}) {
		if err != nil {
			return false, err
		}
		if len(p.Files) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// moveMarker moves the marker of a folder, or removes it where the new folder is
// there and has one.
func (m *mover) moveMarker(ctx context.Context, f *client.File, to string) error {
	_, err := m.rename(ctx, f, to)
	if errors.Is(err, fs.ErrExist) {
		return m.files.Delete(ctx, f.Bucket, f.ID)
	}
	return err
}

func (m *mover) moveFile(ctx context.Context, f *client.File, dst string) error {
	if dst == f.Path {
		return fmt.Errorf("%s/%s is there already", f.Bucket, dst)
	}
	moved, err := m.rename(ctx, f, dst)
	if errors.Is(err, fs.ErrExist) {
		switch m.onConflict {
		case "fail":
			return fmt.Errorf("%s/%s is there already: --on-conflict new or version says what to do", f.Bucket, dst)
		case "new":
			for n := 2; errors.Is(err, fs.ErrExist) && n < maxNumbers; n++ {
				folder, name := splitPath(dst)
				moved, err = m.rename(ctx, f, names.Join(folder, names.Numbered(name, n)))
			}
		case "version":
			folder, name := splitPath(dst)
			moved, err = m.files.Copy(ctx, f.Bucket, f.ID, &client.CopyOptions{Name: name, Folder: &folder, OnConflict: "version"})
			if err == nil {
				err = m.files.Delete(ctx, f.Bucket, f.ID)
			}
		}
	}
	if err != nil {
		return err
	}
	if m.json {
		return writeJSON(m.stdout, moved, false)
	}
	_, err = printf(m.stdout, "%s/%s moved to %s/%s\n", f.Bucket, f.Path, moved.Bucket, moved.Path)
	return err
}

func (m *mover) rename(ctx context.Context, f *client.File, dst string) (*client.File, error) {
	folder, name := splitPath(dst)
	return m.files.Update(ctx, f.Bucket, f.ID, map[string]any{"name": name, "folder": folder})
}

// splitPath returns the folder and the name of a path.
func splitPath(p string) (folder, name string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}
