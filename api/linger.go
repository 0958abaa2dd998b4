package api

import (
	"io"
	"net/http"
	"time"
)

// A client that writes its whole request before it reads does not see an answer
// that comes before: the connection is closed while it writes, and all it gets
// is a broken pipe. So the server reads on, within these bounds.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 1 << 20
	maxLingers  = 128 // at a time; others are closed at once

	// smallRest is what net/http itself reads of a body before it answers.
	smallRest = 256 << 10
)

// lingerSlots counts the connections that linger.
type lingerSlots chan struct{}

// prepareAnswer sees to the rest of the body when the header of the answer is
// about to be sent.
func (b *deadlineBody) prepareAnswer(h http.Header) {
	if b.ended {
		return
	}
	b.ended = true
	b.boundLinger()
	small := b.length >= 0 && b.length-b.read <= smallRest
	if small || b.patient {
		return
	}
	select {
	case b.slots <- struct{}{}:
	default:
		return
	}
	// net/http is not to read before it answers, nor to use the connection again.
	if b.control.EnableFullDuplex() != nil {
		<-b.slots
		return
	}
	h.Set("Connection", "close")
	b.lingers = true
}

// finishAnswer reads on after the answer, if prepareAnswer has found that the
// client may not see it otherwise.
func (b *deadlineBody) finishAnswer() {
	if !b.lingers {
		return
	}
	defer func() { <-b.slots }()
	if b.control.Flush() == nil {
		b.boundLinger()
		io.CopyN(io.Discard, b.ReadCloser, lingerBytes) // how it ends makes no difference
	}
}

// boundLinger limits the time for the rest of the body from now on. Where it is
// read before the answer is sent, some must be left of the time for that.
func (b *deadlineBody) boundLinger() {
	b.control.SetReadDeadline(time.Now().Add(min(b.window/2, lingerTime)))
}
