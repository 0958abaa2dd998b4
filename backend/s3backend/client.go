package s3backend

import (
	"context"
	"net"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// newClient returns an HTTP client whose connections fail when nothing moves
// on them for a while, however long a transfer takes that does move.
func newClient(stall time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		dialer := &net.Dialer{Timeout: min(stall, 10*time.Second), KeepAlive: 30 * time.Second}
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &conn{Conn: c, stall: stall}, nil
		}
		t.TLSHandshakeTimeout = min(stall, 10*time.Second)
		t.MaxIdleConnsPerHost = 32
		t.IdleConnTimeout = 20 * time.Second // sooner than the services' own, so that requests rarely meet a closed one
		t.ForceAttemptHTTP2 = false          // one connection would carry all: no gain in parallel transfers
		t.WriteBufferSize, t.ReadBufferSize = 64<<10, 64<<10
	})
}

// A conn gives up when it stands still in both directions. Writing prolongs
// the read that waits for the answer meanwhile.
type conn struct {
	net.Conn
	stall time.Duration
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
