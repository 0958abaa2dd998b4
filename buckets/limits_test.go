package buckets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// limited returns a bucket with limits, and one without.
func limited(t *testing.T, l buckets.Limits) (b, free *buckets.Bucket) {
	t.Helper()
	s, b := limitedStore(t, l)
	return b, bucket(t, s, "free")
}

// limitedStore is a store with such a bucket.
func limitedStore(t *testing.T, l buckets.Limits) (*buckets.Store, *buckets.Bucket) {
	t.Helper()
	s := open(t, &local.Options{Buckets: map[string]buckets.Policy{
		"limited": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}, Limits: l}, "free": {Domain: "local"}}})
	return s, bucket(t, s, "limited")
}

// withCollections tries again after a collection while the leftovers of others are
// in the way.
func withCollections(t *testing.T, s *buckets.Store, try func() error) error {
	t.Helper()
	for {
		err := try()
		if !errors.Is(err, buckets.ErrUncollected) {
			return err
		}
		if _, err := s.Collect(t.Context(), nil); err != nil {
			return err
		}
	}
}

// sized are options that declare a size.
func sized(n int64) *buckets.PutOptions { return &buckets.PutOptions{Size: n, SizeKnown: true} }

// An endless stream counts what is read of it.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	return len(p), nil
}

func TestMaxFileSize(t *testing.T) {
	b, free := limited(t, buckets.Limits{MaxFileSize: 10})
	put(t, b, "fits", "0123456789", nil)
	put(t, b, "fits too", "0123456789", sized(10))
	for what, opts := range map[string]*buckets.PutOptions{"declared": sized(11), "found": nil} {
		_, err := b.Put(t.Context(), "large", strings.NewReader("0123456789+"), opts)
		wantErr(t, what, err, buckets.ErrTooLarge)
	}
	f := stat(t, b, put(t, b, "v", "1", nil).ID, nil)
	_, err := b.Replace(t.Context(), f.ID, strings.NewReader("0123456789+"), nil)
	wantErr(t, "a version", err, buckets.ErrTooLarge)
	large := put(t, free, "large", "0123456789+", nil)
	_, err = free.Copy(t.Context(), large.ID, b, nil)
	wantErr(t, "a copy", err, buckets.ErrTooLarge)
	if got := paths(t, b, nil); len(got) != 3 {
		t.Errorf("files %q after refusals", got)
	}
}

