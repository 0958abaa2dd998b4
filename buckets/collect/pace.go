package collect

import (
	"context"
	"time"
)

// A pace tells how far a phase is, and keeps it from taking more than half of a
// core and of the database where the collection has a rate.
type pace struct {
	cycle *cycle
	phase string
	began time.Time // of what has been done since the last rest
	rests bool
}

const (
	// paceSteps is how many steps are made between two looks at the clock, and
	// paceTime how long is worked at most before a rest.
	paceSteps = 1 << 10
	paceTime  = 20 * time.Millisecond
	// toldSteps is how many steps are made between two calls of Options.Progress.
	toldSteps = 1 << 16
)

func (d *cycle) newPace(phase string) *pace {
	return &pace{cycle: d, phase: phase, began: time.Now(), rests: d.opts.Rate > 0}
}

// step is called with the number of steps made so far. It returns why ctx is done.
func (p *pace) step(ctx context.Context, done int64) error {
	if done%paceSteps != 0 {
		return nil
	}
	if done%toldSteps == 0 {
		p.cycle.opts.Progress(Progress{Domain: p.cycle.domain, Phase: p.phase, Done: done})
	}
	if worked := time.Since(p.began); p.rests && worked > paceTime {
		select {
		case <-time.After(worked):
		case <-ctx.Done():
		}
		p.began = time.Now()
	}
	return context.Cause(ctx)
}
