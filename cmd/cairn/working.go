package main

import (
	"fmt"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// showWorking shows on a terminal how far something is that takes long.
func (t *target) showWorking(p *client.Working) { showStatus(t.stderr, describeWorking(p)) }

func describeWorking(p *client.Working) string {
	out := p.Phase
	if p.Backend != "" {
		out = p.Backend + ": " + out
	}
	if p.Done > 0 {
		out += fmt.Sprintf(" %d", p.Done)
	}
	if p.Total > 0 {
		out += fmt.Sprintf(" of %d", p.Total)
	}
	if p.LeftSeconds > 0 {
		out += fmt.Sprintf(", about %s left", time.Duration(p.LeftSeconds)*time.Second)
	}
	return out
}
