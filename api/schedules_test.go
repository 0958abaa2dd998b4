package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A schedule sends content by a protocol in whatever way its seed says: cut
// anywhere, with pieces sent twice, too early or too late, over connections
// that break.
type schedule struct {
	*world
	rand    *rand.Rand
	content []byte
	url     string // path of the upload
	headers func(offset, to int) []string
}

// do sends a piece and perhaps breaks off; the answer's offset is the server's
// word, -1 without one.
func (s *schedule) piece(offset, to int) (at int, id string) {
	s.t.Helper()
	if s.rand.IntN(4) == 0 {
		s.breakOff(offset, to)
		return -1, ""
	}
	a := s.world.do("PATCH", s.url, bytes.NewReader(s.content[offset:to]), s.headers(offset, to)...)
	if a.StatusCode >= 500 {
		s.t.Fatalf("a piece from %d to %d: %d %s", offset, to, a.StatusCode, a.body)
	}
	at, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
	if err != nil {
		at = -1
	}
	return at, a.Header.Get("X-File-Id")
}

// breakOff sends some of a piece and ends the connection.
func (s *schedule) breakOff(offset, to int) {
	s.t.Helper()
	host := s.world.url[len("http://"):]
	conn, err := net.Dial("tcp", host)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", s.url, host, to-offset)
	for h := s.headers(offset, to); len(h) > 0; h = h[2:] {
		fmt.Fprintf(conn, "%s: %s\r\n", h[0], h[1])
	}
	fmt.Fprintf(conn, "\r\n%s", s.content[offset:offset+s.rand.IntN(to-offset+1)])
}

// run sends the content and returns the ID of its file.
func (s *schedule) run() string {
	s.t.Helper()
	told := 0
	for range 10_000 {
		a := s.world.do("HEAD", s.url, nil, s.headers(0, 0)...)
		at, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
		if err != nil || at < told {
			s.t.Fatalf("HEAD: %d %v, it stood at %d", a.StatusCode, a.Header, told)
		}
		if id := a.Header.Get("X-File-Id"); id != "" {
			return id
		}
		told = at
		from := at
		if s.rand.IntN(4) == 0 { // something sent before, or not yet due
			from = s.rand.IntN(len(s.content) + 1)
		}
		to := from + s.rand.IntN(len(s.content)-from+1)
		if s.rand.IntN(3) == 0 {
			to = len(s.content)
		}
		if now, id := s.piece(from, to); id != "" {
			return id
		} else if now >= 0 && now < told {
			s.t.Fatalf("it stands at %d, it stood at %d", now, told)
		}
	}
	s.t.Fatal("the upload does not end")
	return ""
}

func (s *schedule) byTus() string {
	u := &tusUpload{world: s.world}
	length := []string{"Upload-Length", strconv.Itoa(len(s.content))}
	late := s.rand.IntN(2) == 0
	if late {
		length = []string{"Upload-Defer-Length", "1"}
	}
	u.create(201, length...)
	s.url = u.url
	s.headers = func(offset, to int) []string {
		h := []string{"Tus-Resumable", "1.0.0", "Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream"}
		if late && to == len(s.content) {
			h = append(h, "Upload-Length", strconv.Itoa(to))
		}
		return h
	}
	return s.run()
}

func (s *schedule) byRUFH() string {
	u := &resumable{world: s.world}
	var h []string
	if s.rand.IntN(2) == 0 {
		h = []string{"Upload-Length", strconv.Itoa(len(s.content))}
	}
	u.create(201, "POST", "/api/files/demo", nil, append(h, "Upload-Complete", "?0", "Repr-Digest", hash(string(s.content)))...)
	s.url = u.url
	s.headers = func(offset, to int) []string {
		complete := "?0"
		if to == len(s.content) {
			complete = "?1"
		}
		return []string{"Upload-Offset", strconv.Itoa(offset), "Upload-Complete", complete, "Content-Type", partial}
	}
	return s.run()
}

// byParts joins uploads that arrive side by side, in any order.
func (s *schedule) byParts() string {
	var urls []string
	for left := s.content; len(left) > 0; {
		n := 1 + s.rand.IntN(len(left))
		part := &schedule{world: s.world, rand: s.rand, content: left[:n]}
		u := &tusUpload{world: s.world}
		u.create(201, "Upload-Length", strconv.Itoa(n), "Upload-Concat", "partial")
		urls, left = append(urls, u.url), left[n:]
		part.url = u.url
		part.headers = func(offset, _ int) []string {
			return []string{"Tus-Resumable", "1.0.0", "Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream"}
		}
		for at := 0; at < n; {
			now, _ := part.piece(at, at+1+s.rand.IntN(n-at))
			if now < 0 {
				now, _ = strconv.Atoi(s.world.do("HEAD", part.url, nil, "Tus-Resumable", "1.0.0").Header.Get("Upload-Offset"))
			}
			at = now
		}
	}
	u := &tusUpload{world: s.world}
	return u.create(201, "Upload-Concat", "final;"+strings.Join(urls, " ")).Header.Get("X-File-Id")
}