// No more of a stream is read than its bucket could take.
func TestEndlessUpload(t *testing.T) {
	for name, l := range map[string]buckets.Limits{
		"file": {MaxFileSize: 1 << 20}, "total": {MaxTotalSize: 1 << 20}, "owner": {MaxOwnerSize: 1 << 20}} {
		b, _ := limited(t, l)
		e := &endless{}
		if _, err := b.As(&access.Principal{ID: "ann", Operator: true}).Put(t.Context(), "f", e, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
		if e.n > 4<<20 {
			t.Errorf("%s: %d bytes were read for a limit of 1 MiB", name, e.n)
		}
	}
}

func TestMaxTotalSize(t *testing.T) {
	b, free := limited(t, buckets.Limits{MaxTotalSize: 10})
	f := put(t, b, "f", "01234", nil)
	put(t, b, "f", "01", nil) // versions count
	for what, opts := range map[string]*buckets.PutOptions{"declared": sized(4), "found": nil} {
		_, err := b.Put(t.Context(), "g", strings.NewReader("0123"), opts)
		wantErr(t, what, err, buckets.ErrQuota)
	}
	_, err := b.RestoreVersion(t.Context(), f.ID, 1)
	wantErr(t, "a restored version", err, buckets.ErrQuota)
	other := put(t, free, "o", "0123", nil)
	_, err = free.Copy(t.Context(), other.ID, b, nil)
	wantErr(t, "a copy", err, buckets.ErrQuota)

	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	_, err = b.Put(t.Context(), "g", strings.NewReader("0123"), nil)
	wantErr(t, "while the trash is full", err, buckets.ErrQuota)
	must(t, b.Purge(t.Context(), f.ID, nil))
	put(t, b, "g", "0123456789", nil)
}

func TestMaxOwnerSize(t *testing.T) {
	b, _ := limited(t, buckets.Limits{MaxOwnerSize: 10})
	ann, bob := b.As(&access.Principal{ID: "ann", Operator: true}), b.As(&access.Principal{ID: "bob", Operator: true})
	f := put(t, ann, "f", "01234567", nil)
	_, err := ann.Put(t.Context(), "g", strings.NewReader("012"), nil)
	wantErr(t, "more of one owner", err, buckets.ErrQuota)
	put(t, bob, "h", "0123456789", nil)
	_, err = bob.Replace(t.Context(), f.ID, strings.NewReader("012"), nil)
	wantErr(t, "a version of another's file", err, buckets.ErrQuota)
	put(t, b, "nobody's", strings.Repeat("x", 100), nil)
}

// Uploads that do not end hold no more, all together, than an owner's files
// may: the oldest expire for those that go on. Nobody is locked out by what he
// has begun, and nobody by others.
func TestUploadsUnderWayAreBounded(t *testing.T) {
	const size, fit = 60_000, 5
	const finished = 200_000
	s, b := limitedStore(t, buckets.Limits{MaxOwnerSize: finished + size*fit + 10_000}) // lists take a little
	ann, bob := b.As(&access.Principal{ID: "ann", Operator: true}), b.As(&access.Principal{ID: "bob", Operator: true})
	put(t, ann, "finished", string(noise(99, finished)), nil) // counts beside
	his, err := unended(t, bob, 0, noise(7, size))
	must(t, err)
	var ids []string
	for i := range 20 {
		if i%fit == 0 { // so that nothing that ended is in the way
			_, err := s.Collect(t.Context(), nil)
			must(t, err)
		}
		id, err := unended(t, ann, i, noise(uint64(i), size))
		must(t, err)
		ids = append(ids, id)
		time.Sleep(2 * time.Millisecond) // times are kept by the millisecond
		for k, id := range ids {
			up, err := uploads(ann).Find(t.Context(), id)
			if left := k > i-fit; left && (err != nil || up.Offset != size) || !left && !errors.Is(err, buckets.ErrEvicted) {
				t.Fatalf("upload %d after %d: %+v, %v", k, i, up, err)
			}
		}
	}
	if up, err := uploads(bob).Find(t.Context(), his); err != nil || up.Offset != size {
		t.Errorf("another's: %+v, %v", up, err)
	}
	// One that lists more than ever fits takes nobody's place.
	_, err = unended(t, ann, 1, noise(5, finished+size*fit+10_001))
	wantErr(t, "more than fits", err, buckets.ErrQuota)
	_, err = uploads(ann).Find(t.Context(), ids[len(ids)-fit])
	must(t, err)
}

// However they race, they keep to the bound.
func TestUploadsUnderWayRace(t *testing.T) {
	const size, most = 60_000, 300_000
	s, b := limitedStore(t, buckets.Limits{MaxOwnerSize: most})
	ann := b.As(&access.Principal{ID: "ann", Operator: true})
	ids := make([]string, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			err := withCollections(t, s, func() (err error) {
				ids[i], err = unended(t, ann, i, noise(uint64(i), size))
				return err
			})
			if err != nil && !errors.Is(err, buckets.ErrEvicted) && !errors.Is(err, buckets.ErrNoUpload) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var held int64
	for _, id := range ids {
		up, err := uploads(ann).Find(t.Context(), id)
		if err == nil {
			held += up.Offset
		} else if !errors.Is(err, buckets.ErrEvicted) {
			t.Error(err)
		}
	}
	if held > most || held < most-size {
		t.Errorf("%d bytes are held of %d", held, most)
	}
}

// unended sends p in an upload that stays open, by list if i is odd.
func unended(t *testing.T, b *buckets.Bucket, i int, p []byte) (id string, err error) {
	ctx := t.Context()
	up, err := uploads(b).Begin(ctx, fmt.Sprint("unended ", i), &upload.Options{Listed: i%2 == 1})
	if err != nil {
		return "", err
	}
	if i%2 == 0 {
		_, err = uploads(b).Append(ctx, up.ID, 0, bytes.NewReader(p), nil)
		return up.ID, err
	}
	chunks := cut(t, up.Listed.Chunker, p)
	if _, _, err = uploads(b).AppendList(ctx, up.ID, 0, listing(chunks)); err == nil {
		_, err = uploads(b).ReceiveChunks(ctx, up.ID, sending(chunks))
	}
	return up.ID, err
}

// A file of parts may be as large as the owner's files may, again and again:
// parts that were joined go when there is no room for them beside others.
func TestPartsOfAllThatIsLeft(t *testing.T) {
	s, b := limitedStore(t, buckets.Limits{MaxOwnerSize: 200_000})
	ann := b.As(&access.Principal{ID: "ann", Operator: true})
	for i := range 3 {
		up, err := uploads(ann).Concat(t.Context(), "whole", partials(t, ann, 2*i, 2), &upload.Options{})
		must(t, err)
		if up.File == nil || up.File.Size != 200_000 {
			t.Fatalf("%+v", up)
		}
		must(t, ann.Purge(t.Context(), up.File.ID, nil))
		_, err = s.Collect(t.Context(), nil)
		must(t, err)
	}
}

// partials are uploads of 100,000 bytes each that are parts of another.
func partials(t *testing.T, b *buckets.Bucket, seed, n int) (ids []string) {
	t.Helper()
	for i := range n {
		up, err := uploads(b).Begin(t.Context(), "", &upload.Options{Partial: true, PutOptions: *sized(100_000)})
		must(t, err)
		_, err = uploads(b).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(uint64(seed+i), 100_000)), nil)
		must(t, err)
		ids = append(ids, up.ID)
	}
	return ids
}

