package buckets_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/rules"
)

// compile compiles rules by operation.
func compile(t *testing.T, sources map[access.Op]string) map[access.Op]*rules.Rule {
	t.Helper()
	env, err := rules.NewEnv()
	must(t, err)
	out := make(map[access.Op]*rules.Rule)
	for op, src := range sources {
		out[op], err = env.Compile(src)
		must(t, err)
	}
	return out
}

// ruled returns a bucket with rules as trusted callers, ann, bob and nobody
// see it.
func ruled(t *testing.T, p buckets.Policy, sources map[access.Op]string) (b, ann, bob, anonymous *buckets.Bucket) {
	t.Helper()
	p.Domain, p.Access.Rules = "local", compile(t, sources)
	s := open(t, &local.Options{Buckets: map[string]buckets.Policy{"b": p}})
	b = bucket(t, s, "b")
	return b, b.As(&access.Principal{ID: "ann"}), b.As(&access.Principal{ID: "bob", Claims: map[string]any{"role": "editor"}}),
		b.As(&access.Principal{})
}

const signedIn, mine, all = "auth.id != null", "auth.id == file.owner", "true"

func ownersOnly() map[access.Op]string {
	return map[access.Op]string{access.OpCreate: signedIn, access.OpRead: mine, access.OpUpdate: mine, access.OpDelete: mine}
}

// What a bucket has no rule for is denied, to all but operators.
func TestNoRulesDeny(t *testing.T) {
	b, ann, _, anonymous := ruled(t, buckets.Policy{}, nil)
	f := put(t, b, "f", "x", nil)
	for name, calls := range guards {
		for _, call := range calls {
			for who, as := range map[string]*buckets.Bucket{"ann": ann, "anonymous": anonymous} {
				if err := call.run(t.Context(), as, f, f); err == nil {
					t.Errorf("%s: allowed to %s", name, who)
				}
			}
		}
	}
	put(t, b.As(&access.Principal{Operator: true}), "g", "x", nil)
}

// Who may not list learns of another's file what it learns of none.
func TestOwnersOnly(t *testing.T) {
	_, ann, bob, anonymous := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, ann, "f", "ann's", nil)
	if f.Owner != "ann" || read(t, ann, f.ID, nil) != "ann's" {
		t.Errorf("owner %q", f.Owner)
	}
	put(t, bob, "g", "bob's", nil)
	_, err := anonymous.Put(t.Context(), "h", strings.NewReader("x"), nil)
	wantErr(t, "put by nobody", err, fs.ErrPermission)

	none := "f_" + strings.Repeat("a", len(f.ID)-2)
	for who, as := range map[string]*buckets.Bucket{"bob": bob, "anonymous": anonymous} {
		for name, calls := range guards {
			for _, call := range calls {
				if !call.ofFile() {
					continue
				}
				forbidden := call.run(t.Context(), as, f, f)
				missing := call.run(t.Context(), as, &buckets.File{ID: none, ManifestID: "m" + none[1:], Name: "none", Folder: f.Folder}, &buckets.File{ID: none, ManifestID: "m" + none[1:]})
				if forbidden == nil || fmt.Sprint(forbidden) != fmt.Sprint(missing) {
					t.Errorf("%s by %s: %v for a forbidden file, %v for none", name, who, forbidden, missing)
				}
			}
		}
	}
}

// A list rule that looks at the file filters; read's stands in for it.
func TestListFilters(t *testing.T) {
	b, ann, bob, anonymous := ruled(t, buckets.Policy{}, ownersOnly())
	for i := range 20 {
		put(t, ann, fmt.Sprintf("a%02d", i), "x", nil)
		put(t, bob, fmt.Sprintf("b%02d", i), "x", nil)
	}
	if got := paths(t, ann, nil); len(got) != 20 || !strings.HasPrefix(got[0], "a") {
		t.Errorf("ann sees %q", got)
	}
	if got := paths(t, bob, &buckets.ListOptions{Limit: 3}); !slices.Equal(got, []string{"b00", "b01", "b02"}) {
		t.Errorf("bob sees %q", got)
	}
	if got := paths(t, anonymous, nil); len(got) != 0 {
		t.Errorf("nobody sees %q", got)
	}
	if _, err := ann.Usage(t.Context()); err == nil {
		t.Error("usage tells ann of what she may not list")
	}
	if got := paths(t, b, nil); len(got) != 40 {
		t.Errorf("trusted callers see %d files", len(got))
	}
}

