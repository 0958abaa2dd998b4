package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
)

// An unsteady is an Authorizer that allows or denies until it fails.
type unsteady struct {
	mu    sync.Mutex
	deny  map[access.Op]bool
	from  int // the first question that it fails at, counted from 0; negative for none
	err   error
	panic bool // with err
	asked int
}

func (u *unsteady) Authorize(_ context.Context, req *access.Request) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.asked
	u.asked++
	switch {
	case u.from >= 0 && n >= u.from && u.panic:
		panic(u.err)
	case u.from >= 0 && n >= u.from:
		return u.err
	case u.deny[req.Op]:
		return fmt.Errorf("%w: %w", errRule, fs.ErrPermission)
	}
	return nil
}

// set makes u fail with err from a question on, and deny before.
func (u *unsteady) set(from int, err error, panics bool, deny ...access.Op) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked, u.from, u.err, u.panic, u.deny = 0, from, err, panics, make(map[access.Op]bool)
	for _, op := range deny {
		u.deny[op] = true
	}
}

func (u *unsteady) questions() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

// authorizerErrors are errors of an authoriser that are no denial, whatever
// they look like.
func authorizerErrors() map[string]error {
	return map[string]error{
		"database down":         errors.New("database is down"),
		"deadline":              fmt.Errorf("query: %w", context.DeadlineExceeded),
		"cancelled":             fmt.Errorf("query: %w", context.Canceled),
		"file is not there":     &fs.PathError{Op: "open", Path: "rules.json", Err: syscall.ENOENT},
		"file may not be read":  &fs.PathError{Op: "open", Path: "rules.json", Err: syscall.EACCES},
		"row is not there":      fmt.Errorf("user 7: %w", fs.ErrNotExist),
		"row is there":          fmt.Errorf("session: %w", os.ErrExist),
		"a file of another one": fmt.Errorf("look up the record: %w", buckets.ErrNoFile),
		"an upload likewise":    fmt.Errorf("look up the record: %w", buckets.ErrNoUpload),
		"a precondition":        buckets.ErrPrecondition,
		"a timeout as denial":   fmt.Errorf("%w: %w", fs.ErrPermission, context.DeadlineExceeded),
	}
}

// newUnsteady returns a bucket as newGuarded does, with an Authorizer that can
// be made to fail.
func newUnsteady(t *testing.T) (u *unsteady, s *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) {
	t.Helper()
	u = &unsteady{from: -1}
	s = open(t, &local.Options{Auth: u, Buckets: map[string]buckets.Policy{"demo": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}}}})
	b = bucket(t, s, "demo").As(&access.Principal{ID: "alice"})
	put(t, b, "f", "one", &buckets.PutOptions{Folder: "d"})
	f = put(t, b, "f", "two", &buckets.PutOptions{Folder: "d"})
	put(t, b, "g", "zero", nil)
	trashed = put(t, b, "g", "three", nil)
	_, err := b.Delete(t.Context(), trashed.ID, nil)
	must(t, err)
	return u, s, b, f, trashed
}

// wantUndecided fails unless err is the authoriser's own and no answer.
func wantUndecided(t *testing.T, what string, err, cause error) {
	t.Helper()
	if !errors.Is(err, access.ErrUndecided) || !strings.Contains(err.Error(), cause.Error()) {
		t.Errorf("%s: %v, want ErrUndecided with its cause", what, err)
	}
	for _, answer := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrExist, buckets.ErrNoFile, buckets.ErrNoVersion, buckets.ErrNoUpload} {
		if errors.Is(err, answer) {
			t.Errorf("%s: %v is taken for the answer %q", what, err, answer)
		}
	}
	if !errors.Is(cause, fs.ErrNotExist) && !errors.Is(cause, fs.ErrPermission) && !errors.Is(cause, fs.ErrExist) && !errors.Is(err, cause) {
		t.Errorf("%s: %v does not hold its cause", what, err)
	}
}

