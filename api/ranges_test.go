package api

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A slowSource notes whether it is read while or after it is closed.
type slowSource struct {
	*bytes.Reader
	closed, misused atomic.Bool
}

func (s *slowSource) Read(p []byte) (int, error) {
	before := s.closed.Load()
	time.Sleep(time.Millisecond)
	if before || s.closed.Load() {
		s.misused.Store(true)
	}
	return s.Reader.Read(p)
}

func (s *slowSource) Close() error {
	s.closed.Store(true)
	return nil
}

// A goneClient takes the header of an answer and no content.
type goneClient struct{ http.ResponseWriter }

func (goneClient) Write([]byte) (int, error) { return 0, errors.New("the client has gone") }

// http.ServeContent reads several ranges in a goroutine that it does not wait
// for.
func TestSeveralRangesOfAClientThatLeaves(t *testing.T) {
	for range 20 {
		src := &slowSource{Reader: bytes.NewReader(make([]byte, 1<<20))}
		d := &delivery{ResponseWriter: goneClient{httptest.NewRecorder()}, src: contentSource{src: src}}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", "bytes=0-99999,200000-299999,400000-499999")
		http.ServeContent(d, r, "", time.Time{}, &d.src)
		d.src.close()
		time.Sleep(3 * time.Millisecond)
		if src.misused.Load() {
			t.Fatal("the content was read while it was closed, or afterwards")
		}
	}
}