// Read's rule stands in for download's where there is none, never the other
// way.
func TestFallBacks(t *testing.T) {
	_, ann, _, anonymous := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpCreate: signedIn, access.OpRead: all, access.OpDownload: signedIn, access.OpList: "false"})
	f := put(t, ann, "f", "x", nil)
	stat(t, anonymous, f.ID, nil)
	_, err := anonymous.Open(t.Context(), f.ID, nil)
	wantErr(t, "download", err, fs.ErrNotExist)
	read(t, ann, f.ID, nil)
	wantErr(t, "list", first(anonymous.List(t.Context(), nil)), fs.ErrPermission)

	_, ann, _, _ = ruled(t, buckets.Policy{}, map[access.Op]string{access.OpCreate: all, access.OpDownload: all})
	f = put(t, ann, "f", "x", nil)
	_, err = ann.Stat(t.Context(), f.ID, nil)
	wantErr(t, "read", err, fs.ErrNotExist)
}

// Rules about the upload are asked again when its size and type are known.
func TestUploadRules(t *testing.T) {
	_, ann, _, _ := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpCreate: `upload.size <= 10 && upload.mime_type.startsWith("text/") && upload.folder == "in"`,
		access.OpUpdate: `upload.size <= 5`, access.OpRead: all})
	in := func(o buckets.PutOptions) *buckets.PutOptions { o.Folder = "in"; return &o }
	f := put(t, ann, "a.txt", "0123456789", in(buckets.PutOptions{}))
	for what, c := range map[string]struct {
		content string
		opts    *buckets.PutOptions
	}{
		"declared too large":   {"0123456789+", in(buckets.PutOptions{Size: 11, SizeKnown: true})},
		"found too large":      {"0123456789+", in(buckets.PutOptions{})},
		"declared as an image": {"text", in(buckets.PutOptions{MIMEType: "image/png"})},
		"found to be an image": {gif[:10], in(buckets.PutOptions{MIMEType: "text/plain"})},
		"in another folder":    {"text", nil},
	} {
		_, err := ann.Put(t.Context(), "b.txt", strings.NewReader(c.content), c.opts)
		wantErr(t, what, err, fs.ErrPermission)
	}
	_, err := ann.Replace(t.Context(), f.ID, strings.NewReader("012345"), nil)
	wantErr(t, "a version that is too large", err, fs.ErrPermission)
	_, err = ann.Replace(t.Context(), f.ID, strings.NewReader("01234"), nil)
	must(t, err)
	if got := paths(t, ann, nil); !slices.Equal(got, []string{"in/a.txt"}) {
		t.Errorf("files %q", got)
	}
}

// Rules about the upload hold for what a change would make of the file.
func TestUpdateRulesSeeChanges(t *testing.T) {
	_, ann, _, _ := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpCreate: `upload.folder == auth.id`, access.OpUpdate: `upload.folder == auth.id && upload.size < 10`, access.OpRead: all})
	f := put(t, ann, "f", "x", &buckets.PutOptions{Folder: "ann"})
	_, err := ann.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("g"), Tags: &[]string{"t"}})
	must(t, err)
	_, err = ann.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("bob")})
	wantErr(t, "a move to another's folder", err, fs.ErrPermission)
	_, err = ann.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("/ann/../bob/")})
	wantErr(t, "a move by another way", err, fs.ErrPermission)
	_, err = ann.RestoreVersion(t.Context(), f.ID, 1)
	must(t, err)

	// A restore brings the size and type of the version that it restores.
	b, ann, _, _ := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpUpdate: `upload.size < 10 && upload.mime_type == "text/plain"`, access.OpRead: all})
	f = put(t, b, "f", "short", nil)
	put(t, b, "f", "larger than 10", nil)
	put(t, b, "f", "GIF89a", nil)
	put(t, b, "f", "short too", nil)
	for n, want := range []error{nil, fs.ErrPermission, fs.ErrPermission} {
		_, err = ann.RestoreVersion(t.Context(), f.ID, uint64(n+1))
		wantErr(t, fmt.Sprintf("restore of version %d", n+1), err, want)
	}
	_, err = ann.RestoreVersion(t.Context(), f.ID, 99)
	wantErr(t, "restore of no version", err, buckets.ErrNoVersion)
}

