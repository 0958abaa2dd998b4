// Package linear checks histories of the file API for linearizability: whether
// all answers that concurrent clients got can be those of one order of their
// calls, each at one moment between its call and its answer. A call whose answer
// was lost may have happened at any moment since, or never.
//
// Run has clients work on a Store and notes what they see, Check looks for an
// order by porcupine. model.go says what one call after another does.
package linear

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// An op is a kind of call.
type op string

const (
	opPut      op = "put"      // content at path, if the current content is the one to match
	opGet      op = "get"      // what is current at path
	opVersion  op = "version"  // a version of a file
	opDelete   op = "delete"   // a file to the trash
	opUndelete op = "undelete" // and back
	opPurge    op = "purge"
	opRestore  op = "restore" // a version as the newest
)

// A call is what a client asks for. Calls about different paths do not concern
// each other: path is that of the file with id when it was made.
type call struct {
	op      op
	path    string
	id      string
	n       uint64
	content string
	match   string // content
	tag     string // no other call has it
}

// An ending is how a call ended.
type ending int

const (
	done    ending = iota
	absent         // there is no such file or version
	refused        // it does not match, or is not in the trash
	unknown        // the answer is lost
)

// An answer is what a client is told.
type answer struct {
	ending
	path    string
	id      string
	n       uint64
	content string
}

// A state is that of all files that were made at one path.
type state struct{ files []file }

// A file is never changed once it is part of a state.
type file struct {
	id       string // "?" and a tag while nobody has seen it
	path     string // which may be another one after undelete
	trashed  bool
	contents []string // of versions, from 1
}

func (f *file) currentContent() string { return f.contents[len(f.contents)-1] }

// findFile returns the place of a file, -1 if there is none.
func (s *state) findFile(id string) int {
	return slices.IndexFunc(s.files, func(f file) bool { return f.id == id })
}

// findActive returns the place of the file that is at a path.
func (s *state) findActive(path string) int {
	return slices.IndexFunc(s.files, func(f file) bool { return !f.trashed && f.path == path })
}

// findUnseen returns the place of a file whose ID nobody has told, at a path if
// there is one, -1 if there is none.
func (s *state) findUnseen(path string) int {
	isUnseen := func(f file) bool { return strings.HasPrefix(f.id, "?") }
	if i := s.findActive(path); i >= 0 && isUnseen(s.files[i]) {
		return i
	}
	return slices.IndexFunc(s.files, isUnseen)
}

// withFile returns a state with another file at a place; one beyond the last is added.
func (s *state) withFile(i int, f file) state {
	files := slices.Clone(s.files)
	if i == len(files) {
		return state{append(files, f)}
	}
	files[i] = f
	return state{files}
}

// takeName gives f the ID that an answer tells. It returns false if f has another.
func (s *state) takeName(f *file, id string) bool {
	if strings.HasPrefix(f.id, "?") && id != "" && s.findFile(id) < 0 {
		f.id = id
	}
	return id == "" || f.id == id
}

// stepCall makes a call, and says whether it can have had that answer.
func stepCall(s state, c call, a answer) (bool, state) {
	fits := func(want ending) (bool, state) { return a.ending == want || a.ending == unknown, s }
	switch c.op {
	case opPut:
		return stepPut(s, c, a)
	case opGet:
		i := s.findActive(c.path)
		if i < 0 {
			return fits(absent)
		}
		f := s.files[i]
		ok := s.takeName(&f, a.id) && a.n == uint64(len(f.contents)) && a.content == f.currentContent()
		return a.ending == unknown || a.ending == done && ok, s.withFile(i, f)
	}
	i := s.findFile(c.id)
	if i < 0 && a.ending == done {
		// Whoever told its ID has told it before a crash, and counts no longer.
		if i = s.findUnseen(c.path); i >= 0 {
			f := s.files[i]
			f.id = c.id
			s = s.withFile(i, f)
		}
	}
	if i < 0 || s.files[i].trashed && c.op != opUndelete && c.op != opPurge {
		return fits(absent)
	}
	f := s.files[i]
	switch c.op {
	case opDelete:
		f.trashed = true
	case opPurge:
		_, out := fits(done)
		out.files = slices.Delete(slices.Clone(s.files), i, i+1)
		return a.ending == done || a.ending == unknown, out
	case opUndelete:
		if !f.trashed {
			return fits(refused)
		}
		// Its own path, unless that was taken since.
		if s.findActive(c.path) >= 0 || f.path != c.path {
			f.path = "?" + c.tag
			if a.ending == done {
				f.path = a.path
			}
		} else if a.ending == done && a.path != c.path {
			return false, s
		}
		f.trashed = false
	case opVersion, opRestore:
		if c.n == 0 || c.n > uint64(len(f.contents)) {
			return fits(absent)
		}
		content := f.contents[c.n-1]
		if c.op == opVersion {
			return a.ending == unknown || a.ending == done && a.content == content, s
		}
		f.contents = append(slices.Clip(f.contents), content)
		if a.ending == done && a.n != uint64(len(f.contents)) {
			return false, s
		}
	}
	return a.ending == done || a.ending == unknown, s.withFile(i, f)
}

func stepPut(s state, c call, a answer) (bool, state) {
	i := s.findActive(c.path)
	if c.match != "" && (i < 0 || s.files[i].currentContent() != c.match) {
		return a.ending == refused || a.ending == unknown, s
	}
	f := file{id: "?" + c.tag, path: c.path}
	if i < 0 {
		i = len(s.files)
	} else {
		f = s.files[i]
	}
	f.contents = append(slices.Clip(f.contents), c.content)
	out := s.withFile(i, f)
	if a.ending == unknown {
		return true, out
	}
	ok := s.takeName(&f, a.id) && a.n == uint64(len(f.contents)) && a.ending == done
	return ok, s.withFile(i, f)
}

// newModel returns the sequential model for porcupine, one partition for each path.
func newModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			at := make(map[string]int)
			var out [][]porcupine.Operation
			for _, o := range history {
				path := o.Input.(call).path
				i, ok := at[path]
				if !ok {
					i = len(out)
					at[path] = i
					out = append(out, nil)
				}
				out[i] = append(out[i], o)
			}
			return out
		},
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) { return stepCall(s.(state), in.(call), out.(answer)) },
		Equal: func(a, b any) bool {
			x, y := a.(state).files, b.(state).files
			return len(x) == len(y) && (len(x) == 0 || reflect.DeepEqual(x, y))
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	}
}

// Check returns nil if a history is linearizable, and else an error that names
// the path where it is not, with the calls about it.
func Check(h *History, patience time.Duration) error {
	m := newModel()
	for _, part := range m.Partition(h.listOperations()) {
		switch porcupine.CheckOperationsTimeout(m, part, patience) {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("linear: %d calls about %s could not be checked in %v", len(part), part[0].Input.(call).path, patience)
		default:
			var text strings.Builder
			slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			for _, o := range part {
				end := fmt.Sprint(o.Return)
				if o.Return == math.MaxInt64 {
					end = "…"
				}
				fmt.Fprintf(&text, "\n%d–%s client %d: %s", o.Call, end, o.ClientId, m.DescribeOperation(o.Input, o.Output))
			}
			return fmt.Errorf("linear: no order of these calls gives their answers:%s", text.String())
		}
	}
	return nil
}
