package buckets_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
)

// intoTrash are the ways to what lies in the trash. Each is for those alone who
// may see the trash.
var intoTrash = map[string]func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error{
	"stat": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Stat(ctx, f.ID, &buckets.GetOptions{Trashed: true})
		return err
	},
	"stat of a version": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Stat(ctx, f.ID, &buckets.GetOptions{Trashed: true, Version: 1})
		return err
	},
	"stat by manifest": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Stat(ctx, f.ManifestID, &buckets.GetOptions{Trashed: true})
		return err
	},
	"open": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		return opened(b.Open(ctx, f.ID, &buckets.GetOptions{Trashed: true}))
	},
	"open by manifest": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		return opened(b.Open(ctx, f.ManifestID, &buckets.GetOptions{Trashed: true}))
	},
	"versions": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		return first(b.Versions(ctx, f.ID))
	},
	"chunks": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		return first(b.Chunks(ctx, f.ID, 0, &buckets.GetOptions{Trashed: true}))
	},
	"chunk": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		sum := blake3.Sum256([]byte("two"))
		_, err := b.Chunk(ctx, f.ManifestID, hex.EncodeToString(sum[:]), &buckets.GetOptions{Trashed: true})
		return err
	},
	"list": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		for got, err := range b.List(ctx, &buckets.ListOptions{State: buckets.Trashed}) {
			if err != nil || got.ID == f.ID {
				return err
			}
		}
		return buckets.ErrNoFile
	},
	"undelete": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Undelete(ctx, f.ID)
		return err
	},
}

// goneForGood are the ways to remove what lies in the trash. Each is for those
// who may see the trash and delete.
var goneForGood = map[string]func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error{
	"purge": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error { return b.Purge(ctx, f.ID, nil) },
	"delete of a version": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		return b.DeleteVersion(ctx, f.ID, 1)
	},
}

// pastTrash are the ways to active files: by none of them anybody finds a file
// in the trash.
var pastTrash = map[string]func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error{
	"stat": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Stat(ctx, f.ID, nil)
		return err
	},
	"stat by manifest": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Stat(ctx, f.ManifestID, nil)
		return err
	},
	"stat by path": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.StatPath(ctx, f.Path())
		return err
	},
	"view": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := fs.ReadFile(b.FS(ctx), f.Path())
		return err
	},
	"copy": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Copy(ctx, f.ManifestID, b, nil)
		return err
	},
	"compose": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Compose(ctx, "composed", []buckets.Piece{{File: f.ManifestID, Length: -1}}, nil)
		return err
	},
	"edit": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Edit(ctx, f.ID, []buckets.Piece{{Data: []byte("x")}}, nil)
		return err
	},
	"base of an upload": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := uploads(b).Begin(ctx, "based", &upload.Options{Listed: true, Bases: []string{f.ManifestID}})
		return err
	},
	"replace": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := uploads(b).Begin(ctx, "", &upload.Options{Replace: f.ID})
		return err
	},
	"update": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Update(ctx, f.ID, &buckets.Patch{Tags: &[]string{"t"}})
		return err
	},
	"restore of a version": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.RestoreVersion(ctx, f.ID, 1)
		return err
	},
	"trash again": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, err := b.Delete(ctx, f.ID, nil)
		return err
	},
	"signed URL": func(ctx context.Context, b *buckets.Bucket, f *buckets.File) error {
		_, _, err := b.Grants().Sign(ctx, access.Grant{Op: access.GrantDownload, File: f.ID}, 0)
		return err
	},
}

func opened(o *buckets.Object, err error) error {
	if err == nil {
		err = o.Close()
	}
	return err
}

