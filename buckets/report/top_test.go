package report

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// A list has the largest, and gives back all others.
func TestTopList(t *testing.T) {
	for _, most := range []int{1, 3, 20, 1000} {
		l := newTopList(most, func(a, b *int) int { return cmp.Compare(*a, *b) })
		all := rand.New(rand.NewPCG(1, 2)).Perm(500)
		var dropped []int
		for _, n := range all {
			takes := l.takesEntry(&n)
			d, ok := l.addEntry(n)
			if ok {
				dropped = append(dropped, d)
			}
			if takes == (ok && d == n) {
				t.Fatalf("%d: takes %v, dropped %d, %v", n, takes, d, ok)
			}
		}
		slices.Sort(all)
		slices.Reverse(all)
		slices.Sort(dropped)
		slices.Reverse(dropped)
		if n := min(most, len(all)); !slices.Equal(l.listLargest(), all[:n]) || !slices.Equal(dropped, all[n:]) {
			t.Errorf("%d: %v, dropped %v", most, l.listLargest(), dropped)
		}
	}
	for top, want := range map[int]int{0: defaultTop, -1: 1, 5: 5, 1 << 30: MaxTop} {
		if got := (&Options{Top: top}).withDefaults().Top; got != want {
			t.Errorf("top %d is %d", top, got)
		}
	}
}