// byList sends a list, and the chunks that are missing.
func (s *schedule) byList() string {
	s.t.Helper()
	f, err := s.c.Put(s.t.Context(), "demo", fmt.Sprint("listed", s.rand.Uint64()), bytes.NewReader(s.content), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return f.ID
}

// The same bytes, however they come, are the same file in the same chunks.
func TestSchedules(t *testing.T) {
	race.LeaveOut(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	for _, n := range []int{1, 70_000, 2_500_000} {
		w := newWorld(t)
		content := noise(n)
		want := w.put("simple", content)
		list := w.want(200, "", "GET", "/api/files/demo/"+want.ID+"/manifest", nil).body
		for i, send := range []func(*schedule) string{(*schedule).byTus, (*schedule).byRUFH, (*schedule).byList, (*schedule).byParts} {
			way := []string{"tus", "RUFH", "list", "parts"}[i]
			// Parts end where no file does.
			if d, err := w.store.Dedup(t.Context()); err != nil || way == "parts" && d.UniqueBytes != int64(n) {
				t.Errorf("%d bytes are stored as %d, %v", n, d.UniqueBytes, err)
			}
			for range 3 {
				s := &schedule{world: w, rand: rand.New(rand.NewPCG(r.Uint64(), 5)), content: content}
				id := send(s)
				var f client.File
				json.Unmarshal(w.want(200, "", "GET", "/api/files/demo/"+id, nil).body, &f)
				if f.Checksums["root"] != want.Checksums["root"] || f.Checksums["sha256"] != want.Checksums["sha256"] {
					t.Errorf("%d bytes by %s: %v, want %v", n, way, f.Checksums, want.Checksums)
				}
				if got := w.want(200, "", "GET", "/api/files/demo/"+id+"/manifest", nil).body; !bytes.Equal(got, list) {
					t.Errorf("%d bytes by %s are in other chunks", n, way)
				}
			}
		}
	}
}

// Uploads side by side, some given up: nothing is left of them.
func TestManyUploads(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var w *world
	t.Cleanup(func() { w.nothingUnderWay() }) // when the store is closed
	w = newWorld(t)
	content := noise(150_000)
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	var mu sync.Mutex
	files := 0
	for i := range 200 {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			s := &schedule{world: w, rand: r, content: content[:50_000+r.IntN(100_000)]}
			aborted := r.IntN(3) == 0
			if !aborted {
				if r.IntN(2) == 0 {
					s.byTus()
				} else {
					s.byRUFH()
				}
			} else if u := (&resumable{world: w}); true {
				u.create(201, "POST", "/api/files/demo", bytes.NewReader(content[:r.IntN(50_000)]), "Upload-Complete", "?0")
				s.url, s.headers = u.url, func(offset, _ int) []string {
					return []string{"Upload-Offset", strconv.Itoa(offset), "Upload-Complete", "?0", "Content-Type", partial}
				}
				s.breakOff(0, len(s.content))
				w.want(204, "", "DELETE", u.url, nil)
				w.want(404, "upload-not-found", "GET", u.url, nil)
			}
			mu.Lock()
			defer mu.Unlock()
			if !aborted {
				files++
			}
		})
	}
	all.Wait()
	if u, err := w.c.Usage(t.Context(), "demo"); err != nil || u.Files != int64(files) {
		t.Errorf("%+v, %v; want %d files", u, err, files)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for range 200 { // connections end by themselves
		if runtime.NumGoroutine() <= before+5 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d were before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

// nothingUnderWay fails if the closed store keeps anything that only an upload
// under way needs.
func (w *world) nothingUnderWay() {
	db, err := pebblestore.Open(filepath.Join(w.dir, "meta"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	n, err := db.Count(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for letter, what := range map[byte]string{'P': "parts", 'R': "rests", 'H': "holdings", 'J': "joins"} {
		if n[letter] > 0 {
			w.t.Errorf("%d %s are left", n[letter], what)
		}
	}
}
