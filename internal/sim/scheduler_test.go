package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A verdict is what the scheduler does with a call.
type verdict int

const (
	proceed    verdict = iota
	failBefore         // the call fails without effect
	failAfter          // the call has its effect, and fails
	crashed            // the process is gone: the call has no effect
)

var (
	errInjected = errors.New("sim: injected failure")
	errCrashed  = errors.New("sim: the process has crashed")
)

// A scheduler lets one of many goroutines go on at a time. They stop in pause,
// which the wrappers around index, metadata store and backend call. The scheduler
// waits until nothing in the process can run, and then releases one of those that
// stopped, chosen by its random numbers alone.
//
// testing/synctest cannot do that here: for it a goroutine that waits for a mutex
// may still run, and Store.moving is held across calls that stop. So it asks the
// runtime whether anything is runnable, with one processor for all.
type scheduler struct {
	rng     *rand.Rand
	faults  int // one call of so many fails; 0 for none
	limit   int // steps after which actors begin nothing new
	slow    int // one call of so many waits for long
	hurried int // an actor that is chosen as often as all others together; 0 for none

	mu      sync.Mutex // guards what follows
	points  []*point
	arrived int

	free  atomic.Bool // calls pass without stopping
	steps atomic.Int64
	last  []string // the last steps, for a report
	hash  uint64   // of all steps
	idle  []metrics.Sample
}

// A point is a goroutine that waits to be released.
type point struct {
	actor   int
	what    string
	arrival int
	until   int64 // it is not released before this step, unless all wait
	kind
	turn chan verdict
}

// A kind of point says what may become of the call.
type kind int

const (
	certain kind = iota // it does not fail
	look                // it may fail, without effect
	change              // it may fail, with or without effect
)

func newScheduler(seed uint64) *scheduler {
	return &scheduler{rng: rand.New(rand.NewPCG(seed, 0)), idle: []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}}
}

type actorKey struct{}

func asActor(ctx context.Context, id int) context.Context {
	return context.WithValue(ctx, actorKey{}, id)
}

// actorOf returns who a call is made for; 0 is the store itself.
func actorOf(ctx context.Context) int {
	id, _ := ctx.Value(actorKey{}).(int)
	return id
}

// pause stops the caller until it is its turn.
func (s *scheduler) pause(ctx context.Context, p *process, what string, k kind) verdict {
	return s.pauseFor(ctx, p, what, k, 0)
}

// pauseFor is pause for at least so many steps, unless nobody else can go on.
func (s *scheduler) pauseFor(ctx context.Context, p *process, what string, k kind, steps int64) verdict {
	if p.crashed.Load() {
		return crashed
	}
	if s.free.Load() {
		return proceed
	}
	at := &point{actor: actorOf(ctx), what: what, kind: k, turn: make(chan verdict, 1)}
	if steps > 0 {
		at.until = s.steps.Load() + steps
	}
	s.mu.Lock()
	s.arrived++
	at.arrival = s.arrived
	s.points = append(s.points, at)
	s.mu.Unlock()
	v := <-at.turn
	if p.crashed.Load() {
		return crashed
	}
	return v
}

// settle returns when no goroutine can run but the caller.
func (s *scheduler) settle() {
	for {
		runtime.Gosched()
		if metrics.Read(s.idle); s.idle[0].Value.Uint64() == 0 {
			return
		}
	}
}

// release lets one of the goroutines that stopped go on. It returns false if
// there are none.
func (s *scheduler) release() bool {
	s.mu.Lock()
	at := s.choose()
	s.mu.Unlock()
	if at == nil {
		return false
	}
	v := proceed
	if s.faults > 0 && at.kind != certain && s.rng.IntN(s.faults) == 0 {
		v = failBefore
		if at.kind == change && s.rng.IntN(2) == 0 {
			v = failAfter
		}
	}
	s.note(at, v)
	at.turn <- v
	return true
}

// choose takes one of the points. The caller holds mu. Those that arrived since
// the last step may be made to wait for long: most faults need somebody who is
// slow just there.
func (s *scheduler) choose() *point {
	if len(s.points) == 0 {
		return nil
	}
	slices.SortFunc(s.points, func(a, b *point) int {
		if a.actor != b.actor {
			return a.actor - b.actor
		}
		if c := strings.Compare(a.what, b.what); c != 0 {
			return c
		}
		return a.arrival - b.arrival
	})
	now := s.steps.Load()
	var ready []int
	soonest := 0
	for i, p := range s.points {
		if p.until == 0 {
			p.until = now
			if s.rng.IntN(s.slow) == 0 {
				p.until = now + 1 + int64(s.rng.IntN(300))
			}
		}
		if p.until <= now {
			ready = append(ready, i)
		}
		if p.until < s.points[soonest].until {
			soonest = i
		}
	}
	i := soonest
	if s.hurried > 0 && s.rng.IntN(2) == 0 {
		others := slices.Clone(ready)
		if ready = slices.DeleteFunc(ready, func(i int) bool { return s.points[i].actor != s.hurried }); len(ready) == 0 {
			ready = others
		}
	}
	if len(ready) > 0 {
		i = ready[s.rng.IntN(len(ready))]
	}
	at := s.points[i]
	s.points = slices.Delete(s.points, i, i+1)
	return at
}

// note counts a step.
func (s *scheduler) note(at *point, v verdict) {
	n := s.steps.Add(1)
	line := fmt.Sprintf("%d actor %d %s", n, at.actor, at.what)
	if v != proceed {
		line += fmt.Sprintf(" (%d)", v)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%x%s", s.hash, line)
	s.hash = h.Sum64()
	if len(s.last) == 400 {
		s.last = s.last[1:]
	}
	s.last = append(s.last, line)
}

// run releases goroutines until work is over. after is called when each step has
// come to its end.
func (s *scheduler) run(over func() bool, after func() error) error {
	idle := time.Time{}
	for {
		s.settle()
		if err := after(); err != nil {
			return err
		}
		if s.release() {
			idle = time.Time{}
			continue
		}
		if over() {
			return nil
		}
		// Something waits for a timer, or for ever.
		if idle.IsZero() {
			idle = time.Now()
		}
		if time.Since(idle) > 20*time.Second {
			buf := make([]byte, 1<<20)
			return fmt.Errorf("nothing goes on, and nobody waits for the scheduler:\n%s", buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(50 * time.Microsecond)
	}
}
