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
	purge := call{op: opPurge, path: "a", id: "x"}
	seen := Version{ID: "x", Path: "a", N: 1, Content: "1"}
	for _, c := range []struct {
		name    string
		answer  error // of the put
		crashes bool
		purges  bool
		fails   bool
	}{
		{"undone by a crash", errors.New("lost"), true, false, false},
		{"undone without one", errors.New("lost"), false, false, true},
		{"acknowledged and undone", nil, true, false, true},
		{"not undone, and purged after it", errors.New("lost"), true, true, false},
		{"purged and acknowledged", nil, true, true, false},
	} {
		h := NewHistory()
		note := func(c call, v Version, err error) { h.noteAnswer(0, h.clock.Add(1), c, v, err) }
		note(put, seen, c.answer)
		note(get, seen, nil)
		if c.crashes {
			h.Crash()
		}
		if c.purges {
			note(purge, Version{}, nil)
		}
		note(get, Version{}, fs.ErrNotExist)
		if err := Check(h, time.Minute); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