// undecided are the calls of guards and those of uploads, each on a bucket of
// its own: prepare makes what the call is about, while everything is allowed.
func undecided() map[string]func(t *testing.T, s *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) func() error {
	type prepare = func(t *testing.T, s *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) func() error
	all := map[string]prepare{
		"Append": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, _, _ *buckets.File) func() error {
			up, err := uploads(b).Begin(t.Context(), "n", nil)
			must(t, err)
			return func() error {
				_, err := uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("x"), nil)
				return err
			}
		},
		"Append to a version": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			up, err := uploads(b).Begin(t.Context(), "", &upload.Options{Replace: f.ID})
			must(t, err)
			return func() error {
				_, err := uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("x"), nil)
				return err
			}
		},
		"Commit": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, _, _ *buckets.File) func() error {
			up, err := uploads(b).Begin(t.Context(), "n", nil)
			must(t, err)
			_, err = uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("x"), nil)
			must(t, err)
			return func() error {
				_, err := commitUpload(uploads(b), t.Context(), up.ID)
				return err
			}
		},
		"Concat": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, _, _ *buckets.File) func() error {
			part, err := uploads(b).Begin(t.Context(), "", &upload.Options{Partial: true, PutOptions: buckets.PutOptions{Size: 1, SizeKnown: true}})
			must(t, err)
			_, err = uploads(b).Append(t.Context(), part.ID, 0, strings.NewReader("x"), nil)
			must(t, err)
			return func() error {
				_, err := uploads(b).Concat(t.Context(), "n", []string{part.ID}, &upload.Options{})
				return err
			}
		},
		"Begin with a base": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			return func() error {
				_, err := uploads(b).Begin(t.Context(), "n", &upload.Options{Listed: true, Bases: []string{f.ID}})
				return err
			}
		},
		"Begin of a version by list": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			return func() error {
				_, err := uploads(b).Begin(t.Context(), "", &upload.Options{Listed: true, Replace: f.ID})
				return err
			}
		},
		"Copy onto a file": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			other := put(t, b, "other", "other", nil)
			return func() error {
				_, err := b.Copy(t.Context(), other.ID, b, &buckets.CopyOptions{Name: "f", Folder: ptr("d"), OnConflict: buckets.ConflictVersion})
				return err
			}
		},
		"Put of a version": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, _, _ *buckets.File) func() error {
			return func() error {
				_, err := b.Put(t.Context(), "f", strings.NewReader("x"), &buckets.PutOptions{Folder: "d"})
				return err
			}
		},
		"Put by a grant": func(t *testing.T, s *buckets.Store, b *buckets.Bucket, _, _ *buckets.File) func() error {
			_, token, err := b.Grants().Sign(t.Context(), access.Grant{Op: access.GrantUpload}, 0)
			must(t, err)
			bearer := redeem(t, b, token)
			return func() error {
				_, err := bearer.Put(t.Context(), "n", strings.NewReader("x"), nil)
				return err
			}
		},
		"read by the view": func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			return func() error {
				_, err := fs.ReadFile(b.FS(t.Context()), f.Path())
				return err
			}
		},
	}
	listed := func(t *testing.T, b *buckets.Bucket, f *buckets.File) (string, []upload.SentChunk) {
		up, err := uploads(b).Begin(t.Context(), "n", &upload.Options{Listed: true, Bases: []string{f.ID}})
		must(t, err)
		return up.ID, cut(t, up.Listed.Chunker, []byte("two"))
	}
	all["AppendList"] = func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
		id, chunks := listed(t, b, f)
		return func() error {
			up, err := uploads(b).Find(t.Context(), id)
			if err != nil {
				return err
			}
			at := up.Listed.Chunks // a call before may have listed, and failed in what it tells
			_, _, err = uploads(b).AppendList(t.Context(), id, at, listing(chunks[at:]))
			return err
		}
	}
	for name, call := range map[string]func(t *testing.T, b *buckets.Bucket, id string, chunks []upload.SentChunk) error{
		"Lacking": func(t *testing.T, b *buckets.Bucket, id string, chunks []upload.SentChunk) error {
			l, err := uploads(b).Lacking(t.Context(), id)
			if err == nil && l.Chunks > 0 {
				t.Error("a chunk of a base lacks")
			}
			return err
		},
		"ReceiveChunks": func(t *testing.T, b *buckets.Bucket, id string, chunks []upload.SentChunk) error {
			_, err := uploads(b).ReceiveChunks(t.Context(), id, sending(chunks))
			return err
		},
		"Commit of a list": func(t *testing.T, b *buckets.Bucket, id string, chunks []upload.SentChunk) error {
			_, err := commitUpload(uploads(b), t.Context(), id)
			return err
		},
	} {
		all[name] = func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, _ *buckets.File) func() error {
			id, chunks := listed(t, b, f)
			_, _, err := uploads(b).AppendList(t.Context(), id, 0, listing(chunks))
			must(t, err)
			return func() error { return call(t, b, id, chunks) }
		}
	}
	for name, calls := range guards {
		for i, call := range calls {
			all[fmt.Sprint(name, " ", i)] = func(t *testing.T, _ *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) func() error {
				return func() error { return call.run(t.Context(), b, f, trashed) }
			}
		}
	}
	return all
}

