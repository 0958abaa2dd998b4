package buckets_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
)

// A recorder is an Authorizer that notes what it was asked and denies some
// operations.
type recorder struct {
	mu    sync.Mutex
	deny  map[access.Op]bool
	asked []access.Request
}

var errRule = errors.New("the rule says no")

func (r *recorder) Authorize(_ context.Context, req *access.Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, *req)
	if r.deny[req.Op] {
		return fmt.Errorf("%w: %w", errRule, fs.ErrPermission)
	}
	return nil
}

func (r *recorder) reset(deny ...access.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.deny = nil, make(map[access.Op]bool)
	for _, op := range deny {
		r.deny[op] = true
	}
}

func (r *recorder) ops() (out []access.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.asked {
		out = append(out, req.Op)
	}
	return out
}

// A guarded call is one way to use a bucket, and the operation that it must
// ask for before anything else.
type guarded struct {
	op    access.Op
	run   func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error
	whole bool // op is about the trash as a whole
}

func first[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		return err
	}
	return nil
}

// guards has every method of a Bucket, here or in upload, that does something. Those that only
// look at the Bucket value itself,
// and those of uploads that TestPiecesAskAgain and TestListsAskAgain call, are in unguarded.
// Those of grants that TestGrantsAreTheirSigners calls are there too.
var guards = map[string][]guarded{
	"Put": {
		{op: access.OpCreate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Put(ctx, "new", strings.NewReader("x"), nil)
			return err
		}},
	},
	"CheckPut": {
		{op: access.OpCreate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return b.CheckPut(ctx, "new", nil)
		}},
	},
	"Begin": {
		{op: access.OpCreate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := uploads(b).Begin(ctx, "new", nil)
			return err
		}},
		{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := uploads(b).Begin(ctx, "", &upload.Options{Replace: f.ID})
			return err
		}},
	},
	"Grants.Sign": {
		{op: access.OpDownload, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, _, err := b.Grants().Sign(ctx, access.Grant{Op: access.GrantDownload, File: f.ID}, 0)
			return err
		}},
		{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, _, err := b.Grants().Sign(ctx, access.Grant{Op: access.GrantUpload, File: f.ID}, 0)
			return err
		}},
		{op: access.OpCreate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, _, err := b.Grants().Sign(ctx, access.Grant{Op: access.GrantUpload}, 0)
			return err
		}},
	},
	"Replace": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Replace(ctx, f.ID, strings.NewReader("x"), nil)
		return err
	}}},
	"Stat": {
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Stat(ctx, f.ID, nil)
			return err
		}},
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Stat(ctx, f.ManifestID, nil)
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Stat(ctx, trashed.ID, &buckets.GetOptions{Trashed: true})
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Stat(ctx, trashed.ManifestID, &buckets.GetOptions{Trashed: true})
			return err
		}},
	},
	"StatPath": {{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.StatPath(ctx, f.Path())
		return err
	}}},
	"Open": {
		{op: access.OpDownload, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Open(ctx, f.ID, nil)
			return err
		}},
		{op: access.OpDownload, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Open(ctx, f.ManifestID, nil)
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.Open(ctx, trashed.ID, &buckets.GetOptions{Trashed: true, Version: 1})
			return err
		}},
	},
	"List": {
		{op: access.OpList, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.List(ctx, nil))
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.List(ctx, &buckets.ListOptions{State: buckets.Trashed}))
		}, whole: true},
	},
	"ListPage": {
		{op: access.OpList, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.ListPage(ctx, nil)
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, err := b.ListPage(ctx, &buckets.PageOptions{ListOptions: buckets.ListOptions{State: buckets.Trashed}})
			return err
		}, whole: true},
	},
	"FS": {{op: access.OpList, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := fs.ReadDir(b.FS(ctx), ".")
		return err
	}}},
	"Usage": {{op: access.OpList, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Usage(ctx)
		return err
	}}},
	"Update": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Update(ctx, f.ID, &buckets.Patch{Name: ptr("renamed")})
		return err
	}}},
	"Delete": {{op: access.OpDelete, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Delete(ctx, f.ID, nil)
		return err
	}}},
	"Undelete": {{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Undelete(ctx, trashed.ID)
		return err
	}}},
	"Purge": {
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return b.Purge(ctx, trashed.ID, nil)
		}},
		{op: access.OpDelete, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return b.Purge(ctx, f.ID, nil)
		}},
	},
	"Copy": {{op: access.OpDownload, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Copy(ctx, f.ID, b, nil)
		return err
	}}},
	"Compose": {{op: access.OpCreate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Compose(ctx, "new", []buckets.Piece{{File: f.ID, Length: -1}}, nil)
		return err
	}}},
	"Edit": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Edit(ctx, f.ID, []buckets.Piece{{File: f.ID, Length: 1}}, nil)
		return err
	}}},
	"Extend": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Extend(ctx, f.ID, strings.NewReader("x"), 1, nil)
		return err
	}}},
	"Overwrite": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Overwrite(ctx, f.ID, 1, strings.NewReader("x"), 1, nil)
		return err
	}}},
	"Truncate": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Truncate(ctx, f.ID, 1, nil)
		return err
	}}},
	"References": {
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, _, err := b.References(ctx, f.ID, "", 10)
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			_, _, err := b.References(ctx, trashed.ID, "", 10)
			return err
		}},
	},
	"Versions": {
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.Versions(ctx, f.ID))
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.Versions(ctx, trashed.ID))
		}},
	},
	"VersionsBelow": {
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.VersionsBelow(ctx, f.ID, 2))
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.VersionsBelow(ctx, trashed.ID, 2))
		}},
	},
	"RestoreVersion": {{op: access.OpUpdate, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.RestoreVersion(ctx, f.ID, 1)
		return err
	}}},
	"Chunks": {
		{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.Chunks(ctx, f.ID, 0, nil))
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return first(b.Chunks(ctx, trashed.ManifestID, 0, &buckets.GetOptions{Trashed: true}))
		}},
	},
	"Chunk": {
		{op: access.OpDownload, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			sum := blake3.Sum256([]byte("two"))
			_, err := b.Chunk(ctx, f.ID, hex.EncodeToString(sum[:]), nil)
			return err
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			sum := blake3.Sum256([]byte("three"))
			_, err := b.Chunk(ctx, trashed.ID, hex.EncodeToString(sum[:]), &buckets.GetOptions{Trashed: true})
			return err
		}},
	},
	"Diff": {{op: access.OpRead, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
		_, err := b.Diff(ctx, f.ID, 1, 2)
		return err
	}}},
	"DeleteVersion": {
		{op: access.OpDelete, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return b.DeleteVersion(ctx, f.ID, 1)
		}},
		{op: access.OpTrash, run: func(ctx context.Context, b *buckets.Bucket, f, trashed *buckets.File) error {
			return b.DeleteVersion(ctx, trashed.ID, 1)
		}},
	},
}

