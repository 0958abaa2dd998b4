package buckets_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// A virusScanner finds what begins with its name in contents that hold the word virus.
type virusScanner struct {
	mu     sync.Mutex
	err    error // in place of a verdict
	remove bool
	scans  int
}

func (v *virusScanner) Scan(ctx context.Context, c *buckets.Candidate) (buckets.Verdict, error) {
	r := c.Open(ctx)
	defer r.Close()
	p, err := io.ReadAll(r)
	if err != nil {
		return buckets.Verdict{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.scans++
	if v.err != nil || !strings.Contains(string(p), "virus") {
		return buckets.Verdict{}, v.err
	}
	return buckets.Verdict{Found: "a virus", Remove: v.remove}, nil
}

func scanAll(t *testing.T, s *buckets.Store, want int) {
	t.Helper()
	if n, err := s.ScanQuarantine(t.Context()); err != nil || n != want {
		t.Errorf("scanned %d, want %d: %v", n, want, err)
	}
}

// quarantine is what is in quarantine: what was found, by manifest ID.
func quarantine(t *testing.T, s *buckets.Store) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for h, err := range s.Quarantine(t.Context()) {
		must(t, err)
		out[h.ManifestID] = h.Found
	}
	return out
}

// Whatever way a content comes, the version before stays the current one until it is clean.
func TestQuarantine(t *testing.T) {
	for way, store := range ways(t) {
		t.Run(way, func(t *testing.T) {
			v := &virusScanner{}
			s := open(t, &local.Options{Scanner: v})
			b := bucket(t, s, "demo").As(&access.Principal{ID: "ann", Operator: true})
			reader := bucket(t, s, "demo")
			put(t, b, "f", "one", nil)
			scanAll(t, s, 1)
			f := put(t, b, "f", "two!", nil)
			scanAll(t, s, 1)
			before := paths(t, b, nil)

			g, err := store(b, f)
			must(t, err)
			if way == "restore a version" { // it was scanned when it came
				if len(quarantine(t, s)) > 0 || read(t, b, f.ID, nil) != "one" {
					t.Error("a version that was restored is in quarantine")
				}
				return
			}
			if g.State != buckets.Quarantined || len(quarantine(t, s)) != 1 || len(paths(t, b, nil)) != len(before) {
				t.Errorf("%+v, in quarantine %v", g, quarantine(t, s))
			}
			if read(t, b, f.ID, nil) != "two!" || stat(t, b, f.ID, nil).VersionsCount != 2 {
				t.Error("the version before is not the current one")
			}
			_, err = reader.Stat(t.Context(), g.ManifestID, nil)
			wantErr(t, "stat", err, buckets.ErrNoFile)
			if h := stat(t, b, g.ManifestID, &buckets.GetOptions{Trashed: true}); h.State != buckets.Quarantined || h.ID != g.ID {
				t.Errorf("%+v", h)
			}

			scanAll(t, s, 1)
			h := stat(t, b, g.ID, nil)
			if h.ManifestID != g.ManifestID || h.State != buckets.Active || len(quarantine(t, s)) > 0 || read(t, b, g.ID, nil) == "two!" && way != "copy" {
				t.Errorf("clean: %+v, it was %+v", h, g)
			}
			if r, err := s.Collect(t.Context(), &collect.Options{Full: true}); err != nil || r.Domains[0].DroppedChunks > 1 {
				t.Errorf("collect: %+v, %v", r, err)
			}
			scanAll(t, s, 0)
		})
	}
}

// What is found stays in quarantine, and is not scanned again, or is removed.
func TestVirusIsFound(t *testing.T) {
	for _, remove := range []bool{false, true} {
		v := &virusScanner{remove: remove}
		s := open(t, &local.Options{Scanner: v})
		b := bucket(t, s, "demo")
		f := put(t, b, "f", "clean", nil)
		scanAll(t, s, 1)
		bad := put(t, b, "f", "a virus", nil)
		worse := put(t, b, "new", "another virus", nil)
		scanAll(t, s, 2)
		scanAll(t, s, 0)
		if got := read(t, b, f.ID, nil); got != "clean" {
			t.Errorf("the file is %q", got)
		}
		held := quarantine(t, s)
		if !remove && (len(held) != 2 || held[bad.ManifestID] != "a virus" || held[worse.ManifestID] != "a virus") || remove && len(held) > 0 {
			t.Errorf("removed %v: in quarantine %v", remove, held)
		}
		_, err := b.Stat(t.Context(), worse.ID, &buckets.GetOptions{Trashed: true})
		if remove != errors.Is(err, buckets.ErrNoFile) {
			t.Errorf("removed %v: %v", remove, err)
		}
		if u, err := b.Usage(t.Context()); err != nil || remove && (u.Files != 1 || u.Versions != 1 || u.Bytes != 5) {
			t.Errorf("usage %+v, %v", u, err)
		}
		next := put(t, b, "f", "clean again", nil) // what was found keeps nothing from going on
		scanAll(t, s, 1)
		if stat(t, b, f.ID, nil).ManifestID != next.ManifestID {
			t.Error("the next version is not the current one")
		}
		if !remove {
			must(t, b.DeleteVersion(t.Context(), f.ID, bad.Version))
			must(t, b.Purge(t.Context(), worse.ID, nil))
			if held := quarantine(t, s); len(held) > 0 {
				t.Errorf("in quarantine %v", held)
			}
		}
	}
}

// Those who may not delete see nothing of what is in quarantine; others see that it is there,
// and only operators get it.
func TestWhoSeesQuarantine(t *testing.T) {
	v := &virusScanner{}
	policies, err := buckets.Policies(parse(t, `buckets: {b: {backend: one, rules: {create: "true", read: "true", list: "true", update: "true", delete: "auth.id == 'ann'"}}}`))
	must(t, err)
	p := policies["b"]
	p.Domain = "local"
	s := open(t, &local.Options{Scanner: v, Buckets: map[string]buckets.Policy{"b": p}})
	as := func(id string) *buckets.Bucket {
		return bucket(t, s, "b").As(&access.Principal{ID: id, Operator: id == "op"})
	}
	f := put(t, as("ann"), "f", "one", nil)
	scanAll(t, s, 1)
	held := put(t, as("ann"), "f", "two virus", nil)
	fresh := put(t, as("bob"), "new", "three virus", nil)
	also := &buckets.GetOptions{Trashed: true}
	for who, sees := range map[string]bool{"bob": false, "ann": true, "op": true} {
		b := as(who)
		for _, id := range []string{held.ManifestID, fresh.ID, fresh.ManifestID} {
			_, err := b.Stat(t.Context(), id, also)
			if sees != (err == nil) {
				t.Errorf("%s: stat: %v", who, err)
			}
			if _, err := b.Open(t.Context(), id, nil); err == nil {
				t.Errorf("%s opens it without a word", who)
			}
			_, err = b.Open(t.Context(), id, also)
			if (who == "op") != (err == nil) {
				t.Errorf("%s: open: %v", who, err)
			}
			_, err = b.Copy(t.Context(), id, b, nil)
			_, cerr := b.Compose(t.Context(), "c", []buckets.Piece{{File: id, Length: -1}}, nil)
			if err == nil || cerr == nil {
				t.Errorf("%s copies it", who)
			}
		}
		n := 0
		for _, err := range b.Versions(t.Context(), f.ID) {
			must(t, err)
			n++
		}
		if (n == 2) != sees {
			t.Errorf("%s sees %d versions", who, n)
		}
		if got := len(paths(t, b, nil)); got != 1 {
			t.Errorf("%s lists %d files", who, got)
		}
		if _, err := b.Stat(t.Context(), f.ID, &buckets.GetOptions{Version: 2}); !errors.Is(err, buckets.ErrNoVersion) {
			t.Errorf("%s: version 2: %v", who, err)
		}
		l, err := b.ListPage(t.Context(), &buckets.PageOptions{ListOptions: buckets.ListOptions{State: buckets.Quarantined}})
		if sees != (err == nil && len(l.Files) == 1) {
			t.Errorf("%s lists quarantine: %+v, %v", who, l, err)
		}
		_, err = b.RestoreVersion(t.Context(), f.ID, 2)
		if err == nil {
			t.Errorf("%s restores it", who)
		}
	}
}

// While a version waits, no edit and no condition pass over it, no rule of the bucket removes
// the current one, and names are not taken from others.
func TestWhileItWaits(t *testing.T) {
	v := &virusScanner{}
	s := open(t, &local.Options{Scanner: v, Buckets: map[string]buckets.Policy{"demo": {Domain: "local", Versions: buckets.Versions{Off: true}, Compression: cas.Compression{Codec: cas.Zstd}}}})
	b := bucket(t, s, "demo")
	f := put(t, b, "f", "one", nil)
	scanAll(t, s, 1)
	root := stat(t, b, f.ID, nil).Checksums["root"]
	two := put(t, b, "f", "two", nil)
	_, err := b.Extend(t.Context(), f.ID, strings.NewReader("x"), 1, nil)
	wantErr(t, "extend", err, buckets.ErrPrecondition)
	_, err = b.Replace(t.Context(), f.ID, strings.NewReader("x"), &buckets.PutOptions{IfMatch: root})
	wantErr(t, "if match", err, buckets.ErrPrecondition)
	three := put(t, b, "f", "three", nil)
	if _, err := s.Sweep(t.Context()); err != nil || read(t, b, f.ID, nil) != "one" {
		t.Errorf("the current version has gone: %v", err)
	}
	wantErr(t, "the last version", b.DeleteVersion(t.Context(), f.ID, 1), buckets.ErrLastVersion)
	scanAll(t, s, 2)
	if g := stat(t, b, f.ID, nil); g.ManifestID != three.ManifestID || g.VersionsCount != 1 || two.Version >= three.Version {
		t.Errorf("%+v", g)
	}
	one, other := put(t, b, "same", "1", nil), put(t, b, "same", "2", nil) // neither knows of the other
	scanAll(t, s, 2)
	if a, z := stat(t, b, one.ID, nil), stat(t, b, other.ID, nil); a.Name == z.Name {
		t.Errorf("two files are called %q", a.Name)
	}
	for range 64 {
		put(t, b, "f", "more", nil)
	}
	_, err = b.Put(t.Context(), "f", strings.NewReader("too many"), nil)
	wantErr(t, "the 65th", err, buckets.ErrQuarantineFull)
	scanAll(t, s, 64)
	_, err = b.Delete(t.Context(), f.ID, nil)
	must(t, err)
	must(t, b.Purge(t.Context(), f.ID, nil))
}

// A scanner that fails is asked again; Run asks it about what comes, and what a crash has left.
func TestScansAreRepeated(t *testing.T) {
	v := &virusScanner{err: errors.New("the scanner is down")}
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, &local.Options{Scanner: v})
	must(t, err)
	b := bucket(t, s, "demo")
	f := put(t, b, "f", "one", nil)
	if n, err := s.ScanQuarantine(t.Context()); err == nil || n > 0 {
		t.Errorf("scanned %d, %v", n, err)
	}
	must(t, s.Close())
	v.err = nil
	s = openDir(t, dir, &local.Options{Scanner: v})
	b = bucket(t, s, "demo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	clean := func(id string) {
		t.Helper()
		for i := 0; ; i++ {
			if _, err := b.Stat(t.Context(), id, nil); err == nil {
				return
			} else if i > 1000 {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	clean(f.ID)
	clean(put(t, b, "g", "two", nil).ID)
	cancel()
	must(t, <-ended)
	wantNone := open(t, &local.Options{})
	g := put(t, bucket(t, wantNone, "demo"), "f", "one", nil)
	if g.State != buckets.Active {
		t.Error("without a scanner there is a quarantine")
	}
}
