package manifesttest

import (
	"fmt"
	"reflect"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// testScrubs tests that the last result of each pack is kept, by domain, and that
// one moment is read.
func (s *suite) testScrubs() {
	all := func(when, domain string, want ...manifest.Scrubbed) {
		s.t.Helper()
		if got := collectAll(s, s.s.AllScrubbed(s.ctx, domain)); !reflect.DeepEqual(got, want) {
			s.t.Errorf("%s: scrubbed in %s\n%+v, want\n%+v", when, domain, got, want)
		}
	}
	put := func(domain string, ss ...manifest.Scrubbed) {
		s.t.Helper()
		s.failOn(s.s.PutScrubbed(s.ctx, domain, ss))
	}
	all("none", domain)
	one := manifest.Scrubbed{Pack: cas.PackID{1}, At: day, Size: 10, Bytes: 9}
	two := manifest.Scrubbed{Pack: cas.PackID{2}, At: day.Add(time.Hour), Failed: "the pack is missing"}
	three := manifest.Scrubbed{Pack: cas.PackID{3}, At: day, Size: 1 << 40, Bytes: 1 << 39, Bad: 7}
	put(domain, three, one)
	put(domain)
	put(domain, two)
	put("y", three)
	all("put", domain, one, two, three)
	later := two
	later.At, later.Failed, later.Size = day.Add(2*time.Hour), "", 5
	put(domain, three, later, later)
	all("put again", domain, one, later, three)
	for range 2 {
		s.failOn(s.s.DropScrubbed(s.ctx, domain, []cas.PackID{three.Pack, {9}}))
	}
	s.failOn(s.s.DropScrubbed(s.ctx, domain, nil))
	s.addFile("", "f", 1) // its commit makes them durable
	s.restart()
	all("dropped", domain, one, later)
	all("of another domain", "y", three)

	met := 0
	for _, err := range s.s.AllScrubbed(s.ctx, domain) {
		s.failOn(err)
		met++
		put(domain, three)
	}
	if met != 2 {
		s.t.Errorf("%d results of one moment, want 2", met)
	}
	var many []manifest.Scrubbed
	for i := range 3000 {
		many = append(many, manifest.Scrubbed{Pack: cas.PackID{byte(i >> 8), byte(i), 1}, At: day, Size: int64(i), Failed: fmt.Sprint(i)})
	}
	put("z", many...)
	all("many", "z", many...)
}

// testPoints tests that a day and domain has one point, and that points go by
// their days.
func (s *suite) testPoints() {
	point := func(days int, domain string, n int64) *manifest.Point {
		return &manifest.Point{Day: day.Truncate(24*time.Hour).AddDate(0, 0, days), Domain: domain, Files: n, FreedBytes: 2 * n}
	}
	since := func(when string, t time.Time, want ...*manifest.Point) {
		s.t.Helper()
		if got := collectAll(s, s.s.Points(s.ctx, t)); !reflect.DeepEqual(got, want) {
			s.t.Errorf("%s: points since %v\n%+v, want\n%+v", when, t, got, want)
		}
	}
	put := func(ps ...*manifest.Point) {
		s.t.Helper()
		for _, p := range ps {
			s.failOn(s.s.PutPoint(s.ctx, p))
		}
	}
	since("none", time.Time{})
	a, b, c, d := point(0, "a", 1), point(0, "b", 2), point(1, "a", 3), point(2, "", 4)
	put(d, c, b, a, point(1, "b", 5))
	e := point(1, "b", 6)
	put(e)
	since("put", time.Time{}, a, b, c, e, d)
	since("put", a.Day, a, b, c, e, d)
	since("put", a.Day.Add(time.Millisecond), c, e, d)
	since("put", d.Day.Add(time.Millisecond))
	s.failOn(s.s.DropPoints(s.ctx, a.Day))
	since("nothing dropped", time.Time{}, a, b, c, e, d)
	s.failOn(s.s.DropPoints(s.ctx, c.Day))
	s.addFile("", "f", 1) // its commit makes that durable
	s.restart()
	since("dropped", time.Time{}, c, e, d)
	s.failOn(s.s.DropPoints(s.ctx, d.Day.AddDate(1, 0, 0)))
	since("all dropped", time.Time{})
}
