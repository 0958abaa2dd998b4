package buckets_test

import (
	"bytes"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
)

// What an upload has left counts until a collection that began after its end has
// completed: not before the end of the first, and not to the next. Whether others
// have stored the same makes no difference.
func TestLeftovers(t *testing.T) {
	p := newPassing(t)
	ann := p.b.As(&access.Principal{ID: "ann", Operator: true})
	shared := noise(1, 50_000)
	put(t, p.b, "shared", string(shared), nil)
	check := func(when string, want int64) {
		t.Helper()
		all, own, err := p.db.LeftoverBytes(t.Context(), "b", "id ann")
		if err != nil || all != want || own != want {
			t.Errorf("%s: %d bytes of %d, %v, want %d", when, own, all, err, want)
		}
	}
	end := func(content []byte, how func(id string) error) {
		t.Helper()
		up, err := uploads(ann).Begin(t.Context(), "up", nil)
		must(t, err)
		_, err = uploads(ann).Append(t.Context(), up.ID, 0, bytes.NewReader(content), nil)
		must(t, err)
		must(t, how(up.ID))
	}
	cancel := func(id string) error { return uploads(ann).Cancel(t.Context(), id) }
	invalidate := func(id string) error { return uploads(ann).Invalidate(t.Context(), id) }
	end(shared, cancel)
	check("cancelled", 50_000)
	end(noise(2, 50_000), invalidate)
	check("invalid", 100_000)
	end(noise(3, 50_000), func(id string) error {
		_, err := uploads(ann).Commit(t.Context(), id)
		return err
	})
	check("a file", 100_000)

	during := false
	p.meta.marking = func() {
		if !during {
			during = true
			check("while it is collected", 100_000)
			end(noise(4, 7000), cancel)
		}
	}
	_, err := p.s.Collect(t.Context(), nil)
	must(t, err)
	if !during {
		t.Fatal("nothing was marked")
	}
	check("ended during a collection", 7000)
	_, err = p.s.Collect(t.Context(), nil)
	must(t, err)
	check("collected", 0)
	_, err = p.s.Collect(t.Context(), nil)
	must(t, err)

	// An upload that was deduplicated changes nothing in the store, and a
	// collection that finds nothing changed ends what it left all the same.
	end(shared, cancel)
	check("cancelled again", 50_000)
	_, err = p.s.Collect(t.Context(), nil)
	must(t, err)
	check("collected again", 0)
}

// Leftovers of parts that are never kept: what came with a wrong sum, and more
// than was declared.
func TestLeftoversOfParts(t *testing.T) {
	b := bucket(t, declared(t, `buckets: {b: {backend: one, max_total_size: 10MB, rules: {create: "true", read: "true"}}}`), "b")
	ann := b.As(&access.Principal{ID: "ann"})
	up, err := uploads(ann).Begin(t.Context(), "up", nil)
	must(t, err)
	bad := func() error { return buckets.ErrDigest }
	for i := range uint64(3) {
		_, err = uploads(ann).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(i, 6_000_000)), &upload.AppendOptions{Verify: bad})
		wantErr(t, "wrong sum", err, buckets.ErrDigest)
	}
	_, err = uploads(ann).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(4, 6_000_000)), nil)
	wantErr(t, "behind them", err, buckets.ErrUncollected)
}
