package buckets_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
)

// open returns a store in a new directory that the test closes.
func open(t *testing.T, opts *local.Options) *buckets.Store {
	t.Helper()
	return openDir(t, t.TempDir(), opts)
}

func openDir(t *testing.T, dir string, opts *local.Options) *buckets.Store {
	t.Helper()
	s, err := local.Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// demo returns the bucket "demo" of a new store.
func demo(t *testing.T) *buckets.Bucket {
	t.Helper()
	return bucket(t, open(t, nil), "demo")
}

// twoBuckets are options of a store with buckets "a" and "b".
func twoBuckets() *local.Options {
	return &local.Options{Buckets: map[string]buckets.Policy{
		"a": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}, Access: access.Policy{FileRules: true}}, "b": {Domain: "local"}}}
}

func bucket(t *testing.T, s *buckets.Store, name string) *buckets.Bucket {
	t.Helper()
	b, err := s.Bucket(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b *buckets.Bucket, name, content string, opts *buckets.PutOptions) *buckets.File {
	t.Helper()
	f, err := b.Put(t.Context(), name, strings.NewReader(content), opts)
	if err != nil {
		t.Fatalf("put %q: %v", name, err)
	}
	return f
}

func read(t *testing.T, b *buckets.Bucket, id string, opts *buckets.GetOptions) string {
	t.Helper()
	o, err := b.Open(t.Context(), id, opts)
	if err != nil {
		t.Fatalf("open %s: %v", id, err)
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		t.Fatalf("read %s: %v", id, err)
	}
	return string(p)
}

func stat(t *testing.T, b *buckets.Bucket, id string, opts *buckets.GetOptions) *buckets.File {
	t.Helper()
	f, err := b.Stat(t.Context(), id, opts)
	if err != nil {
		t.Fatalf("stat %s: %v", id, err)
	}
	return f
}

// wantErr fails unless err is want.
func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// paths lists the paths of the files that opts choose.
func paths(t *testing.T, b *buckets.Bucket, opts *buckets.ListOptions) []string {
	t.Helper()
	out := []string{}
	for f, err := range b.List(t.Context(), opts) {
		must(t, err)
		out = append(out, f.Path())
	}
	return out
}

// wantUsage compares the usage of b with what was stored: files, versions,
// bytes, trashed files, trashed bytes.
func wantUsage(t *testing.T, b *buckets.Bucket, files, versions, size, trashed, trashedSize int64) {
	t.Helper()
	got, err := b.Usage(t.Context())
	must(t, err)
	want := buckets.Usage{Bucket: b.Name(), Files: files, Versions: versions, Bytes: size,
		TrashedFiles: trashed, TrashedBytes: trashedSize}
	if got != want {
		t.Errorf("usage\n got %+v\nwant %+v", got, want)
	}
}

// stored returns the bytes that the chunks of the store take plain.
func stored(t *testing.T, s *buckets.Store) int64 {
	t.Helper()
	r, err := s.Dedup(t.Context())
	must(t, err)
	return r.UniqueBytes
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

func ptr[T any](v T) *T { return &v }

// failing gives content and then an error.
type failing struct {
	io.Reader
	err error
}

func newFailing(p []byte, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(p), &failing{err: err})
}

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// allUploads are those of all stores: their IDs differ.
var allUploads = upload.New()

func uploads(b *buckets.Bucket) *upload.Bucket { return allUploads.In(b) }

// commitUpload returns the file that an upload becomes.
func commitUpload(b *upload.Bucket, ctx context.Context, id string) (*buckets.File, error) {
	up, err := b.Commit(ctx, id)
	if err != nil {
		return nil, err
	}
	return up.File, nil
}
