package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

func version() *client.PutOptions {
	return &client.PutOptions{UploadOptions: client.UploadOptions{OnConflict: "version", SkipUnchanged: true}}
}

// put stores content and checks that it is what reads back.
func (w *world) put(r io.Reader, opts *client.PutOptions, want []byte) *client.Stored {
	w.t.Helper()
	got, err := w.Put(w.t.Context(), "demo", "f", r, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.between.Store(nil)
	body, _, err := w.Open(w.t.Context(), "demo", got.ID, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer body.Close()
	if p, err := io.ReadAll(body); err != nil || !bytes.Equal(p, want) {
		w.t.Fatalf("%d bytes, %v; not the %d put", len(p), err, len(want))
	}
	return got
}

func TestPut(t *testing.T) {
	w := newWorld(t, nil)
	const size = 6<<20 + 17
	content := random(1, size)
	for _, n := range []int{0, 1, 1<<20 - 1} {
		if got := w.put(bytes.NewReader(content[:n]), version(), content[:n]); got.SentBytes != int64(n) {
			t.Errorf("%d bytes: sent %d", n, got.SentBytes)
		}
	}
	var last client.Progress
	opts := version()
	opts.Progress = func(p client.Progress) { last = p }
	opts.Size, opts.SizeKnown = size, true
	first := w.put(bytes.NewReader(content), opts, content)
	if first.SentBytes > size || first.SentBytes < size-2<<20 || first.Checksums["sha256"] == "" || last.Done != size || last.Size != size {
		t.Errorf("new: %d sent, %+v", first.SentBytes, last)
	}
	if got := w.put(bytes.NewReader(content), version(), content); !got.Unchanged || got.SentBytes != 0 || got.Version != first.Version {
		t.Errorf("again: %+v", got)
	}
	changed := join(content[:1000], random(2, 100), content[1000:3<<20], random(3, 1<<20), content[4<<20:])
	// Not only what can be read twice: a pipe too.
	if got := w.put(io.MultiReader(bytes.NewReader(changed)), version(), changed); got.SentBytes > 2<<20 || got.ID != first.ID || got.Version != first.Version+1 {
		t.Errorf("changed: sent %d, version %d", got.SentBytes, got.Version)
	}
	text := bytes.Repeat([]byte("all work and no play "), 1<<17)
	opts = &client.PutOptions{FileID: first.ID, UploadOptions: client.UploadOptions{Metadata: map[string]any{"k": "v"}, Tags: []string{"t"}, Digests: []string{}}}
	if got := w.put(bytes.NewReader(text), opts, text); got.ID != first.ID || got.Metadata["k"] != "v" || len(got.Checksums) != 1 {
		t.Errorf("a version: %+v", got.File)
	}
	zeros := make([]byte, 18<<20)
	if got := w.put(bytes.NewReader(zeros), version(), zeros); got.SentBytes > 1<<20 {
		t.Errorf("chunks that repeat: sent %d", got.SentBytes)
	}
}

// What has arrived of a put that was given up is not sent again.
func TestPutAgain(t *testing.T) {
	w := newWorld(t, nil)
	const size = 18 << 20
	content := random(1, size)
	ctx, cancel := context.WithCancel(t.Context())
	var batches atomic.Int64
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		w.server.ServeHTTP(rw, r)
		if strings.HasSuffix(r.URL.Path, "/chunks") && batches.Add(1) == 3 {
			cancel()
		}
	})
	if _, err := w.Put(ctx, "demo", "f", bytes.NewReader(content), version()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.between.Store(nil)
	if got := w.put(bytes.NewReader(content), version(), content); got.SentBytes > size-8<<20 {
		t.Errorf("sent %d of %d", got.SentBytes, size)
	}
}

// A server that breaks off, whose answers are lost, that is away or asks to
// wait is tried again.
func TestPutThroughFailures(t *testing.T) {
	w := newWorld(t, nil)
	const size = 18 << 20
	content := random(1, size)
	var n atomic.Int64
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		switch i := n.Add(1); {
		case i%7 == 2:
			rw.WriteHeader(http.StatusServiceUnavailable)
		case i%7 == 4: // done, but nobody learns of it
			w.server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case i%7 == 5:
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(r.Body, rand.Int64N(3<<20)), r.Body}
			w.server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			w.server.ServeHTTP(rw, r)
		}
	})
	got := w.put(bytes.NewReader(content), version(), content)
	if got.Version != 1 {
		t.Errorf("version %d", got.Version)
	}
	if got.SentBytes > size+n.Load()*(3<<20) {
		t.Errorf("%d bytes sent of %d in %d requests", got.SentBytes, size, n.Load())
	}
	t.Logf("%d bytes sent of %d in %d requests", got.SentBytes, size, n.Load())
	// Small ones too, and never twice.
	n.Store(2)
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 3 {
			w.server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		w.server.ServeHTTP(rw, r)
	})
	if got, err := w.Put(t.Context(), "demo", "small", strings.NewReader("x"), nil); err != nil || got.Name != "small" || got.SentBytes != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Where the server forgets what it had, a file that can be read again is.
func TestPutOfWhatIsLost(t *testing.T) {
	const size = 10 << 20
	content := random(1, size)
	forget := func(w *world) {
		var n atomic.Int64
		w.through(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/chunks") && n.Add(1) == 3 {
				r, err := http.NewRequest("DELETE", strings.TrimSuffix(r.URL.Path, "/chunks"), nil)
				if err != nil {
					t.Error(err)
				}
				r.Host = "localhost"
				w.server.ServeHTTP(httptest.NewRecorder(), r)
			}
			w.server.ServeHTTP(rw, r)
		})
	}
	w := newWorld(t, nil)
	forget(w)
	w.put(bytes.NewReader(content), version(), content)
	w = newWorld(t, nil)
	forget(w)
	var e *client.Error
	if _, err := w.Put(t.Context(), "demo", "f", io.MultiReader(bytes.NewReader(content)), nil); !errors.As(err, &e) || e.Code != "upload-not-found" {
		t.Errorf("from a pipe: %v", err)
	}
	// Nothing is believed to be there that is not.
	w = newWorld(t, nil)
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/list") {
			w.server.ServeHTTP(rw, r)
			return
		}
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		rw.Write(make([]byte, rec.Body.Len()))
	})
	if got := w.put(bytes.NewReader(content), version(), content); got.SentBytes < size-2<<20 {
		t.Errorf("sent %d", got.SentBytes)
	}
	// What a server refuses is refused at once.
	w.between.Store(nil)
	if _, err := w.Put(t.Context(), "nope", "f", bytes.NewReader(content), nil); !errors.As(err, &e) || e.Code != "bucket-not-found" {
		t.Errorf("no bucket: %v", err)
	}
	if _, err := w.Put(t.Context(), "demo", "a/b", bytes.NewReader(content), nil); err == nil {
		t.Error("a bad name was taken")
	}
}
