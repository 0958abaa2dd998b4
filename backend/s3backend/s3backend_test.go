package s3backend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

func TestConformance(t *testing.T) {
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		open := func(opts func(*s3backend.Options)) func(*testing.T) backend.Backend {
			return func(t *testing.T) backend.Backend {
				o := s.Options(t)
				opts(o)
				return s3test.Open(t, o)
			}
		}
		t.Run("whole", func(t *testing.T) { backendtest.Run(t, open(func(*s3backend.Options) {})) })
		t.Run("checksums", func(t *testing.T) {
			backendtest.Run(t, open(func(o *s3backend.Options) { o.Checksums = "when_supported" }))
		})
	})
}

// An object beyond PutSize comes in parts, and is the same.
func TestParts(t *testing.T) {
	race.LeaveOut(t)
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		o := s.Options(t)
		o.PutSize, o.PartSize = 6<<20, 5<<20
		b := s3test.Open(t, o)
		for _, size := range []int{6 << 20, 6<<20 + 1, 16 << 20, 22<<20 + 77} {
			p := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(size)}).Read(p)
			key := fmt.Sprintf("packs/%d", size)
			w, err := b.Create(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			for rest := p; len(rest) > 0; {
				n := min(len(rest), 3<<20+5)
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if _, err := b.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat before Commit: got %v, want fs.ErrNotExist", err)
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if err := b.ReadAt(t.Context(), key, got, 0); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("object of %d bytes: other bytes, or %v", size, err)
			}
		}
	})
}

// Sweep takes away what a crash has left of a large object, and one that is
// given up leaves nothing in the end: a server may still store a part that was
// on its way when the upload was aborted, and S3 asks to abort it again then.
func TestSweep(t *testing.T) {
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		open := func() *s3backend.Backend {
			o := s.Options(t)
			o.PutSize, o.PartSize = 5<<20, 5<<20
			return s3test.Open(t, o)
		}
		b := open()
		begin := func(ctx context.Context) backend.Writer {
			w, err := b.Create(ctx, "packs/big")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, 12<<20)); err != nil {
				t.Fatal(err)
			}
			return w
		}
		sweep := func(before time.Time, want int) {
			t.Helper()
			if n, err := b.Sweep(t.Context(), before); err != nil || n != want {
				t.Errorf("Sweep: got %d, %v, want %d", n, err, want)
			}
		}
		later := time.Now().Add(time.Hour)
		clean := func() {
			t.Helper()
			for range 100 {
				if n, err := b.Sweep(t.Context(), later); err != nil {
					t.Fatal(err)
				} else if n == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("Sweep: always finds something")
		}
		if err := begin(t.Context()).Abort(); err != nil {
			t.Fatal(err)
		}
		clean()
		// Under another prefix: a part of the first may be stored even now.
		b = open()
		ctx, kill := context.WithCancel(t.Context())
		begin(ctx)
		kill()
		sweep(time.Now().Add(-time.Hour), 0)
		sweep(later, 1)
		clean()
	})
}

// Of uploads that nobody ends, Sweep takes those that the service says are old,
// however it lists them.
func TestSweepQuirks(t *testing.T) {
	for _, c := range []struct {
		quirk  s3test.Quirk
		prefix string
		want   int
	}{
		{"", "packs", 1},
		{"", "", 2}, // the other backend's too: it lies below this one
		{s3test.NoInitiated, "packs", 0},
		{s3test.NoInitiated, "", 0},
		{s3test.ExactUploads, "packs", 1},
		{s3test.ExactUploads, "", 2},
		{s3test.EndlessUploads, "packs", 1},
	} {
		t.Run(string(c.quirk)+" below "+c.prefix, func(t *testing.T) {
			s := s3test.Quirky(t, c.quirk)
			open := func(prefix string) *s3backend.Backend {
				o := s.Options(t)
				o.Prefix, o.PutSize, o.PartSize = prefix, 1<<20, 1<<20
				return s3test.Open(t, o)
			}
			for _, prefix := range []string{c.prefix, "others"} {
				ctx, kill := context.WithCancel(t.Context())
				w, err := open(prefix).Create(ctx, "a/b")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(make([]byte, 3<<20)); err != nil {
					t.Fatal(err)
				}
				kill()
			}
			if n, err := open(c.prefix).Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || n != c.want {
				t.Errorf("Sweep: got %d, %v, want %d", n, err, c.want)
			}
		})
	}
}

// A list that leads in a circle ends, with an error after its keys.
func TestListInACircle(t *testing.T) {
	b := s3test.Quirky(t, s3test.CircularList).Open(t)
	for _, key := range []string{"a", "b", "c"} {
		if err := storeObject(t, b, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	var end error
	for info, err := range b.List(t.Context(), "") {
		if end = err; err == nil {
			keys = append(keys, info.Key)
		}
	}
	if !slices.Equal(keys, []string{"a", "b", "c"}) || !errors.Is(end, backend.ErrUnavailable) {
		t.Errorf("listed %q, %v", keys, end)
	}
}
