package api_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

// A judge is a Validator whose answer can be changed.
type judge struct{ answer atomic.Pointer[error] }

func (j *judge) say(err error) { j.answer.Store(&err) }

func (j *judge) Validate(context.Context, *buckets.Candidate) error {
	if err := j.answer.Load(); err != nil {
		return *err
	}
	return nil
}

// What a validator refuses is answered with its reason, whatever route the content comes by, and
// nothing else is changed by it.
func TestValidatorOverHTTP(t *testing.T) {
	j := &judge{}
	m := &matrix{world: securedBy(t, testConfig, matrixSchema, func(o *local.Options) { o.Validator = j }), bucket: "private"}
	m.refresh()
	ann := token(t, "ann", nil)
	const form = "multipart/form-data; boundary=B"
	const file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new\"\r\n\r\nx\r\n--B--\r\n"
	all := []call{
		{"", "POST", "/api/files/BUCKET", "", file, form, 201, nil},
		{"", "POST", "/api/tus/BUCKET", "", "x", "application/offset+octet-stream", 201, []string{"Tus-Resumable", "1.0.0", "Upload-Length", "1"}},
		{"", "POST", "/api/files/BUCKET/_sessions/SESSION/commit", "", "", "", 201, nil},
	}
	for _, c := range calls() {
		completes := !strings.Contains(c.path, "_sign") && !strings.Contains(c.path, "/sign") && !strings.Contains(c.path, "tus") && !strings.Contains(c.path, "_sessions")
		changes := strings.Contains("POST PUT", c.method) || strings.HasSuffix(c.path, "/content")
		if completes && changes && strings.HasPrefix(c.path, "/api/files/BUCKET") && (c.status == 200 || c.status == 201) {
			all = append(all, c)
		}
	}
	send := func(c call) *answer {
		if strings.Contains(c.path, "SESSION") {
			m.do("PUT", "/api/files/private/_sessions/"+m.listed+"/chunks/"+digestOf(m.chunk), strings.NewReader(string(m.chunk)), "Authorization", ann)
		}
		return m.send(c, m.path(c, true), ann)
	}
	for _, want := range []struct {
		err    error
		status int
		code   string
	}{{buckets.Refuse("no cats"), 422, "upload-refused"}, {buckets.Deny("not from you"), 403, "upload-denied"}, {errors.New("the scanner is down"), 503, "upload-unvalidated"}} {
		for _, c := range all {
			j.say(want.err)
			a := send(c)
			if a.StatusCode != want.status || a.code() != want.code || strings.Contains(string(a.body), want.err.Error()) != (want.status < 500) {
				t.Errorf("%s %s %v: %d %s", c.method, c.path, c.header, a.StatusCode, a.body)
			}
			m.unharmed()
			j.say(nil)
		}
	}
	if len(all) < 14 {
		t.Errorf("only %d routes: %v", len(all), all)
	}
	// Sent again, it is taken.
	for _, c := range all {
		if a := send(c); a.StatusCode/100 != 2 {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.body)
		}
		m.refresh()
	}
}
