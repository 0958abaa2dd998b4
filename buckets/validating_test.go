package buckets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
)

// A validator notes what it was asked about, and answers by decide.
type validator struct {
	decide func(ctx context.Context, c *buckets.Candidate, content []byte) error
	mu     sync.Mutex
	asked  []string
}

func (v *validator) Validate(ctx context.Context, c *buckets.Candidate) error {
	r := c.Open(ctx)
	defer r.Close()
	p, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.asked = append(v.asked, fmt.Sprintf("%s/%s %d %s", c.Bucket, c.Name, len(p), c.MIMEType))
	v.mu.Unlock()
	if v.decide == nil {
		return nil
	}
	return v.decide(ctx, c, p)
}

func (v *validator) forget() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n = len(v.asked)
	v.asked = nil
	return n
}

// ways are all ways by which a content becomes a version of file, or a file.
func ways(t *testing.T) map[string]func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
	commit := func(b *buckets.Bucket, id string) (*buckets.File, error) {
		u, err := uploads(b).Commit(t.Context(), id)
		if err != nil {
			return nil, err
		}
		return u.File, nil
	}
	send := func(b *buckets.Bucket, opts *upload.Options, p []byte) string {
		opts.Size, opts.SizeKnown = int64(len(p)), true
		u, err := uploads(b).Begin(t.Context(), "sent", opts)
		must(t, err)
		_, err = uploads(b).Append(t.Context(), u.ID, 0, bytes.NewReader(p), nil)
		must(t, err)
		return u.ID
	}
	return map[string]func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error){
		"put": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Put(t.Context(), "new", strings.NewReader("content"), nil)
		},
		"put a version": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Put(t.Context(), f.Name, strings.NewReader("content"), nil)
		},
		"replace": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Replace(t.Context(), f.ID, strings.NewReader("content"), nil)
		},
		"edit": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Edit(t.Context(), f.ID, []buckets.Piece{{Data: []byte("content")}}, nil)
		},
		"extend": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Extend(t.Context(), f.ID, strings.NewReader("content"), -1, nil)
		},
		"overwrite": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Overwrite(t.Context(), f.ID, 0, strings.NewReader("content"), 7, nil)
		},
		"truncate": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Truncate(t.Context(), f.ID, 1, nil)
		},
		"compose": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Compose(t.Context(), "new", []buckets.Piece{{File: f.ID, Length: -1}, {Data: []byte("content")}}, nil)
		},
		"copy": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.Copy(t.Context(), f.ID, b, nil)
		},
		"restore a version": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return b.RestoreVersion(t.Context(), f.ID, 1)
		},
		"upload in pieces": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return commit(b, send(b, &upload.Options{}, []byte("content")))
		},
		"upload of a version": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			return commit(b, send(b, &upload.Options{Replace: f.ID}, []byte("content")))
		},
		"joined uploads": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			one, two := send(b, &upload.Options{Partial: true}, []byte("one")), send(b, &upload.Options{Partial: true}, []byte("two"))
			u, err := uploads(b).Concat(t.Context(), "joined", []string{one, two}, nil)
			if err != nil {
				return nil, err
			}
			return u.File, nil
		},
		"upload by chunk list": func(b *buckets.Bucket, f *buckets.File) (*buckets.File, error) {
			u, err := uploads(b).Begin(t.Context(), "listed", &upload.Options{Listed: true})
			must(t, err)
			chunks := cut(t, u.Listed.Chunker, []byte("content"))
			_, _, err = uploads(b).AppendList(t.Context(), u.ID, 0, listing(chunks))
			must(t, err)
			_, err = uploads(b).ReceiveChunks(t.Context(), u.ID, sending(chunks))
			must(t, err)
			return commit(b, u.ID)
		},
	}
}