// Who may read an active file may not therefore see it in the trash: delete
// decides, or the bucket's rule for its trash, on every way.
func TestTrash(t *testing.T) {
	public := map[access.Op]string{access.OpCreate: all, access.OpRead: all, access.OpUpdate: all, access.OpDelete: mine}
	with := func(more map[access.Op]string) map[access.Op]string {
		out := maps.Clone(public)
		maps.Copy(out, more)
		return out
	}
	key := func(ops ...access.Op) *access.Principal {
		return &access.Principal{ID: "key:1", Scope: &access.Scope{Buckets: []string{"b"}, Ops: ops}}
	}
	ann, bob, anonymous := &access.Principal{ID: "ann"}, &access.Principal{ID: "bob", Claims: map[string]any{"role": "editor"}}, &access.Principal{}
	const editors = "auth.role == 'editor'"
	for _, c := range []struct {
		what       string
		rules      map[access.Op]string
		own        map[string]string // rules of the file
		who        *access.Principal
		sees, ends bool
	}{
		{"who may delete", public, nil, ann, true, true},
		{"who may read", public, nil, bob, false, false},
		{"anybody", public, nil, anonymous, false, false},
		{"an operator", public, nil, &access.Principal{Operator: true}, true, true},
		{"a trusted caller", public, nil, nil, true, true},
		{"nobody may delete", with(map[access.Op]string{access.OpDelete: "false"}), nil, ann, false, false},
		{"all may delete", with(map[access.Op]string{access.OpDelete: all}), nil, anonymous, true, true},
		{"a failing rule", with(map[access.Op]string{access.OpTrash: "file.metadata.none == 1"}), nil, ann, false, false},
		{"who may delete, where editors see", with(map[access.Op]string{access.OpTrash: editors}), nil, ann, false, false},
		{"who may see and not delete", with(map[access.Op]string{access.OpTrash: editors}), nil, bob, true, false},
		{"who may see and delete", with(map[access.Op]string{access.OpTrash: mine}), nil, ann, true, true},
		{"all may see", with(map[access.Op]string{access.OpTrash: all}), nil, anonymous, true, false},
		{"a rule on the state", with(map[access.Op]string{access.OpTrash: "file.state == 'trashed'"}), nil, bob, true, false},
		{"the file's rule for delete", public, map[string]string{"delete": editors}, bob, true, true},
		{"the file's rule for delete, others", public, map[string]string{"delete": editors}, ann, false, false},
		{"the file's rule for trash", public, map[string]string{"trash": editors}, bob, true, false},
		{"the file's rule for trash, others", public, map[string]string{"trash": editors}, ann, false, false},
		{"the file's rules for all else", public, map[string]string{"read": all, "download": all, "list": all, "update": all}, bob, false, false},
		{"a key that deletes", public, nil, key(access.OpDelete), true, true},
		{"a key for the trash", public, nil, key(access.OpTrash), true, false},
		{"a key for all else", public, nil, key(access.OpCreate, access.OpRead, access.OpUpdate, access.OpDownload, access.OpList), false, false},
		{"a signed URL", public, nil, &access.Principal{Grant: &access.Grant{Op: access.GrantDownload, Bucket: "b"}}, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			p := buckets.Policy{Domain: "local", Access: access.Policy{Rules: compile(t, c.rules), FileRules: true}}
			s := open(t, &local.Options{Buckets: map[string]buckets.Policy{"b": p}})
			b := bucket(t, s, "b")
			f := newTrashed(t, b, c.own)
			who := *b // a trusted caller
			if c.who != nil {
				who = *b.As(c.who)
			}
			if c.who != nil && c.who.Grant != nil {
				who = *b.As(&access.Principal{Grant: &access.Grant{Op: access.GrantDownload, Bucket: "b", File: f.ID}})
			}
			usage, err := who.Usage(t.Context())
			if err == nil && !c.sees && (usage.TrashedFiles+usage.TrashedBytes+usage.Versions != 0) {
				t.Errorf("the totals tell of the trash: %+v", usage)
			}
			for name, way := range pastTrash {
				if err := way(t.Context(), &who, f); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s, as of an active file: error %v", name, err)
				}
			}
			try := func(ways map[string]func(context.Context, *buckets.Bucket, *buckets.File) error, allowed bool) {
				for _, name := range slices.Sorted(maps.Keys(ways)) {
					switch err := ways[name](t.Context(), &who, f); {
					case allowed && err != nil:
						t.Errorf("%s: %v", name, err)
					case !allowed && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
						t.Errorf("%s: error %v, want that there is no such file", name, err)
					case !allowed && !c.sees && name != "list" && !errors.Is(err, buckets.ErrNoFile):
						t.Errorf("%s: error %v tells that there is one", name, err)
					}
					if allowed && (name == "undelete" || name == "purge") {
						f = newTrashed(t, b, c.own)
					}
				}
			}
			try(intoTrash, c.sees)
			try(goneForGood, c.ends)
		})
	}
}

// newTrashed returns a file of ann's in the trash, of two versions, with rules of
// its own.
func newTrashed(t *testing.T, b *buckets.Bucket, own map[string]string) *buckets.File {
	t.Helper()
	ann := b.As(&access.Principal{ID: "ann"})
	f := put(t, ann, "f", "one", &buckets.PutOptions{OnConflict: buckets.ConflictNew})
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Access: &own})
	must(t, err)
	_, err = b.Replace(t.Context(), f.ID, strings.NewReader("two"), nil)
	must(t, err)
	f, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	return f
}

// Whoever may restore files from the trash learns nothing of active ones by it.
func TestUndeleteOfActive(t *testing.T) {
	b, ann, bob, _ := ruled(t, buckets.Policy{}, map[access.Op]string{access.OpCreate: signedIn, access.OpDelete: mine, access.OpTrash: "auth.role == 'editor'"})
	f := put(t, ann, "f", "one", nil)
	_, err := bob.Undelete(t.Context(), f.ID)
	wantErr(t, "restore of an active file", err, buckets.ErrNoFile)
	_, err = ann.Undelete(t.Context(), f.ID)
	wantErr(t, "restore of one's own", err, buckets.ErrNotTrashed)
	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	_, err = bob.Undelete(t.Context(), f.ID)
	must(t, err)
}

// The methods of grants that ask no rule are for those who signed.
func TestGrantsAreTheirSigners(t *testing.T) {
	b, ann, bob, anonymous := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, ann, "f", "one", nil)
	g, _ := sign(t, ann, access.Grant{Op: access.GrantDownload, File: f.ID}, 0)
	bearer := b.As(&access.Principal{ID: "ann", Grant: g})
	for name, who := range map[string]*buckets.Bucket{"another": bob, "anybody": anonymous, "its bearer": bearer} {
		list, err := who.Grants().List(t.Context())
		must(t, err)
		if len(list) > 0 {
			t.Errorf("%s lists %+v", name, list)
		}
		_, err = who.Grants().Get(t.Context(), g.ID)
		wantErr(t, name+" gets it", err, access.ErrNoGrant)
		wantErr(t, name+" revokes it", who.Grants().Revoke(t.Context(), g.ID), access.ErrNoGrant)
		_, err = who.Grants().Redeem(t.Context(), g.ID+".x", "192.0.2.1")
		wantErr(t, name+" redeems it without its MAC", err, access.ErrGrant)
	}
	must(t, ann.Grants().Revoke(t.Context(), g.ID))
}
