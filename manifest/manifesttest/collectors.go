package manifesttest

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func (s *suite) takeLease(domain string, length time.Duration) manifest.Lease {
	s.t.Helper()
	l, err := s.s.TakeLease(s.ctx, domain, length)
	if err != nil || l.Domain != domain {
		s.t.Fatalf("lease %+v, %v", l, err)
	}
	return l
}

func (s *suite) nextEpoch(domain string) uint64 {
	s.t.Helper()
	n, err := s.s.NextEpoch(s.ctx, domain)
	s.failOn(err)
	return n
}

// testLeases tests that a domain has one collector, until its time is over or it
// gives the lease back, and that tokens rise.
func (s *suite) testLeases() {
	refused := func(domain string) {
		s.t.Helper()
		if l, err := s.s.TakeLease(s.ctx, domain, time.Hour); !errors.Is(err, manifest.ErrLeased) {
			s.t.Errorf("taken from its holder: %+v, %v", l, err)
		}
	}
	first := s.takeLease("x", time.Hour)
	other := s.takeLease("y", time.Hour)
	if first.Token == 0 {
		s.t.Error("a token is 0, which is that of no collector")
	}
	refused("x")
	refused("y")
	s.failOn(s.s.RenewLease(s.ctx, first, time.Hour))
	refused("x")
	s.failOn(s.s.ReleaseLease(s.ctx, first))
	refused("y")
	second := s.takeLease("x", 0)
	third := s.takeLease("x", 0) // the time of the second was over at once
	if second.Token <= first.Token || third.Token <= second.Token {
		s.t.Errorf("tokens %d, %d, %d", first.Token, second.Token, third.Token)
	}
	for _, l := range []manifest.Lease{first, second} {
		if err := s.s.RenewLease(s.ctx, l, time.Hour); !errors.Is(err, cas.ErrFenced) {
			s.t.Errorf("token %d of %d is renewed: %v", l.Token, third.Token, err)
		}
		s.failOn(s.s.ReleaseLease(s.ctx, l))
	}
	s.failOn(s.s.RenewLease(s.ctx, third, time.Hour)) // its time was over, and nobody has taken it
	refused("x")
	s.failOn(s.s.ReleaseLease(s.ctx, second))
	refused("x")
	for range 2 {
		s.failOn(s.s.ReleaseLease(s.ctx, third))
	}
	s.failOn(s.s.ReleaseLease(s.ctx, other))
	s.restart()
	if l := s.takeLease("x", 0); l.Token <= third.Token {
		s.t.Errorf("after a restart token %d, before it %d", l.Token, third.Token)
	}
}

