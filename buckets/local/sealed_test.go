package local_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/cas"
)

// A gcmSealer seals with AES-GCM. Its keys are made of their numbers.
type gcmSealer struct {
	now  uint64
	keys map[uint64]cipher.AEAD
}

func newSealer(t *testing.T, now uint64, keys ...uint64) *gcmSealer {
	t.Helper()
	s := &gcmSealer{now, make(map[uint64]cipher.AEAD)}
	for _, k := range keys {
		b, err := aes.NewCipher(bytes.Repeat([]byte{byte(k)}, 32))
		must(t, err)
		s.keys[k], err = cipher.NewGCMWithRandomNonce(b)
		must(t, err)
	}
	return s
}

func (s *gcmSealer) Key() uint64 { return s.now }

func (s *gcmSealer) Seal(dst []byte, key uint64, ad, plain []byte) ([]byte, error) {
	return s.keys[key].Seal(dst, nil, plain, ad), nil
}

func (s *gcmSealer) Open(dst []byte, key uint64, ad, sealed []byte) ([]byte, error) {
	aead := s.keys[key]
	if aead == nil {
		return nil, cas.ErrKey
	}
	return aead.Open(dst, nil, sealed, ad)
}

func sealedOptions(dir string, sealer cas.Sealer) *local.Options {
	o := options()
	o.Backends = map[string]local.Backend{"local": {Path: filepath.Join(dir, "sealed"), Sealer: sealer}}
	return o
}

// TestSealedStore encrypts packs, under two keys, and does all that a store is used for: nothing
// that was stored, named or hashed shows in the packs, and all of it comes back from them.
func TestSealedStore(t *testing.T) {
	dir := t.TempDir()
	sealer := newSealer(t, 1, 1, 2)
	opts := func() *local.Options { return sealedOptions(dir, sealer) }
	s, err := local.Open(t.Context(), dir, opts())
	must(t, err)
	files := make(map[string][]byte) // by path
	put := func(name string, p []byte) {
		t.Helper()
		_, err := bucket(t, s, "a").Put(t.Context(), name, bytes.NewReader(p), &buckets.PutOptions{Metadata: map[string]any{"about": "a secret of " + name}})
		must(t, err)
		files[name] = p
	}
	for i := range 20 {
		if i == 10 {
			sealer.now = 2
		}
		put(fmt.Sprint("secret-name-", i), append(text(uint64(i), 40<<10), noise(uint64(i), 40<<10)...))
	}
	for i := range 20 {
		name := fmt.Sprint("secret-name-", i)
		switch i % 3 {
		case 0: // some chunks die, and their frames are written anew
			put(name, append(text(uint64(i), 40<<10), noise(uint64(100+i), 10<<10)...))
			f, err := bucket(t, s, "a").StatPath(t.Context(), name)
			must(t, err)
			must(t, bucket(t, s, "a").DeleteVersion(t.Context(), f.ID, 1))
		case 1:
			f, err := bucket(t, s, "a").StatPath(t.Context(), name)
			must(t, err)
			must(t, bucket(t, s, "a").Purge(t.Context(), f.ID, nil))
			delete(files, name)
		}
	}
	r, err := s.Collect(t.Context(), &collect.Options{Full: true})
	if err != nil || r.Domains[0].RewrittenPacks == 0 || r.Domains[0].FreedBytes == 0 {
		t.Errorf("collect: %+v, %v", r, err)
	}
	var digests []cas.Digest
	allThere := func(when string) {
		t.Helper()
		for name, want := range files {
			f, err := bucket(t, s, "a").StatPath(t.Context(), name)
			must(t, err)
			if got, err := content(bucket(t, s, "a"), f.ID); err != nil || !bytes.Equal(got, want) || f.Metadata["about"] != "a secret of "+name {
				t.Errorf("%s: %s: %d bytes, %v, %v", when, name, len(got), f.Metadata, err)
			}
			for c, err := range bucket(t, s, "a").Chunks(t.Context(), f.ID, 0, nil) {
				must(t, err)
				d, err := cas.ParseDigest(c.Digest)
				must(t, err)
				digests = append(digests, d)
			}
		}
	}
	allThere("collected")
	if scrubbed, err := s.Scrub(t.Context(), &scrub.Options{All: true}); err != nil || scrubbed.Domains[0].BadChunks+scrubbed.Domains[0].FailedPacks > 0 {
		t.Errorf("scrub: %+v, %v", scrubbed, err)
	}
	must(t, s.Close())
	checkNothingShows(t, filepath.Join(dir, "sealed"), files, digests)

	check := func(o *local.Options, repair bool) (problems []string) {
		t.Helper()
		report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *o, Repair: repair})
		if err != nil {
			return []string{err.Error()}
		}
		for _, p := range report.Problems {
			problems = append(problems, fmt.Sprint(p))
		}
		return problems
	}
	if found := check(opts(), false); len(found) > 0 {
		t.Errorf("check: %q", found)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	check(opts(), true)
	if found := check(opts(), false); len(found) > 0 {
		t.Errorf("check after a rebuild: %q", found)
	}
	s, err = local.Open(t.Context(), dir, opts())
	must(t, err)
	allThere("rebuilt")
	must(t, s.Close())
}

