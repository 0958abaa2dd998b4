package buckets_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

var errLost = errors.New("connection lost")

// Content in pieces, over lost connections and restarts, becomes the file that
// it would have been whole.
func TestPieces(t *testing.T) {
	race.LeaveOut(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{0, 1, 5_000, 200_000, 3_000_000, 40_000_000} {
		dir := t.TempDir()
		s, err := local.Open(t.Context(), dir, twoBuckets())
		must(t, err)
		content := noise(uint64(n), n)
		b := bucket(t, s, "a")
		up, err := uploads(b).Begin(t.Context(), "f.bin", &upload.Options{Header: "h", PutOptions: buckets.PutOptions{Size: int64(n), SizeKnown: n != 1,
			Folder: "d", Metadata: map[string]any{"k": 9007199254740993}, Tags: []string{"t"}, Digests: []string{"sha256"}}})
		must(t, err)
		for off := 0; off < n; {
			k := min(r.IntN(n)+1, n-off)
			var in io.Reader = bytes.NewReader(content[off : off+k])
			want := error(nil)
			if r.IntN(2) == 0 {
				in, want = newFailing(content[off:off+k], errLost), errLost
			}
			got, err := uploads(b).Append(t.Context(), up.ID, int64(off), in, nil)
			wantErr(t, "append", err, want)
			if off += k; got.Offset != int64(off) {
				t.Fatalf("stands at %d, want %d", got.Offset, off)
			}
			if r.IntN(3) == 0 {
				must(t, s.Close())
				s, err = local.Open(t.Context(), dir, twoBuckets())
				must(t, err)
				b = bucket(t, s, "a")
			}
			if again, err := uploads(b).Find(t.Context(), up.ID); err != nil || again.Offset != int64(off) || again.Header != "h" {
				t.Fatalf("found %+v, %v", again, err)
			}
		}
		f, err := commitUpload(uploads(b), t.Context(), up.ID)
		must(t, err)
		if f.NewBytes != int64(n) {
			t.Errorf("%d bytes were new, want %d", f.NewBytes, n)
		}
		whole := put(t, b, "whole", string(content), &buckets.PutOptions{Digests: []string{"sha256"}})
		if f.Checksums["root"] != whole.Checksums["root"] || f.Checksums["sha256"] != whole.Checksums["sha256"] || whole.NewBytes != 0 || f.Path() != "d/f.bin" || len(f.Tags) != 1 {
			t.Errorf("%d bytes: %+v, whole %+v", n, f, whole)
		}
		if got := read(t, b, f.ID, nil); got != string(content) {
			t.Errorf("%d bytes read back as %d others", n, len(got))
		}
		again, err := commitUpload(uploads(b), t.Context(), up.ID)
		if err != nil || again.ManifestID != f.ManifestID {
			t.Errorf("committed again: %+v, %v", again, err)
		}
		if done, err := uploads(b).Find(t.Context(), up.ID); err != nil || done.File == nil || done.File.ID != f.ID {
			t.Errorf("after the commit: %+v, %v", done, err)
		}
		must(t, uploads(b).Cancel(t.Context(), up.ID)) // which touches no file
		stat(t, b, f.ID, nil)
		must(t, s.Close())
		if r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *twoBuckets()}); err != nil || !r.OK {
			t.Errorf("check: %+v, %v", r, err)
		}
	}
}

