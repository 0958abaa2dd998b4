package buckets_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
)

// An upload that is sent again with its key happens once.
func TestOnce(t *testing.T) {
	s := open(t, twoBuckets())
	b := bucket(t, s, "a")
	with := func(key, request string) *buckets.PutOptions {
		return &buckets.PutOptions{OnConflict: buckets.ConflictNew, Once: &buckets.Once{Key: key, Request: request}}
	}
	f := put(t, b, "f", "one", with("k", "r"))
	again, err := b.Put(t.Context(), "f", unread{t}, with("k", "r"))
	if err != nil || again.ManifestID != f.ManifestID || !again.Replayed || f.Replayed {
		t.Errorf("again: %+v, %v", again, err)
	}
	_, err = b.Put(t.Context(), "f", unread{t}, with("k", "another"))
	wantErr(t, "for another request", err, buckets.ErrOnce)
	for _, key := range []string{"", strings.Repeat("k", 256)} {
		if _, err := b.Put(t.Context(), "f", unread{t}, with(key, "r")); err == nil {
			t.Errorf("a key of %d bytes is taken", len(key))
		}
	}
	// Keys are a principal's and a bucket's own.
	if g := put(t, b.As(&access.Principal{ID: "ann", Operator: true}), "f", "two", with("k", "r")); g.ID == f.ID || g.Replayed {
		t.Errorf("another's key: %+v", g)
	}
	if g := put(t, bucket(t, s, "b"), "f", "three", with("k", "r")); g.Replayed {
		t.Errorf("another bucket's key: %+v", g)
	}
	// A version and a copy likewise, with conditions that hold only once.
	root := stat(t, b, f.ID, nil).Checksums["root"]
	replace := func() *buckets.File {
		v, err := b.Replace(t.Context(), f.ID, strings.NewReader("four"), &buckets.PutOptions{IfMatch: root, Once: &buckets.Once{Key: "v"}})
		must(t, err)
		return v
	}
	if v1, v2 := replace(), replace(); v1.Version != 2 || v2.Version != 2 || !v2.Replayed {
		t.Errorf("versions %d and %d", v1.Version, v2.Version)
	}
	cp := func() *buckets.File {
		c, err := b.Copy(t.Context(), f.ID, b, &buckets.CopyOptions{Name: "c", Once: &buckets.Once{Key: "c"}})
		must(t, err)
		return c
	}
	if c1, c2 := cp(), cp(); c1.ID != c2.ID || !c2.Replayed {
		t.Errorf("copies %s and %s", c1.ID, c2.ID)
	}
	must(t, b.Purge(t.Context(), f.ID, nil))
	_, err = b.Put(t.Context(), "f", unread{t}, with("k", "r"))
	wantErr(t, "of a file that is gone", err, buckets.ErrNoFile)
}

// Of many that race with one key, one makes a file, and all are told of it.
func TestOnceRaces(t *testing.T) {
	b := bucket(t, open(t, twoBuckets()), "a")
	var all sync.WaitGroup
	var mu sync.Mutex
	ids := make(map[string]int)
	for range 32 {
		all.Go(func() {
			f, err := b.Put(t.Context(), "f", strings.NewReader("x"), &buckets.PutOptions{OnConflict: buckets.ConflictNew, Once: &buckets.Once{Key: "k"}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[f.ID]++
		})
	}
	all.Wait()
	if len(ids) != 1 {
		t.Errorf("files %v", ids)
	}
	wantUsage(t, b, 1, 1, 1, 0, 0)
}

// A repeated request is answered only when what the first has made is in the
// packs: the first may have failed after the database had decided.
func TestRepeatsAreDurable(t *testing.T) {
	r := newReopened(t)
	s := r.open(buckets.Options{})
	defer s.Close()
	b := bucket(t, s, "demo")
	put(t, b, "first", "content", nil)
	up, err := uploads(b).Begin(t.Context(), "h", nil)
	must(t, err)
	up, err = uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("content"), nil)
	must(t, err)
	once := &buckets.PutOptions{Once: &buckets.Once{Key: "k"}}
	putAgain := func() (*buckets.File, error) { return b.Put(t.Context(), "g", strings.NewReader("content"), once) }
	commit := func() (*buckets.File, error) { return commitUpload(uploads(b), t.Context(), up.ID) }

	r.packs.Add(backendtest.Rule{Op: backendtest.OpWrite, Onward: true}, backendtest.Rule{Op: backendtest.OpCreate, Onward: true})
	for _, make := range []func() (*buckets.File, error){putAgain, commit} {
		for range 3 {
			if f, err := make(); err == nil {
				t.Errorf("got %s, replayed %v, while nothing can be written to the packs", f.Name, f.Replayed)
			}
		}
	}
	r.packs.Reset()
	for _, make := range []func() (*buckets.File, error){putAgain, commit} {
		if _, err := make(); err != nil {
			t.Errorf("got %v when packs can be written again", err)
		}
	}
}
