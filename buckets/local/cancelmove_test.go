package local_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
)

// A move that broke off is given up by a move to where the bucket is: what it has
// copied is collected.
func TestMoveIsGivenUp(t *testing.T) {
	dir, opts := t.TempDir(), moveOptions(t)
	s := openAt(t, dir, &opts)
	defer s.Close()
	a := bucket(t, s, "a")
	body := noise(1, 900<<10)
	f, err := a.Put(t.Context(), "kept", bytes.NewReader(body), nil)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	_, err = s.Migrate(ctx, "a", "two", func(m buckets.Migrated) {
		if m.CopiedBytes > 0 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the move did not break off: %v", err)
	}
	countLive := func() (n int64) {
		r, err := s.Collect(t.Context(), &collect.Options{Full: true})
		must(t, err)
		for _, d := range r.Domains {
			if d.Domain == "two" {
				n = d.LiveChunks
			}
		}
		return n
	}
	if countLive() == 0 {
		t.Fatal("nothing is kept for the move to go on with")
	}
	if _, err := s.Migrate(t.Context(), "a", "one", nil); err != nil {
		t.Fatal(err)
	}
	if n := countLive(); n != 0 {
		t.Errorf("%d chunks are kept for a move that was given up", n)
	}
	if got, err := content(a, f.ID); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s.Migrate(t.Context(), "a", "two", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := content(a, f.ID); err != nil || !bytes.Equal(got, body) {
		t.Errorf("after another move: %d bytes, %v", len(got), err)
	}
}
