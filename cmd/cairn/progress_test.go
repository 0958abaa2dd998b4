package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// A fakeTerminal is a terminal of so many columns. Its text is what a person sees: what
// was erased is gone.
type fakeTerminal struct {
	mu      sync.Mutex
	columns int
	all     bytes.Buffer
}

func (f *fakeTerminal) Columns() int { return f.columns }

func (f *fakeTerminal) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all.Write(p)
}

// rows returns what stands in each row at the end, rows that were wrapped as several.
func (f *fakeTerminal) rows(t *testing.T) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for line := range strings.SplitSeq(f.all.String(), "\n") {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		if strings.ContainsFunc(line, func(r rune) bool { return printable(string(r)) != string(r) && r != '\t' }) {
			t.Errorf("a terminal gets %q", line)
		}
		for textWidth(line) > f.columns {
			t.Errorf("wider than %d columns: %s", f.columns, line)
			break
		}
		out = append(out, line)
	}
	return out
}

// A line of progress has all figures where there is room, and the most important ones
// where there is little. It never wraps.
func TestProgressLine(t *testing.T) {
	const gib, mib = 1 << 30, 1 << 20
	name := "photos/2026/holiday with the whole family/IMG_0001 (final).jpeg"
	file := progressState{name: name, bytes: 29 * gib / 10, doneBytes: 12 * gib / 10, inBytes: true, whole: true, rate: 83.8 * mib, left: 21 * time.Second}
	tree := file
	tree.files, tree.doneFiles = 1204, 312
	growing := tree
	growing.whole, growing.left = false, 0
	for what, c := range map[string]struct {
		s     progressState
		lines map[int]string // by columns
	}{
		"a file": {file, map[int]string{
			120: " 41%  1.2 of 2.9 GiB  83.8 MiB/s  0:21 left  photos/2026/holiday with the whole family/IMG_0001 (final).jpeg",
			60:  " 41%  1.2/2.9 GiB  83.8 MiB/s  0:21  photos/2026…final).jpeg",
			30:  " 41%  1.2/2.9 GiB  83.8 MiB/s",
		}},
		"a tree": {tree, map[int]string{
			120: " 41%  1.2 of 2.9 GiB  83.8 MiB/s  0:21 left  312 of 1204 files  photos/2026/holiday with the…amily/IMG_0001 (final).jpeg",
			60:  " 41%  1.2/2.9 GiB  83.8 MiB/s  0:21  312/1204  IMG_00…).jpeg",
		}},
		"a tree whose size is not known yet": {growing, map[int]string{
			120: "1.2 of 2.9 GiB  83.8 MiB/s  312 of 1204 files  photos/2026/holiday with the whole family/IMG_0001 (final).jpeg",
		}},
		"standard input": {progressState{name: "-", doneBytes: 100 * mib, inBytes: true, rate: 5 * mib}, map[int]string{60: "100.0 MiB  5.0 MiB/s  -"}},
		"rows of a database": {progressState{name: "rows", doneBytes: 1500, bytes: 3000, whole: true, rate: 100, left: 15 * time.Second}, map[int]string{
			60: " 50%  1500 of 3000  100/s  0:15 left  rows"}},
		"an import": {progressState{files: 300, doneFiles: 12, doneBytes: 3 * gib, inBytes: true, whole: true, left: 4000 * time.Second}, map[int]string{
			60: "  4%  3.0 GiB  1:06:40 left  12 of 300 files"}},
		"a hostile name": {progressState{name: "a\x1b[2J\nb\u202e", doneBytes: 3, inBytes: true}, map[int]string{60: `3 B  a\x1b[2J\nb\u202e`}},
		"a wide name":    {progressState{name: strings.Repeat("文", 40), doneBytes: 3, inBytes: true}, map[int]string{60: ""}},
	} {
		for columns, want := range c.lines {
			if got := c.s.fit(columns); got != want && want != "" {
				t.Errorf("%s in %d columns:\n%s, want\n%s", what, columns, got, want)
			}
		}
		for columns := range 130 {
			if got := c.s.fit(columns); textWidth(got) > columns {
				t.Errorf("%s does not fit %d columns: %s", what, columns, got)
			}
		}
	}
}

