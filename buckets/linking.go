package buckets

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/manifest"
)

// A Linker is a store as seen by package links, which makes and ends the links of
// records. It leaves it to that package to ask whether its user may.
type Linker struct{ s *Store }

// Linker returns s without checks of access, for packages below this one.
func (s *Store) Linker(internal.Pass) *Linker { return &Linker{s} }

// Meta holds the rows of all buckets.
func (k *Linker) Meta() manifest.Store { return k.s.meta }

// Now is the time that rows are stamped with.
func (k *Linker) Now() time.Time { return k.s.now() }

// Log returns the store's.
func (k *Linker) Log() *slog.Logger { return k.s.log }

// Update runs a transaction about files and links of a bucket. It returns when
// the change is as durable as the bucket's policy says.
func (k *Linker) Update(ctx context.Context, bucket string, fn func(tx manifest.Tx) error) error {
	if b := k.s.lookup(bucket); b != nil {
		return (&Bucket{s: k.s, b: b}).updateAcknowledged(ctx, fn)
	}
	// Nothing lies in a bucket that is not declared. Its links can be ended still, and
	// any packs will do for that.
	domain := slices.Min(slices.Collect(maps.Keys(k.s.chunks)))
	return k.s.updateRows(ctx, func() string { return domain }, fn)
}

// UpdateHost runs a transaction that changes neither files nor links.
func (k *Linker) UpdateHost(ctx context.Context, fn func(tx manifest.Tx) error) error {
	return k.s.updateLocal(ctx, fn)
}

// IsDeclared reports whether there is a bucket of that name.
func (k *Linker) IsDeclared(bucket string) bool { return k.s.lookup(bucket) != nil }

// AreLinkedByReaders reports whether whoever may read a file of a bucket may make links
// to it that keep it from being deleted, or that delete it when they end.
func (k *Linker) AreLinkedByReaders(bucket string) bool {
	b := k.s.lookup(bucket)
	return b != nil && b.Access.LinkByRead
}

// Check is nil if who may do op to version m of f. The error is that of Bucket's
// methods. record is that of a host, which has made sure that it has the file and that
// who may read it; nil for none.
func (k *Linker) Check(ctx context.Context, op access.Op, who *access.Principal, record map[string]any, f *manifest.File, m *manifest.Manifest) error {
	b := k.s.lookup(f.Bucket)
	if b == nil {
		return ErrNoFile
	}
	return k.s.guard.Check(ctx, &access.Request{Op: op, Bucket: f.Bucket, Who: who, File: f, Version: m, Record: record})
}

// IsUnreconciled reports whether a host that refers to a bucket is not reconciled.
func (k *Linker) IsUnreconciled(ctx context.Context, rows manifest.Links, bucket string) (bool, error) {
	return isUnreconciled(ctx, rows, bucket)
}

// PrincipalKey names a principal among all.
func (k *Linker) PrincipalKey(who *access.Principal) string { return (&Bucket{who: who}).whoKey() }

// Describe describes version m of f.
func (k *Linker) Describe(f *manifest.File, m *manifest.Manifest) *File {
	return (&Bucket{s: k.s}).describeFile(f, m)
}

// IsOfType reports whether a version is of one of some media types, or wildcards.
func (k *Linker) IsOfType(m *manifest.Manifest, types []string) bool {
	return mediatype.Recorded(m.MIMEType).IsOneOf(types)
}

// Cascade moves f to the trash, since its last link has ended.
func (k *Linker) Cascade(ctx context.Context, tx manifest.Tx, f *manifest.File) error {
	k.s.cascade(f)
	return tx.PutFile(ctx, f)
}

// Revive takes f out of the trash, where the end of its last link has put it.
func (k *Linker) Revive(ctx context.Context, tx manifest.Tx, f *manifest.File) error {
	if err := k.s.revive(ctx, tx, f); err != nil {
		return err
	}
	return tx.PutFile(ctx, f)
}
