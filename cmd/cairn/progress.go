package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/cairn-store/cairn/api/client"
)

// A bar shows on a terminal how many bytes have passed. For other outputs it
// is nil and shows nothing.
type bar struct {
	w     io.Writer
	what  string
	n     atomic.Int64
	start time.Time
	quit  chan struct{}
	done  chan struct{}
}

func newBar(w io.Writer, what string) *bar {
	if !isTerminal(w) {
		return nil
	}
	b := &bar{w: w, what: what, start: time.Now(), quit: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	return b
}

func (b *bar) run() {
	defer close(b.done)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.draw()
		case <-b.quit:
			fmt.Fprint(b.w, "\r\x1b[K")
			return
		}
	}
}

func (b *bar) draw() {
	n := b.n.Load()
	rate := float64(n) / time.Since(b.start).Seconds()
	fmt.Fprintf(b.w, "\r\x1b[K%s %s, %s/s", bytesText(n), b.what, bytesText(int64(rate)))
}

func (b *bar) stop() {
	if b != nil {
		close(b.quit)
		<-b.done
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// showStatus shows on a terminal, in place of what it showed before, what goes
// on; "" shows nothing.
func showStatus(w io.Writer, text string) {
	if isTerminal(w) {
		fmt.Fprintf(w, "\r\x1b[K%s", text)
	}
}

// set sets how many bytes have passed.
func (b *bar) set(n int64) {
	if b != nil {
		b.n.Store(n)
	}
}

// followFile returns a function that adds the progress of one file to the bar.
func (b *bar) followFile() func(client.Progress) {
	if b == nil {
		return nil
	}
	var done int64
	return func(p client.Progress) {
		b.n.Add(p.Done - done)
		done = p.Done
	}
}

// A toldStream reports what passes through it, in one direction.
type toldStream struct {
	r    io.Reader
	w    io.Writer
	p    client.Progress
	tell func(client.Progress) // nil reports nothing
}

func (t *toldStream) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.count(n)
	return n, err
}

func (t *toldStream) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.count(n)
	return n, err
}

func (t *toldStream) count(n int) {
	if t.p.Done += int64(n); t.tell != nil {
		t.tell(t.p)
	}
}

// bytesText formats a number of bytes for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