func TestPiecesRefused(t *testing.T) {
	b, ann, bob, _ := ruled(t, buckets.Policy{Limits: buckets.Limits{MaxFileSize: 100_000, MaxTotalSize: 150_000, Types: []string{"image/*"}}}, ownersOnly())
	image := gif + strings.Repeat("x", 50_000)
	sized := func(n int64) *upload.Options {
		return &upload.Options{PutOptions: buckets.PutOptions{Size: n, SizeKnown: true}}
	}
	add := func(id string, off int64, p string) (*upload.Upload, error) {
		return uploads(ann).Append(t.Context(), id, off, strings.NewReader(p), nil)
	}
	_, err := uploads(ann).Begin(t.Context(), "f.gif", sized(100_001))
	wantErr(t, "declared too large", err, buckets.ErrTooLarge)
	up, err := uploads(ann).Begin(t.Context(), "f.gif", sized(int64(len(image))))
	must(t, err)
	_, err = uploads(bob).Append(t.Context(), up.ID, 0, strings.NewReader(image), nil)
	wantErr(t, "by another", err, buckets.ErrNoUpload)
	_, err = uploads(bob).Find(t.Context(), up.ID)
	wantErr(t, "seen by another", err, buckets.ErrNoUpload)
	wantErr(t, "cancelled by another", uploads(bob).Cancel(t.Context(), up.ID), buckets.ErrNoUpload)
	_, err = add(up.ID, 5, image)
	wantErr(t, "at another offset", err, buckets.ErrOffset)
	_, err = add(up.ID, 0, strings.Repeat("text ", 5_000))
	wantErr(t, "of another type", err, buckets.ErrType)
	got, err := add(up.ID, 0, image[:20_000])
	if err != nil || got.Offset != 20_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = commitUpload(uploads(ann), t.Context(), up.ID)
	wantErr(t, "committed early", err, buckets.ErrSize)
	got, err = add(up.ID, 20_000, image[20_000:]+"more")
	wantErr(t, "more than declared", err, buckets.ErrTooLarge)
	if got.Offset != 20_000 { // what came with too much is not kept
		t.Errorf("stands at %d", got.Offset)
	}
	_, err = add(up.ID, 20_000, image[20_000:])
	must(t, err)
	_, err = commitUpload(uploads(ann), t.Context(), up.ID)
	must(t, err)

	// Of unknown length, no more is taken than could be kept.
	up, err = uploads(ann).Begin(t.Context(), "g.gif", nil)
	must(t, err)
	got, err = uploads(ann).Append(t.Context(), up.ID, 0, io.MultiReader(strings.NewReader(gif), &endless{}), nil)
	if !errors.Is(err, buckets.ErrQuota) && !errors.Is(err, buckets.ErrTooLarge) || got.Offset > 100_000 {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, uploads(ann).Cancel(t.Context(), up.ID))
	_, err = uploads(ann).Find(t.Context(), up.ID)
	wantErr(t, "cancelled", err, buckets.ErrNoUpload)
	// Two that fit alone do not fit together: the first is given up.
	var ids []string
	for _, name := range []string{"h.gif", "i.gif"} {
		up, err := uploads(ann).Begin(t.Context(), name, sized(int64(len(image))))
		must(t, err)
		_, err = add(up.ID, 0, image)
		must(t, err)
		ids = append(ids, up.ID)
	}
	_, err = commitUpload(uploads(ann), t.Context(), ids[0])
	wantErr(t, "beyond the quota", err, buckets.ErrEvicted)
	_, err = commitUpload(uploads(ann), t.Context(), ids[1])
	must(t, err)
	_ = b
}

// Rules are asked at every step, by the schema of that moment.
func TestPiecesAskAgain(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, rules: {create: auth.id != null, update: auth.id == file.owner, read: "true"}}}`)
	ann := bucket(t, s, "b").As(&access.Principal{ID: "ann"})
	f := put(t, ann, "f", "1", nil)
	var ids []string
	for _, opts := range []*upload.Options{nil, {Replace: f.ID}} {
		up, err := uploads(ann).Begin(t.Context(), "new", opts)
		must(t, err)
		_, err = uploads(ann).Append(t.Context(), up.ID, 0, strings.NewReader("xx"), nil)
		must(t, err)
		ids = append(ids, up.ID)
	}
	_, err := uploads(ann).Begin(t.Context(), "", &upload.Options{Replace: f.ManifestID})
	wantErr(t, "of a version", err, buckets.ErrNoFile)
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one, rules: {read: "true"}}}`)))
	for _, id := range ids {
		_, err := uploads(ann).Append(t.Context(), id, 2, strings.NewReader("x"), nil)
		wantErr(t, "append", err, fs.ErrPermission)
		_, err = commitUpload(uploads(ann), t.Context(), id)
		wantErr(t, "commit", err, fs.ErrPermission)
	}
	must(t, s.ApplySchema(t.Context(), parse(t, `buckets: {b: {backend: one, rules: {create: "true", update: "true", read: "true"}}}`)))
	for i, id := range ids {
		g, err := commitUpload(uploads(ann), t.Context(), id)
		if err != nil || (g.ID == f.ID) != (i == 1) || g.Size != 2 {
			t.Errorf("%+v, %v", g, err)
		}
	}
}

