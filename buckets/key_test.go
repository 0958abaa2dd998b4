package buckets_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

func TestAPIKeys(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	for what, k := range map[string]buckets.APIKey{
		"no scope":          {},
		"no operations":     {Buckets: []string{"a"}},
		"unknown bucket":    {Buckets: []string{"c"}, Ops: everyOp},
		"unknown operation": {Buckets: []string{"a"}, Ops: []buckets.Op{"chmod"}},
	} {
		if _, _, err := s.NewKey(t.Context(), k); err == nil {
			t.Errorf("%s: made", what)
		}
	}
	token, made, err := s.NewKey(t.Context(), buckets.APIKey{Name: "backup", Buckets: []string{"a"}, Ops: []buckets.Op{buckets.OpRead, buckets.OpDownload}})
	must(t, err)
	expired, _, err := s.NewKey(t.Context(), buckets.APIKey{Buckets: []string{"*"}, Ops: everyOp, ExpiresAt: time.Now().Add(-time.Second)})
	must(t, err)
	f := put(t, bucket(t, s, "a"), "f", "x", nil)
	who, err := s.KeyPrincipal(t.Context(), token)
	must(t, err)
	read(t, bucket(t, s, "a").As(who), f.ID, nil)
	_, err = bucket(t, s, "a").As(who).Put(t.Context(), "g", strings.NewReader("x"), nil)
	wantErr(t, "put", err, fs.ErrPermission)
	_, err = bucket(t, s, "b").As(who).Put(t.Context(), "g", strings.NewReader("x"), nil)
	wantErr(t, "put elsewhere", err, fs.ErrPermission)

	last := token[len(token)-1]
	other := token[:len(token)-1] + string('0'+('f'-'0')*btoi(last == '0'))
	for what, token := range map[string]string{"expired": expired, "other secret": other, "short": token[:20], "empty": "cairn_", "id only": "cairn_" + made.ID,
		"no secret": "cairn_" + made.ID + "_", "unknown": "cairn_0123456789abcdef_00"} {
		_, err := s.KeyPrincipal(t.Context(), token)
		wantErr(t, what, err, buckets.ErrKey)
	}
	keys, err := s.Keys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Errorf("keys %+v, %v", keys, err)
	}
	must(t, s.Close())

	// The secret itself is nowhere on disk.
	secret := []byte(token[len(token)-64:])
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p, err := os.ReadFile(path)
		if bytes.Contains(p, secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	}))
	s = openDir(t, dir, twoBuckets())
	_, err = s.KeyPrincipal(t.Context(), token)
	must(t, err)
	// What it has signed ends with it, and nothing else.
	f = stat(t, bucket(t, s, "a"), f.ID, nil)
	who, err = s.KeyPrincipal(t.Context(), token)
	must(t, err)
	a, down := bucket(t, s, "a"), buckets.Grant{Op: buckets.GrantDownload, File: f.ID}
	_, its, err := a.As(who).Sign(t.Context(), down, 0)
	must(t, err)
	_, kept, err := a.Sign(t.Context(), down, 0)
	must(t, err)
	must(t, s.DropKey(t.Context(), made.ID))
	_, err = a.Redeem(t.Context(), its, "")
	wantErr(t, "signed by a key that was dropped", err, buckets.ErrGrant)
	_, err = a.Redeem(t.Context(), kept, "")
	must(t, err)
	_, _, err = a.As(who).Sign(t.Context(), down, 0)
	wantErr(t, "signing by a key that was dropped meanwhile", err, buckets.ErrKey)
	_, err = s.KeyPrincipal(t.Context(), token)
	wantErr(t, "dropped", err, buckets.ErrKey)
	wantErr(t, "dropped again", s.DropKey(t.Context(), made.ID), buckets.ErrNoKey)
}

func btoi(b bool) rune {
	if b {
		return 1
	}
	return 0
}
