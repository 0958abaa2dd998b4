package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A duplexWriter is a writer of a connection that can do both at once.
type duplexWriter struct{ *httptest.ResponseRecorder }

func (duplexWriter) EnableFullDuplex() error         { return nil }
func (duplexWriter) SetReadDeadline(time.Time) error { return nil }

// No more connections linger than there are slots, and a slot is free again
// when its connection has ended.
func TestLingersAreFew(t *testing.T) {
	slots := make(lingerSlots, 2)
	begin := func(w http.ResponseWriter) *deadlineBody {
		b := &deadlineBody{ReadCloser: io.NopCloser(neverEnding{}), control: http.NewResponseController(w), length: -1, slots: slots}
		b.prepareAnswer(w.Header())
		return b
	}
	first, second, third := begin(duplexWriter{httptest.NewRecorder()}), begin(duplexWriter{httptest.NewRecorder()}), begin(duplexWriter{httptest.NewRecorder()})
	if !first.lingers || !second.lingers || third.lingers {
		t.Errorf("lingering: %v %v %v", first.lingers, second.lingers, third.lingers)
	}
	first.finishAnswer()
	third.finishAnswer()
	if begin(httptest.NewRecorder()).lingers || !begin(duplexWriter{httptest.NewRecorder()}).lingers || begin(duplexWriter{httptest.NewRecorder()}).lingers {
		t.Errorf("%d slots are taken", len(slots))
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }
