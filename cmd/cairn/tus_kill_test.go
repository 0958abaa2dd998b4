package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

// A counter counts what is read of it.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// tus sends a tus request; offset is sent unless it is negative.
func tus(method, url string, offset int64, body io.Reader, header ...string) (*http.Response, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if offset >= 0 {
		r.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
		r.Header.Set("Content-Type", "application/offset+octet-stream")
	}
	resp, err := http.DefaultClient.Do(r)
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

// TestKillTus sends a file by tus and kills the server again and again. An
// offset that was told never moves back, and little travels twice.
func TestKillTus(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	size, kills := 96<<20, 5
	if soak(1) > 1 {
		size, kills = 1<<30, 10
	}
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{7}).Read(content)
	bin, dir := buildCairn(t), t.TempDir()
	srv := start(t, bin, dir)
	resp, err := tus("POST", srv.url+"/api/tus/demo", -1, nil, "Upload-Length", strconv.Itoa(size))
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatal(resp, err)
	}
	path := resp.Header.Get("Location")[len(srv.url):]
	var told, sent int64
	var due *time.Timer // of the kill to come
	for round := 0; ; round++ {
		resp, err := tus("HEAD", srv.url+path, -1, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		offset, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
		if err != nil || offset < told {
			t.Fatalf("the upload stands at %d (%v), it was at %d", offset, err, told)
		}
		told = offset
		body := &counter{Reader: bytes.NewReader(content[offset:])}
		if due = nil; round < kills {
			after := time.Duration(20+rand.IntN(250)) * time.Millisecond
			process := srv.cmd.Process
			due = time.AfterFunc(after, func() { process.Kill() })
		}
		resp, err = tus("PATCH", srv.url+path, offset, body)
		sent += body.n
		if err == nil && resp.StatusCode == http.StatusNoContent && resp.Header.Get("X-File-Id") != "" {
			t.Logf("%d bytes sent of %d, in %d rounds", sent, size, round+1)
			if most := int64(size) + int64(size)/100 + int64(round)*(2*partBytes); sent > most {
				t.Errorf("%d bytes travelled for %d, at most %d should", sent, size, most)
			}
			if due != nil && !due.Stop() { // it was killed just after its answer
				srv.kill()
				srv = start(t, bin, dir)
			}
			defer srv.kill()
			if got, want := download(t, srv.url, resp.Header.Get("X-File-Id")), sum(content); got != want {
				t.Errorf("reads back as %s, want %s", got, want)
			}
			return
		}
		if round >= kills {
			t.Fatal(resp, err)
		}
		srv.kill()
		srv = start(t, bin, dir)
	}
}

// partBytes are what may have arrived and not be durable yet.
const partBytes = 16 << 20

func sum(p []byte) string { return fmt.Sprintf("%x", sha256.Sum256(p)) }
