package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// A closing is a store that is closed by a test, with something of each kind in it.
type closing struct {
	s       *buckets.Store
	a, b    *buckets.Bucket
	file    *buckets.File // of two versions
	trashed *buckets.File
	up      *upload.Bucket
	sent    string // an upload in pieces, whole
	half    string // one that is not
	listed  string // an upload by chunk list, whose chunks are to be sent
	chunks  []upload.SentChunk
	token   string // of an API key
	keyID   string
	grant   *access.Grant
	signed  string
	bearer  *access.Principal
	parts   [2]string // uploads that are to be joined
	lacking *upload.Lacking
	host    *links.Host
	hold    *links.Hold
	run     *links.Run
	asked   *links.Run // one that has asked about all links
	denied  []links.Verdict
	object  *buckets.Object
	first   cas.Digest // of a chunk of file
	pack    cas.PackID
	dir     fs.ReadDirFile
	open    fs.File

	mu     sync.Mutex
	expect []func(t *testing.T, s *buckets.Store) // of what was acknowledged
}

// then says what the store has from now on, since a call has succeeded.
func (c *closing) then(err error, holds func(t *testing.T, s *buckets.Store)) error {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.expect = append(c.expect, holds)
	}
	return err
}

// stored is then for the content of a file or version.
func (c *closing) stored(f *buckets.File, err error, want []byte) error {
	return c.then(err, func(t *testing.T, s *buckets.Store) {
		got, err := content(bucket(t, s, f.Bucket), f.ManifestID)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, which was acknowledged: %d bytes of %d, %v", f.Path(), len(got), len(want), err)
		}
	})
}

// commit makes a file of an upload of closingNew.
func (c *closing) commit(ctx context.Context, id string) error {
	u, err := c.up.Commit(ctx, id)
	if err != nil {
		return err
	}
	return c.stored(u.File, nil, closingNew)
}

var (
	closingOne, closingTwo = text(1, 90<<10), append(noise(2, 30<<10), text(1, 90<<10)...)
	closingNew             = noise(3, 200<<10)
	closingFields          = []schema.Field{{Collection: "posts", Name: "file", Bucket: "a", Pin: schema.PinFile, OnDelete: schema.OnDeleteKeep}}
)

type memoryKeeper struct{ links.State }

func (m *memoryKeeper) Load(context.Context) (links.State, error)    { return m.State, nil }
func (m *memoryKeeper) Save(_ context.Context, st links.State) error { m.State = st; return nil }