// A validator is asked once about each content, by whatever way it comes, before anything of
// it can be seen; what it refuses changes nothing.
func TestValidator(t *testing.T) {
	for way, store := range ways(t) {
		t.Run(way, func(t *testing.T) {
			v := &validator{}
			s := open(t, &local.Options{Validator: v})
			b := bucket(t, s, "demo").As(&access.Principal{ID: "ann", Operator: true})
			put(t, b, "f", "one", nil)
			f := put(t, b, "f", "two!", nil)
			before := rowsOf(t, s)
			v.forget()

			v.decide = func(ctx context.Context, c *buckets.Candidate, content []byte) error {
				if c.Who == nil || c.Who.ID != "ann" || c.Bucket != "demo" || c.Size != int64(len(content)) || c.Digests["sha256"] == nil {
					t.Errorf("asked about %+v", c)
				}
				if now := rowsOf(t, s); !slices.Equal(now, before) {
					t.Errorf("asked when it could be seen: %q", now)
				}
				return buckets.Refuse("no such thing here")
			}
			_, err := store(b, f)
			if wantErr(t, "refused", err, buckets.ErrRefused); err == nil || !strings.Contains(err.Error(), "no such thing here") {
				t.Errorf("the reason is not told: %v", err)
			}
			if n := v.forget(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if now := rowsOf(t, s); !slices.Equal(now, before) {
				t.Errorf("what was refused has left %q, there were %q", now, before)
			}

			v.decide = nil
			g, err := store(b, f)
			must(t, err)
			if n := v.forget(); n != 1 || read(t, b, g.ID, nil) == "" {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// rowsOf are the versions of a store.
func rowsOf(t *testing.T, s *buckets.Store) (out []string) {
	t.Helper()
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		out = append(out, fmt.Sprint(r.ID, r.Name, r.Version))
	}
	return out
}

// What a validator does that is no answer is an error, and no more.
func TestValidatorFails(t *testing.T) {
	broken := errors.New("broken")
	for what, c := range map[string]struct {
		decide func(ctx context.Context, s *buckets.Store) error
		want   []error
	}{
		"an error":   {func(context.Context, *buckets.Store) error { return broken }, []error{buckets.ErrUnvalidated, broken}},
		"a panic":    {func(context.Context, *buckets.Store) error { panic("x") }, []error{buckets.ErrUnvalidated}},
		"a denial":   {func(context.Context, *buckets.Store) error { return buckets.Deny("not you") }, []error{buckets.ErrRefused, buckets.ErrDenied, fs.ErrPermission}},
		"no end":     {func(ctx context.Context, _ *buckets.Store) error { <-ctx.Done(); return ctx.Err() }, []error{buckets.ErrUnvalidated}},
		"never ends": {func(context.Context, *buckets.Store) error { select {} }, []error{buckets.ErrUnvalidated}},
		"Close":      {func(ctx context.Context, s *buckets.Store) error { return s.Close() }, []error{buckets.ErrClosed}},
	} {
		t.Run(what, func(t *testing.T) {
			var s *buckets.Store
			v := &validator{}
			s = open(t, &local.Options{Validator: v, ValidateTimeout: 50 * time.Millisecond})
			b := bucket(t, s, "demo")
			v.decide = func(ctx context.Context, _ *buckets.Candidate, _ []byte) error { return c.decide(ctx, s) }
			_, err := b.Put(t.Context(), "f", strings.NewReader("x"), nil)
			for _, want := range c.want {
				wantErr(t, "put", err, want)
			}
			if what != "Close" && len(paths(t, b, nil)) > 0 {
				t.Error("it was stored")
			}
		})
	}
}

// An upload that was refused stays, and may be committed again.
func TestRefusedUploadStays(t *testing.T) {
	v := &validator{}
	b := bucket(t, open(t, &local.Options{Validator: v}), "demo")
	u, err := uploads(b).Begin(t.Context(), "f", nil)
	must(t, err)
	_, err = uploads(b).Append(t.Context(), u.ID, 0, strings.NewReader("content"), &upload.AppendOptions{Length: 7, LengthKnown: true})
	must(t, err)
	for _, refused := range []error{buckets.Refuse("no"), errors.New("away"), nil} {
		v.decide = func(context.Context, *buckets.Candidate, []byte) error { return refused }
		u, err := uploads(b).Commit(t.Context(), u.ID)
		if (err == nil) != (refused == nil) {
			t.Fatalf("commit: %v", err)
		}
		if err == nil && read(t, b, u.File.ID, nil) != "content" {
			t.Error("the content is another")
		}
	}
}

// Nothing can be read of a candidate once it was decided about.
func TestCandidateEnds(t *testing.T) {
	var kept buckets.Content
	b := bucket(t, open(t, &local.Options{Validator: validatorFunc(func(ctx context.Context, c *buckets.Candidate) error {
		kept = c.Open(context.WithoutCancel(ctx))
		return nil
	})}), "demo")
	put(t, b, "f", string(noise(1, 1<<20)), nil)
	if _, err := io.Copy(io.Discard, kept); err == nil {
		t.Error("it was read")
	}
	kept.Close()
}

type validatorFunc func(ctx context.Context, c *buckets.Candidate) error

func (f validatorFunc) Validate(ctx context.Context, c *buckets.Candidate) error { return f(ctx, c) }
