package s3backend

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

// stayAtHost returns client without redirects: what is signed for one host is
// refused by another, so that only the first answer tells what is wrong.
func stayAtHost(client aws.HTTPClient) aws.HTTPClient {
	c, ok := client.(*awshttp.BuildableClient)
	if !ok {
		return client
	}
	return &http.Client{Transport: c.GetTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// An errorFinder turns answers of 200 that hold an error into answers of 500.
// Services send them when the error comes after the header; a list would be taken
// for an empty one.
type errorFinder struct{ next aws.HTTPClient }

func (f errorFinder) Do(r *http.Request) (*http.Response, error) {
	answer, err := f.next.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK || r.Method == http.MethodHead || isObject(r) {
		return answer, err
	}
	head := bufio.NewReaderSize(answer.Body, 1<<10)
	start, _ := head.Peek(200) // an error comes again when the body is read
	if bytes.Contains(start, []byte("<Error>")) {
		answer.StatusCode = http.StatusInternalServerError
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{head, answer.Body}
	return answer, nil
}

// isObject reports whether the answer to r is the content of an object.
func isObject(r *http.Request) bool {
	q := r.URL.Query()
	return r.Method == http.MethodGet && !q.Has("list-type") && !q.Has("uploads")
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
