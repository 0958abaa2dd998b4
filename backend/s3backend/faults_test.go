package s3backend_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// With every fault: an object whose write was acknowledged is there, right and
// whole; a write that failed says that it may be repeated, and its object is
// there whole or not at all.
func TestFaults(t *testing.T) {
	race.LeaveOut(t)
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		faults := []s3test.Fault{s3test.Status500, s3test.SlowDown, s3test.ResetRequest, s3test.ResetAnswer, s3test.LostAnswer, s3test.FailedAnswer,
			s3test.ShortAnswer, s3test.LongAnswer, s3test.Stall, s3test.StalledAnswer, s3test.Duplicate, s3test.Late, s3test.Expired,
			s3test.WrongRequest, s3test.ShortRequest, s3test.LongRequest}
		if s.Name == "fake" {
			faults = append(faults, s3test.OneByOne)
		}
		for _, f := range faults {
			if s.Name != "fake" && f != s3test.WrongRequest && f != s3test.LostAnswer {
				continue // all together will do
			}
			t.Run(string(f), func(t *testing.T) {
				t.Parallel() // they wait for connections that stand still
				testFault(t, s, 0.3, f)
			})
		}
		t.Run("all", func(t *testing.T) {
			t.Parallel()
			testFault(t, s, 0.4, faults...)
		})
	})
}

func testFault(t *testing.T, s *s3test.Server, share float64, faults ...s3test.Fault) {
	through, proxy := s.Behind(t)
	o := through.Options(t)
	o.PutSize, o.PartSize = 5<<20, 5<<20
	o.Attempts, o.Backoff, o.Stall = 4, 10*time.Millisecond, 200*time.Millisecond
	if len(faults) > 1 {
		o.Attempts = 3 // so that some fail for good
	}
	b := s3test.Open(t, o)
	proxy.Harm(s3test.Sometimes(uint64(len(faults[0])), share, faults...))

	contents := make(map[string][]byte)
	acked, gone := make(map[string]bool), make(map[string]bool)
	var mu sync.Mutex // guards acked and gone
	var wg sync.WaitGroup
	for i := range 12 {
		size := 1000 * i
		if i == 11 {
			size = 6 << 20
		}
		p := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i)}).Read(p)
		key := fmt.Sprintf("packs/%02d", i)
		contents[key] = p
		wg.Go(func() {
			if !unavailable(t, "store "+key, storeObject(t, b, key, p)) {
				return
			}
			mu.Lock()
			acked[key] = true
			mu.Unlock()
			if got := make([]byte, len(p)); unavailable(t, "read "+key, b.ReadAt(t.Context(), key, got, 0)) && !bytes.Equal(got, p) {
				t.Errorf("read %s: other bytes", key)
			}
			if len(p) > 0 {
				r := b.NewReader(t.Context(), key, 0, int64(len(p)))
				if got, err := io.ReadAll(r); unavailable(t, "stream "+key, errors.Join(err, r.Close())) && !bytes.Equal(got, p) {
					t.Errorf("stream %s: other bytes", key)
				}
			}
			if i%4 == 3 && unavailable(t, "delete "+key, b.Delete(t.Context(), key)) {
				mu.Lock()
				gone[key] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	listed := make(map[string]bool)
	whole := true
	for info, err := range b.List(t.Context(), "packs/") {
		if whole = unavailable(t, "list", err); whole {
			listed[info.Key] = true
		}
	}
	for key := range acked {
		if whole && !listed[key] && !gone[key] && key[len(key)-1]%4 != 3 { // what was to be deleted may be gone
			t.Errorf("%s is not listed", key)
		}
	}

	late := slices.Contains(faults, s3test.Late)
	if proxy.Done() == 0 {
		t.Error("no fault was done")
	}
	proxy.Harm(nil)
	o.Attempts, o.Stall = 8, 30*time.Second // nothing is done to it any more
	b = s3test.Open(t, o)
	for key, p := range contents {
		got := make([]byte, len(p))
		err := b.ReadAt(t.Context(), key, got, 0)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if i := key[len(key)-2:]; acked[key] && i != "03" && i != "07" && i != "11" {
				t.Errorf("%s was acknowledged and is gone", key)
			}
		case err != nil:
			t.Errorf("%s: %v", key, err)
		case gone[key] && !late: // a PUT that was repeated may arrive after the DELETE
			t.Errorf("%s was deleted and is there", key)
		case !bytes.Equal(got, p):
			t.Errorf("%s: other bytes", key)
		}
	}
	if _, err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || n > 0 {
		t.Errorf("after a sweep there are %d unfinished uploads, %v", n, err)
	}
}

// A trial whose answer is lost meets what it has stored itself, without a token
// where the service has none for it yet: that is no error of the write that is
// made after it.
func TestTrialMeetsItself(t *testing.T) {
	through, proxy := s3test.Quirky(t, s3test.NoMetadata, s3test.NoSums).Behind(t)
	o := through.Options(t)
	o.Backoff = time.Millisecond
	b := s3test.Open(t, o)
	seen := make(map[string]bool)
	var mu sync.Mutex // guards seen
	proxy.Harm(func(r *http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/probe/") || seen[r.URL.Path] {
			return s3test.None
		}
		seen[r.URL.Path] = true
		return s3test.LostAnswer
	})
	if err := storeObject(t, b, "packs/1", []byte("content")); err != nil {
		t.Error(err)
	}
	if proxy.Done() == 0 {
		t.Error("no answer was lost")
	}
	for info, err := range b.List(t.Context(), "") {
		if err != nil || info.Key != "packs/1" {
			t.Errorf("listed %v, %v, want packs/1 only", info, err)
		}
	}
}

// unavailable reports whether a call succeeded; its error must say that it
// may be tried again.
func unavailable(t *testing.T, what string, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("%s: %v", what, err)
	}
	return err == nil
}

func storeObject(t *testing.T, b *s3backend.Backend, key string, p []byte) error {
	w, err := b.Create(t.Context(), key)
	if err != nil {
		return err
	}
	if _, err = w.Write(p); err == nil {
		err = w.Commit()
	}
	return errors.Join(err, w.Abort())
}