// oneLease tests that of those who take a lease side by side one gets it.
func (s *suite) oneLease() {
	for range 10 {
		var wg sync.WaitGroup
		got := make(chan manifest.Lease, 8)
		for range cap(got) {
			wg.Go(func() {
				l, err := s.s.TakeLease(s.ctx, "x", time.Hour)
				if err == nil {
					got <- l
				} else if !errors.Is(err, manifest.ErrLeased) {
					s.t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(got) != 1 {
			s.t.Fatalf("%d have the lease", len(got))
		}
		s.failOn(s.s.ReleaseLease(s.ctx, <-got))
	}
}

// testFloor tests that the floor never falls, is never above the epoch, and is
// raised by the collector that has the lease, and no other.
func (s *suite) testFloor() {
	floor := func(domain string, want uint64) {
		s.t.Helper()
		if got, err := s.s.Floor(s.ctx, domain); err != nil || got != want {
			s.t.Errorf("floor %d of %s, %v, want %d", got, domain, err, want)
		}
	}
	floor("x", 0)
	for range 3 {
		s.nextEpoch("x")
	}
	old := s.takeLease("x", 0)
	s.failOn(s.s.RaiseFloor(s.ctx, old, 2))
	floor("x", 2)
	s.failOn(s.s.RaiseFloor(s.ctx, old, 1))
	floor("x", 2)
	if err := s.s.RaiseFloor(s.ctx, old, 4); err == nil || errors.Is(err, cas.ErrFenced) {
		s.t.Errorf("above the epoch: %v", err)
	}
	now := s.takeLease("x", time.Hour)
	for _, n := range []uint64{1, 3} {
		if err := s.s.RaiseFloor(s.ctx, old, n); !errors.Is(err, cas.ErrFenced) {
			s.t.Errorf("raised by a collector that has lost its lease: %v", err)
		}
	}
	floor("x", 2)
	s.failOn(s.s.RaiseFloor(s.ctx, now, 3))
	floor("y", 0)
	s.restart()
	floor("x", 3)
	floor("y", 0)
	if n, err := s.s.Epoch(s.ctx, "x"); err != nil || n != 3 {
		s.t.Errorf("epoch %d, %v", n, err)
	}
}

// testBarrier tests that a transaction reads the floor, removals and epoch of any
// domain, and that they do not change before it is committed.
func (s *suite) testBarrier() {
	e := cas.ChunkEntry{Digest: cas.Sum(nil), Frame: cas.FrameID{1}, Length: 1}
	s.applyChange(&cas.Change{Frames: []cas.FrameEntry{{ID: e.Frame}}, Chunks: []cas.ChunkEntry{e}})
	s.applyChange(&cas.Change{Bad: []cas.ChunkEntry{e}})
	lease := s.takeLease(domain, time.Hour)
	for range 2 {
		s.nextEpoch(domain)
	}
	s.failOn(s.s.RaiseFloor(s.ctx, lease, 1))
	want := manifest.Barrier{Floor: 1, Removals: 1, Epoch: 2}
	for _, d := range []string{domain, "y", ""} { // a transaction of any domain
		_, err := s.s.Update(s.ctx, d, func(tx manifest.Tx) error {
			got, err := tx.Barrier(s.ctx, domain)
			other, oerr := tx.Barrier(s.ctx, "y")
			if got != want || other != (manifest.Barrier{}) {
				s.t.Errorf("barriers %+v and %+v, want %+v", got, other, want)
			}
			return errors.Join(err, oerr)
		})
		s.failOn(err)
	}
	f, m := newFile("", "f", 1)
	var once sync.Once
	var wg sync.WaitGroup
	_, err := s.bare.Update(s.ctx, domain, func(tx manifest.Tx) error {
		if got, err := tx.Barrier(s.ctx, domain); err != nil || got.Floor != 1 {
			return errors.Join(err, errors.New("the floor has risen"))
		}
		once.Do(func() {
			wg.Go(func() {
				if err := s.s.RaiseFloor(s.ctx, lease, 2); err != nil {
					s.t.Error(err)
				}
			})
		})
		for range 50 {
			runtime.Gosched()
			if n, err := s.s.Floor(s.ctx, domain); err != nil || n != 1 {
				s.t.Errorf("the floor is %d, %v, before the transaction that compares it has ended", n, err)
			}
		}
		return errors.Join(tx.PutManifest(s.ctx, m), tx.PutFile(s.ctx, f))
	})
	s.failOn(err)
	wg.Wait()
	if n, err := s.s.Floor(s.ctx, domain); err != nil || n != 2 {
		s.t.Errorf("floor %d, %v", n, err)
	}
}

// writersAreSeen tests that whoever raises the epoch, and then asks for the
// writers, is told of all that began before.
func (s *suite) writersAreSeen() {
	const collectors, writers, rounds = 2, 3, 20
	type look struct {
		epoch uint64
		seen  map[manifest.WriterID]bool
	}
	looks, registered := make(chan look, collectors*rounds), make(chan manifest.Writer, writers*rounds)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				w, err := s.s.Register(s.ctx, "x")
				if err != nil {
					s.t.Error(err)
				}
				registered <- w
			}
		})
	}
	for range collectors {
		wg.Go(func() {
			for range rounds {
				n, err := s.s.NextEpoch(s.ctx, "x")
				ws, werr := s.s.Writers(s.ctx, "x")
				if err := errors.Join(err, werr); err != nil {
					s.t.Error(err)
				}
				l := look{n, make(map[manifest.WriterID]bool)}
				for _, w := range ws {
					l.seen[w.ID] = true
				}
				looks <- l
			}
		})
	}
	wg.Wait()
	close(looks)
	close(registered)
	var all []manifest.Writer
	for w := range registered {
		all = append(all, w)
	}
	for l := range looks {
		for _, w := range all {
			if w.Begin < l.epoch && !l.seen[w.ID] {
				s.t.Errorf("a writer that began in %d was not seen after epoch %d", w.Begin, l.epoch)
			}
		}
	}
}

