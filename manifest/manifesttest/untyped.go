package manifesttest

import (
	"context"
	"iter"

	"github.com/cairn-store/cairn/manifest"
)

// Untyped makes a Store of a TypedStore, all of whose records go to the packs
// of domain, until the two interfaces are one. What the first cannot report as
// an error it panics of.
func Untyped(s manifest.TypedStore, domain string) manifest.Store { return untyped{s, domain} }

type untyped struct {
	manifest.TypedStore
	domain string
}

type untypedTx struct{ manifest.TypedTx }

func (s untyped) Update(ctx context.Context, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	return s.TypedStore.Update(ctx, s.domain, func(tx manifest.TypedTx) (err error) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case failed:
				err = p.error
			default:
				panic(p)
			}
		}()
		return fn(untypedTx{tx})
	})
}

func (s untyped) LastSeq() uint64 {
	n, err := s.LastCommit(context.Background())
	if err != nil {
		panic(err)
	}
	return n
}

func (s untyped) Epoch() uint64 {
	n, err := s.Removals(context.Background(), s.domain)
	if err != nil {
		panic(err)
	}
	return n
}

func (s untyped) Files(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.File, error] {
	return func(yield func(*manifest.File, error) bool) {
		for l, err := range s.List(ctx, bucket, r) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(l.File, nil) {
				return
			}
		}
	}
}

func (s untyped) All(ctx context.Context) iter.Seq2[*manifest.File, error] { return s.AllFiles(ctx) }

func (s untyped) Written(ctx context.Context, c *manifest.Commit) error {
	return s.TypedStore.Written(ctx, c.Seq)
}

// failed is what a method of a transaction panics of that has no error to
// return.
type failed struct{ error }

func (t untypedTx) Epoch() uint64 {
	n, err := t.Removals(context.Background())
	if err != nil {
		panic(failed{err})
	}
	return n
}

func (t untypedTx) PutFile(ctx context.Context, _ string, f *manifest.File) error {
	return t.TypedTx.PutFile(ctx, f)
}

func (t untypedTx) DropManifest(ctx context.Context, id manifest.VersionID) error {
	return t.DropManifests(ctx, []manifest.VersionID{id})
}

func (t untypedTx) Purge(ctx context.Context, _ string, id manifest.FileID) error {
	return t.TypedTx.Purge(ctx, id)
}
