package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A reopened is a store that is closed and opened again on the same parts.
type reopened struct {
	t     *testing.T
	dir   string
	packs *backendtest.FaultyBackend
}

func newReopened(t *testing.T) *reopened {
	return &reopened{t: t, dir: t.TempDir(), packs: backendtest.Faulty(membackend.New(nil))}
}

func (r *reopened) open(opts buckets.Options) *buckets.Store {
	r.t.Helper()
	db, err := pebblestore.Open(r.dir, nil)
	must(r.t, err)
	chunks, err := cas.Open(r.t.Context(), r.packs, db.Index("local"), nil)
	must(r.t, err)
	opts.Closers = []io.Closer{db}
	s, err := buckets.New(context.Background(), db, map[string]*cas.Store{"local": chunks}, map[string]buckets.Policy{
		"demo": {Domain: "local"}, "new": {Domain: "local", Trash: buckets.Trash{KeepFor: time.Nanosecond}}}, &opts)
	must(r.t, err)
	return s
}

// reads are the methods of Bucket in guards that change nothing.
var reads = []string{"Stat", "StatPath", "Open", "List", "ListPage", "FS", "Usage", "Versions", "VersionsBelow", "Chunks", "Chunk", "Diff",
	"References"}

// A store that is opened to be read refuses every change with the reason, and
// answers every read.
func TestReadOnly(t *testing.T) {
	r := newReopened(t)
	s := r.open(buckets.Options{})
	b := bucket(t, s, "demo")
	put(t, b, "f", "one", &buckets.PutOptions{Folder: "d"})
	f := put(t, b, "f", "two", &buckets.PutOptions{Folder: "d"})
	put(t, b, "g", "zero", nil)
	trashed := put(t, b, "g", "three", nil)
	_, err := b.Delete(t.Context(), trashed.ID, nil)
	must(t, err)
	in, err := uploads(b).Begin(t.Context(), "up", nil)
	must(t, err)
	list, err := uploads(b).Begin(t.Context(), "up", &upload.Options{Listed: true})
	must(t, err)
	_, signed, err := b.Grants().Sign(t.Context(), access.Grant{Op: access.GrantDownload, File: f.ID}, 0)
	must(t, err)
	must(t, s.Close())

	stale := errors.New("the database is older than its packs")
	s = r.open(buckets.Options{ReadOnly: stale})
	b = bucket(t, s, "demo")
	before := snapshot(t, s)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, buckets.ErrReadOnly) || !errors.Is(err, stale) {
			t.Errorf("%s: %v, want ErrReadOnly with its reason", what, err)
		}
	}
	for name, calls := range guards {
		for i, call := range calls {
			err := call.run(t.Context(), b, f, trashed)
			if slices.Contains(reads, name) {
				wantErr(t, fmt.Sprint(name, i), err, nil)
			} else {
				refused(fmt.Sprint(name, i), err)
			}
		}
	}
	for what, call := range map[string]func() error{
		"Append": func() error {
			_, err := uploads(b).Append(t.Context(), in.ID, 0, unread{t}, nil)
			return err
		},
		"Commit":     func() error { _, err := commitUpload(uploads(b), t.Context(), in.ID); return err },
		"Cancel":     func() error { return uploads(b).Cancel(t.Context(), in.ID) },
		"AppendList": func() error { _, _, err := uploads(b).AppendList(t.Context(), list.ID, 0, listing(nil)); return err },
		"ReceiveChunks": func() error {
			_, err := uploads(b).ReceiveChunks(t.Context(), list.ID, sending(cut(t, list.Listed.Chunker, []byte("x"))))
			return err
		},
		"Revoke":  func() error { return b.Grants().Revoke(t.Context(), strings.SplitN(signed, ".", 2)[0]) },
		"NewKey":  func() error { _, _, err := s.Keys().New(t.Context(), manifest.APIKey{Operator: true}, 0); return err },
		"Collect": func() error { _, err := s.Collect(t.Context(), nil); return err },
		"Sweep":   func() error { _, err := s.Sweep(t.Context()); return err },
		"Migrate": func() error { _, err := s.Migrate(t.Context(), "demo", "local", nil); return err },
		"Ready":   func() error { return s.Ready(t.Context()) },
	} {
		refused(what, call())
	}
	if _, err := uploads(b).Find(t.Context(), in.ID); err != nil {
		t.Errorf("an upload is described: %v", err)
	}
	if got := read(t, redeem(t, b, signed), f.ID, nil); got != "two" {
		t.Errorf("a signed URL reads %q", got)
	}
	// Policies may change: access is theirs.
	must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": {Domain: "local", Access: access.Policy{Disabled: true}}, "another": {Domain: "local"}}))
	if after := snapshot(t, s); after != before {
		t.Errorf("a store that is only read has changed:\n%s\nwas\n%s", after, before)
	}
	must(t, s.Close())

	s = r.open(buckets.Options{})
	put(t, bucket(t, s, "new"), "f", "x", nil)
	must(t, s.Close())
}

// Where the backend is too full to bring to the packs what the last process has
// decided, the store opens and is read; changes are taken again when there is
// space, without a restart.
func TestOpensWithoutSpace(t *testing.T) {
	r := newReopened(t)
	s := r.open(buckets.Options{})
	b := bucket(t, s, "demo")
	f := put(t, b, "f", "one", nil)
	r.packs.Add(backendtest.Rule{Op: backendtest.OpWrite, Mode: backendtest.NoSpace, Onward: true},
		backendtest.Rule{Op: backendtest.OpCreate, Mode: backendtest.NoSpace, Onward: true})
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: ptr("renamed")}) // decided, and not in the packs
	wantErr(t, "a change without space", err, buckets.ErrNoSpace)
	s.Close() // without space it may fail to seal

	s = r.open(buckets.Options{})
	defer s.Close()
	b = bucket(t, s, "demo")
	if got := read(t, b, f.ID, nil); got != "one" {
		t.Errorf("read %q", got)
	}
	if got := paths(t, b, nil); !slices.Equal(got, []string{"renamed"}) {
		t.Errorf("listed %q", got)
	}
	for range 3 {
		_, err = b.Put(t.Context(), "g", strings.NewReader("x"), nil)
		wantErr(t, "put without space", err, buckets.ErrNoSpace)
		wantErr(t, "ready without space", s.Ready(t.Context()), buckets.ErrNoSpace)
	}
	r.packs.Reset()
	deadline := time.Now().Add(10 * time.Second)
	for s.Ready(t.Context()) != nil && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	put(t, b, "g", "x", nil)
	put(t, bucket(t, s, "new"), "h", "x", nil) // whose bucket was not tied to its backend before
}
