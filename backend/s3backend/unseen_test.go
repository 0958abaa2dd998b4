package s3backend_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/internal/s3test"
)

// unseen answers HEAD by 404 for some time.
type unseen struct {
	next aws.HTTPClient
	left atomic.Int64
}

func (u *unseen) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodHead && u.left.Add(-1) >= 0 {
		return &http.Response{StatusCode: 404, Status: "404 Not Found", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
	}
	return u.next.Do(r)
}

// A service that refuses a write since the key is taken may show the object that took it
// a little later. Where it never does, the write may be repeated.
func TestTakenBeforeItIsSeen(t *testing.T) {
	for hidden, want := range map[int64]error{0: fs.ErrExist, 1: fs.ErrExist, 4: fs.ErrExist, 1000: backend.ErrUnavailable} {
		o := s3test.Fake(t).Options(t)
		var u *unseen
		o.Wrap = func(next aws.HTTPClient) aws.HTTPClient {
			u = &unseen{next: next}
			return u
		}
		b := s3test.Open(t, o)
		put := func() error {
			w, err := b.Create(t.Context(), "packs/one")
			if err == nil {
				_, err = w.Write([]byte("one"))
			}
			if err == nil {
				u.left.Store(hidden)
				err = w.Commit()
			}
			return err
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := put(); !errors.Is(err, want) {
			t.Errorf("seen after %d looks: %v, want %v", hidden, err, want)
		}
	}
}
