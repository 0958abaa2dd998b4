package buckets_test

import (
	"encoding/hex"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
)

// cut cuts content into chunks by the splitter of that name.
func cut(t *testing.T, name string, content []byte) (out []upload.SentChunk) {
	t.Helper()
	s, err := chunker.Parse(name)
	must(t, err)
	for len(content) > 0 {
		n := s.Split(content[:min(len(content), s.Max())])
		out = append(out, upload.SentChunk{Digest: cas.Digest(blake3.Sum256(content[:n])), Bytes: content[:n]})
		content = content[n:]
	}
	return out
}

func sending(chunks []upload.SentChunk) func() (upload.SentChunk, error) {
	return func() (c upload.SentChunk, err error) {
		if len(chunks) == 0 {
			return c, io.EOF
		}
		c, chunks = chunks[0], chunks[1:]
		return c, nil
	}
}

func listing(chunks []upload.SentChunk) func() (cas.Ref, error) {
	next := sending(chunks)
	return func() (cas.Ref, error) {
		c, err := next()
		return cas.Ref{Digest: c.Digest, Length: uint32(len(c.Bytes))}, err
	}
}

// lacks returns the chunks that must be sent.
func lacks(t *testing.T, l *upload.Lacking, chunks []upload.SentChunk) (out []upload.SentChunk) {
	t.Helper()
	for c, err := range l.Each(t.Context()) {
		must(t, err)
		out = append(out, chunks[c.Index])
	}
	return out
}

