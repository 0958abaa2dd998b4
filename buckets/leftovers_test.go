package buckets_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

// What an upload has left counts until a collection that began after its end has
// completed: not before the end of the first, and not to the next. Whether others
// have stored the same makes no difference.
func TestLeftovers(t *testing.T) {
	p := newPassing(t, passingSchema)
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
		_, err := commitUpload(uploads(ann), t.Context(), id)
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
	race.LeaveOut(t)
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

// What ended uploads have left counts as long as a writer under way keeps it from
// being collected: else one slow upload would let its sender fill the store with
// others.
func TestLeftoversWaitForWriters(t *testing.T) {
	p := newPassing(t, passingSchema)
	ann := p.b.As(&access.Principal{ID: "ann", Operator: true})
	in, out := io.Pipe()
	slow := make(chan error)
	go func() {
		_, err := ann.Put(t.Context(), "slow", in, nil)
		slow <- err
	}()
	_, err := out.Write(noise(1, 100)) // it is under way
	must(t, err)
	up, err := uploads(ann).Begin(t.Context(), "up", nil)
	must(t, err)
	_, err = uploads(ann).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(2, 50_000)), nil)
	must(t, err)
	must(t, uploads(ann).Cancel(t.Context(), up.ID))
	for _, want := range []int64{50_000, 0} {
		_, err = p.s.Collect(t.Context(), nil)
		must(t, err)
		if _, own, err := p.db.LeftoverBytes(t.Context(), "b", "id ann"); err != nil || own != want {
			t.Errorf("%d bytes are left, %v, want %d", own, err, want)
		}
		if want > 0 {
			must(t, out.Close())
			must(t, <-slow)
		}
	}
}

// sendList sends a content for a list, and cancels the upload: when all has come, or
// behind that.
func sendList(t *testing.T, b *buckets.Bucket, content []byte, early bool) error {
	t.Helper()
	up, err := uploads(b).Begin(t.Context(), "up", &upload.Options{Listed: true})
	if err != nil {
		return err
	}
	chunks := cut(t, up.Listed.Chunker, content)
	if _, _, err := uploads(b).AppendList(t.Context(), up.ID, 0, listing(chunks)); err != nil {
		return err
	}
	next := sending(chunks)
	_, err = uploads(b).ReceiveChunks(t.Context(), up.ID, func() (upload.SentChunk, error) {
		c, err := next()
		if err == io.EOF && early {
			must(t, uploads(b).Cancel(t.Context(), up.ID))
		}
		return c, err
	})
	if err == nil {
		err = uploads(b).Cancel(t.Context(), up.ID)
	}
	return err
}

// Chunks that come for a list and are not kept are left too.
func TestLeftoversOfChunks(t *testing.T) {
	b := bucket(t, declared(t, `buckets: {b: {backend: one, chunking: fine, max_total_size: 1MB, rules: {create: "true", read: "true"}}}`), "b")
	ann := b.As(&access.Principal{ID: "ann"})
	for i := range uint64(3) {
		wantErr(t, "cancelled while they come", sendList(t, ann, noise(i, 900_000), true), buckets.ErrNoUpload)
	}
	wantErr(t, "too often", sendList(t, ann, noise(4, 900_000), true), buckets.ErrUncollected)
}

// What was sent before and has been collected counts again when it comes again.
func TestLeftoversSentAgain(t *testing.T) {
	p := newPassing(t, passingSchema)
	ann := p.b.As(&access.Principal{ID: "ann", Operator: true})
	for range 2 {
		must(t, sendList(t, ann, noise(1, 50_000), false))
		if _, own, err := p.db.LeftoverBytes(t.Context(), "b", "id ann"); err != nil || own < 50_000 {
			t.Errorf("%d bytes are left, %v, want 50000 and the list", own, err)
		}
		_, err := p.s.Collect(t.Context(), nil)
		must(t, err)
	}
}