// A progress adds up files, with those that failed and those of unknown size.
func TestProgressAddsUp(t *testing.T) {
	out, _ := newScreen(&fakeTerminal{columns: 80}, &fakeTerminal{columns: 80})
	p := &progress{screen: out.screen}
	start := time.Now()
	p.pace.note(start, 0)
	p.expect(3, 3000)
	a, b := p.begin("a", 1000), p.begin("b", 2000)
	a.follow()(client.Progress{Done: 500})
	b.follow()(client.Progress{Done: 1000})
	at := func(after time.Duration) string { return p.describe(start.Add(after)).fit(200) }
	if got, want := at(time.Second), "1.5 of 2.9 KiB  1.5 KiB/s  0 of 3 files  a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.expectNoMore()
	a.end() // it failed
	a.end()
	if got, want := at(2*time.Second), " 66%  2.0 of 2.9 KiB  1000 B/s  0:01 left  1 of 3 files  b"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.begin("-", -1).end()
	b.end()
	if got, want := at(time.Hour), "100%  2.9 of 2.9 KiB  3 of 3 files"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var none *progress
	none.expect(1, 1)
	none.expectNoMore()
	f := none.begin("a", 1)
	f.set(1)
	f.end()
	none.stop()
	if f.follow() != nil {
		t.Error("nothing to show is followed")
	}
}

// The line is gone before anything else is written, to either output; it does not
// stand behind half a line; and where stderr is no terminal there is none.
func TestScreen(t *testing.T) {
	line := func(int) string { return "50%" }
	for name, c := range map[string]struct {
		outTerminal, errTerminal bool
		out, err                 string
	}{
		"results in a pipe":   {false, true, "result\nhalf", "\r\x1b[K50%\r\x1b[K\r\x1b[K50%\r\x1b[Kmessage\n\r\x1b[K50%\r\x1b[K\r\x1b[K50%"},
		"messages in a pipe":  {true, false, "result\nhalf", "message\n"},
		"nothing on a screen": {false, false, "result\nhalf", "message\n"},
	} {
		t.Run(name, func(t *testing.T) {
			columns := map[bool]int{true: 80}
			stdout, stderr := &fakeTerminal{columns: columns[c.outTerminal]}, &fakeTerminal{columns: columns[c.errTerminal]}
			out, errOut := newScreen(stdout, stderr)
			s := out.screen
			s.showLine(line)
			printf(out, "result\n")
			s.showLine(line)
			printf(errOut, "message\n")
			s.showLine(line)
			printf(out, "half")
			s.showLine(line)
			if got := stdout.all.String(); got != c.out {
				t.Errorf("stdout %q, want %q", got, c.out)
			}
			if got := stderr.all.String(); got != c.err {
				t.Errorf("stderr %q, want %q", got, c.err)
			}
		})
	}
	one := &fakeTerminal{columns: 80}
	out, errOut := newScreen(one, one)
	for range 2 {
		out.screen.showLine(line)
		printf(out, "result\n")
		out.screen.showLine(line)
		printf(errOut, "message\n")
	}
	printf(out, "half")
	out.screen.showLine(line)
	if got := one.rows(t); strings.Join(got, "|") != "result|message|result|message|half" {
		t.Errorf("a terminal shows %q", got)
	}
	t.Setenv("TERM", "dumb")
	f := &fakeTerminal{columns: 80}
	out, _ = newScreen(f, f)
	if out.screen.showLine(line); f.all.Len() > 0 {
		t.Errorf("a dumb terminal gets %q", &f.all)
	}
}

func TestClipMiddle(t *testing.T) {
	for _, c := range []struct {
		s       string
		columns int
		want    string
	}{
		{"abcdefgh", 8, "abcdefgh"}, {"abcdefgh", 7, "abc…fgh"}, {"abcdefgh", 6, "abc…gh"}, {"abcdefgh", 1, "…"}, {"abcdefgh", 0, ""}, {"", 0, ""},
		{"文字列文字列", 12, "文字列文字列"}, {"文字列文字列", 11, "文字…字列"}, {"文字列文字列", 6, "文…列"},
		{"e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301…e\u0301"}, {"abcde\u0301", 3, "a…e\u0301"},
	} {
		if got := clipMiddle(c.s, c.columns); got != c.want || textWidth(got) > c.columns {
			t.Errorf("%q in %d: %q, want %q", c.s, c.columns, got, c.want)
		}
	}
}