// A request that goes on with an upload ends the one that stands still.
func TestHandover(t *testing.T) {
	b := bucket(t, open(t, twoBuckets()), "a")
	up, err := uploads(b).Begin(t.Context(), "f", nil)
	must(t, err)
	r, w := io.Pipe()
	var all sync.WaitGroup
	all.Go(func() {
		got, err := uploads(b).Append(t.Context(), up.ID, 0, r, &upload.AppendOptions{Interrupt: func() { w.CloseWithError(buckets.ErrInterrupted) }})
		if !errors.Is(err, buckets.ErrInterrupted) || got.Offset != 5 {
			t.Errorf("the old request: %+v, %v", got, err)
		}
	})
	w.Write([]byte("hello"))
	if _, err := uploads(b).Append(t.Context(), up.ID, 5, strings.NewReader(", world"), nil); err != nil {
		t.Errorf("the new request: %v", err)
	}
	all.Wait()
	f, err := commitUpload(uploads(b), t.Context(), up.ID)
	must(t, err)
	if got := read(t, b, f.ID, nil); got != "hello, world" {
		t.Errorf("read %q", got)
	}
}

func TestPiecesExpire(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, upload_expiry: 30ms}, long: {backend: one}}`)
	b, long := bucket(t, s, "b"), bucket(t, s, "long")
	up, err := uploads(b).Begin(t.Context(), "f", nil)
	must(t, err)
	_, err = uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("x"), nil)
	must(t, err)
	kept, err := uploads(long).Begin(t.Context(), "f", nil)
	must(t, err)
	time.Sleep(50 * time.Millisecond)
	_, err = uploads(b).Append(t.Context(), up.ID, 1, strings.NewReader("x"), nil)
	wantErr(t, "append to an expired one", err, buckets.ErrNoUpload)
	if done, err := s.Sweep(t.Context()); err != nil || done.Uploads != 1 {
		t.Errorf("swept %+v, %v", done, err)
	}
	_, err = uploads(long).Find(t.Context(), kept.ID)
	must(t, err)
}

// More bytes than the length declared are refused, also where nothing says how
// many will come.
func TestOverrun(t *testing.T) {
	b := bucket(t, open(t, twoBuckets()), "a")
	for _, n := range []int{3, 5000} {
		up, err := uploads(b).Begin(t.Context(), "f", &upload.Options{PutOptions: buckets.PutOptions{Size: int64(n), SizeKnown: true}})
		must(t, err)
		_, err = uploads(b).Append(t.Context(), up.ID, 0, io.MultiReader(strings.NewReader(strings.Repeat("x", n+1))), nil)
		wantErr(t, "a byte too many", err, buckets.ErrTooLarge)
	}
}

// Somebody else cannot interrupt an upload, and nobody can once all its bytes
// are read.
func TestWhoInterrupts(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, rules: {create: auth.id != null}}}`)
	ann, bob := bucket(t, s, "b").As(&access.Principal{ID: "ann"}), bucket(t, s, "b").As(&access.Principal{ID: "bob"})
	up, err := uploads(ann).Begin(t.Context(), "f", nil)
	must(t, err)
	r, w := io.Pipe()
	var all sync.WaitGroup
	var mu sync.Mutex
	asked := 0
	all.Go(func() {
		_, err := uploads(ann).Append(t.Context(), up.ID, 0, r, &upload.AppendOptions{Interrupt: func() {
			mu.Lock()
			defer mu.Unlock()
			asked++
		}, Verify: func() error {
			var other sync.WaitGroup
			other.Go(func() {
				if _, err := uploads(ann).Append(t.Context(), up.ID, 1, strings.NewReader("y"), nil); err != nil {
					t.Error(err)
				}
			})
			all.Go(other.Wait)
			time.Sleep(150 * time.Millisecond) // the other asks meanwhile
			return nil
		}})
		if err != nil {
			t.Error(err)
		}
	})
	w.Write([]byte("x"))
	wantErr(t, "bob's cancel", uploads(bob).Cancel(t.Context(), up.ID), buckets.ErrNoUpload)
	w.Close()
	all.Wait()
	if asked > 0 {
		t.Errorf("interrupted %d times", asked)
	}
}