// checkNothingShows fails if contents, names, metadata or digests can be read in the packs.
func checkNothingShows(t *testing.T, dir string, files map[string][]byte, digests []cas.Digest) {
	t.Helper()
	var packs []byte
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var p []byte
			p, err = os.ReadFile(path)
			packs = append(packs, p...)
		}
		return err
	}))
	if len(packs) < 500<<10 || len(digests) < 20 {
		t.Fatalf("%d bytes of packs, %d digests", len(packs), len(digests))
	}
	for name, p := range files {
		for what, secret := range map[string][]byte{"name": []byte(name), "content": p[:24], "end": p[len(p)-24:]} {
			if bytes.Contains(packs, secret) {
				t.Errorf("the %s of %s shows", what, name)
			}
		}
	}
	if bytes.Contains(packs, []byte("a secret of")) {
		t.Error("metadata shows")
	}
	for _, d := range digests {
		if bytes.Contains(packs, d[:8]) {
			t.Errorf("the digest %s shows", d)
		}
	}
}

// Without a key what it has sealed is not read, nor taken for damaged, nor lost: every call says
// which key lacks, all else goes on, and with the key all is there.
func TestSealedStoreWithoutKey(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, sealedOptions(dir, newSealer(t, 7, 7)))
	must(t, err)
	want := append(text(1, 100<<10), noise(2, 700<<10)...)
	f, err := bucket(t, s, "a").Put(t.Context(), "f", bytes.NewReader(want), nil)
	must(t, err)
	must(t, s.Close())
	lacks := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, cas.ErrKey) || !strings.Contains(err.Error(), "key 7") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, sealer := range map[string]cas.Sealer{"no sealer": nil, "another key": newSealer(t, 8, 8)} {
		s, err := local.Open(t.Context(), dir, sealedOptions(dir, sealer))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_, err = content(bucket(t, s, "a"), f.ID)
		lacks(what+": read", err)
		g, err := bucket(t, s, "a").Put(t.Context(), "g", strings.NewReader(what), nil)
		must(t, err)
		if got, err := content(bucket(t, s, "a"), g.ID); err != nil || string(got) != what {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		r, err := s.Scrub(t.Context(), &scrub.Options{All: true})
		if err != nil || r.Domains[0].BadChunks > 0 {
			t.Errorf("%s: scrub: %+v, %v", what, r, err)
		}
		must(t, bucket(t, s, "a").Purge(t.Context(), g.ID, nil))
		_, err = s.Collect(t.Context(), &collect.Options{Full: true})
		must(t, err)
		must(t, s.Close())
		for _, repair := range []bool{false, true} {
			_, err = local.Check(t.Context(), dir, &local.CheckOptions{Options: *sealedOptions(dir, sealer), Repair: repair})
			lacks(what+": check", err)
		}
	}
	// All keys at hand, everything is as it was.
	all := sealedOptions(dir, newSealer(t, 7, 7, 8))
	report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *all})
	if err != nil || !report.OK {
		t.Errorf("check: %+v, %v", report, err)
	}
	s, err = local.Open(t.Context(), dir, all)
	must(t, err)
	defer s.Close()
	if got, err := content(bucket(t, s, "a"), f.ID); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