// A copy has of its original what its maker may see.
func TestCopyTellsNoMore(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{}, map[access.Op]string{access.OpCreate: all, access.OpDownload: all, access.OpRead: `"shown" in file.tags`})
	for _, tag := range []string{"shown", "hidden"} {
		f := put(t, b, tag, "x", &buckets.PutOptions{Tags: []string{tag}, Metadata: map[string]any{"k": "v"}})
		c, err := ann.Copy(t.Context(), f.ID, ann, nil)
		must(t, err)
		if c = stat(t, b, c.ID, nil); (len(c.Tags) > 0) != (tag == "shown") || (len(c.Metadata) > 0) != (tag == "shown") {
			t.Errorf("copy of a %s file: %v %v", tag, c.Tags, c.Metadata)
		}
	}
}

// A rule that fails denies.
func TestFailingRule(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpRead: `file.metadata.public == true`, access.OpList: "true"})
	open := put(t, b, "open", "x", &buckets.PutOptions{Metadata: map[string]any{"public": true}})
	shut := put(t, b, "shut", "x", nil)
	stat(t, ann, open.ID, nil)
	_, err := ann.Stat(t.Context(), shut.ID, nil)
	wantErr(t, "a missing member", err, fs.ErrPermission)
}

// A file's own rules replace its bucket's, where the bucket lets them.
func TestFileRules(t *testing.T) {
	b, ann, bob, anonymous := ruled(t, buckets.Policy{Access: access.Policy{FileRules: true}}, ownersOnly())
	f := put(t, ann, "f", "x", nil)
	set := func(as *buckets.Bucket, access map[string]string) error {
		_, err := as.Update(t.Context(), f.ID, &buckets.Patch{Access: &access})
		return err
	}
	wantErr(t, "set by another", set(bob, map[string]string{"read": "true"}), fs.ErrNotExist)
	for what, fileRules := range map[string]map[string]string{
		"a rule that does not compile": {"read": "auth.id =="},
		"an unknown operation":         {"chmod": "true"},
		"create":                       {"create": "true"},
		"an empty rule":                {"read": ""},
	} {
		wantErr(t, what, set(ann, fileRules), access.ErrAccess)
	}
	must(t, set(ann, map[string]string{"read": "true"}))
	stat(t, anonymous, f.ID, nil)
	read(t, bob, f.ID, nil)
	if got := paths(t, bob, nil); !slices.Equal(got, []string{"f"}) {
		t.Errorf("bob lists %q", got)
	}
	// Others whom the file lets update it still cannot change its rules.
	must(t, set(ann, map[string]string{"read": "true", "update": `auth.role == "editor"`}))
	_, err := bob.Update(t.Context(), f.ID, &buckets.Patch{Tags: &[]string{"t"}})
	must(t, err)
	wantErr(t, "access set by an editor", set(bob, nil), fs.ErrPermission)
	_, err = ann.Update(t.Context(), f.ID, &buckets.Patch{Tags: &[]string{"u"}})
	wantErr(t, "an owner whom the file's rule shuts out", err, fs.ErrPermission)
	must(t, set(ann, nil))
	_, err = bob.Stat(t.Context(), f.ID, nil)
	wantErr(t, "after the rules are gone", err, fs.ErrNotExist)

	// Metadata is not access.
	put(t, ann, "g", "x", &buckets.PutOptions{Metadata: map[string]any{"access": map[string]any{"read": "true"}}})
	if got := paths(t, bob, nil); len(got) != 0 {
		t.Errorf("bob lists %q", got)
	}
	_ = b

	_, ann, _, _ = ruled(t, buckets.Policy{}, ownersOnly())
	f = put(t, ann, "f", "x", nil)
	wantErr(t, "where files have no rules", set(ann, map[string]string{"read": "true"}), access.ErrAccess)
}

