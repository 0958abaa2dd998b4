package buckets_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
)

// Who has only listed chunks has shown none of them: an upload by list is no
// base but for what was sent to it.
func TestListsAreNoBases(t *testing.T) {
	for _, who := range []access.Principal{{ID: "ann"}, {}, {Operator: true}} {
		t.Run(fmt.Sprintf("%q operator %v", who.ID, who.Operator), func(t *testing.T) {
			s := declared(t, `buckets: {b: {backend: one, rules: {create: "true", read: "auth.id == file.owner"}}}`)
			content := noise(1, 1_000_000)
			put(t, bucket(t, s, "b").As(&access.Principal{ID: "bob"}), "secret", string(content), nil)
			b := bucket(t, s, "b").As(&who)
			first, err := uploads(b).Begin(t.Context(), "first", &upload.Options{Listed: true})
			must(t, err)
			chunks := cut(t, first.Listed.Chunker, content)
			_, _, err = uploads(b).AppendList(t.Context(), first.ID, 0, listing(chunks))
			must(t, err)
			_, err = uploads(b).ReceiveChunks(t.Context(), first.ID, sending(chunks[:2]))
			must(t, err)
			second, err := uploads(b).Begin(t.Context(), "second", &upload.Options{Listed: true, Bases: []string{first.ID}})
			must(t, err)
			_, l, err := uploads(b).AppendList(t.Context(), second.ID, 0, listing(chunks))
			must(t, err)
			if l.Chunks != int64(len(chunks)-2) {
				t.Errorf("%d of %d must be sent, two were", l.Chunks, len(chunks))
			}
			_, err = commitUpload(uploads(b), t.Context(), second.ID)
			wantErr(t, "commit of chunks that were only listed", err, buckets.ErrMissing)
		})
	}
}

// A base may become a file while an upload draws on it.
func TestBaseBecomesFile(t *testing.T) {
	b := demo(t)
	content := noise(2, 500_000)
	base, err := uploads(b).Begin(t.Context(), "base", nil)
	must(t, err)
	_, err = uploads(b).Append(t.Context(), base.ID, 0, newFailing(content, io.EOF), nil)
	must(t, err)
	up, err := uploads(b).Begin(t.Context(), "up", &upload.Options{Listed: true, Bases: []string{base.ID}})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, content)
	_, _, err = uploads(b).AppendList(t.Context(), up.ID, 0, listing(chunks))
	must(t, err)
	f, err := commitUpload(uploads(b), t.Context(), base.ID)
	must(t, err)
	l, err := uploads(b).Lacking(t.Context(), up.ID)
	if must(t, err); l.Chunks != 0 {
		t.Errorf("%d must be sent", l.Chunks)
	}
	must(t, b.Purge(t.Context(), f.ID, nil))
	l, err = uploads(b).Lacking(t.Context(), up.ID)
	if must(t, err); l.Chunks != int64(len(chunks)) {
		t.Errorf("with the base purged, %d must be sent", l.Chunks)
	}
}

// A chunk has the length that it has, whatever a list says.
func TestListOfWrongLengths(t *testing.T) {
	b := demo(t)
	content := noise(3, 1_000_000)
	for _, known := range []bool{false, true} {
		opts := &upload.Options{Listed: true, PutOptions: buckets.PutOptions{Digests: []string{}}}
		if known {
			opts.Bases = []string{put(t, b, "base", string(content), nil).ID}
		}
		up, err := uploads(b).Begin(t.Context(), "up", opts)
		must(t, err)
		chunks := cut(t, up.Listed.Chunker, content)
		next := listing(chunks)
		i := 0
		_, _, err = uploads(b).AppendList(t.Context(), up.ID, 0, func() (cas.Ref, error) {
			r, err := next()
			if i++; i == 5 {
				r.Length = 20_000
			}
			return r, err
		})
		if known {
			wantErr(t, "list", err, buckets.ErrList)
		} else {
			must(t, err)
			_, err = uploads(b).ReceiveChunks(t.Context(), up.ID, sending(chunks))
			must(t, err)
		}
		_, err = commitUpload(uploads(b), t.Context(), up.ID)
		wantErr(t, "commit", err, buckets.ErrList)
	}
}

// A piece of a list may arrive while the one before is being taken.
func TestListsOverlap(t *testing.T) {
	b := demo(t)
	up, err := uploads(b).Begin(t.Context(), "up", &upload.Options{Listed: true})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, noise(4, 2_000_000))
	half := len(chunks) / 2
	tail, first := listing(chunks[half:]), true
	_, l, err := uploads(b).AppendList(t.Context(), up.ID, int64(half), func() (cas.Ref, error) {
		if first {
			first = false
			_, _, err := uploads(b).AppendList(t.Context(), up.ID, 0, listing(chunks[:half]))
			must(t, err)
		}
		return tail()
	})
	must(t, err)
	if l.First != int64(half) || l.Chunks != int64(len(chunks)-half) {
		t.Errorf("%d from %d on must be sent", l.Chunks, l.First)
	}
	for c, err := range l.Each(t.Context()) {
		must(t, err)
		if c.Digest != chunks[c.Index].Digest {
			t.Fatalf("chunk %d is taken for another", c.Index)
		}
	}
}

// What expires while a request is under way does not come back without what
// it had.
func TestExpiryUnderWay(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, upload_expiry: 100ms}}`)
	b := bucket(t, s, "b")
	expire := func() {
		time.Sleep(150 * time.Millisecond)
		_, err := s.Sweep(t.Context())
		must(t, err)
	}
	content := noise(5, 2_000_000)
	up, err := uploads(b).Begin(t.Context(), "list", &upload.Options{Listed: true})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, content)
	_, _, err = uploads(b).AppendList(t.Context(), up.ID, 0, listing(chunks[:5]))
	must(t, err)
	rest, first := listing(chunks[5:]), true
	_, _, err = uploads(b).AppendList(t.Context(), up.ID, 5, func() (cas.Ref, error) {
		if first {
			first = false
			expire()
		}
		return rest()
	})
	wantErr(t, "list", err, buckets.ErrUploadExpired)

	up, err = uploads(b).Begin(t.Context(), "stream", nil)
	must(t, err)
	_, err = uploads(b).Append(t.Context(), up.ID, 0, newFailing(content[:1_000_000], io.EOF), nil)
	must(t, err)
	_, err = uploads(b).Append(t.Context(), up.ID, 1_000_000, io.MultiReader(readerFunc(func() { expire() }), newFailing(content[1_000_000:], io.EOF)), nil)
	wantErr(t, "append", err, buckets.ErrUploadExpired)
}

// A readerFunc is an empty reader that does something.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}
