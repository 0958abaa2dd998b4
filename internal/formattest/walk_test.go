package formattest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
)

// A walk changes a store at random.
type walk struct {
	t        *testing.T
	rand     *rand.Rand
	noise    *rand.ChaCha8
	dir      string
	store    *buckets.Store
	packDirs map[string]string
	files    map[string]string // bucket by ID, of those that were made and not purged
}

func newWalk(t *testing.T) *walk {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := &walk{t: t, dir: t.TempDir(), files: map[string]string{}}
	w.rand = rand.New(rand.NewPCG(seed, 1))
	var key [32]byte
	copy(key[:], fmt.Sprint(seed))
	w.noise = rand.NewChaCha8(key)
	w.store, w.packDirs = openStore(t, w.dir)
	t.Cleanup(w.close)
	return w
}

func (w *walk) close() {
	if w.store == nil {
		return
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
	w.store = nil
}

func (w *walk) bucket(name string) *buckets.Bucket {
	b, err := w.store.Bucket(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// bytes returns n bytes: noise, text, zeros, or noise that repeats.
func (w *walk) bytes(n int) []byte {
	out := make([]byte, n)
	switch w.rand.IntN(4) {
	case 0:
		for i := range out {
			out[i] = "the quick brown fox \n"[w.rand.IntN(21)]
		}
	case 1:
	case 2:
		w.noise.Read(out)
		for i := 300000; i < n; i++ {
			out[i] = out[i-300000]
		}
	default:
		w.noise.Read(out)
	}
	return out
}

func (w *walk) size() int {
	return w.rand.IntN([]int{1, 100, 20 << 10, 400 << 10, 1 << 20}[w.rand.IntN(5)] + 1)
}

func (w *walk) pick() (string, *buckets.Bucket) {
	ids := sortedKeys(w.files)
	if len(ids) == 0 {
		return "", nil
	}
	id := ids[w.rand.IntN(len(ids))]
	return id, w.bucket(w.files[id])
}

// made notes a file, unless a step failed as it may: of a file that is in the trash, or of a name that is taken.
func (w *walk) made(f *buckets.File, err error) {
	w.t.Helper()
	if w.may(err) && f.State != buckets.Purged {
		w.files[f.ID] = f.Bucket
	}
}

func (w *walk) may(err error) bool {
	w.t.Helper()
	for _, ok := range []error{fs.ErrNotExist, fs.ErrExist, buckets.ErrRange, buckets.ErrNotTrashed} {
		if errors.Is(err, ok) {
			return false
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return true
}

// run makes some files that every run is to have, and takes random steps. It opens the store anew in the middle, and
// moves a bucket to the other domain.
func (w *walk) run() {
	ctx := w.t.Context()
	big := make([]byte, 7<<20)
	w.noise.Read(big)
	w.made(w.bucket("few").Put(ctx, "many.bin", bytes.NewReader(big[:700<<10]), nil))
	w.made(w.bucket("fine").Put(ctx, "tree.bin", bytes.NewReader(big), &buckets.PutOptions{Folder: "deep/down"}))
	w.made(w.bucket("plain").Put(ctx, "zeros", bytes.NewReader(make([]byte, 9<<20)), nil))
	w.made(w.bucket("plain").Put(ctx, "empty", strings.NewReader(""), nil))
	for range 60 {
		w.step()
	}
	w.close()
	w.store, _ = openStore(w.t, w.dir)
	for range 40 {
		w.step()
	}
	if _, err := w.store.Migrate(ctx, "plain", "other", nil); err != nil {
		w.t.Fatal(err)
	}
	w.settle("plain", "trashed and left", false)
	w.settle("fine", "trashed and purged", true)
	for range 40 {
		w.step()
	}
	w.settle("fine", "trashed at last", false)
	w.noise.Read(big)
	w.made(w.bucket("fine").Put(ctx, "tree at last", bytes.NewReader(big), nil))
	w.made(w.bucket("few").Put(ctx, "leaf at last", bytes.NewReader(big[:700<<10]), nil))
}

// settle makes a file that ends in the trash, or purged.
func (w *walk) settle(bucket, name string, purge bool) {
	b := w.bucket(bucket)
	f, err := b.Put(w.t.Context(), name, bytes.NewReader(w.bytes(5000)), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := b.Delete(w.t.Context(), f.ID, nil); err != nil {
		w.t.Fatal(err)
	}
	if !purge {
		return
	}
	if err := b.Purge(w.t.Context(), f.ID, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walk) step() {
	ctx := w.t.Context()
	id, b := w.pick()
	switch w.rand.IntN(13) {
	case 0, 1, 2:
		name := []string{"plain", "fine", "few"}[w.rand.IntN(3)]
		who := &access.Principal{ID: []string{"ann", "bob"}[w.rand.IntN(2)], Operator: true}
		opts := &buckets.PutOptions{Folder: []string{"", "a", "a/ü"}[w.rand.IntN(3)], MIMEType: "text/x-" + name}
		if w.rand.IntN(2) == 0 {
			opts.Metadata = map[string]any{"k": w.rand.IntN(100), "nested": map[string]any{"x": "<&>"}}
			opts.Tags = []string{"red", fmt.Sprint(w.rand.IntN(9))}
			opts.Digests = []string{"blake3"}
		}
		file := fmt.Sprintf("file %d.txt", w.rand.IntN(12))
		w.made(w.bucket(name).As(who).Put(ctx, file, bytes.NewReader(w.bytes(w.size())), opts))
	case 3:
		w.made(b.Replace(ctx, id, bytes.NewReader(w.bytes(w.size())), nil))
	case 4:
		name, folder := fmt.Sprintf("renamed %d", w.rand.IntN(1000)), []string{"", "b/c"}[w.rand.IntN(2)]
		w.made(b.Update(ctx, id, &buckets.Patch{Name: &name, Folder: &folder}))
	case 5:
		tags := []string{"blue"}[:w.rand.IntN(2)]
		w.made(b.Update(ctx, id, &buckets.Patch{Metadata: map[string]any{"k": nil, "n": w.rand.IntN(5)}, Tags: &tags}))
	case 6:
		w.trash(id, b)
	case 7:
		w.made(b.Undelete(ctx, id))
	case 8:
		w.purge(id, b)
	case 9:
		w.dropVersion(id, b)
	case 10:
		dst := w.bucket([]string{"plain", "fine", "few"}[w.rand.IntN(3)])
		w.made(b.Copy(ctx, id, dst, &buckets.CopyOptions{Name: fmt.Sprintf("copy %d", w.rand.IntN(1000))}))
	case 11:
		w.made(b.Extend(ctx, id, bytes.NewReader(w.bytes(w.size())), -1, nil))
	case 12:
		at := int64(w.rand.IntN(1000))
		w.made(b.Edit(ctx, id, []buckets.Piece{
			{File: id, Length: at}, {Data: w.bytes(w.rand.IntN(3000) + 1)}, {File: id, Offset: at, Length: -1},
		}, nil))
	}
}

func (w *walk) trash(id string, b *buckets.Bucket) {
	f, err := b.Delete(w.t.Context(), id, nil)
	if w.may(err) && f.State == buckets.Purged {
		delete(w.files, id)
	}
}

func (w *walk) purge(id string, b *buckets.Bucket) {
	if w.rand.IntN(2) == 0 {
		return
	}
	if w.may(b.Purge(w.t.Context(), id, nil)) {
		delete(w.files, id)
	}
}

func (w *walk) dropVersion(id string, b *buckets.Bucket) {
	var numbers []uint64
	for f, err := range b.Versions(w.t.Context(), id) {
		if !w.may(err) {
			return
		}
		numbers = append(numbers, f.Version)
	}
	if len(numbers) > 1 {
		w.may(b.DeleteVersion(w.t.Context(), id, numbers[w.rand.IntN(len(numbers))]))
	}
}
