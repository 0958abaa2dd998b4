package api_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// An unsteady is an Authorizer that allows everything until it fails.
type unsteady struct {
	mu    sync.Mutex
	err   error // nil allows
	from  int   // the first question that fails, counted from 0
	asked int
}

func (u *unsteady) Authorize(context.Context, *access.Request) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	if u.err != nil && u.asked > u.from {
		return u.err
	}
	return nil
}

func (u *unsteady) set(from int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked, u.from, u.err = 0, from, err
}

func (u *unsteady) failed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err != nil && u.asked > u.from
}

// On every route, an authoriser that fails at its first question, or at a later
// one, is answered by 503: never by "no such file", nor by "forbidden".
func TestMatrixAuthorizerFails(t *testing.T) {
	race.LeaveOut(t)
	u := &unsteady{}
	m := &matrix{bucket: "private", world: securedBy(t, testConfig, matrixSchema, func(o *local.Options) { o.Auth = u })}
	causes := []error{
		errors.New("database is down"),
		fmt.Errorf("record 7: %w", fs.ErrNotExist),
		fmt.Errorf("look up the record: %w", buckets.ErrNoFile),
		&fs.PathError{Op: "dial", Path: "rules.sock", Err: syscall.EACCES},
		context.DeadlineExceeded,
	}
	m.refresh()
	n, met := 0, 0
	for _, c := range calls() {
		for from := 0; ; from++ {
			cause := causes[n%len(causes)]
			n++
			u.set(from, cause)
			a := m.send(c, m.path(c, true), token(t, "ann", map[string]any{"role": "admin"}))
			failed := u.failed()
			u.set(0, nil)
			if !failed {
				m.refresh() // it was done
				break
			}
			met++
			if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || c.method != http.MethodHead && a.code() != "authorization-unavailable" {
				t.Errorf("%s %s, %v at question %d: %d %s", c.method, c.path, cause, from, a.StatusCode, a.body)
			}
			if strings.Contains(string(a.body), cause.Error()) {
				t.Errorf("%s %s: the answer tells of the authoriser: %s", c.method, c.path, a.body)
			}
		}
	}
	if met < 60 {
		t.Errorf("the authoriser was asked by %d requests only", met)
	}
}
