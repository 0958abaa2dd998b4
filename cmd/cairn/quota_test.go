package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKillQuota races 64 uploads for a quota that fits 10, and kills the
// server in the middle, over and over until the quota is used up. Never is
// more stored than fits, and what is counted is what is there.
func TestKillQuota(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	const size, fit, racing = 200_000, 10, 64
	bin, dir := buildCairn(t), t.TempDir()
	schema := write(t, filepath.Join(t.TempDir(), "schema.yaml"), fmt.Sprintf("buckets: {demo: {max_total_size: %d}}\n", size*fit+size/2))
	usage := func(url string) (files, total int64) {
		t.Helper()
		var u struct{ Files, Bytes int64 }
		getJSON(t, url+"/api/files/demo/_usage", &u)
		var list struct{ Files []struct{ Size int64 } }
		getJSON(t, url+"/api/files/demo?limit=1000", &list)
		var sum int64
		for _, f := range list.Files {
			sum += f.Size
		}
		if int(u.Files) != len(list.Files) || u.Bytes != sum || sum > size*fit {
			t.Fatalf("usage %+v, listed %d files of %d bytes", u, len(list.Files), sum)
		}
		return u.Files, u.Bytes
	}
	var acked atomic.Int64
	race := func(url string, killAfter time.Duration, kill func()) (refused int64) {
		var all sync.WaitGroup
		var no atomic.Int64
		for range racing {
			all.Go(func() {
				p := make([]byte, size)
				for i := range p {
					p[i] = byte(rand.Uint32())
				}
				resp, err := http.Post(url+"/api/files/demo?name=f", "application/octet-stream", bytes.NewReader(p))
				if err != nil {
					return // killed
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				switch {
				case resp.StatusCode == http.StatusCreated:
					acked.Add(1)
				case resp.StatusCode == http.StatusForbidden && bytes.Contains(body, []byte("quota-exceeded")):
					no.Add(1)
				default:
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			})
		}
		if kill != nil {
			time.Sleep(killAfter)
			kill()
		}
		all.Wait()
		return no.Load()
	}
	for range soak(4) {
		srv := start(t, bin, dir, "--schema", schema)
		usage(srv.url)
		race(srv.url, time.Duration(rand.IntN(150))*time.Millisecond, srv.kill)
		if out, err := exec.Command(bin, "check", "--data", dir, "--schema", schema, "--json").CombinedOutput(); err != nil {
			t.Fatalf("check: %v\n%s", err, out)
		}
	}
	srv := start(t, bin, dir, "--schema", schema)
	defer srv.kill()
	before, _ := usage(srv.url)
	promised := acked.Load()
	refused := race(srv.url, 0, nil)
	after, total := usage(srv.url)
	if after != fit || total != size*fit || refused != racing-(fit-before) || promised > before {
		t.Errorf("%d files of %d bytes after %d (%d acknowledged); %d refused", after, total, before, promised, refused)
	}
}

func getJSON(t *testing.T, url string, out any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
	}
}
