package linear

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

// A crash undoes what nobody was told of, and whoever saw it; never what was
// answered.
func TestCrash(t *testing.T) {
	put := call{op: opPut, path: "a", content: "1", tag: "1"}
	get := call{op: opGet, path: "a"}
	seen := Version{ID: "x", Path: "a", N: 1, Content: "1"}
	for _, c := range []struct {
		name    string
		answer  error // of the put
		crashes bool
		fails   bool
	}{
		{"undone by a crash", errors.New("lost"), true, false},
		{"undone without one", errors.New("lost"), false, true},
		{"acknowledged and undone", nil, true, true},
	} {
		h := NewHistory()
		note := func(c call, v Version, err error) { h.noteAnswer(0, h.clock.Add(1), c, v, err) }
		note(put, seen, c.answer)
		note(get, seen, nil)
		if c.crashes {
			h.Crash()
		}
		note(get, Version{}, fs.ErrNotExist)
		if err := Check(h, time.Minute); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
