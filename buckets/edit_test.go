package buckets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// editOnce does a random edit of the file id, whose bytes are p, and returns
// what they are then.
func editOnce(t *testing.T, r *rand.Rand, b *buckets.Bucket, id string, p []byte) (*buckets.File, []byte) {
	t.Helper()
	ctx, size := t.Context(), len(p)
	at, q := r.IntN(size+1), noise(r.Uint64(), r.IntN(1+r.IntN(200_000)))
	var f *buckets.File
	var err error
	switch r.IntN(6) {
	case 0:
		f, err = b.Extend(ctx, id, bytes.NewReader(q), -1, nil)
		p = slices.Concat(p, q)
	case 1:
		f, err = b.Extend(ctx, id, bytes.NewReader(q), int64(len(q)), nil)
		p = slices.Concat(p, q)
	case 2:
		f, err = b.Overwrite(ctx, id, int64(at), bytes.NewReader(q), int64(len(q)), nil)
		p = slices.Concat(p[:at], q, p[min(size, at+len(q)):])
	case 3:
		at = max(at, size/2)
		f, err = b.Truncate(ctx, id, int64(at), nil)
		p = p[:at]
	case 4: // inserted
		f, err = b.Edit(ctx, id, []buckets.Piece{{File: id, Length: int64(at)}, {Data: q[:len(q):len(q)]}, {File: id, Offset: int64(at), Length: -1}}, nil)
		p = slices.Concat(p[:at], q, p[at:])
	case 5: // removed
		to := min(at+len(q), size)
		f, err = b.Edit(ctx, id, []buckets.Piece{{File: id, Length: int64(at)}, {File: id, Offset: int64(to), Length: -1}}, nil)
		p = slices.Concat(p[:at], p[to:])
	}
	if err != nil {
		t.Fatalf("edit of %d bytes at %d: %v", size, at, err)
	}
	return f, p
}

// An edited file is the one that would have been uploaded.
func TestEdits(t *testing.T) {
	race.LeaveOut(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	opts := twoBuckets()
	for name, profile := range map[string]string{"a": "fine", "b": "balanced"} {
		p := opts.Buckets[name]
		p.Profile, p.Digests = profile, []string{"sha256"}
		opts.Buckets[name] = p
	}
	opts.Buckets["c"] = buckets.Policy{Domain: "local", Profile: "whole"}
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	for _, name := range s.Buckets() {
		for _, n := range []int{0, 100, 300_000, 5_000_000} {
			b, p := bucket(t, s, name), noise(r.Uint64(), n)
			f := put(t, b, "f.txt", string(p), &buckets.PutOptions{OnConflict: buckets.ConflictNew, MIMEType: "x/y", Tags: []string{"t"}, Metadata: map[string]any{"k": "v"}})
			for i := range 8 {
				f, p = editOnce(t, r, b, f.ID, p)
				whole := put(t, b, "whole", string(p), nil)
				if f.Size != int64(len(p)) || f.Checksums["root"] != whole.Checksums["root"] || f.Checksums["sha256"] != whole.Checksums["sha256"] || whole.NewBytes != 0 ||
					f.MIMEType != whole.MIMEType || f.DeclaredMIMEType != "x/y" || f.Version != uint64(i+2) || len(f.Tags) != 1 || f.Metadata["k"] != "v" {
					t.Fatalf("%s, %d bytes: %+v, whole %+v", name, len(p), f, whole)
				}
			}
			if got := read(t, b, f.ID, nil); got != string(p) {
				t.Errorf("%d bytes read back as %d others", len(p), len(got))
			}
		}
	}
	must(t, s.Close())
	if r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *opts}); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// What an edit stores is what is around it.
func TestEditIsSmall(t *testing.T) {
	race.LeaveOut(t)
	b := demo(t)
	const size = 64 << 20
	f := put(t, b, "f", string(noise(1, size)), nil)
	f, err := b.Overwrite(t.Context(), f.ID, 30<<20, bytes.NewReader(noise(2, 1<<20)), 1<<20, nil)
	if err != nil || f.NewBytes > 2<<20 || f.NewBytes < 1<<20 {
		t.Errorf("a MiB overwritten: %d new bytes, %v", f.NewBytes, err)
	}
	f, err = b.Edit(t.Context(), f.ID, []buckets.Piece{{File: f.ID, Length: 5000}, {Data: noise(3, 100)}, {File: f.ID, Offset: 5000, Length: -1}}, nil)
	if err != nil || f.NewBytes > 1<<20 || f.Size != size+100 {
		t.Errorf("100 bytes inserted: %d new bytes, %v", f.NewBytes, err)
	}
}

