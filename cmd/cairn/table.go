package main

import (
	"io"
	"slices"
	"strings"
)

// tableRows is how many rows of a table are measured together, and held in memory.
const tableRows = 1000

// A tableWriter writes lines, and tables whose columns stand under each other. On a
// terminal both fit its width: long lines and last columns go on in the next row, and
// where that does not suffice, columns are left out and named below.
type tableWriter struct {
	out   io.Writer
	wide  int // columns of the terminal; 0 is no terminal, and everything is written as it is
	kinds []column
	rows  [][]string // of the table that is being written
	sizes []int      // of its columns, at least
	gone  []string   // headings of columns that were left out
	err   error
}

// A column says how a table writes one.
type column struct {
	right bool // its cells stand at the right
	keep  bool // it is never left out; the last one never is
}

func newTableWriter(w io.Writer) *tableWriter { return &tableWriter{out: w, wide: columnsOf(w)} }

// line writes a line, and ends the table before it.
func (w *tableWriter) line(format string, args ...any) {
	w.endTable()
	text := textf(format, args...)
	if w.wide == 0 {
		w.write(text)
		return
	}
	indent := len(text) - len(strings.TrimLeft(text, " "))
	for i, part := range wrapText(strings.TrimLeft(text, " "), w.wide-indent-2) {
		if i > 0 {
			part = "  " + part
		}
		w.write(strings.Repeat(" ", indent) + part)
	}
}

// beginTable begins a table with columns of these kinds.
func (w *tableWriter) beginTable(kinds ...column) {
	w.endTable()
	w.kinds = kinds
}

// row writes a row of a table. Unless beginTable has said otherwise, the last cell
// stands at the left, the others at the right, and the first row has the headings.
func (w *tableWriter) row(cells ...any) {
	if w.kinds == nil {
		w.kinds = make([]column, len(cells))
		for i := range len(cells) - 1 {
			w.kinds[i] = column{right: true, keep: i == 0}
		}
	}
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = textf("%v", c)
	}
	if w.rows = append(w.rows, texts); len(w.rows) == tableRows {
		w.flushRows()
	}
}

// endTable ends the table that is being written.
func (w *tableWriter) endTable() {
	w.flushRows()
	if len(w.gone) > 0 {
		gone := strings.Join(w.gone, ", ")
		w.gone, w.kinds = nil, nil
		w.line("(too narrow for: %s; --json has all)", gone)
	}
	w.kinds, w.sizes = nil, nil
}

// finish ends what is being written and returns the first error.
func (w *tableWriter) finish() error {
	w.endTable()
	return w.err
}

func (w *tableWriter) write(line string) {
	if w.err == nil {
		w.err = writeText(w.out, strings.TrimRight(line, " ")+"\n")
	}
}

const columnGap = 2 // spaces between columns

// flushRows writes the rows that were gathered.
func (w *tableWriter) flushRows() {
	if len(w.rows) == 0 {
		return
	}
	first := w.sizes == nil
	if first {
		w.sizes = make([]int, len(w.kinds))
	}
	for _, r := range w.rows {
		for i, c := range r {
			w.sizes[i] = max(w.sizes[i], textWidth(c))
		}
	}
	shown := w.chooseColumns()
	if first && len(shown) < len(w.kinds) && w.kinds[0].right && w.kinds[len(shown)-1].right {
		for i, heading := range w.rows[0] {
			if !slices.Contains(shown, i) {
				w.gone = append(w.gone, heading)
			}
		}
	}
	for _, r := range w.rows {
		w.writeRow(r, shown)
	}
	w.rows = w.rows[:0]
}

// chooseColumns returns which columns are shown. On a terminal the last one gets half of
// it, or what it needs: others are left out for it, from the right.
func (w *tableWriter) chooseColumns() []int {
	shown := make([]int, len(w.kinds))
	for i := range shown {
		shown[i] = i
	}
	if w.wide == 0 {
		return shown
	}
	for i := len(w.kinds) - 2; i >= 0 && w.room(shown) < min(w.sizes[len(w.sizes)-1], w.wide/2); i-- {
		if !w.kinds[i].keep {
			shown = slices.Delete(shown, i, i+1)
		}
	}
	return shown
}

// room returns how many columns of a terminal are left for the last column.
func (w *tableWriter) room(shown []int) int {
	room := w.wide
	for _, i := range shown[:len(shown)-1] {
		room -= w.sizes[i] + columnGap
	}
	return room
}

func (w *tableWriter) writeRow(cells []string, shown []int) {
	var line strings.Builder
	last := shown[len(shown)-1]
	for _, i := range shown[:len(shown)-1] {
		pad := strings.Repeat(" ", w.sizes[i]-textWidth(cells[i]))
		if w.kinds[i].right {
			line.WriteString(pad + cells[i])
		} else {
			line.WriteString(cells[i] + pad)
		}
		line.WriteString(strings.Repeat(" ", columnGap))
	}
	if w.wide == 0 {
		w.write(line.String() + cells[last])
		return
	}
	room := max(w.room(shown), 1)
	indent := line.String()
	for _, part := range wrapText(cells[last], room) {
		w.write(indent + part)
		indent = strings.Repeat(" ", max(w.wide-room, 0))
	}
}

// wrapText breaks a text into parts of at most columns columns, at spaces if it can.
func wrapText(s string, columns int) []string {
	columns = max(columns, 2) // of a wide character
	var out []string
	for textWidth(s) > columns {
		end, space, n := 0, -1, 0
		for i, r := range s {
			if n += runeWidth(r); n > columns {
				break
			}
			if r == ' ' && i > 0 {
				space = i
			}
			end = i + len(string(r))
		}
		if strings.HasPrefix(s[end:], " ") {
			space = end
		}
		if space > 0 {
			end = space
		}
		out = append(out, s[:end])
		s = strings.TrimLeft(s[end:], " ")
	}
	return append(out, s)
}

// shortID returns as much of a long ID as tells it from others to the eye.
func shortID(id string) string {
	const digits = 10
	if len(id) <= digits+3 {
		return id
	}
	return id[:digits] + "…"
}
