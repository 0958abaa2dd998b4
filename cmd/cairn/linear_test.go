package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/linear"
)

// A served bucket is a linear.Store behind HTTP.
type served struct{ *client.Client }

// connect connects to a server. A connection is used once: net/http sends a
// request again whose connection breaks, and its first answer may be lost.
func connect(t *testing.T, url string) served {
	t.Helper()
	c, err := client.New(url, &client.Options{HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return served{c}
}

// asOutcome sorts out the answers that say that nothing was done.
func asOutcome(err error) error {
	var e *client.Error
	if errors.As(err, &e) && (e.Code == "precondition-failed" || e.Code == "not-trashed") {
		return linear.ErrRefused
	}
	return err
}

func asVersion(f *client.File, err error) (linear.Version, error) {
	if err != nil {
		return linear.Version{}, asOutcome(err)
	}
	return linear.Version{ID: f.ID, Path: f.Path, N: f.Version, Root: f.Checksums["root"]}, nil
}

func (s served) Put(ctx context.Context, path, content, match string) (linear.Version, error) {
	folder, name := linear.SplitPath(path)
	return asVersion(s.Upload(ctx, "demo", name, strings.NewReader(content),
		&client.UploadOptions{Folder: folder, IfMatch: match, OnConflict: "version"}))
}

// read adds the content. A version that is gone by now was there.
func (s served) read(ctx context.Context, f *client.File, err error) (linear.Version, error) {
	v, err := asVersion(f, err)
	if err != nil {
		return v, err
	}
	r, _, err := s.Open(ctx, "demo", f.ManifestID, nil)
	if err != nil {
		return v, fmt.Errorf("open: %v", err)
	}
	defer r.Close()
	p, err := io.ReadAll(r)
	if err != nil {
		return v, fmt.Errorf("read: %v", err)
	}
	v.Content = string(p)
	return v, nil
}

func (s served) Get(ctx context.Context, path string) (linear.Version, error) {
	f, err := s.StatPath(ctx, "demo", path, nil)
	return s.read(ctx, f, err)
}

func (s served) Version(ctx context.Context, id string, n uint64) (linear.Version, error) {
	f, err := s.Stat(ctx, "demo", id, &client.GetOptions{Version: n})
	return s.read(ctx, f, err)
}

func (s served) List(ctx context.Context, folder string) (out []linear.Version, err error) {
	for f, err := range s.Client.List(ctx, "demo", &client.ListOptions{Folder: &folder}) {
		if err != nil {
			return nil, err
		}
		v, _ := asVersion(f, nil)
		out = append(out, v)
	}
	return out, nil
}

func (s served) Copy(ctx context.Context, id string, n uint64, path string) (linear.Version, error) {
	folder, name := linear.SplitPath(path)
	return asVersion(s.Client.Copy(ctx, "demo", id, &client.CopyOptions{Version: n, Folder: &folder, Name: name, OnConflict: "version"}))
}

func (s served) Restore(ctx context.Context, id string, n uint64) (linear.Version, error) {
	return asVersion(s.RestoreVersion(ctx, "demo", id, n))
}

func (s served) Delete(ctx context.Context, id string) error {
	return asOutcome(s.Client.Delete(ctx, "demo", id))
}

func (s served) Undelete(ctx context.Context, id string) (linear.Version, error) {
	return asVersion(s.Client.Undelete(ctx, "demo", id))
}

func (s served) Purge(ctx context.Context, id string) error {
	return asOutcome(s.Client.Purge(ctx, "demo", id))
}

// TestLinearKilled kills a server while clients work, and starts it again: the
// answers of all its lives are those of one order of the calls. Of a call that
// the kill has cut off nobody knows whether it was made.
func TestLinearKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	bin, dir := buildCairn(t), t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	h, kills := linear.NewHistory(), soak(4)
	for i := range kills {
		folder := fmt.Sprintf("round-%d", i)
		srv := start(t, bin, dir)
		ctx, cancel := context.WithCancel(t.Context())
		ended, seed := make(chan struct{}), rng.Uint64()
		go func() {
			defer close(ended)
			linear.Run(ctx, h, connect(t, srv.url), seed, 5, 1000, folder)
		}()
		time.Sleep(time.Duration(100+rng.IntN(400)) * time.Millisecond)
		srv.kill()
		cancel()
		<-ended
		// What is left there is looked at by the next life.
		srv = start(t, bin, dir)
		linear.Run(t.Context(), h, connect(t, srv.url), rng.Uint64(), 3, 8, folder)
		srv.kill()
	}
	if err := linear.Check(h, 10*time.Minute); err != nil {
		t.Error(err)
	}
	n, lost := h.Calls()
	t.Logf("%d kills, %d calls, %d without an answer", kills, n, lost)
}