// Of edits side by side none undoes another.
func TestEditsSideBySide(t *testing.T) {
	b := demo(t)
	f := put(t, b, "log", "", nil)
	var all sync.WaitGroup
	const writers, lines = 6, 5
	for w := range writers {
		all.Go(func() {
			for i := range lines {
				if _, err := b.Extend(t.Context(), f.ID, strings.NewReader(fmt.Sprintf("%d %d\n", w, i)), -1, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := strings.Fields(strings.ReplaceAll(read(t, b, f.ID, nil), " ", "."))
	if len(got) != writers*lines {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for w := range writers { // each writer's in its order
		next := 0
		for _, line := range got {
			if line == fmt.Sprintf("%d.%d", w, next) {
				next++
			}
		}
		if next != lines {
			t.Errorf("of writer %d only %d lines are in order: %q", w, next, got)
		}
	}
	// With a condition, the one that comes late is told.
	f = stat(t, b, f.ID, nil)
	body := io.MultiReader(strings.NewReader("late"), &meanwhile{func() { put(t, b, "log", "other", nil) }})
	_, err := b.Extend(t.Context(), f.ID, body, -1, &buckets.PutOptions{IfMatch: f.Checksums["root"]})
	wantErr(t, "a lost race", err, buckets.ErrPrecondition)
	_, err = b.Truncate(t.Context(), f.ID, 1, &buckets.PutOptions{IfMatch: f.Checksums["root"]})
	wantErr(t, "an old condition", err, buckets.ErrPrecondition)
	// Without one, it is appended to what there is by then, once.
	body = io.MultiReader(strings.NewReader("late"), &meanwhile{func() { put(t, b, "log", "winner ", nil) }})
	_, err = b.Extend(t.Context(), f.ID, body, -1, nil)
	must(t, err)
	if got := read(t, b, f.ID, nil); got != "winner late" {
		t.Errorf("read %q", got)
	}
}

// meanwhile runs a function at the end of a stream.
type meanwhile struct{ run func() }

func (m *meanwhile) Read([]byte) (int, error) {
	m.run()
	m.run = func() {}
	return 0, io.EOF
}

func TestCompose(t *testing.T) {
	race.LeaveOut(t)
	s := declared(t, `buckets: {a: {backend: one}, near: {backend: one}, far: {backend: two}}`)
	a, near, far := bucket(t, s, "a"), bucket(t, s, "near"), bucket(t, s, "far")
	p, q := noise(1, 3_000_000), noise(2, 2_000_000)
	f, g, h := put(t, a, "f", string(p), nil), put(t, near, "g", string(q), nil), put(t, far, "h", string(q), nil)
	put(t, a, "f", "newer", nil)
	pieces := []buckets.Piece{{File: f.ManifestID, Length: 1_000_000}, {Data: []byte("seam")}, {File: g.ID, Bucket: near, Offset: 100, Length: -1}, {File: h.ID, Bucket: far, Offset: 7, Length: 1_500_000}, {File: f.ID, Length: -1}}
	want := string(p[:1_000_000]) + "seam" + string(q[100:]) + string(q[7:1_500_007]) + "newer"
	for _, b := range []*buckets.Bucket{a, near, far} {
		_, err := b.Compose(t.Context(), "new", pieces[:2:2], nil)
		wantErr(t, "without a bucket", err, map[bool]error{true: nil, false: buckets.ErrNoFile}[b == a])
		all := slices.Clone(pieces)
		for i := range all {
			if all[i].File != "" && all[i].Bucket == nil {
				all[i].Bucket = a
			}
		}
		got, err := b.Compose(t.Context(), "all", all, &buckets.PutOptions{Folder: "d", MIMEType: "x/y"})
		must(t, err)
		if read(t, b, got.ID, nil) != want || got.Path() != "d/all" || got.DeclaredMIMEType != "x/y" {
			t.Errorf("%+v", got)
		}
		if whole := put(t, b, "whole", want, nil); whole.Checksums["root"] != got.Checksums["root"] {
			t.Error("an upload is another content")
		}
	}
	_, err := a.Compose(t.Context(), "all", []buckets.Piece{{Data: []byte{}}}, &buckets.PutOptions{Folder: "d", OnConflict: buckets.ConflictFail})
	wantErr(t, "a taken name", err, buckets.ErrExist)
	once := &buckets.PutOptions{Once: &buckets.Once{Key: "k", Request: "r"}}
	first, err := a.Extend(t.Context(), f.ID, strings.NewReader("!"), -1, once)
	must(t, err)
	again, err := a.Extend(t.Context(), f.ID, strings.NewReader("!"), -1, once)
	if err != nil || !again.Replayed || again.ManifestID != first.ManifestID || read(t, a, f.ID, nil) != "newer!" {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A small request makes no more of stored content than the bucket says, however
// much it names and however often; what one source or the request itself holds
// is always made.
func TestComposedSize(t *testing.T) {
	b, _, _, _ := ruled(t, buckets.Policy{Limits: buckets.Limits{MaxComposedSize: 2500}}, nil)
	f, g := put(t, b, "f", string(noise(1, 1000)), nil), put(t, b, "g", string(noise(2, 2000)), nil)
	large := put(t, b, "large", string(noise(3, 5000)), nil)
	whole := func(files ...*buckets.File) (out []buckets.Piece) {
		for _, f := range files {
			out = append(out, buckets.Piece{File: f.ID, Length: -1})
		}
		return out
	}
	brought := buckets.Piece{Data: noise(4, 3000)}
	part := func(n int) string {
		up, err := uploads(b).Begin(t.Context(), "part", &upload.Options{Partial: true, PutOptions: buckets.PutOptions{Size: int64(n), SizeKnown: true}})
		must(t, err)
		_, err = uploads(b).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(5, n)), nil)
		must(t, err)
		return up.ID
	}
	one, two := part(1000), part(3000)
	concat := func(ids ...string) error {
		_, err := uploads(b).Concat(t.Context(), "joined", ids, &upload.Options{})
		return err
	}
	compose := func(pieces []buckets.Piece) error {
		_, err := b.Compose(t.Context(), "new", pieces, nil)
		return err
	}
	edit := func(pieces []buckets.Piece) error {
		_, err := b.Edit(t.Context(), large.ID, pieces, nil)
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		made bool
	}{
		{"one twice", compose(whole(f, f)), true},
		{"one three times", compose(whole(f, f, f)), false},
		{"two", compose(whole(f, g)), false},
		{"a range often", compose(slices.Repeat([]buckets.Piece{{File: f.ID, Length: 10}}, 251)), false},
		{"ranges up to the limit", compose(slices.Repeat([]buckets.Piece{{File: f.ID, Length: 10}}, 250)), true},
		{"10,000 of a byte", compose(slices.Repeat([]buckets.Piece{{File: f.ID, Length: 1}}, 10_000)), false},
		{"by file and version", compose([]buckets.Piece{{File: g.ID, Length: -1}, {File: g.ManifestID, Length: -1}}), false},
		{"with what is brought", compose(append(whole(g), brought)), true},
		{"what is brought, and too much", compose(append(whole(f, g), brought)), false},
		{"all of a large one", compose(whole(large)), true},
		{"a large one and more", compose(whole(large, f)), false},
		{"a version of a large one", edit(whole(large)), true},
		{"a version of a large one and more", edit(whole(large, f)), false},
		{"append", errOf(b.Extend(t.Context(), large.ID, bytes.NewReader(noise(6, 3000)), 3000, nil)), true},
		{"append without a length", errOf(b.Extend(t.Context(), large.ID, bytes.NewReader(noise(6, 3000)), -1, nil)), true},
		{"overwrite", errOf(b.Overwrite(t.Context(), large.ID, 100, bytes.NewReader(noise(7, 3000)), 3000, nil)), true},
		{"truncate", errOf(b.Truncate(t.Context(), large.ID, 4000, nil)), true},
		{"copy", errOf(b.Copy(t.Context(), large.ID, b, nil)), true},
		{"restore", errOf(b.RestoreVersion(t.Context(), large.ID, 1)), true},
		{"parts, each once", concat(one, two), true},
		{"a part twice", concat(one, one), true},
		{"a part often", concat(one, one, one), false},
		{"parts often", concat(one, two, one, two), false},
	} {
		if c.made != (c.err == nil) || !c.made && !errors.Is(c.err, buckets.ErrTooLarge) {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}
}

// errOf is the error of a call that makes a file.
func errOf(_ *buckets.File, err error) error { return err }

func TestEditsRefused(t *testing.T) {
	_, ann, bob, _ := ruled(t, buckets.Policy{Limits: buckets.Limits{MaxFileSize: 100_000, MaxTotalSize: 150_000, Types: []string{"image/*"}}}, ownersOnly())
	image := gif + strings.Repeat("x", 50_000)
	f := put(t, ann, "f.gif", image, nil)
	theirs := put(t, bob, "g.gif", gif, nil)
	ctx := t.Context()
	for what, c := range map[string]struct {
		run  func() (*buckets.File, error)
		want error
	}{
		"of another's": {func() (*buckets.File, error) { return bob.Extend(ctx, f.ID, unread{t}, 1, nil) }, buckets.ErrNoFile},
		"with another's": {func() (*buckets.File, error) {
			return bob.Edit(ctx, theirs.ID, []buckets.Piece{{File: f.ID, Length: 1}}, nil)
		}, buckets.ErrNoFile},
		"from another's": {func() (*buckets.File, error) {
			return bob.Compose(ctx, "x.gif", []buckets.Piece{{File: f.ManifestID, Length: 1}}, nil)
		}, buckets.ErrNoFile},
		"of a version":   {func() (*buckets.File, error) { return ann.Truncate(ctx, f.ManifestID, 1, nil) }, buckets.ErrNoFile},
		"cut too long":   {func() (*buckets.File, error) { return ann.Truncate(ctx, f.ID, int64(len(image))+1, nil) }, buckets.ErrRange},
		"beyond the end": {func() (*buckets.File, error) { return ann.Overwrite(ctx, f.ID, int64(len(image))+1, unread{t}, 1, nil) }, buckets.ErrRange},
		"a range too long": {func() (*buckets.File, error) {
			return ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Offset: 9, Length: 1<<63 - 1}}, nil)
		}, buckets.ErrRange},
		"sums that overflow": {func() (*buckets.File, error) { return ann.Overwrite(ctx, f.ID, 1, unread{t}, 1<<63-1, nil) }, buckets.ErrTooLarge},
		"an offset below 0": {func() (*buckets.File, error) {
			return ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Offset: -1, Length: 1}}, nil)
		}, buckets.ErrRange},
		"neither": {func() (*buckets.File, error) { return ann.Edit(ctx, f.ID, []buckets.Piece{{}}, nil) }, fs.ErrInvalid},
		"both": {func() (*buckets.File, error) {
			return ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Data: []byte{}}}, nil)
		}, fs.ErrInvalid},
		"nothing":  {func() (*buckets.File, error) { return ann.Edit(ctx, f.ID, nil, nil) }, fs.ErrInvalid},
		"too many": {func() (*buckets.File, error) { return ann.Edit(ctx, f.ID, make([]buckets.Piece, 10_001), nil) }, fs.ErrInvalid},
		"too large": {func() (*buckets.File, error) {
			return ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Length: -1}, {File: f.ID, Length: -1}}, nil)
		}, buckets.ErrQuota},
		"too large, endless": {func() (*buckets.File, error) { return ann.Extend(ctx, f.ID, &endless{}, -1, nil) }, buckets.ErrQuota},
		"beyond the quota": {func() (*buckets.File, error) {
			return ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Length: -1}, {Data: make([]byte, 49_980)}}, nil)
		}, buckets.ErrQuota},
		"of another type": {func() (*buckets.File, error) { return ann.Overwrite(ctx, f.ID, 0, strings.NewReader("text"), 4, nil) }, buckets.ErrType},
		"a short body":    {func() (*buckets.File, error) { return ann.Overwrite(ctx, f.ID, 9, strings.NewReader("short"), 6, nil) }, buckets.ErrSize},
		"a long body":     {func() (*buckets.File, error) { return ann.Overwrite(ctx, f.ID, 9, strings.NewReader("long"), 3, nil) }, buckets.ErrSize},
		"a broken body":   {func() (*buckets.File, error) { return ann.Extend(ctx, f.ID, newFailing([]byte("x"), errLost), -1, nil) }, errLost},
	} {
		_, err := c.run()
		wantErr(t, what, err, c.want)
	}
	if got := stat(t, ann, f.ID, nil); got.Version != 1 || got.Checksums["root"] != f.Checksums["root"] {
		t.Errorf("ann's file is now %+v", got)
	}
	_, err := ann.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Length: -1}, {Data: []byte("y")}, {File: f.ID, Offset: 20, Length: 5}}, nil)
	must(t, err)
}