// Listing and sending is asked about like any upload, every time.
func TestListsAskAgain(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, rules: {create: auth.id != null, read: "true"}}}`)
	ann := bucket(t, s, "b").As(&access.Principal{ID: "ann"})
	up, err := uploads(ann).Begin(t.Context(), "new", &upload.Options{Listed: true})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, noise(1, 100_000))
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one, rules: {read: "true"}}}`)))
	_, _, err = uploads(ann).AppendList(t.Context(), up.ID, 0, listing(chunks))
	wantErr(t, "list", err, fs.ErrPermission)
	_, err = uploads(ann).Lacking(t.Context(), up.ID)
	wantErr(t, "lacking", err, fs.ErrPermission)
	_, err = uploads(ann).ReceiveChunks(t.Context(), up.ID, sending(chunks))
	wantErr(t, "receive", err, fs.ErrPermission)
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one, rules: {create: "true", read: "true"}}}`)))
	bob := bucket(t, s, "b").As(&access.Principal{ID: "bob"})
	_, _, err = uploads(bob).AppendList(t.Context(), up.ID, 0, listing(chunks))
	wantErr(t, "somebody else's", err, buckets.ErrNoUpload)
	_, err = uploads(bob).Lacking(t.Context(), up.ID)
	wantErr(t, "somebody else's", err, buckets.ErrNoUpload)
	_, err = uploads(bob).ReceiveChunks(t.Context(), up.ID, sending(chunks))
	wantErr(t, "somebody else's", err, buckets.ErrNoUpload)
}

// What was acknowledged stays acknowledged over a restart; the anonymous have
// nothing but their upload; the list may be longer than is kept together.
func TestListOverRestart(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	nobody := func() *buckets.Bucket { return bucket(t, s, "a").As(&access.Principal{Operator: true}) }
	content := noise(2, 3_000_000)
	opts := func() *upload.Options { return &upload.Options{Listed: true} }
	up, err := uploads(nobody()).Begin(t.Context(), "f", opts())
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, content)
	_, l, err := uploads(nobody()).AppendList(t.Context(), up.ID, 0, listing(chunks))
	must(t, err)
	if n := len(lacks(t, l, chunks)); n != len(chunks) {
		t.Errorf("%d of %d must be sent", n, len(chunks))
	}
	got, err := uploads(nobody()).ReceiveChunks(t.Context(), up.ID, sending(chunks[:20]))
	if err != nil || got.NewChunks != 20 || got.Chunks != 20 {
		t.Errorf("received %+v, %v", got, err)
	}
	must(t, s.Close())
	s, err = local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	l, err = uploads(nobody()).Lacking(t.Context(), up.ID)
	must(t, err)
	rest := lacks(t, l, chunks)
	if len(rest) != len(chunks)-20 {
		t.Errorf("after the restart %d of %d must be sent", len(rest), len(chunks))
	}
	other, err := uploads(nobody()).Begin(t.Context(), "g", opts())
	must(t, err)
	_, l, err = uploads(nobody()).AppendList(t.Context(), other.ID, 0, listing(chunks))
	if must(t, err); l.Chunks != int64(len(chunks)) {
		t.Errorf("an upload of nobody's is told of %d chunks of another", int64(len(chunks))-l.Chunks)
	}
	_, err = uploads(nobody()).ReceiveChunks(t.Context(), up.ID, sending(rest))
	must(t, err)
	f, err := commitUpload(uploads(nobody()), t.Context(), up.ID)
	must(t, err)
	if f.NewBytes != int64(len(content)) || f.StoredBytes < f.NewBytes {
		t.Errorf("%d bytes were new, %d are stored", f.NewBytes, f.StoredBytes)
	}
	if got := read(t, nobody(), f.ID, nil); got != string(content) {
		t.Error("it reads back otherwise")
	}
	must(t, s.Close())
	if r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *twoBuckets()}); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// A long list is kept in parts and answered in bits.
func TestLongList(t *testing.T) {
	race.LeaveOut(t)
	b := demo(t)
	up, err := uploads(b).Begin(t.Context(), "long", &upload.Options{Listed: true})
	must(t, err)
	const n = 300_000
	r := rand.NewChaCha8([32]byte{7})
	i := 0
	up, l, err := uploads(b).AppendList(t.Context(), up.ID, 0, func() (ref cas.Ref, err error) {
		if i++; i > n {
			return ref, io.EOF
		}
		r.Read(ref.Digest[:])
		ref.Length = 65536
		return ref, nil
	})
	must(t, err)
	if up.Listed.Chunks != n || up.Offset != n*65536 || l.Chunks != n || l.Bytes != n*65536 || len(l.MustSend) != n/8 {
		t.Errorf("%+v, %d bytes lack", up, l.Bytes)
	}
	must(t, uploads(b).Cancel(t.Context(), up.ID))
}

// Damaged chunks are asked for again, by whoever may be told of them.
func TestListHealsDamage(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	content := noise(3, 500_000)
	f := put(t, bucket(t, s, "a"), "f", string(content), nil)
	must(t, s.Close())
	flipPack(t, dir)
	s, err = local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	defer s.Close()
	b := bucket(t, s, "a")
	up, err := uploads(b).Begin(t.Context(), "", &upload.Options{Listed: true, Replace: f.ID})
	must(t, err)
	chunks := cut(t, up.Listed.Chunker, content)
	_, l, err := uploads(b).AppendList(t.Context(), up.ID, 0, listing(chunks))
	must(t, err)
	if l.Chunks != 0 {
		t.Fatalf("%d must be sent, before anybody has found the damage", l.Chunks)
	}
	o, err := b.Open(t.Context(), f.ID, nil)
	must(t, err)
	if _, err := io.Copy(io.Discard, o); err == nil {
		t.Fatal("damage was not found")
	}
	o.Close()
	_, err = commitUpload(uploads(b), t.Context(), up.ID)
	wantErr(t, "commit", err, buckets.ErrMissing)
	l, err = uploads(b).Lacking(t.Context(), up.ID)
	must(t, err)
	_, err = uploads(b).ReceiveChunks(t.Context(), up.ID, sending(lacks(t, l, chunks)))
	must(t, err)
	_, err = commitUpload(uploads(b), t.Context(), up.ID)
	must(t, err)
	if got := read(t, b, f.ID, nil); got != string(content) {
		t.Error("it reads back otherwise")
	}
}

// Many bases, used side by side, take bounded room and tell the truth.
func TestBasesSideBySide(t *testing.T) {
	b := demo(t)
	var all sync.WaitGroup
	for i := range 8 {
		content := noise(uint64(100+i), 400_000)
		f := put(t, b, "base"+hex.EncodeToString([]byte{byte(i)}), string(content), nil)
		for range 4 {
			all.Go(func() {
				up, err := uploads(b).Begin(t.Context(), "x", &upload.Options{Listed: true, Bases: []string{f.ID},
					PutOptions: buckets.PutOptions{OnConflict: buckets.ConflictNew}})
				if err != nil {
					t.Error(err)
					return
				}
				_, l, err := uploads(b).AppendList(t.Context(), up.ID, 0, listing(cut(t, up.Listed.Chunker, content)))
				if err != nil || l.Chunks != 0 {
					t.Errorf("%+v, %v", l, err)
				}
				if _, err := commitUpload(uploads(b), t.Context(), up.ID); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
}

// flipPack damages a byte in the middle of the only pack.
func flipPack(t *testing.T, dir string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*", "*"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	p, err := os.ReadFile(packs[0])
	must(t, err)
	p[len(p)/2] ^= 1
	must(t, os.WriteFile(packs[0], p, 0o600))
}