// testCheckpoints tests that the newest checkpoint of a domain counts.
func (s *suite) testCheckpoints() {
	base := func(domain string, want uint64) {
		s.t.Helper()
		if got, err := s.s.Checkpoint(s.ctx, domain); err != nil || got != want {
			s.t.Errorf("checkpoint %d of %s, %v, want %d", got, domain, err, want)
		}
	}
	base("x", 0)
	for _, n := range []uint64{5, 1 << 40, 7} {
		s.failOn(s.s.SetCheckpoint(s.ctx, "x", n))
	}
	s.failOn(s.s.SetCheckpoint(s.ctx, "y", 3))
	base("x", 1<<40)
	s.nextEpoch("x")
	s.restart()
	base("x", 1<<40)
	base("y", 3)
}

// allSegments tests that the segments of a domain are listed in order, with what
// they take.
func (s *suite) allSegments() {
	var want []manifest.SegmentSize
	for i := range 700 {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1+i%50)
		g := manifest.Segment{Digest: cas.SumSegment(data), Data: data}
		s.failOn(s.s.Segments(domain).PutSegments(s.ctx, []manifest.Segment{g}))
		want = append(want, manifest.SegmentSize{Digest: g.Digest, Bytes: int64(len(data))})
	}
	slices.SortFunc(want, func(a, b manifest.SegmentSize) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	s.failOn(s.s.Segments("y").PutSegments(s.ctx, []manifest.Segment{{Digest: cas.Digest{1}, Data: []byte("other")}}))
	if got := collectAll(s, s.s.AllSegments(s.ctx, domain)); !slices.Equal(got, want) {
		s.t.Errorf("%d segments, want %d", len(got), len(want))
	}
	if got := collectAll(s, s.s.AllSegments(s.ctx, "none")); len(got) > 0 {
		s.t.Errorf("%d segments of no domain", len(got))
	}
}

// segmentsGo tests that the row of a segment goes with its entry in the index.
func (s *suite) segmentsGo() {
	put := func(text string) manifest.Segment {
		g := manifest.Segment{Digest: cas.SumSegment([]byte(text)), Data: []byte(text)}
		s.failOn(s.s.Segments(domain).PutSegments(s.ctx, []manifest.Segment{g}))
		return g
	}
	data, a, b, alone := cas.Sum([]byte("data")), put("a"), put("b"), put("alone")
	f := cas.FrameEntry{ID: cas.FrameID{1}, Pack: cas.PackID{1}, Kind: cas.KindSegment}
	g, h := f, f
	g.ID, g.Kind, h.ID = cas.FrameID{2}, cas.KindData, cas.FrameID{3}
	entry := func(d cas.Digest, f *cas.FrameEntry) cas.ChunkEntry {
		return cas.ChunkEntry{Digest: d, Frame: f.ID, Length: 1}
	}
	s.applyChange(&cas.Change{Frames: []cas.FrameEntry{f, g},
		Chunks: []cas.ChunkEntry{entry(a.Digest, &f), entry(b.Digest, &f), entry(data, &g)}})
	stored := func(when string, want ...bool) {
		s.t.Helper()
		got, err := s.s.Segments(domain).Segments(s.ctx, []cas.Digest{a.Digest, b.Digest, alone.Digest})
		s.failOn(err)
		for i := range want {
			if (got[i] != nil) != want[i] {
				s.t.Errorf("%s: segment %d is stored: %t", when, i, got[i] != nil)
			}
		}
	}
	stored("at first", true, true, true)
	changed := entry(a.Digest, &f)
	changed.Stamp = 9
	s.applyChange(&cas.Change{Drop: []cas.ChunkEntry{changed, entry(data, &g)}})
	stored("no entry of one was dropped", true, true, true)
	s.applyChange(&cas.Change{Drop: []cas.ChunkEntry{entry(a.Digest, &f)}, Frames: []cas.FrameEntry{h}, Chunks: []cas.ChunkEntry{entry(a.Digest, &h)}})
	stored("dropped and added elsewhere", true, true, true)
	s.applyChange(&cas.Change{Drop: []cas.ChunkEntry{entry(a.Digest, &h)}})
	stored("dropped", false, true, true)
	bad := entry(b.Digest, &f)
	s.applyChange(&cas.Change{Bad: []cas.ChunkEntry{bad}})
	stored("marked", false, true, true)
	bad.State = cas.Bad
	s.applyChange(&cas.Change{Drop: []cas.ChunkEntry{bad}})
	put("a")
	stored("dropped, and put again", true, false, true)
	s.addFile("", "f", 1) // makes all durable
	s.restart()
	stored("after a restart", true, false, true)
}

