package s3backend

import (
	"context"
	"net"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// newClient returns an HTTP client whose connections fail when nothing moves on
// them for stall. A transfer that moves may take as long as it likes.
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
		// Less than the services' own timeouts, so that requests rarely meet a
		// connection that the service has closed.
		t.IdleConnTimeout = 20 * time.Second
		// HTTP/2 would send all over one connection, and gain nothing by sending
		// several parts at a time.
		t.ForceAttemptHTTP2 = false
		t.WriteBufferSize, t.ReadBufferSize = 64<<10, 64<<10
	})
}

// A conn fails when nothing moves in either direction for stall. A Write extends
// the deadline of a Read that waits for the answer meanwhile.
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
