package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A FileRef names a file or a version in a bucket.
type FileRef struct{ Bucket, ID string }

// A Removal says what is to be removed for good.
type Removal struct {
	Delete []FileRef // files, with all versions, and versions

	// Bucket and Prefix select files by the beginning of their paths, also in the
	// trash. Before selects versions that were made before it and are not current:
	// of those files, or without a bucket of all.
	Bucket, Prefix string
	Before         time.Time
}

// PreviewRemoval finds out what it would give back to remove something for good. It
// changes nothing. progress may be nil. For operators, as all of this file.
func (s *Store) PreviewRemoval(ctx context.Context, r *Removal, progress func(collect.Progress)) (*collect.Preview, error) {
	in := &collect.Removal{Bucket: r.Bucket, Prefix: r.Prefix, Before: r.Before}
	if r.Bucket != "" {
		if _, err := s.Bucket(r.Bucket); err != nil {
			return nil, err
		}
	}
	for _, ref := range r.Delete {
		if err := s.addToRemoval(ctx, in, ref); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", ref.Bucket, ref.ID, err)
		}
	}
	return collect.PreviewRemoval(ctx, s.collecting.store, in, s.lookOptions(progress))
}

func (s *Store) lookOptions(progress func(collect.Progress)) *collect.Options {
	return &collect.Options{Progress: progress, MaxWriterAge: s.collecting.policy.MaxWait}
}

func (s *Store) addToRemoval(ctx context.Context, r *collect.Removal, ref FileRef) error {
	file, isFile := manifest.ParseFileID(ref.ID)
	version, isVersion := manifest.ParseVersionID(ref.ID)
	switch {
	case isFile:
		r.Files = append(r.Files, file)
	case isVersion:
		m, err := s.meta.Manifest(ctx, version)
		if err != nil {
			return asAbsent(err, ErrNoVersion)
		}
		file = m.File
		r.Versions = append(r.Versions, version)
	default:
		return ErrNoFile
	}
	f, err := s.meta.File(ctx, file)
	if err == nil && f.Bucket != ref.Bucket {
		err = ErrNoFile
	}
	return asAbsent(err, ErrNoFile)
}

// isOverdue reports whether the rules of its bucket would have removed a file from the
// trash, and a version, by now, if no link held them.
func (s *Store) isOverdue(ctx context.Context, row *manifest.Row) (file, version bool, err error) {
	b := s.lookup(row.File.Bucket)
	if b == nil {
		return false, false, nil
	}
	in := &Bucket{s: s, b: b}
	if row.Manifest != nil {
		version, err = b.Versions.isDueVersion(ctx, s.meta, row.File, row.Manifest, s.removalTime())
	}
	return in.isDue(row.File), version, err
}

// asAbsent returns absent for an error that says that a row is missing.
func asAbsent(err, absent error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return absent
	}
	return err
}

// ExplainChunk says what keeps a chunk or segment.
func (s *Store) ExplainChunk(ctx context.Context, d cas.Digest) (*collect.Explanation, error) {
	return collect.ExplainChunk(ctx, s.collecting.store, d)
}

// ExplainPack says what keeps a pack, or what became of it.
func (s *Store) ExplainPack(ctx context.Context, id cas.PackID) (*collect.Explanation, error) {
	return collect.ExplainPack(ctx, s.collecting.store, id)
}

// ExplainFile says what keeps a file or version and what its removal would give
// back, or what became of it.
func (s *Store) ExplainFile(ctx context.Context, id string, progress func(collect.Progress)) (*collect.Explanation, error) {
	if version, ok := manifest.ParseVersionID(id); ok {
		return collect.ExplainFile(ctx, s.collecting.store, "", version, s.lookOptions(progress))
	}
	file, ok := manifest.ParseFileID(id)
	if !ok {
		return nil, ErrNoFile
	}
	return collect.ExplainFile(ctx, s.collecting.store, file, "", s.lookOptions(progress))
}
