package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/names"
)

// An outcome is what became of a source.
type outcome struct {
	*client.Stored // nil if nothing was or would be asked of the store
	path           string
	size           int64
	skipped        bool // the path is taken, and stays as it is
	taken          bool // in a dry run: the path is taken
	kept           bool // its attributes were brought up to date
}

// putFile stores one file. It prints and notes a failure of this file. It
// returns only errors that stop the whole command.
func (p *putter) putFile(ctx context.Context, s source) error {
	at := p.bar.begin(s.path, s.size())
	out, err := p.uploadFile(ctx, &s, at)
	at.end()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && s.kind == folderSource && !s.alone && isRefusal(err):
		p.noteFolders(err)
		return nil
	case err != nil:
		p.reportFailure(s.path, err)
		return nil
	}
	return p.showStored(&s, out)
}

// isRefusal reports whether a bucket does not take a file of this kind.
func isRefusal(err error) bool {
	refusal, ok := errors.AsType[*client.Error](err)
	return ok && refusal.Status >= 400 && refusal.Status < 500 || errors.Is(err, buckets.ErrType) || errors.Is(err, buckets.ErrTypeMismatch)
}

// noteFolders tells once that a bucket takes no markers of folders. What lies in the
// folders is stored, which keeps them.
func (p *putter) noteFolders(err error) {
	p.mu.Lock()
	told := p.plain
	p.plain = true
	p.mu.Unlock()
	if !told {
		p.reportNote(fmt.Sprintf("put: times and modes of folders are not kept: %v", err))
	}
}

// uploadFile stores what s is. Attributes go with a new file. Those of a file that is
// there are changed beside its content, which may be the same.
func (p *putter) uploadFile(ctx context.Context, s *source, at *fileProgress) (*outcome, error) {
	out := &outcome{path: names.Join(s.folder, s.name), size: s.size()}
	there, err := p.findTarget(ctx, s, out.path)
	if err != nil {
		return nil, err
	}
	out.taken = there != nil
	mayStay := p.onTaken == "skip" || p.onTaken == "fail" && s.kind == folderSource
	if out.skipped = out.taken && mayStay; out.skipped {
		return out, nil
	}
	if p.dryRun {
		if out.taken && p.onTaken == "fail" {
			return nil, fs.ErrExist
		}
		return out, nil
	}
	opts := p.uploadOptions(s, at)
	in, err := p.openSource(ctx, s, opts)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	want := s.attributes()
	if there == nil && s.inTree {
		opts.Metadata = want.metadata()
	}
	out.Stored, err = p.files.Put(ctx, p.bucket, s.name, in, opts)
	if mayStay && (errors.Is(err, fs.ErrExist) || errors.Is(err, buckets.ErrExist)) {
		return &outcome{path: out.path, size: out.size, skipped: true}, nil
	}
	if err != nil {
		return nil, err
	}
	out.kept, err = p.renewAttributes(ctx, out.Stored, want, s.inTree)
	return out, err
}

// findTarget returns the file that has the path of s, where it matters, or nil.
func (p *putter) findTarget(ctx context.Context, s *source, path string) (*client.File, error) {
	if p.files == nil || !s.inTree && p.onTaken != "skip" && !p.dryRun {
		return nil, nil
	}
	f, err := p.files.StatPath(ctx, p.bucket, names.CanonicalPath(path), nil)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil // or it is not for this user, who may yet create it
	}
	return f, err
}

// uploadOptions returns the options for the content of s.
func (p *putter) uploadOptions(s *source, at *fileProgress) *client.PutOptions {
	opts := &client.PutOptions{Progress: at.follow(), UploadOptions: client.UploadOptions{Folder: s.folder, OnConflict: p.onTaken, SkipUnchanged: true}}
	switch {
	case p.onTaken == "skip":
		opts.OnConflict = "fail"
	case s.kind == folderSource: // there is one of a folder
		opts.OnConflict = "version"
	}
	if p.digests != "" {
		opts.Digests = []string{}
		if p.digests != "none" {
			opts.Digests = strings.Split(p.digests, ",")
		}
	}
	return opts
}

// renewAttributes makes the attributes of a file that was there those of its source.
// A file that is no part of a tree has none, unless it was one of one before.
func (p *putter) renewAttributes(ctx context.Context, f *client.Stored, want attributes, inTree bool) (bool, error) {
	have := readAttributes(f.File)
	if !inTree && have == (attributes{}) {
		return false, nil
	}
	patch := want.patch(have)
	if patch == nil {
		return false, nil
	}
	now, err := p.files.Update(ctx, f.Bucket, f.ID, map[string]any{"metadata": patch})
	if err != nil {
		return false, fmt.Errorf("its content is stored, and its time and mode are not: %w", err)
	}
	now.Unchanged, now.NewBytes, now.StoredBytes = f.Unchanged, f.NewBytes, f.StoredBytes
	f.File = now
	return true, nil
}