// An upload that waits for parts goes with the first of them that does.
func TestWaitingGoesWithItsParts(t *testing.T) {
	b, _ := limited(t, buckets.Limits{})
	ann := b.As(&access.Principal{ID: "ann", Operator: true})
	ids := partials(t, ann, 0, 1)
	open, err := uploads(ann).Begin(t.Context(), "", &upload.Options{Partial: true})
	must(t, err)
	whole, err := uploads(ann).Concat(t.Context(), "whole", append(ids, open.ID), &upload.Options{})
	must(t, err)
	must(t, uploads(ann).Cancel(t.Context(), ids[0]))
	_, err = uploads(ann).Find(t.Context(), whole.ID)
	wantErr(t, "the whole", err, buckets.ErrUploadExpired)
	_, err = uploads(ann).Find(t.Context(), open.ID)
	must(t, err)
}

const inPieces = 2 // a way of racingUpload

// racingUpload stores p as a new file, in one of the ways that there are.
func racingUpload(t *testing.T, b *buckets.Bucket, way int, name string, p []byte) error {
	ctx := t.Context()
	switch way % 3 {
	case 0:
		_, err := b.Put(ctx, name, io.MultiReader(bytes.NewReader(p)), nil)
		return err
	case 1:
		_, err := b.Put(ctx, name, bytes.NewReader(p), &buckets.PutOptions{Size: int64(len(p)), SizeKnown: true})
		return err
	}
	up, err := uploads(b).Begin(ctx, name, nil)
	if err != nil {
		return err
	}
	for at := 0; at < len(p) && err == nil; at += 3000 {
		_, err = uploads(b).Append(ctx, up.ID, int64(at), bytes.NewReader(p[at:min(at+3000, len(p))]), nil)
	}
	if err == nil {
		_, err = commitUpload(uploads(b), ctx, up.ID)
	}
	return err
}

// However many uploads race, no more bytes are taken than the quota allows,
// and no fewer. What some of them leave is collected when it is in the way.
func TestQuotaIsExact(t *testing.T) {
	const size, fit, racing = 10_000, 10, 64
	total, owner := buckets.Limits{MaxTotalSize: size*fit + size/2}, buckets.Limits{MaxOwnerSize: size*fit + size/2}
	for name, c := range map[string]struct {
		buckets.Limits
		way func(i int) int
	}{
		"total":           {total, func(i int) int { return i }},
		"owner":           {owner, func(i int) int { return i }},
		"owner in pieces": {owner, func(int) int { return inPieces }},
	} {
		t.Run(name, func(t *testing.T) {
			l := c.Limits
			s, b := limitedStore(t, l)
			b = b.As(&access.Principal{ID: "ann", Operator: true})
			var taken atomic.Int64
			var all sync.WaitGroup
			begin := make(chan struct{})
			for i := range racing {
				all.Go(func() {
					<-begin
					err := withCollections(t, s, func() error {
						return racingUpload(t, b, c.way(i), fmt.Sprint(i), noise(uint64(i), size))
					})
					switch {
					case err == nil:
						taken.Add(1)
					case !errors.Is(err, buckets.ErrQuota):
						t.Errorf("upload %d: %v", i, err)
					}
				})
			}
			close(begin)
			all.Wait()
			if taken.Load() != fit {
				t.Errorf("%d uploads were taken, want %d", taken.Load(), fit)
			}
			wantUsage(t, b, fit, fit, size*fit, 0, 0)
		})
	}
}