// Two processes, or two servers of one, do not end each other's requests: the
// row alone says where an upload stands.
func TestPartsBesideAnotherServer(t *testing.T) {
	ctx := t.Context()
	b := demo(t)
	here, there := upload.New().In(b), upload.New().In(b)
	up, err := here.Begin(ctx, "f", nil)
	if err != nil {
		t.Fatal(err)
	}
	content := noise(7, 40<<20)
	taken := false
	_, err = here.Append(ctx, up.ID, 0, bytes.NewReader(content), &upload.AppendOptions{Progress: func(offset int64) {
		if taken {
			return
		}
		taken = true
		if _, err := there.Append(ctx, up.ID, offset, bytes.NewReader(content[offset:offset+1000]), nil); err != nil {
			t.Error(err)
		}
	}})
	if !taken || !errors.Is(err, buckets.ErrOffset) {
		t.Fatalf("append beside another: got %v, want %v", err, buckets.ErrOffset)
	}
	up, err = there.Settle(ctx, up.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.Append(ctx, up.ID, up.Offset, bytes.NewReader(content[up.Offset:]), nil); err != nil {
		t.Fatal(err)
	}
	f, err := commitUpload(there, ctx, up.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, b, f.ID, nil); got != string(content) {
		t.Errorf("got %d bytes that differ from the %d sent", len(got), len(content))
	}
}

// An upload that is given up between two looks of a commit at it fails as one that was
// given up before.
func TestGivenUpDuringCommit(t *testing.T) {
	// What has come is the rest alone, or parts too.
	for _, c := range []struct{ size, at int }{{600, 1}, {600, 2}, {60_000, 1}, {60_000, 2}, {300_000, 1}, {300_000, 2}} {
		var asked func() // for the time, which is after the row of an upload was read
		clock := func() time.Time {
			if asked != nil {
				asked()
			}
			return time.Now()
		}
		s := open(t, &local.Options{Now: clock, Auth: &recorder{}, Buckets: map[string]buckets.Policy{"b": {Limits: buckets.Limits{MaxOwnerSize: int64(c.size) + 100}}}})
		ann := bucket(t, s, "b").As(&access.Principal{ID: "ann"})
		up, err := uploads(ann).Begin(t.Context(), "f", &upload.Options{PutOptions: buckets.PutOptions{Size: int64(c.size), SizeKnown: true}})
		must(t, err)
		_, err = uploads(ann).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(1, c.size)), nil)
		must(t, err)
		calls := 0
		asked = func() {
			if calls++; calls == c.at {
				asked = nil
				f := put(t, ann, "instead", string(noise(2, c.size)), nil)
				must(t, ann.Purge(t.Context(), f.ID, nil)) // the room is there again
			}
		}
		_, err = commitUpload(uploads(ann), t.Context(), up.ID)
		if asked = nil; !errors.Is(err, buckets.ErrEvicted) {
			t.Errorf("%d bytes, given up at look %d: %v", c.size, c.at, err)
		}
	}
}
