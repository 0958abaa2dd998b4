package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
)

// redeem returns b as the bearer of a token sees it.
func redeem(t *testing.T, b *buckets.Bucket, token string) *buckets.Bucket {
	t.Helper()
	who, err := b.Grants().Redeem(t.Context(), token, "192.0.2.1")
	must(t, err)
	return b.As(who)
}

func sign(t *testing.T, b *buckets.Bucket, g access.Grant, life time.Duration) (*access.Grant, string) {
	t.Helper()
	out, token, err := b.Grants().Sign(t.Context(), g, life)
	must(t, err)
	return out, token
}

func TestGrantDownload(t *testing.T) {
	b, ann, bob, _ := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, ann, "f", "one", nil)
	put(t, ann, "f", "two", nil)
	other := put(t, ann, "g", "other", nil)
	_, _, err := bob.Grants().Sign(t.Context(), access.Grant{Op: access.GrantDownload, File: f.ID}, 0)
	wantErr(t, "signed by one who may not download", err, fs.ErrNotExist)

	g, token := sign(t, ann, access.Grant{Op: access.GrantDownload, File: f.ID}, time.Hour)
	if g.Owner != "ann" || g.File != f.ID || g.Bucket != "b" || time.Until(g.ExpiresAt) > time.Hour {
		t.Errorf("%+v", g)
	}
	bearer := redeem(t, b, token)
	if got := read(t, bearer, f.ID, nil); got != "two" {
		t.Errorf("read %q", got)
	}
	// It opens one file for one operation, for nobody's sake anything else.
	for name, calls := range guards {
		for _, call := range calls {
			if name == "Open" || name == "Chunk" {
				continue
			}
			if err := call.run(t.Context(), bearer, f, f); err == nil {
				t.Errorf("%s: allowed", name)
			}
			if err := call.run(t.Context(), bearer, other, other); err == nil {
				t.Errorf("%s of another file: allowed", name)
			}
		}
	}
	_, err = bearer.Open(t.Context(), other.ID, nil)
	wantErr(t, "another file", err, fs.ErrNotExist)

	// One of a version opens that version only.
	_, token = sign(t, ann, access.Grant{Op: access.GrantView, File: f.ManifestID}, time.Hour)
	bearer = redeem(t, b, token)
	if got := read(t, bearer, f.ManifestID, nil); got != "one" {
		t.Errorf("read %q", got)
	}
	_, err = bearer.Open(t.Context(), f.ID, nil)
	wantErr(t, "the current version", err, fs.ErrNotExist)
	// What signs may not be lent on.
	_, _, err = bearer.Grants().Sign(t.Context(), access.Grant{Op: access.GrantView, File: f.ManifestID}, 0)
	wantErr(t, "signed by a bearer", err, access.ErrGrantScope)
}