// openSource opens what s reads, and says in opts how long it is if that is known.
func (p *putter) openSource(ctx context.Context, s *source, opts *client.PutOptions) (io.ReadCloser, error) {
	switch {
	case s.path == "-":
		return io.NopCloser(readUntil(ctx, p.in)), nil
	case s.kind == linkSource:
		return io.NopCloser(strings.NewReader(s.link)), nil
	case s.kind == folderSource:
		return io.NopCloser(strings.NewReader("")), nil
	}
	f, err := openUntil(ctx, s.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if s.kind == streamSource {
		return &openStream{readUntil(ctx, f), f}, nil
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it has become %s", describeMode(info.Mode()))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if s.info = info; s.size() < large {
		return f, nil
	}
	// Only the bytes that it had at first, in case it grows meanwhile.
	opts.Size, opts.SizeKnown = s.size(), true
	return &openSection{io.NewSectionReader(f, 0, s.size()), f}, nil
}

// An openStream is a stream and what closes it.
type openStream struct {
	io.Reader
	io.Closer
}

// An openSection is a part of a file, which can be read again.
type openSection struct {
	*io.SectionReader
	io.Closer
}

// showStored tells what became of s. Of folders it tells only where nothing else
// tells of them.
func (p *putter) showStored(s *source, o *outcome) error {
	if s.kind == folderSource && !s.alone {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var sent *int64 // to a server
	if p.t.server != "" && o.Stored != nil {
		sent = &o.SentBytes
	}
	if o.Stored == nil {
		return p.showUnsent(s, o)
	}
	f := o.Stored
	if p.t.json {
		return writeJSON(p.out, struct {
			*client.File
			Unchanged bool   `json:"unchanged"`
			SentBytes *int64 `json:"sent_bytes,omitempty"`
			Source    string `json:"source"`
		}{f.File, f.Unchanged, sent, s.path}, false)
	}
	what := fmt.Sprintf("version %d", f.Version)
	if f.Unchanged {
		what += ", unchanged"
	} else if f.NewBytes != nil {
		what += fmt.Sprintf(", %s new, %s stored", bytesText(*f.NewBytes), bytesText(*f.StoredBytes))
	}
	if o.kept {
		what += ", time or mode changed"
	}
	if sent != nil {
		what += fmt.Sprintf(", sent %s of %s", bytesText(*sent), bytesText(f.Size))
	}
	if w := newTableWriter(p.out); w.wide > 0 { // the path is as good as the ID
		w.line("%s/%s  %s (%s)", f.Bucket, s.describeTarget(f.Path), bytesText(f.Size), what)
		return w.finish()
	}
	_, err := printf(p.out, "%s/%s  %s  %s (%s)\n", f.Bucket, f.ID, s.describeTarget(f.Path), bytesText(f.Size), what)
	return err
}

// describeTarget returns the path of s in the bucket for people.
func (s *source) describeTarget(path string) string {
	switch s.kind {
	case folderSource:
		return s.folder + "/"
	case linkSource:
		return path + " -> " + s.link
	}
	return path
}

// showUnsent tells of a file that was skipped, or that a dry run has not stored. The
// caller holds mu.
func (p *putter) showUnsent(s *source, o *outcome) error {
	what := "new"
	switch {
	case o.skipped:
		what = "skipped"
	case o.taken && p.onTaken == "version":
		what = "version"
	}
	if p.t.json {
		var size *int64
		if o.size >= 0 {
			size = &o.size
		}
		return writeJSON(p.out, struct {
			Bucket string `json:"bucket"`
			Path   string `json:"path"`
			Size   *int64 `json:"size"` // null if it is not known
			Action string `json:"action"`
			DryRun bool   `json:"dry_run"`
			Source string `json:"source"`
		}{p.bucket, o.path, size, what, p.dryRun, s.path}, false)
	}
	what = map[string]string{"new": "would be stored", "skipped": "skipped: the name is taken", "version": "would be a new version, if its content differs"}[what]
	size := "unknown size"
	if o.size >= 0 {
		size = bytesText(o.size)
	}
	_, err := printf(p.out, "%s/%s  %s (%s)\n", p.bucket, s.describeTarget(o.path), size, what)
	return err
}
