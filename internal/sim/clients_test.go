package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-store/cairn/internal/linear"
)

// The files that clients share. Every answer they get is kept, and in the end some
// order of all calls must explain it.
type shared struct {
	w       *world
	history *linear.History

	mu      sync.Mutex // guards what follows
	clients []*linear.Client
	folders int
	lost    int // answers that were lost when the folder was begun
}

// mostLost is how many answers about a folder may be lost: what each of those calls
// did is unknown for ever, and an order is sought for all that they may have done.
const mostLost = 5

func newShared(w *world) *shared {
	return &shared{w: w, history: linear.NewHistory(), lost: -mostLost}
}

// beginFolder lets clients go on in a new folder. The caller holds mu.
func (s *shared) beginFolder(lost int) {
	s.lost = lost
	s.folders++
	s.clients = nil
	for id := range s.w.plan.clients {
		s.clients = append(s.clients, s.history.NewClient(linear.Bucket(s.w.bucket), s.w.seed+uint64(s.folders)<<32, id, fmt.Sprintf("f%d", s.folders)))
	}
}

// pickClient returns a client by its number, which uses a folder of which enough
// is known.
func (s *shared) pickClient(id int) *linear.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, lost := s.history.Calls(); lost-s.lost >= mostLost {
		s.beginFolder(lost)
	}
	return s.clients[id]
}

func (s *shared) makeCall(ctx context.Context, id int) error {
	s.pickClient(id).MakeCall(ctx)
	return nil
}

func (s *shared) check() error { return linear.Check(s.history, 10*time.Minute) }
