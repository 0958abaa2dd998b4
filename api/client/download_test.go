package client_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

func (w *world) download(dst *os.File, id string, opts *client.DownloadOptions, want []byte) *client.Fetched {
	w.t.Helper()
	got, err := w.Download(w.t.Context(), "demo", id, dst, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	if p, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(p, want) {
		w.t.Fatalf("%d bytes, %v; not the %d stored", len(p), err, len(want))
	}
	return got
}

func TestDownload(t *testing.T) {
	w := newWorld(t, nil)
	const size = 8<<20 + 17
	content := random(1, size)
	f := w.upload("f", content)
	var last client.Progress
	got := w.download(file(t, nil), f.ID, &client.DownloadOptions{Progress: func(p client.Progress) { last = p }}, content)
	if got.ReceivedBytes != size || got.ReusedBytes != 0 || got.ManifestID != f.ManifestID || last.Done != size || last.Size != size {
		t.Errorf("all: %+v, %+v", got, last)
	}
	// What lies there is kept where it is right, and mended where not.
	part := bytes.Clone(content[:size/2])
	part[1<<20] ^= 1
	if got = w.download(file(t, part), f.ID, nil, content); got.ReceivedBytes > size/2+1<<20 || got.ReusedBytes < size/2-1<<20 {
		t.Errorf("half: received %d, reused %d", got.ReceivedBytes, got.ReusedBytes)
	}
	if got = w.download(file(t, join(content, part)), f.ManifestID, nil, content); got.ReceivedBytes != 0 {
		t.Errorf("too long: received %d", got.ReceivedBytes)
	}
	old := file(t, join(content[:1000], random(2, 100), content[1000:4<<20], random(3, 1<<20), content[5<<20:]))
	if got = w.download(file(t, nil), f.ID, &client.DownloadOptions{Seeds: []client.Seed{old}}, content); got.ReceivedBytes > 2<<20 {
		t.Errorf("with a seed: received %d", got.ReceivedBytes)
	}
	w.upload("f", read(t, old))
	got = w.download(file(t, nil), f.ID, &client.DownloadOptions{GetOptions: client.GetOptions{Version: 1}}, content)
	if got.Version != 1 {
		t.Errorf("version %d", got.Version)
	}
	empty := w.upload("empty", nil)
	w.download(file(t, part), empty.ID, nil, nil)
	zeros := make([]byte, 40<<20)
	z := w.upload("zeros", zeros)
	if got = w.download(file(t, nil), z.ID, nil, zeros); got.ReceivedBytes > 1<<20 {
		t.Errorf("chunks that repeat: received %d of %d", got.ReceivedBytes, got.Size)
	}
}

func read(t *testing.T, f *os.File) []byte {
	p, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A server that breaks off, is away, or asks to wait is tried again; what
// arrived whole is not asked for again.
func TestDownloadThroughFailures(t *testing.T) {
	w := newWorld(t, nil)
	const size = 8 << 20
	content := random(1, size)
	f := w.upload("f", content)
	var n atomic.Int64
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		switch i := n.Add(1); {
		case i%5 == 2:
			rw.WriteHeader(http.StatusBadGateway)
		case i%5 == 4:
			rw.Header().Set("Retry-After", "0")
			rw.WriteHeader(http.StatusTooManyRequests)
		case strings.HasSuffix(r.URL.Path, "/download"):
			w.server.ServeHTTP(&breaker{rw, 1<<20 + rand.IntN(4<<20)}, r)
		default:
			w.server.ServeHTTP(rw, r)
		}
	})
	got := w.download(file(t, nil), f.ID, nil, content)
	if most := size + int(n.Load())*(256<<10); got.ReceivedBytes > int64(most) {
		t.Errorf("received %d for %d in %d requests", got.ReceivedBytes, size, n.Load())
	}
}

// Nothing wrong is written, and no lie is tried for ever.
func TestDownloadFromLiars(t *testing.T) {
	w := newWorld(t, nil)
	content := random(1, 3<<20)
	f := w.upload("f", content)
	liars := map[string]func(r *http.Request, p []byte, h http.Header) []byte{
		"another byte": func(r *http.Request, p []byte, h http.Header) []byte {
			if strings.HasSuffix(r.URL.Path, "/download") && len(p) > 0 {
				p[len(p)/2] ^= 1
			}
			return p
		},
		"a list cut short": func(r *http.Request, p []byte, h http.Header) []byte {
			if strings.HasSuffix(r.URL.Path, "/manifest") {
				p = p[:len(p)-36]
			}
			return p
		},
		"no ranges": func(r *http.Request, p []byte, h http.Header) []byte {
			if strings.HasSuffix(r.URL.Path, "/download") {
				h.Del("Content-Range")
			}
			return p
		},
		"another whole": func(r *http.Request, p []byte, h http.Header) []byte {
			if strings.HasSuffix(r.URL.Path, f.ID) {
				return bytes.Replace(p, []byte(f.Checksums["sha256"]), bytes.Repeat([]byte("0"), 64), 1)
			}
			return p
		},
	}
	for name, lie := range liars {
		t.Run(name, func(t *testing.T) {
			w.through(func(rw http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				w.server.ServeHTTP(rec, r)
				p := lie(r, rec.Body.Bytes(), rec.Header())
				rec.Header().Del("Content-Length")
				for k, v := range rec.Header() {
					rw.Header()[k] = v
				}
				rw.WriteHeader(rec.Code)
				rw.Write(p)
			})
			dst := file(t, nil)
			if _, err := w.Download(t.Context(), "demo", f.ID, dst, nil); err == nil {
				t.Error("no error")
			} else {
				t.Log(err)
			}
			p := read(t, dst)
			for i := range p {
				if p[i] != 0 && p[i] != content[i] {
					t.Fatalf("byte %d is wrong", i)
				}
			}
		})
	}
}

// What is done when nobody wants it any more is ended.
func TestDownloadEnds(t *testing.T) {
	w := newWorld(t, nil)
	f := w.upload("f", random(1, 3<<20))
	ctx, cancel := context.WithCancel(t.Context())
	w.through(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/download") {
			cancel()
		}
		w.server.ServeHTTP(rw, r)
	})
	if _, err := w.Download(ctx, "demo", f.ID, file(t, nil), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	w.between.Store(nil)
	if _, err := w.Download(t.Context(), "demo", "f_nothing", file(t, nil), nil); err == nil {
		t.Error("no file, no error")
	}
}
