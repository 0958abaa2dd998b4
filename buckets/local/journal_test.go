package local_test

import (
	"bytes"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/s3test"
)

// A gate lets packs through to S3, or does not.
type gate struct {
	next   aws.HTTPClient
	closed *atomic.Bool
}

func (g gate) Do(r *http.Request) (*http.Response, error) {
	if g.closed.Load() && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/packs/") {
		return nil, errors.New("the gate is closed")
	}
	return g.next.Do(r)
}

// Of two buckets in one backend, one is answered for what is on this machine,
// the other not before all that it rests on is in S3, hits included.
func TestAcknowledge(t *testing.T) {
	o := s3test.Fake(t).Options(t)
	o.Attempts = 1
	var closed atomic.Bool
	o.Wrap = func(next aws.HTTPClient) aws.HTTPClient { return gate{next, &closed} }
	opts := &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}}}, Buckets: map[string]buckets.Policy{
		"fast": {Domain: "far", Acknowledge: buckets.AckJournal}, "slow": {Domain: "far"}}}
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	text := noise(1, 3<<20)
	put := func(name, where string) error {
		_, err := bucket(t, s, where).Put(t.Context(), name, bytes.NewReader(text), nil)
		return err
	}
	unsent := func() int {
		packs, _ := filepath.Glob(filepath.Join(dir, "journal", "far", "packs", "*", "*"))
		return len(packs)
	}

	closed.Store(true)
	must(t, put("f", "fast"))
	if err := put("refused", "slow"); !errors.Is(err, buckets.ErrUnavailable) {
		t.Errorf("answered for what is not in S3: %v", err)
	}
	if unsent() == 0 {
		t.Fatal("nothing waits to be sent")
	}
	// The next process knows what waits, whatever the buckets say by then.
	must(t, s.Close())
	fast := opts.Buckets["fast"]
	delete(opts.Buckets, "fast")
	opts.Buckets["fast"] = buckets.Policy{Domain: fast.Domain}
	s, err = local.Open(t.Context(), dir, opts)
	must(t, err)
	got, err := content(bucket(t, s, "fast"), fileID(t, s, "fast", "f"))
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("what waits to be sent reads as %d other bytes, %v", len(got), err)
	}
	closed.Store(false)
	must(t, put("g", "slow"))
	if n := unsent(); n > 0 {
		t.Errorf("%d packs wait after an answer that counts on S3", n)
	}

	// So S3 alone has it all.
	opts.TakeOwnership = true
	elsewhere := t.TempDir()
	r, err := local.Check(t.Context(), elsewhere, &local.CheckOptions{Options: *opts, Repair: true})
	must(t, err)
	if !r.OK || r.Files != 3 {
		t.Errorf("rebuilt from S3: %+v", r)
	}
	s.Close()
}