// sentParts tests that the parts that were sent are no parts of the list, are
// roots, and go with the others.
func (s *suite) sentParts() {
	listed, pieces := newUpload("b", "ann", 1), newUpload("b", "ann", 1)
	listed.Listed, listed.Parts, listed.Sent = true, 2, 2
	s.putUploads(listed, pieces)
	s.update(func(tx manifest.Tx) error {
		return errors.Join(tx.PutPart(s.ctx, listed.ID, 0, newRefs(1)), tx.PutPart(s.ctx, listed.ID, 1, newRefs(2)),
			tx.PutPart(s.ctx, listed.ID, manifest.SentParts, newRefs(3, 4)), tx.PutPart(s.ctx, listed.ID, manifest.SentParts+1, newRefs(5)),
			tx.PutPart(s.ctx, pieces.ID, 0, newRefs(6)))
	})
	s.restart()
	for from, want := range [][][]cas.Ref{{newRefs(1), newRefs(2)}, {newRefs(2)}, nil} {
		if got := s.partsOf(s.s, listed.ID, uint64(from)); !reflect.DeepEqual(got, want) {
			s.t.Errorf("parts from %d: %v, want %v", from, got, want)
		}
	}
	if got := s.partsOf(s.s, listed.ID, manifest.SentParts); len(got) != 0 {
		s.t.Errorf("parts that were sent: %v", got)
	}
	roots := func(want ...byte) {
		s.t.Helper()
		got, wanted := make(map[cas.Ref]bool), make(map[cas.Ref]bool)
		for _, r := range collectAll(s, s.s.Roots(s.ctx, domain)) {
			for _, c := range r.Chunks {
				got[c] = true
			}
		}
		for _, c := range newRefs(want...) {
			wanted[c] = true
		}
		if !reflect.DeepEqual(got, wanted) {
			s.t.Errorf("roots %v, want %v", got, wanted)
		}
	}
	roots(3, 4, 5, 6)
	drop := func(id manifest.UploadID) (more bool) {
		s.update(func(tx manifest.Tx) (err error) {
			more, err = tx.DropParts(s.ctx, id, 3)
			return err
		})
		return more
	}
	for drop(listed.ID) {
	}
	roots(6)
	s.update(func(tx manifest.Tx) error { return tx.PutPart(s.ctx, listed.ID, manifest.SentParts, newRefs(7)) })
	roots(6, 7)
	listed.Expired, listed.ExpiresAt = true, day
	s.putUploads(listed)
	roots(6)
	for n := 3; n == 3; {
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.SweepUploads(s.ctx, "b", day.Add(time.Hour), 3)
			return err
		})
	}
	listed.Expired = false
	s.putUploads(listed)
	roots(6) // the part was swept with its upload
}