// newClosing stores something of each kind.
func newClosing(t *testing.T, s *buckets.Store) *closing {
	t.Helper()
	ctx := t.Context()
	c := &closing{s: s, a: bucket(t, s, "a"), b: bucket(t, s, "b")}
	store := func(name string, p []byte) *buckets.File {
		f, err := c.a.Put(ctx, name, bytes.NewReader(p), &buckets.PutOptions{Folder: "d"})
		must(t, err)
		return f
	}
	store("file", closingOne)
	c.file = store("file", closingTwo)
	c.trashed = store("trashed", closingOne)
	_, err := c.a.Delete(ctx, c.trashed.ID, nil)
	must(t, err)
	gone := store("gone", noise(9, 100<<10))
	must(t, c.a.Purge(ctx, gone.ID, nil)) // something to collect
	c.up = upload.New().In(c.a)
	for id, n := range map[*string]int{&c.sent: len(closingNew), &c.half: 1000} {
		u, err := c.up.Begin(ctx, fmt.Sprint("up-", n), &upload.Options{PutOptions: buckets.PutOptions{Size: int64(len(closingNew)), SizeKnown: true}})
		must(t, err)
		_, err = c.up.Append(ctx, u.ID, 0, bytes.NewReader(closingNew[:n]), nil)
		must(t, err)
		*id = u.ID
	}
	u, err := c.up.Begin(ctx, "listed", &upload.Options{Listed: true})
	must(t, err)
	c.listed, c.chunks = u.ID, chunksOf(t, u.Listed.Chunker, closingNew)
	_, _, err = c.up.AppendList(ctx, u.ID, 0, listing(c.chunks))
	must(t, err)
	var key *manifest.APIKey
	c.token, key, err = s.Keys().New(ctx, manifest.APIKey{Name: "k", Operator: true}, time.Hour)
	must(t, err)
	c.keyID = key.ID
	c.grant, c.signed, err = c.asOperator().Grants().Sign(ctx, access.Grant{Op: access.GrantDownload, File: c.file.ID, MaxUses: 9}, time.Hour)
	must(t, err)
	c.bearer, err = c.a.Grants().Redeem(ctx, c.signed, "")
	must(t, err)
	for i := range c.parts {
		u, err := c.up.Begin(ctx, "", &upload.Options{Partial: true, PutOptions: buckets.PutOptions{Size: 1000, SizeKnown: true}})
		must(t, err)
		_, err = c.up.Append(ctx, u.ID, 0, bytes.NewReader(closingNew[:1000]), nil)
		must(t, err)
		c.parts[i] = u.ID
	}
	c.lacking, err = c.up.Lacking(ctx, c.listed)
	must(t, err)
	c.host, err = links.Open(ctx, s, &memoryKeeper{}, &links.Options{Fields: closingFields})
	must(t, err)
	c.hold, err = c.host.Prepare(ctx, nil, c.change("1"))
	must(t, err)
	other, err := c.host.Prepare(ctx, nil, c.change("4"))
	must(t, err)
	must(t, c.host.Confirm(ctx, other.Token))
	c.run, err = c.host.BeginRun(ctx, nil)
	must(t, err)
	c.asked, err = c.host.BeginRun(ctx, nil)
	must(t, err)
	_, err = c.asked.AddRows(ctx, nil, true)
	must(t, err)
	found, _, err := c.asked.NextLinks(ctx, nil, 10)
	must(t, err)
	for _, l := range found {
		c.denied = append(c.denied, links.Verdict{ID: l.ID, Revision: l.Revision})
	}
	_, _, err = c.asked.NextLinks(ctx, c.denied, 10)
	must(t, err)
	c.object, err = c.a.Open(ctx, c.file.ID, nil)
	must(t, err)
	_, err = c.object.Read(make([]byte, 10)) // the rest is read ahead
	must(t, err)
	for ch, err := range c.a.Chunks(ctx, c.file.ID, 0, nil) {
		must(t, err)
		c.first, _ = cas.ParseDigest(ch.Digest)
	}
	must(t, s.Stored(ctx, internal.Pass{}, func(in *buckets.Stored) error {
		for p, err := range in.Chunks["local"].Packs(ctx) {
			if c.pack = p.ID; err != nil {
				return err
			}
		}
		return nil
	}))
	c.open, err = c.a.FS(ctx).Open("d/file")
	must(t, err)
	dir, err := c.a.FS(ctx).Open("d")
	must(t, err)
	c.dir = dir.(fs.ReadDirFile)
	_, err = c.dir.ReadDir(1)
	must(t, err)
	return c
}

func (c *closing) asOperator() *buckets.Bucket {
	return c.a.As(&access.Principal{ID: "op", Operator: true})
}

func (c *closing) change(record string) links.Change {
	return links.Change{Collection: "posts", Record: record, Fields: map[string][]string{"file": {c.file.ID}}}
}

func listing(chunks []upload.SentChunk) func() (cas.Ref, error) {
	return func() (cas.Ref, error) {
		if len(chunks) == 0 {
			return cas.Ref{}, io.EOF
		}
		c := chunks[0]
		chunks = chunks[1:]
		return cas.Ref{Digest: c.Digest, Length: uint32(len(c.Bytes))}, nil
	}
}

// chunksOf cuts p as an uploader does.
func chunksOf(t *testing.T, cutter string, p []byte) (out []upload.SentChunk) {
	t.Helper()
	split, err := chunker.Parse(cutter)
	must(t, err)
	for len(p) > 0 {
		n := split.Split(p[:min(len(p), split.Max())])
		out = append(out, upload.SentChunk{Digest: cas.Sum(p[:n]), Bytes: p[:n]})
		p = p[n:]
	}
	return out
}

func sendingOf(chunks []upload.SentChunk) func() (upload.SentChunk, error) {
	return func() (c upload.SentChunk, err error) {
		if len(chunks) == 0 {
			return c, io.EOF
		}
		c, chunks = chunks[0], chunks[1:]
		return c, nil
	}
}

// drain returns the first error of seq.
func drain[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

func closingOptions() *local.Options {
	o := options()
	p := o.Buckets["a"]
	p.Access.FileRules = true
	o.Buckets["a"] = p
	return o
}

// mayFail reports whether err is what a call may return that Close has ended.
func mayFail(err error) bool { return err == nil || errors.Is(err, buckets.ErrClosed) }

// awaitClosing returns when s is being closed.
func awaitClosing(s *buckets.Store) {
	for {
		if _, err := s.Bucket("a"); errors.Is(err, buckets.ErrClosed) {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}
