package buckets_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/manifest"
)

func TestAPIKeys(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	for what, k := range map[string]manifest.APIKey{
		"no scope":          {},
		"no operations":     {Buckets: []string{"a"}},
		"unknown bucket":    {Buckets: []string{"c"}, Ops: []string{"read"}},
		"unknown operation": {Buckets: []string{"a"}, Ops: []string{"chmod"}},
	} {
		if _, _, err := s.Keys().New(t.Context(), k, 0); err == nil {
			t.Errorf("%s: made", what)
		}
	}
	token, made, err := s.Keys().New(t.Context(), manifest.APIKey{Name: "backup", Buckets: []string{"a"}, Ops: []string{"read", "download"}}, 0)
	must(t, err)
	expired, _, err := s.Keys().New(t.Context(), manifest.APIKey{Buckets: []string{"*"}, Ops: []string{"read"}}, -time.Second)
	must(t, err)
	f := put(t, bucket(t, s, "a"), "f", "x", nil)
	who, err := s.Keys().Principal(t.Context(), token)
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
		_, err := s.Keys().Principal(t.Context(), token)
		wantErr(t, what, err, access.ErrKey)
	}
	keys, err := s.Keys().List(t.Context())
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
	_, err = s.Keys().Principal(t.Context(), token)
	must(t, err)
	// What it has signed ends with it, and nothing else.
	f = stat(t, bucket(t, s, "a"), f.ID, nil)
	who, err = s.Keys().Principal(t.Context(), token)
	must(t, err)
	a, down := bucket(t, s, "a"), access.Grant{Op: access.GrantDownload, File: f.ID}
	_, its, err := a.As(who).Grants().Sign(t.Context(), down, 0)
	must(t, err)
	_, kept, err := a.Grants().Sign(t.Context(), down, 0)
	must(t, err)
	must(t, s.Keys().Drop(t.Context(), made.ID))
	_, err = a.Grants().Redeem(t.Context(), its, "")
	wantErr(t, "signed by a key that was dropped", err, access.ErrGrant)
	_, err = a.Grants().Redeem(t.Context(), kept, "")
	must(t, err)
	_, _, err = a.As(who).Grants().Sign(t.Context(), down, 0)
	wantErr(t, "signing by a key that was dropped meanwhile", err, access.ErrKey)
	_, err = s.Keys().Principal(t.Context(), token)
	wantErr(t, "dropped", err, access.ErrKey)
	wantErr(t, "dropped again", s.Keys().Drop(t.Context(), made.ID), access.ErrNoKey)
}

func btoi(b bool) rune {
	if b {
		return 1
	}
	return 0
}