// What a file's own rule hides is not seen by way of sums and directories.
func TestFileRulesHide(t *testing.T) {
	b, ann, bob, _ := ruled(t, buckets.Policy{Access: access.Policy{FileRules: true}}, map[access.Op]string{access.OpRead: signedIn, access.OpUpdate: mine, access.OpCreate: signedIn})
	hide := &buckets.Patch{Access: &map[string]string{"list": mine, "read": mine}}
	for _, folder := range []string{"", "open", "secret"} {
		for _, name := range []string{"hidden", "shown"} {
			f := put(t, ann, name, "x", &buckets.PutOptions{Folder: folder})
			if name == "hidden" || folder == "secret" {
				_, err := ann.Update(t.Context(), f.ID, hide)
				must(t, err)
			}
		}
	}
	for who, c := range map[*buckets.Bucket]string{bob: "open open/shown shown", b: "hidden open open/hidden open/shown secret secret/hidden secret/shown shown"} {
		var got []string
		must(t, fs.WalkDir(who.FS(t.Context()), ".", func(path string, d fs.DirEntry, err error) error {
			if path != "." {
				got = append(got, path)
			}
			return err
		}))
		if strings.Join(got, " ") != c {
			t.Errorf("%q, want %q", got, c)
		}
	}
	_, err := bob.Usage(t.Context())
	wantErr(t, "usage", err, fs.ErrPermission)
	_, err = b.Usage(t.Context())
	must(t, err)
}

func TestDisabled(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{Access: access.Policy{Disabled: true}}, ownersOnly())
	f := put(t, b, "f", "x", nil)
	for name, calls := range guards {
		for _, call := range calls {
			wantErr(t, name, call.run(t.Context(), ann, f, f), buckets.ErrBucketDisabled)
		}
	}
}

// An API key does what its scope says, whatever the rules say.
func TestScope(t *testing.T) {
	b, _, _, _ := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, b, "f", "x", nil)
	key := b.As(&access.Principal{ID: "key", Scope: &access.Scope{Buckets: []string{"b"}, Ops: []access.Op{access.OpRead, access.OpDownload}}})
	read(t, key, f.ID, nil)
	_, err := key.Put(t.Context(), "g", strings.NewReader("x"), nil)
	wantErr(t, "put", err, fs.ErrPermission)
	_, err = key.Delete(t.Context(), f.ID, nil)
	wantErr(t, "delete", err, fs.ErrNotExist)
	other := b.As(&access.Principal{ID: "key", Scope: &access.Scope{Buckets: []string{"c"}, Ops: access.Ops()}})
	_, err = other.Stat(t.Context(), f.ID, nil)
	wantErr(t, "key of another bucket", err, fs.ErrNotExist)
	must(t, b.As(&access.Principal{Scope: &access.Scope{Buckets: []string{"*"}, Ops: access.Ops()}}).Purge(t.Context(), f.ID, nil))
}

// Every decision can be asked for its reason.
func TestExplain(t *testing.T) {
	b, _, _, _ := ruled(t, buckets.Policy{Access: access.Policy{FileRules: true}}, ownersOnly())
	f := put(t, b, "f", "x", nil)
	var got []string
	who := &access.Principal{ID: "ann", Explain: func(d *access.Decision) {
		got = append(got, fmt.Sprintf("%s by %s of %s: %s: %t", d.Op, d.By, d.RuleOp, d.Rule, d.Err == nil))
	}}
	b.As(who).Open(t.Context(), f.ID, nil)
	must(t, func() error {
		_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Access: &map[string]string{"download": "true"}})
		return err
	}())
	read(t, b.As(who), f.ID, nil)
	want := []string{
		"download by bucket rule of read: auth.id == file.owner: false",
		"list by bucket rule of read: auth.id == file.owner: false",
		"download by file rule of download: true: true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("explained\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