func TestGrantUpload(t *testing.T) {
	b, ann, _, anonymous := ruled(t, buckets.Policy{}, map[access.Op]string{
		access.OpCreate: `auth.id != null && upload.size <= 100 && upload.mime_type != "text/html"`, access.OpUpdate: mine, access.OpRead: mine})
	for what, c := range map[string]struct {
		as *buckets.Bucket
		g  access.Grant
	}{
		"by nobody":        {anonymous, access.Grant{MaxSize: 10}},
		"of any size":      {ann, access.Grant{}},
		"too large":        {ann, access.Grant{MaxSize: 101}},
		"of a denied type": {ann, access.Grant{MaxSize: 10, Types: []string{"image/png", "text/html"}}},
	} {
		c.g.Op = access.GrantUpload
		_, _, err := c.as.Grants().Sign(t.Context(), c.g, 0)
		wantErr(t, what, err, fs.ErrPermission)
	}
	_, token := sign(t, ann, access.Grant{Op: access.GrantUpload, Folder: "in", Name: "a.txt", MaxSize: 10, Types: []string{"text/plain"}}, 0)
	bearer := redeem(t, b, token)
	in := &buckets.PutOptions{Folder: "in", OnConflict: buckets.ConflictNew}
	for what, c := range map[string]struct {
		name, content string
		opts          *buckets.PutOptions
		want          error
	}{
		"another name":   {"b.txt", "x", in, access.ErrGrantScope},
		"another folder": {"a.txt", "x", nil, access.ErrGrantScope},
		"too large":      {"a.txt", "0123456789+", in, buckets.ErrTooLarge},
		"another type":   {"a.txt", gif[:10], in, buckets.ErrType},
	} {
		_, err := bearer.Put(t.Context(), c.name, strings.NewReader(c.content), c.opts)
		wantErr(t, what, err, c.want)
	}
	f := put(t, bearer, "a.txt", "0123456789", in)
	if f.Owner != "ann" {
		t.Errorf("owned by %q", f.Owner)
	}
	_, err := bearer.Put(t.Context(), "a.txt", strings.NewReader("x"), &buckets.PutOptions{Folder: "in"})
	wantErr(t, "a version", err, fs.ErrNotExist)

	// What is signed without types still brings only what its signer may.
	_, token = sign(t, ann, access.Grant{Op: access.GrantUpload, MaxSize: 90}, 0)
	_, err = redeem(t, b, token).Put(t.Context(), "x.html", strings.NewReader(html), nil)
	wantErr(t, "a type that the signer may not bring", err, fs.ErrPermission)

	// One for a version takes nothing but versions of that file.
	_, token = sign(t, ann, access.Grant{Op: access.GrantUpload, File: f.ID}, 0)
	bearer = redeem(t, b, token)
	_, err = bearer.Replace(t.Context(), f.ID, strings.NewReader("new"), nil)
	must(t, err)
	_, err = bearer.Put(t.Context(), "new", strings.NewReader("x"), nil)
	wantErr(t, "a new file", err, access.ErrGrantScope)
	_, err = bearer.Open(t.Context(), f.ID, nil)
	wantErr(t, "a download", err, fs.ErrNotExist)
}

func TestGrantEnds(t *testing.T) {
	b, ann, bob, anonymous := ruled(t, buckets.Policy{Access: access.Policy{SignedURLTTL: time.Hour}}, ownersOnly())
	f := put(t, ann, "f", "x", nil)
	down := access.Grant{Op: access.GrantDownload, File: f.ID}
	for what, life := range map[string]time.Duration{"too long": 2 * time.Hour, "negative": -time.Second} {
		if _, _, err := ann.Grants().Sign(t.Context(), down, life); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	short, expired := sign(t, ann, down, 20*time.Millisecond)
	g, token := sign(t, ann, down, 0)
	redeem(t, b, token)
	time.Sleep(30 * time.Millisecond)
	_, err := b.Grants().Redeem(t.Context(), expired, "")
	wantErr(t, "expired", err, access.ErrGrantExpired)

	id, mac, _ := strings.Cut(token, ".")
	kid, sum, _ := strings.Cut(mac, ".")
	for what, forged := range map[string]string{
		"empty": "", "no mac": id, "another mac": id + "." + kid + "." + strings.Repeat("A", len(sum)), "another key": id + ".x." + sum,
		"another's mac": short.ID + "." + mac, "long": token + strings.Repeat("A", 300), "padded": token + "=", "trailing bits": id + "." + kid + "." + sum[:len(sum)-1] + "B",
		"another grant": strings.Replace(token, "g_0", "g_1", 1),
	} {
		if _, err := b.Grants().Redeem(t.Context(), forged, ""); !errors.Is(err, access.ErrGrant) {
			t.Errorf("%s: %v", what, err)
		}
	}

	list := func(b *buckets.Bucket) int {
		gs, err := b.Grants().List(t.Context())
		must(t, err)
		return len(gs)
	}
	if list(ann) != 2 || list(b) != 2 || list(bob) != 0 || list(anonymous) != 0 {
		t.Errorf("ann sees %d grants, bob %d, anonymous %d", list(ann), list(bob), list(anonymous))
	}
	wantErr(t, "revoked by another", bob.Grants().Revoke(t.Context(), g.ID), access.ErrNoGrant)
	must(t, ann.Grants().Revoke(t.Context(), g.ID))
	_, err = b.Grants().Redeem(t.Context(), token, "")
	wantErr(t, "revoked", err, access.ErrGrant)
	wantErr(t, "revoked again", ann.Grants().Revoke(t.Context(), g.ID), access.ErrNoGrant)
}

// What is revoked while an upload is on its way takes no effect any more.
func TestGrantRevokedMeanwhile(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{}, ownersOnly())
	g, token := sign(t, ann, access.Grant{Op: access.GrantUpload}, 0)
	_, err := redeem(t, b, token).Put(t.Context(), "f", &hook{Reader: strings.NewReader("x"), before: func() { must(t, ann.Grants().Revoke(t.Context(), g.ID)) }}, nil)
	wantErr(t, "put", err, access.ErrGrant)
	wantUsage(t, b, 0, 0, 0, 0, 0)
}

