package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

// printable returns text of others, such as a name or a message about one, as it may
// be shown: characters that drive terminals, break lines or turn the direction of
// text are written as in Go.
func printable(s string) string {
	if !utf8.ValidString(s) {
		var out strings.Builder
		for len(s) > 0 {
			r, n := utf8.DecodeRuneInString(s)
			if r == utf8.RuneError && n == 1 {
				fmt.Fprintf(&out, `\x%02x`, s[0])
			} else {
				out.WriteString(s[:n])
			}
			s = s[n:]
		}
		s = out.String()
	}
	return names.Escape(s)
}

// printf is fmt.Fprintf with printable arguments. All text of this program goes
// through it: only the format may break lines.
func printf(w io.Writer, format string, args ...any) (int, error) {
	return io.WriteString(w, textf(format, args...))
}

// textf is fmt.Sprintf with printable arguments.
func textf(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, a := range args {
		safe[i] = printableArg(a)
	}
	return fmt.Sprintf(format, safe...)
}

// writeText writes text of this program's own, of several lines.
func writeText(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func printableArg(a any) any {
	switch v := a.(type) {
	case string:
		return printable(v)
	case error:
		return printable(v.Error())
	case fmt.Stringer:
		return printable(v.String())
	}
	if v := reflect.ValueOf(a); v.Kind() == reflect.String {
		return printable(v.String())
	}
	return a
}

// writeJSON writes a value as JSON, on one line unless it is indented. What printable
// escapes is written as \uXXXX, which means the same.
func writeJSON(w io.Writer, v any, indented bool) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if indented {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return err
	}
	var out bytes.Buffer
	for _, r := range b.String() {
		switch {
		case r < 0x7f || names.Escape(string(r)) == string(r):
			out.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// A failure is an error as --json writes it.
type failure struct {
	Error string `json:"error"`
	Code  string `json:"code,omitempty"` // of the server
	Path  string `json:"path,omitempty"` // which of several files, keys … it is about
}

func newFailure(path string, err error) *failure {
	f := &failure{Error: strings.TrimPrefix(err.Error(), path+": "), Path: path}
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		f.Code = refusal.Code
	}
	return f
}

// writeFailure tells on stderr why the command failed: with asJSON as an object, else
// as a line for each error that was joined.
func writeFailure(stderr io.Writer, err error, asJSON bool) {
	if asJSON {
		writeJSON(stderr, newFailure("", err), false)
		return
	}
	for _, e := range splitErrors(err) {
		printf(stderr, "cairn: %s\n", e)
	}
}

// splitErrors returns the errors that errors.Join has joined to err, or err.
func splitErrors(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	texts := make([]string, len(joined.Unwrap()))
	for i, e := range joined.Unwrap() {
		texts[i] = e.Error()
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, splitErrors(e)...)
	}
	return out
}

// reportFailure tells that verb failed with one of several things, and that others
// are gone on with: on stderr, or with --json among the objects on stdout.
func (t *target) reportFailure(verb, path string, err error) {
	if t.json {
		writeJSON(t.stdout, newFailure(path, err), false)
		return
	}
	for _, e := range splitErrors(err) {
		printf(t.stderr, "cairn: %s %s: %s\n", verb, path, strings.TrimPrefix(e.Error(), path+": "))
	}
}

// A screen is what a command writes to: its results and its messages, which may both be
// on one terminal, and on it below them a line that shows what goes on. The line is
// gone before anything else is written.
type screen struct {
	mu    sync.Mutex
	err   io.Writer // a terminal, or no line is shown
	shown bool      // the line
	open  bool      // something else is on the last line
}

// newScreen returns writers to stdout and stderr in place of them.
func newScreen(stdout, stderr io.Writer) (out, err *screenWriter) {
	s := &screen{err: stderr}
	return &screenWriter{s, stdout}, &screenWriter{s, stderr}
}

// A screenWriter writes to one of the two.
type screenWriter struct {
	screen *screen
	w      io.Writer
}

func (w *screenWriter) Write(p []byte) (int, error) {
	s := w.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLine()
	if len(p) > 0 && columnsOf(w.w) > 0 {
		s.open = p[len(p)-1] != '\n'
	}
	return w.w.Write(p)
}

// eraseLine takes the line away. The caller holds mu.
func (s *screen) eraseLine() {
	if s.shown {
		io.WriteString(s.err, "\r\x1b[K")
		s.shown = false
	}
}

// showLine shows a line that fits the terminal in place of the one before it; ""
// shows none. fit gets the columns that it may have.
func (s *screen) showLine(fit func(columns int) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	columns := columnsOf(s.err)
	if columns == 0 || s.open || os.Getenv("TERM") == "dumb" {
		return
	}
	text := fit(columns - 1) // the last one would wrap on some terminals
	if text == "" {
		s.eraseLine()
		return
	}
	io.WriteString(s.err, "\r\x1b[K"+clipMiddle(text, columns-1))
	s.shown = true
}

// hideLine takes the line away.
func (s *screen) hideLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLine()
}

// rawWriter returns the file or pipe behind w, for content: on a terminal no line is
// shown beside that.
func rawWriter(w io.Writer) io.Writer {
	if s, ok := w.(*screenWriter); ok {
		return s.w
	}
	return w
}

// columnsOf returns how wide a terminal is, or 0 if w is none.
func columnsOf(w io.Writer) int {
	switch v := rawWriter(w).(type) {
	case interface{ Columns() int }: // of a test
		return v.Columns()
	case *os.File:
		if !term.IsTerminal(int(v.Fd())) {
			return 0
		}
		if columns, _, err := term.GetSize(int(v.Fd())); err == nil && columns > 0 {
			return columns
		}
		return 80
	}
	return 0
}

// textWidth returns how many columns a terminal needs for s.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// isCombining reports a character that takes no column of its own.
func isCombining(r rune) bool { return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) }

func runeWidth(r rune) int {
	if isCombining(r) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// clipMiddle returns s in at most columns columns: if it is longer, an ellipsis takes
// the place of its middle, so that a path keeps where it begins and how it ends.
func clipMiddle(s string, columns int) string {
	if textWidth(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	tail := (columns - 1) / 2
	head := columns - 1 - tail
	rs := []rune(s)
	i, n := 0, 0
	for ; n+runeWidth(rs[i]) <= head; i++ {
		n += runeWidth(rs[i])
	}
	j, m := len(rs), 0
	for ; m+runeWidth(rs[j-1]) <= tail; j-- {
		m += runeWidth(rs[j-1])
	}
	for j < len(rs) && isCombining(rs[j]) { // belongs to what is left out
		j++
	}
	return string(rs[:i]) + "…" + string(rs[j:])
}