// A reader that acts before it yields.
type actingReader struct {
	io.Reader
	act func()
}

func (r *actingReader) Read(p []byte) (int, error) {
	if r.act != nil {
		r.act()
		r.act = nil
	}
	return r.Reader.Read(p)
}

// TestEditOfCollectedVersion purges a file, and collects it, while the body of an edit
// comes: the edit fails as one of a file that was removed, and not as one of a damaged.
func TestEditOfCollectedVersion(t *testing.T) {
	s := open(t, twoBuckets())
	b := bucket(t, s, "a")
	content := make([]byte, 3<<20)
	copy(content, noise(9, len(content)))
	f := put(t, b, "f", string(content), nil)
	body := &actingReader{strings.NewReader("in the middle"), func() {
		must(t, b.Purge(t.Context(), f.ID, nil))
		if _, err := s.Collect(t.Context(), &collect.Options{Full: true, MaxWriterAge: 1}); err != nil {
			t.Error(err)
		}
	}}
	_, err := b.Overwrite(t.Context(), f.ID, 1<<20, body, int64(len("in the middle")), nil)
	if !errors.Is(err, buckets.ErrChunksGone) && !errors.Is(err, buckets.ErrNoFile) || errors.Is(err, cas.ErrMissing) {
		t.Errorf("edit: %v", err)
	}
}
