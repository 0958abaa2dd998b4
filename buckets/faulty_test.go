package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

var errDown = errors.New("database is down")

// A fuse counts calls of a metadata store, and makes all of them fail from one
// on.
type fuse struct {
	mu    sync.Mutex
	calls int
	from  int // counted from 0; negative for never
}

func (f *fuse) set(from int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.from = 0, from
}

func (f *fuse) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fuse) blow() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.from >= 0 && f.calls > f.from {
		return errDown
	}
	return nil
}

// guardRow makes a method that returns a row fail when the fuse has blown, and
// guardRows one that yields some.
func guardRow[R any](f *fuse, call func() (R, error)) (R, error) {
	if err := f.blow(); err != nil {
		var none R
		return none, err
	}
	return call()
}

func guardRows[R any](f *fuse, seq iter.Seq2[R, error]) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		if err := f.blow(); err != nil {
			var none R
			yield(none, err)
			return
		}
		seq(yield)
	}
}

// A faultyFound fails in the look-ups that buckets makes.
type faultyFound struct {
	manifest.Found
	f *fuse
}

func (s faultyFound) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	return guardRow(s.f, func() (*manifest.File, error) { return s.Found.File(ctx, id) })
}

func (s faultyFound) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	return guardRow(s.f, func() (*manifest.File, error) { return s.Found.FileByPath(ctx, bucket, path) })
}

func (s faultyFound) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	return guardRow(s.f, func() (*manifest.Manifest, error) { return s.Found.Manifest(ctx, id) })
}

func (s faultyFound) Version(ctx context.Context, id manifest.FileID, n uint64) (*manifest.Manifest, error) {
	return guardRow(s.f, func() (*manifest.Manifest, error) { return s.Found.Version(ctx, id, n) })
}

func (s faultyFound) Versions(ctx context.Context, id manifest.FileID) iter.Seq2[*manifest.Manifest, error] {
	return guardRows(s.f, s.Found.Versions(ctx, id))
}

func (s faultyFound) Usage(ctx context.Context, bucket string) (manifest.Usage, error) {
	return guardRow(s.f, func() (manifest.Usage, error) { return s.Found.Usage(ctx, bucket) })
}

func (s faultyFound) Upload(ctx context.Context, bucket string, id manifest.UploadID) (*manifest.Upload, error) {
	return guardRow(s.f, func() (*manifest.Upload, error) { return s.Found.Upload(ctx, bucket, id) })
}

func (s faultyFound) UploadParts(ctx context.Context, id manifest.UploadID, from uint64) iter.Seq2[[]cas.Ref, error] {
	return guardRows(s.f, s.Found.UploadParts(ctx, id, from))
}

func (s faultyFound) UploadRest(ctx context.Context, id manifest.UploadID) ([]byte, error) {
	return guardRow(s.f, func() ([]byte, error) { return s.Found.UploadRest(ctx, id) })
}

func (s faultyFound) Grant(ctx context.Context, bucket string, id manifest.GrantID) (*manifest.Grant, error) {
	return guardRow(s.f, func() (*manifest.Grant, error) { return s.Found.Grant(ctx, bucket, id) })
}

func (s faultyFound) Home(ctx context.Context, bucket string) (*manifest.Home, error) {
	return guardRow(s.f, func() (*manifest.Home, error) { return s.Found.Home(ctx, bucket) })
}

// Methods that a faultyStore or faultyTx does not have come from below: what is
// embedded deeper gives way to faultyFound.
type (
	storeBelow  struct{ manifest.Store }
	storeBelow2 struct{ storeBelow }
	txBelow     struct{ manifest.Tx }
	txBelow2    struct{ txBelow }
)

type faultyStore struct {
	faultyFound
	storeBelow2
}

type faultyTx struct {
	faultyFound
	txBelow2
}

func (s *faultyStore) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if err := s.f.blow(); err != nil {
		return nil, err
	}
	return s.Store.Update(ctx, domain, func(tx manifest.Tx) error {
		return fn(&faultyTx{faultyFound{tx, s.f}, txBelow2{txBelow{tx}}})
	})
}

func (s *faultyStore) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return guardRows(s.f, s.Store.List(ctx, bucket, r))
}

// newFaulty returns a bucket as newGuarded does, with a metadata store that can
// be made to fail.
func newFaulty(t *testing.T) (u *fuse, s *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) {
	t.Helper()
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: crashfs.New().VFS()})
	must(t, err)
	chunks, err := cas.Open(t.Context(), membackend.New(nil), db.Index("d"), nil)
	must(t, err)
	u = &fuse{from: -1}
	meta := &faultyStore{faultyFound{db, u}, storeBelow2{storeBelow{db}}}
	s, err = buckets.New(t.Context(), meta, map[string]*cas.Store{"d": chunks}, map[string]buckets.Policy{"demo": {Domain: "d"}},
		&buckets.Options{Auth: &recorder{}})
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(s.Close(), db.Close())) })
	b = bucket(t, s, "demo").As(&access.Principal{ID: "alice"})
	put(t, b, "f", "one", &buckets.PutOptions{Folder: "d"})
	f = put(t, b, "f", "two", &buckets.PutOptions{Folder: "d"})
	put(t, b, "g", "zero", nil)
	trashed = put(t, b, "g", "three", nil)
	_, err = b.Delete(t.Context(), trashed.ID, nil)
	must(t, err)
	return u, s, b, f, trashed
}

// A metadata store that fails, at whichever call, makes the call on the bucket
// fail with its error: nobody learns that a file is not there, is there, or is
// forbidden. Nothing is changed, but that Concat may fail after its file is made:
// then only the answer is lost.
func TestMetadataErrorsAreNoAnswers(t *testing.T) {
	for name, prepare := range undecided() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, s, b, f, trashed := newFaulty(t)
			call := prepare(t, s, b, f, trashed)
			u.set(-1)
			must(t, call())
			calls := u.count()
			if calls == 0 {
				t.Fatal("the call did not use the metadata store")
			}

			u, s, b, f, trashed = newFaulty(t)
			call = prepare(t, s, b, f, trashed)
			before := snapshot(t, s)
			for at := range calls {
				u.set(at)
				err := call()
				if blown := u.count() > at; !blown {
					continue // a call before it has done part of the work
				}
				what := fmt.Sprintf("call %d of %d failed", at, calls)
				if !errors.Is(err, errDown) {
					t.Errorf("%s: %v, want %v", what, err, errDown)
				}
				for _, answer := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrExist, buckets.ErrPrecondition} {
					if errors.Is(err, answer) {
						t.Errorf("%s: %v is taken for the answer %q", what, err, answer)
					}
				}
			}
			u.set(-1)
			if after := snapshot(t, s); name != "Concat" && filesOf(after) != filesOf(before) {
				t.Errorf("a call that failed changed something:\n%s\nwas\n%s", after, before)
			}
		})
	}
}