var unguarded = []string{"As", "Name", "Cursor", "Policy", "Chunker", "Intake", "Grants", "CountUse", "Via", "ViaRecord", "CountReferences",
	"Grants.Redeem", "Grants.List", "Grants.Get", "Grants.Revoke",
	"Append", "Commit", "Find", "Settle", "Cancel", "Invalidate", "Concat", "Join", "JoinAll", "AppendList", "Lacking", "ReceiveChunks"}

// newGuarded returns a bucket with an active file of two versions and a
// trashed one of two, as seen by alice.
func newGuarded(t *testing.T) (r *recorder, s *buckets.Store, b *buckets.Bucket, f, trashed *buckets.File) {
	t.Helper()
	r = &recorder{}
	s = open(t, &local.Options{Auth: r, Buckets: map[string]buckets.Policy{"demo": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}}}})
	b = bucket(t, s, "demo").As(&access.Principal{ID: "alice"})
	put(t, b, "f", "one", &buckets.PutOptions{Folder: "d"})
	f = put(t, b, "f", "two", &buckets.PutOptions{Folder: "d"})
	put(t, b, "g", "zero", nil)
	trashed = put(t, b, "g", "three", nil)
	_, err := b.Delete(t.Context(), trashed.ID, nil)
	must(t, err)
	r.reset()
	return r, s, b, f, trashed
}

func TestEveryMethodAsks(t *testing.T) {
	var methods []string
	for _, guard := range []reflect.Type{reflect.TypeFor[*buckets.Bucket](), reflect.TypeFor[*upload.Bucket](), reflect.TypeFor[*access.Grants]()} {
		for _, f := range reflect.VisibleFields(guard.Elem()) {
			if f.IsExported() {
				t.Errorf("%s.%s can be used without asking anybody", guard, f.Name)
			}
		}
		of := strings.TrimPrefix(guard.Elem().Name()+".", "Bucket.")
		for i := range guard.NumMethod() {
			methods = append(methods, of+guard.Method(i).Name)
		}
	}
	for _, name := range methods {
		if guards[name] == nil && !slices.Contains(unguarded, name) {
			t.Errorf("Bucket.%s is new: say in guards what it asks the authoriser", name)
		}
	}
	for name, calls := range guards {
		if !slices.Contains(methods, name) {
			t.Errorf("Bucket.%s is no more", name)
		}
		for i, call := range calls {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				t.Parallel()
				r, s, b, f, trashed := newGuarded(t)
				before := snapshot(t, s)

				// Denied and not listable: there is no such file. Without a
				// file in question: no permission.
				r.reset(access.Ops()...)
				want := fs.ErrPermission
				if call.ofFile() {
					want = buckets.ErrNoFile
				}
				err := call.run(t.Context(), b, f, trashed)
				wantErr(t, "everything denied", err, want)
				if want == buckets.ErrNoFile && errors.Is(err, errRule) {
					t.Errorf("the error tells that the file exists: %v", err)
				}
				asked(t, r, call)

				// Denied and listable: no permission. In the trash, what is
				// denied is not listable either.
				if call.op != access.OpTrash {
					want = fs.ErrPermission
				}
				r.reset(call.op)
				wantErr(t, "denied", call.run(t.Context(), b, f, trashed), want)
				asked(t, r, call)
				if after := snapshot(t, s); after != before {
					t.Errorf("a denied call changed something:\n%s\nwas\n%s", after, before)
				}

				r.reset()
				wantErr(t, "allowed", call.run(t.Context(), b, f, trashed), nil)
				asked(t, r, call)
			})
		}
	}
}

