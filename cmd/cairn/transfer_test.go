package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

// A wire stands between clients and a server that may change, and counts what
// travels.
type wire struct {
	ln       net.Listener
	url      string
	to       atomic.Pointer[string] // address of the server
	up, down atomic.Int64           // bytes
}

func newWire(t *testing.T, srv *running) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, url: "http://" + ln.Addr().String()}
	w.lead(srv)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.pass(c)
		}
	}()
	return w
}

func (w *wire) lead(srv *running) {
	addr := srv.url[len("http://"):]
	w.to.Store(&addr)
}

func (w *wire) pass(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", *w.to.Load())
	if err != nil {
		return
	}
	defer s.Close()
	done := make(chan struct{}, 2)
	move := func(dst, src net.Conn, n *atomic.Int64) {
		io.Copy(dst, tally{src, n}) // whoever breaks off is noticed by both ends
		done <- struct{}{}
	}
	go move(s, c, &w.up)
	go move(c, s, &w.down)
	<-done
}

// A tally adds what is read up. It hides what io.Copy would rather use.
type tally struct {
	r io.Reader
	n *atomic.Int64
}

func (t tally) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n.Add(int64(n))
	return n, err
}

// inFlight is what may be on its way when a process is killed: a batch or a
// range on each of four connections, and what their sockets hold.
const inFlight = 32 << 20

// A victim is a client that is started again when it was killed.
type victim struct {
	t    *testing.T
	cmd  *exec.Cmd
	bin  string
	args []string
	out  bytes.Buffer
	done chan error
}

func (v *victim) start() {
	v.t.Helper()
	v.cmd, v.done = exec.Command(v.bin, v.args...), make(chan error, 1)
	v.out.Reset()
	v.cmd.Stdout, v.cmd.Stderr = &v.out, os.Stderr
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	cmd, done := v.cmd, v.done
	go func() { done <- cmd.Wait() }()
}

func (v *victim) kill() {
	v.cmd.Process.Kill()
	<-v.done
}

// killAll runs a client to its end through kills of it, of the server and of
// both, whenever as many bytes as at says have travelled.
func killAll(t *testing.T, bin, dir string, srv **running, w *wire, moved *atomic.Int64, at []int64, args ...string) []byte {
	t.Helper()
	v := &victim{t: t, bin: bin, args: args}
	v.start()
	for n, due := range at {
		for moved.Load() < due {
			select {
			case err := <-v.done:
				t.Fatalf("ended before kill %d: %v", n, err)
			case <-time.After(2 * time.Millisecond):
			}
		}
		if n%3 != 1 {
			v.kill()
		}
		if n%3 != 0 {
			(*srv).kill()
			*srv = start(t, bin, dir)
			w.lead(*srv)
		}
		if n%3 != 1 {
			v.start()
		}
	}
	if err := <-v.done; err != nil {
		t.Fatal(err)
	}
	return v.out.Bytes()
}

// TestKillTransfers puts a file and gets it back while clients, servers and
// both are killed. Little travels twice, and what arrives is right.
func TestKillTransfers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	size, kills := int64(64<<20), 3
	if soak(1) > 1 {
		size, kills = 1<<30, 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	moments := func() (at []int64) {
		for range kills {
			at = append(at, size/20+r.Int64N(size*8/10))
		}
		slices.Sort(at)
		return at
	}
	bin, dir, tmp := buildCairn(t), t.TempDir(), t.TempDir()
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{9}).Read(content)
	in, out := filepath.Join(tmp, "in"), filepath.Join(tmp, "out")
	if err := os.WriteFile(in, content, 0o666); err != nil {
		t.Fatal(err)
	}
	srv := start(t, bin, dir)
	defer func() { srv.kill() }()
	w := newWire(t, srv)
	most := size + size/100 + int64(kills)*inFlight
	put := killAll(t, bin, dir, &srv, w, &w.up, moments(), "put", "--json", "--server", w.url, "--name", "f", in)
	var f struct {
		ID        string
		SentBytes *int64 `json:"sent_bytes"`
	}
	if err := json.Unmarshal(put, &f); err != nil || f.SentBytes == nil {
		t.Fatalf("%v: %s", err, put)
	}
	t.Logf("up: %d bytes travelled for %d through %d kills, %d of them for the last client", w.up.Load(), size, kills, *f.SentBytes)
	if w.up.Load() > most {
		t.Errorf("%d bytes travelled, at most %d should", w.up.Load(), most)
	}
	w.down.Store(0)
	get := killAll(t, bin, dir, &srv, w, &w.down, moments(), "get", "--json", "--server", w.url, "demo/"+f.ID, "-o", out)
	t.Logf("down: %d bytes travelled for %d through %d kills: %s", w.down.Load(), size, kills, get)
	if w.down.Load() > most {
		t.Errorf("%d bytes travelled, at most %d should", w.down.Load(), most)
	}
	if p, err := os.ReadFile(out); err != nil || !bytes.Equal(p, content) {
		t.Errorf("%d bytes read back, %v; not the %d put", len(p), err, size)
	}
	if names, err := filepath.Glob(filepath.Join(tmp, ".cairn-*")); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

// TestSmallChange sends a new version of a large file up, and fetches it to
// where the old one is.
func TestSmallChange(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts a server")
	}
	size := 48 << 20
	if soak(1) > 1 {
		size = 256 << 20
	}
	bin, tmp := buildCairn(t), t.TempDir()
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{8}).Read(content)
	changed := append(append(bytes.Clone(content[:5000]), bytes.Repeat([]byte("+"), 100)...), content[5000:]...)
	rand.NewChaCha8([32]byte{7}).Read(changed[size/2 : size/2+1<<20])
	in, old, out := filepath.Join(tmp, "f"), filepath.Join(tmp, "old"), filepath.Join(tmp, "out")
	for name, p := range map[string][]byte{in: content, old: content} {
		if err := os.WriteFile(name, p, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	srv := start(t, bin, t.TempDir())
	defer srv.kill()
	w := newWire(t, srv)
	cairn := func(args ...string) (got struct {
		Sent     int64 `json:"sent_bytes"`
		Received int64 `json:"received_bytes"`
		Version  int
	}) {
		t.Helper()
		p, err := exec.Command(bin, append(args, "--json", "--server", w.url)...).Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, p)
		}
		if err := json.Unmarshal(p, &got); err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		return got
	}
	cairn("put", in)
	if err := os.WriteFile(in, changed, 0o666); err != nil {
		t.Fatal(err)
	}
	list := int64(size) / (16 << 10) * 36
	w.up.Store(0)
	got := cairn("put", in)
	t.Logf("up: %d bytes of the file, %d in all", got.Sent, w.up.Load())
	if got.Version != 2 || got.Sent > 2<<20 || w.up.Load() > 2<<20+list {
		t.Errorf("version %d: %d bytes sent, %d travelled", got.Version, got.Sent, w.up.Load())
	}
	w.down.Store(0)
	got = cairn("get", "demo/f", "--seed", old, "-o", out)
	t.Logf("down: %d bytes of the file, %d in all", got.Received, w.down.Load())
	if got.Received > 2<<20 || w.down.Load() > 2<<20+list {
		t.Errorf("%d bytes received, %d travelled", got.Received, w.down.Load())
	}
	if p, err := os.ReadFile(out); err != nil || !bytes.Equal(p, changed) {
		t.Errorf("%d bytes read back, %v; not the %d put", len(p), err, len(changed))
	}
}
