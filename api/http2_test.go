package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/api"
)

// A lateBody gives its halves with a pause before each.
type lateBody struct {
	left  int
	pause time.Duration
}

func (b *lateBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(b.pause)
	n := min(len(p), 32<<10, b.left)
	b.left -= n
	return n, nil
}

// TestDeadlinesByProtocol has programs serve HTTP/2 too, in which a deadline that
// passes while nobody reads or writes ends the stream for good. Work between two
// reads, or two writes, may take as long as it does; clients that stall are cut off.
func TestDeadlinesByProtocol(t *testing.T) {
	const size, long, minute = 256 << 10, 10 * time.Minute, time.Minute
	for name, c := range map[string]struct {
		http2, hidden bool
		work          time.Duration // of the server, between its reads and its writes
		pause         time.Duration // of the client before each piece
		fine          bool
	}{
		"HTTP/1":                       {false, false, 0, 0, true},
		"HTTP/1, long work":            {false, false, long, 0, true},
		"HTTP/1, a client that stalls": {false, false, 0, 2 * minute, false},
		"HTTP/2":                       {true, false, 0, 0, true},
		"HTTP/2, long work":            {true, false, long, 0, true},
		"HTTP/2, a client that stalls": {true, false, 0, 2 * minute, false},
		"HTTP/2, hidden, long work":    {true, true, long, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := api.New(nil, nil)
				s.Answer(func(w http.ResponseWriter, r *http.Request) error {
					n := int64(0)
					for range 4 {
						k, err := io.CopyN(io.Discard, r.Body, size/4)
						if n += k; err != nil && err != io.EOF {
							return err
						}
						time.Sleep(c.work)
					}
					w.Header().Set("Content-Length", strconv.Itoa(size))
					for range 4 {
						if _, err := w.Write([]byte(strings.Repeat("x", size/4))); err != nil {
							return err
						}
						time.Sleep(c.work)
					}
					return nil
				})
				n := &pipeNet{conns: make(chan net.Conn), closed: make(chan struct{})}
				var protocols http.Protocols
				protocols.SetHTTP1(!c.http2)
				protocols.SetUnencryptedHTTP2(c.http2)
				srv := &http.Server{Handler: s, Protocols: &protocols}
				if c.hidden {
					srv.Handler = hide(s)
				}
				go srv.Serve(n)
				client := &http.Transport{Protocols: &protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial("192.0.2.1"), nil }}
				r, err := http.NewRequest("POST", "http://h/f", &lateBody{size, c.pause})
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = size
				status, got := 0, int64(0)
				resp, err := client.RoundTrip(r)
				if err == nil {
					status = resp.StatusCode
					got, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if fine := status == 200 && got == size && err == nil; fine != c.fine {
					t.Errorf("status %d, %d bytes, %v", status, got, err)
				}
				client.CloseIdleConnections()
				srv.Close()
				time.Sleep(2 * long) // until the handler has ended
				synctest.Wait()
			})
		})
	}
}
