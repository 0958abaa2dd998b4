package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/auth"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A pipeNet is a listener whose connections are pipes: nothing is buffered, and
// in a bubble of synctest time passes at once.
type pipeNet struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (p *pipeNet) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeNet) Close() error   { p.close.Do(func() { close(p.closed) }); return nil }
func (p *pipeNet) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects from an address.
func (p *pipeNet) dial(address string) net.Conn {
	here, there := net.Pipe()
	p.conns <- &pipeConn{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
	return here
}

type pipeConn struct {
	net.Conn
	from net.Addr
}

func (c *pipeConn) RemoteAddr() net.Addr { return c.from }

// serveInBubble runs test in a bubble, against a server that answers GET with a
// file of 1 MiB and POST with the size of the body.
func serveInBubble(t *testing.T, cfg *schema.Config, test func(t *testing.T, n *pipeNet, log *safeBuffer)) {
	synctest.Test(t, func(t *testing.T) {
		who, err := auth.New(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		log := &safeBuffer{}
		s := api.New(nil, &api.Options{Auth: who, Server: cfg.Server, Log: logTo(log)})
		s.Answer(func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPost {
				n, err := api.ReadBody(r)
				if err == nil {
					fmt.Fprintln(w, n)
				}
				return err
			}
			w.Header().Set("Content-Length", strconv.Itoa(1<<20))
			w.Write(make([]byte, 1<<20)) // a client that is gone needs no answer
			return nil
		})
		n := &pipeNet{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		var served sync.WaitGroup
		served.Go(func() { s.Serve(ctx, n) })
		test(t, n, log)
		stop()
		served.Wait()
	})
}

// trickle copies size bytes each second until the connection ends.
func trickle(dst io.Writer, src io.Reader, size int64) (n int64) {
	for {
		k, err := io.CopyN(dst, src, size)
		if n += k; err != nil {
			return n
		}
		time.Sleep(time.Second)
	}
}

// Who makes progress is never cut, however long it takes; who makes none, or next
// to none, ends in a bounded time. Answers that break off are logged as such.
func TestSlowClients(t *testing.T) {
	const get, post = "GET /f HTTP/1.1\r\nHost: h\r\n\r\n", "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n"
	send := func(c net.Conn, text string) { io.WriteString(c, text) }
	zeros := func() io.Reader { return io.LimitReader(strings.NewReader(strings.Repeat("0", 200000)), 200000) }
	download := func(rate int64) func(c net.Conn) string {
		return func(c net.Conn) string {
			send(c, get)
			resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(trickle(io.Discard, resp.Body, rate) == 1<<20)
		}
	}
	upload := func(rate int64) func(c net.Conn) string {
		return func(c net.Conn) string {
			send(c, post)
			go trickle(c, zeros(), rate)
			return readStatus(c)
		}
	}
	silent := func(text string) func(c net.Conn) string {
		return func(c net.Conn) string {
			send(c, text)
			io.Copy(io.Discard, c)
			return "ended"
		}
	}
	for what, c := range map[string]struct {
		talk   func(c net.Conn) string
		want   string
		atMost time.Duration // after which the connection has ended
		log    string
	}{
		"reads 2 KB a second":      {download(2000), "true", time.Hour, "status=200 out=1048576 cut=false"},
		"reads 300 bytes a second": {download(300), "true", 2 * time.Hour, "status=200 out=1048576 cut=false"},
		"reads a byte a second":    {download(1), "false", 2 * time.Minute, "status=200 cut=true"},
		"reads nothing":            {func(c net.Conn) string { send(c, get); time.Sleep(2 * time.Minute); return readStatus(c) }, "EOF", 3 * time.Minute, "cut=true"},
		"leaves in the middle":     {func(c net.Conn) string { send(c, get); io.CopyN(io.Discard, c, 100_000); c.Close(); return "" }, "", 0, "status=200 cut=true"},
		"leaves before the end":    {func(c net.Conn) string { send(c, get); io.CopyN(io.Discard, c, 1<<20); c.Close(); return "" }, "", 0, "cut=true"},
		"sends 2 KB a second":      {upload(2000), "200", time.Hour, "status=200 out=7 cut=false"},
		"sends 300 bytes a second": {upload(300), "200", time.Hour, "status=200 out=7 cut=false"},
		"sends a byte a second":    {upload(1), "408", 2 * time.Minute, "status=408"},
		"sends half a body":        {func(c net.Conn) string { send(c, post+strings.Repeat("0", 100000)); return readStatus(c) }, "408", 2 * time.Minute, "status=408"},
		"sends nothing":            {silent(""), "ended", time.Minute, ""},
		"sends half a header":      {silent("GET /f HTTP/1.1\r\nHost: h\r\nX-A: "), "ended", time.Minute, ""},
		"sends a header, byte by byte": {func(c net.Conn) string {
			n := trickle(c, strings.NewReader("GET /"+strings.Repeat("x", 100)), 1)
			return fmt.Sprint(n < 100)
		}, "true", 2 * time.Minute, ""},
		"sends a header of 2 MB": {func(c net.Conn) string {
			go send(c, "GET / HTTP/1.1\r\nX-A: "+strings.Repeat("x", 2<<20))
			return readStatus(c)
		}, "431", time.Minute, ""},
		"sends many headers": {func(c net.Conn) string {
			go send(c, "GET / HTTP/1.1\r\n"+strings.Repeat("X-A: b\r\n", 100_000))
			return readStatus(c)
		}, "431", time.Minute, ""},
		"sends a header of 65 KB": {func(c net.Conn) string {
			go send(c, "GET / HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("x", 65<<10)+"\r\n\r\n")
			return readStatus(c)
		}, "431", time.Minute, "status=431"},
		"sends a path of 1 MB":    {func(c net.Conn) string { go send(c, "GET /"+strings.Repeat("x", 1<<20)); return readStatus(c) }, "431", time.Minute, ""},
		"is idle after a request": {silent("POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), "ended", 3 * time.Minute, "status=200"},
		"pipelines and never reads": {func(c net.Conn) string {
			send(c, post+strings.Repeat("0", 200000))
			go send(c, strings.Repeat(get, 1000))
			time.Sleep(3 * time.Minute)
			return readStatus(c)
		}, "EOF", 4 * time.Minute, ""},
		"waits for 100 and never reads": {func(c net.Conn) string {
			send(c, strings.Replace(post, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1))
			time.Sleep(3 * time.Minute)
			return readStatus(c)
		}, "EOF", 4 * time.Minute, ""},
	} {
		t.Run(what, func(t *testing.T) {
			serveInBubble(t, &schema.Config{}, func(t *testing.T, n *pipeNet, log *safeBuffer) {
				conn := n.dial("192.0.2.1")
				begun := time.Now()
				if got := c.talk(conn); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				synctest.Wait()
				if took := time.Since(begun); c.atMost > 0 && took > c.atMost {
					t.Errorf("ended after %s, want at most %s", took, c.atMost)
				}
				for _, part := range strings.Fields(c.log) {
					if !strings.Contains(log.String(), part) {
						t.Errorf("log lacks %s: %s", part, log)
					}
				}
				conn.Close()
				time.Sleep(2 * time.Second) // for what still sends
			})
		})
	}
}

// The kernel takes little of what a client does not read: it would notice late that
// a slow one reads.
func TestSendQueue(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the kernel is not told here")
	}
	log := &safeBuffer{}
	s := api.New(nil, &api.Options{IdleTimeout: 500 * time.Millisecond, Log: logTo(log)})
	s.Answer(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Length", strconv.Itoa(64<<20))
		w.Write(make([]byte, 64<<20)) // the client takes no more
		return nil
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() { s.Serve(ctx, ln) })
	defer served.Wait()
	defer stop()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4096)
	io.WriteString(conn, "GET /f HTTP/1.1\r\nHost: h\r\n\r\n")
	for !strings.Contains(log.String(), "cut=true") {
		time.Sleep(10 * time.Millisecond)
	}
	_, rest, _ := strings.Cut(log.String(), " out=")
	text, _, _ := strings.Cut(rest, " ")
	if n, err := strconv.Atoi(text); err != nil || n > 1<<20 {
		t.Errorf("%s bytes were taken of which nothing was read: %v", text, err)
	}
}

// readStatus is the status of the next answer, or the error.
func readStatus(c net.Conn) string {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return err.Error()
	}
	return strconv.Itoa(resp.StatusCode)
}

// Connections are bounded in all and by address. Those that wait make room, the
// longest waiting first; a request under way is never cut off for another.
func TestConnectionBounds(t *testing.T) {
	const half, slow = "GET / HTTP/1.1\r\nX-A: ", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n1234"
	const whole = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n1234"
	// Each step opens a connection from an address and sends something. Those that
	// are open at the end are named by their numbers, from 0 on.
	type step struct{ from, text string }
	steps := func(n int, from, text string) (out []step) {
		for range n {
			out = append(out, step{from, text})
		}
		return out
	}
	a, b, c, proxy := "192.0.2.1", "192.0.2.2", "192.0.2.3", "10.0.0.1"
	for what, c := range map[string]struct {
		steps []step
		open  string
	}{
		"silent ones of one address":      {steps(6, a, ""), "2345"},
		"half headers":                    {steps(6, a, half), "2345"},
		"idle after a request":            {steps(6, a, whole), "2345"},
		"requests under way":              {steps(6, a, slow), "0123"},
		"one waits among those under way": {slices.Concat(steps(2, a, slow), steps(1, a, half), steps(2, a, slow), steps(1, a, slow)), "0134"},
		"all from several addresses":      {slices.Concat(steps(4, a, ""), steps(4, b, ""), steps(4, c, "")), "456789AB"},
		"others' silence":                 {slices.Concat(steps(4, a, half), steps(4, b, half), steps(1, c, slow)), "12345678"},
		"all under way":                   {slices.Concat(steps(4, a, slow), steps(4, b, slow), steps(1, c, slow)), "01234567"},
		"one IPv6 network":                {slices.Concat(steps(3, "2001:db8::1", ""), steps(3, "2001:db8::2", "")), "2345"},
		"IPv6 networks":                   {slices.Concat(steps(3, "2001:db8::1", ""), steps(3, "2001:db8:0:1::1", "")), "012345"},
		"IPv4 written as IPv6":            {slices.Concat(steps(3, a, ""), steps(3, "::ffff:192.0.2.1", "")), "2345"},
		"a trusted proxy":                 {steps(8, proxy, ""), "01234567"},
		"a trusted proxy in a crowd":      {slices.Concat(steps(4, proxy, ""), steps(4, a, ""), steps(2, proxy, slow)), "01236789"},
		"more than all of a proxy":        {steps(9, proxy, ""), "01234567"},
	} {
		t.Run(what, func(t *testing.T) {
			cfg := &schema.Config{Server: schema.Server{MaxConnections: 8, MaxPerAddress: 4, TrustedProxies: []string{"10.0.0.0/8"}}}
			serveInBubble(t, cfg, func(t *testing.T, n *pipeNet, log *safeBuffer) {
				var conns []net.Conn
				var read sync.WaitGroup
				ended := make([]atomic.Bool, len(c.steps))
				for i, s := range c.steps {
					conn := n.dial(s.from)
					conns = append(conns, conn)
					read.Go(func() { io.WriteString(conn, s.text); io.Copy(io.Discard, conn); ended[i].Store(true) })
					synctest.Wait()
					time.Sleep(1100 * time.Millisecond) // in which a refusal gives up waiting
				}
				open := ""
				for i := range ended {
					if !ended[i].Load() {
						open += string("0123456789ABC"[i])
					}
				}
				if open != c.open {
					t.Errorf("open are %s, want %s", open, c.open)
				}
				for _, conn := range conns {
					conn.Close()
				}
				read.Wait()
				synctest.Wait()
				// All have been counted out again.
				for range 8 {
					conn := n.dial(proxy)
					defer conn.Close()
					io.WriteString(conn, whole)
					if got := readStatus(conn); got != "200" {
						t.Errorf("afterwards: %s", got)
					}
				}
			})
		})
	}
}

// The bounds that a server has without a configuration are those of the
// configuration.
func TestConnectionDefaults(t *testing.T) {
	cfg, err := schema.ParseConfig("alyx.yml", []byte("{}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &cfg.Server
	got := [5]int{s.MaxConnections, s.MaxPerAddress, int(s.RateLimit), s.RateBurst, int(s.MaxConcurrent)}
	want := [5]int{api.DefaultConnections, api.DefaultConnectionsPerAddress, api.DefaultRateLimit, api.DefaultRateBurst, api.DefaultMaxConcurrent}
	if got != want {
		t.Errorf("%d by a configuration, %d without", got, want)
	}
}