const (
	png  = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
	html = "<!DOCTYPE html><html><script>alert(1)</script></html>"
	pdf  = "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
	gif  = "GIF89a\x01\x00\x01\x00\x00\x00\x00"
	exe  = "MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00"
)

func TestTypes(t *testing.T) {
	race.LeaveOut(t)
	images := []string{"image/*", "application/pdf"}
	for _, c := range []struct {
		check                   buckets.TypeCheck
		types, extensions       []string
		name, declared, content string
		want                    error
	}{
		{"", images, nil, "a.png", "", png, nil},
		{"", images, nil, "a.pdf", "", pdf, nil},
		{"", images, nil, "a.png", "image/png", html, buckets.ErrType},
		{"", images, nil, "a", "", "", buckets.ErrType},
		{"", []string{"*/*"}, nil, "a", "", exe, nil},
		{"", nil, nil, "a.png", "image/png", exe, nil},

		{buckets.TypeDeclared, images, nil, "a.png", "image/png", html, nil},
		{buckets.TypeDeclared, images, nil, "a.png", "text/html", png, buckets.ErrType},
		{buckets.TypeDeclared, images, nil, "a.png", "", html, buckets.ErrType},
		{buckets.TypeDeclared, images, nil, "a.png", "image/png; charset=x", html, nil},

		{buckets.TypeStrict, images, nil, "a.png", "image/png", png, nil},
		{buckets.TypeStrict, images, nil, "a.png", "", png, nil},
		{buckets.TypeStrict, images, nil, "a.png", "application/octet-stream", png, nil},
		{buckets.TypeStrict, images, nil, "a", "", png, nil},
		{buckets.TypeStrict, images, nil, "a.png", "image/gif", png, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, images, nil, "a.gif", "image/png", png, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, images, nil, "a.png", "image/png", gif, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, images, nil, "a.png", "image/png", html, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, images, nil, "a.png", "image/png", exe, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, images, nil, "a.png", "text/html", html, buckets.ErrTypeMismatch},
		{buckets.TypeStrict, []string{"text/*"}, nil, "a.html", "text/html", html, nil},
		{buckets.TypeStrict, []string{"text/*"}, nil, "a.md", "text/markdown", "# Title\n", nil},
		{buckets.TypeStrict, nil, nil, "a.json", "application/json", `{"a": 1}`, nil},
		{buckets.TypeStrict, nil, nil, "a.css", "text/css", "body { margin: 0 }\n", nil},

		{"", nil, []string{"pdf", "tar.gz"}, "a.PDF", "", pdf, nil},
		{"", nil, []string{"pdf", "tar.gz"}, "a.tar.gz", "", "x", nil},
		{"", nil, []string{"pdf", "tar.gz"}, "a.gz", "", "x", buckets.ErrType},
		{"", nil, []string{"pdf", "tar.gz"}, "pdf", "", pdf, buckets.ErrType},
		{"", nil, []string{"pdf"}, "a.pdf.exe", "", pdf, buckets.ErrType},
	} {
		name := fmt.Sprintf("%s/%s as %q with %.4q", c.check, c.name, c.declared, c.content)
		t.Run(name, func(t *testing.T) {
			l := buckets.Limits{Types: c.types, Extensions: c.extensions, TypeCheck: c.check}
			b, free := limited(t, l)
			opts := &buckets.PutOptions{MIMEType: c.declared}
			_, err := b.Put(t.Context(), c.name, strings.NewReader(c.content), opts)
			wantErr(t, "put", err, c.want)
			f := put(t, free, c.name, c.content, opts)
			_, err = free.Copy(t.Context(), f.ID, b, nil)
			wantErr(t, "copy", err, c.want)
		})
	}
}

// A file cannot be renamed to what it could not be uploaded as.
func TestRenameToOtherType(t *testing.T) {
	b, _ := limited(t, buckets.Limits{TypeCheck: buckets.TypeStrict, Extensions: []string{"png", "gif", "jpg"}})
	f := put(t, b, "a.png", png, nil)
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("a.exe")})
	wantErr(t, "to an extension that is not taken", err, buckets.ErrType)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("a.gif")})
	wantErr(t, "to another type's extension", err, buckets.ErrTypeMismatch)
	_, err = b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("b.png")})
	must(t, err)
}