// No text but a token that was made is one.
func FuzzRedeem(f *testing.F) {
	s, err := local.Open(context.Background(), f.TempDir(), twoBuckets())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	b, _ := s.Bucket("a")
	_, token, err := b.Grants().Sign(context.Background(), access.Grant{Op: access.GrantUpload}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add(token[:38] + "..")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := b.Grants().Redeem(t.Context(), text, ""); (err == nil) != (text == token) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := s.Keys().Principal(t.Context(), text); err == nil {
			t.Errorf("%q is a key", text)
		}
	})
}

func TestGrantIP(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, ann, "f", "x", nil)
	_, token := sign(t, ann, access.Grant{Op: access.GrantDownload, File: f.ID, IP: "192.0.2.0/24"}, 0)
	for ip, want := range map[string]error{"192.0.2.77": nil, "::ffff:192.0.2.77": nil, "192.0.3.1": access.ErrGrantScope, "": access.ErrGrantScope, "2001:db8::1": access.ErrGrantScope} {
		if _, err := b.Grants().Redeem(t.Context(), token, ip); !errors.Is(err, want) {
			t.Errorf("from %q: %v", ip, err)
		}
	}
}

// Uses are counted exactly, however many race.
func TestGrantUses(t *testing.T) {
	b, ann, _, _ := ruled(t, buckets.Policy{}, ownersOnly())
	f := put(t, ann, "f", "x", nil)
	_, down := sign(t, ann, access.Grant{Op: access.GrantDownload, File: f.ID, MaxUses: 3}, 0)
	_, up := sign(t, ann, access.Grant{Op: access.GrantUpload, MaxUses: 3}, 0)
	for what, use := range map[string]func(i int) error{
		"downloads": func(int) error {
			o, err := redeem(t, b, down).Open(t.Context(), f.ID, nil)
			if err == nil {
				err = o.Close()
			}
			return err
		},
		"uploads": func(i int) error {
			_, err := redeem(t, b, up).Put(t.Context(), fmt.Sprint(i), strings.NewReader("x"), nil)
			return err
		},
	} {
		var all sync.WaitGroup
		var n atomic.Int64
		for i := range 20 {
			all.Go(func() {
				switch err := use(i); {
				case err == nil:
					n.Add(1)
				case !errors.Is(err, access.ErrGrantExpired):
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		all.Wait()
		if n.Load() != 3 {
			t.Errorf("%d %s with a grant of 3", n.Load(), what)
		}
	}
}

// Keys rotate: what older ones signed holds, until they are dropped.
func TestSigningKeys(t *testing.T) {
	s := declared(t, `buckets: {b: {backend: one, rules: {read: "true"}}, none: {backend: one, signed_url_ttl: off}}`)
	b := bucket(t, s, "b")
	f := put(t, b, "f", "x", nil)
	down := access.Grant{Op: access.GrantDownload, File: f.ID}
	_, before := sign(t, b, down, 0)
	_, err := s.Keys().RotateSigning(t.Context(), false)
	must(t, err)
	_, after := sign(t, b, down, 0)
	if key := func(token string) string { return strings.Split(token, ".")[1] }; key(before) == key(after) {
		t.Error("the new key does not sign")
	}
	redeem(t, b, before)
	redeem(t, b, after)
	_, err = s.Keys().RotateSigning(t.Context(), true)
	must(t, err)
	for _, token := range []string{before, after} {
		_, err := b.Grants().Redeem(t.Context(), token, "")
		wantErr(t, "of a dropped key", err, access.ErrGrant)
	}
	none := bucket(t, s, "none")
	g := put(t, none, "f", "x", nil)
	_, _, err = none.Grants().Sign(t.Context(), access.Grant{Op: access.GrantDownload, File: g.ID}, 0)
	wantErr(t, "where none are signed", err, access.ErrGrantScope)
}