// ofFile reports whether what the call asks is about a file.
func (c *guarded) ofFile() bool {
	return c.op != access.OpCreate && c.op != access.OpList && !c.whole
}

// asked checks that the first thing that r was asked is the call's, for alice.
func asked(t *testing.T, r *recorder, call guarded) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		t.Error("the authoriser was not asked")
		return
	}
	req := r.asked[0]
	if req.Op != call.op || req.Bucket != "demo" || req.Who == nil || req.Who.ID != "alice" {
		t.Errorf("the authoriser was asked %+v, want %s", req, call.op)
	}
	if call.ofFile() != (req.File != nil) {
		t.Errorf("%s: asked about file %v", call.op, req.File)
	}
}

// snapshot is all that can be seen of a store from inside, as text.
func snapshot(t *testing.T, s *buckets.Store) string {
	t.Helper()
	var out strings.Builder
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		fmt.Fprintf(&out, "%+v\n", r)
	}
	d, err := s.Dedup(t.Context())
	must(t, err)
	fmt.Fprintln(&out, d.UniqueBytes, d.StoredBytes)
	return out.String()
}

func TestSecondQuestions(t *testing.T) {
	r, s, b, f, _ := newGuarded(t)
	before := snapshot(t, s)
	// A put that becomes a version needs both.
	r.reset(access.OpUpdate)
	version := func() error {
		_, err := b.Put(t.Context(), "f", unread{t}, &buckets.PutOptions{Folder: "d"})
		return err
	}
	wantErr(t, "put of a version", version(), fs.ErrPermission)
	if got := r.ops(); !slices.Equal(got, []access.Op{access.OpCreate, access.OpUpdate, access.OpList}) {
		t.Errorf("asked %v", got)
	}
	r.reset(access.OpCreate)
	wantErr(t, "put of a version", version(), fs.ErrPermission)
	// A copy needs its original's bytes and a place.
	r.reset(access.OpCreate)
	_, err := b.Copy(t.Context(), f.ID, b, nil)
	wantErr(t, "copy", err, fs.ErrPermission)
	if got := r.ops(); !slices.Equal(got, []access.Op{access.OpDownload, access.OpRead, access.OpCreate}) {
		t.Errorf("asked %v", got)
	}
	r.reset(access.OpUpdate)
	_, err = b.Copy(t.Context(), f.ID, b, &buckets.CopyOptions{OnConflict: buckets.ConflictVersion})
	wantErr(t, "copy onto a file", err, fs.ErrPermission)
	// Bytes of the view need more than its list.
	r.reset(access.OpDownload)
	_, err = fs.ReadFile(b.FS(t.Context()), "d/f")
	wantErr(t, "read through the view", err, fs.ErrPermission)
	// What create is denied stores nothing, whatever its size.
	r.reset(access.OpCreate)
	_, err = b.Put(t.Context(), "new", unread{t}, &buckets.PutOptions{Folder: "d"})
	wantErr(t, "put", err, fs.ErrPermission)
	if req := r.asked[0]; req.Upload.Name != "new" || req.Upload.Folder != "d" || req.File != nil {
		t.Errorf("asked %+v", req)
	}
	r.reset()
	if after := snapshot(t, s); after != before {
		t.Errorf("a denied call changed something:\n%s\nwas\n%s", after, before)
	}
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body of a denied upload was read")
	return 0, errors.New("not to be read")
}

// An upload that may create but not update does not become a version of a
// file that came by the name while it was on its way.
func TestNameTakenMeanwhile(t *testing.T) {
	for _, denied := range []bool{true, false} {
		r, s, b, _, _ := newGuarded(t)
		trusted := bucket(t, s, "demo")
		var theirs *buckets.File
		body := &hook{Reader: strings.NewReader("mine"), before: func() {
			theirs = put(t, trusted, "new", "theirs", nil)
			r.reset()
			if denied {
				r.reset(access.OpUpdate)
			}
		}}
		f, err := b.Put(t.Context(), "new", body, nil)
		if !slices.Contains(r.ops(), access.OpUpdate) {
			t.Errorf("asked %v", r.ops())
		}
		if denied {
			wantErr(t, "put", err, fs.ErrPermission)
			if got := read(t, trusted, theirs.ID, nil); got != "theirs" {
				t.Errorf("the other file holds %q now", got)
			}
		} else if err != nil || f.ID != theirs.ID || f.Version != 2 {
			t.Errorf("allowed: %+v, %v", f, err)
		}
	}
}
