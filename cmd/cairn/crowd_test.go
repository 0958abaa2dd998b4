package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A crowd is connections that keep a server busy with next to nothing.
type crowd struct {
	t      *testing.T
	server string // host and port
	pid    int
	file   string // path of the file that is downloaded
	stop   chan struct{}
	ends   sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// join connects from an address of this machine and talks until the crowd leaves or
// the server ends the connection.
func (c *crowd) join(from string, talk func(conn net.Conn) error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := d.Dial("tcp", c.server)
	if err != nil {
		c.t.Errorf("from %s: %v", from, err)
		return
	}
	conn.(*net.TCPConn).SetReadBuffer(4096)
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	c.ends.Go(func() {
		if talk(conn) == nil {
			io.Copy(io.Discard, conn)
		}
		conn.Close()
	})
}

// eachSecond calls fn until it fails or the crowd leaves.
func (c *crowd) eachSecond(fn func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := fn(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-c.stop:
			return net.ErrClosed
		}
	}
}

func (c *crowd) sayNothing(net.Conn) error { return nil }

func (c *crowd) sendHalfHeader(conn net.Conn) error {
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("x", 60<<10))
	return err
}

func (c *crowd) dripBody(conn net.Conn) error {
	_, err := fmt.Fprintf(conn, "POST /api/files/b?name=drip HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
	if err != nil {
		return err
	}
	return c.eachSecond(func() error { _, err := conn.Write([]byte("x")); return err })
}

func (c *crowd) readSlowly(conn net.Conn) error {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", c.file); err != nil {
		return err
	}
	return c.eachSecond(func() error { _, err := io.CopyN(io.Discard, conn, 2000); return err })
}

// leave ends all connections.
func (c *crowd) leave() {
	close(c.stop)
	c.mu.Lock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.ends.Wait()
}

// memory is what the server's process holds in memory, in MiB.
func (c *crowd) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return kib >> 10
}

// descriptors is how many files the server's process has open.
func (c *crowd) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(entries)
}

// report has another user do n small uploads and downloads, each by a new
// connection, and logs how long they took.
func (c *crowd) report(when string, n int) {
	c.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.9.9")}}
	user := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		}}}
	var up, down []time.Duration
	for i := range n {
		begun := time.Now()
		resp, err := user.Post(fmt.Sprintf("http://%s/api/files/b?name=%s-%d", c.server, strings.ReplaceAll(when, " ", "-"), i), "text/plain", strings.NewReader("hello"))
		if err != nil {
			c.t.Errorf("%s: %v", when, err)
			return
		}
		var f struct{ ID string }
		json.NewDecoder(resp.Body).Decode(&f)
		resp.Body.Close()
		up = append(up, time.Since(begun))
		begun = time.Now()
		resp2, err := user.Get(fmt.Sprintf("http://%s/api/files/b/%s/download", c.server, f.ID))
		if err != nil {
			c.t.Errorf("%s: %v", when, err)
			return
		}
		got, _ := io.ReadAll(resp2.Body)
		resp2.Body.Close()
		down = append(down, time.Since(begun))
		if resp.StatusCode != http.StatusCreated || string(got) != "hello" {
			c.t.Errorf("%s: upload %d, download %d %q", when, resp.StatusCode, resp2.StatusCode, got)
		}
	}
	slices.Sort(up)
	slices.Sort(down)
	c.t.Logf("%-28s %5d MiB %5d files open; upload %v, 99%% %v; download %v, 99%% %v", when, c.memory(), c.descriptors(),
		up[n/2].Round(10*time.Microsecond), up[n*99/100].Round(10*time.Microsecond), down[n/2].Round(10*time.Microsecond), down[n*99/100].Round(10*time.Microsecond))
}

// TestCrowd has a crowd connect that sends nothing, half a header or a byte a
// second, and one that reads files at 2 KB a second. Others are served meanwhile,
// the bounds hold, and all that the crowd has taken is given back. With CAIRN_SOAK
// these are 2,000 and 1,000 connections, and memory and latencies are worth a look.
func TestCrowd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc, and addresses of 127.0.0.0/8")
	}
	idle, readers, bound, n := 120, 20, 90, 5
	if os.Getenv("CAIRN_SOAK") != "" {
		idle, readers, bound, n = 2000, 1000, 4096, 200
	}
	perAddress := max(idle/8, 10)
	r := startWith(t, buildCairn(t), declared(t, goodConfig+fmt.Sprintf("server: {max_connections: %d, max_connections_per_address: %d, rate_limit: 0}\n", bound, perAddress),
		`buckets: {b: {backend: local, rules: {create: "true", read: "true", download: "true", update: "true"}}}`)...)
	defer r.kill()
	c := &crowd{t: t, server: strings.TrimPrefix(r.url, "http://"), pid: r.cmd.Process.Pid, stop: make(chan struct{})}
	content := make([]byte, 32<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	resp, err := http.Post(r.url+"/api/files/b?name=big", "application/octet-stream", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	c.file = resp.Header.Get("Location") + "/download"
	resp.Body.Close()
	before := c.descriptors()
	c.report("before", n)
	// Of each kind, from addresses of its own.
	for i := range idle {
		c.join(fmt.Sprintf("127.0.1.%d", 1+i%13), []func(net.Conn) error{c.sayNothing, c.sendHalfHeader, c.dripBody}[i%3])
	}
	c.report("with the silent", n)
	for i := range readers {
		c.join(fmt.Sprintf("127.0.2.%d", 1+i%10), c.readSlowly)
	}
	c.report("with slow readers too", n)
	if got := c.descriptors(); got > bound+before+50 {
		t.Errorf("%d files are open with %d connections at most, and %d before", got, bound, before)
	}
	if os.Getenv("CAIRN_SOAK") != "" {
		time.Sleep(75 * time.Second) // the silent are gone by now, the readers are not
		if got := c.descriptors(); got < before+readers*9/10 {
			t.Errorf("%d files are open: %d slow readers were cut off", got, readers)
		}
		c.report("after 75 seconds", n)
	}
	c.leave()
	for until := time.Now().Add(time.Minute); c.descriptors() > before+5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d files are open, %d were before", c.descriptors(), before)
		}
	}
	c.report("when they have left", n)
}
