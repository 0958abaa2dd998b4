package main

import (
	"strings"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// A working is how far something is that takes long. It shows it on a terminal.
type working struct {
	what string // phase and backend
	pace pace
}

// showWorking shows on a terminal how far something is that takes long.
func (t *target) showWorking(p *client.Working) {
	s := t.working.describe(p, time.Now())
	t.showState(&s)
}

// showState shows a line of progress on a terminal. What is written next takes it away.
func (t *target) showState(s *progressState) {
	if w, ok := t.stderr.(*screenWriter); ok {
		w.screen.showLine(s.fit)
	}
}

// describe returns how far p is, with the pace of late.
func (w *working) describe(p *client.Working, now time.Time) progressState {
	what := describeWork(p)
	if what != w.what {
		*w = working{what: what}
	}
	w.pace.note(now, p.Done)
	return progressState{name: what, bytes: p.Total, doneBytes: p.Done, inBytes: isInBytes(p), whole: p.Total > 0,
		rate: w.pace.rate(), left: time.Duration(p.LeftSeconds) * time.Second}
}

// isInBytes reports that a phase counts bytes, as those do that read or write packs.
func isInBytes(p *client.Working) bool {
	return p.Phase == "packs" || p.Phase == "rewrite" || p.Phase == "delete"
}

// describeWork names a phase, and what backend it is about.
func describeWork(p *client.Working) string {
	if p.Backend != "" {
		return p.Phase + " of " + p.Backend
	}
	return p.Phase
}

// describeWorking describes how far something is, for those who only ask.
func describeWorking(p *client.Working) string {
	w := working{}
	s := w.describe(p, time.Now())
	return strings.Join(append([]string{s.name}, s.figures(false)...), ", ")
}
