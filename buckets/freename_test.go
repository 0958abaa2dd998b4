package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// A folderOf is a folder whose names are taken by a rule. It counts look-ups.
type folderOf struct {
	taken   func(name string) bool
	err     error // of a look-up behind the first
	lookups int
}

func (f *folderOf) FileByPath(_ context.Context, _, path string) (*manifest.File, error) {
	f.lookups++
	if f.lookups > 1 && f.err != nil {
		return nil, f.err
	}
	if f.taken(path) {
		return &manifest.File{}, nil
	}
	return nil, fs.ErrNotExist
}

func TestFreeNameIsBounded(t *testing.T) {
	race.LeaveOut(t)
	of := func(names ...string) func(string) bool {
		set := make(map[string]bool)
		for _, n := range names {
			set[n] = true
		}
		return func(n string) bool { return set[n] }
	}
	upTo := func(name string, most int) func(string) bool {
		set := make(map[string]bool, most)
		for n := 2; n <= most; n++ {
			set[names.Numbered(name, n)] = true
		}
		return func(n string) bool { return n == name || set[n] }
	}
	powers := func(name string) func(string) bool {
		set := map[string]bool{name: true}
		for k := 1; k < 63; k++ {
			set[names.Numbered(name, 1<<k)] = true
		}
		return func(n string) bool { return set[n] }
	}
	all := func(string) bool { return true }
	failed := errors.New("disk failed")
	long := strings.Repeat("n", names.MaxName-4) + ".pdf"
	longExt := "n." + strings.Repeat("e", names.MaxName-2)
	wide := strings.Repeat("語", names.MaxName/3)
	tests := []struct {
		about  string
		name   string
		folder folderOf
		want   string // "" is any name that is free
		err    error
	}{
		{"free", "x.pdf", folderOf{taken: of()}, "x.pdf", nil},
		{"one taken", "x.pdf", folderOf{taken: of("x.pdf")}, "x (2).pdf", nil},
		{"a run taken", "x.pdf", folderOf{taken: upTo("x.pdf", 1000)}, "x (1001).pdf", nil},
		{"all powers of two taken", "x", folderOf{taken: powers("x")}, "", nil},
		{"all powers of two taken, at the limit of length", long, folderOf{taken: powers(long)}, "", nil},
		{"all numbers up to the bound taken", "x", folderOf{taken: upTo("x", 1<<freeDoublings)}, "", nil},
		{"all taken", "x", folderOf{taken: all}, "", ErrExist},
		{"at the limit of length", long, folderOf{taken: of(long)}, names.Numbered(long, 2), nil},
		{"extension at the limit of length", longExt, folderOf{taken: upTo(longExt, 100)}, names.Numbered(longExt, 101), nil},
		{"characters of three bytes at the limit of length", wide, folderOf{taken: upTo(wide, 10)}, names.Numbered(wide, 11), nil},
		{"a look-up fails", "x", folderOf{taken: all, err: failed}, "", failed},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			got, err := freeName(t.Context(), &tt.folder, "b", "", tt.name)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.folder.lookups > maxFreeLookups {
				t.Errorf("%d look-ups, at most %d are allowed", tt.folder.lookups, maxFreeLookups)
			}
			if err != nil {
				return
			}
			if tt.want != "" && got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if clean, err := names.Clean(got); err != nil || clean != got || tt.folder.taken(got) {
				t.Errorf("%q is taken or is no name: %v", got, err)
			}
		})
	}
}

// Numbered names of different names may be the same; the search only asks
// whether a name is taken, so no form of a name makes it go on.
func TestNumberedNamesAreNames(t *testing.T) {
	for _, ext := range []int{0, 1, 10, 240, 245, 250, 251, 252, 253, 254} {
		for _, char := range []string{"n", "é", "語", "😀"} {
			base := strings.Repeat(char, (names.MaxName-ext)/len(char))
			name := base
			if ext > 0 {
				name = base[:len(base)-len(base)%len(char)] + "." + strings.Repeat("e", ext-1)
			}
			for _, n := range []int{2, 10, 1 << freeDoublings, 1<<freeDoublings + maxFreeNumber} {
				got := names.Numbered(name, n)
				if _, err := names.Clean(got); err != nil || !strings.Contains(got, fmt.Sprintf("(%d)", n)) {
					t.Errorf("names.Numbered(%.20q of %d bytes, %d) = %q: %v", name, len(name), n, got, err)
				}
			}
		}
	}
}