// An authoriser that fails, at whichever question, makes the call fail with
// its error: nobody learns that a file is not there, or that it is forbidden.
func TestAuthorizerErrorsAreNoAnswers(t *testing.T) {
	for name, prepare := range undecided() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, s, b, f, trashed := newUnsteady(t)
			call := prepare(t, s, b, f, trashed)
			u.set(-1, nil, false)
			must(t, call())
			questions := u.questions()

			u, s, b, f, trashed = newUnsteady(t)
			call = prepare(t, s, b, f, trashed)
			before := snapshot(t, s)
			causes := authorizerErrors()
			for at := range questions {
				for _, what := range slices.Sorted(maps.Keys(causes)) {
					what, cause := fmt.Sprintf("%s at question %d of %d", what, at, questions), causes[what]
					u.set(at, cause, false)
					wantUndecided(t, what, call(), cause)
				}
				u.set(at, causes["database down"], true)
				wantUndecided(t, fmt.Sprintf("panic at question %d", at), call(), causes["database down"])
			}
			// Denied at first; whether the file may be listed is not known.
			u.set(1, causes["database down"], false, access.Ops()...)
			if err := call(); u.questions() > 1 {
				wantUndecided(t, "failed after a denial", err, causes["database down"])
			}
			u.set(-1, nil, false)
			if after := snapshot(t, s); filesOf(after) != filesOf(before) {
				t.Errorf("a call that failed changed something:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// filesOf is a snapshot without its last line, the bytes that packs hold: who
// is asked again at the commit may have sent them.
func filesOf(snapshot string) string {
	return snapshot[:strings.LastIndexByte(strings.TrimSuffix(snapshot, "\n"), '\n')]
}

// Each file of a listing is asked about; if that fails, the listing does.
func TestAuthorizerFailsInListing(t *testing.T) {
	u := &unsteady{from: -1}
	s := open(t, &local.Options{Auth: perFile{u}})
	b := bucket(t, s, "demo").As(&access.Principal{ID: "alice"})
	for i := range 3 {
		put(t, b, fmt.Sprint(i), "x", &buckets.PutOptions{Folder: "d"})
	}
	down := errors.New("database is down")
	for at := range 3 {
		u.set(at, down, false)
		var err error
		for _, e := range b.List(t.Context(), nil) {
			err = e
		}
		wantUndecided(t, fmt.Sprint("list, file ", at), err, down)
		u.set(at, down, false)
		_, err = fs.ReadDir(b.FS(t.Context()), "d")
		wantUndecided(t, fmt.Sprint("view, file ", at), err, down)
	}
}

// perFile leaves listings to each file.
type perFile struct{ *unsteady }

func (p perFile) Authorize(ctx context.Context, req *access.Request) error {
	if req.Op == access.OpList && req.File == nil {
		return access.ErrPerFile
	}
	return p.unsteady.Authorize(ctx, req)
}
