package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// drawEvery is how often a line of progress is drawn.
const drawEvery = 200 * time.Millisecond

// A progress shows on a terminal how far a transfer of files is. Where there is no
// terminal it is nil and shows nothing. Its methods may be called concurrently.
type progress struct {
	screen *screen
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex // guards the fields below
	at      progressState
	begun   progressState   // sums of what began
	current []*fileProgress // what is under way, the oldest first
	pace    pace
}

// newProgress shows the progress of files on w, if that is a terminal, until stop.
func newProgress(w io.Writer) *progress {
	s, ok := w.(*screenWriter)
	if !ok || columnsOf(s) == 0 {
		return nil
	}
	p := &progress{screen: s.screen, quit: make(chan struct{}), done: make(chan struct{})}
	p.pace.note(time.Now(), 0)
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.done)
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.screen.showLine(func(columns int) string { return p.describe(now).fit(columns) })
		case <-p.quit:
			p.screen.hideLine()
			return
		}
	}
}

// stop takes the line away for good.
func (p *progress) stop() {
	if p != nil {
		close(p.quit)
		<-p.done
	}
}

// expect tells of so many more files and bytes that will be transferred. What began
// without having been told of counts by itself.
func (p *progress) expect(files, size int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.files += files
	p.at.bytes += size
}

// expectNoMore tells that expect has been told of all: from now on percent and time
// left are shown.
func (p *progress) expectNoMore() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.whole = true
}

// begin tells that the transfer of a file begins; size is -1 if it is not known.
func (p *progress) begin(name string, size int64) *fileProgress {
	if p == nil {
		return nil
	}
	f := &fileProgress{p: p, name: name, size: size}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun.files++
	p.begun.bytes += max(size, 0)
	p.current = append(p.current, f)
	return f
}

// A fileProgress is the part of a progress about one file.
type fileProgress struct {
	p    *progress
	name string
	size int64
	done int64
}

// follow takes the progress of the file from a client. It is nil where nothing is
// shown.
func (f *fileProgress) follow() func(client.Progress) {
	if f == nil {
		return nil
	}
	return func(at client.Progress) { f.set(at.Done) }
}

// set tells how many bytes of the file are done.
func (f *fileProgress) set(done int64) {
	if f == nil {
		return
	}
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	f.p.at.doneBytes += done - f.done
	f.done = done
}

// end tells that the transfer of the file has ended, well or not. It may be told
// more than once.
func (f *fileProgress) end() {
	if f == nil {
		return
	}
	if f.size >= 0 {
		f.set(f.size) // what a failure has left out does not come any more
	}
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.current, f); i >= 0 {
		p.current = slices.Delete(p.current, i, i+1)
		p.at.doneFiles++
	}
}

func (p *progress) describe(now time.Time) *progressState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at
	s.inBytes = true
	s.files, s.bytes = max(s.files, p.begun.files), max(s.bytes, p.begun.bytes)
	if s.files == 1 {
		s.files = 0 // its name says all
	}
	if len(p.current) > 0 {
		s.name = p.current[0].name
	}
	p.pace.note(now, s.doneBytes)
	s.rate = p.pace.rate()
	if left := s.bytes - s.doneBytes; s.whole && left > 0 && s.rate > 0 {
		s.left = time.Duration(float64(left) / s.rate * float64(time.Second))
	}
	return &s
}

// A progressState is how far something is.
type progressState struct {
	name             string
	files, doneFiles int64 // 0 if it is not about several
	bytes, doneBytes int64 // total 0 if it is not known
	inBytes          bool  // the two, and rate; else they are numbers of something
	whole            bool  // the totals are final
	rate             float64
	left             time.Duration // 0 if it is not known
}

// fit returns a line of at most columns columns. The name gets what the figures leave.
// Where that is little, the figures get shorter, and the least of them go.
func (s *progressState) fit(columns int) string {
	const leastName = 16
	name := printable(s.name)
	figures := s.figures(false)
	if textWidth(strings.Join(figures, "  "))+2+min(leastName, textWidth(name)) > columns {
		figures = s.figures(true)
	}
	for len(figures) > 1 && textWidth(strings.Join(figures, "  ")) > columns {
		figures = figures[:len(figures)-1]
	}
	line := strings.Join(figures, "  ")
	if room := columns - textWidth(line) - 2; line != "" && name != "" && room >= 4 {
		if room < leastName && textWidth(name) > room {
			name = path.Base(name)
		}
		line += "  " + clipMiddle(name, room)
	} else if line == "" {
		line = name
	}
	return clipMiddle(line, columns)
}

// figures describes all but the name, the most important ones first. Short ones leave
// out words.
func (s *progressState) figures(short bool) []string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case s.whole && s.bytes > 0:
		add("%3d%%", min(s.doneBytes*100/s.bytes, 100))
	case s.whole && s.files > 0:
		add("%3d%%", min(s.doneFiles*100/s.files, 100))
	}
	of := " of "
	if short {
		of = "/"
	}
	number := func(n int64) string { return fmt.Sprint(n) }
	if s.inBytes {
		number = bytesText
	}
	switch done, total := number(s.doneBytes), number(s.bytes); {
	case s.bytes > 0 && s.inBytes:
		add("%s%s%s", withoutUnit(done, total), of, total)
	case s.bytes > 0:
		add("%s%s%s", done, of, total)
	case s.doneBytes > 0:
		add("%s", done)
	}
	switch {
	case s.rate >= 1 && s.inBytes:
		add("%s/s", bytesText(int64(s.rate)))
	case s.rate >= 1 && !short:
		add("%d/s", int64(s.rate))
	}
	if s.left > 0 {
		text := clockText(s.left)
		if !short {
			text += " left"
		}
		add("%s", text)
	}
	if s.files > 0 && short {
		add("%d/%d", s.doneFiles, s.files)
	} else if s.files > 0 {
		add("%d of %d files", s.doneFiles, s.files)
	}
	return parts
}

// withoutUnit returns a number of bytes without its unit, if another one has the same.
func withoutUnit(n, other string) string {
	number, unit, _ := strings.Cut(n, " ")
	if _, same, _ := strings.Cut(other, " "); same == unit {
		return number
	}
	return n
}

// clockText formats a time that is left.
func clockText(d time.Duration) string {
	s := int64((d + time.Second - 1) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// paceTime is over what time a rate is measured.
const paceTime = 10 * time.Second

// A pace measures how fast something goes, of late.
type pace struct{ marks []paceMark } // at most paceTime/drawEvery, and two

type paceMark struct {
	at   time.Time
	done int64
}

// note notes how much is done. Notes closer than drawEvery to each other count as one.
func (p *pace) note(now time.Time, done int64) {
	if n := len(p.marks); n > 1 && now.Sub(p.marks[n-2].at) < drawEvery {
		p.marks = p.marks[:n-1]
	}
	p.marks = append(p.marks, paceMark{now, done})
	for len(p.marks) > 2 && now.Sub(p.marks[0].at) > paceTime {
		p.marks = p.marks[1:]
	}
}

// rate returns how much is done a second.
func (p *pace) rate() float64 {
	if len(p.marks) < 2 {
		return 0
	}
	first, last := p.marks[0], p.marks[len(p.marks)-1]
	if d := last.at.Sub(first.at); d > 0 && last.done > first.done {
		return float64(last.done-first.done) / d.Seconds()
	}
	return 0
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
