package local_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/s3test"
)

// A hanging service does not answer requests of one kind about packs, while that is set.
type hanging struct {
	next  aws.HTTPClient
	kind  *atomic.Value // method, "" for none
	hangs chan<- struct{}
}

func (h hanging) Do(r *http.Request) (*http.Response, error) {
	if h.kind.Load() == r.Method && strings.Contains(r.URL.Path, "/packs/") {
		select {
		case h.hangs <- struct{}{}:
		default:
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return h.next.Do(r)
}

// Close does not wait for a service that does not answer, where nothing is at stake: for reads,
// and for packs that are on this machine. Who waits is told ErrClosed, and what was acknowledged
// is there.
func TestCloseFarAway(t *testing.T) {
	var kind atomic.Value
	kind.Store("")
	hangs := make(chan struct{}, 1)
	o := s3test.Fake(t).Options(t)
	o.Wrap = func(next aws.HTTPClient) aws.HTTPClient { return hanging{next, &kind, hangs} }
	opts := &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}}}, Buckets: map[string]buckets.Policy{
		"fast": {Domain: "far", Acknowledge: buckets.AckJournal}, "slow": {Domain: "far"}}}
	dir := t.TempDir()
	var s *buckets.Store
	opened := func() {
		t.Helper()
		kind.Store("")
		var err error
		s, err = local.Open(t.Context(), dir, opts)
		must(t, err)
	}
	closeWhile := func(what string, method string, call func() error) {
		t.Helper()
		for len(hangs) > 0 {
			<-hangs
		}
		kind.Store(method)
		ended := make(chan error, 1)
		go func() { ended <- call() }()
		<-hangs
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			must(t, err)
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: Close waits", what)
		}
		if err := <-ended; !errors.Is(err, buckets.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}

	opened()
	sent := noise(1, 3<<20)
	f, err := bucket(t, s, "slow").Put(t.Context(), "f", bytes.NewReader(sent), nil)
	must(t, err)
	must(t, s.Close())

	opened()
	object, err := bucket(t, s, "slow").Open(t.Context(), f.ID, nil)
	must(t, err)
	closeWhile("read", http.MethodGet, func() error { return errorOf(io.Copy(io.Discard, object)) })
	object.Close()

	opened()
	kind.Store(http.MethodPut)
	near := noise(2, 1<<20)
	g, err := bucket(t, s, "fast").Put(t.Context(), "g", bytes.NewReader(near), nil)
	must(t, err)
	closeWhile("put", http.MethodPut, func() error {
		return errorOf(bucket(t, s, "slow").Put(t.Context(), "h", bytes.NewReader(noise(3, 1<<20)), nil))
	})

	opened()
	closeWhile("run", http.MethodPut, func() error {
		errs := make(chan error, 1)
		go func() { errs <- s.Run(t.Context()) }()
		must(t, errorOf(bucket(t, s, "fast").Put(t.Context(), "i", bytes.NewReader(noise(4, 1<<20)), nil)))
		return <-errs
	})

	opened()
	for id, want := range map[string][]byte{f.ID: sent, g.ID: near} {
		b := bucket(t, s, "slow")
		if id == g.ID {
			b = bucket(t, s, "fast")
		}
		if got, err := content(b, id); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
		}
	}
	must(t, s.Close())
}
